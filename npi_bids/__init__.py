"""Effective connectivity of the whole brain by perturbing a surrogate of its dynamics.

``npi_bids.ec(series, tr=2.0).ec`` is the map for an array; see :func:`npi_bids.inference.ec`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

# Module of each function, imported on first use; torch is not loaded for a version number.
_MODULES = {
    "ec": "npi_bids.inference",
    "layout": "npi_bids.bids.indexing",
    "load_surrogate": "npi_bids.surrogates.storage",
    "pybids_config": "npi_bids.bids.indexing",
}

__all__ = ["__version__", "ec", "layout", "load_surrogate", "pybids_config"]


def __getattr__(name: str) -> Any:
    if name == "__version__":  # slow to look up, and not needed for --help
        globals()[name] = _version()
        return globals()[name]
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'npi_bids' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """Return the tag of git that the package was built from; see pyproject.toml."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("npi-bids")
    except PackageNotFoundError:  # a copy of the source that was not installed
        return "0+unknown"
