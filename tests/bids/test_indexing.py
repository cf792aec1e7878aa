"""The index of runs agrees with that of pybids, and databases are checked before they are used."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from bids.layout import BIDSLayout, BIDSLayoutIndexer
from bids.layout.models import Tag

import npi_bids
from npi_bids.bids.datasets import DATABASE, find_datasets, walk
from npi_bids.bids.entities import ENTITY_ORDER, NUMBERS, format_table, read_schema, read_table
from npi_bids.bids.indexing import open_index
from npi_bids.bids.layout import QuerySettings, find_runs
from npi_bids.bids.outputs import MEASURES, output_path
from npi_bids.errors import InputDataError
from tests.bids.conftest import STEM
from tests.conftest import touch

SKELETONS = ("ds000001-fmriprep", "ds002422-fmriprep", "ds002748-fmriprep")


def tags_of(layout, names):
    """Return entity, label and type of every tag of the files of these names."""
    query = layout.session.query(Tag.file_path, Tag.entity_name, Tag._value, Tag._dtype)
    return {
        (path.rpartition("/")[2], *rest)
        for path, *rest in query
        if path.rpartition("/")[2] in names
    }


def index_of(root):
    (dataset,) = find_datasets(root, {})
    runs = list(walk(dataset))
    return open_index(dataset, runs), {run.path.name for run in runs}


def tables(database):
    with sqlite3.connect(database) as connection:
        return sorted(connection.execute("SELECT path FROM files"))


@pytest.mark.parametrize("name", SKELETONS)
def test_entities_of_real_names_are_those_that_pybids_finds(shared_data, tmp_path, name):
    source = shared_data / "openneuro_skeletons" / name
    with gzip.open(source / "paths.txt.gz", "rt") as file:
        paths = [line.split(" ", 1)[1].strip() for line in file]
    subjects = sorted({path.split("/")[0] for path in paths if path.startswith("sub-")
                       and "/" in path})[:3]  # fmt: skip
    touch(tmp_path, *(path for path in paths if "/func/" in path and path[0] != "."
                      and path.split("/")[0] in subjects))  # fmt: skip
    shutil.copy(source / "dataset_description.json", tmp_path)
    index, names = index_of(tmp_path)
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    stock = BIDSLayout(tmp_path, validate=False, is_derivative=True, indexer=indexer)
    assert len(names) >= 3
    assert tags_of(index, names) == tags_of(stock, names)


def test_dozens_of_names_of_all_kinds_have_the_entities_that_pybids_finds(tmp_path):
    entities = ("acq-a", "ce-b", "rec-c", "dir-AP", "run-02", "echo-1", "part-mag", "space-T1w",
                "chunk-3", "res-2", "den-91k", "label-x", "desc-preproc")  # fmt: skip
    endings = ("bold.nii.gz", "bold.nii", "bold.dtseries.nii")
    stems = ["_".join(entities[first:last]) for first in range(13) for last in range(first, 14, 3)]
    touch(tmp_path, *(f"sub-01/ses-x/func/sub-01_ses-x_task-y_{stem}_{ending}".replace("__", "_")
                      for stem in stems for ending in endings))  # fmt: skip
    touch(tmp_path, "sub-01/func/sub-01_task-y_hemi-L_space-fsaverage_bold.func.gii",
          "sub-01/func/sub-01_task-y_space-T1w_atlas-A_seg-B_desc-c_timeseries.tsv")  # fmt: skip
    index, names = index_of(tmp_path)
    assert len(names) > 80
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    stock = BIDSLayout(tmp_path, validate=False, is_derivative=True, indexer=indexer)
    assert tags_of(index, names) == tags_of(stock, names)


def test_the_table_of_entities_is_that_of_the_installed_schema():
    assert read_table() == read_schema()
    assert format_table(read_schema()).count("\n") == len(read_schema()) + 2


def test_the_order_of_entities_is_that_of_the_standard_with_the_draft_of_measures():
    order = [entity.key for entity in read_schema()]
    assert [key for key in ENTITY_ORDER if key != "meas"] == order
    assert ENTITY_ORDER[-2:] == ("meas", "desc")
    assert ENTITY_ORDER.index("space") < ENTITY_ORDER.index("chunk")
    assert set(NUMBERS) >= {"run", "echo", "inv"}
    assert "task" not in NUMBERS


@pytest.fixture
def database(tmp_path_factory):
    return tmp_path_factory.mktemp("database") / "index"


def find(root, database, *labels, **query):
    settings = QuerySettings(bids_database_dir=str(database), participant_label=labels, **query)
    return [run.path.name for run in find_runs(find_datasets(root, {}), settings)]


def test_a_database_is_made_once_for_all_subjects(three_subjects, database, monkeypatch):
    assert len(find(three_subjects, database, "01")) == 1
    first = (database / DATABASE).stat()
    assert len(tables(database / DATABASE)) == 3
    monkeypatch.setattr("npi_bids.bids.indexing._write_database", lambda *_: pytest.fail("made"))
    assert len(find(three_subjects, database)) == 3
    assert (database / DATABASE).stat().st_mtime_ns == first.st_mtime_ns
    assert [path.name for path in database.iterdir()] == [DATABASE]


def test_nothing_is_written_into_the_input(three_subjects, database):
    before = sorted(three_subjects.rglob("*"))
    find(three_subjects, database)
    find(three_subjects, database, reset_database=True)
    assert sorted(three_subjects.rglob("*")) == before


@pytest.mark.parametrize("maker", ["pybids", "fmriprep", "xcp_d"])
def test_the_database_of_another_program_is_used(
    three_subjects, database, maker, tmp_path_factory
):
    """As the three make it: a command; default configurations; a configuration beside them."""
    if maker == "pybids":
        words = ("--no-validate", "--config", "bids", "--config", "derivatives")
        database.mkdir()
        command = Path(sys.executable).with_name("pybids")
        subprocess.run([command, "layout", three_subjects, database, *words], check=True)
    else:
        config = tmp_path_factory.mktemp("config") / "xcp_d.json"
        entity = {"name": "statistic", "pattern": "[_/]+stat-([a-zA-Z0-9+]+)"}
        config.write_text(json.dumps({"name": "xcp_d", "entities": [entity]}))
        configs = ["bids", "derivatives", str(config)] if maker == "xcp_d" else None
        BIDSLayout(three_subjects, validate=False, is_derivative=True, config=configs,
                   database_path=database, indexer=BIDSLayoutIndexer(validate=False))  # fmt: skip
    before = (database / DATABASE).read_bytes()
    assert len(find(three_subjects, database)) == 3
    assert len(find(three_subjects, database, "02", task_id=("rest",), run_id=("01",))) == 1
    assert (database / DATABASE).read_bytes() == before


def test_a_database_of_another_dataset_is_refused(three_subjects, database, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "data"
    shutil.copytree(three_subjects, other)
    find(three_subjects, database)
    with pytest.raises(InputDataError, match=r"is for <.*>, not <.*other.*--reset-database"):
        find(other, database)
    assert len(find(other, database, reset_database=True)) == 3


@pytest.mark.parametrize("change", ["new subject", "new run", "removed"])
def test_a_database_that_is_out_of_date_is_refused_and_made_anew_on_request(
    three_subjects, database, change
):
    find(three_subjects, database)
    if change == "removed":
        (three_subjects / f"sub-02/func/sub-02_{STEM}.nii.gz").unlink()
        words = "still has 1 run"
    else:
        sub = "02" if change == "new run" else "04"
        stem = STEM.replace("run-1", "run-2")
        touch(three_subjects, f"sub-{sub}/func/sub-{sub}_{stem}.nii.gz")
        words = "lacks 1 run"
    with pytest.raises(InputDataError, match=f"{words}.*--reset-database"):
        find(three_subjects, database)
    assert len(find(three_subjects, database, "01")) == 1, "it is right about this subject"
    n_runs = 2 if change == "removed" else 4
    assert len(find(three_subjects, database, reset_database=True)) == n_runs


def test_a_file_that_is_no_database_is_named(three_subjects, database):
    database.mkdir()
    (database / DATABASE).write_text("not a database, but long enough to be looked at")
    with pytest.raises(InputDataError, match="is no database of pybids"):
        find(three_subjects, database)
    assert len(find(three_subjects, database, reset_database=True)) == 3


def test_a_database_that_includes_other_datasets_is_refused(three_subjects, database):
    (three_subjects / "derivatives").mkdir()
    BIDSLayout(three_subjects, validate=False, derivatives=True, database_path=database,
               indexer=BIDSLayoutIndexer(validate=False))  # fmt: skip
    with pytest.raises(InputDataError, match="was made with derivatives"):
        find(three_subjects, database)


def test_names_of_the_first_versions_are_in_our_databases_alone(tmp_path, database):
    stem = "sub-1/func/sub-1_task-rest_run-1_bold_space-T1w_preproc"
    touch(tmp_path, f"{stem}.nii.gz")
    assert len(find(tmp_path, database, task_id=("rest",))) == 1
    shutil.rmtree(database)
    BIDSLayout(tmp_path, validate=False, is_derivative=True, database_path=database,
               indexer=BIDSLayoutIndexer(validate=False))  # fmt: skip
    with pytest.raises(InputDataError, match=r"does not understand names of fMRIPrep 1\.0"):
        find(tmp_path, database)


def test_datasets_have_databases_of_their_own(three_subjects, database, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    touch(other, "sub-09/func/sub-09_task-x_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz")
    datasets = find_datasets(three_subjects, {"a": three_subjects, "b": other})
    query = QuerySettings(bids_database_dir=str(database))
    assert len(find_runs(datasets, query)) == len(find_runs(datasets, query)) == 4
    assert sorted(path.name for path in database.iterdir()) == ["a", "b"]


def test_a_description_that_pybids_cannot_read_is_named(three_subjects):
    (three_subjects / "dataset_description.json").write_text(
        '{"DatasetType": "derivative", "GeneratedBy": ["Name"]}'
    )
    with pytest.raises(InputDataError, match="GeneratedBy must be a list of objects"):
        find_runs(find_datasets(three_subjects, {}), QuerySettings())


def test_the_layout_of_an_output_dataset_tells_measures_apart(tmp_path):
    (tmp_path / "dataset_description.json").write_text(
        '{"Name": "x", "BIDSVersion": "1.11.1", "DatasetType": "derivative",'
        ' "GeneratedBy": [{"Name": "npi-bids"}]}'
    )
    entities = {"sub": "1", "task": "rest", "space": "MNI152NLin6Asym", "atlas": "Schaefer2018",
                "seg": "7Networks", "scale": "100"}  # fmt: skip
    template = {**entities, "tpl": "MNI152NLin6Asym", "cohort": "young", "meas": "npi"}
    del template["sub"]
    names = [str(output_path(measure, entities, "simple")) for measure in (*MEASURES, "npip")]
    names += [str(output_path(name, template, "simple")) for name in ("groupmean", "groupp")]
    touch(tmp_path, *names, "sub-1/figures/sub-1_meas-npi_desc-x_relmat.svg", "logs/x.tsv")
    index = npi_bids.layout(tmp_path)
    files = index.get(suffix="relmat")
    assert len(files) == len(names)
    assert len({frozenset(file.get_entities().items()) for file in files}) == len(names)
    (ec,) = index.get(suffix="relmat", measure="npi", subject="1")
    assert ec.filename == names[0].rpartition("/")[2]
    group = index.get(suffix="relmat", measure="npi", template="MNI152NLin6Asym", cohort="young")
    assert len(group) == 2
    assert {file.get_entities()["scale"] for file in files} == {"100"}
    assert {file.get_entities()["segmentation"] for file in files} == {"7Networks"}


def test_settings_in_the_home_folder_change_nothing(tmp_path):
    """Nor does a home folder that cannot be read, as in containers, keep pybids from starting."""
    (tmp_path / "pybids_config.json").write_text("not JSON")
    code = "import os, npi_bids.bids.indexing; print(os.environ['HOME'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(tmp_path)
