from __future__ import annotations

import nibabel as nib
import pytest

from npi_bids.bids.atlases import atlas_description, parse_atlas, read_atlas_table
from npi_bids.errors import InputDataError, SettingsError
from tests.conftest import block


def test_a_plus_b_on_the_command_line(tmp_path):
    path = tmp_path / "Sub.nii.gz"
    nib.save(block("Sub", (6, 6, 6)).image, path)
    spec = parse_atlas(f"Schaefer2018:scale-200+{path}")
    assert spec.entities == {"atlas": "Schaefer2018Sub", "seg": "7Networks", "scale": "200"}
    assert [part.name for part in spec.parts] == ["Schaefer2018", "Sub"]
    assert spec.space == "MNI152NLin6Asym"
    about = atlas_description(spec)
    assert " and Sub" in about["Name"]
    assert len(about["ReferencesAndLinks"]) > 1


@pytest.mark.parametrize(
    ("asked", "entities"),
    [
        ("Schaefer2018", {"atlas": "Schaefer2018", "seg": "7Networks", "scale": "100"}),
        ("schaefer2018:scale-400:seg-17Networks",
         {"atlas": "Schaefer2018", "seg": "17Networks", "scale": "400"}),
        ("AAL", {"atlas": "AAL"}),
    ],
)  # fmt: skip
def test_atlases_by_name(asked, entities):
    assert parse_atlas(asked).entities == entities


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("Schaefer", "no atlas of that name, did you mean Schaefer2018"),
        ("Schaefer2018:scale-150", "scale '150'; choose from 100, 200"),
        ("AAL:scale-100", "one scale only"),
        ("AAL:size-3", "unknown size"),
        ("some/where.txt", "expected an image of labels"),
    ],
)
def test_atlases_that_are_none(asked, message):
    with pytest.raises(SettingsError, match=message):
        parse_atlas(asked)


def test_own_atlas_is_named_after_its_file(tmp_path):
    path = tmp_path / "my_own-atlas 2.nii.gz"
    path.touch()
    assert parse_atlas(str(path)).entities == {"atlas": "myownatlas2"}
    path = tmp_path / "tpl-MNI152NLin6Asym_atlas-Mine_scale-7_dseg.nii.gz"
    path.touch()
    spec = parse_atlas(str(path))
    assert (spec.entities, spec.space) == ({"atlas": "Mine", "scale": "7"}, "MNI152NLin6Asym")
    with pytest.raises(InputDataError, match="does not exist"):
        parse_atlas(str(tmp_path / "no.nii.gz"))


@pytest.mark.parametrize("name", read_atlas_table())
def test_every_atlas_is_described(name):
    described = atlas_description(parse_atlas(name))
    assert {"Name", "License", "Authors", "ReferencesAndLinks", "TemplateDrawnIn"} <= set(
        described
    )
