"""Tests over subjects from their series to the p."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.permutation import permute
from npi_bids.group.settings import PermuteSettings
from npi_bids.group.subject_weights import fit_weights
from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.fixed_precision import PROPORTIONAL
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows

N = 5
SETTINGS = resolve(TrainSettings(surrogate="mou", device="cpu"))
FLIPS = PermuteSettings(n_permutations=99, network_statistic="none")
# 0 drives 1, which drives 2; 3 and 4 are alone.
DRIFT = -0.7 * np.eye(N)
DRIFT[0, 1], DRIFT[1, 2] = 0.35, 0.35


def series_of(rng, n_samples, drift=DRIFT):
    process = OU(drift, np.ones(N))
    step, root = process.transition, np.linalg.cholesky(process.innovation)
    path = np.zeros((n_samples + 50, N))
    for now in range(1, len(path)):
        path[now] = path[now - 1] @ step + root @ rng.standard_normal(N)
    path = path[50:]
    scaled = (path - path.mean(axis=0)) / path.std(axis=0)
    labels = tuple(f"R{region}" for region in range(N))
    return RegionSeries(scaled, labels, 1.0, np.ones(n_samples, dtype=bool))


def map_subjects(runs, *, pretrained=False):
    """Return the maps with prior, without, and with a fixed one, and the numbers of windows."""
    stored = None
    if pretrained:
        stored = pretrain(lambda: ((str(n), [run]) for n, run in enumerate(runs)), SETTINGS)
    shrunken, unshrunk, proportional, n_windows = [], [], [], []
    for number, run in enumerate(runs):
        windows = cut_windows([run], SETTINGS.n_lags)
        prior = stored.build_prior(str(number)) if stored else None
        fitted, _ = fit_surrogate(windows, windows.take(slice(0, 0)), SETTINGS, None, prior)
        for maps, surrogate in (
            (shrunken, fitted),
            (unshrunk, fitted.without_prior(windows)),
            (proportional, fitted.with_precision(windows, PROPORTIONAL)),
        ):
            maps.append((surrogate.linear_weights[-1] * (1 - np.eye(N))).ravel())
        n_windows.append(float(len(windows)))
    return tuple(map(np.array, (shrunken, unshrunk, proportional, n_windows)))


def mean_design(n):
    return Design(np.ones((n, 1)), ("mean",), (Contrast("mean", np.ones((1, 1))),), np.zeros(n))


def length_design(n):
    matrix = np.column_stack([np.ones(n), np.arange(n) >= n // 2])
    return Design(
        matrix, ("one", "long"), (Contrast("long", np.array([[0.0, 1.0]])),), np.zeros(n)
    )


def least_p(maps, design, n_windows=None):
    """Return the least family-wise p of all connections, and their uncorrected p."""
    weights = None if n_windows is None else fit_weights(maps, design.matrix, n_windows).values
    design = Design(design.matrix, design.columns, design.contrasts, design.blocks, weights)
    contrast = design.contrasts[0]
    p = estimate(maps, design, contrast).p
    return np.nanmin(permute(maps, N, design, contrast, FLIPS).p_fwe), p[np.isfinite(p)]


@pytest.mark.slow
def test_noise_after_pretraining_is_called_as_often_as_it_should_be():
    """40 data sets of eight subjects: by sampling up to 6 may have a family-wise p of .05."""
    drift, found, plain = -0.7 * np.eye(N), [], []
    for seed in range(40):
        rng = np.random.default_rng(9300 + seed)
        runs = [series_of(rng, 120, drift) for _ in range(8)]
        shrunken, unshrunk, _, n_windows = map_subjects(runs, pretrained=True)
        found.append(least_p(unshrunk, mean_design(8), n_windows))
        plain.append(least_p(shrunken, mean_design(8))[0])
    assert sum(p <= 0.05 for p, _ in found) <= 6
    assert np.mean(np.concatenate([p for _, p in found]) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert sum(p <= 0.05 for p in plain) > 10  # what the maps themselves would claim


@pytest.mark.slow
def test_groups_that_differ_in_length_alone_are_called_as_often_as_they_should_be():
    """40 data sets of two groups with the same connections, and scans of 100 and 500 samples."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(9400 + seed)
        runs = [series_of(rng, length) for length in [100] * 8 + [500] * 8]
        shrunken, _, proportional, n_windows = map_subjects(runs)
        design = length_design(16)
        maps = (proportional, shrunken)
        found.append([least_p(each, design, n_windows)[0] for each in maps])
    n_proportional, n_shrunken = (np.array(found) <= 0.05).sum(axis=0)
    assert n_proportional <= 6
    assert n_shrunken > 10  # what a prior that each subject chooses would claim


def test_connections_are_found_from_source_to_target_and_not_the_other_way_round():
    rng = np.random.default_rng(9500)
    runs = [series_of(rng, 150) for _ in range(12)]
    _, unshrunk, _, n_windows = map_subjects(runs, pretrained=True)
    design = mean_design(12)
    weights = fit_weights(unshrunk, design.matrix, n_windows).values
    design = Design(design.matrix, design.columns, design.contrasts, design.blocks, weights)
    fit = estimate(unshrunk, design, design.contrasts[0])
    q, effect = fit.q.reshape(N, N), fit.effect.reshape(N, N)
    assert q[0, 1] < 0.001 > q[1, 2]
    assert effect[0, 1] > 0.1
    assert q[1, 0] > 0.05 < q[2, 1]


def test_a_difference_is_found_from_source_to_target_and_not_the_other_way_round():
    """The second half of the subjects has a third connection, from 2 to 4."""
    rng = np.random.default_rng(9600)
    other = DRIFT.copy()
    other[2, 4] = 0.4
    runs = [series_of(rng, n, drift) for drift in (DRIFT, other) for n in [120, 240] * 5]
    _, _, proportional, n_windows = map_subjects(runs)
    design = length_design(20)
    weights = fit_weights(proportional, design.matrix, n_windows).values
    design = Design(design.matrix, design.columns, design.contrasts, design.blocks, weights)
    fit = estimate(proportional, design, design.contrasts[0])
    q, effect = fit.q.reshape(N, N), fit.effect.reshape(N, N)
    assert q[2, 4] < 0.001
    assert effect[2, 4] > 0.1
    assert q[4, 2] > 0.05 < q[0, 1]
