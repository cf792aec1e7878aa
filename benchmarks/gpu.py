"""GPU against CPU and against the floors of both: products of matrices, and memory.

usage: python -m benchmarks.gpu [--subjects 100] [--regions 400] [--gpu-procs 8] [--cpu-procs N]
                                [--budget 280] [--stand-in]

One subject is what repeats in the default: the fit of a process, a residual network, its
perturbation and its Jacobian. Tables are printed as they are measured, and parts that would exceed
the budget (s) are left out by name. ``--stand-in`` runs the same on the CPU alone, with tensors
instead of a GPU, to test the benchmark. Only torch, numpy and scipy are needed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.table import save, show
from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.records import Array, RegionSeries
from npi_bids.surrogates import devices, ou_process
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.devices import fits_on, objective_on_device
from npi_bids.surrogates.networks import MLP, NetworkSurrogate, fit_network, make_network
from npi_bids.surrogates.ou_process import fit_ou, second_moments
from npi_bids.surrogates.residual_networks import zero_mlp
from npi_bids.surrogates.training import threads, train_networks
from npi_bids.surrogates.windows import cut_windows, split_windows

TOLERANCE = 1e-3  # largest difference of a map between devices, relative to its largest entry
N_SAMPLES, EPOCHS, PRECISION = 600, 20, (100.0, 300.0)
_MAXCOR = 20  # pairs of vectors that L-BFGS keeps


@dataclass(frozen=True, slots=True)
class Machine:
    """Rates of one device: products in double and single precision (flop/s), memory (byte/s)."""

    double: float
    single: float
    memory: float


@dataclass(slots=True)
class Subject:
    """Seconds by stage, numbers of evaluations and halvings of the process, and maps by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    n_evaluations: int = 0
    n_halvings: int = 0
    maps: dict[str, Array] = field(default_factory=dict)


def series(n_regions: int, n_samples: int, seed: int) -> Array:
    """Return z-scored signals of a stable autoregression of random wiring."""
    rng = np.random.default_rng(seed)
    wiring = rng.standard_normal((n_regions, n_regions)) * (rng.random((n_regions,) * 2) < 0.1)
    weights = 0.5 * np.eye(n_regions) + 0.3 * wiring / np.sqrt(0.1 * n_regions)
    signals = np.zeros((n_samples + 100, n_regions))
    noise = rng.standard_normal(signals.shape)
    for now in range(1, len(signals)):
        signals[now] = signals[now - 1] @ weights + noise[now]
    signals = signals[100:]
    scaled: Array = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    return scaled


def as_run(signals: Array) -> RegionSeries:
    """Return signals as one run without censored samples."""
    labels = tuple(f"R{region:03d}" for region in range(signals.shape[1]))
    return RegionSeries(signals, labels, 1.0, np.ones(len(signals), dtype=bool))


def seconds(work: Callable[[], object], n: int = 1) -> float:
    """Return the mean time of ``n`` calls, to the end of what they started on a GPU."""
    start = time.perf_counter()
    for _ in range(n):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / n


@contextmanager
def any_size_on_device() -> Iterator[None]:
    """Fit processes of any number of regions on the device of the context."""
    with mock.patch.object(devices, "MIN_GPU_REGIONS", 2):
        yield


def measure_machine(device: str, n_regions: int) -> Machine:
    """Measure products of the sizes that occur, and copies of 256 MB."""
    rates = []
    for rows, dtype in ((n_regions, torch.float64), (1024, torch.float32)):
        inner = n_regions if dtype == torch.float64 else 2 * n_regions
        left = torch.randn(rows, inner, dtype=dtype, device=device)
        right = torch.randn(inner, inner, dtype=dtype, device=device)
        out = left @ right
        n = 200 if device == "cuda" else 5
        took = min(seconds(lambda a=left, b=right, c=out: torch.mm(a, b, out=c), n)
                   for _ in range(3))  # fmt: skip
        rates.append(2 * rows * inner**2 / took)
    source = torch.zeros(2**25 if device == "cuda" else 2**23, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    took = min(seconds(lambda: target.copy_(source), 5) for _ in range(3))
    return Machine(rates[0], rates[1], 2 * 8 * source.numel() / took)


def n_products(n_halvings: int) -> int:
    """Return the products of matrices in one evaluation of a process with its gradient.

    Taylor series forward (10) and backward (20), 8 per halving, 6 of the likelihood, 4 between
    bases, and a factor with its inverse, which count as one.
    """
    return 41 + 8 * n_halvings


def floors(machine: Machine, host: Machine, subject: Subject, n: int) -> dict[str, float]:
    """Return the least time of a subject's products and of its memory traffic (s).

    Memory: three matrices per product, the history of L-BFGS on the host three times per
    iteration, and weights, gradients and moments of Adam at every step.
    """
    products = subject.n_evaluations * n_products(subject.n_halvings)
    n_train = int(0.8 * N_SAMPLES)
    layers = (2 * n * n, 4 * n * n, 2 * n * n)
    training = EPOCHS * n_train * (6 * sum(layers) - 2 * layers[0])
    perturbing = N_SAMPLES * n * 2 * layers[1]
    steps = EPOCHS * -(-n_train // 50)
    return {
        "products": products * 2 * n**3 / machine.double
        + (training + perturbing) / machine.single,
        "memory": (products * 3 * 8 * n**2 + steps * 8 * 4 * sum(layers)) / machine.memory
        + subject.n_evaluations * 3 * 2 * _MAXCOR * 8 * n**2 / host.memory,
    }


def one_subject(
    seed: int, n_regions: int, device: str, *, keep_maps: bool, rounded: bool = False
) -> Subject:
    """Fit, train and perturb one subject on a device: ``cpu``, ``cuda`` or ``stand-in``.

    If ``rounded``, the signals are changed at random in their last single-precision digit.
    """
    result = Subject()
    torch_device = None if device == "cpu" else torch.device(device.replace("stand-in", "cpu"))
    signals = series(n_regions, N_SAMPLES, seed)
    if rounded:
        noise = np.random.default_rng(seed + 1).standard_normal(signals.shape)
        signals *= 1 + np.finfo(np.float32).eps / 2 * noise
    windows = cut_windows([as_run(signals)], 1)
    pair = split_windows(windows, 0.8)
    moments = second_moments(windows.history[:, -1], windows.target)
    settings = resolve(TrainSettings(device=str(torch_device or "cpu")))
    settings = replace(settings, n_seeds=1, epochs=EPOCHS, patience=0)
    transition = ou_process.transition

    def counted(drift: Array, diffusion: Array, n_halvings: int) -> Any:
        result.n_evaluations += 1
        result.n_halvings = n_halvings
        return transition(drift, diffusion, n_halvings)

    def stage(name: str, work: Callable[[], Any]) -> Any:
        done: list[Any] = []
        result.seconds[name] = seconds(lambda: done.append(work()))
        return done[0]

    with threads(1), any_size_on_device(), fits_on(torch_device):
        with mock.patch.object(ou_process, "transition", counted):
            process = stage("process", lambda: fit_ou(moments, PRECISION))
        network, _ = stage("training", lambda: fit_network(zero_mlp, *pair, settings))
        ec = stage("map", lambda: infer_ec(network, windows.history, PerturbSettings()))
        slopes = stage("Jacobian", lambda: mean_jacobian(network, windows.history))
    if keep_maps:
        maps = {"process": process.transition, "network": ec, "Jacobian": slopes}
        result.maps = {name: matrix - np.diag(np.diag(matrix)) for name, matrix in maps.items()}
    return result


def _start_worker(device: str) -> None:
    """Start torch and the GPU in a worker, before time is taken."""
    torch.set_num_threads(1)
    one_subject(0, 8, device, keep_maps=False)
    time.sleep(1)  # until every worker has taken one


def cohort(
    n_subjects: int, n_regions: int, device: str, n_procs: int, n_maps: int
) -> tuple[float, list[Subject]]:
    """Return the time of subjects in several processes that share the device, and the subjects."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_procs, mp_context=context) as pool:
        list(pool.map(_start_worker, [device] * n_procs))
        start = time.perf_counter()
        futures = [
            pool.submit(one_subject, seed, n_regions, device, keep_maps=seed < n_maps)
            for seed in range(n_subjects)
        ]
        results = [future.result() for future in futures]
        return time.perf_counter() - start, results


def difference(found: Array, expected: Array) -> float:
    """Return the largest difference, relative to the largest entry."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def crossover(device: str, sizes: Sequence[int]) -> dict[str, list[float]]:
    """Time one evaluation of a process by the number of regions, on one core and on the device."""
    rows: dict[str, list[float]] = {"CPU, one core (ms)": [], "GPU (ms)": [], "times faster": []}
    for n in sizes:
        windows = cut_windows([as_run(series(n, N_SAMPLES, 0))], 1)
        moments = second_moments(windows.history[:, -1], windows.target)
        problem = ou_process.Problem(moments, PRECISION)
        at = problem.pack(problem.uncoupled())
        took = []
        for place in (None, torch.device(device)):
            with threads(1), any_size_on_device(), fits_on(place):
                evaluate = objective_on_device(problem, problem.ARRAYS, n)
                evaluate(at)
                took.append(1e3 * min(seconds(lambda e=evaluate, a=at: e(a), 3) for _ in range(3)))
        for row, value in zip(rows.values(), (*took, took[0] / took[1]), strict=True):
            row.append(value)
    return rows


def small_networks(device: str, n_networks: int, n_regions: int) -> dict[str, float]:
    """Time the training of small networks of several subjects, together and one by one."""
    settings = resolve(TrainSettings(surrogate="mlp", epochs=3, n_lags=1))
    pairs = [
        split_windows(cut_windows([as_run(series(n_regions, N_SAMPLES, seed))], 1), 0.8)
        for seed in range(n_networks)
    ]

    def train(where: str, n_together: int) -> float:
        chosen = replace(settings, device=where)
        networks = [make_network(MLP, 1, n_regions, chosen, n) for n in range(n_networks)]
        groups = [slice(n, n + n_together) for n in range(0, n_networks, n_together)]
        return seconds(
            lambda: [train_networks(networks[group], pairs[group], chosen) for group in groups]
        )

    with threads(1):
        train(device, n_networks)  # starts the GPU
        return {
            "CPU, one core, one by one (s)": train("cpu", 1),
            "CPU, one core, together (s)": train("cpu", n_networks),
            "GPU, one by one (s)": train(device, 1),
            "GPU, together (s)": train(device, n_networks),
        }


class HalfMLP(MLP):
    """The residual network with its largest product in bfloat16."""

    def hidden(self, preactivation: torch.Tensor) -> torch.Tensor:
        """Return the second hidden layer, in single precision after the product."""
        first = torch.relu(preactivation).bfloat16()
        product = first @ self.second.weight.T.bfloat16()
        return torch.relu(product.float() + self.second.bias)

    def prepared_hidden(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the same function."""
        return self.hidden


def precisions(device: str, n_regions: int) -> dict[str, tuple[float, float]]:
    """Return how far the map of a network moves by products of lower precision, and its time."""
    windows = cut_windows([as_run(series(n_regions, N_SAMPLES, 0))], 1)
    settings = replace(resolve(TrainSettings(device=device)), n_seeds=1, epochs=EPOCHS, patience=0)
    network, _ = fit_network(zero_mlp, *split_windows(windows, 0.8), settings)
    width = 2 * n_regions
    half = HalfMLP(1, n_regions, width, second=width).to(device)
    half.load_state_dict(network.networks[0].state_dict())
    models = {
        "single": (network, "highest"),
        "TF32": (network, "high"),
        "bfloat16": (NetworkSurrogate((half,), 1, n_regions, (1,)), "highest"),
    }
    rows: dict[str, tuple[float, float]] = {}
    reference: Array | None = None
    for name, (model, precision) in models.items():
        torch.set_float32_matmul_precision(precision)
        ec = infer_ec(model, windows.history, PerturbSettings())
        took = seconds(lambda m=model: infer_ec(m, windows.history, PerturbSettings()))
        reference = ec if reference is None else reference
        rows[name] = (difference(ec, reference), took)
    torch.set_float32_matmul_precision("highest")
    return rows


def whole_default(device: str, n_regions: int) -> tuple[float, Array, str]:
    """Return the time of the default with its verdict, the map, and the verdict."""
    run = as_run(series(n_regions, N_SAMPLES, 0))
    train = TrainSettings(device=device)
    start = time.perf_counter()
    with threads(1):
        result = ec_of_runs([run], train=train, perturb=PerturbSettings())
    return time.perf_counter() - start, result.ec, result.verdict.label


def show_cohort(machines: Mapping[str, Machine], options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print subjects on the GPU and on all cores, their equality and the floors."""
    n, device = options.regions, "stand-in" if options.stand_in else "cuda"
    n_cpu = min(options.subjects, options.cpu_procs)
    alone, _ = cohort(min(8, options.subjects), n, device, 1, 0)
    alone /= min(8, options.subjects)
    gpu_time, gpu = cohort(options.subjects, n, device, options.gpu_procs, n_cpu)
    show(f"{options.subjects} subjects of N = {n} on the GPU", ("",), {
        "one process: each (s)": (alone,),
        f"{options.gpu_procs} processes: all (s)": (gpu_time,),
        f"{options.gpu_procs} processes: each (s)": (gpu_time / options.subjects,),
    })  # fmt: skip
    cpu_time, cpu = cohort(n_cpu, n, "cpu", options.cpu_procs, n_cpu)
    cpu_all = cpu_time / n_cpu * options.subjects
    stages = {
        f"{stage}, one process (s)": tuple(
            float(np.mean([subject.seconds[stage] for subject in side])) for side in (gpu, cpu)
        )
        for stage in gpu[0].seconds
    }
    least = {
        name: floors(machines[name], machines["CPU"], side[0], n)
        for name, side in (("GPU", gpu), ("CPU", cpu))
    }
    show(f"Each of {options.subjects} subjects of N = {n}", ("GPU", "CPU"), {
        **stages,
        "floor: products, one core (s)": (least["GPU"]["products"], least["CPU"]["products"]),
        "floor: memory, one core (s)": (least["GPU"]["memory"], least["CPU"]["memory"]),
        "evaluations of the process": (gpu[0].n_evaluations, cpu[0].n_evaluations),
    })  # fmt: skip
    differences = {
        name: max(
            difference(one.maps[name], other.maps[name])
            for one, other in zip(gpu, cpu, strict=False)
        )
        for name in cpu[0].maps
    }
    by_rounding = one_subject(0, n, "cpu", keep_maps=True, rounded=True)
    rounding = {
        name: difference(matrix, cpu[0].maps[name]) for name, matrix in by_rounding.maps.items()
    }
    equal = all(value < max(TOLERANCE, 2 * rounding[name]) for name, value in differences.items())
    show(f"{n_cpu} subjects on {options.cpu_procs} cores, and all", ("",), {
        "CPU, measured (s)": (cpu_time,),
        f"CPU, scaled to {options.subjects} (s)": (cpu_all,),
        "GPU, measured (s)": (gpu_time,),
        "all cores over GPU: times faster": (cpu_all / gpu_time,),
        **{f"largest difference, {name}": (value,) for name, value in differences.items()},
        **{f"input rounded, CPU, {name}": (value,) for name, value in rounding.items()},
        f"all below {TOLERANCE:g}, or twice the effect of rounding": (str(equal),),
    })  # fmt: skip
    return {"gpu": gpu_time, "cpu": cpu_all, "one process": alone, "floors": least,
            "stages": stages, "differences": differences, "rounding": rounding}  # fmt: skip


def show_default(options: argparse.Namespace, left: Callable[[], float]) -> dict[str, Any]:
    """Measure and print the whole default on half of the regions, and on all by the GPU alone."""
    n = options.regions // 2
    gpu_time, gpu, gpu_verdict = whole_default(options.device, n)
    rows: dict[str, tuple[Any, ...]] = {f"N = {n}, GPU (s)": (gpu_time,)}
    if left() > 90 * (n / 200) ** 3:
        cpu_time, cpu, cpu_verdict = whole_default("cpu", n)
        rows |= {
            f"N = {n}, CPU, one core (s)": (cpu_time,),
            "times faster": (cpu_time / gpu_time,),
            "largest difference of the map": (difference(gpu, cpu),),
            "verdicts": (f"{gpu_verdict}/{cpu_verdict}",),
        }
    else:
        print(f"left out: the default of N = {n} on the CPU")
    if left() > 6 * gpu_time:
        rows[f"N = {2 * n}, GPU (s)"] = (whole_default(options.device, 2 * n)[0],)
    else:
        print(f"left out: the default of N = {2 * n} on the GPU")
    if options.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        rows["GPU memory: this process, at most allocated (GB)"] = (peak / 1e9,)
        rows["GPU memory: held now, with CUDA itself (GB)"] = ((total - free) / 1e9,)
    show("The default with its verdict, one subject in one process", ("",), rows)
    return rows


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options, with the device in place of ``stand_in``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for name, default in (("subjects", 100), ("regions", 400), ("gpu-procs", 8),
                          ("cpu-procs", n_cpus or 1), ("budget", 280)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--stand-in", action="store_true")
    options = parser.parse_args(argv)
    options.device = "cpu" if options.stand_in else "cuda"
    return options


def main() -> int:
    """Run the benchmark."""
    options, start = parse(), time.perf_counter()
    if not options.stand_in and not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no CUDA GPU here; --stand-in runs without.")
        return 2
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    name = "stand-in" if options.stand_in else torch.cuda.get_device_name()
    print(f"{name}; {options.cpu_procs} CPU cores; torch {torch.__version__}")
    sizes = sorted(
        {n for n in (50, 100, 200, 400, 1000) if n < options.regions} | {options.regions}
    )
    results: dict[str, Any] = {"device": name}
    with threads(1):
        machines = {
            "GPU": measure_machine(options.device, options.regions),
            "CPU": measure_machine("cpu", options.regions),
        }
    show("Floors in this run (CPU: one core)", ("GPU", "CPU"), {
        label: tuple(getattr(machine, attribute) / 1e9 for machine in machines.values())
        for label, attribute in (("double products (Gflop/s)", "double"),
                                 ("single products (Gflop/s)", "single"),
                                 ("memory (GB/s)", "memory"))
    })  # fmt: skip
    results["crossover"] = crossover(options.device, sizes)
    show("One evaluation of a process", [f"N = {n}" for n in sizes], results["crossover"])
    results["cohort"] = show_cohort(machines, options)
    results["precision"] = precisions(options.device, options.regions)
    show("Map of a network by precision of its products", ("moves by", "takes (s)"),
         results["precision"])  # fmt: skip
    results["small"] = small_networks(options.device, 64, 20)
    show("64 networks of N = 20, 3 epochs", ("",),
         {name: (value,) for name, value in results["small"].items()})  # fmt: skip
    results["default"] = show_default(
        options, lambda: options.budget - (time.perf_counter() - start)
    )
    print(f"\n{time.perf_counter() - start:.0f} s; written to {save('gpu', results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
