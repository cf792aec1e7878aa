"""A surrogate of another package runs through every level, and is never taken for another one."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from npi_bids.surrogates import families
from npi_bids.surrogates.storage import load_surrogate
from tests.end_to_end.conftest import run_command, validate
from tests.surrogates.toy_family import FAMILY

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def with_plugin(tmp_path_factory):
    """Return the environment of a machine where the package with the toy is installed."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{families.ENTRY_POINTS}]\ntoy = tests.surrogates.toy_family:FAMILY\n"
    )
    paths = [str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def test_the_toy_runs_through_all_levels(tiny, with_plugin, tmp_path, monkeypatch):
    words = [tiny.root, tmp_path / "out", "participant", "group", "--surrogate", "toy", "--atlas"]
    words += [tiny.atlas, "--n-procs", "2", "-w", tmp_path / "work", "--fd-thresh", "0.5"]
    plan = run_command(*words, "--dry-run", cwd=tmp_path, env=with_plugin)
    assert "unknown computing time" in plan.stdout, plan.stderr
    done = run_command(*words, cwd=tmp_path, env=with_plugin)
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "out"
    sidecar = json.loads(next(out.glob("sub-*/func/*meas-npi_desc*_relmat.json")).read_text())
    assert sidecar["Surrogate"] == "toy"
    assert sidecar["Quality"]["ExpectedR"] is None  # which was not calibrated for it
    assert not list(out.glob("sub-*/func/*meas-npistderr*"))
    assert next(out.glob("tpl-*/**/func/*Groupmean_relmat.tsv")).is_file()
    text = (out / "logs" / "CITATION.md").read_text()
    assert "It was a saturating map, fitted to " in " ".join(text.split())
    assert "Ornstein" not in text
    assert "toy" in next(out.glob("sub-01.html")).read_text()
    validate(out)
    saved = next(out.glob("derivatives/surrogates/sub-01/func/*_surrogate.safetensors"))
    monkeypatch.setattr(families, "_registered", [FAMILY])
    loaded = load_surrogate(saved)
    assert loaded.step(np.zeros((3, 1, loaded.n_regions))).shape == (3, loaded.n_regions)


@pytest.mark.parametrize("words", [("pretrain",), ("participant", "--pretrained", "DATA")])
def test_the_toy_is_not_shrunk_as_another_surrogate(tiny, with_plugin, tmp_path, words):
    levels = [tiny.root if word == "DATA" else word for word in words]
    done = run_command(
        tiny.root, tmp_path / "out", *levels, "--surrogate", "toy", "--atlas", tiny.atlas,
        "-w", tmp_path / "work", cwd=tmp_path, env=with_plugin,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--surrogate toy cannot be pre-trained on a group or shrunk towards one" in done.stderr
    assert "use one of hybrid, mou, var, mlp, cnn, rnn" in done.stderr


def test_without_its_package_the_toy_is_unknown(tiny, tmp_path):
    done = run_command(tiny.root, tmp_path / "out", "participant", "--surrogate", "toy",
                       "--atlas", tiny.atlas, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert "--surrogate must be one of hybrid, mou, var" in done.stderr
