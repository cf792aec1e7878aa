"""Perturb saved surrogates again: doses, courses, sets, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from npi_bids.cli.perturb import main
from npi_bids.connectivity.responses import respond
from npi_bids.io.tables import read_table, write_series
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.storage import save_surrogate
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import cut_windows
from tests.conftest import LABELS, var_run


@pytest.fixture
def linear(tmp_path, weights):
    """Save the known system, in which A drives B and B drives C."""
    path = tmp_path / "linear_surrogate.safetensors"
    save_surrogate(VAR(weights[None], np.zeros(4)), path, family="var", labels=LABELS, tr=2.0)
    return path


@pytest.fixture
def network(tmp_path, run):
    """Save a network in an output dataset, with the series that it was fitted to."""
    settings = resolve(TrainSettings(surrogate="mlp", epochs=5, n_lags=2, device="cpu"))
    windows = cut_windows([run], 2)
    model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings)
    folder = tmp_path / "out" / "derivatives" / "surrogates" / "sub-01" / "func"
    folder.mkdir(parents=True)
    path = folder / "sub-01_surrogate.safetensors"
    save_surrogate(model, path, family="mlp", labels=LABELS, tr=2.0)
    (tmp_path / "out" / "sub-01").mkdir()
    write_series(run, tmp_path / "out" / "sub-01" / "x_timeseries.tsv")
    path.with_suffix(".json").write_text('{"Sources": ["bids::sub-01/x_timeseries.tsv"]}')
    return path, model, windows.history


def responses(out):
    table = read_table(out, text=("source", "region"))
    return table.set_index(["source", "strength", "step", "region"])


def test_doses_and_samples_of_a_linear_surrogate_are_its_weights(
    linear, weights, tmp_path, capsys
):
    out = tmp_path / "new" / "a.tsv"
    words = [str(linear), "--source", "A", "--strength", "0.5", "-2", "--steps-ahead", "1", "3"]
    assert main([*words, "-o", str(out)]) == 0
    found = responses(out)
    for strength in (0.5, -2.0):
        for step in (1, 3):
            expected = strength * np.linalg.matrix_power(weights, step)[0]
            got = found.loc[("A", strength, step)]["response"][list(LABELS)]
            np.testing.assert_allclose(got, expected, rtol=1e-8)
    assert found["response"]["A", 0.5, 1, "B"] == 0.25  # transposed it would be 0
    assert (found["sd"] == 0).all()
    assert set(found["time"]) == {2.0, 6.0}
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["SurrogateFamily"] == "var"
    assert set(read_table(out).columns) <= set(about)
    assert out.with_suffix(".svg").read_text().startswith("<svg")
    assert "A: strongest response -1.000 SD in B, 2 s after" in capsys.readouterr().out


def test_a_lasting_perturbation_adds_up(linear, weights, tmp_path):
    out = tmp_path / "a.tsv"
    words = [str(linear), "--source", "A", "--steps-ahead", "1..4", "--sustained", "-o", str(out)]
    assert main(words) == 0
    total = np.zeros(4)
    for step in range(1, 5):
        total = (total + np.eye(4)[0]) @ weights
        got = responses(out).loc[("A", 1.0, step)]["response"][list(LABELS)]
        np.testing.assert_allclose(got, total, rtol=1e-8)


def test_a_set_of_a_linear_surrogate_is_the_sum_of_its_members(linear, tmp_path):
    out = tmp_path / "a.tsv"
    words = [str(linear), "--source", "A", "C", "A+C", "-o", str(out), "--steps_ahead", "1..3"]
    assert main(words) == 0
    found = responses(out)["response"]
    both = found.loc["A+C"]
    np.testing.assert_allclose(both, found.loc["A"] + found.loc["C"], atol=1e-9)


def test_a_network_is_perturbed_in_the_states_that_it_was_fitted_to(network, tmp_path):
    path, model, history = network
    out = tmp_path / "a.tsv"
    words = [str(path), "--source", "A", "--strength", "1", "2", "--steps-ahead", "2"]
    assert main([*words, "-o", str(out)]) == 0
    found = responses(out)
    for strength in (1.0, 2.0):
        push = strength * np.eye(4)[0]
        expected = respond(model, history, push, steps=2)
        got = found.loc[("A", strength, 2)]["response"][list(LABELS)]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)
    assert (found["sd"] > 0).any()
    assert json.loads(out.with_suffix(".json").read_text())["NumberOfStates"] == len(history)


def test_series_that_are_gone_can_be_named(network, tmp_path, capsys):
    path, _, _ = network
    series = tmp_path / "out" / "sub-01" / "x_timeseries.tsv"
    moved = series.rename(tmp_path / "moved.tsv")
    words = [str(path), "--source", "A", "-o", str(tmp_path / "a.tsv")]
    assert main(words) == 3
    assert "x_timeseries.tsv>, which does not exist" in (err := capsys.readouterr().err)
    assert "name them with --series" in err
    assert main([*words, "--series", str(moved)]) == 0


def test_series_of_other_regions_are_refused(network, tmp_path, weights, capsys):
    other = tmp_path / "other.tsv"
    write_series(var_run(weights, 50, seed=1, labels=("A", "B", "X", "Y")), other)
    words = [str(network[0]), "--source", "A", "-o", str(tmp_path / "a.tsv")]
    assert main([*words, "--series", str(other)]) == 3
    assert "lacks 2 of the 4 regions of the surrogate, such as C, D" in capsys.readouterr().err


def test_all_that_is_wrong_is_named(linear, tmp_path, capsys):
    words = ["--source", "a", "B+B", "--strength", "0", "nan", "--steps-ahead", "0", "3..1", "x"]
    assert main([str(linear), *words, "-o", str(tmp_path / "a.csv")]) == 2
    err = capsys.readouterr().err
    for part in ("-o OUT.tsv must end in .tsv, not a.csv", "no region a; did you mean A?",
                 "It has 4 regions (A, B, C, D)", "--source B+B: B is named twice", "not 0.",
                 "not nan.", "not 3..1.", "not x."):  # fmt: skip
        assert part in err
    assert not list(tmp_path.glob("a*"))


def test_regions_are_listed(linear, capsys):
    assert main([str(linear), "--list-regions"]) == 0
    assert capsys.readouterr().out.split() == list(LABELS)


def test_a_name_with_a_plus_is_one_region(tmp_path, weights):
    path = tmp_path / "x_surrogate.safetensors"
    model = VAR(weights[None], np.zeros(4))
    save_surrogate(model, path, family="var", labels=("V1+V2", "B", "C", "D"), tr=2.0)
    assert main([str(path), "--source", "V1+V2", "-o", str(tmp_path / "a.tsv")]) == 0
    assert responses(tmp_path / "a.tsv")["response"]["V1+V2", 1, 1, "B"] == 0.5
