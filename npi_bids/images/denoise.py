"""Denoising strategies: what stands behind their names."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from npi_bids.errors import SettingsError
from npi_bids.images.options import DenoiseSettings

_COMPONENTS = ("motion", "wm_csf", "global_signal", "high_pass", "compcor", "scrub")
_EXPANSIONS = ("basic", "derivatives", "power2", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One denoising strategy, in the words of nilearn's ``load_confounds``."""

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
                f"Denoising strategy {self.name}: unknown component(s) {unknown}; "
                f"choose from {_COMPONENTS}."
            )
        for part in ("motion", "wm_csf", "global_signal"):
            if getattr(self, part) not in _EXPANSIONS:
                raise SettingsError(
                    f"Denoising strategy {self.name}: {part} = {getattr(self, part)!r}; "
                    f"choose from {_EXPANSIONS}."
                )


def find_strategy(settings: DenoiseSettings) -> Strategy:
    """Return the strategy that the options describe, GSR, censoring and filters included.

    Raises
    ------
    SettingsError
        There is no strategy of that name, or the file does not describe one.
    """
    facts = _facts(settings.denoise)
    components = list(facts.get("components", ()))
    if settings.gsr and "global_signal" not in components:
        components.append("global_signal")
    if settings.high_pass and "high_pass" in components:
        components.remove("high_pass")
    if settings.fd_thresh:
        facts["fd_threshold"] = settings.fd_thresh
        if "scrub" not in components:
            components.append("scrub")
    return Strategy(**{**facts, "components": tuple(components)})


def _facts(name: str) -> dict[str, Any]:
    known = tomllib.loads((files("npi_bids.data") / "denoise.toml").read_text())
    if name in known:
        return {"name": name, **known[name]}
    path = Path(name)
    if not path.is_file():
        raise SettingsError(
            f"--denoise {name!r} is neither a strategy ({', '.join(known)}) nor a TOML file."
        )
    try:
        facts = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--denoise: <{path}> is not TOML: {error}.") from error
    allowed = {field_.name for field_ in fields(Strategy)} - {"name"}
    if unknown := sorted(set(facts) - allowed):
        raise SettingsError(
            f"--denoise: <{path}> has unknown field(s) {unknown}; known are {sorted(allowed)}."
        )
    return {"name": path.stem, **facts}
