"""Matrices in the JSON of a page: numbers of three digits, in few bytes.

A number is a code of 16 bits: ``2000 * exponent + 1000 * negative + mantissa``, with a mantissa of
100 to 999 and an exponent of ten that counts from a common lowest one; 0 is 0. Codes are deflated,
which the ``DecompressionStream`` of a browser undoes. Symmetric and antisymmetric matrices are
stored by half; a matrix that is nearly a function of the magnitude of another one, such as p of t,
as the difference from that function.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npi_bids.records import Array

MISSING = 65535  # code of n/a
_EXPONENTS = 16  # that a code can hold; smaller numbers are 0
_NEGATIVE, _PER_EXPONENT = 1000, 2000
_WORTH = 0.8  # share of its own entropy below which a matrix is stored as a function of another

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedMatrix:
    """A matrix as codes, shape (n_regions, n_regions), and the exponent that they count from."""

    codes: Codes
    lowest: int

    @property
    def magnitudes(self) -> Codes:
        """Codes without the sign of the numbers."""
        is_negative = (self.codes % _PER_EXPONENT >= _NEGATIVE) & (self.codes != MISSING)
        magnitudes: Codes = self.codes - _NEGATIVE * is_negative
        return magnitudes


def encode(matrix: Array, below: float | None = None) -> EncodedMatrix:
    """Round a matrix to three digits.

    Parameters
    ----------
    matrix
        Shape (n_regions, n_regions); NaN is kept.
    below
        A limit that numbers below it must not reach by rounding.

    >>> decode(encode(np.array([[0.0, 0.04999], [np.nan, -1234.0]]), below=0.05)).tolist()
    [[0.0, 0.0499], [nan, -1230.0]]
    """
    finite = np.isfinite(matrix)
    size = np.where(finite, np.abs(matrix), 0.0)
    exponent = np.floor(np.log10(np.where(size > 0, size, 1.0))).astype(np.int64)
    mantissa = np.rint(size / 10.0 ** (exponent - 2)).astype(np.int64)
    exponent, mantissa = exponent + mantissa // 1000, np.where(mantissa == 1000, 100, mantissa)
    highest = int(exponent[size > 0].max(initial=0)) if (size > 0).any() else 0
    lowest = highest - _EXPONENTS + 1
    codes = _PER_EXPONENT * (exponent - lowest) + _NEGATIVE * (matrix < 0) + mantissa
    codes[(size == 0) | (exponent < lowest)] = 0
    codes[~finite] = MISSING
    encoded = EncodedMatrix(codes, lowest)
    if below is None:
        return encoded
    reached = finite & (matrix < below) & (decode(encoded) >= below)
    return encode(np.where(reached, 0.998 * matrix, matrix))


def decode(encoded: EncodedMatrix) -> Array:
    """Return the numbers that codes stand for."""
    exponent, rest = np.divmod(encoded.codes, _PER_EXPONENT)
    mantissa = rest % _NEGATIVE
    power = (exponent + encoded.lowest - 2).astype(np.float64)
    values: Array = np.where(rest >= _NEGATIVE, -1.0, 1.0) * mantissa
    values = np.where(power < 0, values / 10.0 ** np.abs(power), values * 10.0 ** np.abs(power))
    values[encoded.codes == 0] = 0.0
    values[encoded.codes == MISSING] = np.nan
    return values


def pack(
    encoded: EncodedMatrix, bases: Mapping[int, EncodedMatrix] | None = None
) -> dict[str, object]:
    """Return a matrix for the JSON of a page.

    Parameters
    ----------
    encoded
        The matrix.
    bases
        Other matrices of the page by their number, of which it may be nearly a function.

    >>> packed = pack(encode(np.array([[0.0, 2.0], [np.nan, -1.0]])))
    >>> unpack(packed, 2).tolist()
    [[0.0, 2.0], [nan, -1.0]]
    """
    codes, content = encoded.codes, {"lowest": encoded.lowest}
    best = _entropy(codes) * _WORTH
    chosen: dict[str, object] = {}
    for number, base in (bases or {}).items():
        keys, expected, difference = _difference(encoded.codes, base.magnitudes)
        if _entropy(difference) < best:
            best, codes = _entropy(difference), difference
            chosen = {
                "of": number,
                "keys": deflate_codes(keys),
                "expected": deflate_codes(expected),
            }
    half = "" if chosen else _symmetry(encoded)
    if half:
        codes = codes[np.triu_indices(len(codes))]
    return {**content, **chosen, **({"half": half} if half else {}), **_store(codes.ravel())}


def unpack(
    packed: Mapping[str, object], n_regions: int, base: EncodedMatrix | None = None
) -> Array:
    """Return the matrix that :func:`pack` packed; ``base`` is the one that it is a function of."""
    values = _inflate(str(packed["values"]), 1 if "table" in packed else 2)
    codes = np.asarray(packed["table"])[values] if "table" in packed else values
    if base is not None:
        keys, expected = (_inflate(str(packed[name]), 2) for name in ("keys", "expected"))
        codes = codes.reshape(base.codes.shape)
        codes = (codes + expected[np.searchsorted(keys, base.magnitudes)]) % (MISSING + 1)
    elif "half" in packed:
        upper = np.triu_indices(n_regions)
        whole = np.zeros((n_regions, n_regions), dtype=np.int64)
        whole[upper] = codes
        mirrored = _negate(whole) if packed["half"] == "antisymmetric" else whole
        codes = np.where(np.tri(n_regions, k=-1, dtype=bool), mirrored.T, whole)
    shaped = codes.reshape(n_regions, n_regions)
    return decode(EncodedMatrix(shaped, int(str(packed["lowest"]))))


def _difference(codes: Codes, magnitudes: Codes) -> tuple[Codes, Codes, Codes]:
    """Return the codes of another matrix, the median code at each, and the differences from it."""
    flat, base = codes.ravel(), magnitudes.ravel()
    counts = np.bincount(base)
    keys = np.flatnonzero(counts)
    counts = counts[keys]
    middle = np.cumsum(counts) - counts + (counts - 1) // 2
    # Codes have 16 bits, so that one sort orders them within each key.
    expected = np.sort((base << 16) | flat)[middle] & MISSING
    expected_at = np.zeros(MISSING + 1, dtype=np.int64)
    expected_at[keys] = expected
    difference = (flat - expected_at[base]) % (MISSING + 1)
    return keys, expected, difference.reshape(codes.shape)


def _entropy(codes: Codes) -> float:
    """Return the entropy of the distribution of codes, in bits."""
    counts = np.bincount(codes.ravel())
    share = counts[counts > 0] / codes.size
    return float(-(share * np.log2(share)).sum())


def _negate(codes: Codes) -> Codes:
    """Return the codes of the numbers with the other sign."""
    is_number = (codes != 0) & (codes != MISSING)
    is_negative = codes % _PER_EXPONENT >= _NEGATIVE
    return np.where(is_number, codes + np.where(is_negative, -_NEGATIVE, _NEGATIVE), codes)


def _symmetry(encoded: EncodedMatrix) -> str:
    codes = encoded.codes
    if (codes == codes.T).all():
        return "symmetric"
    return "antisymmetric" if (_negate(codes) == codes.T).all() else ""


def _store(codes: Codes) -> dict[str, object]:
    """Return codes as text: as bytes of a table if there are few, else as bytes of both halves."""
    counts = np.bincount(codes)
    table = np.flatnonzero(counts)
    if len(table) <= 256:
        index = np.zeros(len(counts), dtype=np.uint8)
        index[table] = np.arange(len(table))
        return {"table": table.tolist(), "values": deflate_bytes(index[codes])}
    return {"values": deflate_codes(codes)}


def deflate_codes(codes: Codes) -> str:
    """Return 16-bit codes, first all low and then all high bytes, deflated and in base64."""
    return deflate_bytes(np.concatenate([codes & 255, codes >> 8]).astype(np.uint8))


def deflate_bytes(numbers: NDArray[np.uint8]) -> str:
    """Return bytes deflated and in base64."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = compressor.compress(numbers.tobytes()) + compressor.flush()
    return base64.b64encode(deflated).decode()


def _inflate(text: str, n_bytes: int) -> Codes:
    raw = zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS)
    numbers = np.frombuffer(raw, dtype=np.uint8).astype(np.int64)
    if n_bytes == 1:
        return numbers
    low, high = numbers.reshape(2, -1)
    codes: Codes = low + 256 * high
    return codes
