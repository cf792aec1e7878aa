"""Digits are counted as theory says, and rounding decides nothing."""

import numpy as np
import pytest

import npi_bids
from npi_bids.validate.stability import (
    MOST_DIGITS,
    Outcome,
    measure_stability,
    perturb_rounding,
    significant_digits,
)
from tests.conftest import var_run


def test_values_move_by_one_unit_in_the_last_place_at_most():
    rng = np.random.default_rng(0)
    data = np.array([1.0, -3.5, 1e-300, 0.0, np.nan] * 200)
    moved = perturb_rounding(data, rng)
    assert np.isnan(moved[4::5]).all()
    assert np.nanmax(np.abs(moved - data) / np.spacing(np.abs(data))) == 1
    n_up, n_down = np.sum(moved > data), np.sum(moved < data)
    assert 200 < n_up < 350
    assert 200 < n_down < 350


@pytest.mark.parametrize("power", [3, 8])
def test_digits_hold_for_further_results(power):
    """At least 95 % of further results agree with the mean in these digits."""
    rng = np.random.default_rng(power)
    samples = 2 + 2 * 10.0**-power * rng.standard_normal((10, 4000))
    digits = significant_digits(samples)
    further = 2 + 2 * 10.0**-power * rng.standard_normal(4000)
    agree = np.abs(further - samples.mean(axis=0)) < 10.0**-digits * np.abs(samples.mean(axis=0))
    assert agree.mean() > 0.95
    assert power - 1 < np.median(digits) < power


def test_digits_of_what_does_not_change_of_noise_and_of_nothing():
    assert significant_digits(np.ones((3, 1)))[0] == MOST_DIGITS
    assert significant_digits(np.array([[-1.0], [1.0], [-1.0], [1.0]]))[0] == 0  # mean 0
    assert np.isnan(significant_digits(np.array([[1.0, np.nan]] * 3))[1])


def test_a_choice_that_depends_on_rounding_is_found():
    tie = np.array([[1.0, 1.0]])

    def analyse(runs):
        first, second = runs[0][0]
        return Outcome({"difference": runs[0]}, {"first wins": first > second, "sure": first > 0})

    stability = measure_stability([tie], analyse)
    assert set(stability.flips) == {"first wins"}


def analyse(runs, **options):
    result = npi_bids.ec(list(runs), tr=2.0, **options)
    choices = {"verdict": result.verdict.label, **dict(result.log.details)}
    kept = ("verdict", "linear_is_var", "whitening_order", "residual_networks")
    return Outcome(
        {"ec": result.ec, "p": result.measures["npip"].matrix},
        {name: choices[name] for name in kept if name in choices},
    )


@pytest.mark.slow
@pytest.mark.parametrize("surrogate", ["var", "mou", "hybrid"])
def test_rounding_decides_nothing(weights, surrogate):
    """Ten repetitions: eight digits of a typical entry, five of the worst, no choice flips."""
    runs = [var_run(weights, 400, seed=seed).data for seed in (1, 2)]
    stability = measure_stability(runs, lambda data: analyse(data, surrogate=surrogate))
    assert stability.flips == {}
    off_diagonal = ~np.eye(4, dtype=bool)
    digits = stability.digits["ec"][off_diagonal]
    assert np.median(digits) > 8
    assert digits.min() > 5
    p = stability.digits["p"][off_diagonal]
    assert np.nanmedian(p) > 6
