import numpy as np
import pandas as pd
import pytest

import npi_bids
from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.pipeline import ec_of_runs
from npi_bids.core.surrogate import TrainSettings
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError
from tests.conftest import var_run


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
        ([["a", "b"]], {}, InputDataError, "no array of numbers"),
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
        (np.eye(4), {"surrogat": "var"}, SettingsError, r"\['surrogat'\]; the options"),
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
