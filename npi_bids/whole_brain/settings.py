"""Options of the whole-brain surrogate; read by the command line, so nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option

# Models of neurolib that can be fitted.
BRAIN_MODELS = ("aln", "hopf", "wc", "fhn", "ww")
# Duration of the stimulus of a region, and interval after it in which BOLD is averaged (s), around
# the peak of the haemodynamic response (Friston et al. 2003,
# doi:10.1016/S1053-8119(03)00202-7).
STIMULUS_SECONDS = 0.5
RESPONSE_SECONDS = (3.0, 6.0)
# r of simulated and empirical FC of a good fit (neurolib's rule of thumb), and the least r that is
# accepted.
GOOD_FC, LEAST_FC = 0.5, 0.3
# r of FC below the best within which parameters count as fitting alike.
CLOSE_FC = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainSettings:
    """Whole-brain model to fit, its connectome, and the search of its parameters."""

    sc: str = option(
        "",
        "structural connectivity: TSV of [source, target] with region names",
        metavar="PATH",
    )
    sc_lengths: str = option("", "fibre lengths in mm: TSV of [source, target]", metavar="PATH")
    model: str = option(
        "aln", "local model, as in neurolib", choices=BRAIN_MODELS, flag="wbm-model"
    )
    search: str = option(
        "both",
        "parameter search: a grid over coupling and excitability, evolution of all parameters, "
        "or the grid and then evolution from its best points (both)",
        choices=("grid", "evolution", "both"),
        flag="wbm-search",
    )
    n_grid: int = option(4, "grid points along each axis", above=1, flag="wbm-grid", metavar="N")
    population: int = option(
        10, "parameter sets per generation", at_least=5, flag="wbm-population", metavar="N"
    )
    generations: int = option(
        3, "generations of the evolution", above=0, flag="wbm-generations", metavar="N"
    )
    sim_minutes: float = option(
        3.0, "minutes of each simulation", at_least=2.5, flag="wbm-minutes", metavar="X"
    )
    step: float = option(
        0.1,
        "integration step in ms; must divide 1 ms without remainder",
        above=0,
        at_most=1,
        flag="wbm-step",
        metavar="X",
    )
    fcd_weight: float = option(
        0.25,
        "weight of the FC-dynamics distance in the fitness, relative to r of FC",
        at_least=0,
        flag="wbm-fcd-weight",
        metavar="X",
    )
    n_states: int = option(
        4,
        "states in which the fitted model is stimulated",
        above=0,
        flag="wbm-states",
        metavar="N",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if abs(1 / self.step - round(1 / self.step)) > 1e-9:
            raise SettingsError(
                f"--wbm-step must divide 1 ms without remainder (0.1, 0.2, 0.25, 0.5), not "
                f"{self.step:g}."
            )
