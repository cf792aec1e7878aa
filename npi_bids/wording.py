"""Wording of messages: counted nouns, lists, numbers and suggestions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fractions import Fraction
from math import floor, isfinite, log10
from numbers import Integral
from string import Formatter
from typing import Any

# Fractions such as 1/3, which have no short decimal, are written with denominators up to this.
_LARGEST_DENOMINATOR = 12

_SIGNIFICANT = 2  # digits of a number below 0.1; larger ones have two decimals
_LARGE, _SMALL = 100.0, 1e-4  # numbers without decimals, and numbers written with an exponent
_ROUNDING_ERROR = 1e-12  # of a difference of equal numbers


def count_noun(number: int, noun: str, plural: str = "") -> str:
    """Write a number and its noun, singular or plural.

    >>> count_noun(1, "run"), count_noun(3, "run"), count_noun(0, "series", "series")
    ('1 run', '3 runs', '0 series')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def spell_number(number: int) -> str:
    """Write a number up to ten in words, and larger ones in digits.

    >>> spell_number(3), spell_number(12)
    ('three', '12')
    """
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[number] if 0 <= number < len(words) else str(number)


def join_items(items: Iterable[object], most: int | None = None) -> str:
    """Join items by commas; where there are more than ``most``, the others become an ellipsis.

    >>> join_items(["V1", "V2", "V3"]), join_items(range(9), most=2)
    ('V1, V2, V3', '0, 1, ...')
    """
    texts = [str(item) for item in items]
    displayed = texts[:most]
    return ", ".join([*displayed, "..."] if len(displayed) < len(texts) else displayed)


def format_number(value: float) -> str:
    """Write a number in its shortest form: 240, 5e-05, 1/3.

    >>> format_number(240.0), format_number(5e-5), format_number(1 / 3)
    ('240', '5e-05', '1/3')
    """
    text = f"{value:g}"
    if float(text) == value:
        return text
    fraction = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
    return str(fraction) if float(fraction) == value else text


def rounded(value: float | None) -> str:
    """Write a result as papers do: with two decimals, or two digits if it is below 0.1.

    >>> rounded(0.73049), rounded(0.0123), rounded(12.345)
    ('0.73', '0.012', '12.3')
    >>> rounded(1234.0), rounded(3), rounded(None), rounded(2e-16)
    ('1234', '3', 'n/a', '0')
    """
    if value is None or not isfinite(value):
        return "n/a"
    if isinstance(value, Integral):
        return str(value)
    size = abs(float(value))
    if size < _ROUNDING_ERROR:
        return "0"
    if size < _SMALL:
        return f"{value:.{_SIGNIFICANT - 1}e}"
    return f"{value:.{_count_decimals(size)}f}"


def format_estimate(value: float | None, low: float | None, high: float | None) -> str:
    """Write an estimate and its interval, all with the same decimals.

    >>> format_estimate(0.887, 0.73, 0.961)
    '0.89 (0.73 to 0.96)'
    >>> format_estimate(0.0121, -0.003, 0.0272)
    '0.012 (-0.003 to 0.027)'
    """
    decimals = _count_common_decimals(value, low, high)
    return f"{_fix(value, decimals)} ({_fix(low, decimals)} to {_fix(high, decimals)})"


def format_spread(mean: float | None, sd: float | None) -> str:
    """Write a mean and its standard deviation with the same decimals.

    >>> format_spread(0.9213, 0.01)
    '0.92 ± 0.01'
    """
    decimals = _count_common_decimals(mean, sd)
    return f"{_fix(mean, decimals)} ± {_fix(sd, decimals)}"


def format_range(low: float | None, high: float | None) -> str:
    """Write a range, both ends with the same decimals.

    >>> format_range(0.05, 0.961), format_range(2, 7), format_range(float("nan"), 0.5)
    ('0.05 to 0.96', '2 to 7', 'n/a to 0.50')
    """
    decimals = _count_common_decimals(low, high)
    return f"{_fix(low, decimals)} to {_fix(high, decimals)}"


class _Template(Formatter):
    """Formats text with results that are marked ``!n``, rounded, or a range of two numbers."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion != "n":
            return super().convert_field(value, conversion)
        return format_range(*value) if isinstance(value, tuple) else rounded(value)


def fill_in(template: str, **records: object) -> str:
    """Fill fields of records into a text; ``!n`` rounds a result, or writes two as a range.

    >>> fill_in("r = {q.real!n} ({interval!n})", q=0.8871, interval=(0.73, 0.961))
    'r = 0.89 (0.73 to 0.96)'
    """
    return _Template().format(template, **records)


def _count_decimals(size: float) -> int:
    """Return the decimals of a positive number, once it is rounded."""
    if size >= _LARGE:
        return 0
    return max(1 if size >= _LARGE / 10 else 2, _SIGNIFICANT - 1 - floor(log10(size)))


def _count_common_decimals(*values: float | None) -> int | None:
    """Return the decimals of the largest of some numbers; None if each is written by itself."""
    finite = [value for value in values if value is not None and isfinite(value)]
    size = max(map(abs, finite), default=0.0)
    if size < _SMALL or all(isinstance(value, Integral) for value in finite):
        return None
    return _count_decimals(size)


def _fix(value: float | None, decimals: int | None) -> str:
    if decimals is None or value is None or not isfinite(value):
        return rounded(value)
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def suggest_word(word: str, candidates: Collection[str]) -> str:
    """Suggest the closest candidate; return an empty string where none is close.

    >>> suggest_word("--fd-threshold", ["--fd-thresh", "--gsr"])
    '; did you mean --fd-thresh?'
    >>> suggest_word("schaefer100", ["Schaefer2018", "AAL"])
    '; did you mean Schaefer2018?'
    """
    by_lower_case = {name.lower(): name for name in candidates}
    close = get_close_matches(word.lower(), by_lower_case, n=1)
    return f"; did you mean {by_lower_case[close[0]]}?" if close else ""
