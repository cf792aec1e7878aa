from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from npi_bids.bids.derivatives import (
    UnitStatus,
    find_models,
    find_statuses,
    list_subjects_of_units,
)
from npi_bids.errors import InputDataError
from tests.sidecars import FIELDS, OLD

STEM = "sub-1/func/sub-1_task-x_atlas-A_meas-npi_desc-simple_relmat"


def write_model(root, sidecar):
    path = root / f"{STEM}.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("")
    path.with_suffix(".json").write_text(sidecar)


@pytest.mark.parametrize("files", [None, [], "bids::a.tsv", [None], ["bids::../a"]])
def test_a_damaged_list_of_regions_is_refused_in_words(tmp_path, files):
    write_model(tmp_path, json.dumps({**FIELDS, "NodeFiles": files}))
    with pytest.raises(InputDataError, match=r"NodeFiles|refers to"):
        _ = next(find_models(tmp_path)).regions_file


@pytest.mark.parametrize("sources", [None, 3, "bids::x", [], [None], ["bids::../../x"]])
def test_damaged_sources_are_refused_in_words(tmp_path, sources):
    write_model(tmp_path, json.dumps({**FIELDS, "Sources": sources}))
    with pytest.raises(InputDataError, match=r"Sources|refers to"):
        next(find_models(tmp_path)).runs()


@pytest.mark.parametrize("text", ["[1]", "null", "{", "[" * 100_000, "{}"])
def test_a_damaged_sidecar_of_a_result_is_named(tmp_path, text):
    write_model(tmp_path, text)
    with pytest.raises(InputDataError, match=r"relmat.json>.*delete it and run"):
        list(find_models(tmp_path))
    assert not list(find_models(tmp_path, skip_damaged=True))


@pytest.mark.parametrize(
    "content",
    [[1], None, {}, {"entities": "sub-1", "desc": "a", "status": "done", "configuration": "x"},
     {"entities": {"sub": 1}, "desc": "a", "status": "done", "configuration": "x"},
     {"entities": {"task": "x"}, "desc": "a", "status": "done", "configuration": "x"},
     {"entities": {"sub": "1"}, "desc": 3, "status": "done", "configuration": "x"},
     {"entities": {"sub": "1"}, "desc": "a", "status": "done", "configuration": "x",
      "files": [1]}],
)  # fmt: skip
def test_a_damaged_status_is_named_or_passed_over(tmp_path, content):
    path = tmp_path / "logs" / "units" / "sub-1_desc-a.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(InputDataError, match=r"sub-1_desc-a.json> is damaged"):
        find_statuses(tmp_path)
    assert find_statuses(tmp_path, skip_damaged=True) == []


def test_a_refusal_is_outdated_when_its_input_is_gone_or_can_be_read(tmp_path):
    def refused(source):
        return UnitStatus({"sub": "1"}, "a", "failed", "x", source=source)

    (tmp_path / "file").write_text("")
    assert not refused("").is_outdated
    assert not refused(str(tmp_path / "file")).is_outdated
    assert refused(str(tmp_path / "gone")).is_outdated
    assert refused(f"{tmp_path}/").is_outdated


def test_an_old_dataset_is_read(tmp_path):
    func = tmp_path / "sub-1" / "func"
    func.mkdir(parents=True)
    for measure in ("npi", "npiq"):
        path = func / f"sub-1_task-x_atlas-A_meas-{measure}_desc-simple_relmat.json"
        path.write_text(json.dumps(OLD))
        path.with_suffix(".tsv").write_text("")
    (model,) = find_models(tmp_path)
    assert model.fit.quality.n_windows == 490


def test_of_some_subjects_nothing_else_is_read(tmp_path):
    for label in ("1", "10", "2"):
        path = tmp_path / f"sub-{label}/func/sub-{label}_task-x_meas-npi_desc-simple_relmat.json"
        path.parent.mkdir(parents=True)
        path.write_text("damaged" if label == "10" else json.dumps(FIELDS))
        path.with_suffix(".tsv").touch()
        status = UnitStatus({"sub": label}, "simple", "done", "x")
        (tmp_path / status.path).parent.mkdir(parents=True, exist_ok=True)
        text = "damaged" if label == "10" else json.dumps(asdict(status))
        (tmp_path / status.path).write_text(text)
    (tmp_path / "sub-1.html").touch()
    assert [model.entities["sub"] for model in find_models(tmp_path, "2", "1")] == ["1", "2"]
    assert [status.entities["sub"] for status in find_statuses(tmp_path, "1", "2")] == ["1", "2"]
    assert next(find_models(tmp_path)).entities["sub"] == "1"  # before the second is read
    with pytest.raises(InputDataError, match="sub-10"):
        list(find_models(tmp_path))


def test_labels_that_no_file_name_can_hold_are_read_back(tmp_path):
    for label in ("Žofie", "a_b", "01"):
        path = tmp_path / UnitStatus({"sub": label}, "simple", "failed", "x").path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list_subjects_of_units(tmp_path) == ["01", "a_b", "Žofie"]
