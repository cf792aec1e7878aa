"""The settings of an analysis, gathered from the layers that use them."""

from __future__ import annotations

from dataclasses import dataclass, field

from npi_bids.bids.units import CombineSettings
from npi_bids.core.options import configuration_hash, option
from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.surrogate import TrainSettings
from npi_bids.images.options import CoverageSettings, DenoiseSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSettings:
    """Everything that shapes the result of one unit, apart from its runs and its atlas."""

    coverage: CoverageSettings = field(default_factory=CoverageSettings)
    denoise: DenoiseSettings = field(default_factory=DenoiseSettings)
    combine: CombineSettings = field(default_factory=CombineSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    perturb: PerturbSettings = field(default_factory=PerturbSettings)

    @property
    def configuration(self) -> str:
        """Short hash of all that shapes a result; one output dataset holds one of them."""
        return configuration_hash(
            self.coverage, self.denoise, self.combine, self.train, self.perturb
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """What the machine gives."""

    n_procs: int | None = option(
        None,
        "processes at once (default: all CPUs this process may use)",
        aliases=("n-cpus",),
        above=0,
        metavar="N",
        result=False,
    )
    omp_nthreads: int = option(
        1, "threads of each process; the number can change the last digits", above=0, metavar="N"
    )
    mem: str = option(
        "", "memory to use at most, with its unit, such as 16G", metavar="SIZE", result=False
    )
    mem_mb: int | None = option(
        None, "memory to use at most, in MB", above=0, metavar="MB", result=False
    )
    nipype_plugin_file: str = option(
        "",
        "YAML or JSON with 'plugin' and 'plugin_args' of Nipype",
        metavar="FILE",
        result=False,
    )
