"""Denoising strategies, their options, and the coverage that a region needs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option
from npi_bids.wording import join_items, suggest_word

# The named strategies, which help and messages list.
STRATEGIES: dict[str, dict[str, Any]] = tomllib.loads(
    (files("npi_bids.data") / "denoise.toml").read_text(encoding="utf-8")
)
_DEFAULT = "simple"
_COMPONENTS = ("motion", "wm_csf", "global_signal", "high_pass", "compcor", "scrub")
_EXPANSIONS = ("basic", "derivatives", "power2", "full")


def _name_strategies() -> str:
    """Return the names of the strategies, and what the default does, without its references."""
    summary = STRATEGIES[_DEFAULT]["description"].partition(" (")[0]
    return ", ".join(f"{name} ({summary})" if name == _DEFAULT else name for name in STRATEGIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseSettings:
    """How to clean the signals of one run."""

    denoise: str = option(
        _DEFAULT,
        f"denoising strategy: {_name_strategies()}, or a TOML file",
        metavar="NAME|FILE",
        result=False,  # the strategy that it names is hashed instead; see `strategy`
    )
    gsr: bool = option(
        False, "also regress out the global signal (adds negative entries; not advised)"
    )
    high_pass: float | None = option(
        None,
        "high-pass cut-off in Hz, with cosines computed here instead of those of the confounds "
        "file",
        above=0,
        metavar="HZ",
    )
    low_pass: float | None = option(
        None,
        "low-pass cut-off in Hz (costs accuracy, most of it in short data; not advised)",
        above=0,
        metavar="HZ",
    )
    smoothing: float = option(0.0, "FWHM of spatial smoothing in mm", at_least=0, metavar="MM")
    dummy_scans: str = option(
        "auto",
        "samples to drop at the start: a number, or auto (non-steady-state volumes of the "
        "confounds file)",
        metavar="N|auto",
    )
    fd_thresh: float | None = option(
        None, "censor samples whose framewise displacement (mm) is higher", above=0, metavar="MM"
    )
    min_time: float = option(
        240.0,
        "minimum seconds of uncensored data, over all runs of a model",
        at_least=0,
        metavar="S",
    )
    standardize: str = option(
        "zscore", "how the signals of each run are scaled", choices=("zscore", "none")
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.dummy_scans != "auto" and not self.dummy_scans.isdigit():
            raise SettingsError(
                f"--dummy-scans must be auto or a whole number, not {self.dummy_scans}."
            )
        if self.low_pass and self.high_pass and self.low_pass <= self.high_pass:
            raise SettingsError(
                f"--low-pass {self.low_pass:g} must be above --high-pass {self.high_pass:g}."
            )
        _ = self.strategy

    @property
    def strategy(self) -> Strategy:
        """The strategy that the name or file describes, whatever the path of the file."""
        return find_strategy(self)

    @property
    def label(self) -> str:
        """The strategy as a BIDS label: letters and digits only."""
        label = re.sub(r"[^A-Za-z0-9]", "", Path(self.denoise).stem)
        return (label or "custom") + ("Gsr" if self.gsr else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageSettings:
    """When a region counts as covered by the scan."""

    min_coverage: float = option(
        0.5,
        "minimum fraction of a region's voxels with signal; regions below it are n/a",
        above=0,
        at_most=1,
        metavar="X",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One denoising strategy, in the terms of nilearn's ``load_confounds``."""

    name: str
    description: str = ""
    components: tuple[str, ...] = ()
    motion: str = "full"
    wm_csf: str = "basic"
    global_signal: str = "basic"
    compcor: str = "anat_combined"
    n_compcor: int = 0
    scrub: int = 0
    fd_threshold: float = 0.5
    std_dvars_threshold: float = float("inf")

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.components) - set(_COMPONENTS)):
            raise SettingsError(
                f"Denoising strategy {self.name}: unknown components: {join_items(unknown)}. "
                f"Choose from {join_items(_COMPONENTS)}."
            )
        for part in ("motion", "wm_csf", "global_signal"):
            if getattr(self, part) not in _EXPANSIONS:
                raise SettingsError(
                    f"Denoising strategy {self.name}: {part} is {getattr(self, part)}; "
                    f"choose from {join_items(_EXPANSIONS)}."
                )


def find_strategy(settings: DenoiseSettings) -> Strategy:
    """Return the strategy that the options describe, GSR, censoring and filters included.

    Raises
    ------
    SettingsError
        There is no strategy of that name, or the file does not describe one.
    """
    options = _read_strategy(settings.denoise)
    components = list(options.get("components", ()))
    if settings.gsr and "global_signal" not in components:
        components.append("global_signal")
    if settings.high_pass and "high_pass" in components:
        components.remove("high_pass")
    if settings.fd_thresh:
        options["fd_threshold"] = settings.fd_thresh
        if "scrub" not in components:
            components.append("scrub")
    return Strategy(**{**options, "components": tuple(components)})


def _read_strategy(name: str) -> dict[str, Any]:
    if name in STRATEGIES:
        return {"name": name, **STRATEGIES[name]}
    path = Path(name)
    if not path.is_file():
        raise SettingsError(
            f"--denoise {name} is neither a strategy ({join_items(STRATEGIES)}) nor a TOML file"
            f"{suggest_word(name, STRATEGIES) or '.'}"
        )
    try:
        options = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--denoise: <{path}> is not TOML: {error}.") from error
    allowed = {field_.name for field_ in fields(Strategy)} - {"name"}
    if unknown := sorted(set(options) - allowed):
        raise SettingsError(
            f"--denoise: <{path}> has unknown fields: {join_items(unknown)}. Known fields are "
            f"{join_items(sorted(allowed))}."
        )
    return {"name": path.stem, **options}
