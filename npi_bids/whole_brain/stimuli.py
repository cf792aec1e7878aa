"""Regional input over time to the populations of a whole-brain model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.tables import read_numbers
from npi_bids.records import Array
from npi_bids.wording import join_items, suggest_word

_SHAPES: dict[str, Callable[[Array, float], Array]] = {
    "step": lambda time, _: np.ones_like(time),
    "ramp": lambda time, duration: time / duration,
    "sine": lambda time, period: np.sin(2 * np.pi * time / period),
    "square": lambda time, period: np.where((time % period) < period / 2, 1.0, -1.0),
}
# Numbers of a specification in words; frequency belongs to sine and square, end to all.
_NUMBERS = ("amplitude", "start", "end", "frequency")


@dataclass(frozen=True, slots=True)
class ShapedStimulus:
    """A stimulus of a simple shape.

    Attributes
    ----------
    shape
        ``step``, ``ramp`` (from 0 to the amplitude), ``sine`` or ``square``.
    amplitude
        In the units of the input of the model.
    start, end
        When it begins and ends (s).
    frequency
        Of ``sine`` and ``square`` (Hz).
    regions
        Names of the stimulated regions; empty for all.
    """

    shape: str
    amplitude: float
    start: float = 0.0
    end: float = float("inf")
    frequency: float = float("nan")
    regions: tuple[str, ...] = ()

    def values(self, time: Array, labels: tuple[str, ...]) -> Array:
        """Return the input at some times (s), shape (n_regions, n_times)."""
        stimulated = _find_regions(self.regions, labels)
        periodic = self.shape in ("sine", "square")
        scale = 1 / self.frequency if periodic else self.end - self.start
        wave = self.amplitude * _SHAPES[self.shape](time - self.start, scale)
        during = (time >= self.start) & (time < self.end)
        values: Array = np.outer(stimulated, np.where(during, wave, 0.0))
        return values


@dataclass(frozen=True, slots=True, eq=False)
class TabulatedStimulus:
    """A stimulus from a table; every value holds until the next row, and it is 0 before the first.

    Attributes
    ----------
    time
        Shape (n_rows,); increasing (s).
    columns
        By region: its input, shape (n_rows,). Regions without a column receive none.
    """

    time: Array
    columns: dict[str, Array] = field(default_factory=dict)

    def values(self, time: Array, labels: tuple[str, ...]) -> Array:
        """Return the input at some times (s), shape (n_regions, n_times)."""
        _find_regions(tuple(self.columns), labels)
        row = np.searchsorted(self.time, time, side="right") - 1
        values = np.zeros((len(labels), len(time)))
        for region, column in self.columns.items():
            values[labels.index(region)] = np.where(row >= 0, column[np.maximum(row, 0)], 0.0)
        return values


Stimulus = ShapedStimulus | TabulatedStimulus


def read_stimulus(text: str) -> Stimulus:
    """Return a stimulus from a specification in words, or from a file.

    Parameters
    ----------
    text
        ``SHAPE:NAME=VALUE,...`` with the shapes and names of :class:`ShapedStimulus`, regions
        joined by ``+``; or the path of a TSV with a column ``time`` (s) and one column per
        stimulated region.

    Raises
    ------
    SettingsError
        The specification cannot be read, or the file does not exist.
    InputDataError
        The table has no column ``time``, or its times do not increase.

    >>> read_stimulus("step:amplitude=0.5,start=1,end=2,regions=A+B").regions
    ('A', 'B')
    """
    shape, colon, specification = text.partition(":")
    if colon and shape in _SHAPES:
        return _parse_specification(text, shape, specification)
    path = Path(text)
    if path.is_file():
        return _read_table(path)
    raise SettingsError(
        f"--stimulus {text} is neither a file nor a shape; expected a TSV with a column time, or "
        f"SHAPE:amplitude=X,start=S,end=S,regions=A+B with one of {join_items(_SHAPES)}"
        f"{suggest_word(shape, tuple(_SHAPES)) or '.'}"
    )


def _parse_specification(text: str, shape: str, specification: str) -> ShapedStimulus:
    numbers: dict[str, float] = {}
    regions: tuple[str, ...] = ()
    for item in filter(None, specification.split(",")):
        name, _, value = item.partition("=")
        if name == "regions":
            regions = tuple(filter(None, value.split("+")))
            continue
        if name not in _NUMBERS:
            hint = suggest_word(name, (*_NUMBERS, "regions")) or "."
            raise SettingsError(
                f"--stimulus {text}: {name!r} is unknown; expected {join_items(_NUMBERS)} or "
                f"regions{hint}"
            )
        try:
            numbers[name] = float(value)
        except ValueError as error:
            raise SettingsError(
                f"--stimulus {text}: {name} must be a number, not {value!r}."
            ) from error
    _check_numbers(text, shape, numbers)
    return ShapedStimulus(shape, regions=regions, **numbers)


def _check_numbers(text: str, shape: str, numbers: dict[str, float]) -> None:
    if "amplitude" not in numbers:
        raise SettingsError(f"--stimulus {text} has no amplitude; add amplitude=X.")
    periodic = shape in ("sine", "square")
    if periodic and not numbers.get("frequency", 0) > 0:
        raise SettingsError(f"--stimulus {text} needs a frequency above 0 (Hz).")
    if not periodic and "frequency" in numbers:
        raise SettingsError(f"--stimulus {text}: a {shape} has no frequency.")
    if shape == "ramp" and "end" not in numbers:
        raise SettingsError(f"--stimulus {text} needs an end, at which it reaches its amplitude.")
    if not numbers.get("end", float("inf")) > numbers.get("start", 0.0):
        raise SettingsError(f"--stimulus {text} ends before it starts.")


def _read_table(path: Path) -> TabulatedStimulus:
    table = read_numbers(path)
    if "time" not in table:
        raise InputDataError(
            f"<{path}> has no column time (s); it has {join_items(table.columns, most=5)}."
        )
    values = table.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputDataError(f"<{path}> must hold finite numbers alone.")
    time = table["time"].to_numpy(dtype=np.float64)
    if not (np.diff(time) > 0).all():
        raise InputDataError(f"The times in <{path}> must increase from row to row.")
    columns = {str(name): table[name].to_numpy(dtype=np.float64)
               for name in table.columns if name != "time"}  # fmt: skip
    return TabulatedStimulus(time, columns)


def _find_regions(names: tuple[str, ...], labels: tuple[str, ...]) -> Array:
    """Return 1 for the regions that are named, or for all if none is, and 0 for the others."""
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise SettingsError(
            f"The stimulus names {join_items(unknown, most=5)}, which the model does not have; "
            f"its regions are {join_items(labels, most=5)}."
        )
    chosen: Array = np.array([float(not names or label in names) for label in labels])
    return chosen
