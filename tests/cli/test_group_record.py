"""Results of groups are computed again when, and only when, what they depend on changes."""

import os

import pytest

from npi_bids.cli.group_record import GroupRecord
from npi_bids.cli.parser import parse

MAP = "sub-01/func/sub-01_atlas-X_meas-npi_desc-simple_relmat"
MEAN = "tpl-MNI/func/tpl-MNI_atlas-X_meas-npi_desc-simpleGroupmean_relmat.tsv"
EDGES = "derivatives/statistics/tpl-MNI/func/tpl-MNI_atlas-X_meas-npi_desc-simple_edges.tsv"


def write(path, text="1"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def folders(tmp_path):
    """Return an input and an output dataset with results of a group, reduced to names."""
    write(tmp_path / "in/participants.tsv", "participant_id\nsub-01\n")
    (tmp_path / "in/sub-01").mkdir()
    write(tmp_path / "excluded.tsv", "participant_id\nsub-07\n")
    write(tmp_path / "networks.tsv", "name\tlobe\n")
    for name in (f"{MAP}.tsv", f"{MAP}.json", "participants.tsv", "tpl-MNI/anat/tpl-MNI_dseg.tsv",
                 MEAN, EDGES, "logs/group.tsv"):  # fmt: skip
        write(tmp_path / "out" / name)
    return tmp_path


def record(folders, *options):
    tables = ["--exclude-file", "excluded.tsv", "--network-table", "networks.tsv"]
    paths = [str(folders / word) if word.endswith(".tsv") else word for word in tables]
    return GroupRecord(
        parse([str(folders / "in"), str(folders / "out"), "group", *paths, *options])
    )


def test_results_are_computed_once(folders):
    assert not record(folders).is_current
    record(folders).save()
    assert record(folders).is_current
    assert not record(folders, "--overwrite").is_current
    assert not record(folders, "--model", "age").is_current
    assert not record(folders, "--min-subjects", "7").is_current
    assert record(folders, "--n-procs", "2").is_current


@pytest.mark.parametrize("name", [
    f"out/{MAP}.tsv", f"out/{MAP}.json", "out/participants.tsv", "out/logs/group.tsv",
    f"out/{MEAN}",
    f"out/{EDGES}", "out/tpl-MNI/anat/tpl-MNI_dseg.tsv", "out/sub-02/func/sub-02_relmat.tsv",
    "out/sub-01/sub-01_sessions.tsv", "in/participants.tsv", "in/sub-01/sub-01_sessions.tsv",
    "in/sub-02/func/sub-02_bold.json", "excluded.tsv", "networks.tsv",
])  # fmt: skip
def test_they_depend_on(folders, name):
    record(folders).save()
    write(folders / name, "another content")
    assert not record(folders).is_current


def test_results_that_are_gone_are_computed_again(folders):
    record(folders).save()
    (folders / "out" / MEAN).unlink()
    assert not record(folders).is_current


def test_a_map_of_the_same_size_that_is_newer_has_changed(folders):
    record(folders).save()
    os.utime(folders / f"out/{MAP}.tsv", ns=(1, 1))
    assert not record(folders).is_current


def test_tables_of_participants_are_compared_by_content(folders):
    record(folders).save()
    os.utime(folders / "out/participants.tsv", ns=(1, 1))
    assert record(folders).is_current


def test_sources_are_those_before_the_groups_were_computed(folders):
    before = record(folders)
    write(folders / f"out/{MAP}.tsv", "replaced meanwhile")
    before.save()
    assert not record(folders).is_current
