"""Problems that headers tell are named before anything is extracted."""

import json

import pytest

from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.cli.preflight import find_problems
from npi_bids.parcellation.denoising import DenoiseSettings


@pytest.fixture
def data(tiny, tmp_path):
    return tiny.copy(tmp_path)


def problems_of(data, **denoise):
    runs = find_runs(find_datasets(data.root, {}), QuerySettings(participant_label=("01",)))
    settings = DenoiseSettings(**denoise)
    return [problem for run in runs for problem in find_problems(run, settings)]


def confounds_of(data):
    return data.file("sub-01/func/*run-1*desc-confounds_timeseries.tsv")


def edit(path, change):
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_sound_runs_have_no_problem(data):
    assert problems_of(data) == []


def test_values_are_not_read(data):
    edit(confounds_of(data), lambda lines: [lines[0], *("?" + line for line in lines[1:])])
    assert problems_of(data) == []


def test_a_table_with_fewer_rows_than_samples_is_named(data):
    edit(confounds_of(data), lambda lines: lines[:-7])
    (problem,) = problems_of(data)
    assert "have 253 rows but the run has 260 samples" in problem
    assert confounds_of(data).name in problem


def test_missing_columns_are_named(data):
    edit(confounds_of(data), lambda lines: [lines[0].replace("trans_x\t", "other\t"), *lines[1:]])
    (problem,) = problems_of(data)
    assert "lacks 1 column that the strategy 'simple' needs: trans_x;" in problem
    assert problems_of(data, denoise="none") == []


def test_a_missing_table_is_named_where_it_is_needed(data):
    confounds_of(data).unlink()
    (problem,) = problems_of(data)
    assert "no confounds table for this run" in problem
    assert problems_of(data, denoise="none") == []


def test_a_mask_of_another_grid_is_named(data, tmp_path):
    import nibabel as nib
    import numpy as np

    mask = data.file("sub-01/func/*run-1*desc-brain_mask.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.uint8), np.eye(4)), mask)
    (problem,) = problems_of(data)
    assert "has 27 voxels but its run" in problem


def test_an_image_without_header_is_named(data):
    data.file("sub-01/func/*run-1*desc-preproc_bold.nii.gz").write_text("no image")
    assert len(problems_of(data)) == 1


def test_the_plan_and_the_log_name_the_subject(data, tmp_path, capsys, monkeypatch):
    from npi_bids.cli.run import main

    monkeypatch.chdir(tmp_path)
    edit(confounds_of(data), lambda lines: lines[:-7])
    words = [str(data.root), "out", "participant", "--atlas", str(data.atlas), "-w", "work",
             "--participant-label", "01", "02", "--dry-run"]  # fmt: skip
    assert main(words) == 0
    plan = capsys.readouterr().out
    first, second = plan.split("sub-02_task-rest", 1)
    assert "will fail: The confounds" in first
    assert "will fail" not in second


def test_sidecars_do_not_matter(data):
    for path in data.root.glob("sub-01/func/*confounds_timeseries.json"):
        path.write_text(json.dumps({}))
    assert problems_of(data) == []
