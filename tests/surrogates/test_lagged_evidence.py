from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from npi_bids.records import Windows
from npi_bids.surrogates.lagged_evidence import (
    correlation_time,
    direction_test,
    fixed_delays,
    lagged_evidence,
    time_blocks,
)
from npi_bids.surrogates.windows import cut_windows
from tests.conftest import LABELS, var_run


def smooth(n_samples, n_regions, seed, weight=0.8):
    """Return smooth signals that share instantaneous noise and nothing across lags."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n_samples, n_regions)) @ (np.eye(n_regions) + 0.3)
    for now in range(1, n_samples):
        mixed[now] += weight * mixed[now - 1]
    return mixed


def windows_of(signals):
    return Windows(signals[:-1, None], signals[1:], np.arange(1, len(signals)))


def test_direction_is_found_where_it_is(weights):
    windows = cut_windows([var_run(weights, 400, seed=1)], 1)
    found = direction_test(windows, np.random.default_rng(0))
    assert found.p < 0.01
    assert found.ratio > 2


def test_direction_is_the_same_with_time_reversed(weights):
    windows = cut_windows([var_run(weights, 400, seed=1)], 1)
    turned = Windows(
        windows.target[::-1, None].copy(), windows.history[::-1, -1].copy(), windows.position
    )
    a, b = (direction_test(w, np.random.default_rng(0)) for w in (windows, turned))
    assert a.ratio == pytest.approx(b.ratio, rel=0.1)


def test_test_of_direction_keeps_its_level_on_smooth_correlated_signals():
    ps = [
        direction_test(windows_of(smooth(400, 8, seed)), np.random.default_rng(seed)).p
        for seed in range(100)
    ]
    assert np.mean(np.array(ps) < 0.05) <= 0.12
    assert np.mean(ps) == pytest.approx(0.5, abs=0.12)


def test_evidence_is_one_without_lagged_influence_however_smooth():
    found = [
        lagged_evidence(w.history[:, -1], w.target, w.position)
        for w in (windows_of(smooth(1500, 10, seed)) for seed in range(8))
    ]
    assert np.mean([f.symmetric for f in found]) == pytest.approx(1, abs=0.2)
    assert np.mean([f.antisymmetric for f in found]) == pytest.approx(1, abs=0.2)


def test_evidence_grows_with_lagged_influence(weights):
    windows = cut_windows([var_run(weights, 800, seed=2)], 1)
    found = lagged_evidence(windows.history[:, -1], windows.target, windows.position)
    assert min(found.symmetric, found.antisymmetric) > 5


def test_correlation_time_leaves_out_products_across_gaps():
    rng = np.random.default_rng(3)
    signals = rng.standard_normal((200, 3)).cumsum(axis=0)
    position = np.sort(rng.choice(260, 200, replace=False))
    scores = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    expected = 1.0
    for lag in range(1, 50):
        pairs = [t for t in range(200 - lag) if position[t + lag] - position[t] == lag]
        mean = np.mean([scores[t + lag] * scores[t] for t in pairs], axis=0) if pairs else 0.0
        share = (200 - lag) / 200
        expected += 2 * max(0.0, np.mean((mean * share) ** 2) - 1 / 200)
    assert correlation_time(signals, position) == pytest.approx(expected)


def test_correlation_time_of_white_and_of_smooth_signals():
    rng = np.random.default_rng(0)
    position = np.arange(4000)
    assert correlation_time(rng.standard_normal((4000, 5)), position) == pytest.approx(1, abs=0.2)
    expected = (1 + 0.8**2) / (1 - 0.8**2)  # 1 + 2 sum of 0.8^(2k)
    assert correlation_time(smooth(4000, 5, 1), position) == pytest.approx(expected, rel=0.15)


def test_blocks_cover_all_windows_once_and_respect_time():
    position = np.r_[0:100, 400:520]
    signals = np.random.default_rng(0).standard_normal((220, len(LABELS)))
    blocks = time_blocks(signals, position)
    assert blocks[0].start == 0
    assert blocks[-1].stop == 220
    assert all(a.stop == b.start for a, b in pairwise(blocks))
    assert len(blocks) >= 6
    assert 100 in {block.start for block in blocks}  # the gap is a border


def test_delays_of_regions_are_told_from_influence():
    """Signals that are one smooth signal shown late, and a ring in which each drives the next."""
    rng = np.random.default_rng(0)
    late = np.array([1, 0, 1, 2, 3, 1, 0, 2, 1, 1])
    shared = np.convolve(rng.standard_normal(6000), np.hanning(25), "same")
    seen = np.column_stack([np.roll(shared, lag) for lag in late])
    seen += 0.3 * rng.standard_normal(seen.shape)
    by_delays = fixed_delays(seen[:-1], seen[1:], np.arange(1, 6000))
    assert by_delays.share > 0.8
    assert by_delays.sd == pytest.approx(late.std(), rel=0.15)
    ring = 0.5 * np.eye(10) + 0.4 * np.roll(np.eye(10), 1, axis=1)
    labels = tuple(f"R{number}" for number in range(10))
    driven = cut_windows([var_run(ring, 6000, seed=1, labels=labels)], 1)
    found = fixed_delays(driven.history[:, -1], driven.target, driven.position)
    assert found.share < 0.05


@pytest.mark.parametrize(("n_regions", "apart"), [(9, 1), (10, 2)])
def test_delays_need_regions_and_neighbours_in_time(n_regions, apart):
    rng = np.random.default_rng(0)
    past, target = rng.standard_normal((2, 40, n_regions))
    assert np.isnan(fixed_delays(past, target, apart * np.arange(40)).share)
