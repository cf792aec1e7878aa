"""A run of the tiny dataset with the files that lie beside it, and what is extracted from it."""

import nibabel as nib
import numpy as np
import pytest

from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.run_files import RunFiles
from tests.conftest import tiny_parcellation

NONE = DenoiseSettings(denoise="none")


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


def extract_tiny(run, denoise=NONE, min_coverage=0.5, atlas=None):
    atlas = atlas or tiny_parcellation(5)
    return extract_run(run, atlas, denoise, CoverageSettings(min_coverage=min_coverage))


def write_bold(path, data, tr=2.0, unit="sec"):
    image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), np.diag([4.0, 4, 4, 1]))
    image.header.set_zooms((4, 4, 4, tr))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, path)
    return path
