"""The same results on a GPU, within rounding; skipped where there is none.

The module needs neither images nor workflows, so that it runs by itself:
``python -m pytest --noconftest tests/surrogates/test_cuda.py``.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.records import RegionSeries
from npi_bids.surrogates import devices
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.devices import find_device, fits_on
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.networks import MLP, NetworkSurrogate, make_network
from npi_bids.surrogates.ou_process import Effort, fit_ou, second_moments
from npi_bids.surrogates.spectral import SpectralPrior, SpectralProblem
from npi_bids.surrogates.training import train_networks
from npi_bids.surrogates.windows import cut_windows, split_windows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
GPU = torch.device("cuda")


def simulate(n_regions, n_samples, seed=7):
    """Return a run of a stable autoregression; each region drives the next."""
    rng = np.random.default_rng(seed)
    weights = 0.4 * np.eye(n_regions)
    weights[np.arange(n_regions - 1), np.arange(1, n_regions)] = 0.4
    data = np.zeros((n_samples, n_regions))
    for now in range(1, n_samples):
        data[now] = data[now - 1] @ weights + rng.standard_normal(n_regions)
    labels = tuple(f"R{region}" for region in range(n_regions))
    data = data / data.std(axis=0)
    return RegionSeries(data, labels, tr=2.0, keep=np.ones(n_samples, dtype=bool))


@pytest.fixture
def run():
    return simulate(4, 1200)


@pytest.fixture
def any_size(monkeypatch):
    """Fit processes of any number of regions on the GPU."""
    monkeypatch.setattr(devices, "MIN_GPU_REGIONS", 2)


@contextmanager
def memory_limited_to(n_bytes):
    """Limit what torch may allocate beyond what this process holds already."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + n_bytes) / total, 0)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


def assert_close(found, expected, tolerance=1e-3):
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("surrogate", ["mlp", "cnn", "rnn"])
@pytest.mark.parametrize("n_seeds", [1, 3])
def test_networks_give_the_same_map_on_a_gpu(run, surrogate, n_seeds):
    windows = cut_windows([run], 3)
    pair = split_windows(windows, 0.8)
    settings = resolve(
        TrainSettings(surrogate=surrogate, n_lags=3, epochs=5, n_seeds=n_seeds, device="cpu")
    )
    maps, jacobians, steps = [], [], []
    for device in ("cpu", "cuda"):
        model, _ = fit_surrogate(*pair, replace(settings, device=device))
        assert next(model.networks[0].parameters()).device.type == device
        maps.append(infer_ec(model, windows.history, PerturbSettings()))
        jacobians.append(mean_jacobian(model, windows.history))
        steps.append(model.step(windows.history))
    assert_close(maps[1], maps[0])
    assert_close(jacobians[1], jacobians[0])
    assert_close(steps[1], steps[0])


def test_the_default_gives_the_same_map_on_a_gpu(run, any_size):
    cpu, gpu = (
        ec_of_runs([run], train=TrainSettings(device=device), perturb=PerturbSettings())
        for device in ("cpu", "cuda")
    )
    assert_close(gpu.measures["npi"].matrix, cpu.measures["npi"].matrix)
    assert gpu.verdict.label == cpu.verdict.label
    assert set(gpu.measures) == set(cpu.measures)


def test_auto_computes_many_regions_on_the_gpu():
    assert find_device("auto", devices.MIN_GPU_REGIONS).type == "cuda"
    assert find_device("auto", 20).type == "cpu"


def test_a_process_is_the_same_on_a_gpu(any_size):
    data = simulate(60, 600).data
    moments = second_moments(data[:-1], data[1:])
    cpu = fit_ou(moments, (50.0, 150.0))
    with fits_on(GPU):
        gpu, again = fit_ou(moments, (50.0, 150.0)), fit_ou(moments, (50.0, 150.0))
    assert_close(gpu.drift, cpu.drift)
    assert_close(gpu.diffusion, cpu.diffusion)
    np.testing.assert_array_equal(again.drift, gpu.drift)


@pytest.mark.parametrize(("gain", "delay_sd"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_a_process_with_its_observation_model_is_the_same_on_a_gpu(any_size, gain, delay_sd):
    spectra = cross_spectra([simulate(30, 600)])
    prior = SpectralPrior(precision=(50.0, 100.0), delay_sd=delay_sd, gain=gain, rate=0.7)
    problem = SpectralProblem(spectra, prior, full_band=not gain)
    cpu = problem.fit(None, 40)
    with fits_on(GPU):
        gpu = problem.fit(None, 40)
    assert gpu.objective == pytest.approx(cpu.objective, rel=1e-6)
    assert_close(gpu.transition, cpu.transition)
    assert_close(gpu.delays, cpu.delays) if delay_sd else None


def test_large_networks_are_the_same_on_a_gpu():
    run = simulate(120, 500)
    windows = cut_windows([run], 3)
    pair = split_windows(windows, 0.8)
    settings = resolve(TrainSettings(surrogate="mlp", epochs=4, learning_rate=1e-3, device="cpu"))
    results = []
    for device in ("cpu", "cuda", "cuda"):
        model, log = fit_surrogate(*pair, replace(settings, device=device))
        ec = infer_ec(model, windows.history, PerturbSettings())
        results.append((ec, mean_jacobian(model, windows.history), np.array(log.valid)))
    for found, expected in zip(results[1], results[0], strict=True):
        assert_close(found, expected)
    for again, first in zip(results[2], results[1], strict=True):
        np.testing.assert_array_equal(again, first)


def test_small_networks_of_several_subjects_train_together_on_a_gpu():
    pairs = [split_windows(cut_windows([simulate(4, 300, seed)], 2), 0.8) for seed in range(3)]
    settings = resolve(TrainSettings(surrogate="mlp", epochs=4, n_lags=2, device="cpu"))
    logs = []
    for device in ("cpu", "cuda"):
        chosen = replace(settings, device=device)
        networks = [make_network(MLP, 2, 4, chosen, member) for member in range(3)]
        logs.append([log.valid for log in train_networks(networks, pairs, chosen)])
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-4)


def test_a_gpu_without_memory_perturbs_in_smaller_parts_and_says_so(caplog):
    settings = resolve(TrainSettings(surrogate="mlp", n_lags=1, device="cuda"))
    network = make_network(MLP, 1, 200, settings)
    model = NetworkSurrogate((network,), 1, 200, (1,))
    history = np.random.default_rng(0).standard_normal((1000, 1, 200))
    expected = infer_ec(model, history, PerturbSettings())
    with memory_limited_to(200e6), caplog.at_level(logging.WARNING):
        found = infer_ec(model, history, PerturbSettings())
    assert "does not suffice for the perturbation" in caplog.text
    assert "of the usual size" in caplog.text
    assert_close(found, expected)


def test_a_process_without_memory_is_fitted_on_the_cpu_and_says_so(any_size, caplog):
    data = simulate(200, 500).data
    moments = second_moments(data[:-1], data[1:])
    expected = fit_ou(moments, (50.0, 150.0), effort=Effort(max_iterations=5))
    with memory_limited_to(1e6), caplog.at_level(logging.WARNING), fits_on(GPU):
        found = fit_ou(moments, (50.0, 150.0), effort=Effort(max_iterations=5))
    assert "continues on the CPU" in caplog.text
    assert_close(found.drift, expected.drift)
