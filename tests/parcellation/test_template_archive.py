"""What is in the archive of TemplateFlow, and what is only named there."""

import sys
from types import SimpleNamespace

import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.template_archive import (
    fetch_template_file,
    find_template_file,
    find_transform,
    template_home,
)
from tests.template_archive import ADULT, LINEAR, add_file, add_transform


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    return tmp_path / "tf"


def test_the_archive_is_where_templateflow_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "x"))
    assert template_home() == tmp_path / "x"
    monkeypatch.delenv("TEMPLATEFLOW_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert template_home() == tmp_path / "templateflow"


def test_placeholders_and_links_to_nowhere_are_not_files(home):
    name = "res-01_atlas-A_dseg.nii.gz"
    path = add_file(home, ADULT, name)
    path.touch()
    assert find_template_file(ADULT, name) is None
    path.unlink()
    path.symlink_to(home / "annex" / "key")
    assert find_template_file(ADULT, name) is None
    path.unlink()
    path.write_bytes(b"content")
    assert find_template_file(ADULT, name) == path


def test_a_transform_leads_from_one_template_to_the_other_and_not_back(home):
    path = add_transform(home, LINEAR, ADULT)
    assert find_transform(LINEAR, ADULT) == path
    assert find_transform(ADULT, LINEAR) is None


def test_a_missing_file_is_asked_from_the_package_by_its_entities(home, monkeypatch):
    queries = []

    def get(template, **query):
        queries.append((template, query))
        add_file(home, template, "res-01_atlas-A_desc-B_dseg.nii.gz").write_bytes(b"image")

    monkeypatch.setitem(sys.modules, "templateflow", SimpleNamespace(api=SimpleNamespace(get=get)))
    for _ in range(2):  # the second time it is there
        path = fetch_template_file(ADULT, "res-01_atlas-A_desc-B_dseg.nii.gz")
    assert path.read_bytes() == b"image"
    assert queries == [(ADULT, {"atlas": "A", "desc": "B", "suffix": "dseg", "resolution": 1,
                                "extension": ".nii.gz"})]  # fmt: skip


def test_what_the_package_does_not_have_is_said(home, monkeypatch):
    empty = SimpleNamespace(api=SimpleNamespace(get=lambda *_, **__: []))
    monkeypatch.setitem(sys.modules, "templateflow", empty)
    with pytest.raises(InputDataError, match="provided no tpl-MNI152NLin6Asym_from-X_mode-image"):
        fetch_template_file(LINEAR, "from-X_mode-image_xfm.h5")
    monkeypatch.setitem(sys.modules, "templateflow", None)
    with pytest.raises(InputDataError, match=r"run pip install 'npi-bids\[templateflow\]'"):
        fetch_template_file(LINEAR, "from-X_mode-image_xfm.h5")


@pytest.mark.slow
def test_the_queries_select_one_file_of_the_real_archive(home, monkeypatch):
    """The package brings the names of all files of the archive, without their content."""
    monkeypatch.setenv("TEMPLATEFLOW_AUTOUPDATE", "0")
    from templateflow.client import TemplateFlowClient

    from npi_bids.parcellation.template_archive import _query

    client = TemplateFlowClient(root=home, autoupdate=False)
    for template, name in (
        (ADULT, "res-01_atlas-Schaefer2018_desc-100Parcels7Networks_dseg.nii.gz"),
        (ADULT, "atlas-Schaefer2018_desc-1000Parcels17Networks_dseg.tsv"),
        (ADULT, f"from-{LINEAR}_mode-image_xfm.h5"),
    ):
        (path,) = client.ls(template, **_query(name))
        assert path.name == f"tpl-{template}_{name}"
