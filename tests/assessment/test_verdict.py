"""Quality, verdict, hazards and uncertainty of maps whose truth is known."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.signal import butter, filtfilt

from npi_bids.assessment.hazards import find_hazards
from npi_bids.assessment.quality import agreement, high_frequency_share
from npi_bids.assessment.uncertainty import circular_blocks, intervals
from npi_bids.assessment.verdict import AssessSettings, VerdictSettings, judge
from npi_bids.connectivity.measures import (
    MeasureSettings,
    oriented_correlation,
    partial_correlation,
)
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError
from npi_bids.inference import ec_of_runs
from npi_bids.records import Quality, RegionSeries
from npi_bids.surrogates.base import TrainSettings
from tests.conftest import LABELS, var_run

DEFAULT, PUSH = TrainSettings(device="cpu"), PerturbSettings()

VAR = TrainSettings(surrogate="var", device="cpu")


@pytest.fixture(scope="module")
def result():
    weights = 0.4 * np.eye(4)
    weights[0, 1], weights[1, 2] = 0.5, -0.4
    return ec_of_runs([var_run(weights, 1200, 7, tr=1.0)], train=DEFAULT, perturb=PUSH)


def run_of(series, tr=1.0):
    labels = tuple(f"R{n}" for n in range(series.shape[1]))
    return RegionSeries(series, labels, tr, np.ones(len(series), dtype=bool))


def test_a_driven_system_passes_and_noise_does_not(result):
    assert (result.verdict.label, result.verdict.reasons) == ("pass", ())
    rng = np.random.default_rng(0)
    noise = run_of(rng.standard_normal((1200, 4)))
    nothing = ec_of_runs([noise], train=DEFAULT, perturb=PUSH)
    assert nothing.verdict.label == "fail"
    assert not nothing.quality.direction_supported
    assert any("direction is not supported" in reason for reason in nothing.verdict.reasons)


def test_low_passed_data_fail_with_the_reason(run, weights):
    clean = var_run(weights, 1200, 7, tr=1.0)
    filtered = filtfilt(*butter(2, [0.02, 0.2], "band"), clean.data, axis=0)
    found = ec_of_runs([run_of(filtered / filtered.std(axis=0))], train=DEFAULT, perturb=PUSH)
    assert found.verdict.label == "fail"
    assert "low-passed" in found.verdict.reasons[0]
    assert found.quality.high_frequency_share < 0.02


def test_every_figure_is_there(result):
    values = {field.name: getattr(result.quality, field.name) for field in fields(Quality)}
    without = {name for name, value in values.items() if np.isnan(value)}
    # There is no ensemble where networks did not pay; four regions are too few for delays, and
    # where the signals are taken for the state none are allowed for.
    seeds = {"r_seed", "r_seed_symmetric", "r_seed_antisymmetric"}
    assert without == {*seeds, "r_split_oriented", "delay_share", "delay_sd", "removed_delay_sd"}
    assert values["skill_own_history"] == pytest.approx(
        1 - (1 - values["r2"]) / (1 - values["r2_own_history"]), abs=0.05
    )


def test_seeds_of_an_ensemble_are_compared(run):
    settings = TrainSettings(surrogate="mlp", n_seeds=3, epochs=10, n_lags=1, device="cpu")
    quality = ec_of_runs([run], train=settings, perturb=PUSH).quality
    assert 0 < quality.r_seed < 1
    assert np.isfinite(quality.r_split)


def test_agreement_of_transposed_maps_is_in_the_symmetric_part_alone():
    one = np.random.default_rng(0).standard_normal((6, 6))
    whole, even, odd = agreement([one, one.T])
    assert even == pytest.approx(1)
    assert odd == pytest.approx(-1)
    assert whole < 0.9


@pytest.mark.parametrize(
    ("change", "label", "words"),
    [
        ({}, "pass", None),
        ({"skill_own_history": -0.1}, "fail", "worse than from each region's own past"),
        ({"skill_own_history": 0.001}, "caution", "add little"),
        ({"spectral_radius": 1.2}, "fail", "unstable"),
        ({"r_split": 0.1}, "fail", "hardly agree"),
        ({"r_split": 0.4}, "caution", "agree weakly"),
        ({"direction_supported": False}, "caution", "Read the map as undirected"),
        ({"r_split_antisymmetric": 0.1}, "caution", "average over subjects"),
        ({"delay_share": 0.6, "delay_sd": 1.5}, "caution", "may be haemodynamic"),
        ({"delay_share": 0.6, "delay_sd": 0.4}, "pass", None),
        ({"delay_share": 0.1, "delay_sd": 1.5}, "pass", None),
        ({"r_split_oriented": 0.1}, "caution", "do not interpret them"),
        ({"model_fc_r": 0.2}, "caution", "reproduces functional connectivity poorly"),
        ({"samples_per_parameter": 0.5}, "caution", "little data"),
        ({"high_frequency_share": 0.001}, "fail", "low-passed"),
        ({"high_frequency_share": float("nan")}, "pass", None),
    ],
)
def test_each_gate_gives_its_label_and_says_why(result, change, label, words):
    verdict = judge(replace(result.quality, **change), VerdictSettings())
    assert verdict.label == label
    assert (words is None) == (not verdict.reasons)
    assert words is None or words in verdict.reasons[0]


def test_the_gravest_reason_gives_the_label_and_all_are_said(result):
    worst = replace(result.quality, r_split=0.0, model_fc_r=0.0)
    verdict = judge(worst, VerdictSettings())
    assert verdict.label == "fail"
    assert len(verdict.reasons) == 2


def test_thresholds_are_options(result):
    strict = VerdictSettings(good_split=0.999)
    assert judge(result.quality, strict).label == "caution"
    with pytest.raises(SettingsError, match="--direction-p must be below 1"):
        VerdictSettings(direction_p=2)


def test_power_is_counted_above_a_fixed_frequency():
    time = np.arange(600)
    slow, fast = (np.sin(2 * np.pi * f * time)[:, None] for f in (0.05, 0.3))
    assert high_frequency_share([run_of(slow)]) < 0.01
    assert high_frequency_share([run_of(fast)]) > 0.99
    assert np.isnan(high_frequency_share([run_of(slow, tr=3.5)]))


def test_hazards_are_named_with_their_cost(run):
    assert find_hazards([run], ("trans_x",)) == ()
    assert "global signal" in find_hazards([run], ("global_signal",))[0]
    uneven = RegionSeries(run.data * [1, 1, 1, 5], LABELS, 2.0, run.keep)
    assert ".65" in find_hazards([uneven])[0]


def test_intervals_hold_the_truth_and_tell_edges_from_none(result):
    lower, upper = (result.measures[f"npi{end}"].matrix for end in ("lower", "upper"))
    truth = 0.4 * np.eye(4)
    truth[0, 1], truth[1, 2] = 0.5, -0.4
    off = ~np.eye(4, dtype=bool)
    inside = (lower < truth)[off] & (truth < upper)[off]
    assert inside.mean() > 0.8
    q = result.measures["npiq"].matrix
    assert max(q[0, 1], q[1, 2]) < 1e-6
    assert q[1, 0] > 0.01
    assert np.isnan(np.diag(result.measures["npistderr"].matrix)).all()


def test_false_positives_stay_at_their_level_without_edges():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(10):
        series = rng.standard_normal((400, 8))
        for now in range(1, 400):
            series[now] += 0.5 * series[now - 1]
        for settings in (DEFAULT, VAR):
            p = ec_of_runs([run_of(series)], train=settings, perturb=PUSH).measures["npip"].matrix
            found.append((p[~np.eye(8, dtype=bool)] < 0.05).mean())
    assert np.mean(found[::2]) < 0.06
    assert np.mean(found[1::2]) < 0.08


def test_bootstrap_agrees_with_the_closed_form(run):
    assess = AssessSettings(measures=MeasureSettings(n_bootstrap=100))
    closed, resampled = (
        ec_of_runs([run], train=VAR, perturb=PUSH, assess=wanted) for wanted in (None, assess)
    )
    assert (closed.uncertainty, resampled.uncertainty) == ("posterior", "bootstrap")
    off = ~np.eye(4, dtype=bool)
    a, b = (r.measures["npistderr"].matrix[off] for r in (closed, resampled))
    np.testing.assert_allclose(a, b, rtol=0.35)


def test_networks_have_errors_by_bootstrap_alone(run):
    settings = TrainSettings(surrogate="mlp", epochs=2, n_lags=1, device="cpu")
    assert "npistderr" not in ec_of_runs([run], train=settings, perturb=PUSH).measures
    assess = AssessSettings(measures=MeasureSettings(n_bootstrap=3))
    found = ec_of_runs([run], train=settings, perturb=PUSH, assess=assess)
    assert found.uncertainty == "bootstrap"
    assert (found.measures["npistderr"].matrix[~np.eye(4, dtype=bool)] > 0).all()


def test_circular_blocks_are_runs_of_neighbours():
    rows = circular_blocks(100, 10, np.random.default_rng(0))
    steps = np.diff(rows) % 100
    assert (steps == 1).mean() > 0.85
    assert rows.max() < 100


def test_intervals_are_normal_and_q_is_benjamini_hochberg():
    matrix = np.array([[0.0, 1.96, 0.0], [1.0, 0.0, 3.0], [0.5, 0.1, 0.0]])
    found = intervals(matrix, np.ones((3, 3)), "posterior")
    assert found.p[0, 1] == pytest.approx(0.05, abs=1e-3)
    assert found.lower[0, 1] == pytest.approx(0)
    ranked = np.sort(found.p[~np.eye(3, dtype=bool)])
    assert found.q[1, 2] == pytest.approx(min(ranked[k] * 6 / (k + 1) for k in range(6)))


def test_measures_on_request_are_written_with_their_direction(run, weights):
    asked = AssessSettings(measures=MeasureSettings(measures=("partial", "lagged", "var")))
    found = ec_of_runs([run], train=VAR, perturb=PUSH, assess=asked).measures
    assert {"npi", "partialcorrelation", "laggedcorrelation", "ridgevar"} <= set(found)
    assert "jacobian" not in found
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(found["ridgevar"].matrix[off], weights[off], atol=0.1)
    lagged = found["laggedcorrelation"].matrix
    assert lagged[0, 1] > 0.3 > abs(lagged[1, 0])


def test_partial_correlation_leaves_out_what_goes_through_others():
    rng = np.random.default_rng(0)
    a = rng.standard_normal(5000)
    b = a + rng.standard_normal(5000)
    c = b + rng.standard_normal(5000)
    partial = partial_correlation(np.stack([a, b, c], axis=1))
    assert abs(partial[0, 2]) < 0.05
    assert partial[0, 1] > 0.3
    assert np.isfinite(partial_correlation(rng.standard_normal((10, 30)))).all()


def test_skewness_orients_a_chain():
    rng = np.random.default_rng(0)
    a = rng.exponential(size=5000)
    b = 0.8 * a + rng.exponential(size=5000)
    c = 0.8 * b + rng.exponential(size=5000)
    oriented = oriented_correlation(np.stack([a, b, c], axis=1))
    assert oriented[0, 1] > 0.3
    assert oriented[1, 2] > 0.3
    assert oriented[1, 0] == oriented[2, 1] == 0


def test_oriented_map_is_trusted_only_where_it_repeats(run):
    asked = AssessSettings(measures=MeasureSettings(measures=("oriented",)))
    found = ec_of_runs([run], train=VAR, perturb=PUSH, assess=asked)  # Gaussian: no orientation
    assert "oriented" in found.measures
    assert np.isfinite(found.quality.r_split_oriented)
    rng = np.random.default_rng(0)
    skewed = rng.exponential(size=(4000, 3)) - 1
    skewed[:, 1] += 0.8 * skewed[:, 0]
    skewed[:, 2] += 0.8 * skewed[:, 1]
    repeated = ec_of_runs([run_of(skewed)], train=VAR, perturb=PUSH, assess=asked)
    assert repeated.quality.r_split_oriented > 0.9
