import subprocess
import sys
from dataclasses import fields

import pytest

from npi_bids.cli.crashes import read_crashes
from npi_bids.cli.options import flag
from npi_bids.cli.parser import GROUPS, build_parser, parse
from npi_bids.cli.resources import choose_plugin, n_processes
from npi_bids.core.surrogate import TrainSettings
from npi_bids.errors import SettingsError
from npi_bids.workflows.settings import AnalysisSettings, ResourceSettings

POSITIONALS = ["/bids", "/out", "participant"]


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
    for words in ("--lags must be above 0", "--strength must be a number, not 'much'",
                  "--min-coverage must be at most 1", "'simpel'"):  # fmt: skip
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
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--help", "--version", "--list-atlases"])
def test_help_loads_nothing_heavy(option):
    """Help stays fast because it imports none of these (each takes a second or more)."""
    code = (
        "import sys\nfrom npi_bids.cli.run import main\n"
        f"try: main(['{option}'])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'nilearn', 'nipype', 'pandas', 'matplotlib', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "npi-bids" in done.stdout or "Schaefer2018" in done.stdout


def test_memory_needs_a_unit():
    assert ResourceSettings(mem="1.5 GB").memory_gb == 1.5
    with pytest.raises(SettingsError, match="16G"):
        ResourceSettings(mem="16")


def test_plugin_of_the_users(tmp_path):
    path = tmp_path / "plugin.yml"
    path.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --mem=4G\n")
    plugin = choose_plugin(ResourceSettings(nipype_plugin_file=str(path)))
    assert (plugin.name, plugin.args) == ("SLURM", {"sbatch_args": "--mem=4G"})
    path.write_text("- nothing\n")
    with pytest.raises(SettingsError, match="must name a 'plugin'"):
        choose_plugin(ResourceSettings(nipype_plugin_file=str(path)))


def test_multiproc_by_default():
    plugin = choose_plugin(ResourceSettings(n_procs=3, mem="2G"))
    assert plugin.name == "MultiProc"
    assert (plugin.args["n_procs"], plugin.args["memory_gb"]) == (3, 2.0)
    assert n_processes(ResourceSettings()) >= 1


def test_crash_files_tell_node_and_error(tmp_path):
    (tmp_path / "crash-1-x.txt").write_text(
        "Node: wf.sub_01_wf.unit.parcellate\nWorking directory: /x\n\nTraceback (most recent "
        "call last):\n  File 'a'\nKeyError: 'x'\n\nDuring handling ...\n\n\tTraceback:\n"
        "\tnpi_bids.errors.InputDataError: The file <a: b> is bad.\n\n"
    )
    (crash,) = read_crashes(tmp_path)
    assert crash.node == "wf.sub_01_wf.unit.parcellate"
    assert (crash.error, crash.message) == ("InputDataError", "The file <a: b> is bad.")


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


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        TrainSettings().seed = 3
