"""A run of the tiny dataset, with the files that lie beside it."""

import pytest

from npi_bids.parcellation.run_files import RunFiles


@pytest.fixture
def run(tiny):
    stem = "sub-01/func/sub-01_task-rest_run-1"
    space = f"{stem}_space-MNI152NLin6Asym_res-4"
    return RunFiles(
        tiny.root / f"{space}_desc-preproc_bold.nii.gz",
        tiny.root / f"{space}_desc-brain_mask.nii.gz",
        tiny.root / f"{stem}_desc-confounds_timeseries.tsv",
        2.0,
    )
