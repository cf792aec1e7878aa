"""What was made is made again when, and only when, what it shows has changed."""

import json
import os
from threading import Thread

import pytest

from npi_bids.bids.made import MadeFiles, digest_dataset, digest_subjects, page_files
from npi_bids.io.claim import locked_folder


@pytest.fixture
def out(tmp_path):
    """Return a dataset of two subjects, reduced to names."""
    for sub in ("01", "02"):
        for name in (f"sub-{sub}/func/sub-{sub}_relmat.tsv",
                     f"sub-{sub}/func/sub-{sub}_relmat.json",
                     f"derivatives/surrogates/sub-{sub}/func/sub-{sub}_training.tsv",
                     f"sub-{sub}/figures/sub-{sub}_brain.svg", f"sub-{sub}.html"):  # fmt: skip
            write(tmp_path / name, "1")
        write(tmp_path / f"logs/units/sub-{sub}_task-rest.json", "done")
    for name in ("logs/CITATION.md", "dataset_description.json", "index.html"):
        write(tmp_path / name, "1")
    return tmp_path


def digest_subject(out, subject, *shown):
    return digest_subjects(out, [subject], *shown)[subject]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_was_made_is_current_until_a_file_of_it_changes(out):
    made = MadeFiles(out)
    assert not made.is_current("sub-01", "x")
    made.record("sub-01", "x", page_files(out, "01"))
    made.save()
    made = MadeFiles(out)
    assert made.is_current("sub-01", "x")
    assert not made.is_current("sub-01", "y")
    assert not made.is_current("sub-02", "x")
    (out / "sub-01/figures/sub-01_brain.svg").write_text("edited")
    assert not MadeFiles(out).is_current("sub-01", "x")
    (out / "sub-01/figures/sub-01_brain.svg").unlink()
    assert not MadeFiles(out).is_current("sub-01", "x")


def test_processes_at_once_keep_each_others_records(out):
    """As tasks of an array do, which write pages of different subjects."""
    one, other = MadeFiles(out), MadeFiles(out)
    for made, subject in ((one, "01"), (other, "02")):
        made.record(f"sub-{subject}", "x", page_files(out, subject))
    one.save()
    other.save()
    assert MadeFiles(out).is_current("sub-01", "x")
    assert MadeFiles(out).is_current("sub-02", "x")


def test_a_record_waits_for_the_one_that_another_process_is_writing(out):
    other = MadeFiles(out)
    other.record("sub-02", "x", page_files(out, "02"))
    with locked_folder(out / "logs"):
        thread = Thread(target=other.save)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        write(out / "logs/made.json", '{"sub-01": {"sources": "x", "files": {}}}')
    thread.join()
    assert set(json.loads((out / "logs/made.json").read_text())) == {"sub-01", "sub-02"}


@pytest.mark.parametrize("content", ["", "[]", '{"sub-01": 3}', '{"sub-01": {"sources": "x"}}',
                                     '{"sub-01": {"sources": "x", "files": {}}}'])  # fmt: skip
def test_a_damaged_record_lets_everything_be_made_again(out, content):
    write(out / "logs/made.json", content)
    assert not MadeFiles(out).is_current("sub-01", "x")


@pytest.mark.parametrize("name", [
    "sub-01/func/sub-01_relmat.tsv", "derivatives/surrogates/sub-01/func/sub-01_training.tsv",
    "logs/units/sub-01_task-rest.json", "logs/CITATION.md", "dataset_description.json",
    "tpl-MNI/anat/atlas.tsv", "sub-01/func/sub-01_new.tsv", "logs/units/sub-03_task-rest.json",
])  # fmt: skip
def test_a_page_depends_on_what_it_shows(out, name):
    before = digest_subject(out, "01", "command")
    assert digest_subject(out, "01", "command") == before
    assert digest_subject(out, "01", "another command") != before
    write(out / name, "2 or more")
    assert digest_subject(out, "01", "command") != before


def test_a_page_depends_on_no_other_subject_and_not_on_itself(out):
    before = digest_subject(out, "02", "command")
    write(out / "sub-01/func/sub-01_task-rest_timeseries.tsv", "2")
    write(out / "sub-02/figures/sub-02_brain.svg", "drawn again")
    write(out / "sub-02.html", "written again")
    write(out / "logs/units/sub-01_task-rest.json", "failed")
    assert digest_subject(out, "02", "command") == before


def test_a_file_of_the_same_size_that_is_newer_has_changed(out):
    path = out / "sub-01/func/sub-01_relmat.tsv"
    before = digest_subject(out, "01")
    os.utime(path, ns=(1, 1))
    assert digest_subject(out, "01") != before


def test_texts_depend_on_the_sidecars_and_states_of_all_subjects(out):
    seen = {digest_dataset(out)}
    write(out / "sub-02/func/sub-02_relmat.json", "2 or more")
    seen.add(digest_dataset(out))
    write(out / "logs/units/sub-02_task-rest.json", "gone")
    seen.add(digest_dataset(out))
    assert len(seen) == 3
    write(out / "logs/units/sub-02_task-rest.json", "gone")  # written again, with no change
    write(out / "index.html", "drawn again")
    assert digest_dataset(out) in seen
