"""The description of the output dataset says what is known, and nothing in place of the rest."""

from pathlib import Path

import pytest

from npi_bids import __version__
from npi_bids.bids.description import dataset_description
from npi_bids.bids.layout import Dataset

FMRIPREP = {"Name": "fMRIPrep", "Version": "23.2.0"}


def described(tmp_path, **content):
    return dataset_description([Dataset(Path(tmp_path), "preprocessed", content)])


@pytest.mark.parametrize(
    ("authors", "expected"),
    [
        (["A. One", "B. Two"], ["A. One", "B. Two"]),
        (["A. One"], ["A. One", f"npi-bids {__version__} (software)"]),
        (None, [f"npi-bids {__version__} (software)", "fMRIPrep 23.2.0 (software)"]),
    ],
)
def test_authors_are_those_of_the_input_or_the_programs(tmp_path, authors, expected):
    stated = {"Authors": authors} if authors else {}
    assert described(tmp_path, GeneratedBy=[FMRIPREP], **stated)["Authors"] == expected


def test_a_licence_that_the_input_does_not_state_is_left_out(tmp_path):
    assert "License" not in described(tmp_path)
    assert described(tmp_path, License="CC0")["License"] == "CC0"
    assert "not stated" not in str(described(tmp_path))
