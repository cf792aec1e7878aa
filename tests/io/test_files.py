import json
import math
import os
import stat

import pytest

from npi_bids.errors import InputDataError
from npi_bids.io.files import check_case, remove_leftovers, replacing, replacing_folder, write_json


@pytest.mark.parametrize("name", ["func/desc-GroupP_relmat.tsv", "FUNC/other.tsv"])
def test_a_name_that_differs_in_capital_letters_alone_is_refused(tmp_path, name):
    (tmp_path / "func").mkdir()
    (tmp_path / "func" / "desc-Groupp_relmat.tsv").touch()
    with pytest.raises(InputDataError, match="only in capital letters"):
        check_case(tmp_path / name, tmp_path)


def test_the_same_name_and_new_ones_are_allowed(tmp_path):
    (tmp_path / "func").mkdir()
    (tmp_path / "func" / "a.tsv").touch()
    for name in ("func/a.tsv", "func/b.tsv", "anat/a.tsv"):
        check_case(tmp_path / name, tmp_path)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def dead(path):
    """Return the name that a folder in the making would have were its maker dead."""
    return path.with_name(path.name.replace(f"-{os.getpid()}_", "-999999999_"))


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_folder_appears_at_the_end_alone(tmp_path, exists):
    target = tmp_path / "deep" / "out"
    if exists:
        target.mkdir(parents=True)
    with replacing_folder(target, new=True) as partial:
        write(partial, a="1", sub_b="2")
        assert not exists or not names(target)
        assert exists or not target.exists()
    assert names(target) == ["a", "sub", "sub/b"]
    assert names(tmp_path / "deep") == ["out", "out/a", "out/sub", "out/sub/b"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~umask


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "out") as partial:
        (partial / "a").write_text(str(1 / 0))
    assert not names(tmp_path)


def test_files_of_a_folder_in_use_are_replaced_and_others_kept(tmp_path):
    write(tmp_path / "out", mine="mine", a="old", sub_b="old")
    with replacing_folder(tmp_path / "out") as partial:
        write(partial, a="new", sub_c="new")
    assert names(tmp_path) == ["out", "out/a", "out/mine", "out/sub", "out/sub/b", "out/sub/c"]
    assert (tmp_path / "out" / "a").read_text() == "new"


def test_a_folder_that_must_be_new_is_never_merged_with_another(tmp_path):
    with pytest.raises(OSError, match="not empty"):  # noqa: SIM117, PT012 (filled meanwhile)
        with replacing_folder(tmp_path / "out", new=True) as partial:
            write(partial, a="mine")
            write(tmp_path / "out", a="theirs")
    assert names(tmp_path / "out") == ["a"]
    assert (tmp_path / "out" / "a").read_text() == "theirs"


def test_the_current_folder_stays_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    with replacing_folder(tmp_path, new=True) as partial:
        write(partial, a="1", sub_b="2")
    assert tmp_path.stat().st_ino == inode
    assert names(tmp_path) == ["a", "sub", "sub/b"]


def test_what_a_dead_maker_left_is_removed_and_what_a_living_one_makes_is_kept(tmp_path):
    with replacing_folder(tmp_path / "out") as living:
        write(dead(living), a="half")
        write(living, a="1")
        with replacing_folder(tmp_path / "out") as second:
            write(second, a="2")
            assert not dead(living).exists()
            assert living.is_dir()
        write(dead(living), a="half")
        assert remove_leftovers(tmp_path) == 1
        assert living.is_dir()
    assert names(tmp_path) == ["out", "out/a"]
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_json_knows_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": math.nan, "y": [math.inf, 1.0], "z": {"w": (1, 2)}})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "x": None, "y": [None, 1.0], "z": {"w": [1, 2]},
    }  # fmt: skip


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_readable_by_others(tmp_path):
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").stat().st_mode & 0o044


def test_leftovers_of_dead_makers_are_removed_and_others_kept(tmp_path):
    (tmp_path / "sub-1").mkdir()
    with replacing(tmp_path / "sub-1" / "x.tsv") as mine:
        dead = mine.with_name(mine.name.replace(f"-{os.getpid()}_", "-999999999_"))
        elsewhere = mine.with_name(".partial_otherhost-999999999_abc_x.tsv")
        for path in (dead, elsewhere):
            path.write_text("half")
        assert remove_leftovers(tmp_path) == 1
        assert not dead.exists()
        assert mine.exists()
        assert elsewhere.exists()
        mine.write_text("whole")
    assert (tmp_path / "sub-1" / "x.tsv").read_text() == "whole"
