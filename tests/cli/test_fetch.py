"""Filling the caches of atlases, and what is said of each template."""

import sys
from types import SimpleNamespace

import pytest

from npi_bids.cli.fetch import main
from npi_bids.parcellation.template_archive import find_transform
from tests.template_archive import ADULT, LINEAR, add_schaefer, add_transform


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty archive of TemplateFlow, without the package that fills it."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "nilearn"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "templateflow", None)
    return tmp_path / "tf"


def test_each_template_of_an_atlas_is_ready_or_said_not_to_be(
    home, shared_data, monkeypatch, capsys
):
    monkeypatch.setenv("NILEARN_DATA", str(shared_data / "nilearn_data"))
    assert main(["Schaefer2018", "--offline"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Schaefer2018: ready in MNI152NLin6Asym; not in MNI152NLin2009cAsym: ")
    assert str(home) in said
    add_schaefer(home)
    assert main(["Schaefer2018", "--offline"]) == 0
    expected = "Schaefer2018: ready in MNI152NLin6Asym and MNI152NLin2009cAsym\n"
    assert capsys.readouterr().out == expected
    assert main([f"Schaefer2018:tpl-{ADULT}", "--offline"]) == 0
    assert capsys.readouterr().out.endswith(f": ready in {ADULT}\n")


def test_an_atlas_in_another_template_comes_with_its_transform(home, monkeypatch, capsys):
    request = f"Power2011:tpl-{ADULT}"
    assert main([request]) == 3
    assert "pip install 'npi-bids[templateflow]'" in capsys.readouterr().err

    def get(template, **query):
        assert (template, query["from"], query["suffix"]) == (ADULT, LINEAR, "xfm")
        add_transform(home, LINEAR, ADULT)

    package = SimpleNamespace(api=SimpleNamespace(get=get))
    monkeypatch.setitem(sys.modules, "templateflow", package)
    assert main([request]) == 0
    assert capsys.readouterr().out == f"{request}: ready in {ADULT}\n"
    assert find_transform(LINEAR, ADULT)


def test_an_atlas_that_is_not_there_is_an_error_of_the_input(home, capsys):
    assert main(["MSDL", "--offline"]) == 3
    assert "npi-bids-fetch MSDL" in capsys.readouterr().err
