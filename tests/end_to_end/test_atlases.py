"""Atlases in the template of the images and from datasets, through the whole command."""

import shutil

import pytest

from tests.conftest import tiny_parcellation, write_atlas
from tests.end_to_end.conftest import validate
from tests.template_archive import ADULT, LINEAR, add_schaefer, add_transform

VAR = ("--surrogate", "var")


@pytest.fixture
def adult(tiny, tmp_path):
    """Return the tiny dataset as fMRIPrep writes it by default: in MNI152NLin2009cAsym."""
    root = tiny.copy(tmp_path).root
    for path in sorted(root.rglob(f"*{LINEAR}*")):
        path.rename(path.with_name(path.name.replace(LINEAR, ADULT)))
    return root


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    for name in ("NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.setenv(name, str(tmp_path / "nilearn"))
    return tmp_path / "tf"


@pytest.fixture
def dataset(tmp_path):
    """Return a BIDS-atlas dataset with an image in each of two templates, and one table."""
    root = tmp_path / "atlases"
    for template in (LINEAR, ADULT):
        folder = root / f"tpl-{template}" / "anat"
        folder.mkdir(parents=True)
        path = write_atlas(folder, tiny_parcellation(), f"tpl-{template}_atlas-Foo_res-4_dseg")
        path.with_name(f"tpl-{template}_atlas-Foo_res-4_dseg.tsv").replace(
            root / "atlas-Foo_dseg.tsv"
        )
    (root / "dataset_description.json").write_text('{"Name": "Foo", "DatasetType": "atlas"}')
    return root


def test_schaefer_is_not_displaced_in_the_default_space_of_fmriprep(
    npi_bids, adult, archive, caplog
):
    add_schaefer(archive)
    words = (adult, "out", "participant", "--dry-run", "--offline")
    code, said, _ = npi_bids(*words)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert (code, warnings) == (0, [])
    assert "100 regions" in said
    npi_bids(*words, "--atlas", "Power2011")
    assert "Power2011 is in MNI152NLin6Asym but the images are in MNI152NLin2009c" in caplog.text
    assert "npi-bids-fetch Power2011:tpl-MNI152NLin2009cAsym" in caplog.text
    caplog.clear()
    add_transform(archive, LINEAR, ADULT)
    with caplog.at_level("INFO", "npi_bids.cli.inputs"):
        assert npi_bids(*words, "--atlas", "Power2011")[0] == 0
    assert "will be displaced" not in caplog.text
    assert "is drawn in MNI152NLin6Asym and is transformed to MNI152NLin2009cAsym" in caplog.text


def test_schaefer_of_another_template_is_used_with_a_warning_where_no_other_can_be_had(
    npi_bids, adult, archive, caplog
):
    words = (adult, "out", "participant", "--dry-run", "--offline")
    code, _, problems = npi_bids(*words, "--atlas", f"Schaefer2018:tpl-{ADULT}")
    assert code == 3
    assert "npi-bids-fetch Schaefer2018:seg-7Networks:scale-100:tpl-MNI152NLin2009c" in problems
    add_schaefer(archive, LINEAR)
    code, said, _ = npi_bids(*words)
    assert code == 0
    assert "100 regions" in said
    assert (
        "Schaefer2018 is in MNI152NLin6Asym but the images are in MNI152NLin2009c" in caplog.text
    )
    assert f"npi-bids-fetch Schaefer2018:scale-100:tpl-{ADULT}" in caplog.text
    assert "pip install" in caplog.text
    caplog.clear()
    npi_bids(*words, "--atlas", f"Schaefer2018:tpl-{LINEAR}")
    assert f"as requested with :tpl-{LINEAR}" in caplog.text
    assert "downloads the transform" not in caplog.text


def test_an_atlas_of_a_dataset_by_name_and_a_rerun_without_it(
    npi_bids, adult, archive, dataset, tmp_path
):
    words = (adult, "out", "participant", *VAR, "--offline", "--participant-label", "01")
    named = ("-d", f"prep={adult}", f"atlases={dataset}", "--atlas", "Foo")
    code, said, problems = npi_bids(*words, *named)
    assert code == 0, said + problems
    assert "displaced" not in problems
    out = tmp_path / "out"
    table = out / f"tpl-{ADULT}" / "anat" / f"tpl-{ADULT}_atlas-Foo_dseg.tsv"
    assert table.is_file()
    validate(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("tpl-*/**/*")}
    shutil.rmtree(dataset / f"tpl-{ADULT}")
    shutil.rmtree(tmp_path / "work")
    (dataset / f"tpl-{LINEAR}" / "anat" / f"tpl-{LINEAR}_atlas-Foo_res-4_dseg.nii.gz").write_text(
        ""
    )
    code, said, problems = npi_bids(*words, *named)
    assert code == 0, said + problems
    assert "complete" in said
    assert {path: path.stat().st_mtime_ns for path in out.glob("tpl-*/**/*")} == before
