from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from npi_bids.cli.execution import extraction_memory
from npi_bids.errors import InputDataError
from npi_bids.io.images import MOST_VOXELS
from npi_bids.parcellation.run_files import RunFiles, count_voxels
from tests.damaged_images import HUGE, SQUARE, lying
from tests.parcellation.conftest import extract_tiny, write_bold


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("stated", "header", "unit", "expected"),
    [(2.0, 2.0, "sec", 2.0), (None, 2.5, "sec", 2.5), (None, 2500.0, "msec", 2.5),
     (2.0, 2000.0, "unknown", 2.0), (2.0, 0.0, "sec", 2.0)],
)  # fmt: skip
def test_sampling_period(run, tmp_path, stated, header, unit, expected):
    path = write_bold(tmp_path / "b.nii.gz", nib.load(run.bold).get_fdata(), header, unit)
    assert extract_tiny(RunFiles(path, None, None, stated)).series.tr == pytest.approx(expected)


@pytest.mark.parametrize(
    ("stated", "header", "message"),
    [
        (2.0, 3.0, "2 s in its sidecar but 3 s in its header"),
        (None, 0.0, "RepetitionTime"),
        (
            None,
            50.0,
            r"header of .* must be in seconds, .* at most 20, not 50.*says 50 \(unit: sec\)",
        ),
        (None, 21000.0, r"header of .* must be in seconds, .* at most 20, not 21"),
        (2000.0, 2.0, r"RepetitionTime of .* must be in seconds, .* not 2000"),
    ],
)
def test_sampling_period_in_doubt_is_an_error(run, tmp_path, stated, header, message):
    path = write_bold(tmp_path / "b.nii.gz", nib.load(run.bold).get_fdata(), header)
    with pytest.raises(InputDataError, match=message):
        extract_tiny(RunFiles(path, None, None, stated))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
@pytest.mark.parametrize("order", "<>")
def test_voxels_are_counted_from_the_first_bytes(tmp_path, kind, name, order):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    data = np.zeros((5, 6, 7, 2), dtype=np.int16)
    nib.save(kind(data, SQUARE, header), tmp_path / name)
    assert count_voxels(tmp_path / name) == 210


def test_voxels_of_what_is_no_image_are_none_and_never_too_many(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    (tmp_path / "a.nii").write_bytes(b"no image" * 100)
    found = [count_voxels(tmp_path / name) for name in ("a.nii", "a.nii.gz", "none.nii")]
    assert found == [0, 0, 0]
    assert count_voxels(lying(tmp_path / "b.nii", HUGE)) == MOST_VOXELS
    assert extraction_memory([tmp_path / "b.nii"], MOST_VOXELS) == pytest.approx(6.5)
