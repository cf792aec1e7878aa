"""Options of parcellation and denoising; light, so that the command line can read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.core.options import check_options, option
from npi_bids.errors import SettingsError

if TYPE_CHECKING:
    from npi_bids.images.denoise import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseSettings:
    """How to clean the signals of one run."""

    denoise: str = option(
        "simple",
        "none, simple (24 motion parameters, white matter, CSF, cosine high-pass), scrubbing, "
        "compcor, 24P, 36P, or a TOML file with a strategy",
        metavar="NAME|FILE",
        result=False,  # what it stands for is hashed instead; see `strategy`
    )
    gsr: bool = option(False, "regress the global signal too (adds negative edges; not advised)")
    high_pass: float | None = option(
        None,
        "cut-off in Hz for cosines made here instead of those of the confounds file",
        above=0,
        metavar="HZ",
    )
    low_pass: float | None = option(
        None, "cut-off in Hz; removes directed information, not advised", above=0, metavar="HZ"
    )
    smoothing: float = option(0.0, "FWHM in mm of a Gaussian filter", at_least=0, metavar="MM")
    dummy_scans: str = option(
        "auto",
        "samples to drop at the start: a number, or auto (what fMRIPrep flagged as non-steady)",
        metavar="N|auto",
    )
    fd_thresh: float | None = option(
        None, "censor samples with a framewise displacement above this (mm)", above=0, metavar="MM"
    )
    min_time: float = option(
        240.0,
        "seconds a subject needs after censoring, all runs together",
        at_least=0,
        metavar="S",
    )
    standardize: str = option(
        "zscore", "scale of each run's signals: zscore, or none", choices=("zscore", "none")
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.dummy_scans != "auto" and not self.dummy_scans.isdigit():
            raise SettingsError(
                f"--dummy-scans must be auto or a whole number, not {self.dummy_scans!r}."
            )
        if self.low_pass and self.high_pass and self.low_pass <= self.high_pass:
            raise SettingsError(
                f"--low-pass {self.low_pass:g} must be above --high-pass {self.high_pass:g}."
            )
        _ = self.strategy

    @property
    def strategy(self) -> Strategy:
        """What stands behind the name: the same wherever a file of the user's lies."""
        from npi_bids.images.denoise import find_strategy

        return find_strategy(self)

    @property
    def label(self) -> str:
        """The strategy as a BIDS label: letters and digits only."""
        label = re.sub(r"[^A-Za-z0-9]", "", Path(self.denoise).stem)
        return (label or "custom") + ("Gsr" if self.gsr else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageSettings:
    """When a region counts as seen by the scan."""

    min_coverage: float = option(
        0.5,
        "share of a region's voxels that must hold signal; below it the region is n/a",
        above=0,
        at_most=1,
        metavar="X",
    )

    def __post_init__(self) -> None:
        check_options(self)
