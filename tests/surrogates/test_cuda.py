"""The same results on a GPU, within rounding; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.windows import cut_windows, split_windows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")


@pytest.mark.parametrize("surrogate", ["mlp", "cnn", "rnn"])
@pytest.mark.parametrize("n_seeds", [1, 3])
def test_networks_give_the_same_map_on_a_gpu(run, surrogate, n_seeds):
    windows = cut_windows([run], 3)
    pair = split_windows(windows, 0.8)
    settings = resolve(
        TrainSettings(surrogate=surrogate, n_lags=3, epochs=5, n_seeds=n_seeds, device="cpu")
    )
    maps, jacobians = [], []
    for device in ("cpu", "cuda"):
        model, _ = fit_surrogate(*pair, replace(settings, device=device))
        maps.append(infer_ec(model, windows.history, PerturbSettings()))
        jacobians.append(mean_jacobian(model, windows.history))
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-3 * np.abs(maps[0]).max())
    np.testing.assert_allclose(jacobians[1], jacobians[0], atol=1e-3 * np.abs(jacobians[0]).max())


def test_the_default_gives_the_same_map_on_a_gpu(run):
    cpu, gpu = (
        ec_of_runs([run], train=TrainSettings(device=device), perturb=PerturbSettings())
        for device in ("cpu", "cuda")
    )
    expected = cpu.measures["npi"].matrix
    found = gpu.measures["npi"].matrix
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert gpu.verdict.label == cpu.verdict.label
