"""Wording of messages: counted nouns, lists, numbers and suggestions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fractions import Fraction

# Fractions such as 1/3, which have no short decimal, are written with denominators up to this.
_LARGEST_DENOMINATOR = 12


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
