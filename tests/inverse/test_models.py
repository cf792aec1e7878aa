"""Whole-brain models that are integrated in batches."""

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.inverse.models import (
    MODELS,
    Sampling,
    find_model,
    simulate_hopf,
    simulate_wong_wang,
)
from npi_bids.simulate.wbm import WBMSystem, simulate_gating

ONE_WAY = np.array([[0.0, 1.0], [0.0, 0.0]])  # the first region drives the second


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_damped_region_oscillates_at_its_frequency():
    values = np.array([[0.0, -0.02, 0.02, 0.05]])
    signals = simulate_hopf(values, np.zeros((20, 20)), Sampling(1024, 2.0), rng())[0]
    power = (np.abs(np.fft.rfft(signals - signals.mean(axis=0), axis=0)) ** 2).mean(axis=1)
    assert np.fft.rfftfreq(1024, 2.0)[power.argmax()] == pytest.approx(0.05, abs=0.008)


def test_the_variance_of_a_damped_region_is_that_of_its_linear_process():
    """Far below the bifurcation x is a damped rotation of variance b^2 / (2 |a|)."""
    values = np.array([[0.0, -0.2, 0.01, 0.05]])
    signals = simulate_hopf(values, np.zeros((40, 40)), Sampling(500, 2.0), rng())[0]
    assert signals.var() == pytest.approx(0.01**2 / 0.4, rel=0.1)


def test_above_the_bifurcation_the_amplitude_is_the_root_of_a():
    values = np.array([[0.0, 0.09, 0.005, 0.05]])
    signals = simulate_hopf(values, np.zeros((10, 10)), Sampling(300, 2.0), rng())[0]
    assert signals.std() * np.sqrt(2) == pytest.approx(0.3, rel=0.05)


def test_hopf_couples_from_source_to_target():
    """Two regions drive a third: they remain independent of each other, and it follows both."""
    converging = np.array([[0, 0, 1.0], [0, 0, 1.0], [0, 0, 0]])
    values = np.array([[2.0, -0.05, 0.02, 0.05], [0.0, -0.05, 0.02, 0.05]])
    driven, alone = simulate_hopf(values, converging, Sampling(3000, 2.0), rng())
    r = np.corrcoef(driven.T)
    assert abs(r[0, 1]) < 0.2
    assert min(r[0, 2], r[1, 2]) > 0.5
    assert driven[:, 0].std() == pytest.approx(alone[:, 0].std(), rel=0.1)
    assert np.abs(np.corrcoef(alone.T) - np.eye(3)).max() < 0.2


def test_wong_wang_couples_from_source_to_target():
    values = np.array([[4.0, 0.5, 0.005], [0.0, 0.5, 0.005]])
    driven, alone = simulate_wong_wang(values, ONE_WAY, Sampling(10, 2.0), rng())
    assert driven[:, 1].mean() > 1.2 * alone[:, 1].mean()
    assert driven[:, 0].mean() == pytest.approx(alone[:, 0].mean(), rel=0.05)


def test_wong_wang_has_the_gating_of_the_published_benchmark():
    """Its BOLD at rest is the gating times the integral of the response, which is 1.25 s."""
    connectome = np.full((6, 6), 0.05) - 0.05 * np.eye(6)
    gating = simulate_gating(
        WBMSystem(connectome, coupling=2.0, sigma=0.005, tr=1.0), n_runs=2, n_samples=30, rng=rng()
    )
    values = np.array([[2.0, 0.55, 0.005]] * 2)
    bold = simulate_wong_wang(values, connectome, Sampling(30, 1.0), rng(1))
    assert bold.mean() / 1.25 == pytest.approx(gating.mean(), rel=0.1)


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_the_same_seed_gives_the_same_bits(model):
    values = model.prior.values(np.full((2, len(model.prior)), 0.5))
    one, other = (model.simulate(values, ONE_WAY, Sampling(5, 2.0), rng(3)) for _ in range(2))
    assert one.shape == (2, 5, 2)
    assert np.array_equal(one, other)


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"no model 'aln'.*hopf, rww"):
        find_model("aln")
