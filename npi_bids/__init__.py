"""Effective connectivity of the whole brain by perturbing a surrogate of its dynamics.

``npi_bids.ec(series, tr=2.0).ec`` is the map of an array; see :func:`npi_bids.inference.ec`.
"""

from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__", "ec"]


def __getattr__(name: str) -> Any:
    if name == "ec":  # torch is loaded when it is needed, and not for a version number
        from npi_bids.inference import ec

        return ec
    raise AttributeError(f"module 'npi_bids' has no attribute {name!r}")
