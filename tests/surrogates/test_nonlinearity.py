"""How nonlinear dynamics are, and that a linear observation model is then not fitted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn
from npi_bids.surrogates import hybrid
from npi_bids.surrogates.nonlinearity import measure_nonlinearity
from npi_bids.surrogates.observed import ObservationFit
from npi_bids.surrogates.selection_criteria import MOST_NONLINEARITY
from npi_bids.surrogates.windows import cut_windows
from tests.surrogates.ou_signals import HYBRID, fit, run_of


def simulate(scale, n_samples=2500, seed=0):
    """Return signals of a network whose noise is weak, so that strong couplings saturate."""
    rng = np.random.default_rng(seed)
    system = RNNSystem(scale * random_network(12, rng).weights, sigma=0.3)
    return simulate_rnn(system, n_runs=1, n_samples=n_samples, rng=rng)[0]


@pytest.fixture(scope="module")
def strong():
    return simulate(4.0)


def measure(series):
    return measure_nonlinearity(cut_windows([run_of(series)], 3))


def test_cubes_predict_only_where_dynamics_are_nonlinear(strong):
    assert measure(strong) > MOST_NONLINEARITY
    assert measure(simulate(0.5)) < MOST_NONLINEARITY / 2


def test_an_artefact_is_no_nonlinearity():
    series = simulate(0.5)
    series[1000, 3] += 500 * series.std()
    assert measure(series) < MOST_NONLINEARITY


def test_the_units_of_a_region_do_not_matter(strong):
    rescaled = strong.copy()
    rescaled[:, 0] *= 30
    settings = replace(HYBRID, residual="none", gain="none", delays="none")
    found = [fit(series, settings)[1]["nonlinearity"] for series in (strong, rescaled)]
    assert found[0] == pytest.approx(found[1])


def test_few_windows_do_not_tell(strong):
    assert math.isnan(measure(strong[:12]))


def test_no_observation_model_is_fitted_to_nonlinear_dynamics_unless_asked(strong, monkeypatch):
    asked = []

    def find_nothing(*_):
        asked.append(1)
        return ObservationFit()

    monkeypatch.setattr(hybrid, "_fit_observed", find_nothing)
    settings = replace(HYBRID, residual="none")
    _, details, _ = fit(strong, settings)
    assert details["nonlinearity"] > MOST_NONLINEARITY
    assert not asked
    fit(strong, replace(settings, delays="on"))
    assert asked
    asked.clear()
    fit(simulate(0.5), settings)
    assert asked
