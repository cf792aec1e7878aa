"""Settings of perturbations, free runs and measures."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option

# Signed steps whose responses, sign-flipped back, are averaged; by the name of --sign.
SIGNS = {"positive": (1.0,), "negative": (-1.0,), "both": (1.0, -1.0)}
# Samples of the free run (the length of a run of the Human Connectome Project), and SD of its
# noise if the surrogate models none, as released by Luo et al. (2025,
# doi:10.1038/s41592-025-02654-x).
FREE_RUN_SAMPLES, FREE_RUN_NOISE = 1200, 0.1
# What helps where the free run diverges: networks fitted to a single run often do, as they have
# more weights than there are samples.
DIVERGENCE_ADVICE = (
    "Fit it to more data: pool the runs of the subject (--combine runs; --combine sessions pools "
    "those of all sessions) or add runs. Otherwise use fewer regions, a smaller network "
    "(--hidden) or the default surrogate"
)

# Names of the matrices: on the command line, and in file names.
MEASURE_NAMES = {
    "npi": "npi",
    "jacobian": "jacobian",
    "fc": "pearsoncorrelation",
    "modelfc": "modelfc",
    "partial": "partialcorrelation",
    "lagged": "laggedcorrelation",
    "var": "ridgevar",
    "oriented": "oriented",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbSettings:
    """How to perturb the surrogate."""

    strength: float = option(
        1.0, "size of the perturbation in SD of the signals", above=0, metavar="X"
    )
    sign: str = option(
        "positive",
        "raise the source (positive), lower it (negative), or average the responses to both, "
        "the second sign-flipped (both)",
        choices=tuple(SIGNS),
    )
    steps_ahead: int = option(
        1, "samples from the perturbation to the response that is read", above=0, metavar="N"
    )
    sustained: bool = option(
        False, "sustain the perturbation until the response is read, not for one sample only"
    )
    perturbation: str = option(
        "single",
        "perturb one region at a time (single), or a random half of all regions in each window "
        "(randomised)",
        choices=("single", "randomised"),
    )
    n_draws: int = option(20, "randomised: draws per window", above=0, metavar="N")
    together: tuple[str, ...] = option(
        (),
        "sets of regions to perturb simultaneously, names joined by +; the responses are "
        "written to a table beside the surrogate",
        metavar="A+B",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.perturbation == "randomised" and (self.steps_ahead > 1 or self.sustained):
            raise SettingsError(
                "--perturbation randomised reads the next sample; it cannot be combined with "
                "--steps-ahead or --sustained."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """Matrices to write, and estimation of their uncertainty."""

    measures: tuple[str, ...] = option(
        ("npi", "jacobian", "fc", "modelfc"),
        f"matrices to write besides npi: {', '.join(MEASURE_NAMES)}",
        choices=tuple(MEASURE_NAMES),
        metavar="NAME",
    )
    n_bootstrap: int = option(
        0,
        "bootstrap samples for the standard errors of the map; 0: closed form for linear "
        "surrogates, none for others",
        at_least=0,
        metavar="N",
    )
    null: int = option(
        2000,
        "draws from the null distribution of the time-reversal test of direction",
        at_least=99,
        metavar="N",
    )

    def __post_init__(self) -> None:
        check_options(self)
