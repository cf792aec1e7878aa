"""An atlas is prepared and saved once, until its files change."""

import os

import pytest

from npi_bids.bids.atlases import parse_atlas
from npi_bids.cli.atlases import prepare_atlas, save_atlas
from npi_bids.cli.inputs import warn_of_spaces
from npi_bids.parcellation import atlases
from tests.conftest import tiny_parcellation, write_atlas


@pytest.fixture
def atlas(tmp_path):
    (tmp_path / "atlas").mkdir()
    return write_atlas(tmp_path / "atlas", tiny_parcellation())


@pytest.fixture
def loads(monkeypatch):
    """Return the atlases that were loaded."""
    loaded = []
    load = atlases.load_atlas

    def count(request, **options):
        loaded.append(request.name)
        return load(request, **options)

    monkeypatch.setattr(atlases, "load_atlas", count)
    return loaded


def prepare(atlas, tmp_path):
    return prepare_atlas(parse_atlas(str(atlas)), tmp_path / "work", offline=True)


def test_an_atlas_that_a_dataset_has_under_a_known_name_is_announced(tmp_path, caplog):
    path = write_atlas(tmp_path, tiny_parcellation(), "tpl-X_atlas-Power2011_dseg")
    spec = parse_atlas("Power2011", [tmp_path])
    with caplog.at_level("INFO", "npi_bids.cli.inputs"):
        warn_of_spaces(spec, {"X"})
        warn_of_spaces(parse_atlas("Power2011"), {"MNI152NLin6Asym"})
    assert caplog.messages == [f"Atlas Power2011 is taken from <{path}>"]


def test_an_unchanged_atlas_is_not_loaded_again(atlas, tmp_path, loads):
    first = prepare(atlas, tmp_path)
    assert prepare(atlas, tmp_path) == first
    assert len(loads) == 1


@pytest.mark.parametrize("changed", ["image", "names"])
def test_an_atlas_that_has_changed_is_loaded_again(atlas, tmp_path, loads, changed):
    first = prepare(atlas, tmp_path)
    if changed == "image":
        write_atlas(tmp_path / "atlas", tiny_parcellation(5))
    else:
        table = atlas.with_name(atlas.name.replace(".nii.gz", ".tsv"))
        table.write_text(table.read_text().replace("\tA", "\tRenamed"))
    second = prepare(atlas, tmp_path)
    assert len(loads) == 2
    assert second.folder != first.folder


def test_a_prepared_atlas_that_was_cut_off_is_prepared_again(atlas, tmp_path, loads):
    first = prepare(atlas, tmp_path)
    image = first.folder / "parcellation.nii.gz"
    image.write_bytes(image.read_bytes()[:50])
    assert prepare(atlas, tmp_path) == first
    assert len(loads) == 2
    assert image.stat().st_size > 50


def test_an_atlas_in_the_output_dataset_is_written_once(atlas, tmp_path):
    spec, prepared = parse_atlas(str(atlas)), prepare(atlas, tmp_path)
    first = save_atlas(spec, prepared, tmp_path / "out", space="MNI152NLin6Asym")
    image = next((tmp_path / "out").rglob("*_dseg.nii.gz"))
    os.utime(image.parent, ns=(1, 1))
    assert save_atlas(spec, prepared, tmp_path / "out", space="MNI152NLin6Asym") == first
    assert image.parent.stat().st_mtime_ns == 1  # no file was replaced in it
    image.unlink()
    save_atlas(spec, prepared, tmp_path / "out", space="MNI152NLin6Asym")
    assert image.is_file()
