from __future__ import annotations

import nibabel as nib

from npi_bids.bids.atlases import atlas_description, locate
from tests.conftest import block


def test_a_plus_b_on_the_command_line(tmp_path):
    path = tmp_path / "Sub.nii.gz"
    nib.save(block("Sub", (6, 6, 6)).image, path)
    spec = locate(f"Schaefer2018:scale-200+{path}")
    assert spec.entities == {"atlas": "Schaefer2018Sub", "seg": "7Networks", "scale": "200"}
    assert [part.name for part in spec.parts] == ["Schaefer2018", "Sub"]
    assert spec.space == "MNI152NLin6Asym"
    about = atlas_description(spec)
    assert " and Sub" in about["Name"]
    assert len(about["ReferencesAndLinks"]) > 1
