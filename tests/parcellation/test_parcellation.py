from __future__ import annotations

import errno
import threading
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.parcellation import (
    centres,
    digest,
    label_image,
    read_parcellation,
    save_parcellation,
    weights_image,
)
from tests.conftest import tiny_parcellation

TINY = tiny_parcellation()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ("A", "B", "C")}, "3 names for 4 values"),
        ({"labels": ("A", "B", "C", "A")}, "repeat: A"),
        ({"values": (1, 2, 4, 3)}, "increasing"),
        ({"values": (0, 1, 2, 3)}, "positive"),
        ({"values": (1, 2, 3, 9)}, r"1 value that no region has \(4\)"),
        ({"networks": ("one",)}, "1 networks for 4 regions"),
        ({"image": label_image(np.zeros((2, 2)), np.eye(4))}, r"shape \(2, 2\)"),
        ({"image": weights_image(np.zeros((2, 2, 2, 3)), np.eye(4))}, "3 maps for 4 names"),
    ],
)
def test_an_atlas_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(InputDataError, match=message):
        replace(TINY, **change)


def test_values_that_are_not_whole_are_refused():
    image = nib.Nifti1Image(np.full((2, 2, 2), 0.5, dtype=np.float32), np.eye(4))
    with pytest.raises(InputDataError, match="not whole numbers"):
        replace(TINY, image=image)


def test_parcellation_survives_the_disk(tmp_path):
    save_parcellation(TINY, tmp_path / "a")
    back = read_parcellation(tmp_path / "a")
    assert (back.labels, back.values, back.space) == (TINY.labels, TINY.values, TINY.space)
    assert back.networks == TINY.networks
    assert digest(back) == digest(TINY)


def test_a_parcellation_that_is_there_is_kept(tmp_path):
    save_parcellation(TINY, tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    save_parcellation(TINY, tmp_path / "a")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_parcellation_that_appears_late_is_waited_for_and_kept(tmp_path):
    """On a network file system, a folder may be seen some time before the files in it."""
    folder = tmp_path / "a"
    save_parcellation(TINY, folder)
    before = (folder / "parcellation.tsv").stat().st_ino
    (folder / "parcellation.tsv").rename(tmp_path / "hidden")
    later = threading.Timer(0.5, (tmp_path / "hidden").rename, (folder / "parcellation.tsv",))
    later.start()
    save_parcellation(TINY, folder)
    later.join()
    assert (folder / "parcellation.tsv").stat().st_ino == before


def test_a_parcellation_that_stays_incomplete_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("npi_bids.parcellation.parcellation.wait_until", lambda _: False)
    save_parcellation(TINY, tmp_path / "a")
    (tmp_path / "a/parcellation.tsv").unlink()
    save_parcellation(TINY, tmp_path / "a")
    assert digest(read_parcellation(tmp_path / "a")) == digest(TINY)


def test_a_parcellation_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="quota"):
        save_parcellation(TINY, tmp_path / "a")


def test_digest_follows_names_and_image():
    renamed = replace(TINY, labels=("A", "B", "C", "X"))
    moved = replace(TINY, image=label_image(TINY.image.get_fdata(), 2 * np.eye(4)))
    assert len({digest(p) for p in (TINY, renamed, moved)}) == 3


def test_centres_are_in_mm():
    np.testing.assert_allclose(centres(TINY)[:2], [[8, 8, 8], [8, 20, 8]])


@pytest.mark.parametrize("name", ["n/a", "", "A\tB", "A\nB", " A"])
def test_a_name_that_no_table_can_hold_is_refused_before_the_fit(name):
    with pytest.raises(InputDataError, match="calls region 2"):
        replace(tiny_parcellation(), labels=("A", name, "C", "D"))
