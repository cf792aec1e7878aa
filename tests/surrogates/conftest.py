"""Systems and data that tests of several surrogates are fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.simulate.linear import ou_system, simulate_linear
from npi_bids.surrogates.ou_process import OU
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows, split_windows
from tests.conftest import var_run
from tests.surrogates.group_of_subjects import MOU, subjects
from tests.surrogates.observed_process import N, T


@pytest.fixture
def process():
    drift = np.array([[-1.0, 0.8, 0.0], [0.0, -0.7, -0.6], [0.3, 0.0, -0.9]])
    return OU(drift, np.array([1.0, 0.5, 2.0]))


@pytest.fixture(scope="session")
def pretrained():
    return pretrain(subjects(), MOU)


@pytest.fixture(scope="module")
def system():
    """Return signals of a process, their true EC in standard deviations, and delays."""
    rng = np.random.default_rng(3)
    found = ou_system(N, 2.0, 1.0, rng)
    signals = simulate_linear(found, n_runs=1, n_samples=T, rng=rng)[0]
    size = signals.std(axis=0)
    return signals / size, found.transition * size[:, None] / size, rng.standard_normal(N)


@pytest.fixture
def pairs(weights):
    """Make three subjects of the same length."""
    return [
        split_windows(cut_windows([var_run(weights, 300, seed)], 2), 0.8) for seed in (1, 2, 3)
    ]
