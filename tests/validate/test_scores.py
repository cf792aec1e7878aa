from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from npi_bids.errors import InputDataError
from npi_bids.simulate.rnn import random_network
from npi_bids.validate.scores import (
    auprc,
    auroc,
    score,
    score_delays,
    score_graph,
    share_in_intervals,
    true_edges,
)

RNG = np.random.default_rng(0)
TRUTH = RNG.standard_normal((12, 12)) * (RNG.random((12, 12)) < 0.3)

np.fill_diagonal(TRUTH, 0)


def test_a_perfect_map_has_perfect_figures():
    figures = asdict(score(2 * TRUTH, TRUTH))
    assert figures.pop("slope") == pytest.approx(2)
    assert figures.pop("n_entries") == 132
    assert figures.pop("r_transposed") < 0.5
    assert all(value == pytest.approx(1) for value in figures.values())


def test_a_transposed_map_has_the_right_strength_and_the_wrong_direction():
    recovery = score(TRUTH.T, TRUTH)
    assert recovery.r_symmetric == pytest.approx(1)
    assert recovery.r_antisymmetric == pytest.approx(-1)
    assert recovery.direction < 0.1
    assert recovery.r_transposed == pytest.approx(1)


def test_regions_that_are_not_covered_leave_both():
    estimate = TRUTH.copy()
    estimate[3], estimate[:, 3] = np.nan, np.nan
    assert score(estimate, TRUTH).n_entries == 110
    assert score(estimate, TRUTH).r == pytest.approx(1)
    with pytest.raises(InputDataError, match="same regions"):
        score(TRUTH[:5, :5], TRUTH)
    with pytest.raises(InputDataError, match="0 region"):
        score(np.full((3, 3), np.nan), np.ones((3, 3)))


def test_areas_agree_with_scikit_learn():
    strength, positive = RNG.random(200).round(1), RNG.random(200) < 0.3
    assert auroc(strength, positive) == pytest.approx(roc_auc_score(positive, strength))
    distinct = RNG.random(200)
    expected = average_precision_score(positive, distinct)
    assert auprc(distinct, positive) == pytest.approx(expected)
    assert np.isnan(auroc(strength, np.ones(200, dtype=bool)))


def test_edges_are_what_is_not_zero_or_the_strongest_fifth():
    assert true_edges(TRUTH).sum() == (TRUTH != 0).sum()
    dense = RNG.standard_normal((10, 10))
    assert true_edges(dense).sum() == 18


def test_intervals_hold_what_lies_inside():
    lower, upper = TRUTH - 1, TRUTH + 1
    assert share_in_intervals(lower, upper, TRUTH) == 1
    shifted = TRUTH.copy()
    shifted[0, 1:] += 5
    assert share_in_intervals(lower, upper, shifted) == pytest.approx(121 / 132)


def test_graphs_are_scored_by_strength_and_direction():
    graph = np.zeros((4, 4))
    graph[0, 1] = graph[2, 3] = 1
    assert score_graph(graph, graph)["direction"] == 1
    assert score_graph(graph.T, graph)["direction"] == 0
    assert score_graph(graph.T, graph)["auroc_undirected"] == 1


def test_a_transposed_estimate_scores_badly():
    truth = random_network(20, np.random.default_rng(0)).weights
    right, wrong = score(truth, truth), score(truth.T, truth)
    assert (right.r, right.direction) == (pytest.approx(1), 1)
    assert wrong.r < 0.3
    assert wrong.r_antisymmetric == pytest.approx(-1)
    assert wrong.direction == 0


DELAYS = dict(zip("ABCDEFGH", (0.1, -0.8, 1.9, 0.4, -0.3, 0.0, 0.7, -1.2), strict=True))


def test_delays_are_matched_by_name_and_a_common_delay_has_no_meaning():
    estimate = {name: DELAYS[name] + 5 for name in reversed(DELAYS)}
    recovery = score_delays(estimate, DELAYS)
    assert recovery.r == pytest.approx(1)
    assert recovery.rmse == pytest.approx(0, abs=1e-12)
    assert recovery.n_regions == 8


def test_an_error_in_one_region_is_its_share_of_the_rmse():
    recovery = score_delays({**DELAYS, "C": DELAYS["C"] + 0.8}, DELAYS)  # the median stays
    assert recovery.rmse == pytest.approx(0.8 / np.sqrt(8))


def test_negated_and_swapped_delays_fail_the_score():
    negated = score_delays({name: -delay for name, delay in DELAYS.items()}, DELAYS)
    assert negated.r == pytest.approx(-1)
    assert negated.rmse > 1.5
    swapped = {**DELAYS, "B": DELAYS["C"], "C": DELAYS["B"]}
    assert score_delays(swapped, DELAYS).r < 0.1
    assert score_delays(swapped, DELAYS).rmse == pytest.approx(2.7 / 2)


def test_regions_without_a_delay_leave_both():
    estimate = {**DELAYS, "A": float("nan"), "Z": 3.0}
    del estimate["H"]
    recovery = score_delays(estimate, DELAYS)
    assert recovery.n_regions == 6
    assert recovery.r == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_too_few_or_equal_delays_have_no_correlation():
    assert np.isnan(score_delays({}, DELAYS).rmse)
    assert score_delays({}, DELAYS).n_regions == 0
    equal = score_delays(DELAYS, dict.fromkeys(DELAYS, 0.0))
    assert np.isnan(equal.r)
    assert equal.rmse > 0.5
