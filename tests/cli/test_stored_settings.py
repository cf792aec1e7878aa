"""How the settings of a run differ from those of earlier results."""

from dataclasses import replace

import pytest

from npi_bids.analysis import AnalysisSettings
from npi_bids.cli.logs import write_settings
from npi_bids.cli.parser import parse
from npi_bids.cli.stored_settings import describe_difference, read_stored_settings


def analysis(*options):
    return parse(["in", "out", "participant", *options]).analysis


def store(out_dir, *options, run="20260101-000000_a"):
    request = parse(["in", "out", "participant", *options])
    (out_dir / "logs" / run).mkdir(parents=True)
    write_settings(request, out_dir / "logs" / run)
    return request.analysis.configuration


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ((), ("--strength", "2"), "--strength 1.0 (now 2.0)"),
        (("--lags", "3"), (), "--lags 3 (now default)"),
        ((), ("--denoise", "24P"), "--denoise simple (now 24P)"),
        (("--passband", "0.01", "0.1"), (), "--passband 0.01 0.1 (now auto)"),
        ((), ("--surrogate", "wbm", "--sc", "random"), "--surrogate hybrid (now wbm)"),
        ((), ("--measures", "fc"), "--measures"),
    ],
)
def test_the_option_that_differs_is_named(tmp_path, before, now, said):
    existing = store(tmp_path, *before)
    text = describe_difference(tmp_path, existing, analysis(*now))
    assert said in text
    assert existing not in text


def test_options_without_effect_on_the_result_are_not_named(tmp_path):
    existing = store(tmp_path, "--n-procs", "3", "--device", "cpu")
    text = describe_difference(tmp_path, existing, analysis("--strength", "2"))
    assert text == "They were made with --strength 1.0 (now 2.0)."


def test_of_several_runs_the_one_with_that_configuration_counts(tmp_path):
    existing = store(tmp_path, "--strength", "2")
    store(tmp_path, "--strength", "3", run="20270101-000000_a")
    assert read_stored_settings(tmp_path, existing)["perturb"]["strength"] == 2


def test_options_of_the_kind_lead_to_the_option_that_decides_it(tmp_path):
    existing = store(tmp_path)
    assert "--fit-kind dataset" in describe_difference(
        tmp_path, existing, analysis("--linear-part", "var")
    )
    assert "--fit-kind" not in describe_difference(
        tmp_path, existing, analysis("--linear-part", "var", "--strength", "2")
    )


def test_settings_that_are_not_stored_are_said_to_be_missing(tmp_path):
    assert "are not in its logs" in describe_difference(tmp_path, "abc", AnalysisSettings())


def test_the_same_options_with_another_content_are_told(tmp_path):
    existing = store(tmp_path)
    other = replace(AnalysisSettings(), prior_digest="changed")
    assert "The options are the same" in describe_difference(tmp_path, existing, other)


def test_who_decides_the_kind_is_no_part_of_the_configuration():
    assert analysis("--fit-kind", "subject").configuration == analysis().configuration
