"""The command npi-simulate with --save: activity of a neural mass model."""

import json

import numpy as np
import pytest

from npi_bids.cli.simulate import main
from npi_bids.io.tables import read_numbers

pytest.importorskip("neurolib")
LEAKY = "tests.whole_brain.toy_model:LeakyModel"


def run(tmp_path, *words):
    return main([LEAKY, str(tmp_path / "out"), *map(str, words)])


def test_activity_is_written_as_tables_and_netcdf(tmp_path):
    xarray = pytest.importorskip("xarray")
    words = ["--save", "all", "--save-format", "both", "--n-regions", 6, "--tr", 0.5]
    words += ["--seconds", 1, "--stimulus", "step:amplitude=1,regions=L_002", "--set", "K_gl=0"]
    assert run(tmp_path, *words) == 0
    table = read_numbers(tmp_path / "out" / "x.tsv")
    assert list(table.columns) == ["time", *(f"{side}_00{k}" for side in "LR" for k in (1, 2, 3))]
    assert table["L_002"].iloc[-1] == pytest.approx(1)
    assert table["L_001"].abs().max() == 0
    assert list(read_numbers(tmp_path / "out" / "bold.tsv")["time"]) == [0.5, 1.0]
    with xarray.open_dataset(tmp_path / "out" / "activity.nc") as stored:
        assert stored["x"].dims == ("time", "region")
        assert stored["time"].attrs["units"] == "s"
        np.testing.assert_allclose(
            stored["x"].sel(region="L_002").to_numpy(), table["L_002"], rtol=1e-8
        )
        assert stored["bold"].shape == (2, 6)
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["parameters"] == {"K_gl": 0.0}
    assert settings["stimulus"] == "step:amplitude=1,regions=L_002"


def test_rates_alone_of_a_single_node(tmp_path):
    assert run(tmp_path, "--save", "rates", "--single-node", "--seconds", 0.1) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["settings.json", "x.tsv"]
    assert list(read_numbers(tmp_path / "out" / "x.tsv").columns) == ["time", "node"]


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.tsv").write_text("kept")
    assert run(tmp_path, "--save", "rates") == 5
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["aln", "--set", "a=1"], "Only with --save, for activity of a model: --set"),
        (["aln", "out", "--seconds", "3"], "--seconds"),
        (["thalamus", "out"], "thalamus has no dataset"),
        (["rnn", "--save", "rates"], "rnn is not a neural mass model"),
        ([LEAKY, "--save", "rates", "--set", "K_gl"], "must be NAME=VALUE"),
        ([LEAKY, "--save", "rates", "--set", "K_gl=1", "K_gl=2"], "twice"),
        ([LEAKY, "--save", "rates", "--set", "speed=1"], "no parameter 'speed'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
