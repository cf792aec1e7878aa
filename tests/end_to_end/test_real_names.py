"""Datasets with the names and sidecars of real fMRIPrep runs, through the whole command."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from tests.end_to_end.conftest import validate

WORDS = ("--surrogate", "var", "--min-time", "60")


def write_atlas(path):
    """Write eight blocks on the coarse grid of the made-up images."""
    x, y, z = np.indices((8, 10, 8))
    values = 1 + (x // 4) + 2 * (y // 5) + 4 * (z // 4)
    inside = np.zeros(values.shape, dtype=bool)
    inside[1:-1, 1:-1, 1:-1] = True
    values = np.where(inside, values, 0)
    affine = np.diag([24.0, 24.0, 24.0, 1.0])
    affine[:3, 3] = [-96, -132, -78]
    nib.save(nib.Nifti1Image(values.astype(np.int16), affine), path)
    rows = [f"{value}\tR{value}" for value in range(1, 9)]
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(
        "index\tname\n" + "\n".join(rows) + "\n"
    )
    return path


def give_headers_their_period(root):
    """Write the period of the real sidecars into the made-up images, which all have 2 s."""
    for path in root.rglob("*_desc-preproc_bold.nii.gz"):
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        tr = json.loads(sidecar.read_text()).get("RepetitionTime", 2.0)
        image = nib.load(path)
        image.header.set_zooms((*image.header.get_zooms()[:3], tr))
        data = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(data, image.affine, image.header), path)


def check_uris(out, root):
    """Check that everything that a sidecar names is there."""
    n_checked = 0
    for path in out.rglob("*.json"):
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or "logs" in path.parts:
            continue
        for uri in (*content.get("Sources", ()), *content.get("NodeFiles", ())):
            base = out if uri.startswith("bids::") else root
            assert (base / uri.split(":", 2)[2]).exists(), f"{path}: {uri}"
            n_checked += 1
    assert n_checked > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ds000001-fmriprep", "ds002422-fmriprep", "ds002748-fmriprep"])
def test_real_skeletons(npi_bids, shared_data, tmp_path, name):
    script = shared_data / "openneuro_skeletons" / "materialize.py"
    root = tmp_path / "fmriprep"
    subprocess.run([sys.executable, script, name, root, "--subjects", "2"], check=True)
    give_headers_their_period(root)
    atlas = write_atlas(tmp_path / "atlas-Blocks_space-MNI152NLin2009cAsym_dseg.nii.gz")
    code, said, problems = npi_bids(
        root, tmp_path / "out", "participant", "group", "--atlas", atlas, *WORDS,
        "--space", "MNI152NLin2009cAsym",
    )  # fmt: skip
    assert code == 0, said + problems
    assert len(list((tmp_path / "out").glob("sub-*/**/func/*meas-npi_*relmat.tsv"))) >= 2
    validate(tmp_path / "out")
    check_uris(tmp_path / "out", root)
    made = json.loads((tmp_path / "out" / "dataset_description.json").read_text())["GeneratedBy"]
    theirs = json.loads((root / "dataset_description.json").read_text())["GeneratedBy"]
    assert made[0]["Name"] == "npi-bids"
    assert [entry["Name"] for entry in made[1:]] == [entry["Name"] for entry in theirs]


def test_a_dataset_without_its_files_says_how_to_get_them(npi_bids, shared_data, tmp_path):
    """As cloned by DataLad: every image is a link to what was not downloaded."""
    script = shared_data / "openneuro_skeletons" / "materialize.py"
    root = tmp_path / "fmriprep"
    words = [sys.executable, script, "ds002748-fmriprep", root, "--subjects", "2", "--broken"]
    subprocess.run(words, check=True)
    atlas = write_atlas(tmp_path / "atlas-Blocks_space-MNI152NLin2009cAsym_dseg.nii.gz")
    code, said, problems = npi_bids(
        root, tmp_path / "out", "participant", "--atlas", atlas, *WORDS
    )
    assert code == 3
    assert "datalad get" in " ".join((said + problems).split())
