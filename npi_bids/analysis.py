"""Settings of an analysis, gathered from the layers that use them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from npi_bids.assessment.verdict import AssessSettings
from npi_bids.bids.runs import CombineSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError
from npi_bids.group.selection import SelectionSettings
from npi_bids.group.settings import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.inverse.settings import InferSettings
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.settings import check_options, configuration_hash, option
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.families import WHOLE_BRAIN
from npi_bids.surrogates.settings import KindSettings, PriorSettings
from npi_bids.whole_brain.settings import BrainSettings

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?", re.IGNORECASE)
_GB = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSettings:
    """Everything that shapes the result of one unit, apart from its runs and its atlas."""

    coverage: CoverageSettings = field(default_factory=CoverageSettings)
    denoise: DenoiseSettings = field(default_factory=DenoiseSettings)
    combine: CombineSettings = field(default_factory=CombineSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    perturb: PerturbSettings = field(default_factory=PerturbSettings)
    assess: AssessSettings = field(default_factory=AssessSettings)
    brain: BrainSettings = field(default_factory=BrainSettings)
    infer: InferSettings = field(default_factory=InferSettings)
    prior: PriorSettings = field(default_factory=PriorSettings)
    kinds: KindSettings = field(default_factory=KindSettings)
    # Digest of the pre-trained surrogates and the map of delays in use, as results depend on them.
    prior_digest: str = ""

    def __post_init__(self) -> None:
        if self.infer.infer and not self.brain.sc:
            raise SettingsError(
                f"--infer {self.infer.infer} needs structural connectivity: --sc PATH, a TSV of "
                "[source, target] whose rows and columns carry the names of the atlas's regions."
            )

    @property
    def configuration(self) -> str:
        """Short hash of all settings that shape a result; an output dataset holds one of them."""
        whole_brain = (self.brain,) if self.train.surrogate == WHOLE_BRAIN else ()
        inferred = (self.infer, self.brain) if self.infer.infer else ()
        shrunk = (self.prior, self.prior_digest) if self.prior_digest else ()
        return configuration_hash(
            *(whole_brain or inferred[1:]),
            *inferred[:1],
            *shrunk,
            self.coverage,
            self.denoise,
            self.denoise.strategy,
            self.combine,
            resolve(self.train),
            self.perturb,
            self.assess.measures,
            self.assess.verdict,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAnalysis:
    """Everything that shapes the results of a group."""

    group: GroupSettings = field(default_factory=GroupSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    permute: PermuteSettings = field(default_factory=PermuteSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """Processes, threads and memory to use."""

    n_procs: int | None = option(
        None,
        "number of processes (default: all available CPUs)",
        aliases=("n-cpus",),
        above=0,
        metavar="N",
        result=False,
    )
    omp_nthreads: int = option(
        1, "threads per process; changing it can change the last digits", above=0, metavar="N"
    )
    mem: str = option("", "maximum memory, with its unit (16G)", metavar="SIZE", result=False)
    mem_mb: int | None = option(None, "maximum memory in MB", above=0, metavar="MB", result=False)
    n_gpu_procs: int = option(
        1, "processes that share one GPU", above=0, metavar="N", result=False
    )
    nipype_plugin_file: str = option(
        "",
        "Nipype plugin configuration: YAML or JSON with plugin and plugin_args",
        metavar="FILE",
        result=False,
    )

    def __post_init__(self) -> None:
        check_options(self)
        _ = self.memory_gb

    @property
    def memory_gb(self) -> float | None:
        """Maximum memory in GB; None where the user set none.

        >>> ResourceSettings(mem="16G").memory_gb, ResourceSettings(mem_mb=500).memory_gb
        (16.0, 0.5)
        """
        if self.mem_mb is not None:
            return self.mem_mb / 1000
        if not self.mem:
            return None
        match = _MEMORY.fullmatch(self.mem.strip())
        if match is None:
            raise SettingsError(f"--mem {self.mem} needs a number and a unit, such as 16G.")
        return float(match[1]) * _GB[match[2].upper()]
