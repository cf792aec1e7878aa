"""Options of the inference of model parameters; read by the command line, nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.settings import check_options, option

# Models whose parameters can be inferred, and how their signals are observed.
INFERRED_MODELS = ("hopf", "rww")
OBSERVATION_MODELS = ("regional", "white")


@dataclass(frozen=True, slots=True, kw_only=True)
class InferSettings:
    """Whole-brain model whose parameters are inferred, and the effort of the inference."""

    infer: str = option(
        "",
        "infer the posterior of the global parameters of a whole-brain model for each subject: "
        "hopf (Hopf model of BOLD) or rww (reduced Wong-Wang); requires --sc and sbi",
        choices=("", *INFERRED_MODELS),
        metavar="{hopf,rww}",
    )
    observation: str = option(
        "regional",
        "how simulated signals are observed before the subject's cleaning: with noise of regional "
        "strength and autocorrelation, a global signal and regional haemodynamic delays "
        "(regional), or with white noise of one strength (white)",
        choices=OBSERVATION_MODELS,
        flag="infer-observation",
    )
    n_simulations: int = option(
        2000, "simulated subjects that flows are trained on", at_least=100,
        flag="infer-simulations", metavar="N",
    )  # fmt: skip
    n_held_out: int = option(
        200, "simulated subjects that calibration is measured on", at_least=50,
        flag="infer-held-out", metavar="N",
    )  # fmt: skip
    n_members: int = option(5, "flows of the ensemble", above=0, flag="infer-members", metavar="N")
    n_samples: int = option(
        2000, "samples of each posterior", at_least=100, flag="infer-samples", metavar="N"
    )
    catch22: bool = option(
        False,
        "add the mean and the SD over regions of the catch22 features (Lubba et al. 2019)",
        flag="infer-catch22",
    )

    def __post_init__(self) -> None:
        check_options(self)
