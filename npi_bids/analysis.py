"""What is to be done: the settings of an analysis, and the models to fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.assessment.settings import AssessSettings
from npi_bids.bids.outputs import unit_name
from npi_bids.bids.runs import CombineSettings, Unit
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

if TYPE_CHECKING:  # slow to load, and not needed for --help
    from npi_bids.bids.sidecars import KindDecision

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
    # Description of the images where a filter file asks for others than preproc, because names of
    # outputs do not contain it.
    image_desc: str = field(default="", metadata={"flag": "bids-filter-file"})

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
        shrunk = (self.prior,) if self.prior_digest else ()
        inputs = " ".join(filter(None, (self.prior_digest, self.image_desc)))
        return configuration_hash(
            *(whole_brain or inferred[1:]),
            *inferred[:1],
            *shrunk,
            *((inputs,) if inputs else ()),
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


@dataclass(frozen=True, slots=True)
class PreparedAtlas:
    """An atlas that is ready for use.

    Attributes
    ----------
    entities
        ``atlas``, ``seg``, ``scale``.
    folder
        Folder of the prepared parcellation.
    node_file
        Table of its regions, relative to the output dataset.
    n_regions
        Number of regions.
    labels
        Names of the regions of supplied series; empty where there is an image.
    indices
        Indices of these regions in the table of their atlas; empty where there is none.
    """

    entities: dict[str, str]
    folder: Path
    node_file: str
    n_regions: int = 0
    labels: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One model to fit: a unit, an atlas, and the memory required by its steps (GB).

    With ``use_gpu`` its fit takes one of the slots of the GPU.
    """

    unit: Unit
    atlas: PreparedAtlas
    desc: str
    extract_gb: float = 1.0
    train_gb: float = 1.0
    pretrained: str = ""  # file of the group surrogate towards which the model is shrunk
    use_gpu: bool = False
    kind: KindDecision | None = None  # kind of fit decided for the dataset, if not by the subject

    @property
    def entities(self) -> dict[str, str]:
        """Entities of the model's files."""
        return {**self.unit.entities, **self.atlas.entities}

    @property
    def name(self) -> str:
        """Name of the model: its entities, joined."""
        return unit_name({**self.entities, "desc": self.desc})

    @property
    def node_name(self) -> str:
        """Name of the model's workflow; Nipype allows no dashes."""
        return self.name.replace("-", "_")

    @property
    def extract_names(self) -> tuple[str, ...]:
        """Names of the nodes that read each run, where it is read for several atlases at once."""
        names = (f"extract_{unit_name(run.entities)}" for run in self.unit.runs)
        return tuple(name.replace("-", "_") for name in names)
