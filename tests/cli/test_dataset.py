"""Nothing is written into an input."""

import json
from types import SimpleNamespace

import pytest

from npi_bids.bids.layout import Dataset, QuerySettings
from npi_bids.cli.dataset import check_folders, write_dataset
from npi_bids.errors import SettingsError

RUN = "sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


@pytest.fixture
def study(tmp_path):
    """Return a folder with a raw dataset, whose derivatives do not say what they are."""
    root = tmp_path / "study"
    touch(root / "raw/sub-01/func/sub-01_task-rest_bold.nii.gz")
    (root / "raw/dataset_description.json").write_text('{"DatasetType": "raw"}')
    touch(root / "raw/derivatives/fmriprep" / RUN)
    return root


def check(bids_dir, out_dir, work_dir, *, levels=("participant",), **query):
    return check_folders(
        SimpleNamespace(
            bids_dir=bids_dir,
            out_dir=out_dir,
            levels=levels,
            query=QuerySettings(**query),
            output=SimpleNamespace(work_dir=str(work_dir)),
        )
    )


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("raw", "is the input dataset"),
        ("raw/sub-01", "lies in the input dataset"),
        ("raw/sub-01/func", "lies in the input dataset"),
        ("raw/new", "lies in the input dataset"),
        ("raw/derivatives", "lies in the input dataset"),
        ("raw/derivatives/fmriprep", "is the input dataset"),
        ("raw/derivatives/fmriprep/sub-01", "lies in the input dataset"),
        ("raw/x/../sub-01", "lies in the input dataset"),
        ("link/sub-01", "lies in the input dataset"),
        (".", "holds the input dataset"),
        ("raw/dataset_description.json", "is no folder"),
        ("raw/dataset_description.json/out", "is no folder"),
    ],
)
def test_no_folder_is_taken_in_or_around_an_input(study, folder, words):
    (study / "link").symlink_to("raw")
    with pytest.raises(SettingsError, match=f"out_dir.*{words}"):
        check(study / "raw", study / folder, study / "work")
    with pytest.raises(SettingsError, match=f"--work-dir.*{words}"):
        check(study / "raw", study / "out", study / folder)


@pytest.mark.parametrize(
    "folder",
    ["out", "raw/derivatives/npi-bids", "raw/derivatives/fmriprep/derivatives/npi-bids", "rawer",
     "raw/derivatives/group/npi-bids"],
)  # fmt: skip
def test_folders_of_their_own_are_taken(study, folder):
    check(study / "raw", study / folder, study / "work")
    check(study / "raw", study / folder, study / folder / "work")


def test_a_work_folder_among_the_derivatives_is_refused(study):
    with pytest.raises(SettingsError, match=r"--work-dir.*lies in the input dataset"):
        check(study / "raw", study / "out", study / "raw/derivatives/work")


def test_named_datasets_are_inputs_too(study):
    other = study / "other"
    touch(other / RUN)
    named = {"derivatives": (f"mine={other}",)}
    with pytest.raises(SettingsError, match=r"out_dir.*lies in the input dataset"):
        check(study / "raw", other / "new", study / "work", **named)
    with pytest.raises(SettingsError, match=r"out_dir.*is the input dataset"):
        check(study, other, study / "work", **named)
    # A folder that is no dataset and is not read is no input.
    check(study, study / "out", study / "work", **named)


def test_what_a_link_in_an_input_leads_to_is_the_input(study):
    (study / "raw/sub-01").rename(study / "store")
    (study / "raw/sub-01").symlink_to("../store")
    with pytest.raises(SettingsError, match=r"out_dir.*lies in the input dataset"):
        check(study / "raw", study / "store/out", study / "work")


def test_results_may_hold_their_input_as_source_data(study):
    out = study / "out"
    touch(out / "sourcedata/fmriprep" / RUN)
    check(out / "sourcedata/fmriprep", out, study / "work")
    with pytest.raises(SettingsError, match=r"holds the input dataset"):
        check(out / "sourcedata/fmriprep", out, out)


def test_the_group_level_has_no_input(study):
    (study / "raw/dataset_description.json").write_text('{"GeneratedBy": [{"Name": "npi-bids"}]}')
    check(study / "raw", study / "raw", study / "work", levels=("group",))


@pytest.mark.parametrize(
    "made", [{"Name": "x"}, ["npi-bids"], None, [None], "npi-bids", [{"Name": "fMRIPrep"}], [{}]]
)
def test_a_dataset_of_something_else_is_refused_in_words(study, made):
    (study / "out").mkdir()
    (study / "out/dataset_description.json").write_text(json.dumps({"GeneratedBy": made}))
    with pytest.raises(SettingsError, match=r"holds a dataset made by"):
        check(study / "raw", study / "out", study / "work")


@pytest.mark.parametrize("text", ["[1]", "{", "null"])
def test_a_dataset_that_cannot_be_told_is_refused_in_words(study, text):
    (study / "out").mkdir()
    (study / "out/dataset_description.json").write_text(text)
    with pytest.raises(SettingsError, match="dataset of unknown origin"):
        check(study / "raw", study / "out", study / "work")


def test_our_own_dataset_is_taken(study):
    (study / "out").mkdir()
    text = '\ufeff{"GeneratedBy": [{"Name": "npi-bids"}, {"Name": "fMRIPrep"}]}'
    (study / "out/dataset_description.json").write_text(text, encoding="utf-8")
    check(study / "raw", study / "out", study / "work")


@pytest.mark.parametrize("work", ["raw", "raw/sub-01", "raw/derivatives/fmriprep"])
def test_the_group_level_takes_no_work_folder_in_the_input(study, work):
    check(study / "raw", study / "out", study / "work", levels=("group",))
    with pytest.raises(SettingsError, match=r"--work-dir .*(is|lies in) the input dataset"):
        check(study / "raw", study / "out", study / work, levels=("group",))


def test_the_derivatives_of_another_program_are_no_place_for_results(study):
    touch(study / "raw/derivatives/freesurfer/sub-01/mri/T1.mgz")
    with pytest.raises(SettingsError, match="not of npi-bids: sub-01"):
        check(study / "raw", study / "raw/derivatives/freesurfer", study / "work")
    (study / "raw/derivatives/npi-bids/logs").mkdir(parents=True)
    check(study / "raw", study / "raw/derivatives/npi-bids", study / "work")


@pytest.mark.parametrize("folder", ["raw", "raw/database", "raw/derivatives/fmriprep/code/index"])
def test_no_database_is_made_in_an_input(study, folder):
    with pytest.raises(SettingsError, match=r"--bids-database-dir.*lies in the input dataset"):
        check(study / "raw", study / "out", study / "work", bids_database_dir=str(study / folder))


def test_a_database_in_the_input_may_be_read_but_not_made_anew(study):
    touch(study / "raw/database/layout_index.sqlite")
    database = str(study / "raw/database")
    check(study / "raw", study / "out", study / "work", bids_database_dir=database)
    with pytest.raises(SettingsError, match="nothing is written"):
        check(study / "raw", study / "out", study / "work", bids_database_dir=database,
              reset_database=True)  # fmt: skip


@pytest.fixture
def raw(tmp_path):
    """Return a raw dataset with tables of its subjects, and derivatives that have none."""
    root = tmp_path / "raw"
    (root / "sub-01").mkdir(parents=True)
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    (root / "participants.json").write_text('{"age": {"Description": "Age", "Units": "year"}}')
    (root / "sub-01/sub-01_sessions.tsv").write_text("session_id\tdose\nses-1\t2\n")
    (root / "derivatives/fmriprep").mkdir(parents=True)
    return root


def describe(raw, out):
    request = SimpleNamespace(bids_dir=raw, out_dir=out, query=QuerySettings())
    write_dataset(request, [Dataset(raw / "derivatives/fmriprep", "x")], [], {}, ["01"])


def test_tables_of_the_raw_dataset_are_copied_where_derivatives_have_none(raw, tmp_path):
    describe(raw, tmp_path / "out")
    assert (tmp_path / "out/participants.tsv").read_text().endswith("sub-01\t30\n")
    assert json.loads((tmp_path / "out/participants.json").read_text())["age"]["Units"] == "year"
    assert "dose" in (tmp_path / "out/sub-01/sub-01_sessions.tsv").read_text()
    (raw / "derivatives/fmriprep/participants.tsv").write_text("participant_id\tsex\nsub-01\tF\n")
    describe(raw, tmp_path / "out2")
    assert "sex" in (tmp_path / "out2/participants.tsv").read_text()


def test_a_table_to_which_columns_were_added_is_kept_and_named(raw, tmp_path, caplog):
    out = tmp_path / "out"
    describe(raw, out)
    (raw / "participants.tsv").write_text("participant_id\tage\nsub-01\t31\n")
    describe(raw, out)
    assert "31" in (out / "participants.tsv").read_text()  # a newer table of the input is taken
    assert not caplog.records
    extended = "participant_id\tage\tscore\nsub-01\t31\t7\n"
    (out / "participants.tsv").write_text(extended)
    (raw / "participants.tsv").write_text("participant_id\tage\nsub-01\t32\n")
    describe(raw, out)
    assert (out / "participants.tsv").read_text() == extended
    assert "1 column that the table of the input lacks (score)" in caplog.text
