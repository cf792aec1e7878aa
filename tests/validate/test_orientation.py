"""Orientation is spoken of only with a p that holds where directions are unrelated."""

import numpy as np
import pytest

from npi_bids.validate.map_comparison import measure_agreement, spin
from npi_bids.validate.orientation import orientation_p

N = 12


def directed(matrix):
    return matrix - matrix.T


def shared_strengths(rng, n):
    """Return symmetric strengths with a heavy tail and hubs, which both maps have."""
    strengths = np.exp(rng.standard_normal((n, n)))
    hubs = np.exp(0.5 * rng.standard_normal(n))
    return (strengths + strengths.T) * hubs * hubs[:, None]


def levels(rng, n):
    """Return a hierarchy: regions send to those of lower level."""
    return directed(np.repeat(rng.standard_normal((n, 1)), n, axis=1))


NULLS = {
    "independent pairs": lambda rng, n: [directed(rng.standard_normal((n, n))) for _ in "AB"],
    "hierarchies": lambda rng, n: [levels(rng, n) for _ in "AB"],
    "shared strengths": lambda rng, n: [
        part * directed(rng.standard_normal((n, n))) for part in [shared_strengths(rng, n)] * 2
    ],
    "both": lambda rng, n: [part * levels(rng, n) for part in [shared_strengths(rng, n)] * 2],
}


def draw_p(name, n=N, n_sets=250, seed=0):
    rng = np.random.default_rng(seed)
    noise = 0.1 * rng.standard_normal((n, n))
    return np.array(
        [orientation_p(*(part + noise + noise.T for part in NULLS[name](rng, n)), rng, 99)
         for _ in range(n_sets)]
    )  # fmt: skip


@pytest.mark.parametrize("name", NULLS)
def test_unrelated_directions_are_rarely_significant(name):
    p = draw_p(name)
    assert np.mean(p <= 0.05) <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 250)  # 99 % of samples
    assert np.mean(p <= 0.2) <= 0.2 + 2.6 * np.sqrt(0.2 * 0.8 / 250)


def test_p_is_nearly_uniform_where_pairs_depend_on_their_regions():
    p = draw_p("hierarchies")
    shares = [np.mean(p <= level) for level in (0.1, 0.3, 0.5)]
    assert shares == pytest.approx([0.1, 0.3, 0.5], abs=0.12)


def test_flips_of_pairs_alone_would_call_unrelated_hierarchies_alike():
    from npi_bids.validate import orientation

    rng = np.random.default_rng(1)
    p = [orientation._flip_pairs(*NULLS["hierarchies"](rng, N), rng, 99) for _ in range(100)]
    assert np.mean(np.array(p) <= 0.05) > 0.25


def test_smooth_levels_are_judged_by_rotations():
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((30, 3)) * [40, 50, 30]
    distance = np.linalg.norm(centres[:, None] - centres, axis=2)
    factor = np.linalg.cholesky(np.exp(-distance / 150) + 1e-6 * np.eye(30))
    smooth = [directed(np.repeat(factor @ rng.standard_normal((30, 1)), 30, axis=1))
              for _ in range(200)]  # fmt: skip
    pairs = list(zip(smooth[::2], smooth[1::2], strict=True))
    alone = np.array([orientation_p(a, b, rng, 39) for a, b in pairs])
    rotated = np.array([orientation_p(a, b, rng, 39, spin(centres)) for a, b in pairs])
    assert np.mean(rotated <= 0.05) < min(np.mean(alone <= 0.05), 0.12)


@pytest.fixture
def truth():
    """Return a feed-forward map: each region drives those after it."""
    rng = np.random.default_rng(3)
    return np.triu(rng.random((20, 20)), 1), rng


def test_a_noisy_estimate_of_a_directed_truth_has_its_orientation(truth):
    ec, rng = truth
    agreement = measure_agreement(ec, ec + 0.4 * rng.standard_normal(ec.shape), None, rng)
    assert agreement.p_orientation < 0.01
    assert agreement.orientation.startswith("the rows of both have the same orientation")
    turned = measure_agreement(ec, (ec + 0.4 * rng.standard_normal(ec.shape)).T, None, rng)
    assert turned.p_orientation < 0.01
    assert turned.orientation.startswith("the maps agree better after transposition")


def test_nothing_is_said_of_orientation_above_the_level(truth):
    ec, rng = truth
    symmetric = ec + ec.T
    other = symmetric + 0.1 * rng.standard_normal(ec.shape)
    agreement = measure_agreement(ec, other, None, rng)
    assert agreement.r_symmetric > 0.9
    assert agreement.p_orientation > 0.05
    assert agreement.orientation.startswith("it cannot be told whether rows are sources in both")
    assert f"p = {agreement.p_orientation:.2g}" in agreement.orientation


def test_without_null_maps_nothing_is_said(truth):
    ec, rng = truth
    agreement = measure_agreement(ec, ec, None, rng, n_null=0)
    assert np.isnan(agreement.p_orientation)
    assert "no null maps were drawn" in agreement.orientation


def test_missing_entries_and_few_regions_are_no_evidence(truth):
    ec, rng = truth
    partial = ec.copy()
    partial[:4] = np.nan
    assert orientation_p(ec, partial, rng, 499) < 0.01
    assert orientation_p(ec[:3, :3], ec[:3, :3], rng, 499) > 0.05
