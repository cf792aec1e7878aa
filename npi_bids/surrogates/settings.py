"""Options of the prior of a subject; imports are light, as the command line reads them."""

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
