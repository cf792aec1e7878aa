"""Effective connectivity of the whole brain by perturbing a surrogate of its dynamics.

``npi_bids.ec(series, tr=2.0).ec`` is the map for an array; see :func:`npi_bids.inference.ec`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

# The tag of git that it was built from; see pyproject.toml.
try:
    __version__ = version("npi-bids")
except PackageNotFoundError:  # a copy of the source that was not installed
    __version__ = "0+unknown"

# Module of each function, imported on first use; torch is not loaded for a version number.
_MODULES = {
    "ec": "npi_bids.inference",
    "layout": "npi_bids.bids.indexing",
    "load_surrogate": "npi_bids.surrogates.storage",
    "pybids_config": "npi_bids.bids.indexing",
}

__all__ = ["__version__", "ec", "layout", "load_surrogate", "pybids_config"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'npi_bids' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
