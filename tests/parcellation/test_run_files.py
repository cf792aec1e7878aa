from __future__ import annotations

import nibabel as nib
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.run_files import RunFiles
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
