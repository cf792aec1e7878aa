from __future__ import annotations

import numpy as np
import pytest

from npi_bids.assessment.settings import AssessSettings
from npi_bids.assessment.uncertainty import (
    compute_intervals,
    draw_circular_blocks,
    fdr_q_values,
)
from npi_bids.connectivity.settings import MeasureSettings
from npi_bids.inference import ec_of_runs
from npi_bids.surrogates.base import TrainSettings
from tests.assessment.conftest import DEFAULT, PUSH, VAR, run_of


def test_q_ignores_what_was_not_tested():
    q = fdr_q_values(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04])


def test_intervals_hold_the_truth_and_tell_edges_from_none(result):
    lower, upper = (result.measures[f"npi{end}"].matrix for end in ("lower", "upper"))
    truth = 0.4 * np.eye(4)
    truth[0, 1], truth[1, 2] = 0.5, -0.4
    off = ~np.eye(4, dtype=bool)
    inside = (lower < truth)[off] & (truth < upper)[off]
    assert inside.mean() > 0.8
    q = result.measures["npiq"].matrix
    assert max(q[0, 1], q[1, 2]) < 1e-6
    assert q[1, 0] > 0.01
    assert np.isnan(np.diag(result.measures["npistderr"].matrix)).all()


def test_false_positives_stay_at_their_level_without_edges():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        series = rng.standard_normal((400, 8))
        for now in range(1, 400):
            series[now] += 0.5 * series[now - 1]
        for settings in (DEFAULT, VAR):
            p = ec_of_runs([run_of(series)], train=settings, perturb=PUSH).measures["npip"].matrix
            found.append((p[~np.eye(8, dtype=bool)] < 0.05).mean())
    assert np.mean(found[::2]) < 0.06
    assert np.mean(found[1::2]) < 0.08


def test_bootstrap_agrees_with_the_closed_form(run):
    assess = AssessSettings(measures=MeasureSettings(n_bootstrap=100))
    closed, resampled = (
        ec_of_runs([run], train=VAR, perturb=PUSH, assess=wanted) for wanted in (None, assess)
    )
    assert (closed.uncertainty, resampled.uncertainty) == ("posterior", "bootstrap")
    off = ~np.eye(4, dtype=bool)
    a, b = (r.measures["npistderr"].matrix[off] for r in (closed, resampled))
    np.testing.assert_allclose(a, b, rtol=0.35)


def test_networks_have_errors_by_bootstrap_alone(run):
    settings = TrainSettings(surrogate="mlp", epochs=2, n_lags=1, device="cpu")
    assert "npistderr" not in ec_of_runs([run], train=settings, perturb=PUSH).measures
    assess = AssessSettings(measures=MeasureSettings(n_bootstrap=3))
    found = ec_of_runs([run], train=settings, perturb=PUSH, assess=assess)
    assert found.uncertainty == "bootstrap"
    assert (found.measures["npistderr"].matrix[~np.eye(4, dtype=bool)] > 0).all()


def test_circular_blocks_are_runs_of_neighbours():
    rows = draw_circular_blocks(100, 10, np.random.default_rng(0))
    steps = np.diff(rows) % 100
    assert (steps == 1).mean() > 0.85
    assert rows.max() < 100


def test_intervals_are_normal_and_q_is_benjamini_hochberg():
    matrix = np.array([[0.0, 1.96, 0.0], [1.0, 0.0, 3.0], [0.5, 0.1, 0.0]])
    found = compute_intervals(matrix, np.ones((3, 3)), "posterior")
    assert found.p[0, 1] == pytest.approx(0.05, abs=1e-3)
    assert found.lower[0, 1] == pytest.approx(0)
    ranked = np.sort(found.p[~np.eye(3, dtype=bool)])
    assert found.q[1, 2] == pytest.approx(min(ranked[k] * 6 / (k + 1) for k in range(6)))
