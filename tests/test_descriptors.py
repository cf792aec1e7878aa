"""What catalogues read of the project agrees with the project."""

import json
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from npi_bids.cli.descriptor import descriptor_text
from npi_bids.cli.parser import parse

ROOT = Path(__file__).parents[1]
DESCRIPTOR = ROOT / "descriptors" / "npi-bids.boutiques.json"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_descriptor_has_all_options_of_the_program():
    assert DESCRIPTOR.read_text() == descriptor_text(), "run `make tables`"


def test_boutiques_accepts_the_descriptor():
    from boutiques import bosh

    bosh(["validate", str(DESCRIPTOR)])  # raises where it is not valid


def test_the_command_line_that_boutiques_builds_is_that_of_the_program(tmp_path):
    from boutiques import bosh

    inputs = {
        "bids_dir": "/data", "out_dir": "/out", "levels": ["participant", "group"],
        "atlas": ["AAL", "MSDL"], "fd_thresh": 0.5, "gsr": True, "n_procs": 3, "surrogate": "var",
    }  # fmt: skip
    invocation = tmp_path / "invocation.json"
    invocation.write_text(json.dumps(inputs))
    simulated = bosh(["exec", "simulate", "-i", str(invocation), str(DESCRIPTOR)])
    program, *words = shlex.split(simulated.shell_command)
    assert program == "npi-bids"
    request = parse(words)
    assert request.levels == ("participant", "group")
    assert request.atlases.atlas == ("AAL", "MSDL")
    denoise = request.analysis.denoise
    assert (denoise.fd_thresh, denoise.gsr, request.resources.n_procs) == (0.5, True, 3)


def test_boutiques_refuses_what_the_program_refuses(tmp_path):
    from boutiques import bosh
    from boutiques.invocationSchemaHandler import InvocationValidationError

    inputs = {"bids_dir": "/data", "out_dir": "/out", "levels": ["participant"]}
    for wrong in ({"surrogate": "magic"}, {"min_coverage": 2}, {"levels": ["grup"]}):
        path = tmp_path / "invocation.json"
        path.write_text(json.dumps({**inputs, **wrong}))
        with pytest.raises(InvocationValidationError):
            bosh(["invocation", str(DESCRIPTOR), "-i", str(path)])


def test_name_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    codemeta = json.loads((ROOT / "codemeta.json").read_text())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    names = {citation["title"], codemeta["name"], zenodo["title"]}
    assert names == {PROJECT["name"]}
    # Tags of git alone decide on the version.
    assert not any("version" in entry for entry in (citation, codemeta, zenodo))
    assert citation["license"] == zenodo["license"] == PROJECT["license"]
    assert codemeta["license"].endswith(f"/{PROJECT['license']}")
    assert citation["keywords"] == codemeta["keywords"] == zenodo["keywords"]
    assert citation["keywords"] == PROJECT["keywords"]
    assert citation["repository-code"] == codemeta["codeRepository"] == PROJECT["urls"]["Source"]
    authors = [author["name"] for author in PROJECT["authors"]]
    assert [author["name"] for author in citation["authors"]] == authors
    assert [author["name"] for author in zenodo["creators"]] == authors
    assert [author["name"] for author in codemeta["author"]] == authors


def test_the_entry_of_the_list_of_bids_apps_names_the_repository():
    (entry,) = yaml.safe_load((ROOT / "descriptors" / "bids-apps.yml").read_text())
    assert PROJECT["urls"]["Source"].endswith(entry["gh"])
    assert (entry["ds_type"], entry["datatype"]) == (["derivative"], ["func"])
