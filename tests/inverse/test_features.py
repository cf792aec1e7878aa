"""Features of regional signals."""

import numpy as np
import pytest

from npi_bids.inverse.catch22 import CATCH22, compute_catch22
from npi_bids.inverse.features import (
    FEATURES,
    SECTION_FEATURES,
    compute_features,
    compute_section_features,
    describe_structure,
    feature_names,
)
from npi_bids.inverse.observation import scale_run
from tests.inverse.small import N_REGIONS, TR, connectome

STRUCTURE = describe_structure(connectome())


def features_of(*signals, structure=STRUCTURE, tr=TR):
    runs = [scale_run(data, np.arange(len(data))) for data in signals]
    return dict(zip(FEATURES, compute_features(runs, structure, tr), strict=True))


def white(n_samples=400, seed=0):
    return np.random.default_rng(seed).standard_normal((n_samples, N_REGIONS))


def test_white_noise_has_no_structure():
    found = features_of(white(2000))
    for name in ("fc_mean", "autocorrelation1", "lagged_mean", "kurtosis"):
        assert found[name] == pytest.approx(0, abs=0.1)
    assert found["power_0.1_0.125"] + found["power_0.125_0.15"] == pytest.approx(
        0.2, abs=0.02
    )  # of .25 Hz
    assert found["centroid"] == pytest.approx(0.125, abs=0.005)
    assert found["fc_eigenvalue1"] == pytest.approx(1 / N_REGIONS, abs=0.02)
    assert found["global_sd"] == pytest.approx(1 / np.sqrt(N_REGIONS), abs=0.02)


def test_a_shared_signal_raises_fc_and_synchrony():
    shared = white(400, 1)[:, :1]
    plain, coupled = features_of(white()), features_of(white() + 2 * shared)
    assert coupled["fc_mean"] == pytest.approx(0.8, abs=0.05)
    assert coupled["fc_dimension"] < plain["fc_dimension"]
    assert coupled["synchrony"] > plain["synchrony"] + 0.2


def test_a_sine_has_its_frequency_and_no_gaussian_tails():
    time = np.arange(400) * TR
    phases = np.linspace(0, 6, N_REGIONS)
    found = features_of(np.sin(2 * np.pi * 0.05 * time[:, None] + phases))
    assert found["centroid"] == pytest.approx(0.05, abs=0.002)
    assert found["power_0.04_0.05"] + found["power_0.05_0.06"] == pytest.approx(1, abs=0.01)
    assert found["kurtosis"] == pytest.approx(-1.5, abs=0.05)
    assert found["autocorrelation1"] == pytest.approx(np.cos(2 * np.pi * 0.05 * TR), abs=0.01)


def test_fc_along_structure_is_seen_and_its_shuffling_too():
    rng = np.random.default_rng(0)
    both = connectome() + connectome().T
    signals = (
        rng.standard_normal((2000, N_REGIONS))
        @ np.linalg.cholesky(np.eye(N_REGIONS) + 1.5 * both @ both.T).T
    )
    order = rng.permutation(N_REGIONS)
    shuffled = describe_structure(connectome()[np.ix_(order, order)])
    plain, wrong = features_of(signals), features_of(signals, structure=shuffled)
    assert plain["fc_sc2_r"] > wrong["fc_sc2_r"] + 0.2
    assert plain["sc_mode1"] > wrong["sc_mode1"]


def test_a_region_that_leads_shows_in_lagged_asymmetry():
    own = white(2000)
    for sample in range(1, 2000):
        own[sample] += 0.9 * own[sample - 1]
    led = own.copy()
    led[1:, 1:] += own[:-1, :1]  # the first region leads
    found = [features_of(signals)["lagged_asymmetry"] for signals in (own, led)]
    assert found[1] > 1.5 * found[0]


def test_gaps_are_not_bridged_by_autocorrelation():
    """Every second sample kept: no pair is one sample apart, pairs two apart are found."""
    signals = np.random.default_rng(0).standard_normal((800, N_REGIONS)).cumsum(axis=0)
    kept = np.arange(0, 800, 2)
    kept = kept[(kept < 400) | (kept > 420)]
    whole = compute_features([scale_run(signals, np.arange(800))], STRUCTURE, TR)
    gaps = compute_features(
        [scale_run(signals[np.r_[0:400, 420:800]], np.r_[0:400, 420:800])], STRUCTURE, TR
    )
    names = list(FEATURES)
    for name in ("autocorrelation1", "autocorrelation3", "centroid"):
        k = names.index(name)
        assert gaps[k] == pytest.approx(whole[k], abs=0.02)


def test_features_do_not_depend_on_units_or_signs_of_scale():
    signals = white()
    assert features_of(signals * 7 + 3) == pytest.approx(features_of(signals))


def test_a_silent_region_makes_all_features_unknown():
    signals = white()
    signals[:, 2] = 1.0
    assert np.isnan(list(features_of(signals).values())).all()


def test_short_runs_have_no_fc_dynamics_but_the_rest():
    found = features_of(white(50))
    assert np.isnan(found["fcd_mean"])
    assert np.isfinite(found["fc_mean"])


def test_runs_are_joined_without_a_step_between_them():
    """Two runs with different means have no slow component."""
    one, other = white(200, 1), white(200, 2) + 100
    assert features_of(one, other)["autocorrelation1"] == pytest.approx(0, abs=0.05)


def test_sections_are_six_of_equal_length():
    run = scale_run(white(600), np.arange(600))
    found = compute_section_features([run], STRUCTURE, TR)
    assert found.shape == (6, len(SECTION_FEATURES))
    assert np.isfinite(found).all()


def test_every_feature_is_described():
    assert all(len(text) > 10 for text in FEATURES.values())
    assert feature_names(catch22=False) == tuple(FEATURES)
    assert set(SECTION_FEATURES) < set(FEATURES)


def test_catch22_are_mean_and_sd_over_the_regions_of_the_longest_run():
    signals = white(200)
    runs = [scale_run(data, np.arange(len(data))) for data in (white(100, 1), signals)]
    values = compute_features(runs, STRUCTURE, TR, catch22=True)[len(FEATURES) :]
    names = feature_names(catch22=True)[len(FEATURES) :]
    assert names[:2] == ("catch22_DN_HistogramMode_5", "catch22_DN_HistogramMode_5_sd")
    each = np.array([compute_catch22(region) for region in signals.T])
    np.testing.assert_allclose(values[0::2], each.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(values[1::2], each.std(axis=0), rtol=1e-9, atol=1e-12)
    assert len(values) == 2 * len(CATCH22)


def test_runs_that_are_too_short_have_no_catch22():
    run = scale_run(white(15), np.arange(15))
    values = compute_features([run], STRUCTURE, TR, catch22=True)
    assert np.isnan(values[len(FEATURES) :]).all()
    assert np.isfinite(values[0])


def diffusing_noise(leak, n_samples=20000, seed=0):
    """Return samples of noise that diffuses along the structure and leaks, by its covariance."""
    both = connectome() + connectome().T
    laplacian = np.diag(both.sum(axis=0)) - both
    covariance = np.linalg.inv(leak * both.sum(axis=0).mean() * np.eye(N_REGIONS) + laplacian)
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_samples, N_REGIONS)) @ np.linalg.cholesky(covariance).T


def test_fc_of_noise_that_diffuses_follows_the_linear_model_with_its_leak():
    found = features_of(diffusing_noise(0.3))
    along = [found[f"linear_r{k}"] for k in range(1, 6)]
    assert along[2] > 0.99
    assert max(along) - along[2] < 0.005
    assert along[2] > along[0] + 0.01
    assert found["structural_r2"] > 0.98


def test_fc_along_another_structure_remains_unexplained_and_repeats_in_halves():
    signals = diffusing_noise(0.3)
    order = np.random.default_rng(1).permutation(N_REGIONS)
    shuffled = describe_structure(connectome()[np.ix_(order, order)])
    plain, wrong = features_of(signals), features_of(signals, structure=shuffled)
    assert wrong["linear_r3"] < plain["linear_r3"] - 0.3
    assert wrong["unstructured_sd"] > 3 * plain["unstructured_sd"]
    assert wrong["unstructured_half_r"] > 0.9 > plain["unstructured_half_r"]


def test_smooth_modes_decay_slower_as_theory_says():
    """A mode with eigenvalue k of the Laplacian has autocorrelation 1 - leak - coupling k."""
    both = connectome() + connectome().T
    laplacian = np.diag(both.sum(axis=0)) - both
    values = np.linalg.eigvalsh(laplacian)
    coupling = 0.6 / values[-1]
    step = 0.9 * np.eye(N_REGIONS) - coupling * laplacian
    signals = white(20000)
    for sample in range(1, len(signals)):
        signals[sample] += signals[sample - 1] @ step
    # Scaling each region mixes the modes a little.
    found = features_of(signals)
    decays = [found[f"smooth{k}_autocorrelation1"] for k in range(1, 7)]
    assert decays[0] == pytest.approx(0.9, abs=0.05)
    assert decays[-1] == pytest.approx(np.mean(0.9 - coupling * values[5:]), abs=0.15)
    assert np.all(np.diff(decays[:4]) < 0)
    assert found["smooth1_power"] > 2 * found["smooth6_power"]


def test_too_few_pairs_have_no_unstructured_fc():
    structure = describe_structure(connectome()[:4, :4] + 0.1 - 0.1 * np.eye(4))
    found = features_of(white()[:, :4], structure=structure)
    assert np.isnan(found["unstructured_sd"])
    assert np.isfinite(found["linear_r1"])
