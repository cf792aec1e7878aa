"""What simulated results say of the accuracy of a new one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.assessment.expected_accuracy import (
    TARGETS,
    AccuracyTable,
    combined_accuracy,
    error_quantiles,
    expected_accuracy,
    extract_figures,
    load_shipped_table,
    look_up_errors,
    predict,
)
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.assessment.verdict import judge
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.simulate.observation import ObserveSettings, as_runs, observe
from npi_bids.simulate.systems import SystemSettings, simulate
from npi_bids.surrogates.base import TrainSettings, preset
from npi_bids.surrogates.pretraining import pretrain

PUSH = PerturbSettings()


def result_of(n_samples, seed=77, **seen):
    made = simulate("rnn", SystemSettings(n_regions=12, seed=seed), 1, n_samples)
    rng = np.random.default_rng(seed)
    observed = observe(made.series, made.tr, ObserveSettings(**seen), rng)
    result = ec_of_runs(
        as_runs(observed, made.labels), train=TrainSettings(device="cpu"), perturb=PUSH
    )
    return result, made.truth


@pytest.mark.parametrize(
    ("n_samples", "seen"),
    [(2000, {}), (300, {}), (150, {"measurement_noise": 1.0})],
)
def test_accuracy_of_systems_that_the_table_does_not_hold_is_foreseen(n_samples, seen):
    result, truth = result_of(n_samples, **seen)
    quality, found = result.quality, result.measures["npi"].matrix
    assert quality.expected_r_lower <= pearson(found, truth) <= quality.expected_r_upper
    reached = pearson(antisymmetric(found), antisymmetric(truth))
    assert quality.expected_r_antisymmetric == pytest.approx(reached, abs=0.3)


def test_more_data_are_expected_to_do_better():
    long, short = (result_of(n)[0].quality for n in (2000, 150))
    assert long.expected_r > short.expected_r + 0.2
    assert long.expected_r_antisymmetric > short.expected_r_antisymmetric + 0.2


def test_low_expectations_fail_and_middling_ones_are_a_caution():
    quality = result_of(2000)[0].quality
    for value, label in ((0.3, "fail"), (0.7, "caution")):
        verdict = judge(replace(quality, expected_r=value), VerdictSettings())
        assert verdict.label == label
        assert any(
            f"{value:.2f}" in reason and "simulations" in reason for reason in verdict.reasons
        )
    assert judge(replace(quality, expected_r=0.97), VerdictSettings()).label == "pass"
    # What cannot be told is not held against a result.
    assert judge(replace(quality, expected_r=float("nan")), VerdictSettings()).label == "pass"


def test_nothing_is_said_of_what_was_never_simulated():
    quality = result_of(300)[0].quality
    assert set(expected_accuracy(quality)) == set(TARGETS)
    assert expected_accuracy(replace(quality, r_split=float("nan"))) == {}
    assert expected_accuracy(replace(quality, skill_own_history=-50.0)) == {}
    # Other surrogates are not in the table.
    made = simulate("rnn", SystemSettings(n_regions=5, seed=1), 1, 200)
    rng = np.random.default_rng(0)
    runs = as_runs(observe(made.series, 1.0, ObserveSettings(), rng), made.labels)
    published = ec_of_runs(runs, train=preset("luo2025", epochs=1, device="cpu"), perturb=PUSH)
    assert np.isnan(published.quality.expected_r)


def test_a_free_run_that_diverged_still_has_an_expectation():
    quality = result_of(300)[0].quality
    assert np.isfinite(extract_figures(replace(quality, model_fc_r=float("nan")))).all()


@pytest.mark.parametrize(("weight", "noise"), [(0.2, 0.5), (0.6, 1.5), (1.0, 1.0), (0.0, 1.0)])
def test_the_accuracy_of_a_weighted_sum_follows_from_how_its_parts_agree(weight, noise):
    rng = np.random.default_rng(5)
    truth, shared = rng.standard_normal((2, 200_000))
    halves = truth + noise * np.sqrt(2) * rng.standard_normal((2, len(truth)))
    own, group = halves.mean(axis=0), 2 * (truth + 0.7 * shared)
    combined = weight * own + (1 - weight) * group
    maps = {"own": own, "group": group, "combined": combined}
    expected = combined_accuracy(
        np.corrcoef(*halves)[0, 1],
        *(np.corrcoef(maps[a], maps[b])[0, 1]
          for a, b in (("own", "group"), ("combined", "group"), ("combined", "own"))),
    )  # fmt: skip
    assert expected == pytest.approx(np.corrcoef(combined, truth)[0, 1], abs=0.01)


def test_nothing_is_expected_of_maps_that_agree_with_nothing():
    assert combined_accuracy(-0.5, 0.0, 0.1, 0.9) < 0.1
    assert abs(combined_accuracy(-1.0, -0.3, 0.1, 0.9)) < 0.1


@pytest.fixture(scope="module")
def with_prior():
    """Return results of a group: of a member, and of a subject with another network."""
    made = simulate("rnn", SystemSettings(n_regions=12, seed=77), 6, 250)
    other = simulate("rnn", SystemSettings(n_regions=12, seed=78), 1, 250)
    series = np.concatenate([other.series, made.series[1:]])
    runs = as_runs(
        observe(series, made.tr, ObserveSettings(), np.random.default_rng(0)), made.labels
    )
    train = TrainSettings(device="cpu", residual="none")
    group = pretrain(lambda: ((str(n), [run]) for n, run in enumerate(runs)), train)
    results = [
        ec_of_runs([runs[n]], train=train, perturb=PUSH, prior=group.build_prior(str(n)))
        for n in (1, 0)
    ]
    return list(zip(results, (made.truth, other.truth), strict=True))


def test_accuracy_of_maps_with_a_prior_is_foreseen(with_prior):
    for result, truth in with_prior:
        quality, found = result.quality, result.measures["npi"].matrix
        assert quality.shrunk
        reached = pearson(found, truth)
        assert quality.expected_r_lower <= reached <= quality.expected_r_upper
    member, stranger = (result.quality for result, _ in with_prior)
    assert member.expected_r > stranger.expected_r + 0.1
    assert expected_accuracy(replace(member, r_halves=float("nan"))) == {}


@pytest.mark.parametrize("shrunk", [False, True])
def test_shipped_table_foresees_its_own_results_and_says_where_it_comes_from(shrunk):
    table = load_shipped_table(shrunk=shrunk)
    assert len(table.figures) >= (200 if shrunk else 400)
    for target in TARGETS:
        expected = predict(table, table.figures, target)
        assert np.corrcoef(expected, table.accuracy[target])[0, 1] > (0.8 if shrunk else 0.85)
        low, high = look_up_errors(table, expected, target).T
        assert (low < 0).all()
        assert (high > 0).all()


def test_spread_of_errors_is_that_of_the_range():
    rng = np.random.default_rng(0)
    expected = np.repeat([0.2, 0.6, 0.9], 400)
    reached = expected + rng.normal(0, np.repeat([0.2, 0.1, 0.02], 400))
    quantiles = error_quantiles(expected, reached, ["one type"] * len(expected))
    np.testing.assert_allclose(quantiles[:, 1], 1.645 * np.array([0.2, 0.1, 0.02]), rtol=0.2)
    table = AccuracyTable(np.zeros((1, 1)), {}, {"r": quantiles})
    np.testing.assert_array_equal(look_up_errors(table, np.array([0.8]), "r")[0], quantiles[2])


def test_limits_are_those_of_the_least_predictable_type():
    rng = np.random.default_rng(1)
    expected = np.full(800, 0.9)
    types = np.repeat(["predictable", "other"], 400)
    reached = expected + np.where(types == "other", rng.normal(-0.3, 0.05, 800), 0.0)
    low, high = error_quantiles(expected, reached, types)[2]
    assert low < -0.3
    assert high == 0.0
    # A type with few results has no percentiles of its own.
    few = np.where(np.arange(800) < 790, "predictable", "other")
    assert error_quantiles(expected, np.where(few == "other", 0.0, expected), few)[2][0] == 0.0
