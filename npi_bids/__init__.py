"""Effective connectivity of the whole brain by perturbing a surrogate of its dynamics."""

__version__ = "0.1.0"

__all__ = ["__version__"]
