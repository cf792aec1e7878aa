from __future__ import annotations

import numpy as np
import pytest

from npi_bids.matrices import correlation, pearson


def test_correlation_of_a_constant_is_not_a_number():
    data = np.random.default_rng(0).standard_normal((50, 2))
    data[:, 1] = 3.0
    assert np.isnan(correlation(data)[0, 1])


def test_pearson_leaves_the_diagonal_out():
    one = np.array([[9.0, 1, 2], [3, 9, 4], [5, 6, 9]])
    other = one.copy()
    np.fill_diagonal(other, -100)
    assert pearson(one, other) == pytest.approx(1)
