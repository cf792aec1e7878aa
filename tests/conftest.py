"""Fixtures shared by all tests: a system whose effective connectivity is known, and datasets."""

import os
from pathlib import Path

import numpy as np
import pytest

from npi_bids.core.records import RegionSeries

LABELS = ("A", "B", "C", "D")
SHARED = Path(__file__).parents[2] / "shared"

os.environ["NIPYPE_NO_ET"] = "1"


@pytest.fixture
def weights():
    """Return ``[source, target]`` weights of a stable system; A drives B, B drives C."""
    matrix = 0.4 * np.eye(4)
    matrix[0, 1] = 0.5
    matrix[1, 2] = -0.4
    return matrix


@pytest.fixture
def run(weights):
    """Return 1200 samples of the system with unit noise."""
    return var_run(weights, 1200, seed=7)


def var_run(weights, n_samples, seed, tr=2.0, labels=LABELS):
    rng = np.random.default_rng(seed)
    data = np.zeros((n_samples, len(weights)))
    for now in range(1, len(data)):
        data[now] = data[now - 1] @ weights + rng.standard_normal(len(weights))
    return RegionSeries(data, labels, tr=tr, keep=np.ones(len(data), dtype=bool))


@pytest.fixture
def shared_data():
    """Return the folder of real data beside the project, or skip."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the test data are not beside the project")
    return SHARED / "data"


@pytest.fixture(autouse=True)
def _torch_is_left_as_it_was(request):
    """Fail the test that changes torch's global state."""
    if "core" not in Path(request.node.path).parts:
        yield
        return
    import torch

    before = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state()
    yield
    assert torch.get_num_threads() == before[0]
    assert torch.get_default_dtype() == before[1]
    if "unrelated_seed" not in request.fixturenames:
        assert torch.equal(torch.get_rng_state(), before[2]), "the test moved torch's generator"


@pytest.fixture
def unrelated_seed():
    """Mark a test that moves torch's generator on purpose."""
