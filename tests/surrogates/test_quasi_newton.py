"""L-BFGS against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from npi_bids.surrogates.quasi_newton import _MEMORY, Stage, _Memory, minimise


def quadratic(curvature, optimum, evaluated=None):
    """Return a quadratic function with a minimum of 0, which counts its evaluations."""

    def evaluate(x):
        if evaluated is not None:
            evaluated.append(x)
        gradient = curvature @ (x - optimum)
        return float((x - optimum) @ gradient) / 2, gradient

    return evaluate


@pytest.fixture
def system():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((30, 30))
    return root @ root.T + np.eye(30), rng.standard_normal(30)


def test_the_minimum_of_a_curved_valley_is_reached():
    start = np.array([-1.2, 1.0])
    stage = Stage(lambda x: (float(rosen(x)), rosen_der(x)), 1e-14, 1e-14)
    np.testing.assert_allclose(minimise([stage], start, 200), 1.0, atol=1e-5)


def test_the_direction_is_that_of_explicit_updates(system):
    curvature, _ = system
    rng, memory, pairs = np.random.default_rng(1), _Memory(30), []
    for _ in range(_MEMORY + 3):  # the oldest are forgotten
        difference = rng.standard_normal(30)
        memory.add(difference, curvature @ difference)
        pairs.append((difference, curvature @ difference))
    s, y = pairs[-1]
    inverse = np.eye(30) * (s @ y) / (y @ y)
    for s, y in pairs[-_MEMORY:]:  # Nocedal and Wright, equation 7.16
        along = np.eye(30) - np.outer(y, s) / (s @ y)
        inverse = along.T @ inverse @ along + np.outer(s, s) / (s @ y)
    gradient = rng.standard_normal(30)
    np.testing.assert_allclose(memory.direction(gradient), -inverse @ gradient, rtol=1e-6)


def test_a_pair_without_positive_curvature_is_not_kept():
    memory = _Memory(2)
    memory.add(np.array([1.0, 0.0]), np.array([-1.0, 0.0]))
    assert memory.n_pairs == 0


def test_what_a_first_stage_learns_shortens_the_second(system):
    curvature, optimum = system
    counts = []
    for has_first in (False, True):
        evaluated: list[object] = []
        last = Stage(quadratic(curvature, optimum, evaluated), 1e-12, 1e-12)
        shifted = Stage(quadratic(curvature, optimum + 1e-4), 1e-12, 1e-12)
        found = minimise([shifted, last] if has_first else [last], np.zeros(30), 500)
        np.testing.assert_allclose(found, optimum, atol=1e-4)
        counts.append(len(evaluated))
    assert counts[1] < counts[0] / 2


def test_a_slow_fit_ends_at_the_late_tolerance():
    curvature = np.diag(np.geomspace(1, 1e6, 200))
    counts = []
    for late in (1e-9, 1e-2):
        evaluated: list[object] = []
        stage = Stage(quadratic(curvature, np.ones(200), evaluated), 1e-9, late)
        minimise([stage], np.zeros(200), 1000)
        counts.append(len(evaluated))
    assert Stage.N_EARLY <= counts[1] < counts[0]


def test_no_more_iterations_than_allowed(system):
    curvature, optimum = system
    evaluated: list[object] = []
    minimise([Stage(quadratic(curvature, optimum, evaluated), 0.0, 0.0)], np.zeros(30), 5)
    assert 6 <= len(evaluated) <= 8


def test_points_where_there_is_no_function_are_avoided():
    def evaluate(x):
        if x[0] <= 0:
            return 1e10, np.zeros(1)
        return float(x[0] - np.log(x[0])), 1 - 1 / x

    found = minimise([Stage(evaluate, 1e-14, 1e-14)], np.array([30.0]), 100)
    np.testing.assert_allclose(found, 1.0, atol=1e-5)


@pytest.mark.parametrize(("rounding", "n_tried"), [(0.0, 20), (1e-6, 1)])
def test_no_shorter_step_is_tried_where_rounding_hides_what_it_gains(rounding, n_tried):
    tried = []

    def rises(x):
        """Return a value that seems to rise whatever the step, by less than its rounding."""
        tried.append(x)
        return 1e3 + 1e-4 * (len(tried) > 1), np.array([1e-3])

    stages = [Stage(rises, 0.0, 0.0, rounding), Stage(quadratic(np.eye(1), 0.5), 1e-9, 1e-9)]
    optimum = minimise(stages, np.array([3.0]), 50)
    assert len(tried) == 1 + n_tried
    np.testing.assert_allclose(optimum, 0.5, atol=1e-6)


def test_what_a_stage_has_learnt_is_kept_where_its_precision_ends():
    curvature = np.diag([1.0, 30.0, 900.0])
    exact, bumps = quadratic(curvature, 0.5), []

    def coarse(x):
        """Return values that seem to rise once they are near the optimum."""
        value, gradient = exact(x)
        bumps.append(value < 1e-3)
        return value + sum(bumps) * 1e-3, gradient

    def count(stages):
        calls = []

        def counted(x):
            calls.append(x)
            return exact(x)

        optimum = minimise([*stages, Stage(counted, 1e-14, 1e-14)], np.full(3, 3.0), 100)
        np.testing.assert_allclose(optimum, 0.5, atol=1e-5)
        return len(calls)

    after_coarse = count([Stage(coarse, 0.0, 0.0, 1e-6)])
    assert after_coarse < count([]) / 2
