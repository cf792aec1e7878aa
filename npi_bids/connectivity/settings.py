"""How a surrogate is perturbed."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbSettings:
    """How to perturb the surrogate."""

    strength: float = option(
        1.0, "size of the perturbation, in the unit of the signals (SD)", above=0, metavar="X"
    )
    sign: str = option(
        "positive",
        "raise the source (positive), lower it (negative), or the mean of both, with the effect "
        "of lowering turned round (both)",
        choices=("positive", "negative", "both"),
    )
    steps_ahead: int = option(
        1, "samples after the perturbation at which its effect is read", above=0, metavar="N"
    )
    sustained: bool = option(
        False, "hold the perturbation on until the effect is read, instead of one sample"
    )
    perturbation: str = option(
        "single",
        "perturb one region at a time (single), or a random half of them in every window "
        "(randomised)",
        choices=("single", "randomised"),
    )
    n_draws: int = option(20, "randomised: times that every window is used", above=0, metavar="N")

    together: tuple[str, ...] = option(
        (),
        "sets of regions to perturb at once, their names joined by +; the responses go into a "
        "table beside the surrogate",
        metavar="A+B",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.perturbation == "randomised" and (self.steps_ahead > 1 or self.sustained):
            raise SettingsError(
                "--perturbation randomised reads the next sample; it goes with neither "
                "--steps-ahead nor --sustained."
            )
