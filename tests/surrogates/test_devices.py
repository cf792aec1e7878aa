"""Devices: their choice, the same fits by tensors as by arrays, and short memory.

Tensors on the CPU stand in for those on a GPU, whose own tests are in ``test_cuda``.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.surrogates import devices, ou_process, training
from npi_bids.surrogates.base import MIN_GPU_REGIONS, TrainSettings, resolve
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.devices import find_device, fits_on, in_smaller_parts, objective_on_device
from npi_bids.surrogates.networks import CNN, MLP, NetworkSurrogate, make_network
from npi_bids.surrogates.ou_process import fit_ou, second_moments
from npi_bids.surrogates.spectral import SpectralPrior, SpectralProblem
from npi_bids.surrogates.training import train_networks
from tests.surrogates.observed_process import run_of

CPU = torch.device("cpu")
FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.\nAdvice.")
SETTINGS = resolve(
    TrainSettings(surrogate="mlp", epochs=3, learning_rate=2e-3, n_lags=2, device="cpu")
)


@pytest.fixture
def one_gpu(monkeypatch):
    """Let torch report one GPU, which nothing is computed on."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.fixture
def factored(monkeypatch):
    """Fit all processes by tensors on the CPU; return the shapes of what they factored."""
    shapes, factor = [], torch.linalg.cholesky_ex
    monkeypatch.setattr(devices, "MIN_GPU_REGIONS", 2)
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda a: shapes.append(a.shape) or factor(a))
    return shapes


def test_auto_is_the_gpu_for_many_regions_alone(one_gpu):
    assert find_device("auto", MIN_GPU_REGIONS).type == "cuda"
    assert find_device("auto", MIN_GPU_REGIONS - 1).type == "cpu"
    assert find_device("cuda", 4).type == "cuda"
    assert find_device("cpu", 1000).type == "cpu"


def test_auto_is_the_cpu_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto", 1000).type == "cpu"
    with pytest.raises(SettingsError, match="sees no CUDA GPU"):
        find_device("cuda", 1000)


def test_a_gpu_that_does_not_exist_is_refused(one_gpu):
    assert find_device("cuda:0", 4).index == 0
    with pytest.raises(SettingsError, match=r"cuda:1: torch sees 1 CUDA GPU"):
        find_device("cuda:1", 4)


def test_a_process_is_the_same_by_tensors(system, factored):
    signals, ec, _ = system
    moments = second_moments(signals[:-1], signals[1:])
    arrays = fit_ou(moments, (20.0, 60.0))
    assert not factored
    with fits_on(CPU):
        tensors = fit_ou(moments, (20.0, 60.0))
    assert len(factored) > 5
    np.testing.assert_allclose(tensors.drift, arrays.drift, atol=1e-5)
    np.testing.assert_allclose(tensors.diffusion, arrays.diffusion, rtol=1e-5)
    assert (
        np.corrcoef(tensors.transition.ravel(), ec.ravel())[0, 1]
        > np.corrcoef(tensors.transition.T.ravel(), ec.ravel())[0, 1]
    )  # [source, target]


@pytest.fixture
def precisions(monkeypatch):
    """Start small fits in single precision, too; return what transitions were computed in."""
    found, transition = [], ou_process.transition

    def recorded(drift, diffusion, n_halvings):
        found.append(drift.dtype)
        return transition(drift, diffusion, n_halvings)

    monkeypatch.setattr(devices, "_MIN_SINGLE_REGIONS", 2)
    monkeypatch.setattr(ou_process, "transition", recorded)
    return found


def test_a_large_fit_starts_in_single_precision_and_ends_where_double_does(system, precisions):
    signals, _, _ = system
    moments = second_moments(signals[:-1], signals[1:])
    fitted = fit_ou(moments, (20.0, 60.0))
    assert precisions[0] == np.float32
    assert precisions[-1] == np.float64
    devices._MIN_SINGLE_REGIONS = len(fitted.drift) + 1  # restored by the fixture
    precisions.clear()
    double = fit_ou(moments, (20.0, 60.0))
    assert set(precisions) == {np.dtype(np.float64)}
    np.testing.assert_allclose(fitted.transition, double.transition, atol=2e-4)
    assert np.corrcoef(fitted.transition.ravel(), double.transition.ravel())[0, 1] > 0.999999


def test_a_fit_that_single_precision_leads_astray_starts_again(system, monkeypatch):
    signals, _, _ = system
    moments = second_moments(signals[:-1], signals[1:])
    expected = fit_ou(moments, (20.0, 60.0))

    def uphill(packed):
        return -1e6 * packed.sum(), np.full_like(packed, -1e6)

    monkeypatch.setattr(ou_process, "in_single_precision", lambda *_: uphill)
    np.testing.assert_array_equal(fit_ou(moments, (20.0, 60.0)).drift, expected.drift)


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("delay_sd", [0.0, 1.0])
@pytest.mark.parametrize("band", [None, (0.2, 1.8)])
def test_the_spectral_likelihood_is_the_same_by_tensors(system, factored, gain, delay_sd, band):
    spectra = cross_spectra([run_of(system[0][:600, :5])]).within(band)
    prior = SpectralPrior(precision=(20.0, 40.0), delay_sd=delay_sd, gain=gain, rate=0.7)
    problem = SpectralProblem(spectra, prior, full_band=band is None)
    at = problem._pack(*problem._uncoupled())
    at = at + 0.05 * np.random.default_rng(0).standard_normal(len(at))
    expected, slopes = problem.value_and_gradient(at)
    with fits_on(CPU):
        value, gradient = objective_on_device(problem, problem.ARRAYS, problem.n)(at)
    assert len(factored) == 1
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, slopes, atol=1e-10)
    assert isinstance(gradient, np.ndarray)


def test_an_infeasible_process_is_infeasible_by_tensors(system, factored):
    spectra = cross_spectra([run_of(system[0][:600, :5])])
    prior = SpectralPrior(precision=(20.0, 40.0), delay_sd=0.0, gain=False, rate=0.7)
    problem = SpectralProblem(spectra, prior, full_band=True)
    drift, diffusion, delays = problem._uncoupled()
    with fits_on(CPU):
        evaluate = objective_on_device(problem, problem.ARRAYS, problem.n)
        value, gradient = evaluate(problem._pack(-drift, diffusion, delays))
    assert value == 1e10
    assert not gradient.any()


def test_small_processes_stay_with_numpy(system, monkeypatch):
    signals, _, _ = system
    monkeypatch.setattr(torch.linalg, "cholesky_ex", None)
    with fits_on(CPU):
        fit_ou(second_moments(signals[:-1], signals[1:]), (20.0, 60.0))


def test_a_fit_without_memory_continues_on_the_cpu_and_says_so(system, factored, caplog):
    signals, _, _ = system
    moments = second_moments(signals[:-1], signals[1:])
    expected = fit_ou(moments, (20.0, 60.0))
    factor = torch.linalg.cholesky_ex

    def fail_later(matrix):
        if len(factored) == 3:
            raise FULL
        return factor(matrix)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(torch.linalg, "cholesky_ex", fail_later)
        with fits_on(CPU):
            found = fit_ou(moments, (20.0, 60.0))
    assert len(factored) == 3
    np.testing.assert_allclose(found.drift, expected.drift, atol=1e-5)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "does not suffice for the fit of a process (CUDA out of memory)" in message
    assert "continues on the CPU" in message


def networks_of(constructor, n_networks=2):
    settings = replace(SETTINGS, n_lags=3)
    networks = [make_network(constructor, 3, 4, settings, member) for member in range(n_networks)]
    return NetworkSurrogate(tuple(networks), 3, 4, (1,) * n_networks)


@pytest.mark.parametrize("compute", [
    lambda model, history: model.step(history),
    lambda model, history: infer_ec(model, history, PerturbSettings()),
    mean_jacobian,
], ids=["step", "perturb", "jacobian"])  # fmt: skip
@pytest.mark.parametrize("constructor", [MLP, CNN])
def test_without_memory_windows_are_taken_in_smaller_parts(
    constructor, compute, caplog, monkeypatch
):
    history = np.random.default_rng(0).standard_normal((900, 3, 4))
    model = networks_of(constructor)
    expected = compute(model, history)
    transform = constructor.preactivation

    def fail_if_large(network, flat):
        if len(flat) > 300:
            raise FULL
        return transform(network, flat)

    monkeypatch.setattr(constructor, "preactivation", fail_if_large)
    with caplog.at_level(logging.WARNING):
        found = compute(model, history)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    messages = [record.getMessage() for record in caplog.records]
    assert ["1/2" in m for m in messages] == [True, False]
    assert "parts of 1/4 of the usual size" in messages[1]


def test_without_memory_fewer_sources_are_perturbed_at_once(caplog, monkeypatch):
    history = np.random.default_rng(0).standard_normal((60, 3, 4))
    model = networks_of(CNN)
    expected = infer_ec(model, history, PerturbSettings())
    sums, bounds = CNN.hidden_sums, []

    def fail_if_many(network, preactivation, columns, most_numbers):
        bounds.append(most_numbers)
        if most_numbers > 50_000:
            raise FULL
        return sums(network, preactivation, columns, most_numbers)

    monkeypatch.setattr(CNN, "hidden_sums", fail_if_many)
    with caplog.at_level(logging.WARNING):
        found = infer_ec(model, history, PerturbSettings())
    assert bounds == [160_000, 80_000, 40_000, 40_000]  # the last two of two networks
    assert "perturbation" in caplog.text
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_sources_that_are_perturbed_at_once_respect_their_bound(monkeypatch):
    network = networks_of(CNN).networks[0]
    sizes, transform = [], CNN.hidden
    monkeypatch.setattr(
        CNN, "hidden", lambda self, pre: sizes.append(pre.numel()) or transform(self, pre)
    )
    with torch.inference_mode():
        preactivation = network.preactivation(torch.randn(50, 12, generator=torch.Generator()))
        most = 2 * preactivation.numel()
        network.hidden_sums(preactivation, network.columns(), most)
    assert max(sizes) == most


def test_too_little_memory_for_the_smallest_part_is_an_error():
    def fail(_):
        raise FULL

    with pytest.raises(SurrogateError, match=r"for the Jacobian.*--device cpu"):
        in_smaller_parts(fail, "Jacobian")


@pytest.mark.parametrize(("error", "expected"), [
    (FULL, True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
    (RuntimeError("CUDA error: out of memory"), True),
    (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    (SurrogateError("does not suffice (CUDA error: out of memory)"), False),
])  # fmt: skip
def test_only_errors_of_memory_are_answered_by_smaller_parts(error, expected):
    def fail(divisor):
        if divisor == 1:
            raise error
        return divisor

    if expected:
        assert in_smaller_parts(fail, "map") == 2
    else:
        with pytest.raises(type(error)) as caught:
            in_smaller_parts(fail, "map")
        assert caught.value is error


def weights_of(networks):
    return [
        np.concatenate([p.detach().numpy().ravel() for p in network.parameters()])
        for network in networks
    ]


def trained(pairs, settings=SETTINGS):
    networks = [make_network(MLP, 2, 4, settings, member) for member in range(len(pairs))]
    return weights_of(networks), train_networks(networks, pairs, settings), weights_of(networks)


def test_without_memory_fewer_networks_are_trained_together(pairs, caplog, monkeypatch):
    five = [*pairs, *pairs[:2]]
    _, logs, expected = trained(five)
    stack, sizes = training._stack, []

    def fail_if_many(windows, device):
        sizes.append(len(windows))
        if len(windows) > 2:
            raise FULL
        return stack(windows, device)

    monkeypatch.setattr(training, "_stack", fail_if_many)
    with caplog.at_level(logging.WARNING):
        before, smaller_logs, found = trained(five)
    assert sizes == [5, 3, 2, 2, 1, 1, 2, 2]
    assert "5 networks together" in caplog.text
    assert "groups of 3" in caplog.text
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert all((after != start).any() for after, start in zip(found, before, strict=True))
    for log, smaller in zip(logs, smaller_logs, strict=True):
        np.testing.assert_allclose(smaller.valid, log.valid, rtol=1e-4)


def test_too_little_memory_for_one_network_is_an_error(pairs, monkeypatch):
    def fail(*_):
        raise FULL

    monkeypatch.setattr(training, "_stack", fail)
    with pytest.raises(SurrogateError, match=r"training of a network.*--n-gpu-procs"):
        trained(pairs[:1])


class SmallMemory:
    """Windows of which few can be gathered at once."""

    def __init__(self, tensor, most, gathered):
        self.tensor, self.most, self.gathered, self.shape = tensor, most, gathered, tensor.shape

    def __getitem__(self, index):
        self.gathered.append(index[1].shape[1])
        if index[1].shape[1] > self.most:
            raise FULL
        return self.tensor[index]


def test_without_memory_fewer_windows_are_gathered_in_the_same_order(pairs, caplog, monkeypatch):
    _, _, expected = trained(pairs[:1])
    stack, gathered = training._stack, []

    def stack_in_small_memory(windows, device):
        stacked = stack(windows, device)
        return replace(stacked, history=SmallMemory(stacked.history, 200, gathered)) if len(
            stacked.target[0]) > 100 else stacked  # fmt: skip

    monkeypatch.setattr(training, "_stack", stack_in_small_memory)
    with caplog.at_level(logging.WARNING):
        _, _, found = trained(pairs[:1])
    assert max(gathered) > 200 >= gathered[-1]
    assert "parts of 4 training steps" in caplog.text
    np.testing.assert_array_equal(found, expected)


def test_without_memory_held_out_windows_are_predicted_in_parts(pairs, caplog, monkeypatch):
    _, (log,), _ = trained(pairs[:1])
    predict = training._JointTraining._predict

    def fail_if_large(run, flat):
        if flat.shape[1] > 20:
            raise FULL
        return predict(run, flat)

    monkeypatch.setattr(training._JointTraining, "_predict", fail_if_large)
    with caplog.at_level(logging.WARNING):
        _, (found,), _ = trained(pairs[:1])
    assert "held-out error" in caplog.text
    np.testing.assert_allclose(found.valid, log.valid, rtol=1e-5)
