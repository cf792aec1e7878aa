import importlib.util
import json

import numpy as np
import pytest

from npi_bids.cli.simulate import main
from npi_bids.inverse import lesson
from npi_bids.inverse.catch22 import CATCH22
from npi_bids.io.tables import read_table
from tests.inverse.test_lesson import recordings

pytest.importorskip("numba")


@pytest.fixture
def simulated(monkeypatch):
    """Provide recordings that take no time to simulate."""
    made = recordings(60)
    monkeypatch.setattr(lesson, "simulate_recordings", lambda settings, report: made)
    return made


def test_tables_and_figure_hold_what_was_inferred(tmp_path, capsys, simulated):
    assert main(["lif", str(tmp_path / "out"), "--ridge-only", "--n-simulations", "60"]) == 0
    out = tmp_path / "out"
    table = read_table(out / "simulations.tsv")
    assert list(table.columns) == ["j_ext", "rate_excitatory", "rate_inhibitory", *CATCH22]
    assert table["j_ext"].to_numpy() == pytest.approx(simulated.j_ext)
    predictions = read_table(out / "predictions.tsv")
    numbers = predictions["simulation"].to_numpy() - 1
    assert len(numbers) == 6
    assert predictions["j_ext"].to_numpy() == pytest.approx(simulated.j_ext[numbers])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ridge_r2"] > 0.9
    assert summary["posterior_r2"] is None
    assert summary["settings"]["n_simulations"] == 60
    with np.load(out / "eeg.npz") as arrays:
        assert arrays["eeg"].shape == simulated.eeg.shape
        assert arrays["sampling_rate"] == 1600
    assert "<svg" in (out / "predictions.svg").read_text()
    assert "Ridge regression, 50 splits" in capsys.readouterr().out


def test_requested_values_are_simulated_without_inference(tmp_path, simulated):
    assert main(["lif", str(tmp_path / "out"), "--j-ext", "29"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "eeg.npz", "simulations.tsv",
    ]  # fmt: skip


def test_a_folder_with_files_is_refused(tmp_path, capsys, simulated):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["lif", str(tmp_path)]) == 5
    assert "is not an empty folder" in capsys.readouterr().err


def test_what_is_missing_is_told_before_anything_is_simulated(tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "numba" else found(name)
    )
    assert main(["lif", str(tmp_path / "out")]) == 2
    assert "pip install 'npi-bids[spiking]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_names_the_spiking_network(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["lif", "--help"])
    assert stopped.value.code == 0
    assert "npi-simulate lif [options] OUT" in capsys.readouterr().out
