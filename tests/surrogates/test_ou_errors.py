"""Standard errors of the transition where regions forget within a sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov

from npi_bids.surrogates.ou_errors import delay_sensitivity, transition_errors, variance_ratio
from npi_bids.surrogates.ou_process import OU, Problem, fit_ou, second_moments
from tests.surrogates.ou_signals import fast_process, off, sampled

PRECISION = (3.0, 4.0)


def moments_of(series):
    series = (series - series.mean(axis=0)) / series.std(axis=0)
    return second_moments(series[:-1], series[1:])


def dense_variances(problem, process):
    """Return the variances of the transition from the whole matrix of second derivatives."""
    optimum, step = problem.pack(process), 1e-4
    hessian, slopes = [], []
    for shift in step * np.eye(len(optimum)):
        ahead, behind = optimum + shift, optimum - shift
        gradients = (problem.value_and_gradient(point)[1] for point in (ahead, behind))
        hessian.append(np.subtract(*gradients) / (2 * step))
        transitions = (problem.unpack(point).transition for point in (ahead, behind))
        slopes.append(np.subtract(*transitions).ravel() / (2 * step))
    covariance = np.linalg.inv((np.array(hessian) + np.array(hessian).T) / 2 * problem.n_windows)
    slopes = np.array(slopes)
    return np.einsum("ij,ik,kj->j", slopes, covariance, slopes).reshape(process.drift.shape)


@pytest.mark.parametrize("rate", [0.7, 2.5])
def test_the_ratio_is_that_of_the_whole_covariance(rate):
    moments = moments_of(sampled(fast_process(rate, 7), 1500, 1))
    process = fit_ou(moments, PRECISION)
    problem = Problem(moments, PRECISION)
    exact = dense_variances(problem, process)
    ratio = variance_ratio(problem, process, np.full((7, 7), off(exact).mean()))
    assert ratio == pytest.approx(1.0, abs=0.12)
    assert variance_ratio(problem, process, exact / 2) == pytest.approx(2 * ratio)


def test_a_prior_around_a_group_tells_rates_too():
    truth = fast_process(2.5, 7)
    moments = moments_of(sampled(truth, 1500, 1))
    strong = (300.0, 300.0)
    process = fit_ou(moments, strong, mean=truth.drift)
    exact = dense_variances(Problem(moments, strong, process.drift), process)
    ratio = variance_ratio(Problem(moments, strong, process.drift), process, exact)
    assert ratio == pytest.approx(1.0, abs=0.12)
    around, alone = (
        off(transition_errors(process, moments, strong, around_group=around_group))
        for around_group in (True, False)
    )
    assert around.mean() < 0.98 * alone.mean()
    assert around.mean() > 0.9 * np.sqrt(off(exact).mean())


def test_there_is_no_ratio_where_there_is_no_minimum():
    moments = moments_of(sampled(fast_process(2.5, 7), 1500, 1))
    problem = Problem(moments, (0.0, 0.0))
    nowhere = OU(-6 * np.eye(7) + 3 * np.tri(7, k=-1), np.full(7, 0.01))
    assert variance_ratio(problem, nowhere, np.ones((7, 7))) == 1.0


def test_intervals_hold_the_truth_where_regions_forget_within_a_sample():
    process, held, ratios = fast_process(2.5, 18), [], []
    for seed in range(3):
        series = sampled(process, 1500, seed)
        scale = series.std(axis=0)
        moments = moments_of(series)
        found = fit_ou(moments, PRECISION)
        error = off(found.transition - process.transition * scale[:, None] / scale)
        errors = transition_errors(found, moments, PRECISION)
        held.append(np.abs(error) < 1.96 * off(errors))
        ratios.append(variance_ratio(Problem(moments, PRECISION), found, errors**2))
    assert 0.9 < np.mean(held) < 0.99
    assert ratios == pytest.approx(np.ones(3))


def delayed_transition(process, delays):
    """Return the regression of samples on the last ones where regions lag behind the process."""
    stationary = solve_continuous_lyapunov(process.drift.T, -np.diag(process.diffusion))

    def covariance(lag, source, target):
        ahead = stationary @ expm(process.drift * abs(lag))
        return ahead[source, target] if lag >= 0 else ahead[target, source]

    n = len(delays)
    at_once, lagged = (
        np.array(
            [[covariance(lag + delays[s] - delays[t], s, t) for t in range(n)] for s in range(n)]
        )
        for lag in (0, 1)
    )
    return np.linalg.solve(at_once, lagged)


def test_delays_change_the_transition_by_their_sensitivity():
    process, step = fast_process(0.7, 5), 1e-5
    slopes = [
        (delayed_transition(process, shift) - delayed_transition(process, -shift)) / (2 * step)
        for shift in step * np.eye(5)
    ]
    expected = np.square(slopes).sum(axis=0)
    np.testing.assert_allclose(delay_sensitivity(process), expected, rtol=1e-3)


def test_delays_that_are_possible_widen_the_errors_less_where_the_prior_decides():
    moments = moments_of(sampled(fast_process(0.7, 7), 1500, 1))
    shares = []
    for precision in (PRECISION, (3000.0, 4000.0)):
        process = fit_ou(moments, precision)
        known, possible = (
            transition_errors(process, moments, precision, delay_doubt=doubt)
            for doubt in (0.0, 0.5)
        )
        added = np.sqrt(possible**2 - known**2) / 0.5
        shares.append(off(added) / np.sqrt(off(delay_sensitivity(process))))
    weak, strong = shares
    assert weak.min() > 0.95
    assert weak.max() <= 1
    assert strong.max() < 0.7
