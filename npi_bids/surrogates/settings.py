"""Options of what a subject starts from; light, because the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.settings import check_options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSettings:
    """What a subject's surrogate starts from."""

    pretrained: str = option(
        "",
        "surrogate of a group from the level pretrain (its .safetensors, or the dataset that "
        "holds it): each subject is shrunk towards it, and networks are fine-tuned from it",
        metavar="PATH",
        result=False,
    )
    leave_subject_out: bool = option(
        True,
        "take a subject's own part of the group out of the pre-trained surrogate before it is "
        "used for it",
        metavar="yes|no",
    )

    def __post_init__(self) -> None:
        check_options(self)
