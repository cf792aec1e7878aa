from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import npi_bids
from npi_bids.assessment.settings import AssessSettings, VerdictSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError
from npi_bids.inference import assess_model, ec_of_runs, perturb_model, train_runs
from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import TrainSettings
from tests.conftest import var_run

VAR, PUSH = TrainSettings(surrogate="var", device="cpu"), PerturbSettings()


def test_rows_are_sources_in_data_whose_wiring_is_known(run, weights):
    matrix = ec_of_runs([run], train=VAR, perturb=PUSH).measures["npi"].matrix
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(matrix[off], weights[off], atol=0.1)
    assert matrix[0, 1] > 0.3 > abs(matrix[1, 0])


def test_diagonal_of_the_map_is_zero_and_of_the_jacobian_is_not(run):
    measures = ec_of_runs([run], train=VAR, perturb=PUSH).measures
    assert (np.diag(measures["npi"].matrix) == 0).all()
    assert (np.diag(measures["jacobian"].matrix) > 0.3).all()


def test_uncovered_region_comes_back_as_nan_in_its_place(weights):
    whole = var_run(weights, 400, seed=1)
    data = whole.data.copy()
    data[:, 1] = np.nan
    gap = RegionSeries(data, whole.labels, whole.tr, whole.keep)
    result = ec_of_runs([whole, gap], train=VAR, perturb=PUSH)
    for measure in result.measures.values():
        assert measure.labels == whole.labels
        assert np.isnan(measure.matrix[1]).all()
        assert np.isnan(measure.matrix[:, 1]).all()
        inside = measure.matrix[np.ix_([0, 2, 3], [0, 2, 3])]
        assert np.isfinite(inside[~np.eye(3, dtype=bool)]).all()
    assert result.quality.n_regions == 3


def test_windows_are_counted_run_by_run(weights):
    runs = [var_run(weights, 100, seed=1), var_run(weights, 50, seed=2)]
    runs[1].keep[20] = False
    assert ec_of_runs(runs, train=VAR, perturb=PUSH).n_windows_per_run == (99, 47)


def test_a_run_that_is_wholly_censored_keeps_its_place_in_the_count(weights):
    whole = var_run(weights, 100, seed=1)
    nothing = RegionSeries(np.full((30, 4), np.nan), whole.labels, 2.0, np.zeros(30, dtype=bool))
    result = ec_of_runs([whole, nothing, whole], train=VAR, perturb=PUSH)
    assert result.n_windows_per_run == (99, 0, 99)


def test_mixed_tr_is_refused(weights):
    runs = [var_run(weights, 100, seed=1), var_run(weights, 100, seed=2, tr=0.8)]
    with pytest.raises(InputDataError, match="never pooled"):
        ec_of_runs(runs, train=VAR, perturb=PUSH)


@pytest.mark.parametrize("surrogate", ["var", "mlp"])
def test_same_seed_same_result_and_another_seed_another(run, surrogate):
    settings = TrainSettings(surrogate=surrogate, epochs=3, device="cpu", seed=3)
    one, same, other = (
        ec_of_runs([run], train=s, perturb=PUSH)
        for s in (settings, settings, replace(settings, seed=4))
    )
    for name in one.measures:
        np.testing.assert_array_equal(one.measures[name].matrix, same.measures[name].matrix)
    # What is linear is fitted and run in closed form, which no seed changes.
    differs = (one.measures["modelfc"].matrix != other.measures["modelfc"].matrix).any()
    assert differs == (surrogate != "var")


def test_quality_tells_a_driven_system_from_noise(run):
    driven = ec_of_runs([run], train=VAR, perturb=PUSH).quality
    rng = np.random.default_rng(0)
    noise = RegionSeries(rng.standard_normal((400, 4)), run.labels, 2.0, np.ones(400, dtype=bool))
    nothing = ec_of_runs([noise], train=VAR, perturb=PUSH).quality
    assert driven.r2 > driven.r2_own_history > driven.r2_persistence
    assert nothing.r2 < 0.02
    assert driven.model_fc_r > 0.8
    assert 0.3 < driven.spectral_radius < 0.7


def test_arrays_give_what_runs_give_whatever_their_scale(weights):
    run = var_run(weights, 500, seed=1)
    scaled = (run.data - run.data.mean(axis=0)) / run.data.std(axis=0)
    expected = ec_of_runs(
        [type(run)(scaled, run.labels, 2.0, run.keep)],
        train=TrainSettings(surrogate="var"), perturb=PerturbSettings(),
    )  # fmt: skip
    found = npi_bids.ec(5 + 100 * run.data, tr=2.0, surrogate="var")
    np.testing.assert_allclose(found.ec, expected.ec, atol=1e-10)
    assert found.measures["npi"].labels == ("R001", "R002", "R003", "R004")
    assert found.ec[0, 1] > 0.3 > abs(found.ec[1, 0])


def test_runs_gaps_and_regions_without_signal(weights):
    data = [var_run(weights, 300, seed=seed).data for seed in (1, 2)]
    data[0][40:45] = np.nan
    for run in data:
        run[:, 3] = np.nan
    found = npi_bids.ec(data, tr=2.0, labels=list("ABCD"), surrogate="var")
    assert np.isnan(found.ec[3]).all()
    assert np.isfinite(found.ec[:3, :3]).all()
    assert found.n_windows_per_run == (299 - 6, 299)
    assert np.isnan(data[0][40]).all()  # the input is left alone


def test_a_constant_region_is_not_covered(weights):
    data = var_run(weights, 300, seed=1).data.copy()
    data[:, 2] = 7.0
    assert np.isnan(npi_bids.ec(data, tr=2.0, surrogate="var").ec[2]).all()


def test_presets_and_options_are_those_of_the_app(weights):
    data = var_run(weights, 200, seed=1).data
    found = npi_bids.ec(data, tr=2.0, preset="luo2025", epochs=2, device="cpu")
    assert (found.settings.surrogate, found.settings.n_lags, found.settings.epochs) == (
        "mlp",
        3,
        2,
    )


@pytest.mark.parametrize(
    ("series", "options", "error", "words"),
    [
        (np.zeros(5), {}, InputDataError, r"shape \(5,\); expected \(n_samples"),
        (np.zeros((0, 3)), {}, InputDataError, r"is empty: its shape is \(0, 3\)"),
        ([["a", "b"]], {}, InputDataError, "not an array of numbers"),
        (np.ones((3, 50)), {"labels": list("ABC")}, InputDataError, "transpose"),
        (np.ones((30, 3)) * 1j, {}, InputDataError, "complex"),
        (
            np.where(np.arange(90).reshape(30, 3) == 40, np.nan, 1.0),
            {},
            InputDataError,
            "1 of 30 samples of region R002",
        ),
        (
            np.where(np.arange(90).reshape(30, 3) == 40, np.inf, 1.0),
            {"labels": list("ABC")},
            InputDataError,
            "1 of 30 samples of region B",
        ),
        (np.eye(4), {"surrogat": "var"}, SettingsError, "options: surrogat. Known are surrogate"),
        (np.eye(4), {"preset": "hcp"}, SettingsError, "Unknown preset 'hcp'"),
        (np.eye(2), {}, NoUsableDataError, "windows|samples"),
    ],
)
def test_what_cannot_be_used_is_refused(series, options, error, words):
    with pytest.raises(error, match=words):
        npi_bids.ec(series, tr=2.0, **options)


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = npi_bids.nothing


def test_columns_of_data_frames_are_matched_by_name(weights):
    runs = [pd.DataFrame(var_run(weights, 300, seed=seed).data, columns=list("ABCD"))
            for seed in (1, 2)]  # fmt: skip
    expected = npi_bids.ec(runs, tr=2.0, surrogate="var")
    assert expected.measures["npi"].labels == tuple("ABCD")
    found = npi_bids.ec([runs[0], runs[1][list("DBCA")]], tr=2.0, surrogate="var")
    np.testing.assert_array_equal(found.ec, expected.ec)
    with pytest.raises(InputDataError, match="Run 2 has other regions than the first: A, Q"):
        npi_bids.ec([runs[0], runs[1].rename(columns={"A": "Q"})], tr=2.0)


@pytest.mark.parametrize("tr", ["2", True, None, 0.0, 2000, 100.0])
def test_a_sampling_period_that_cannot_be_is_refused(weights, tr):
    with pytest.raises(SettingsError, match="The sampling period tr must be"):
        npi_bids.ec(var_run(weights, 300, seed=1).data, tr, surrogate="var")


@pytest.mark.parametrize("surrogate", ["hybrid", "mlp"])
def test_the_three_stages_give_what_one_call_gives_to_the_last_bit(run, surrogate):
    train = TrainSettings(surrogate=surrogate, epochs=3, n_seeds=2, device="cpu")
    perturb = PerturbSettings(together=("A+B",))
    whole = ec_of_runs([run], train=train, perturb=perturb)
    trained = train_runs([run], train=train)
    perturbed = perturb_model([run], trained, perturb=perturb)
    result = assess_model([run], trained, perturbed)
    assert set(result.measures) == set(whole.measures)
    for name, measure in whole.measures.items():
        np.testing.assert_array_equal(result.measures[name].matrix, measure.matrix)
    assert result.tables == whole.tables
    assert repr(result.quality) == repr(whole.quality)
    assert result.log == whole.log


def test_perturbation_of_a_trained_surrogate_rises_with_its_strength(run, weights):
    """One training serves many perturbations; in a linear surrogate the response is linear."""
    trained = train_runs([run], train=VAR)
    weak, strong = (
        perturb_model([run], trained, perturb=PerturbSettings(strength=strength)).matrix
        for strength in (0.5, 2.0)
    )
    np.testing.assert_allclose(strong, 4 * weak, rtol=1e-12)
    assert strong[0, 1] > 0.6 > abs(strong[1, 0])  # A drives B


def test_a_trained_model_knows_its_settings_and_what_was_fitted_without_held_out_windows(run):
    trained = train_runs([run], train=TrainSettings(surrogate="var"))
    assert trained.settings.n_lags == 1
    assert trained.surrogate is not trained.checked
    published = train_runs([run], train=TrainSettings(surrogate="var", refit=False))
    assert published.surrogate is published.checked


def test_only_ensembles_have_members(run):
    settings = TrainSettings(surrogate="mlp", epochs=1, n_seeds=2, device="cpu")
    for train, n_members in ((VAR, 0), (settings, 2)):
        perturbed = perturb_model([run], train_runs([run], train=train), perturb=PUSH)
        assert perturbed.members.shape == (n_members, 4, 4)
        assert perturbed.responses.shape == (0, 4)


def test_a_threshold_of_the_verdict_changes_the_verdict_and_no_number(run):
    trained = train_runs([run], train=VAR)
    perturbed = perturb_model([run], trained, perturb=PUSH)
    strict = AssessSettings(verdict=VerdictSettings(min_skill=0.9, good_skill=0.95))
    usual, severe = (
        assess_model([run], trained, perturbed, assess=assess) for assess in (None, strict)
    )
    assert (usual.verdict.label, severe.verdict.label) == ("pass", "fail")
    np.testing.assert_array_equal(usual.ec, severe.ec)


@pytest.fixture(scope="module")
def labelled():
    rng = np.random.default_rng(0)
    series = rng.standard_normal((400, 3))
    series[1:, 2] += 0.9 * series[:-1, 0]
    return npi_bids.ec(series, tr=2.0, labels=["A", "B", "C"], surrogate="var")


def test_a_result_prints_what_a_scientist_asks_first(labelled):
    lines = repr(labelled).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("Effective connectivity of 3 regions, 13.3 min in 1 run, 3")
    assert "surrogate: var, 1 lag; held-out R²" in lines[1]
    assert f"verdict: {labelled.verdict.label}" in lines[2]
    assert lines[4].startswith("  strongest connection: A -> C, ")
    assert "q = " in lines[4]


def test_a_frame_has_sources_as_rows_and_targets_as_columns(labelled):
    frame = labelled.to_frame()
    assert (frame.index.name, frame.columns.name) == ("source", "target")
    assert frame.loc["A", "C"] == labelled.ec[0, 2]
    np.testing.assert_array_equal(labelled.to_frame("jacobian"),
                                  labelled.measures["jacobian"].matrix)  # fmt: skip


def test_a_long_frame_has_a_row_per_connection_with_its_uncertainty(labelled):
    frame = labelled.to_frame(long=True)
    assert list(frame) == ["source", "target", "ec", "se", "p", "q"]
    assert len(frame) == 6
    row = frame.set_index(["source", "target"]).loc[("A", "C")]
    assert row["ec"] == labelled.ec[0, 2]
    assert row["se"] == labelled.measures["npistderr"].matrix[0, 2]
    assert row["q"] == labelled.measures["npiq"].matrix[0, 2]
    assert row["p"] <= row["q"]


def test_what_has_no_standard_errors_has_none_in_the_long_frame(run):
    train = TrainSettings(surrogate="mlp", epochs=1)
    frame = ec_of_runs([run], train=train, perturb=PUSH).to_frame(long=True)
    assert frame["ec"].notna().all()
    assert frame[["se", "p", "q"]].isna().all(axis=None)


def test_a_result_is_drawn_with_its_region_names(labelled, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    axes = labelled.plot()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("target", "source")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["A", "B", "C"]
    assert labelled.plot("pearsoncorrelation", axes=axes).get_xlabel() == "region"
    drawn = axes.images[0].get_array()
    assert drawn[0, 2] == labelled.ec[0, 2]


def test_an_unknown_measure_is_answered_with_the_known_ones(labelled):
    with pytest.raises(SettingsError, match="no measure fc; this result has npi, jacobian"):
        labelled.to_frame("fc")
    with pytest.raises(SettingsError, match="Long tables hold the map"):
        labelled.to_frame("jacobian", long=True)


def test_maps_that_group_tests_read_are_written_where_the_surrogate_has_no_need_of_its_prior(run):
    measures = ec_of_runs([run], train=VAR, perturb=PUSH).measures
    unshrunk, backwards = measures["npiunshrunk"].matrix, measures["npireversed"].matrix
    assert (np.diag(unshrunk) == 0).all()
    assert unshrunk[0, 1] > 0.3 > abs(unshrunk[1, 0])
    assert unshrunk[0, 1] - unshrunk[1, 0] > 0 > backwards[0, 1] - backwards[1, 0]
    proportional = measures["npiproportional"].matrix
    assert unshrunk[0, 1] > proportional[0, 1] > 0.3 > abs(proportional[1, 0])


def test_a_network_has_no_map_without_prior(run):
    settings = TrainSettings(surrogate="mlp", epochs=1, n_seeds=1, device="cpu")
    measures = ec_of_runs([run], train=settings, perturb=PUSH).measures
    assert not {"npiunshrunk", "npireversed", "npiproportional"} & set(measures)
