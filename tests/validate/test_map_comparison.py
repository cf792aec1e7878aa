from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from npi_bids.errors import InputDataError
from npi_bids.records import ECResult
from npi_bids.validate.map_comparison import (
    compare_external,
    match_regions,
    measure_agreement,
    shuffle_by_distance,
    spin,
)

RNG = np.random.default_rng(0)
N = 30
CENTRES = RNG.standard_normal((N, 3)) * [40, 50, 30]
MAP = RNG.standard_normal((N, N))


def test_a_map_agrees_with_itself_and_not_with_its_transpose():
    same = measure_agreement(MAP, MAP + 0.1 * RNG.standard_normal((N, N)), CENTRES, RNG, 99)
    assert same.r > 0.95
    assert same.r_antisymmetric > 0.95
    assert max(same.p_spin, same.p_distance, same.p_direction_spin) <= 0.03
    assert "same orientation" in same.orientation
    turned = measure_agreement(MAP, MAP.T, CENTRES, RNG, 99)
    assert turned.r_antisymmetric == pytest.approx(-1)
    assert turned.r_transposed == pytest.approx(1)
    assert turned.p_direction_spin == 1
    assert "check whether rows are sources" in turned.orientation


def test_symmetric_maps_tell_nothing_of_rows():
    agreement = measure_agreement(MAP, MAP + MAP.T, None, RNG)
    assert "one of the maps is symmetric" in agreement.orientation
    assert np.isnan(agreement.p_spin)


def test_maps_that_share_nothing_but_distance_are_like_their_null():
    distance = np.linalg.norm(CENTRES[:, None] - CENTRES[None], axis=2)
    near, rng = -distance / 60, np.random.default_rng(0)
    one, other = (near + 0.3 * rng.standard_normal((N, N)) for _ in range(2))
    agreement = measure_agreement(one, other, CENTRES, rng, 99)
    assert agreement.r > 0.7
    assert agreement.p_distance > 0.05


def test_shuffling_by_distance_keeps_pairs_together():
    labels = np.arange(N * N).reshape(N, N).astype(float)
    shuffled = shuffle_by_distance(CENTRES)(labels, RNG)
    pairs = {frozenset((labels[i, j], labels[j, i])) for i in range(N) for j in range(i)}
    assert {
        frozenset((shuffled[i, j], shuffled[j, i])) for i in range(N) for j in range(i)
    } == pairs
    assert (shuffled != labels).sum() > N


def test_spins_keep_hemispheres_and_use_each_region_once():
    marked = np.diag(np.arange(N).astype(float))
    order = np.diag(spin(CENTRES)(marked, RNG)).astype(int)
    assert sorted(order) == list(range(N))
    np.testing.assert_array_equal(CENTRES[order, 0] < 0, CENTRES[:, 0] < 0)


def test_regions_are_matched_by_their_words():
    one = ["7Networks_LH_Vis_1", "L_V1_ROI", "Precentral_R", "only here", "twice"]
    other = ["LH_Vis_1", "V1_L", "precentral right", "twice a", "a twice"]
    assert match_regions(one, other) == [(0, 0), (1, 1), (2, 2)]


def test_order_does_not_matter_and_the_table_gives_places(tmp_path):
    labels = tuple(f"R{n}" for n in range(N))
    table = pd.DataFrame({"index": range(N), "name": labels})
    table[["x", "y", "z"]] = CENTRES
    table.to_csv(tmp_path / "regions.tsv", sep="\t", index=False)
    order = RNG.permutation(N)
    reordered = ECResult(MAP[np.ix_(order, order)], tuple(labels[n] for n in order))
    agreement, _ = compare_external(
        ECResult(MAP, labels), reordered, tmp_path / "regions.tsv", n_null=9, seed=0
    )
    assert agreement.r == pytest.approx(1)
    assert agreement.r_antisymmetric == pytest.approx(1)
    assert agreement.p_spin == 0.1


def test_maps_of_other_atlases_are_refused():
    other = ECResult(MAP[:3, :3], ("X", "Y", "Z"))
    with pytest.raises(InputDataError, match="share 0 region"):
        compare_external(other, ECResult(MAP[:2, :2], ("A", "B")), None, n_null=0, seed=0)
