"""Fit the global parameters of a whole-brain model to a subject's FC and its dynamics."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.optimize import differential_evolution
from scipy.stats import ks_2samp, qmc

from npi_bids.errors import NoUsableDataError, SurrogateError
from npi_bids.io.files import write_text
from npi_bids.io.lifeline import parallel_map
from npi_bids.matrices import correlation, pearson
from npi_bids.records import Array
from npi_bids.whole_brain.models import NEUROLIB_MODELS, BrainSystem, simulate_brain
from npi_bids.whole_brain.settings import BrainSettings

_WINDOW = 60.0  # s of a window of FC dynamics (Hansen et al. 2015, the length used in neurolib)
_FAILED = -1.0  # fitness of parameters whose simulation diverged


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The fit of one parameter set, and its ``stage`` (``grid``, ``evolution 1``, ...).

    ``r_fc`` is the correlation of simulated with empirical FC, ``ks_fcd`` the Kolmogorov-Smirnov
    distance of the distributions of FC dynamics, ``fitness`` what is maximised.
    """

    stage: str
    parameters: dict[str, float]
    r_fc: float
    ks_fcd: float
    fitness: float


@dataclass(frozen=True, slots=True, eq=False)
class BrainTarget:
    """Empirical FC and FC dynamics that the model is fitted to.

    Attributes
    ----------
    fc
        Shape (n_regions, n_regions).
    fcd
        Shape (n_pairs,); correlations of FC between windows, pooled over runs.
    tr
        Sampling period (s).
    """

    fc: Array
    fcd: Array
    tr: float


def compute_target(runs: Sequence[Array], tr: float) -> BrainTarget:
    """Return FC and FC dynamics of a subject.

    Parameters
    ----------
    runs
        Series of shape (n_samples, n_regions).
    tr
        Sampling period (s).

    Raises
    ------
    NoUsableDataError
        No run is longer than two windows of 60 s.
    """
    scaled = [(run - run.mean(axis=0)) / run.std(axis=0) for run in runs]
    fcd = np.concatenate([fc_dynamics(run, tr) for run in scaled])
    if not fcd.size:
        raise NoUsableDataError(
            f"The longest run has {max(len(run) for run in runs) * tr:.0f} s; FC dynamics need "
            f"more than {2 * _WINDOW:.0f} s."
        )
    return BrainTarget(correlation(np.concatenate(scaled)), fcd, tr)


def fc_dynamics(series: Array, tr: float) -> Array:
    """Return the correlations between the FC of windows of 60 s; empty for short series.

    Windows start every eighth of their length; those that overlap are not compared.
    """
    length = round(_WINDOW / tr)
    starts = range(0, len(series) - length + 1, max(1, length // 8))
    pairs = np.triu_indices(series.shape[1], 1)
    windows = np.array([correlation(series[s : s + length])[pairs] for s in starts])
    if len(windows) < 2:
        return np.zeros(0)
    disjoint = np.subtract.outer(np.array(starts), np.array(starts)) >= length
    correlations: Array = np.corrcoef(windows)[disjoint]
    return correlations


def search_parameters(  # noqa: PLR0913 (what to fit, and where and how)
    base: BrainSystem,
    target: BrainTarget,
    settings: BrainSettings,
    *,
    seed: int,
    cache: Path,
    n_procs: int = 1,
    on_evaluation: Callable[[Evaluation, int], None] = lambda _, __: None,
) -> list[Evaluation]:
    """Search the parameters; return all evaluations in order.

    Every simulation is cached, so that an interrupted search resumes where it stopped.

    Parameters
    ----------
    base
        The model with its default parameters on the subject's connectome.
    target
        FC and FC dynamics to fit.
    settings
        Settings of the search.
    seed
        Seed of the search and of the noise.
    cache
        Folder of cached simulations.
    n_procs
        Number of processes; the result does not depend on it.
    on_evaluation
        Called with each evaluation and the total number of evaluations.
    """
    cache.mkdir(parents=True, exist_ok=True)
    n_grid = 0 if settings.search == "evolution" else settings.n_grid**2
    n_rounds = 0 if settings.search == "grid" else settings.generations + 1
    total = 1 + n_grid + n_rounds * settings.population
    evaluations: list[Evaluation] = []

    def evaluate(stage: str, candidates: Iterable[Mapping[str, float]]) -> list[float]:
        work = partial(_evaluate, (base, target, settings, seed), cache, stage)
        fitnesses = []
        for evaluation in mapped(work, candidates):
            evaluations.append(evaluation)
            on_evaluation(evaluation, total)
            fitnesses.append(evaluation.fitness)
        return fitnesses

    with parallel_map(n_procs) as mapped:
        evaluate("default", [{}])
        if n_grid:
            evaluate("grid", _grid_points(base.model_name, settings.n_grid))
        if n_rounds:
            start = _first_generation(base, evaluations, settings.population, seed)
            _evolve(base.model_name, start, settings.generations, seed, evaluate)
    return evaluations


def find_best(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the fittest evaluation; the first of equals."""
    return max(evaluations, key=lambda evaluation: evaluation.fitness)


def _parameter_bounds(model_name: str) -> tuple[tuple[str, ...], Array, Array]:
    ranges = NEUROLIB_MODELS[model_name].ranges
    bounds = np.array(list(ranges.values()), dtype=float)
    return tuple(ranges), bounds[:, 0], bounds[:, 1]


def _grid_points(model_name: str, n_points: int) -> list[dict[str, float]]:
    """Return the points of a grid over coupling and excitability, the first of the ranges."""
    names, low, high = _parameter_bounds(model_name)
    axes = [np.linspace(low[k], high[k], n_points) for k in (0, 1)]
    return [{names[0]: float(a), names[1]: float(b)} for a in axes[0] for b in axes[1]]


def _first_generation(
    base: BrainSystem, evaluations: Sequence[Evaluation], population: int, seed: int
) -> Array:
    """Return the fittest evaluations and, for the other half, points of a Latin hypercube."""
    names, low, high = _parameter_bounds(base.model_name)
    defaults = [base.parameter(name) for name in names]
    fittest = sorted(evaluations, key=lambda evaluation: -evaluation.fitness)[: population // 2]
    inherited = [
        [e.parameters.get(n, v) for n, v in zip(names, defaults, strict=True)] for e in fittest
    ]
    sampler = qmc.LatinHypercube(len(names), rng=np.random.default_rng(seed))
    sampled = qmc.scale(sampler.random(population - len(inherited)), low, high)
    start: Array = np.clip(np.concatenate([np.array(inherited), sampled]), low, high)
    return start


def _evolve(
    model_name: str,
    start: Array,
    generations: int,
    seed: int,
    evaluate: Callable[[str, Iterable[Mapping[str, float]]], list[float]],
) -> None:
    """Maximise the fitness by differential evolution (Storn and Price 1997)."""
    names, low, high = _parameter_bounds(model_name)
    generation = 0

    def workers(_: object, candidates: Iterable[Array]) -> list[float]:
        nonlocal generation
        parameter_sets = [dict(zip(names, map(float, point), strict=True)) for point in candidates]
        fitnesses = evaluate(f"evolution {generation}", parameter_sets)
        generation += 1
        return [-fitness for fitness in fitnesses]

    bounds = list(zip(low, high, strict=True))
    minimise_by_generations(workers, start, bounds, generations=generations, seed=seed)


def minimise_by_generations(
    workers: Callable[[object, Iterable[Array]], list[float]],
    start: Array,
    bounds: Sequence[tuple[float, float]],
    *,
    generations: int,
    seed: int,
    atol: float = 0.0,
) -> None:
    """Run differential evolution (Storn and Price 1997), a whole generation at a time.

    Parameters
    ----------
    workers
        Returns the values of the points of one generation; its first argument is not used.
    start
        Shape (population, n_parameters); the first generation.
    bounds
        Lowest and highest value of each parameter.
    generations
        Number of generations after the first one.
    seed
        Seed of the evolution.
    atol
        Spread of the values at or below which a population is final; if negative, none is.
    """
    differential_evolution(
        _unused_objective,
        list(bounds),
        init=start,
        maxiter=generations,
        tol=0,
        atol=atol,
        polish=False,
        updating="deferred",
        workers=workers,
        rng=np.random.default_rng(seed),
    )


def _unused_objective(_: Array) -> float:
    raise RuntimeError("candidates are evaluated by the workers")


Problem = tuple[BrainSystem, BrainTarget, BrainSettings, int]


def _evaluate(
    problem: Problem, cache: Path, stage: str, parameters: Mapping[str, float]
) -> Evaluation:
    path = cache / f"{_cache_key(problem, parameters)}.json"
    if path.is_file():
        return Evaluation(**{**json.loads(path.read_text(encoding="utf-8")), "stage": stage})
    base, target, settings, seed = problem
    system = base.with_parameters(parameters)
    n_samples = round(60 * settings.sim_minutes / target.tr)
    try:
        series = simulate_brain(system, n_samples=n_samples, seed=seed)
        evaluation = Evaluation(
            stage, dict(parameters), *score_fit(series, target, settings.fcd_weight)
        )
    except SurrogateError:
        evaluation = Evaluation(stage, dict(parameters), float("nan"), float("nan"), _FAILED)
    write_text(path, json.dumps(asdict(evaluation)))
    return evaluation


def score_fit(series: Array, target: BrainTarget, fcd_weight: float) -> tuple[float, float, float]:
    """Return r of FC, the distance of FC dynamics, and the fitness of simulated BOLD."""
    if (series.std(axis=0) < 1e-12).any():
        return float("nan"), float("nan"), _FAILED  # silent regions
    r = pearson(correlation(series), target.fc)
    distance = float(ks_2samp(fc_dynamics(series, target.tr), target.fcd).statistic)
    return r, distance, r - fcd_weight * distance


def _cache_key(problem: Problem, parameters: Mapping[str, float]) -> str:
    base, target, settings, seed = problem
    content = [base.model_name, dict(base.parameters), dict(parameters), base.tr]
    content += [settings.sim_minutes, settings.fcd_weight, seed]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for array in (base.connectome.weights, base.connectome.lengths, target.fc, target.fcd):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:20]
