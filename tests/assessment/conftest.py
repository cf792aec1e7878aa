"""A map of a system whose wiring is known, and the settings that maps are made with."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import TrainSettings
from tests.conftest import var_run

DEFAULT, PUSH = TrainSettings(device="cpu"), PerturbSettings()

VAR = TrainSettings(surrogate="var", device="cpu")


@pytest.fixture(scope="session")
def result():
    weights = 0.4 * np.eye(4)
    weights[0, 1], weights[1, 2] = 0.5, -0.4
    return ec_of_runs([var_run(weights, 1200, 7, tr=1.0)], train=DEFAULT, perturb=PUSH)


def run_of(series, tr=1.0):
    labels = tuple(f"R{n}" for n in range(series.shape[1]))
    return RegionSeries(series, labels, tr, np.ones(len(series), dtype=bool))
