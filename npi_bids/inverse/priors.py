"""Priors of parameters: ranges, and the transformation of a range to the real line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from npi_bids.records import Array, Mask

FLAT_VARIANCE = 1 / 12  # of a position under its prior
_EDGE = 1e-6  # distance from the ends of the unit interval, whose logit is infinite


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter with a flat prior over a range, of its value or of its logarithm.

    Attributes
    ----------
    name
        Name in tables.
    label
        Name in figures and texts.
    low, high
        Ends of the range, in ``units``.
    units
        Units of the value; empty where it has none.
    meaning
        What the parameter is, in a phrase.
    logarithmic
        Whether the prior is flat over the logarithm.
    """

    name: str
    label: str
    low: float
    high: float
    units: str
    meaning: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Prior:
    """Independent priors of several parameters.

    A *position* is where a value lies in its range, from 0 to 1; prior density is flat over it.
    """

    parameters: tuple[Parameter, ...]

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def values(self, positions: Array) -> Array:
        """Return the values at some positions, both of shape (..., n_parameters).

        >>> prior = Prior((Parameter("g", "G", 0, 4, "", ""),
        ...                Parameter("b", "b", 1, 100, "", "", logarithmic=True)))
        >>> prior.values(np.array([0.5, 0.5])).round(6).tolist()
        [2.0, 10.0]
        """
        low, high = self._bounds()
        scaled: Array = low + (high - low) * positions
        values = np.where(self._logarithmic(), np.exp(scaled), scaled)
        ends = np.array([[p.low, p.high] for p in self.parameters])
        inside: Array = np.clip(values, ends[:, 0], ends[:, 1])  # rounding errors of exp
        return inside

    def positions(self, values: Array) -> Array:
        """Return the positions of some values: the inverse of :meth:`values`."""
        low, high = self._bounds()
        logarithmic = self._logarithmic()
        scaled = np.where(logarithmic, np.log(np.where(logarithmic, values, 1.0)), values)
        positions: Array = (scaled - low) / (high - low)
        return positions

    def draw(self, n_draws: int, rng: np.random.Generator) -> Array:
        """Draw positions, shape (n_draws, n_parameters)."""
        positions: Array = rng.random((n_draws, len(self)))
        return positions

    def _bounds(self) -> tuple[Array, Array]:
        bounds = np.array([[p.low, p.high] for p in self.parameters], dtype=np.float64)
        logarithmic = self._logarithmic()
        bounds[logarithmic] = np.log(bounds[logarithmic])
        return bounds[:, 0], bounds[:, 1]

    def _logarithmic(self) -> Mask:
        return np.array([p.logarithmic for p in self.parameters], dtype=bool)


def join_priors(*priors: Prior) -> Prior:
    """Return the prior of the parameters of several priors."""
    return Prior(tuple(parameter for prior in priors for parameter in prior.parameters))


def to_real_line(positions: Array) -> Array:
    """Return the logit of positions, on which a flow has no borders to leak over."""
    inside = np.clip(positions, _EDGE, 1 - _EDGE)
    logit: Array = np.log(inside / (1 - inside))
    return logit


def from_real_line(logit: Array) -> Array:
    """Return the positions of logits: the inverse of :func:`to_real_line`.

    >>> from_real_line(to_real_line(np.array([0.25]))).round(6).tolist()
    [0.25]
    """
    positions: Array = 1 / (1 + np.exp(-logit))
    return positions
