"""Parameters of models as entered: values by name, and ranges of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from npi_bids.errors import SettingsError
from npi_bids.wording import join_items


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter and its range; ``n_points`` is 0 where only the range was entered."""

    name: str
    low: float
    high: float
    n_points: int = 0

    @property
    def values(self) -> tuple[float, ...]:
        """Equally spaced values, both ends included."""
        return tuple(float(value) for value in np.linspace(self.low, self.high, self.n_points))


def parse_parameters(words: Sequence[str]) -> dict[str, float]:
    """Return values by name.

    Raises
    ------
    SettingsError
        A word is not ``NAME=VALUE``, or a name is repeated.

    >>> parse_parameters(["mue_ext_mean=1.57", "K_gl=250"])
    {'mue_ext_mean': 1.57, 'K_gl': 250.0}
    """
    parameters: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        value = _number(text)
        if not name or not equals or value is None:
            raise SettingsError(f"--set {word} must be NAME=VALUE with a number.")
        if name in parameters:
            raise SettingsError(f"--set names {name} twice.")
        parameters[name] = value
    return parameters


def parse_axes(words: Sequence[str], *, gridded: bool) -> tuple[Axis, ...]:
    """Return the parameters that are varied, with their ranges.

    Parameters
    ----------
    words
        ``NAME=LOW:HIGH:N``; ``N`` may be left out unless ``gridded``.
    gridded
        Whether the number of points is needed.

    Raises
    ------
    SettingsError
        A range cannot be read, is empty, or a name is repeated.

    >>> parse_axes(["mue_ext_mean=0:3:4"], gridded=True)[0].values
    (0.0, 1.0, 2.0, 3.0)
    """
    axes = [_parse_axis(word, gridded=gridded) for word in words]
    names = [axis.name for axis in axes]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SettingsError(f"{join_items(repeated)} is varied twice; give one range for each.")
    return tuple(axes)


def _parse_axis(word: str, *, gridded: bool) -> Axis:
    form = "NAME=LOW:HIGH:N" if gridded else "NAME=LOW:HIGH"
    name, _, text = word.partition("=")
    parts = text.split(":")
    numbers = [_number(part) for part in parts]
    low, high = (*numbers[:2], None, None)[:2]
    n_expected = (3,) if gridded else (2, 3)
    if not name or len(parts) not in n_expected or low is None or high is None:
        raise SettingsError(f"{word} must be {form}, such as mue_ext_mean=0:3:31.")
    if not low < high:
        raise SettingsError(f"{word}: the lower end must be below the upper one.")
    n_points = parts[2] if len(parts) == 3 else "0"
    if not n_points.isdigit() or (gridded and int(n_points) < 2):
        raise SettingsError(f"{word}: the number of points must be a whole number of at least 2.")
    return Axis(name, low, high, int(n_points))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
