"""Decimal numbers of large tables, read by operations on whole arrays.

A group has thousands of matrices of regions; converting their text one number after another takes
most of its time. Nearly all entries, as they are written (``%.9g``), have one digit before the
point and 8 to 14 after it, without an exponent: the last 16 characters of a cell hold its digits,
eight in each of two words, and a word becomes a number in three multiplications (Lemire 2021,
doi:10.1002/spe.2984). All digits together are an integer below 2^53, and so is the power of ten
that divides it, so that the one division rounds correctly: the result is that of any correctly
rounding reader, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from npi_bids.records import Array, Mask

Words = NDArray[np.uint64]

_WORD = 8  # characters
_MOST_DECIMALS = 14  # with one digit before the point an integer below 2^53
_CELLS_AT_ONCE = 1 << 14  # whose arrays fit into the cache
# Share of cells of another form above which all are left to the other reader, which is faster
# than cutting them out.
_MOST_OTHERS = 0.2
_TAB, _NEWLINE, _MINUS, _POINT, _ZERO = b"\t\n-.0"
_ZEROS = np.uint64(0x3030303030303030)  # "00000000"
_ALL_BITS = (1 << 64) - 1
# By number of digits at the end of a word: the bits of these digits.
_KEPT = np.array([_ALL_BITS ^ (_ALL_BITS >> 8 * n) for n in range(_WORD + 1)], dtype=np.uint64)
_FILLED = ~_KEPT & _ZEROS
_POWERS = 10 ** np.arange(_MOST_DECIMALS + 1)
_DIVISORS = _POWERS.astype(np.float64)

OtherReader = Callable[[list[bytes]], Array | None]


def read_rows(
    body: bytes, n_columns: int, read_others: OtherReader
) -> tuple[list[bytes], Array] | None:
    r"""Read rows of a name and numbers, separated by tabs.

    Parameters
    ----------
    body
        The rows, each with a line feed at its end.
    n_columns
        Number of numbers in each row.
    read_others
        Reads cells of any other form, such as ``n/a``; None where it cannot.

    Returns
    -------
    tuple or None
        Names of the rows, and their numbers, shape (n_rows, n_columns). None where a row has
        another number of cells, or a cell is not a number.

    Examples
    --------
    >>> read_rows(b"A\t0.123456789\t-7\n", 2, lambda cells: np.array(cells, dtype=float))
    ([b'A'], array([[ 0.12345679, -7.        ]]))
    """
    # As many characters before the first cell and after the last as are read with them.
    text = bytes([_ZERO]) * 2 * _WORD + body + bytes([_ZERO]) * _WORD
    characters = np.frombuffer(text, dtype=np.uint8)
    separated_at = np.flatnonzero(characters <= _NEWLINE)
    if not separated_at.size or separated_at.size % (n_columns + 1):
        return None
    begins = np.empty_like(separated_at)
    begins[0], begins[1:] = 2 * _WORD, separated_at[:-1] + 1
    starts, ends = (at.reshape(-1, n_columns + 1) for at in (begins, separated_at))
    separators = characters[ends]
    if (separators[:, -1] != _NEWLINE).any() or (separators[:, :-1] != _TAB).any():
        return None
    names = [text[start:end] for start, end in zip(starts[:, 0], ends[:, 0], strict=True)]
    values = np.empty((len(ends), n_columns))
    is_read = np.empty(values.shape, dtype=bool)
    step = max(1, _CELLS_AT_ONCE // n_columns)
    for first in range(0, len(ends), step):
        rows = slice(first, first + step)
        cells = starts[rows, 1:].ravel(), ends[rows, 1:].ravel()
        numbers, has_form = _read_cells(text, *cells)
        values[rows] = numbers.reshape(-1, n_columns)
        is_read[rows] = has_form.reshape(-1, n_columns)
    others = np.flatnonzero(~is_read)
    if not others.size:
        return names, values
    if others.size > _MOST_OTHERS * values.size:
        others = np.arange(values.size)
    limits = (at[:, 1:].ravel()[others].tolist() for at in (starts, ends))
    read = read_others([text[start:end] for start, end in zip(*limits, strict=True)])
    if read is None:
        return None
    values.ravel()[others] = read
    return names, values


def _read_cells(
    text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[Array, Mask]:
    """Read cells; return their numbers, and which have the form that this reads."""
    characters = np.frombuffer(text, dtype=np.uint8)
    is_negative = (characters.take(starts) == _MINUS).view(np.int8)
    start = starts + is_negative
    leading = characters.take(start) - np.uint8(_ZERO)
    start += 1
    has_form: Mask = characters.take(start) == _POINT
    n_more = ends - start
    n_more -= 1 + _WORD  # digits after the point, but for the last eight
    has_form &= (leading < 10) & (n_more >= 0) & (n_more <= _MOST_DECIMALS - _WORD)
    n_more[~has_form] = 0
    earlier, last = _last_words(text, ends)
    earlier &= _KEPT.take(n_more)
    earlier |= _FILLED.take(n_more)
    last, is_wrong = _read_eight(last)
    earlier, is_wrong_too = _read_eight(earlier)
    has_form &= (is_wrong | is_wrong_too) == 0
    earlier *= np.uint64(10**_WORD)
    last += earlier
    n_more += _WORD
    digits = last.view(np.int64)
    digits += _POWERS.take(n_more) * leading
    numbers = digits / _DIVISORS.take(n_more)
    numbers *= 1 - 2 * is_negative
    return numbers, has_form


def _last_words(text: bytes, ends: NDArray[np.int64]) -> tuple[Words, Words]:
    """Return the last 16 to 9 characters before each end, and the last 8, as words."""
    aligned = np.frombuffer(text, dtype="<u8", count=len(text) // _WORD)
    index, shift = ends // _WORD, (8 * (ends % _WORD)).view(np.uint64)
    after = np.uint64(64) - shift
    first, second, third = (aligned.take(index - back, mode="clip") for back in (2, 1, 0))
    return (first >> shift) | (second << after), (second >> shift) | (third << after)


def _read_eight(words: Words) -> tuple[Words, Words]:
    """Return the number that eight characters form, and 0 where all of them are digits."""
    high, six = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x0606060606060606)
    is_wrong = ((words ^ _ZEROS) | ((words + six) ^ _ZEROS)) & high
    pairs = words & np.uint64(0x0F0F0F0F0F0F0F0F)
    pairs *= np.uint64(10 * 2**8 + 1)
    pairs >>= np.uint64(8)
    fours = pairs & np.uint64(0x00FF00FF00FF00FF)
    fours *= np.uint64(100 * 2**16 + 1)
    fours >>= np.uint64(16)
    eights = fours & np.uint64(0x0000FFFF0000FFFF)
    eights *= np.uint64(10_000 * 2**32 + 1)
    eights >>= np.uint64(32)
    return eights, is_wrong
