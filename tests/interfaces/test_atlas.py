"""Prepare an atlas, and save its table and its image."""

from pathlib import Path

import pytest

from npi_bids.errors import InputDataError
from npi_bids.interfaces.atlas import PrepareAtlas, SaveAtlas
from npi_bids.io.tables import read_table
from npi_bids.parcellation.parcellation import read_parcellation


def prepare(execute, path, folder):
    request = {"name": "Tiny", "path": str(path), "space": "MNI152NLin6Asym"}
    node = PrepareAtlas(name="Tiny", requests=[request], offline=True, folder=str(folder))
    return execute(node, "prepare")


def test_an_atlas_is_prepared_in_a_folder_named_after_its_content(tiny, execute, tmp_path):
    outputs = prepare(execute, tiny.atlas, tmp_path / "atlases")
    assert outputs.n_regions == 5
    assert Path(outputs.atlas).parent == tmp_path / "atlases"
    assert read_parcellation(Path(outputs.atlas)).labels == tuple("ABCDE")


def test_a_file_that_is_none_is_refused(execute, tmp_path):
    (tmp_path / "atlas.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputDataError):
        prepare(execute, tmp_path / "atlas.nii.gz", tmp_path / "atlases")


def test_table_and_image_are_saved_under_the_template(tiny, execute, tmp_path):
    atlas = prepare(execute, tiny.atlas, tmp_path / "atlases").atlas
    node = SaveAtlas(atlas=atlas, out_dir=str(tmp_path / "out"), space="MNI152NLin6Asym",
                     entities={"atlas": "Tiny"})  # fmt: skip
    outputs = execute(node, "save")
    table = read_table(tmp_path / "out" / outputs.table, text=["name"])
    assert list(table["name"]) == list("ABCDE")
    assert list((tmp_path / "out").rglob("*_dseg.nii.gz"))
