"""Maps of subjects that are shrunk towards the mean of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.group.subject_maps import fit_shrinkage, shrink
from npi_bids.matrices import pearson

N = 8


def simulate(seed, n_subjects, sd=0.1, noise=0.3, lengths=(100.0,)):
    """Return true maps, maps in noise, their halves, and numbers of windows."""
    rng = np.random.default_rng(seed)
    n_windows = np.resize(lengths, n_subjects)
    truth = rng.standard_normal((N, N)) + sd * rng.standard_normal((n_subjects, N, N))
    spread = noise * np.sqrt(2 * 100 / n_windows)[:, None, None]
    halves = truth[None] + spread * rng.standard_normal((2, n_subjects, N, N))
    return truth, halves.mean(axis=0), halves.transpose(1, 0, 2, 3), n_windows


def shrink_all(maps, halves, n_windows):
    fitted = fit_shrinkage(maps.reshape(len(maps), -1), halves, n_windows)
    return fitted, np.array([shrink(one, fitted, row) for row, one in enumerate(maps)])


def test_shares_are_those_of_the_variances_and_lengths():
    _, *data = simulate(0, 400, sd=0.1, noise=0.3, lengths=(100.0, 400.0))
    fitted, _ = shrink_all(*data)
    assert fitted.between == pytest.approx(0.01, abs=0.003)
    assert fitted.own_shares[0] == pytest.approx(0.01 / (0.01 + 0.09), abs=0.03)
    assert fitted.own_shares[1] == pytest.approx(0.01 / (0.01 + 0.09 / 4), abs=0.08)


def test_maps_are_closer_to_their_truth_than_alone_and_than_the_mean():
    errors = []
    for seed in range(10):
        truth, *data = simulate(seed, 24)
        fitted, blup = shrink_all(*data)
        errors.append([np.mean((maps - truth) ** 2) for maps in (blup, data[0], fitted.mean)])
    errors = np.mean(errors, axis=0)
    assert errors[0] < 0.2 * errors[1]
    assert errors[0] < errors[2]


def test_differences_keep_their_sign_and_direction_at_a_small_own_share():
    """Eight subjects; one connection differs, and nothing does the other way round."""
    own = np.linspace(-1, 1, 8)
    for seed in range(10):  # of which some have an own share below one in eight
        truth, maps, halves, n_windows = simulate(seed, 8, sd=0.0, noise=0.6)
        for part in (truth, maps, *np.swapaxes(halves, 0, 1)):
            part[:, 0, 1] += own
        fitted, blup = shrink_all(maps, halves, n_windows)
        if fitted.own_shares.mean() < 1 / 8:
            break
    assert 0 < fitted.own_shares.mean() < 1 / 8
    assert np.corrcoef(blup[:, 0, 1], own)[0, 1] > 0.5
    mean = blup.mean(axis=0)
    r, r_transposed = (
        np.mean([pearson(one - mean, way(true - truth.mean(axis=0)))
                 for one, true in zip(blup, truth, strict=True)])
        for way in (np.asarray, np.transpose)
    )  # fmt: skip
    assert r > 0.1
    assert abs(r_transposed) < r / 2


def test_the_mean_holds_everybody_and_deviations_are_kept_by_the_share():
    """By hand: the mean of equal subjects is the plain mean, and a = k, not (kn - 1) / (n - 1)."""
    _, maps, halves, n_windows = simulate(1, 8)
    fitted, blup = shrink_all(maps, halves, n_windows)
    np.testing.assert_allclose(fitted.mean, maps.mean(axis=0))
    np.testing.assert_allclose(
        blup - blup.mean(axis=0), fitted.own_shares[0] * (maps - maps.mean(axis=0)), atol=1e-12
    )


def test_subjects_that_do_not_differ_get_hardly_more_than_the_map_of_the_group():
    for seed in range(10):
        _, *data = simulate(seed, 12, sd=0.0)
        fitted, _ = shrink_all(*data)
        assert 0 < fitted.own_shares[0] < 0.25


def test_a_region_that_a_subject_lacks_stays_missing_in_its_map_alone():
    _, maps, halves, n_windows = simulate(2, 8)
    maps[1, 4], maps[1, :, 4] = np.nan, np.nan
    fitted, blup = shrink_all(maps, halves, n_windows)
    assert np.isfinite(fitted.mean).all()
    np.testing.assert_array_equal(np.isnan(blup[1]), np.isnan(maps[1]))
    assert np.isfinite(np.delete(blup, 1, axis=0)).all()
    expected = np.delete(maps[:, 4, 0], 1).mean()
    assert fitted.mean[4, 0] == pytest.approx(expected)


def test_unknown_lengths_count_as_equal():
    _, maps, halves, n_windows = simulate(4, 8, lengths=(100.0, 400.0))
    n_windows[0] = np.nan
    fitted, _ = shrink_all(maps, halves, n_windows)
    assert np.ptp(fitted.own_shares) == 0
