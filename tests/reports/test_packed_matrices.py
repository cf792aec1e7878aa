"""Matrices in the JSON of a page."""

import json

import numpy as np
import pytest

from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.packed_matrices import decode, encode, pack, unpack

RNG = np.random.default_rng(0)
SIGNED = RNG.standard_normal((30, 30)) * 10.0 ** RNG.integers(-6, 4, (30, 30))


def three_digits(matrix):
    return np.array([[float(f"{value:.3g}") for value in row] for row in matrix])


@pytest.mark.parametrize(
    "matrix",
    [SIGNED, np.abs(SIGNED), SIGNED + SIGNED.T, SIGNED - SIGNED.T,
     RNG.integers(0, 9, (30, 30)) / 8, np.zeros((30, 30)), np.full((30, 30), 999.9),
     np.full((30, 30), np.nan)],
    ids=["signed", "positive", "symmetric", "antisymmetric", "few", "zero", "carry", "missing"],
)  # fmt: skip
def test_packed_numbers_have_the_three_digits_that_tables_print(matrix):
    matrix = matrix.astype(float)
    matrix[2, 3] = matrix[3, 2] = np.nan
    np.testing.assert_allclose(unpack(pack(encode(matrix)), 30), three_digits(matrix), rtol=1e-12)


def test_the_transpose_of_a_directed_matrix_is_another_one():
    packed = pack(encode(SIGNED))
    assert not np.allclose(unpack(packed, 30), three_digits(SIGNED.T))


@pytest.mark.parametrize(("matrix", "half"), [(SIGNED + SIGNED.T, "symmetric"),
                                              (SIGNED - SIGNED.T, "antisymmetric")])  # fmt: skip
def test_of_matrices_with_equal_halves_one_is_stored(matrix, half):
    assert pack(encode(matrix))["half"] == half
    assert "half" not in pack(encode(SIGNED))


def test_p_is_stored_as_its_difference_from_a_function_of_t():
    from scipy.stats import t as student

    t = RNG.standard_normal((80, 80)) * 2
    p = 2 * student.sf(np.abs(t), 20)
    np.fill_diagonal(p, np.nan)
    base, other = encode(t), encode(RNG.standard_normal((80, 80)))
    packed = pack(encode(p), {0: other, 3: base})
    assert packed["of"] == 3
    np.testing.assert_allclose(unpack(packed, 80, base), three_digits(p), rtol=1e-12)
    assert len(json.dumps(packed)) < 0.8 * len(json.dumps(pack(encode(p))))
    assert "of" not in pack(encode(p), {0: other})


def test_rounding_makes_nothing_that_is_significant_miss_the_limit():
    q = np.array([[0.049999, 0.05], [0.0501, 0.01]])
    assert ((decode(encode(q, below=0.05)) < 0.05) == (q < 0.05)).all()
    assert not ((decode(encode(q)) < 0.05) == (q < 0.05)).all()


def test_numbers_far_below_the_largest_are_zero():
    assert decode(encode(np.array([[1e20, 1e-3]]))).tolist() == [[1e20, 0.0]]


def test_a_page_with_400_regions_keeps_below_its_size():
    n = 400
    t = RNG.standard_normal((n, n))
    p = np.exp(-(t**2))
    correlation = RNG.standard_normal((n, n))
    layers = [Layer("mean EC", "", RNG.standard_normal((n, n))), Layer("t", "", t),
              Layer("FC", "", correlation + correlation.T)]  # fmt: skip
    view = MatrixView("view", ["R"] * n, [], layers, {"q": p})
    as_integers_of_16_bits = 4 * n * n * 2 * 4 / 3
    assert len(view.data) < 0.55 * as_integers_of_16_bits
