"""Options of the prior and of the kind of fit; imports are light, for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.settings import check_options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSettings:
    """Prior of a subject's surrogate."""

    pretrained: str = option(
        "",
        "group surrogate of the level pretrain (its .safetensors file or dataset), towards which "
        "each subject is shrunk and from which networks are fine-tuned",
        metavar="PATH",
        result=False,
    )
    delay_map: str = option(
        "",
        "hybrid: what is known of the haemodynamic delays of regions, as a TSV with the columns "
        "name, delay (s), delay_sd (s) and covariates (vein density, breath-hold lag; any other "
        "name), of which delay or one covariate is needed. The delays that are estimated follow "
        "it if they agree with it",
        metavar="FILE",
        result=False,
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSettings:
    """Who decides the kind of fit: each subject, or the dataset."""

    # It does not enter the configuration: the models of one output dataset are fitted by subject
    # first, and the sidecar of each says who decided.
    fit_kind: str = option(
        "auto",
        "hybrid, mou: who chooses the kind of fit (linear part, whitening, delays, gain, noise, "
        "networks): each subject (subject), or most subjects for the whole dataset, so that those "
        "who chose otherwise are fitted a second time (dataset); auto: the dataset where all of "
        "its subjects are run, except that nobody loses delays, gain or noise that its data show, "
        "and each subject with --participant-label for some of them",
        choices=("auto", "subject", "dataset"),
        result=False,
    )

    def __post_init__(self) -> None:
        check_options(self)
