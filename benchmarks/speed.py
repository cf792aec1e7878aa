"""Speed compared with the published loops and with the matrix products alone.

usage: python -m benchmarks.speed [--quick]
       python -m benchmarks.speed --against CHECKOUT [N ...]

Everything runs on one thread, except the last rows. Times on this machine are printed for
orientation; the ratios are the result. With ``--against``, only the CPU time of the default with
its verdict is compared with that of another checkout, at N regions and 600 samples.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.published import jacobian_loop, map_loop, train_loop
from benchmarks.systems import as_runs
from benchmarks.table import save, show
from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.records import Windows
from npi_bids.simulate.rnn import random_network, simulate_rnn
from npi_bids.surrogates.base import TrainSettings, preset, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.networks import MLP, make_network
from npi_bids.surrogates.training import threads, train_networks
from npi_bids.surrogates.windows import cut_windows, split_windows


def seconds(work: Callable[[], Any]) -> float:
    """Return the computing time of a call in seconds, which the load of the machine leaves."""
    started = time.process_time()
    work()
    return time.process_time() - started


def wall_seconds(work: Callable[[], Any]) -> float:
    """Return the run time of a call in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def series(n_regions: int, n_runs: int, n_samples: int) -> list[Any]:
    """Return runs of the RNN benchmark."""
    rng = np.random.default_rng(0)
    system = random_network(n_regions, rng)
    return as_runs(
        list(simulate_rnn(system, n_runs=n_runs, n_samples=n_samples, rng=rng)), system.tr
    )


def published_preset(n_regions: int, n_runs: int, n_samples: int, epochs: int) -> dict[str, float]:
    """Compare the preset luo2025 with the published loops."""
    hcp = n_regions > 100
    settings = resolve(preset("luo2025-hcp" if hcp else "luo2025", epochs=epochs, device="cpu"))
    windows = cut_windows(series(n_regions, n_runs, n_samples), 3)
    learn, check = split_windows(windows, 0.8)
    rate = settings.learning_rate or 0.0
    network = make_network(MLP, 3, n_regions, settings)
    # The initialisation of torch takes a second and belongs to neither loop.
    first = learn.take(slice(0, 100))
    train_loop(network, first, first, epochs=1, rate=rate)
    fit_surrogate(first, first, settings)
    theirs = min(
        seconds(lambda: train_loop(network, learn, check, epochs=epochs, rate=rate))
        for _ in range(2)
    )
    ours = min(seconds(lambda: fit_surrogate(learn, check, settings)) for _ in range(2))
    floor = epochs * _training_floor(network, learn)
    model, _ = fit_surrogate(learn, check, settings)
    subset = windows.take(slice(0, 40 if hcp else 400))
    figures = {
        "training, published loop (s)": theirs,
        "training, ours (s)": ours,
        "training: times faster": theirs / ours,
        "training: times the products alone": ours / floor,
    }
    fast = min(
        seconds(lambda: infer_ec(model, windows.history, PerturbSettings())) for _ in range(2)
    )
    slow = min(seconds(lambda: map_loop(network, windows)) for _ in range(1 if hcp else 2))
    jacobian = min(seconds(lambda: mean_jacobian(model, windows.history)) for _ in range(3))
    per_window = seconds(lambda: jacobian_loop(network, subset)) / len(subset)
    return figures | {
        "map, published loop (s)": slow,
        "map, ours (s)": fast,
        "map: times faster": slow / fast,
        "map: times the products alone": fast / _map_floor(network, windows),
        "Jacobian, autograd by window (s)": per_window * len(windows),
        "Jacobian, ours (s)": jacobian,
        "Jacobian: times faster": per_window * len(windows) / jacobian,
    }


def _training_floor(network: MLP, learn: Windows, batch: int = 50) -> float:
    """Return the time of the matrix products of one epoch: forward, and twice that backward."""
    shapes = [layer.weight.shape for layer in (network.first, network.second, network.third)]
    n_batches = -(-len(learn) // batch)
    total = 0.0
    for layer_index, (out, into) in enumerate(shapes):
        inputs, weight, back = (
            torch.randn(batch, into),
            torch.randn(into, out),
            torch.randn(batch, out),
        )

        def products(
            a: Any = inputs, b: Any = weight, c: Any = back, first: bool = layer_index == 0
        ) -> None:
            a @ b
            a.T @ c
            if not first:  # no gradient with respect to the data
                c @ b.T

        total += min(seconds(lambda p=products: [p() for _ in range(n_batches)]) for _ in range(3))
    return total


def _map_floor(network: MLP, windows: Windows) -> float:
    """Return the time of the one matrix product that each window and region requires."""
    into, out = network.second.weight.shape[1], network.second.weight.shape[0]
    weight = torch.randn(into, out)
    chunk = torch.randn(512, into)
    n_chunks = len(windows) * windows.target.shape[1] / 512
    return (
        min(seconds(lambda: [chunk @ weight for _ in range(20)]) for _ in range(3)) / 20 * n_chunks
    )


def default_in_a_process(n_regions: int, n_runs: int, n_samples: int) -> dict[str, float]:
    """Run the default with its verdict in a separate process, to measure its peak memory."""
    took, peak = _in_a_process(n_regions, n_runs, n_samples)
    return {"default with verdict (s)": took, "peak memory (GB)": peak}


def _in_a_process(*sizes: int, n_threads: int = 1) -> tuple[float, float]:
    """Return seconds and peak memory (GB), in the environment of the program's workers."""
    command = [sys.executable, "-m", "benchmarks.speed", "--one", *map(str, (*sizes, n_threads))]
    prepared = {"OMP_NUM_THREADS": str(n_threads), "OPENBLAS_NUM_THREADS": "1"}
    text = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **prepared}
    ).stdout
    took, peak = map(float, text.split())
    return took, peak


def one(n_regions: int, n_runs: int, n_samples: int, n_threads: int) -> None:
    """Print time and peak memory of the default with its verdict."""
    runs = series(n_regions, n_runs, n_samples)
    with threads(n_threads):
        took = wall_seconds(
            lambda: ec_of_runs(runs, train=TrainSettings(device="cpu"), perturb=PerturbSettings())
        )
    print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def together(n_networks: int, n_regions: int, n_samples: int) -> float:
    """Return the speed-up of training networks jointly over one after the other."""
    settings = resolve(preset("luo2025", epochs=3, device="cpu"))
    pairs = [
        split_windows(cut_windows(series(n_regions, 1, n_samples), 3), 0.8)
        for _ in range(n_networks)
    ]
    took = []
    for batched in (False, True):
        networks = [make_network(MLP, 3, n_regions, settings, n) for n in range(n_networks)]
        groups = [slice(0, None)] if batched else [slice(n, n + 1) for n in range(n_networks)]
        took.append(
            seconds(
                lambda m=networks, g=groups: [train_networks(m[s], pairs[s], settings) for s in g]
            )
        )
    return took[0] / took[1]


def many_subjects(n_subjects: int) -> list[float]:
    """Return the time per subject of N = 100, T = 300, for ten successive tenths of subjects."""
    runs = series(100, 1, 300)
    settings = TrainSettings(surrogate="var", device="cpu")
    return [
        seconds(
            lambda: [
                ec_of_runs(runs, train=settings, perturb=PerturbSettings())
                for _ in range(n_subjects // 10)
            ]
        )
        / (n_subjects // 10)
        for _ in range(10)
    ]


def two_threads(n_regions: int) -> float:
    """Return the speed-up of the default on two threads, each measured in its own process."""
    took = [
        min(_in_a_process(n_regions, 2, 600, n_threads=number)[0] for _ in range(2))
        for number in (1, 2)
    ]
    return took[0] / took[1]


_CPU_OF_DEFAULT = """
import sys, time
from benchmarks.speed import PerturbSettings, TrainSettings, ec_of_runs, series, threads
runs = series(int(sys.argv[1]), 1, 600)
with threads(1):
    for some in series(10, 1, 200), runs:
        started = time.process_time()
        ec_of_runs(some, train=TrainSettings(device="cpu"), perturb=PerturbSettings())
print(time.process_time() - started)
"""


def against(checkout: Path, n_regions: int, n_rounds: int = 3) -> list[tuple[float, float]]:
    """Return CPU seconds of the default with its verdict in a checkout and here, in turn."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def measure(tree: Path) -> float:
        return float(subprocess.run(
            [sys.executable, "-c", _CPU_OF_DEFAULT, str(n_regions)], capture_output=True,
            text=True, check=True, cwd=tree, env={**environment, "PYTHONPATH": str(tree)},
        ).stdout.split()[-1])  # fmt: skip

    here = Path(__file__).parents[1]
    return [(measure(checkout), measure(here)) for _ in range(n_rounds)]


def compare_checkouts(checkout: Path, sizes: Sequence[int]) -> int:
    """Show the CPU time of the default beside that of another checkout."""
    rows = {}
    for n_regions in sizes:
        pairs = np.array(against(checkout.resolve(), n_regions))
        ratios = pairs[:, 1] / pairs[:, 0]
        middle = np.median(pairs, axis=0)
        rows[f"N = {n_regions}"] = (*middle, np.median(ratios), ratios.min(), ratios.max())
    columns = ("there (CPU s)", "here (CPU s)", "ratio", "least", "largest")
    show("The default with its verdict, T = 600", columns, rows)
    return 0


def main() -> int:
    """Run the benchmark."""
    if "--against" in sys.argv:
        checkout, *sizes = sys.argv[sys.argv.index("--against") + 1 :]
        return compare_checkouts(Path(checkout), [int(size) for size in sizes] or [50, 100, 200])
    if "--one" in sys.argv:
        one(*map(int, sys.argv[-4:]))
        return 0
    quick = "--quick" in sys.argv
    with threads(1):
        small = published_preset(20, 1, 8000, 2 if quick else 10)
        large = published_preset(*((100, 1, 1200, 1) if quick else (360, 4, 1170, 3)))
    names = list(small)
    show("Preset luo2025 against the published loops", ("N = 20", "N = 360"),
         {name: (small[name], large[name]) for name in names})  # fmt: skip
    default = default_in_a_process(*((100, 2, 600) if quick else (360, 4, 1200)))
    epochs = 1 if quick else 3
    published_seconds = (
        large["training, published loop (s)"] / epochs * 100 + large["map, published loop (s)"]
    )
    rows = {name: (value,) for name, value in default.items()}
    rows["published training and map, 100 epochs (s)"] = (published_seconds,)
    with threads(1):
        rows |= {
            f"{n} networks together, N = {n_regions}: times faster": (
                together(n, n_regions, 1200),
            )
            for n, n_regions in ((4, 20), (16, 20), (4, 100))
        }
        each = many_subjects(20 if quick else 1000)
    rows["subjects of N = 100: last tenth over first"] = (each[-1] / each[0],)
    rows["subjects of N = 100: each (s)"] = (float(np.mean(each)),)
    for n_regions in (20, 100) if quick else (20, 100, 360):
        rows[f"two threads over one, N = {n_regions}"] = (two_threads(n_regions),)
    if not quick:
        huge = default_in_a_process(1000, 2, 600)
        rows |= {f"N = 1000, 2 x 600: {name}": (value,) for name, value in huge.items()}
    show("The default", ("",), rows)
    print(f"written to {save('speed', {'N=20': small, 'N=360': large, 'default': rows})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
