"""Standard errors of the transition where regions forget within a sample."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.surrogates.ou_errors import transition_errors, variance_ratio
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
