"""The command line: what each option means, and that it arrives where it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from npi_bids.analysis import AnalysisSettings, ResourceSettings
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.assessment.verdict import judge, supports_direction
from npi_bids.cli.logs import write_settings
from npi_bids.cli.parser import GROUPS, build_parser, flag, parse
from npi_bids.errors import SettingsError, UsageError
from npi_bids.records import Quality
from npi_bids.settings import help_text
from npi_bids.surrogates.lagged_evidence import DirectionTest
from tests.cli.conftest import request_of

POSITIONALS = ["/bids", "/out", "participant"]
BASE = ("bids", "out", "participant")

SOUND = Quality(
    r2=0.5, r2_persistence=0.1, r2_own_history=0.3, r2_ridge_var=0.4, skill_persistence=0.4,
    skill_own_history=0.2, skill_ridge_var=0.1, model_fc_r=0.9, model_fc_r_held_out=0.8,
    fc_r_held_out=0.8, model_fc_ratio=0.7, spectral_radius=0.8, fc_r=0.5,
    antisymmetric_share=0.3, r_split=0.9,
    r_split_symmetric=0.9, r_split_antisymmetric=0.8, r_seed=0.9, r_seed_symmetric=0.9,
    r_seed_antisymmetric=0.9, direction_ratio=5.0, direction_p=0.001, direction_supported=True,
    delay_share=0.1, delay_sd=0.2, high_frequency_share=0.3, n_windows=1000, n_train=800,
    n_valid=200, n_regions=20, effective_windows=900.0, samples_per_parameter=20.0, minutes=30.0,
    expected_r=0.95, expected_r_lower=0.8, expected_r_upper=0.99,
)  # fmt: skip


def test_defaults_of_the_command_line_are_those_of_the_classes():
    request = parse(POSITIONALS)
    assert request.analysis == AnalysisSettings()
    assert request.resources == ResourceSettings()
    assert request.levels == ("participant",)


def test_levels_run_in_their_order_whatever_the_user_writes():
    assert parse(["/b", "/o", "group", "participant"]).levels == ("participant", "group")


@pytest.mark.parametrize("cls", [cls for group in GROUPS.values() for cls in group])
def test_every_option_has_help_and_a_flag(cls):
    text = " ".join(build_parser().format_help().split())
    for field in fields(cls):
        assert flag(field) in text
        assert field.metadata["help"]


def test_options_reach_their_fields():
    request = parse([
        *POSITIONALS, "--lags", "5", "--learning-rate", "0.1", "--refit", "no", "--gsr",
        "--participant_label", "01", "02", "--n_cpus", "3", "--mem_mb", "500", "--fd-thresh=0.4",
    ])  # fmt: skip
    train = request.analysis.train
    assert (train.n_lags, train.learning_rate, train.refit) == (5, 0.1, False)
    assert request.query.participant_label == ("01", "02")
    assert request.resources.n_procs == 3
    assert request.resources.memory_gb == 0.5
    assert request.analysis.denoise.gsr
    assert request.analysis.denoise.fd_thresh == 0.4


def test_preset_gives_way_to_what_the_user_says():
    train = parse([*POSITIONALS, "--preset", "luo2025", "--surrogate", "rnn"]).analysis.train
    assert (train.surrogate, train.n_lags, train.var_fit) == ("rnn", 3, "adam")
    assert parse([*POSITIONALS, "--preset", "luo2025"]).analysis.train.surrogate == "mlp"


def test_all_errors_are_listed_together():
    with pytest.raises(SettingsError) as error:
        parse([*POSITIONALS, "--lags", "0", "--strength", "much", "--min-coverage", "2",
               "--denoise", "simpel"])  # fmt: skip
    for words in ("--lags must be above 0", "--strength must be a number, not much",
                  "--min-coverage must be at most 1", "did you mean simple?"):  # fmt: skip
        assert words in str(error.value)


def test_a_repetition_time_in_milliseconds_is_refused_as_such():
    with pytest.raises(SettingsError) as error:
        parse([*POSITIONALS, "--repetition-time", "800", "--lags", "0"])
    words = "--repetition-time must be in seconds, not milliseconds, and at most 20, not 800"
    assert words in str(error.value)
    assert "--lags must be above 0" in str(error.value)
    assert parse([*POSITIONALS, "--repetition-time", "20"]).query.repetition_time == 20


@pytest.mark.parametrize("words", [["/bids"], [*POSITIONALS, "--no-such-flag"], ["/b", "/o", "x"]])
def test_usage_errors_are_exit_2(words, capsys):
    with pytest.raises(SystemExit) as error:
        parse(words)
    assert error.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("npi-bids: ")
    assert lines[1:] == ["See npi-bids --help."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*POSITIONALS, "--fd-threshold", "0.5"],
         "--fd-threshold is not an option; did you mean --fd-thresh?"),
        (["--nprocs=2", *POSITIONALS], "--nprocs is not an option; did you mean --n-procs?"),
        (["/b", "/o", "particpant"], "not particpant; did you mean participant?"),
        (["--atlas", "AAL", *POSITIONALS],
         "--atlas takes all arguments that follow it, here AAL /bids /out participant"),
        (["--task-id", "rest", "--atlas", "AAL", *POSITIONALS, "--dry-run"],
         "--atlas takes all arguments that follow it, here AAL /bids /out participant; put it"),
    ],
)  # fmt: skip
def test_usage_errors_suggest_what_was_meant(words, said, capsys):
    with pytest.raises(SystemExit):
        parse(words)
    assert said in capsys.readouterr().err


def test_a_misspelt_choice_is_answered_with_the_closest_one():
    with pytest.raises(SettingsError, match=r"not hybird; did you mean hybrid\?"):
        parse([*POSITIONALS, "--surrogate", "hybird"])


def test_help_starts_with_an_example_and_the_essential_options():
    lines = build_parser().format_help().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines.index("example:") < 10
    start, end = lines.index("essential options:"), lines.index("queries:")
    assert start < 20
    assert end < 55
    options = [line.split()[0] for line in lines[start:end] if line.startswith("  -")]
    assert 10 <= len(options) <= 13


def test_help_shows_no_python():
    text = build_parser().format_help()
    for word in ("None", "True", "False", "['", "', '", "0.333"):
        assert word not in text


def test_an_option_stands_under_the_heading_it_belongs_to():
    text = build_parser().format_help()
    verdict = text[text.index("\nverdict:") : text.index("\ngroup:")]
    assert "--min-skill" in verdict
    assert "--n-bootstrap" not in verdict


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('components = ["motion"]\n')
    request = parse(["data", "out", "group", "--denoise", "mine.toml"])
    assert (request.bids_dir, request.out_dir) == (tmp_path / "data", tmp_path / "out")
    assert request.analysis.denoise.denoise == str(tmp_path / "mine.toml")


def test_configuration_follows_the_content_of_a_strategy_and_not_its_place(tmp_path):
    hashes = []
    for folder, motion in (("a", "full"), ("b", "full"), ("c", "basic")):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "mine.toml"
        path.write_text(f'components = ["motion"]\nmotion = "{motion}"\n')
        hashes.append(parse([*POSITIONALS, "--denoise", str(path)]).analysis.configuration)
    assert hashes[0] == hashes[1] != hashes[2]


def parse_with(tmp_path, text, *words):
    (tmp_path / "mine.toml").write_text(text)
    return parse([*BASE, "--config-file", str(tmp_path / "mine.toml"), *words])


def test_options_stand_by_flag_or_field_in_tables_or_not(tmp_path):
    found = parse_with(
        tmp_path,
        'surrogate = "var"\nrandom-seed = 3\n[queries]\nparticipant-label = ["01", "02"]\n'
        '[anything]\nfd_thresh = 1\ngsr = true\natlas = "AAL"\n',
    )
    assert found.analysis.train.surrogate == "var"
    assert found.analysis.train.seed == 3
    assert found.query.participant_label == ("01", "02")
    assert found.analysis.denoise.fd_thresh == 1.0
    assert found.analysis.denoise.gsr is True
    assert found.atlases.atlas == ("AAL",)


def test_the_command_line_goes_first(tmp_path):
    found = parse_with(tmp_path, 'surrogate = "var"\nlags = 2\n', "--surrogate", "mou")
    assert found.analysis.train.surrogate == "mou"
    assert found.analysis.train.n_lags == 2


def test_what_a_run_wrote_gives_the_same_run(tmp_path):
    words = ["--atlas", "AAL", "--surrogate", "mlp", "--preset", "luo2025", "--fd-thresh", "0.4",
             "--measures", "npi", "fc", "--n-bootstrap", "3", "--wbm-grid", "5"]  # fmt: skip
    first = parse([*BASE, *words])
    write_settings(first, tmp_path)
    again = parse([*BASE, "--config-file", str(tmp_path / "settings.toml")])
    assert again.analysis == first.analysis
    assert again.analysis.configuration == first.analysis.configuration
    assert again.atlases == first.atlases
    assert again.query == first.query


def test_all_that_is_wrong_is_named_together(tmp_path):
    with pytest.raises(SettingsError) as caught:
        parse_with(tmp_path, 'surogate = "var"\nlags = "two"\nstrength = -1\ngsr = 1\n')
    text = str(caught.value)
    assert "surogate, which is not an option; did you mean surrogate?" in text
    assert "lags in" in text
    assert 'must be a whole number, not "two"' in text
    assert "--strength must be above 0" in text
    assert "must be true or false, not 1" in text


@pytest.mark.parametrize("value", ["[[1]]", "[{a = 1}]", "1979-05-27", "true"])
@pytest.mark.parametrize("name", ["atlas", "lags", "surrogate", "participant-label", "n-procs"])
def test_values_of_another_type_are_refused_in_words(tmp_path, name, value):
    with pytest.raises(SettingsError, match=f"{name} in .* must be"):
        parse_with(tmp_path, f"{name} = {value}\n")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        parse_with(tmp_path, "surrogate = ")
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        parse_with(tmp_path, "atlas = " + "[" * 100_000)
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        parse([*BASE, "--config-file", str(tmp_path / "none.toml")])


@pytest.mark.parametrize(
    "module",
    ["run", "parser", "ec", "simulate", "validate", "export", "explore", "demo", "fetch", "infer"],
)
def test_heavy_packages_are_not_loaded_before_they_are_needed(module):
    """``--help`` answers at once, and Nipype reads its configuration when it is imported."""
    heavy = {"torch", "nipype", "nilearn", "nibabel", "pandas", "scipy", "matplotlib"}
    code = f"import sys, npi_bids.cli.{module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


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
    assert judge(quality, request_of(flag, value).analysis.assess.verdict).label == label


@pytest.mark.parametrize(
    ("flag", "value", "test"),
    [
        ("--direction-ratio", "6", DirectionTest(ratio=5.0, p=0.001, n_blocks=9)),
        ("--direction-p", "0.0001", DirectionTest(ratio=5.0, p=0.001, n_blocks=9)),
    ],
)
def test_thresholds_of_direction(flag, value, test):
    assert supports_direction(test, VerdictSettings())
    assert not supports_direction(test, request_of(flag, value).analysis.assess.verdict)


@pytest.mark.parametrize(
    "words",
    [
        ("--notrack",),
        ("--skip-bids-validation",),
        ("--bids-database-dir", "somewhere"),
        ("--bids-database-dir", "somewhere", "--reset-database"),
        ("--output-layout", "bids"),
        ("--n-gpu-procs", "2"),
        ("--quiet",),
        ("--verbose",),
        ("--mem-mb", "2000"),
        ("--n-cpus", "3"),
    ],
)
def test_what_shapes_no_result_leaves_the_configuration_alone(words):
    assert request_of(*words).analysis.configuration == request_of().analysis.configuration


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
        request_of(*networks, *words).analysis.configuration
        != request_of(*base).analysis.configuration
    )


def test_aliases_and_underscores():
    assert request_of("--session-id", "a", "b").query.session_label == ("a", "b")
    assert request_of("--task_id", "rest").query.task_id == ("rest",)
    assert request_of("-t", "rest").query.task_id == ("rest",)
    assert request_of("--n_cpus", "2").resources.n_procs == 2


def test_every_flag_says_what_it_is_for_and_is_unique():
    text = build_parser().format_help()
    flags = re.findall(r"^  (?:-\w[ ,].*?)?(--[a-z][a-z0-9-]+)", text, flags=re.MULTILINE)
    assert len(flags) == len(set(flags)) > 90
    for classes in GROUPS.values():
        for settings in classes:
            for field in fields(settings):
                assert len(help_text(field.metadata)) > 4, field.name


def test_an_option_that_does_nothing_here_is_accepted_but_not_advertised():
    assert request_of("--skip-bids-validation").query == request_of().query
    assert "--skip-bids-validation" not in build_parser().format_help()


def test_a_database_is_reset_only_where_there_is_one():
    with pytest.raises(UsageError, match="--reset-database requires --bids-database-dir"):
        request_of("--reset-database")
