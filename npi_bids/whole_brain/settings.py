"""Options of the whole-brain surrogate; read by the command line, so nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option

# Models of neurolib that can be fitted.
BRAIN_MODELS = ("aln", "hopf", "wc", "fhn", "ww")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainSettings:
    """Which whole-brain model is fitted, on what, and how its parameters are searched."""

    sc: str = option(
        "",
        "wbm: structural connectivity, a TSV of [source, target] with the names of the regions",
        metavar="PATH",
    )
    sc_lengths: str = option("", "wbm: lengths of the fibres in mm, a TSV", metavar="PATH")
    model: str = option("aln", "wbm: model of neurolib", choices=BRAIN_MODELS, flag="wbm-model")
    search: str = option(
        "both",
        "wbm: how its parameters are searched: a grid of coupling and excitability, evolution of "
        "all of them, or the grid first and evolution from its best",
        choices=("grid", "evolution", "both"),
        flag="wbm-search",
    )
    n_grid: int = option(
        4, "wbm: points of the grid along each axis", above=1, flag="wbm-grid", metavar="N"
    )
    population: int = option(
        10, "wbm: parameter sets of a generation", at_least=5, flag="wbm-population", metavar="N"
    )
    generations: int = option(
        3, "wbm: generations of the evolution", above=0, flag="wbm-generations", metavar="N"
    )
    sim_minutes: float = option(
        3.0, "wbm: minutes of each simulation", at_least=2.5, flag="wbm-minutes", metavar="X"
    )
    step: float = option(
        0.1,
        "wbm: step of the integration in ms; 1 must be a multiple of it",
        above=0,
        at_most=1,
        flag="wbm-step",
        metavar="X",
    )
    fcd_weight: float = option(
        0.25,
        "wbm: weight of the distance of FC dynamics beside r of FC in the fitness",
        at_least=0,
        flag="wbm-fcd-weight",
        metavar="X",
    )
    n_states: int = option(
        4, "wbm: states to stimulate the fitted model in", above=0, flag="wbm-states", metavar="N"
    )

    def __post_init__(self) -> None:
        check_options(self)
        if abs(1 / self.step - round(1 / self.step)) > 1e-9:
            raise SettingsError(
                f"--wbm-step must divide 1 ms without remainder (0.1, 0.2, 0.25, 0.5), not "
                f"{self.step:g}."
            )
