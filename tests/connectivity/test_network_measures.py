from __future__ import annotations

import numpy as np
import pytest

from npi_bids.connectivity.network_measures import (
    OF_MAGNITUDE,
    ONE_SIGNED,
    compute_flow,
    flow_stack,
    groupings,
    network_map,
    network_stack,
)
from npi_bids.records import ECResult

CHAIN = np.array([[9.0, 2.0, 0.0], [0.0, 9.0, -3.0], [1.0, 0.0, 9.0]])

COHORT_RNG = np.random.default_rng(0)


def test_rows_are_what_is_sent():
    flow = compute_flow(CHAIN)
    assert flow.out_strength.tolist() == [2, -3, 1]
    assert flow.in_strength.tolist() == [1, 2, -3]
    assert flow.out_negative.tolist() == [0, -3, 0]
    assert flow.in_positive.tolist() == [1, 2, 0]
    assert flow.net_flow.tolist() == [1, 1, -2]
    turned = compute_flow(CHAIN.T)
    np.testing.assert_allclose(turned.net_flow, -flow.net_flow)
    np.testing.assert_allclose(turned.hierarchy, -flow.hierarchy)


def test_a_chain_climbs_one_level_a_step():
    chain = np.diag(np.ones(4), 1)
    np.testing.assert_allclose(np.diff(compute_flow(chain).hierarchy), 1.0)
    np.testing.assert_allclose(compute_flow(chain + chain.T).hierarchy, 0.0, atol=1e-12)


def test_two_parts_that_nothing_joins_have_levels_of_their_own():
    two = np.zeros((4, 4))
    two[0, 1], two[2, 3] = 1.0, 5.0
    np.testing.assert_allclose(compute_flow(two).hierarchy, [-0.5, 0.5, -0.5, 0.5], atol=1e-9)


def test_a_region_that_is_not_covered_stays_unknown():
    matrix = CHAIN.copy()
    matrix[1], matrix[:, 1] = np.nan, np.nan
    flow = compute_flow(matrix)
    assert np.isnan([flow.out_strength[1], flow.hierarchy[1], flow.asymmetry[1]]).all()
    assert flow.out_strength[2] == 1
    assert flow.hierarchy[0] - flow.hierarchy[2] == pytest.approx(1.0)


def test_maps_between_networks_leave_regions_with_themselves_out():
    labels = ("A", "B", "C")
    found = network_map(ECResult(CHAIN, labels), ("x", "x", "y"))
    assert found.labels == ("x", "y")
    np.testing.assert_allclose(found.matrix, [[1.0, -1.5], [0.5, np.nan]])


def test_stacks_hold_what_each_subject_has():
    maps = np.stack([CHAIN.ravel(), 2 * CHAIN.ravel()])
    flows = flow_stack(maps, 3)
    np.testing.assert_allclose(flows["out_strength"][1], 2 * compute_flow(CHAIN).out_strength)
    pairs, names = network_stack(maps, ("A", "B", "C"), ("x", "x", "y"))
    assert names == ("x", "y")
    np.testing.assert_allclose(pairs[1], 2 * pairs[0])


@pytest.mark.parametrize(
    ("labels", "sides"),
    [
        (["7Networks_LH_Vis_1", "7Networks_RH_Vis_1"], ("left", "right")),
        (["L_V1", "R_V1", "Vermis_3"], ("left", "right", "midline")),
        (["HIP-rh", "HIP-lh"], ("right", "left")),
        (["Precentral_L", "Precentral_R"], ("left", "right")),
    ],
)
def test_hemispheres_are_read_from_names(labels, sides):
    assert groupings(labels, {})["hemisphere"] == sides


def test_names_without_sides_have_no_hemispheres():
    assert groupings(["A", "B"], {"network": ["x", "y"]}) == {"network": ("x", "y")}


def test_every_figure_that_cannot_change_its_sign_is_known_as_such():
    maps = COHORT_RNG.standard_normal((40, 36))
    for figure, values in flow_stack(maps, 6).items():
        one_signed = (values >= 0).all() or (values <= 0).all()
        assert one_signed == (figure in ONE_SIGNED), figure


def test_errors_of_unequal_size_alone_give_a_net_flow():
    # No connection, but noisier connections from the first region than to it.
    noise = COHORT_RNG.standard_normal((40, 6, 6))
    noise[:, 0] *= 2
    figures = flow_stack(noise.reshape(40, -1), 6)
    for figure in ("net_flow", "hierarchy"):
        values = figures[figure][:, 0]
        assert abs(values.mean()) > 5 * values.std() / np.sqrt(40)
        assert figure in OF_MAGNITUDE  # and is therefore not tested against 0
    strength = figures["out_strength"][:, 0]
    assert abs(strength.mean()) < 3 * strength.std() / np.sqrt(40)
    assert "out_strength" not in OF_MAGNITUDE
