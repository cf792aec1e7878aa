"""Who is in a group, who is not, and why."""

import json
import shutil

import pandas as pd
import pytest

from npi_bids.io.tables import read_matrix
from tests.end_to_end.conftest import validate


@pytest.fixture
def out(results, tmp_path):
    """Return a copy of the results of three subjects; the third moved, the second failed."""
    folder = tmp_path / "out"
    shutil.copytree(results, folder)
    for path in folder.glob("sub-03/func/*_timeseries.json"):
        _change(path, MeanFramewiseDisplacement=0.9)
    for path in folder.glob("sub-02/func/*_relmat.json"):
        _change(path, Verdict="fail")
    for path in folder.glob("sub-0[13]/func/*_relmat.json"):
        _change(path, Verdict="pass")
    return folder


def _change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def members(out):
    table = pd.read_table(out / "logs/group.tsv", index_col="participant_id")
    return table["included"].to_dict(), table["reason"].to_dict()


def subjects(out, pattern="tpl-*/**/*meas-npi_*Groupmean*.json"):
    return {
        path.name: json.loads(path.read_text())["Subjects"] for path in sorted(out.glob(pattern))
    }


def group(npi_bids, out, *words):
    code, said, problems = npi_bids("nothing", out, "group", *words)
    assert code == 0, said + problems
    validate(out)
    return said + problems


def test_subjects_are_left_out_with_the_reason(npi_bids, out):
    said = group(npi_bids, out, "--min-verdict", "caution", "--min-subjects", "2")
    included, reasons = members(out)
    assert included == {"sub-01": True, "sub-02": False, "sub-03": True}
    assert reasons["sub-02"] == "verdict fail (--min-verdict caution)"
    assert "Left out of the group: sub-02_" in said
    assert list(subjects(out).values()) == [["01", "03"]]
    assert "verdict fail (--min-verdict caution)" in (out / "group.html").read_text()


def test_movers_are_left_out(npi_bids, out):
    group(npi_bids, out, "--qc-max-mean-fd", "0.5")
    included, reasons = members(out)
    assert included == {"sub-01": True, "sub-02": True, "sub-03": False}
    assert reasons["sub-03"] == "mean FD 0.90 mm (--qc-max-mean-fd 0.5)"


def test_a_file_excludes_with_its_reasons(npi_bids, out, tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text("participant_id\treason\nsub-01\tclaustrophobia\n02\n")
    group(npi_bids, out, "--exclude-file", "exclude.tsv", "--min-subjects", "1")
    included, reasons = members(out)
    assert included == {"sub-01": False, "sub-02": False, "sub-03": True}
    assert reasons["sub-01"] == "claustrophobia"
    assert reasons["sub-02"] == "in the file of exclusions"


def test_a_column_of_participants_makes_groups(npi_bids, out):
    rows = "participant_id\tdiagnosis\nsub-01\thealthy control\nsub-02\tpatient\nsub-03\tpatient\n"
    (out / "participants.tsv").write_text(rows)
    about = {"Description": "x", "diagnosis": {"Description": "group"}}
    (out / "participants.json").write_text(json.dumps(about))
    group(npi_bids, out, "--group-by", "diagnosis", "--min-subjects", "1")
    found = subjects(out)
    assert sorted(found.values()) == [["01"], ["02", "03"]]
    names = sorted(out.glob("tpl-*/cohort-*/func/*meas-npi_*Groupmean_relmat.tsv"))
    assert [path.parts[-3] for path in names] == ["cohort-healthycontrol", "cohort-patient"]
    alone = read_matrix(names[0]).matrix
    own = read_matrix(next(out.glob("sub-01/func/*meas-npi_*relmat.tsv"))).matrix
    assert abs(alone - own)[:4, :4].max() < 1e-6
    # Grouped otherwise, the old groups are gone.
    group(npi_bids, out, "--min-subjects", "1")
    assert not list(out.glob("tpl-*/cohort-*"))


def test_without_scaling(npi_bids, out):
    group(npi_bids, out, "--normalize", "none")
    assert not list(out.glob("tpl-*/**/*Groupmax*"))
    group(npi_bids, out)
    assert list(out.glob("tpl-*/**/*Groupmax*"))


def test_results_of_a_group_stay_until_all_new_ones_are_whole(npi_bids, out):
    group(npi_bids, out)
    before = {path: path.read_bytes() for path in sorted(out.rglob("tpl-*/**/func/*"))}
    before |= {path: path.read_bytes() for path in sorted(out.rglob("statistics/**/*.tsv"))}
    before[out / "logs/group.tsv"] = (out / "logs/group.tsv").read_bytes()
    assert len(before) > 10
    damaged = next(out.glob("sub-02/func/*meas-jacobian_*relmat.tsv"))
    content = damaged.read_text()
    damaged.write_text(content.replace("source", "sauce", 1))
    code, said, problems = npi_bids("nothing", out, "group", "--normalize", "none")
    assert code == 3, said + problems
    assert "does not name the same regions" in said + problems
    assert {path: path.read_bytes() for path in before} == before
    damaged.write_text(content)
    group(npi_bids, out, "--normalize", "none")
    gone = [path for path in before if not path.is_file()]
    assert gone
    assert all("Groupmax" in path.name for path in gone)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--group-by", "diagnosis"), 2, "does not exist; put a participants.tsv"),
        (("--exclude-file", "nowhere.txt"), 2, "cannot be read"),
        (("--min-verdict", "good"), 2, "--min-verdict must be one of fail, caution, pass"),
        (("--qc-max-mean-fd", "0.01"), 4, "and 3 maps were excluded"),
        (("--min-subjects", "9"), 4, "No group has 9 subjects"),
    ],
)
def test_what_cannot_be_done_is_said(npi_bids, out, words, code, message):
    found, said, problems = npi_bids("nothing", out, "group", *words)
    assert message in " ".join((said + problems).split())
    assert found == code


def test_maps_of_subjects_are_files_of_the_dataset_that_no_later_group_reads(npi_bids, out):
    for path in out.glob("sub-*/func/*_meas-npi_*_relmat.json"):
        _change(path, MeanFramewiseDisplacement=0.1)
    said = group(npi_bids, out, "--subject-maps", "blup")
    assert "No maps of subjects are written" not in said
    maps = sorted(out.glob("sub-*/func/*_meas-npiblup_*_relmat.tsv"))
    assert len({path.name.split("_")[0] for path in maps}) == 3
    sidecar = json.loads(maps[0].with_suffix(".json").read_text())
    assert 0 < sidecar["OwnShare"] < 1
    sources = [out / uri.removeprefix("bids::") for uri in sidecar["Sources"]]
    assert all(path.is_file() for path in sources)
    assert {path.name.split("_meas-")[1].split("_")[0] for path in sources} == {
        "npiunshrunk", "npifirsthalf", "npisecondhalf",
    }  # fmt: skip
    assert "the subjects&#39; own share" in (out / "group.html").read_text()
    group(npi_bids, out)
    assert not list(out.glob("sub-*/func/*_meas-npiblup_*"))
