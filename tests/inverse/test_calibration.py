"""Calibration of posteriors."""

import numpy as np
import pytest

from npi_bids.inverse.calibration import (
    IDENTIFIED,
    NOT_IDENTIFIED,
    PointEstimates,
    calibrate,
    correlate_rows,
    find_best_fc,
)

N_SUBJECTS, N_SAMPLES, SD = 400, 300, 0.1


def posteriors(width=1.0, shift=0.0, seed=0):
    """Return truths and normal posteriors, calibrated where ``width`` is 1 and ``shift`` 0."""
    rng = np.random.default_rng(seed)
    truth = 0.5 + rng.standard_normal((N_SUBJECTS, 2))
    observed = truth + SD * rng.standard_normal(truth.shape)
    weight = 1 / (1 + SD**2)  # of the observation, against a prior of mean .5 and SD 1
    mean, sd = weight * observed + (1 - weight) * 0.5 + shift, SD * np.sqrt(weight)
    samples = mean + width * sd * rng.standard_normal((N_SAMPLES, *truth.shape))
    return truth, samples


def calibration_of(truth, samples):
    points = PointEstimates(truth, np.full_like(truth, truth.mean()))
    return calibrate(("a", "b"), truth, samples, points, seed=0)


def test_calibrated_posteriors_pass():
    result = calibration_of(*posteriors())
    for parameter in result.parameters:
        assert parameter.coverage == pytest.approx((0.5, 0.8, 0.95), abs=0.06)
        assert parameter.sbc_p > 0.01
    assert result.tarp_p > 0.01
    assert result.ranks.shape == (N_SUBJECTS, 2)


def test_overconfident_posteriors_fail():
    result = calibration_of(*posteriors(width=0.5))
    assert result.parameters[0].coverage[1] < 0.6
    assert result.parameters[0].sbc_p < 1e-4
    assert result.tarp_p < 0.01


def test_biased_posteriors_fail():
    result = calibration_of(*posteriors(shift=0.1))
    assert result.parameters[0].sbc_p < 1e-6
    assert result.tarp_p < 0.01


def test_random_points_are_independent_of_simulated_truths():
    """Simulations draw their positions from the seed and the number of the batch."""
    truth = np.random.default_rng([3, 0]).random((N_SUBJECTS, 2))
    samples = truth + SD * np.random.default_rng(9).standard_normal((N_SAMPLES, *truth.shape))
    points = PointEstimates(truth, truth)
    assert (calibrate(("a", "b"), truth, samples, points, seed=3).tarp > 0).mean() > 0.9


def test_the_prior_as_posterior_is_calibrated_and_not_identified():
    rng = np.random.default_rng(0)
    truth, samples = rng.random((N_SUBJECTS, 2)), rng.random((N_SAMPLES, N_SUBJECTS, 2))
    parameter = calibration_of(truth, samples).parameters[0]
    assert parameter.verdict == NOT_IDENTIFIED
    assert parameter.contraction == pytest.approx(0, abs=0.03)
    assert parameter.r2 == pytest.approx(0, abs=0.03)
    assert parameter.sbc_p > 0.001


def test_a_narrow_and_true_posterior_is_identified():
    rng = np.random.default_rng(0)
    truth = rng.random((N_SUBJECTS, 2))
    samples = truth + 0.02 * rng.standard_normal((N_SAMPLES, *truth.shape))
    parameter = calibration_of(truth, samples).parameters[1]
    assert parameter.verdict == IDENTIFIED
    assert parameter.r2_ridge == 1
    assert parameter.r2_best_fc == pytest.approx(0, abs=0.02)


def test_the_best_fc_is_the_one_that_correlates_best():
    fc = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    simulated = np.array([[8.0, 6.0, 4.0, 2.5], [0.0, 0.1, 0.2, 0.31]])
    positions = np.array([[0.1], [0.9]])
    assert find_best_fc(fc, simulated, positions).tolist() == [[0.9], [0.1]]
    assert correlate_rows(fc, simulated) == pytest.approx(np.corrcoef(fc, simulated)[:2, 2:])
