"""An output dataset never holds maps of two configurations, whoever writes at the same time."""

import json
import os
import subprocess
import sys

import pytest

from npi_bids.bids.derivatives import find_models
from npi_bids.bids.outputs import CLAIM
from npi_bids.bids.sidecars import ModelSidecar
from npi_bids.cli.simulate import main as simulate
from npi_bids.io.claim import claim_dataset
from npi_bids.io.files import partial_name
from tests.end_to_end.conftest import run_command
from tests.end_to_end.test_interrupted import wait_for


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Return a dataset of regional series: four subjects, six regions."""
    folder = tmp_path_factory.mktemp("series") / "sim"
    words = ["--n-subjects", "4", "--n-runs", "1", "--n-regions", "6", "--minutes", "5"]
    assert simulate(["var", str(folder), *words, "--series-only"]) == 0
    return folder / "dataset"


def words(series, folder, surrogate, *further):
    return [str(word) for word in (
        *(series, folder / "out", "participant", "group", "--surrogate", surrogate),
        *("--n-procs", "1", "-w", folder / surrogate, *further),
    )]  # fmt: skip


def start(series, folder, surrogate):
    return subprocess.Popen(
        [sys.executable, "-m", "npi_bids", *words(series, folder, surrogate)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def surrogates(out_dir):
    """Return what the sidecars of subjects' and groups' maps name."""
    sidecars = [*out_dir.glob("sub-*/**/*_relmat.json"), *out_dir.glob("tpl-*/**/*_relmat.json")]
    stated = (json.loads(path.read_text()) for path in sidecars)
    # Matrices beside the map refer to its sidecar.
    return {sidecar["Surrogate"] for sidecar in stated if "ModelSidecar" not in sidecar}


@pytest.mark.slow
def test_of_two_configurations_at_once_one_is_done_and_one_is_exit_5(series, tmp_path):
    runs = {name: start(series, tmp_path, name) for name in ("var", "mou")}
    said = {name: run.communicate(timeout=300) for name, run in runs.items()}
    codes = {name: run.returncode for name, run in runs.items()}
    assert sorted(codes.values()) == [0, 5], said
    winner, loser = sorted(codes, key=codes.get)
    assert surrogates(tmp_path / "out") == {winner}
    assert len(list(find_models(tmp_path / "out"))) == 4
    out, err = said[loser]
    assert "configuration" in err
    assert "Traceback" not in err
    assert "finished successfully" not in out
    claim = json.loads((tmp_path / "out" / CLAIM).read_text())["ConfigurationHash"]
    assert {model.configuration for model in find_models(tmp_path / "out")} == {claim}


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_model_binds_nobody(series, tmp_path):
    run = start(series, tmp_path, "var")
    wait_for(lambda: (tmp_path / "out" / CLAIM).is_file() or run.poll() is not None)
    run.kill()
    run.communicate()
    assert not list(find_models(tmp_path / "out"))
    done = run_command(*words(series, tmp_path, "mou"))
    assert done.returncode == 0, done.stderr
    assert surrogates(tmp_path / "out") == {"mou"}


def test_a_configuration_that_came_first_is_not_overwritten_while_it_runs(
    series, tmp_path, npi_bids
):
    with claim_dataset(tmp_path / "out" / CLAIM, "0123456789ab", lambda: None):
        for further in ((), ("--overwrite",)):
            code, _, err = npi_bids(series, "out", "participant", "--surrogate", "var", *further)
            assert code == 5
            assert "0123456789ab" in err
    assert not list(find_models(tmp_path / "out"))
    assert npi_bids(series, "out", "participant", "--surrogate", "var")[0] == 0


def test_a_claim_that_is_lost_meanwhile_is_noticed_when_a_model_is_saved(
    series, tmp_path, npi_bids, monkeypatch
):
    from npi_bids.cli.participant import run_workflow

    def lose(workflow, *args):
        (tmp_path / "out" / CLAIM).write_text('{"ConfigurationHash": "0123456789ab"}')
        status = tmp_path / "out" / "logs" / "units" / "sub-01_task-rest_theirs.json"
        status.parent.mkdir()
        status.write_text("{}")
        return run_workflow(workflow, *args)

    monkeypatch.setattr("npi_bids.cli.participant.run_workflow", lose)
    monkeypatch.setattr("npi_bids.cli.participant.find_statuses", lambda *_, **__: [])
    code, out, err = npi_bids(series, "out", "participant", "group", "--surrogate", "var")
    assert code == 5
    assert "0123456789ab" in err
    assert "finished" not in out
    assert not list(find_models(tmp_path / "out"))
    assert len(list((tmp_path / "out" / "logs" / "units").iterdir())) == 1


def test_maps_of_groups_go_when_their_models_are_replaced(series, tmp_path, npi_bids):
    assert npi_bids(series, "out", "participant", "group", "--surrogate", "var")[0] == 0
    assert surrogates(tmp_path / "out") == {"var"}
    code, _, _ = npi_bids(
        series, "out", "participant", "--surrogate", "mou", "--overwrite",
        "--participant-label", "01",
    )  # fmt: skip
    assert code == 5
    assert surrogates(tmp_path / "out") == {"var"}
    assert list((tmp_path / "out").glob("tpl-*/**/*_relmat.tsv"))
    code, _, _ = npi_bids(series, "out", "participant", "--surrogate", "mou", "--overwrite")
    assert code == 0
    assert surrogates(tmp_path / "out") == {"mou"}
    assert not list((tmp_path / "out").glob("tpl-*/**/*_relmat.tsv"))
    assert not (tmp_path / "out" / "group.html").exists()


def test_a_task_of_one_participant_reads_no_results_of_others(
    series, tmp_path, npi_bids, monkeypatch
):
    read = ModelSidecar.read
    paths = []

    def watch(path):
        paths.append(path.name)
        return read(path)

    monkeypatch.setattr(ModelSidecar, "read", watch)
    monkeypatch.setattr("npi_bids.cli.run._run_report_workflow", lambda *_, **__: True)
    task = (series, "out", "participant", "--surrogate", "var", "--participant-label")
    assert npi_bids(*task, "01")[0] == 0
    assert {name[:6] for name in paths} == {"sub-01"}
    described = (tmp_path / "out" / "descriptions.tsv").read_text()
    leftover = tmp_path / "out" / "sub-01" / "func" / f"{partial_name()}x.tsv"
    leftover.with_name(leftover.name.replace(f"-{os.getpid()}_", "-999999999_")).touch()
    paths.clear()
    assert npi_bids(*task, "02")[0] == 0
    assert {name[:6] for name in paths} == {"sub-02"}
    assert (tmp_path / "out" / "descriptions.tsv").read_text() == described
    assert list((tmp_path / "out" / "sub-01" / "func").glob(".partial_*"))
    assert npi_bids(*task[:-1], "--dry-run")[0] == 0
    assert {name[:6] for name in paths} == {"sub-01", "sub-02"}
    assert npi_bids(*task, "03", "--strength", "2")[0] == 5  # others are read to refuse it
