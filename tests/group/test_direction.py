from __future__ import annotations

import numpy as np
import pytest

from npi_bids.group.direction import N_FLIPS, assess_direction, write_changes
from npi_bids.surrogates.base import TrainSettings
from tests.surrogates.ou_signals import fit

N, SUBJECTS = 4, 12


def changes_of(forward, backward):
    changes = np.empty_like(forward)
    write_changes(forward, backward, changes)
    return changes


def noise(seed, n_subjects=SUBJECTS):
    return np.random.default_rng(seed).standard_normal((2, n_subjects, N * N))


def test_change_is_antisymmetric_and_positive_where_the_source_drives():
    forward = np.zeros((1, 3, 3))
    forward[0, 0, 1], forward[0, 1, 0] = 0.5, 0.1
    backward = forward.transpose(0, 2, 1)
    change = changes_of(forward.reshape(1, 9), backward.reshape(1, 9)).reshape(3, 3)
    assert change[0, 1] == pytest.approx(0.2)
    assert np.isnan(change[np.tril_indices(3, k=-1)]).all()  # the same with the other sign


def test_what_both_directions_of_time_have_in_common_is_no_direction():
    """An antisymmetric part that reversed time has too comes from unequal noise or variance."""
    forward, backward = noise(0)
    skewed = np.triu(np.full((N, N), 5.0), 1).ravel()
    plain = changes_of(forward, backward)
    np.testing.assert_allclose(changes_of(forward + skewed, backward + skewed), plain)


def test_a_directed_pair_is_found_and_both_ways_agree():
    forward, backward = noise(1)
    forward[:, 1] += 4.0  # region 0 drives region 1
    found = assess_direction(changes_of(forward, backward))
    mean, p_fwe, q = (values.reshape(N, N) for values in (found.mean, found.p_fwe, found.q))
    assert mean[0, 1] > 0.5 > -0.5 > mean[1, 0]
    assert p_fwe[0, 1] == p_fwe[1, 0] <= 0.01
    assert q[0, 1] == pytest.approx(q[1, 0])
    assert np.isnan(np.diag(p_fwe)).all()
    assert found.p_together <= 0.01
    assert found.summary.pairs_tested == N * (N - 1) // 2
    assert found.summary.pairs_significant >= 1


def test_the_sum_over_pairs_finds_what_no_single_pair_shows():
    forward, backward = noise(2, 20)
    forward += np.triu(np.full((N, N), 0.75), 1).ravel()
    found = assess_direction(changes_of(forward, backward))
    assert found.p_together <= 0.01


def test_a_region_that_a_subject_lacks_is_left_out_and_single_subjects_are_not_tested():
    forward, backward = noise(3)
    missing = np.zeros((N, N), dtype=bool)
    missing[3], missing[:, 3] = True, True
    forward[2, missing.ravel()] = np.nan
    found = assess_direction(changes_of(forward, backward))
    assert np.isnan(found.p_fwe[missing.ravel()]).all()
    assert np.isfinite(found.p_together)
    assert assess_direction(changes_of(forward[:1], backward[:1])) is None
    assert assess_direction(np.full((5, N * N), np.nan)) is None


def reversible_maps(seed):
    """Map reversible processes: symmetric connections, unequal noise of regions, series of 120."""
    rng = np.random.default_rng(seed)
    symmetric = np.array([[-0.7, 0.3, 0.0, 0.0], [0.3, -0.7, 0.2, 0.0], [0.0, 0.2, -0.7, 0.2],
                          [0.0, 0.0, 0.2, -0.7]])  # fmt: skip
    values, vectors = np.linalg.eigh(symmetric)
    step = (vectors * np.exp(values)) @ vectors.T
    # D = 1 gives the stationary covariance (-2F)^-1, and reversibility.
    innovation = (vectors * ((np.exp(2 * values) - 1) / (2 * values))) @ vectors.T
    root = np.linalg.cholesky(innovation)
    forward, backward = [], []
    for _ in range(8):
        path = np.zeros((170, N))
        for now in range(1, len(path)):
            path[now] = path[now - 1] @ step + root @ rng.standard_normal(N)
        path += np.array([0.0, 0.9, 0.1, 0.5]) * rng.standard_normal(path.shape)  # measurement
        model, _, windows = fit(path[50:], TrainSettings(surrogate="mou", device="cpu"), 1)
        for maps, reverse in ((forward, False), (backward, True)):
            transition = model.without_prior(windows, reverse=reverse).linear_weights[-1]
            scale = windows.target.std(axis=0)
            maps.append((transition * scale[:, None] / scale * (1 - np.eye(N))).ravel())
    return np.array(forward), np.array(backward)


@pytest.mark.slow
def test_reversible_dynamics_with_unequal_noise_have_no_direction():
    """60 data sets from the series to the p: by sampling up to 8 may have p below .05."""
    p = np.array([
        (found.p_together, np.nanmin(found.p_fwe))
        for found in (assess_direction(changes_of(*reversible_maps(seed))) for seed in range(60))
    ])  # fmt: skip
    assert (p <= 0.05).sum(axis=0).max() <= 8
    assert p.min() >= 1 / (N_FLIPS + 1)
