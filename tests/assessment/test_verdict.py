"""The verdict on maps whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, filtfilt

from npi_bids.assessment.settings import VerdictSettings
from npi_bids.assessment.verdict import judge
from npi_bids.errors import SettingsError
from npi_bids.inference import ec_of_runs
from tests.assessment.conftest import DEFAULT, PUSH, run_of
from tests.conftest import var_run


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


@pytest.mark.parametrize(
    ("change", "label", "words"),
    [
        ({}, "pass", None),
        ({"skill_own_history": -0.1}, "fail", "worse than from each region's own past"),
        ({"skill_own_history": 0.001}, "caution", "add little"),
        ({"spectral_radius": 1.2}, "fail", "unstable"),
        ({"r_split": 0.1}, "fail", "hardly agree"),
        ({"shrunk": True, "r_others": 0.1}, "fail", "hardly agrees with that of the other"),
        ({"shrunk": True, "r_others": 0.3}, "pass", None),
        ({"fc_r": 0.9, "antisymmetric_share": 0.01}, "caution", "little more than functional"),
        ({"fc_r": 0.9, "antisymmetric_share": 0.3}, "pass", None),
        ({"stripe_share": 0.6}, "caution", "consists of stripes"),
        ({"r_split": 0.4}, "caution", "agree weakly"),
        ({"direction_supported": False}, "caution", "Read the map as undirected"),
        ({"r_split_antisymmetric": 0.1}, "caution", "average over subjects"),
        ({"delay_share": 0.6, "delay_sd": 1.5}, "caution", "may be haemodynamic"),
        ({"delay_share": 0.6, "delay_sd": 0.4}, "pass", None),
        ({"delay_share": 0.1, "delay_sd": 1.5}, "pass", None),
        ({"r_split_oriented": 0.1}, "caution", "do not interpret them"),
        ({"model_fc_r": 0.2}, "caution", "reproduces functional connectivity poorly"),
        (
            {"model_fc_r": float("nan"), "free_run_diverged": True},
            "caution",
            "pool the runs of the subject (--combine runs;",
        ),
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


def test_what_fails_a_map_comes_before_what_asks_for_caution(result):
    quality = replace(result.quality, removed_delay_sd=1.0, spectral_radius=1.2)
    verdict = judge(quality, VerdictSettings())
    assert "unstable" in verdict.reasons[0]
    assert "regional delays" in verdict.reasons[1]


def test_thresholds_are_options(result):
    strict = VerdictSettings(good_split=0.999)
    assert judge(result.quality, strict).label == "caution"
    with pytest.raises(SettingsError, match="--direction-p must be below 1"):
        VerdictSettings(direction_p=2)
