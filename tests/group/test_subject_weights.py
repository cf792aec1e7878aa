from __future__ import annotations

import numpy as np
import pytest

from npi_bids.group.subject_weights import fit_weights

N_WINDOWS = np.repeat([100.0, 400.0], 10)
ONE = np.ones((20, 1))


def draw(power, seed=0, n_edges=3000):
    """Draw maps whose errors have a variance of windows ** -power."""
    rng = np.random.default_rng(seed)
    return 0.3 + rng.standard_normal((20, n_edges)) * N_WINDOWS[:, None] ** (-power / 2)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_power_of_the_windows_is_that_of_the_errors(power):
    weights = fit_weights(draw(power), ONE, N_WINDOWS)
    assert weights.power == pytest.approx(power, abs=0.06)
    assert weights.values.mean() == pytest.approx(1)
    assert weights.values[-1] / weights.values[0] == pytest.approx(4**weights.power)


def test_power_is_never_negative_nor_above_one():
    assert fit_weights(draw(-1.0), ONE, N_WINDOWS).power == 0
    assert fit_weights(draw(2.0), ONE, N_WINDOWS).power == 1


def test_groups_that_differ_in_length_are_weighted_by_residuals_not_by_effects():
    maps = draw(1.0)
    maps[10:] += 5.0
    design = np.column_stack([ONE, N_WINDOWS > 200])
    assert fit_weights(maps, design, N_WINDOWS).power == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("n_windows", [np.full(20, 100.0), np.r_[np.nan, N_WINDOWS[1:]]])
def test_equal_or_unknown_numbers_give_equal_weights(n_windows):
    assert (fit_weights(draw(1.0), ONE, n_windows).values == 1).all()


def test_edges_that_a_subject_lacks_and_constant_ones_are_left_out():
    maps = draw(1.0)
    expected = fit_weights(maps[:, 2:], ONE, N_WINDOWS)
    maps[3, 0], maps[:, 1] = np.nan, 0.0
    assert fit_weights(maps, ONE, N_WINDOWS).power == pytest.approx(expected.power)


def test_a_small_group_is_not_taken_for_a_precise_one():
    """Its residuals are smaller, because its mean follows each of its subjects more."""
    n_windows = np.repeat([100.0, 400.0], [16, 4])
    maps = np.random.default_rng(5).standard_normal((20, 3000))
    design = np.column_stack([ONE, n_windows > 200])
    assert fit_weights(maps, design, n_windows).power == pytest.approx(0, abs=0.05)


def test_components_of_a_subject_do_not_make_a_group_large():
    """Ten subjects of two components have 9 degrees of freedom, not 18."""
    design = np.kron(np.ones((10, 1)), np.eye(2))
    maps = draw(1.0)
    assert fit_weights(maps, design, N_WINDOWS).power > 0.9
    assert fit_weights(maps, design, N_WINDOWS, n_components=2).power == 0


def test_a_subject_that_the_design_fits_exactly_does_not_shift_the_power():
    alone = np.zeros((20, 1))
    alone[0] = 1
    design, n_windows = np.column_stack([ONE, alone]), N_WINDOWS.copy()
    n_windows[0] = 1e6
    power = fit_weights(draw(0.5, seed=1), design, n_windows).power
    without = fit_weights(draw(0.5, seed=1)[1:], ONE[1:], n_windows[1:]).power
    assert power == pytest.approx(without, abs=1e-6)
