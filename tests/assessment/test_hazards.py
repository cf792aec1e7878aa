from __future__ import annotations

import numpy as np
import pytest

import npi_bids
from npi_bids.assessment.hazards import find_hazards
from npi_bids.records import RegionSeries
from tests.conftest import LABELS

NOISE = np.random.default_rng(0).standard_normal((300, 5))


def hazards(data, n_runs=1, regressors=()):
    runs = [
        RegionSeries(part, tuple("ABCDE"[: data.shape[1]]), 2.0, np.ones(len(part), dtype=bool))
        for part in np.array_split(data, n_runs)
    ]
    return " ".join(find_hazards(runs, regressors))


def with_column(values):
    data = NOISE.copy()
    data[:, 3] = values
    return data


def test_independent_signals_have_no_hazard():
    assert hazards(NOISE) == ""
    assert "dependent" not in hazards(NOISE[:4])  # fewer samples than regions are always dependent


@pytest.mark.parametrize(("sign", "shown"), [(1, "r = 1"), (-1, "r = -1")])
def test_regions_with_the_same_signal_are_named(sign, shown):
    assert f"B and D ({shown})" in hazards(with_column(sign * NOISE[:, 1]), n_runs=2)


def test_a_sum_of_other_regions_is_found():
    total = NOISE[:, 0] + NOISE[:, 1] - 2 * NOISE[:, 2]
    assert "5 regions are linearly dependent (rank 4)" in hazards(with_column(total / total.std()))


def test_the_mean_removed_from_all_regions_is_found_from_signals_to_hazards():
    data = NOISE - NOISE.mean(axis=1, keepdims=True)
    result = npi_bids.ec(data, tr=2.0, surrogate="var")
    assert "linearly dependent (rank 4)" in " ".join(result.hazards)


def test_the_mean_removed_from_each_of_several_runs_is_found():
    """The SD of the regions, and so the weights of the dependence, differ between runs."""
    rng = np.random.default_rng(2)
    runs = [rng.standard_normal((200, 5)) * rng.uniform(0.5, 2, 5) for _ in range(2)]
    runs = [data - data.mean(axis=1, keepdims=True) for data in runs]
    found = " ".join(npi_bids.ec(runs, tr=2.0, surrogate="var").hazards)
    assert "linearly dependent (rank 4)" in found


def test_regions_that_are_the_same_in_one_run_are_named_with_it():
    whole = np.concatenate([NOISE[:150], with_column(NOISE[:, 1])[150:]])
    assert "Run 2: Regions have the same signal: B and D (r = 1)" in hazards(whole, n_runs=2)


def test_what_regressors_take_is_no_dependence_of_regions():
    rng = np.random.default_rng(1)
    data, nuisance = rng.standard_normal((12, 5)), rng.standard_normal((12, 8))
    residual = data - nuisance @ np.linalg.lstsq(nuisance, data, rcond=None)[0]
    assert "dependent" in hazards(residual)
    assert "dependent" not in hazards(residual, regressors=[f"c{n}" for n in range(8)])


def test_hazards_are_named_with_their_cost(run):
    assert find_hazards([run], ("trans_x",)) == ()
    assert "global signal" in find_hazards([run], ("global_signal",))[0]
    uneven = RegionSeries(run.data * [1, 1, 1, 5], LABELS, 2.0, run.keep)
    assert ".65" in find_hazards([uneven])[0]
