"""What an interrupted run left is used again where it is whole, and made anew where it is not."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import tempfile

import pytest
from nipype.interfaces.base.support import Bunch, InterfaceResult
from nipype.pipeline import engine as pe
from nipype.utils.filemanip import loadpkl, savepkl

from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.cli.work_folder import drop_damaged, prepare_work_dir
from npi_bids.errors import SettingsError
from tests.cli.conftest import node


def write_gzip(path, content):
    with gzip.open(path, "wb") as file:
        file.write(content)


def plain_pickle(value):
    stream = io.BytesIO()
    pickle.dump(value, stream)
    return stream.getvalue()


@pytest.fixture
def result(tmp_path):
    """Return the result of a node that left no files."""
    path = tmp_path / "node" / "result_node.pklz"
    path.parent.mkdir()
    savepkl(str(path), InterfaceResult(None, Bunch(), outputs=Bunch()))
    return path


def test_a_whole_result_is_kept(result):
    assert drop_damaged([result.parent]) == 0
    assert result.is_file()


@pytest.mark.parametrize(
    "content",
    [b"no result", b"", plain_pickle({"a": 1}), plain_pickle([1, 2])[:-1]],
    ids=["text", "empty", "dict", "half"],
)
def test_a_file_that_holds_no_result_is_removed_without_being_unpickled(result, content):
    write_gzip(result, content)
    assert drop_damaged([result.parent]) == 1
    assert not result.exists()


def test_inputs_that_are_no_pickle_cost_the_node(result):
    write_gzip(result.parent / "_inputs.pklz", b"no inputs")
    assert drop_damaged([result.parent]) == 1


def add(x):
    return x + 1


@pytest.mark.parametrize("plugin", [Plugin("Linear", {}), Plugin("MultiProc", {"n_procs": 1})])
def test_every_workflow_recomputes_a_damaged_node(tmp_path, plugin):
    for damaged in (False, True):
        workflow = pe.Workflow("wf", base_dir=str(tmp_path))
        first, second = node(add, "first", 1), node(add, "second", 0)
        inner = pe.Workflow("inner")
        inner.add_nodes([first])
        workflow.connect(inner, "first.out", second, "x")
        if damaged:
            write_gzip(tmp_path / "wf" / "inner" / "first" / "result_first.pklz", b"no result")
        assert run_workflow(workflow, plugin, tmp_path / "crash", lambda *_: None)
        assert loadpkl(tmp_path / "wf" / "second" / "result_second.pklz").outputs.out == 3


def mode(folder):
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.fixture
def folder(tmp_path):
    """Return a work folder that holds a file."""
    path = tmp_path / "work"
    path.mkdir()
    (path / "result.pklz").touch()
    return path


def test_a_new_folder_is_the_users_alone(tmp_path):
    prepare_work_dir(tmp_path / "deep" / "work")
    assert mode(tmp_path / "deep" / "work") == 0o700


@pytest.mark.parametrize("before", [0o755, 0o750, 0o700])
def test_a_folder_of_an_earlier_version_is_closed_and_another_left_alone(folder, before):
    folder.chmod(before)
    prepare_work_dir(folder)
    assert mode(folder) == before
    (folder / "nipype").mkdir()
    (folder / "nipype" / "nipype.cfg").touch()
    prepare_work_dir(folder)
    assert mode(folder) == 0o700


@pytest.mark.parametrize("before", [0o775, 0o777, 0o722, 0o1777])
def test_a_folder_that_others_could_have_written_to_is_refused(folder, before):
    folder.chmod(before)
    with pytest.raises(SettingsError, match=f"mode {before:o}.*--trust-work-dir"):
        prepare_work_dir(folder)
    assert mode(folder) == before
    prepare_work_dir(folder, trusted=True)
    assert mode(folder) == before


def test_an_empty_folder_is_closed_whoever_could_write_to_it(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o777)
    prepare_work_dir(tmp_path / "work")
    assert mode(tmp_path / "work") == 0o700


def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(SettingsError, match="belongs to user"):
        prepare_work_dir(folder)
    prepare_work_dir(folder, trusted=True)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "work").touch()
    with pytest.raises(SettingsError, match="is no folder"):
        prepare_work_dir(tmp_path / "work")


def test_the_command_refuses_with_exit_2_and_trusts_when_told(
    tmp_path, folder, capsys, monkeypatch
):
    from npi_bids.cli import run

    monkeypatch.setattr("tempfile.tempdir", tempfile.tempdir)

    (tmp_path / "out").mkdir()
    folder.chmod(0o777)
    words = [str(tmp_path / "missing"), str(tmp_path / "out"), "group", "-w", str(folder)]
    kept = dict(os.environ)
    try:
        assert run.main(words) == 2
        assert "--trust-work-dir" in capsys.readouterr().err
        assert not (folder / "nipype").exists()
        assert run.main([*words, "--trust-work-dir"]) == 3
    finally:
        os.environ.clear()
        os.environ.update(kept)
