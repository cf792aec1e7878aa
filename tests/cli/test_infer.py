"""The command npi-infer."""

import json

import numpy as np
import pytest

from npi_bids.cli.infer import main
from npi_bids.io.tables import read_matrix, read_table, write_matrix, write_series
from npi_bids.records import ECResult, RegionSeries
from tests.inverse.small import N_REGIONS, N_SAMPLES, TR, connectome, experiment

LABELS = tuple(f"r{k}" for k in range(N_REGIONS))
QUICK = ("--infer-simulations", "100", "--infer-held-out", "50", "--infer-members", "1",
         "--infer-samples", "100", "--infer-observation", "white")  # fmt: skip


@pytest.fixture
def subject(tmp_path):
    """Write the series of a simulated subject, and its structural connectivity."""
    model = experiment()
    runs = model.simulate(np.full((1, len(model.prior)), 0.5), np.random.default_rng(5))[0]
    series = RegionSeries(runs[0].data, LABELS, TR, np.ones(N_SAMPLES, bool))
    write_series(series, tmp_path / "series.tsv")
    order = np.random.default_rng(0).permutation(N_REGIONS)
    names = tuple(LABELS[k] for k in order)
    write_matrix(ECResult(connectome()[np.ix_(order, order)], names), tmp_path / "sc.tsv")
    return tmp_path


def run(subject, *words):
    paths = {"series": subject / "series.tsv", "sc": subject / "sc.tsv", "out": subject / "out"}
    argv = ("hopf", paths["series"], "--sc", paths["sc"], "-o", paths["out"])
    return main([str(word) for word in (*argv, "-w", subject / "work", *words)])


@pytest.mark.slow
def test_a_subject_is_inferred_from_a_table_of_series(subject, capsys, monkeypatch):
    pytest.importorskip("sbi")
    monkeypatch.setattr("npi_bids.inverse.estimator._MOST_EPOCHS", 2)
    assert run(subject, "--tr", TR, *QUICK) == 0
    out = capsys.readouterr().out
    assert "what the model can produce" in out
    assert "FC alone does not identify the parameters" in out
    table = read_table(subject / "out" / "parameters.tsv")
    assert list(table["name"])[:2] == ["coupling", "bifurcation"]
    assert (table["q025"] <= table["median"]).all()
    assert (table["prior_low"] <= table["q025"]).all()
    assert (table["q975"] <= table["prior_high"]).all()
    sidecar = json.loads((subject / "out" / "parameters.json").read_text())
    assert sidecar["Model"] == "hopf"
    assert sidecar["Position"] in ("inside", "outside")
    assert sidecar["NumberOfSimulations"] == 100
    assert set(table.columns) == {key for key in sidecar if key[0].islower()}
    assert len(read_table(subject / "out" / "posterior.tsv")) == 100
    assert len(read_table(subject / "out" / "ranks.tsv")) == 50
    assert read_matrix(subject / "out" / "predictedfc.tsv").labels == LABELS
    for name in ("posterior", "predictedfc", "calibration"):
        assert (subject / "out" / f"{name}.svg").read_text().startswith("<svg")
    first = (subject / "out" / "parameters.tsv").read_bytes()
    assert run(subject, "--tr", TR, *QUICK) == 0
    assert "training" not in capsys.readouterr().err  # flows are read from the work folder
    assert (subject / "out" / "parameters.tsv").read_bytes() == first


def test_an_unknown_sampling_period_is_asked_for(subject, capsys):
    pytest.importorskip("sbi")
    assert run(subject, *QUICK) == 2
    assert "give --tr" in capsys.readouterr().err


def test_wrong_numbers_are_named_together(subject, capsys):
    assert run(subject, "--tr", 2000, "--infer-simulations", "5", "--n-procs", "0") == 2
    err = capsys.readouterr().err
    for text in ("--tr must be in seconds", "--infer-simulations must be at least 100",
                 "--n-procs must be above 0"):  # fmt: skip
        assert text in err


def test_regions_without_structural_connectivity_are_named(subject, capsys):
    pytest.importorskip("sbi")
    write_matrix(ECResult(np.ones((4, 4)), LABELS[:4]), subject / "sc.tsv")
    assert run(subject, "--tr", TR, *QUICK) == 3
    assert "lacks 4 of the 8 regions (r4, r5, r6, r7)" in capsys.readouterr().err


def test_missing_packages_are_named_before_anything_is_simulated(subject, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(subject, "--tr", TR, *QUICK) == 2
    assert "pip install 'npi-bids[inference]'" in capsys.readouterr().err
    assert not (subject / "work").exists()
