"""Delays of regions, from the series to the files and the page."""

import json

import numpy as np
import pandas as pd
import pytest

from npi_bids.cli.simulate import main as simulate
from npi_bids.io.tables import read_matrix, read_table
from tests.end_to_end.conftest import validate

pytestmark = pytest.mark.slow


def test_delays_are_found_saved_drawn_and_told(npi_bids, tmp_path):
    words = ["rnn", str(tmp_path / "sim"), "--series-only", "--n-regions", "14", "--minutes", "25",
             "--tr", "1", "--n-subjects", "1", "--n-runs", "1", "--hrf-delay-sd", "1"]  # fmt: skip
    assert simulate(words) == 0
    data, truth = tmp_path / "sim" / "dataset", tmp_path / "sim" / "desc-truth_relmat.tsv"
    for out, further in (("out", ()), ("without", ("--delays", "none"))):
        code, stdout, err = npi_bids(data, out, "participant", *further)
        assert code == 0, stdout + err
    known = read_matrix(truth).matrix
    off = ~np.eye(14, dtype=bool)
    r = {}
    for out in ("out", "without"):
        (path,) = (tmp_path / out).glob("sub-*/func/*_meas-npi_desc-*_relmat.tsv")
        r[out] = np.corrcoef(read_matrix(path).matrix[off], known[off])[0, 1]
    assert r["out"] > r["without"] + 0.15
    (path,) = (tmp_path / "out").glob("sub-*/func/*Delays_dseg.tsv")
    table = read_table(path)
    assert list(table) == ["index", "name", "delay", "standard_error"]
    assert 0.4 < table["delay"].std() < 2
    assert (table["standard_error"] > 0).all()
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["delay"]["Units"] == "s"
    assert not list((tmp_path / "without").glob("sub-*/func/*Delays*"))
    check_matrices(tmp_path, off)
    check_quality(tmp_path, table["delay"].std())
    page = next((tmp_path / "out").glob("sub-*.html")).read_text()
    assert "Delays of the regions" in page
    assert "egional delays were detected and modelled (SD" in page
    text = " ".join((tmp_path / "out" / "logs" / "CITATION.md").read_text().split())
    assert "a delay of each region (standard deviation over regions" in text
    validate(tmp_path / "out")


def check_quality(folder, delay_sd):
    """Compare the quality with delays with that where none are looked for."""
    quality, without = (
        pd.read_csv(folder / out / "logs" / "quality.tsv", sep="\t") for out in ("out", "without")
    )
    assert quality["removed_delay_sd"].item() == pytest.approx(delay_sd, rel=0.5)
    assert quality["expected_delay_evidence"].item() > 12
    assert without["expected_delay_evidence"].isna().all()


def check_matrices(folder, off):
    """Compare the matrices that only a model with delays has with those of one without."""
    for measure in ("npibold", "npidelayshare", "npiundelayed"):
        (path,) = (folder / "out").glob(f"sub-*/func/*_meas-{measure}_desc-*_relmat.tsv")
        matrix = read_matrix(path).matrix
        assert np.isfinite(matrix).all()
        assert not list((folder / "without").glob(f"sub-*/func/*_meas-{measure}_*"))
    (path,) = (folder / "without").glob("sub-*/func/*_meas-npi_desc-*_relmat.tsv")
    plain = read_matrix(path).matrix
    r, transposed = (np.corrcoef(map_[off], plain[off])[0, 1] for map_ in (matrix, matrix.T))
    assert r > 0.9 > transposed
