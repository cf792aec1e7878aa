"""Cross-spectra of whole and of censored runs, against what theory expects."""

import numpy as np
import pytest

from npi_bids.records import RegionSeries
from npi_bids.surrogates.cross_spectra import choose_n_bins, cross_spectra, pool_spectra
from tests.conftest import var_run

LABELS = ("A", "B", "C", "D")


def masked(run, keep):
    data = np.where(keep[:, None], run.data, np.nan)
    return RegionSeries(data, run.labels, run.tr, keep)


def expected(weights, frequency):
    """Return the spectrum of ``x[t+1] = x[t] W + e`` with unit noise: conj(Y_i) Y_j."""
    inverse = np.linalg.inv(np.exp(1j * frequency)[:, None, None] * np.eye(4) - weights)
    return np.conj(np.swapaxes(inverse, 1, 2)) @ inverse


def test_the_mean_of_all_ordinates_is_the_covariance(weights):
    run = var_run(weights, 2000, seed=1)
    found = cross_spectra([run])
    share = found.n_ordinates / found.n_samples
    covariance = np.einsum("k,kij->ij", share, found.power.real)
    np.testing.assert_allclose(covariance, np.cov(run.data.T), rtol=0.1, atol=0.05)
    assert found.n_samples == 2000
    assert len(found.frequency) == choose_n_bins(2000, 5)


def test_the_phase_tells_who_leads(weights):
    found = cross_spectra([var_run(weights, 50_000, seed=1)], 16)
    theory = expected(weights, found.frequency)
    size = np.sqrt(np.einsum("kii,kjj->kij", theory, theory).real)
    assert (np.abs(found.power - theory) / size).max() < 0.1
    assert np.abs(found.power - np.swapaxes(theory, 1, 2)).max() > 0.5  # B does not drive A


def test_runs_add(weights):
    one, other = (cross_spectra([var_run(weights, 500, seed=s)], 16) for s in (1, 2))
    both = cross_spectra([var_run(weights, 500, seed=s) for s in (1, 2)], 16)
    np.testing.assert_allclose(both.power, (one.power + other.power) / 2, atol=1e-9)
    np.testing.assert_allclose(both.n_ordinates, one.n_ordinates + other.n_ordinates)


@pytest.mark.parametrize("scattered", [True, False])
def test_censored_samples_change_the_spread_and_not_the_mean(weights, scattered):
    rng = np.random.default_rng(0)
    slow = 0.4 * np.eye(4) + weights / 2
    whole, holey = [], []
    for seed in range(60):
        run = var_run(slow, 400, seed=seed)
        keep = rng.random(400) > 0.25
        if not scattered:
            keep = np.ones(400, dtype=bool)
            for start in rng.integers(0, 380, 6):
                keep[start : start + 17] = False
        whole.append(cross_spectra([run], 8).power)
        holey.append(cross_spectra([masked(run, keep)], 8).power)
    theory = expected(slow, np.linspace(1e-3, np.pi, 4000))
    theory = theory.reshape(8, 500, 4, 4).mean(axis=1)
    size = np.sqrt(np.einsum("kii,kjj->kij", theory, theory).real)
    for found, most in ((np.mean(whole, axis=0), 0.1), (np.mean(holey, axis=0), 0.15)):
        assert (np.abs(found - theory) / size).max() < most


def test_what_a_censored_sample_held_does_not_matter(weights):
    run = var_run(weights, 300, seed=1)
    keep = np.ones(300, dtype=bool)
    keep[100:105] = False
    first = cross_spectra([masked(run, keep)])
    data = run.data.copy()
    data[100:105] = 1e6
    second = cross_spectra([RegionSeries(data, LABELS, 2.0, keep)])
    np.testing.assert_array_equal(first.power, second.power)
    assert first.n_samples == pytest.approx(295)


def test_gaps_cost_more_lagged_products_than_samples(weights):
    run = var_run(weights, 2000, seed=1)
    assert cross_spectra([run]).lagged_share == 1
    scattered = np.random.default_rng(0).random(2000) > 0.2
    assert cross_spectra([masked(run, scattered)]).lagged_share == pytest.approx(0.64, abs=0.04)
    together = np.ones(2000, dtype=bool)
    together[600:1000] = False
    assert cross_spectra([masked(run, together)]).lagged_share > 0.99
    parts = [cross_spectra([run], 16), cross_spectra([masked(run, scattered)], 16)]
    pooled = pool_spectra(parts)
    mean = (2000 + parts[1].lagged_share * scattered.sum()) / (2000 + scattered.sum())
    assert pooled.lagged_share == pytest.approx(mean)
    assert pooled.within((0.1, 2.0)).without_noise(0.1).of_regions(2).lagged_share == (
        pooled.lagged_share
    )


def test_the_band_is_where_a_filter_left_power(weights):
    run = var_run(weights, 2000, seed=1)
    assert cross_spectra([run]).band() is None
    spectrum = np.fft.rfft(run.data, axis=0)
    hz = np.fft.rfftfreq(2000)
    spectrum[(hz < 0.05) | (hz > 0.2)] *= 1e-4
    filtered = RegionSeries(np.fft.irfft(spectrum, 2000, axis=0), LABELS, 2.0, run.keep)
    found = cross_spectra([filtered])
    low, high = found.band()
    assert 0.04 * 2 * np.pi < low < 0.07 * 2 * np.pi
    assert 0.18 * 2 * np.pi < high < 0.22 * 2 * np.pi
    inside = found.within((low, high))
    assert len(inside.frequency) < len(found.frequency)
    assert (inside.frequency >= low).all()


def test_large_atlases_get_half_as_many_bins():
    assert choose_n_bins(10_000, 128) == 2 * choose_n_bins(10_000, 129)
