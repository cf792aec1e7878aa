"""The work folder is the user's alone, because Nipype unpickles what lies in it."""

import os
import stat
import tempfile

import pytest

from npi_bids.cli.workdir import prepare_work_dir
from npi_bids.errors import SettingsError


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
