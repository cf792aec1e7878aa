"""Methods that benchmarks compare NPI with, on systems whose connections are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.rivals import choose_least_squares, granger_causality, pcmci
from npi_bids.matrices import pearson
from npi_bids.surrogates.windows import cut_windows
from tests.conftest import var_run

METHODS = [granger_causality, pcmci]


@pytest.mark.parametrize("method", METHODS)
def test_maps_have_the_direction_and_sign_of_the_system(method, run, weights):
    matrix = method([run])
    assert pearson(matrix, weights) > 0.95
    assert pearson(matrix, weights.T) < 0.2
    assert matrix[0, 1] > 0 > matrix[1, 2]


@pytest.mark.parametrize("method", METHODS)
def test_indirect_influences_are_not_connections(method, run):
    matrix = method([run])
    assert abs(matrix[0, 2]) < 0.1 < min(matrix[0, 1], -matrix[1, 2])


@pytest.mark.parametrize("method", METHODS)
def test_runs_are_not_joined(method, weights):
    runs = [var_run(weights, 60, seed) for seed in range(12)]
    # Samples of different runs are never neighbours, so that the order of the runs has no effect.
    np.testing.assert_allclose(method(runs), method(runs[::-1]), atol=1e-9)
    assert pearson(method(runs), weights) > 0.9


def test_granger_causality_is_the_log_ratio_without_the_source(run):
    windows = cut_windows([run], 3)
    order = choose_least_squares([run], 3).order
    past = windows.history[:, -order:].reshape(len(windows), -1)
    past, target = past - past.mean(axis=0), windows.target - windows.target.mean(axis=0)
    kept = np.arange(past.shape[1]) % 4 != 0
    squares = [
        np.sum((target[:, 1] - some @ np.linalg.lstsq(some, target[:, 1], rcond=None)[0]) ** 2)
        for some in (past[:, kept], past)
    ]
    expected = np.sqrt(np.log(squares[0] / squares[1]))
    assert granger_causality([run])[0, 1] == pytest.approx(expected, rel=1e-9)


def test_order_is_that_of_the_system(weights):
    first = var_run(weights, 800, seed=1)
    assert choose_least_squares([first], 3).order == 1
    second = np.zeros((800, 4))
    noise = np.random.default_rng(0).standard_normal(second.shape)
    for now in range(2, 800):
        second[now] = second[now - 2] @ weights + noise[now]
    assert choose_least_squares([type(first)(second, first.labels, 2.0, first.keep)], 3).order == 2


def test_pcmci_finds_the_lag(weights):
    signals = np.zeros((1500, 4))
    noise = np.random.default_rng(0).standard_normal(signals.shape)
    later = weights * ~np.eye(4, dtype=bool)
    for now in range(2, 1500):
        own = 0.4 * signals[now - 1]
        signals[now] = own + signals[now - 2] @ later + noise[now]
    run = var_run(weights, 1500, 0)
    matrix = pcmci([type(run)(signals, run.labels, run.tr, run.keep)])
    assert pearson(matrix, later) > 0.95
    assert pearson(matrix, later.T) < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_common_source_is_no_connection_of_its_targets(method, weights):
    signals = np.random.default_rng(0).standard_normal((1500, 4))
    signals[1:, 1] += signals[:-1, 0]
    signals[2:, 2] += signals[:-2, 0]
    run = var_run(weights, 1500, 0)
    matrix = method([type(run)(signals, run.labels, run.tr, run.keep)])
    assert abs(matrix[1, 2]) < 0.1 < min(matrix[0, 1], matrix[0, 2])


def test_signals_without_connections_have_the_distribution_of_chance():
    """The root of the log ratio times that of the samples is a standard normal deviate."""
    deviates = []
    for seed in range(20):
        matrix = granger_causality([var_run(0.4 * np.eye(4), 300, seed)])
        deviates.append(matrix[~np.eye(4, dtype=bool)] * np.sqrt(297))
    assert 0.02 < np.mean(np.abs(deviates) > 1.96) < 0.09
