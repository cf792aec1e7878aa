"""Every flag arrives where it is used, and does there what it says."""

import re
from dataclasses import fields, replace

import pytest

from npi_bids.assessment.verdict import VerdictSettings, judge, supports_direction
from npi_bids.cli.execution import choose_plugin
from npi_bids.cli.parser import GROUPS, build_parser, parse
from npi_bids.records import Quality
from npi_bids.settings import help_of
from npi_bids.surrogates.lagged_evidence import DirectionTest

SOUND = Quality(
    r2=0.5, r2_persistence=0.1, r2_own_history=0.3, r2_ridge_var=0.4, skill_persistence=0.4,
    skill_own_history=0.2, skill_ridge_var=0.1, model_fc_r=0.9, model_fc_r_held_out=0.8,
    fc_r_held_out=0.8, spectral_radius=0.8, fc_r=0.5, antisymmetric_share=0.3, r_split=0.9,
    r_split_symmetric=0.9, r_split_antisymmetric=0.8, r_seed=0.9, r_seed_symmetric=0.9,
    r_seed_antisymmetric=0.9, direction_ratio=5.0, direction_p=0.001, direction_supported=True,
    delay_share=0.1, delay_sd=0.2, high_frequency_share=0.3, n_windows=1000, n_train=800,
    n_valid=200, n_regions=20, effective_windows=900.0, samples_per_parameter=20.0, minutes=30.0,
    expected_r=0.95, expected_r_lower=0.8, expected_r_upper=0.99,
)  # fmt: skip


def request(*words):
    return parse(["in", "out", "participant", *words])


@pytest.mark.parametrize(
    ("flag", "value", "change", "label"),
    [
        ("--min-skill", "0.3", {}, "fail"),
        ("--good-skill", "0.3", {}, "caution"),
        ("--min-split", "0.95", {}, "fail"),
        ("--good-split", "0.95", {}, "caution"),
        ("--good-direction-split", "0.9", {}, "caution"),
        ("--good-model-fc", "0.95", {}, "caution"),
        ("--min-high-frequency", "0.5", {}, "fail"),
        ("--good-samples", "30", {}, "caution"),
        ("--min-expected", "0.97", {}, "fail"),
        ("--good-expected", "0.97", {}, "caution"),
        ("--max-delay-share", "0.05", {"delay_sd": 1.0}, "caution"),
        ("--max-delay-sd", "0.1", {"delay_share": 0.5}, "caution"),
    ],
)
def test_thresholds_of_the_verdict(flag, value, change, label):
    quality = replace(SOUND, **change)
    assert judge(quality, VerdictSettings()).label == "pass"
    assert judge(quality, request(flag, value).analysis.assess.verdict).label == label


@pytest.mark.parametrize(
    ("flag", "value", "test"),
    [
        ("--direction-ratio", "6", DirectionTest(ratio=5.0, p=0.001, n_blocks=9)),
        ("--direction-p", "0.0001", DirectionTest(ratio=5.0, p=0.001, n_blocks=9)),
    ],
)
def test_thresholds_of_direction(flag, value, test):
    assert supports_direction(test, VerdictSettings())
    assert not supports_direction(test, request(flag, value).analysis.assess.verdict)


@pytest.mark.parametrize(
    "words",
    [
        ("--notrack",),
        ("--skip-bids-validation",),
        ("--bids-database-dir", "somewhere"),
        ("--output-layout", "bids"),
        ("--n-gpu-procs", "2"),
        ("--quiet",),
        ("--verbose",),
        ("--mem-mb", "2000"),
        ("--n-cpus", "3"),
    ],
)
def test_what_shapes_no_result_leaves_the_configuration_alone(words):
    assert request(*words).analysis.configuration == request().analysis.configuration


@pytest.mark.parametrize(
    "words",
    [
        ("--null", "199"),
        ("--batch-size", "10"),
        ("--hidden", "9"),
        ("--train-fraction", "0.7"),
        ("--min-skill", "0.1"),
        ("--gsr",),
        ("--surrogate", "wbm", "--wbm-fcd-weight", "0.5"),
    ],
)
def test_what_shapes_a_result_changes_the_configuration(words):
    networks = () if "wbm" in words else ("--surrogate", "mlp")
    base = ("--surrogate", "wbm") if "wbm" in words else networks
    assert (
        request(*networks, *words).analysis.configuration != request(*base).analysis.configuration
    )


def test_resources_arrive_at_the_scheduler():
    args = choose_plugin(
        request("--n-cpus", "3", "--mem-mb", "2500", "--n-gpu-procs", "2").resources
    )
    assert (args.args["n_procs"], args.args["memory_gb"], args.args["n_gpu_procs"]) == (3, 2.5, 2)
    assert request("--omp-nthreads", "4").resources.omp_nthreads == 4


def test_aliases_and_underscores():
    assert request("--session-id", "a", "b").query.session_label == ("a", "b")
    assert request("--task_id", "rest").query.task_id == ("rest",)
    assert request("-t", "rest").query.task_id == ("rest",)
    assert request("--n_cpus", "2").resources.n_procs == 2


def test_every_flag_says_what_it_is_for_and_is_unique():
    text = build_parser().format_help()
    flags = re.findall(r"^  (?:-\w[ ,].*?)?(--[a-z][a-z0-9-]+)", text, flags=re.MULTILINE)
    assert len(flags) == len(set(flags)) > 90
    for classes in GROUPS.values():
        for settings in classes:
            for field in fields(settings):
                assert len(help_of(field.metadata)) > 4, field.name
