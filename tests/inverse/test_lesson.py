import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.inverse.lesson import (
    HIGHEST_J,
    LOWEST_J,
    LessonSettings,
    Predictions,
    Recordings,
    draw_values,
    predict_held_out,
    score_ridge,
    simulate_recordings,
)


def recordings(n, *, informative=True):
    """Return recordings whose features are linear in J_ext, or independent of it."""
    rng = np.random.default_rng(0)
    j_ext = rng.uniform(LOWEST_J, HIGHEST_J, n)
    signal = np.outer(j_ext, rng.standard_normal(22)) if informative else 0.0
    features = signal + rng.standard_normal((n, 22))
    return Recordings(j_ext, np.zeros((n, 2)), np.zeros((n, 100)), features)


def test_ridge_regression_recovers_what_features_tell_and_nothing_else():
    told, untold = (
        score_ridge(recordings(200), 0),
        score_ridge(recordings(200, informative=False), 0),
    )
    assert len(told.mse) == 50
    assert np.median(told.r2) > 0.95
    assert np.median(untold.r2) < 0.1
    variance = (HIGHEST_J - LOWEST_J) ** 2 / 12
    assert np.median(untold.mse) == pytest.approx(variance, rel=0.4)


def test_a_tenth_is_held_out_and_the_same_seed_holds_out_the_same():
    settings = LessonSettings(n_simulations=200, ridge_only=True)
    one, other = (predict_held_out(recordings(200), settings) for _ in range(2))
    assert len(one.held_out) == 20
    assert np.array_equal(one.held_out, other.held_out)
    assert np.array_equal(one.truth, recordings(200).j_ext[one.held_out])
    assert np.abs(one.ridge - one.truth).mean() < 0.3
    assert one.posterior is None
    assert one.posterior_r2() is None


def test_coverage_counts_truths_within_central_intervals():
    samples = np.tile(np.linspace(0, 1, 1001)[:, None], (1, 4))
    held = Predictions(np.arange(4), np.array([0.02, 0.2, 0.5, 0.8]), np.zeros(4), samples)
    assert [held.coverage(level) for level in (0.5, 0.8, 0.95)] == [0.25, 0.75, 0.75]


@pytest.mark.slow
def test_posteriors_recover_what_features_tell_and_keep_the_prior_otherwise():
    pytest.importorskip("sbi")
    settings = LessonSettings(n_simulations=200)
    told = predict_held_out(recordings(200), settings)
    assert told.posterior_r2() > 0.9
    assert told.posterior.min() >= LOWEST_J
    assert told.posterior.max() <= HIGHEST_J
    untold = predict_held_out(recordings(200, informative=False), settings)
    prior_sd = (HIGHEST_J - LOWEST_J) / np.sqrt(12)
    assert untold.posterior.std(axis=0).mean() > 0.75 * prior_sd


def test_requested_values_are_taken_and_random_ones_cover_the_prior():
    assert draw_values(LessonSettings(j_ext=(29.0, 27.0))).tolist() == [29.0, 27.0]
    drawn = draw_values(LessonSettings(n_simulations=200))
    assert len(drawn) == 200
    assert LOWEST_J <= drawn.min() < LOWEST_J + 0.3
    assert HIGHEST_J - 0.3 < drawn.max() <= HIGHEST_J


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "half"}, "--size must be one of"),
        ({"seconds": 0.1}, "--seconds must be at least"),
    ],
)
def test_settings_out_of_bounds_are_named(options, message):
    with pytest.raises(SettingsError, match=message):
        LessonSettings(**options)


@pytest.mark.slow
def test_recordings_do_not_depend_on_the_number_of_threads():
    pytest.importorskip("numba")
    one, two = (
        simulate_recordings(LessonSettings(j_ext=(28.0, 31.0), seconds=0.2, n_threads=n))
        for n in (1, 2)
    )
    assert np.array_equal(one.eeg, two.eeg)
    assert one.eeg.shape == (2, 320)
    assert (one.rates[1] > one.rates[0]).all()
    assert one.features.shape == (2, 22)
