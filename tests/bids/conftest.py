"""Datasets whose images hold nothing, and the runs that are found in them."""

from __future__ import annotations

import pytest

from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from tests.conftest import touch

STEM = "task-rest_run-1_space-MNI152NLin6Asym_desc-preproc_bold"


def runs_of(root, **query):
    return find_runs(find_datasets(root, {}), QuerySettings(**query))


@pytest.fixture
def three_subjects(tmp_path):
    """Return a dataset with three subjects of one run; sub-02 is for the test to damage."""
    for sub in ("01", "02", "03"):
        touch(tmp_path, f"sub-{sub}/func/sub-{sub}_{STEM}.nii.gz")
    touch(tmp_path, "task-rest_bold.json")
    return tmp_path


@pytest.fixture
def root(tmp_path):
    """Return a dataset with two subjects, sessions, runs and spaces; no image holds anything."""
    for sub in ("01", "02"):
        for ses in ("a", "b"):
            for run in ("1", "2"):
                stem = f"sub-{sub}/ses-{ses}/func/sub-{sub}_ses-{ses}_task-rest_run-{run}"
                touch(tmp_path, f"{stem}_desc-confounds_timeseries.tsv")
                for space in ("space-MNI152NLin2009cAsym_res-2", "space-T1w"):
                    touch(tmp_path, f"{stem}_{space}_desc-preproc_bold.nii.gz",
                          f"{stem}_{space}_desc-brain_mask.nii.gz")  # fmt: skip
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 1.5}')
    (tmp_path / "dataset_description.json").write_text('{"DatasetType": "derivative"}')
    return tmp_path
