from __future__ import annotations

import numpy as np
import pytest

from npi_bids.group.glm import Contrast, Design
from npi_bids.group.scan_length import (
    blank_similar_lengths,
    correlate_with_windows,
    describe_length,
)

SUBJECTS = 12


def correlation(matrix, row, n_windows):
    names = tuple(f"c{n}" for n in range(matrix.shape[1]))
    contrast = Contrast("tested", np.atleast_2d(row))
    return correlate_with_windows(
        Design(matrix, names, (contrast,), np.zeros(len(matrix))), contrast, n_windows
    )


def test_it_is_the_correlation_of_a_covariate_with_the_number_of_windows():
    rng = np.random.default_rng(0)
    age, n_windows = rng.standard_normal(SUBJECTS), rng.uniform(100, 400, SUBJECTS)
    matrix = np.column_stack([np.ones(SUBJECTS), age])
    expected = abs(np.corrcoef(age, n_windows)[0, 1])
    assert correlation(matrix, [0.0, 1.0], n_windows) == pytest.approx(expected)


def test_it_vanishes_where_the_number_of_windows_is_a_covariate():
    rng = np.random.default_rng(1)
    n_windows = rng.uniform(100, 400, SUBJECTS)
    group = (n_windows > np.median(n_windows)).astype(float)
    alone = np.column_stack([np.ones(SUBJECTS), group])
    assert correlation(alone, [0.0, 1.0], n_windows) > 0.5
    adjusted = np.column_stack([alone, n_windows])
    assert correlation(adjusted, [0.0, 1.0, 0.0], n_windows) == pytest.approx(0, abs=1e-9)


def test_several_levels_have_the_multiple_correlation():
    level = np.arange(SUBJECTS) % 3
    matrix = np.column_stack([np.ones(SUBJECTS), level == 1, level == 2]).astype(float)
    n_windows = np.array([100.0, 300.0, 200.0])[level]
    both = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert correlation(matrix, both, n_windows) == pytest.approx(1)


@pytest.mark.parametrize("n_windows", [np.full(SUBJECTS, 200.0), np.full(SUBJECTS, np.nan)])
def test_it_is_unknown_where_lengths_are_equal_or_unknown(n_windows):
    matrix = np.column_stack([np.ones(SUBJECTS), np.arange(SUBJECTS)])
    result = correlation(matrix, [0.0, 1.0], n_windows)
    assert np.isnan(result)
    assert describe_length(result) == ""


def test_only_a_large_correlation_is_cautioned_of():
    assert describe_length(0.5) == ""
    assert "|r| = 0.51" in describe_length(0.51)


def test_a_mean_of_changes_goes_along_with_changes_that_subjects_share():
    ones = np.ones((SUBJECTS, 1))
    rng = np.random.default_rng(2)
    assert correlation(ones, [1.0], np.full(SUBJECTS, -50.0)) == pytest.approx(1)
    assert correlation(ones, [1.0], 20 * rng.standard_normal(SUBJECTS)) < 0.5
    assert np.isnan(correlation(ones, [1.0], np.zeros(SUBJECTS)))


def test_scans_of_about_the_same_length_are_not_told_apart():
    assert np.isnan(blank_similar_lengths(np.array([299.0, 300.0, 290.0]))).all()
    different = np.array([299.0, 300.0, 280.0])
    np.testing.assert_array_equal(blank_similar_lengths(different), different)
    assert np.isnan(blank_similar_lengths(np.array([np.nan, 300.0]))[0])


def test_the_caution_of_paired_sessions_is_on_the_change_between_them():
    assert "change of the number of windows between the sessions" in describe_length(
        0.9, paired=True
    )
    assert describe_length(0.3, paired=True) == ""
