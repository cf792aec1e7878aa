from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import pytest

from npi_bids.bids.atlases import (
    atlas_description,
    describe_template,
    match_space,
    parse_atlas,
    split_datasets,
)
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.parcellation.atlas_table import read_atlas_table
from npi_bids.parcellation.atlases import AtlasRequest, load_atlas, load_file
from npi_bids.reports.page import bibliography
from tests.conftest import block
from tests.template_archive import ADULT, LINEAR, add_schaefer, add_transform


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
        ("Schaefer2018:200", "unknown 200; did you mean Schaefer2018:scale-200"),
        ("4S156Parcel", "did you mean 4S156Parcels"),
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
    assert not {key for key in described if key[0].islower()}
    assert {"Name", "License", "Authors", "ReferencesAndLinks", "TemplateDrawnIn"} <= set(
        described
    )


@pytest.fixture
def atlas_dataset(tmp_path):
    """Write a BIDS-atlas dataset as AtlasPack has it: one table, one image per template."""
    root = tmp_path / "pack"
    folder = root / "atlas-4S156Parcels"
    folder.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "pack", "DatasetType": "atlas"}')
    for space in (LINEAR, ADULT):
        for res in ("01", "02"):
            name = f"atlas-4S156Parcels_space-{space}_res-{res}_dseg.nii.gz"
            nib.save(block("X", (1, 1, 1)).image, folder / name)
    rows = "index\tlabel\tnetwork_label\tatlas_name\n7\tCaudate\tn/a\tCIT168\n"
    (folder / "atlas-4S156Parcels_dseg.tsv").write_text(rows)
    (folder / "atlas-4S156Parcels_description.json").write_text('{"Name": "Four S"}')
    return root


def test_an_atlas_of_a_dataset_by_name_in_the_template_of_the_images(atlas_dataset):
    spec = match_space(parse_atlas("4s156parcels", [atlas_dataset]), {ADULT})
    assert spec.entities == {"atlas": "4S156Parcels"}
    assert spec.path.endswith(f"atlas-4S156Parcels_space-{ADULT}_res-01_dseg.nii.gz")
    assert spec.space == ADULT
    described = atlas_description(spec)
    assert (described["Name"], described["TemplateDrawnIn"]) == ("Four S", ADULT)
    atlas = load_file(Path(spec.path), AtlasRequest(spec.name, path=spec.path, space=spec.space))
    assert (atlas.labels, atlas.networks) == (("Caudate",), ("CIT168",))


def test_atlas_datasets_are_told_from_inputs(atlas_dataset, tmp_path):
    derivatives = tmp_path / "fmriprep"
    (derivatives / "sub-01").mkdir(parents=True)
    (derivatives / "atlases").mkdir()
    inputs, roots = split_datasets({"prep": derivatives, "atlases": atlas_dataset}, tmp_path / "x")
    assert inputs == {"prep": derivatives}
    assert roots == [atlas_dataset, derivatives / "atlases"]


def test_a_name_that_no_dataset_has_is_compared_with_those_that_they_have(atlas_dataset):
    (path,) = atlas_dataset.glob(f"*/*{ADULT}_res-01_dseg.nii.gz")
    path.rename(path.with_name("atlas-Foobar_dseg.nii.gz"))
    with pytest.raises(
        SettingsError, match=r"did you mean Foobar.*datasets given hold 4S156Parcels"
    ):
        parse_atlas("Fobar", [atlas_dataset])
    with pytest.raises(SettingsError, match=f"tpl 'T'; the dataset has {ADULT}, {LINEAR}"):
        parse_atlas("4S156Parcels:tpl-T", [atlas_dataset])


def test_images_that_differ_in_more_than_their_grid_are_not_chosen_between(tmp_path):
    add_schaefer(tmp_path)
    (image,) = tmp_path.rglob("*.nii.gz")
    image.with_name(image.name.replace("100P", "200P")).write_bytes(image.read_bytes())
    with pytest.raises(SettingsError, match="with the desc 100Parcels7Networks, 200Parcels"):
        parse_atlas("Schaefer2018", [tmp_path])


def test_a_combination_of_a_dataset_by_either_name():
    for request in ("4S156Parcels", "4S:scale-156", "4S"):
        assert parse_atlas(request).entities == {"atlas": "4S156Parcels"}
    with pytest.raises(InputDataError, match=r"with -d atlases=PATH"):
        load_atlas(AtlasRequest("4S156Parcels"), offline=False)


def test_an_atlas_that_cannot_be_had_in_the_template_stays_in_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    spec = parse_atlas("Schaefer2018")
    assert match_space(spec, {ADULT}, offline=True) == spec
    monkeypatch.setattr("npi_bids.bids.atlases.can_download", lambda: False)
    assert match_space(spec, {ADULT}) == spec
    add_schaefer(tmp_path)
    assert match_space(spec, {ADULT}).space == ADULT
    assert match_space(spec, {ADULT}, offline=True).space == ADULT
    # The 200 regions are other files.
    assert match_space(parse_atlas("Schaefer2018:scale-200"), {ADULT}).space == LINEAR


def test_an_atlas_is_taken_in_the_template_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    monkeypatch.setattr("npi_bids.bids.atlases.can_download", lambda: True)
    spec = match_space(parse_atlas("Schaefer2018"), {ADULT})
    assert (spec.space, spec.transform) == (ADULT, "")
    path = tmp_path / "atlas-Schaefer2018_description.json"
    path.write_text(json.dumps(atlas_description(spec)))
    assert f"in its version for {ADULT}" in describe_template(tmp_path, "Schaefer2018")
    path.write_text(json.dumps(atlas_description(parse_atlas("Schaefer2018"))))
    assert not describe_template(tmp_path, "Schaefer2018")
    # Schaefer is not in the space of an individual, and the user's choice stands.
    assert match_space(parse_atlas("Schaefer2018"), {"T1w"}).space == LINEAR
    chosen = parse_atlas(f"Schaefer2018:tpl-{LINEAR}")
    assert match_space(chosen, {ADULT}) == chosen


def test_other_atlases_are_transformed_where_the_transform_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    spheres = parse_atlas("Power2011")
    assert match_space(spheres, {ADULT}) == spheres
    with pytest.raises(InputDataError, match="npi-bids-fetch Power2011:tpl-MNI152NLin2009cAsym"):
        parse_atlas(f"Power2011:tpl-{ADULT}")
    transform = add_transform(tmp_path, LINEAR, ADULT)
    moved = match_space(spheres, {ADULT})
    assert (moved.space, moved.drawn_in, moved.transform) == (ADULT, LINEAR, str(transform))
    assert parse_atlas(f"Power2011:tpl-{ADULT}").transform == str(transform)
    described = atlas_description(moved)
    assert (described["TemplateDrawnIn"], described["TransformedTo"]) == (LINEAR, ADULT)
    (tmp_path / "atlas-Power2011_description.json").write_text(json.dumps(described))
    text = describe_template(tmp_path, "Power2011")
    assert text.startswith(f", transformed from {LINEAR} to {ADULT} by nearest neighbour")
    assert "title = {{TemplateFlow}" in bibliography(text)


def test_the_atlases_of_a_combination_are_matched_together_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    monkeypatch.setattr("npi_bids.bids.atlases.can_download", lambda: True)
    both = parse_atlas("Schaefer2018+Power2011")
    assert match_space(both, {ADULT}) == both
    add_transform(tmp_path, LINEAR, ADULT)
    matched = match_space(both, {ADULT})
    assert [part.space for part in (matched, *matched.parts)] == [ADULT] * 3
    assert atlas_description(matched)["TransformedTo"] == ADULT


def test_a_misspelt_file_is_compared_with_those_beside_it(tmp_path):
    (tmp_path / "atlas-Tiny_dseg.nii.gz").touch()
    with pytest.raises(InputDataError, match="does not exist; did you mean atlas-Tiny_dseg"):
        parse_atlas(str(tmp_path / "atlas-Tniy_dseg.nii.gz"))
