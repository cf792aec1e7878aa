"""Evolution of the parameters of a model: one fitness, or several objectives.

Differential evolution (Storn and Price 1997, doi:10.1023/A:1008202821328) maximises the weighted
sum of the terms of the fitness; NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017) finds the
parameter sets of which none is better in one term without being worse in another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc

from npi_bids.errors import SettingsError
from npi_bids.records import Array
from npi_bids.settings import check_options, option
from npi_bids.whole_brain.exploration import MEASURES, Exploration, Point, evaluator
from npi_bids.whole_brain.parameters import Axis
from npi_bids.whole_brain.search import minimise_by_generations
from npi_bids.wording import join_items

METHODS = ("de", "nsga2")
Evaluate = Callable[[Sequence[Mapping[str, float]]], Iterator[Point]]
_FAILED = 1e9  # objective of a simulation that diverged, worse than any other


@dataclass(frozen=True, slots=True, kw_only=True)
class EvolutionSettings:
    """Size and length of an evolution."""

    population: int = option(20, "parameter sets per generation", at_least=5, metavar="N")
    generations: int = option(10, "generations after the first", above=0, metavar="N")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Individual:
    """One parameter set of an evolution.

    Attributes
    ----------
    number, generation
        Numbers from 0.
    point
        Parameters and measures.
    fitness
        Weighted sum of the terms; NaN where the simulation diverged.
    parents
        Numbers of its parents: in differential evolution the one that it replaces if it is fitter,
        in NSGA-II the two that were crossed, none in the first generation.
    survived
        Whether it belongs to the final population.
    """

    number: int
    generation: int
    point: Point
    fitness: float
    parents: tuple[int, ...] = ()
    survived: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Fitness:
    """What is maximised: the terms by name of their measures, with weights.

    A positive weight maximises its measure and a negative one minimises it.
    """

    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.weights if name not in MEASURES]
        zero = [name for name, weight in self.weights.items() if weight == 0]
        if unknown or zero or not self.weights:
            raise SettingsError(
                f"--fitness {join_items(unknown or zero)} cannot be used; expected measures with "
                f"weights other than 0, such as fc_fit=1 fcd=-0.25, of {join_items(MEASURES)}."
            )

    def total(self, point: Point) -> float:
        """Return the weighted sum of the terms."""
        return float(sum(weight * point.measures[n] for n, weight in self.weights.items()))

    def objectives(self, point: Point) -> list[float]:
        """Return the terms, each to be minimised."""
        terms = [-weight * point.measures[name] for name, weight in self.weights.items()]
        return [term if np.isfinite(term) else _FAILED for term in terms]


def evolve(  # noqa: PLR0913 (what to evolve, and where and how)
    exploration: Exploration,
    axes: Sequence[Axis],
    fitness: Fitness,
    settings: EvolutionSettings,
    cache: Path,
    *,
    method: str = "de",
    n_procs: int = 1,
    on_point: Callable[[int, int], None] = lambda _, __: None,
) -> list[Individual]:
    """Evolve the parameters; return all individuals in the order of their simulation.

    Parameters
    ----------
    exploration
        What is simulated; its measures include the terms of the fitness, and its seed is also
        that of the evolution.
    axes
        Parameters and their ranges.
    fitness
        What is maximised.
    settings
        Size and length.
    cache, n_procs
        See :func:`~npi_bids.whole_brain.exploration.evaluator`.
    method
        One of ``METHODS``.
    on_point
        Called with the number of finished simulations and of all.

    Raises
    ------
    SettingsError
        NSGA-II is requested, and pymoo is not installed; or it has a single term.
    """
    if method == "nsga2" and len(fitness.weights) < 2:
        raise SettingsError(
            "NSGA-II needs at least two terms, such as --fitness fc_fit=1 fcd=-1; use --evolve de "
            "for one."
        )
    total = settings.population * (settings.generations + 1)
    exploration.model.with_parameters({a.name: a.low for a in axes}).create(0)
    record = _Record(axes, fitness, lambda done: on_point(done, total))
    with evaluator(exploration, cache, n_procs) as evaluate:
        run = _evolve_one if method == "de" else _evolve_several
        survivors = run(record, settings, exploration.seed, evaluate)
    return [
        Individual(i.number, i.generation, i.point, i.fitness, i.parents, i.number in survivors)
        for i in record.individuals
    ]


class _Record:
    """All individuals so far."""

    def __init__(
        self, axes: Sequence[Axis], fitness: Fitness, on_point: Callable[[int], None]
    ) -> None:
        self.axes, self.fitness, self.on_point = tuple(axes), fitness, on_point
        self.individuals: list[Individual] = []
        self.generation = 0

    def add_generation(
        self, vectors: Iterable[Array], parents: Sequence[tuple[int, ...]], evaluate: Evaluate
    ) -> list[Individual]:
        """Simulate one generation; return its individuals."""
        names = [axis.name for axis in self.axes]
        candidates = [dict(zip(names, map(float, v), strict=True)) for v in vectors]
        added = []
        for point, pair in zip(evaluate(candidates), parents, strict=True):
            number = len(self.individuals)
            total = self.fitness.total(point)
            added.append(Individual(number, self.generation, point, total, pair))
            self.individuals.append(added[-1])
            self.on_point(number + 1)
        self.generation += 1
        return added


def _first_generation(record: _Record, settings: EvolutionSettings, seed: int) -> Array:
    """Return points of a Latin hypercube."""
    sampler = qmc.LatinHypercube(len(record.axes), rng=np.random.default_rng(seed))
    low, high = ([getattr(axis, end) for axis in record.axes] for end in ("low", "high"))
    start: Array = qmc.scale(sampler.random(settings.population), low, high)
    return start


def _evolve_one(
    record: _Record, settings: EvolutionSettings, seed: int, evaluate: Evaluate
) -> set[int]:
    """Maximise the fitness by differential evolution; return the final population."""
    slots: list[tuple[float, int]] = []  # energy and number of the individual in each place

    def workers(_: object, vectors: Iterable[Array]) -> list[float]:
        parents: list[tuple[int, ...]] = [(number,) for _, number in slots]
        parents = parents or [()] * settings.population
        added = record.add_generation(vectors, parents, evaluate)
        energies = [-i.fitness if np.isfinite(i.fitness) else _FAILED for i in added]
        trials = list(zip(energies, (i.number for i in added), strict=True))
        # As scipy does: a trial replaces its parent unless it is worse, and the best comes first.
        slots[:] = [
            trial if trial[0] <= slot[0] else slot
            for trial, slot in zip(trials, slots or trials, strict=True)
        ]
        best = int(np.argmin([energy for energy, _ in slots]))
        slots[0], slots[best] = slots[best], slots[0]
        return energies

    minimise_by_generations(
        workers,
        _first_generation(record, settings, seed),
        [(axis.low, axis.high) for axis in record.axes],
        generations=settings.generations,
        seed=seed,
        atol=-1,  # a population of equals goes on, so that the length is what was requested
    )
    return {number for _, number in slots}


def _evolve_several(
    record: _Record, settings: EvolutionSettings, seed: int, evaluate: Evaluate
) -> set[int]:
    """Find the Pareto front by NSGA-II; return the final population."""
    algorithm, crossed = _make_nsga2(record, settings, seed)
    for _ in range(settings.generations + 1):
        offspring = algorithm.ask()
        parents = [crossed(individual) for individual in offspring]
        added = record.add_generation([i.X for i in offspring], parents, evaluate)
        for individual, simulated in zip(offspring, added, strict=True):
            individual.set("F", np.array(record.fitness.objectives(simulated.point)))
            individual.evaluated.add("F")
            individual.data["number"] = simulated.number
        algorithm.tell(infills=offspring)
    return {individual.data["number"] for individual in algorithm.pop}


def _make_nsga2(
    record: _Record, settings: EvolutionSettings, seed: int
) -> tuple[Any, Callable[[Any], tuple[int, ...]]]:
    """Return pymoo's NSGA-II, and a function that returns the numbers of parents."""
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
        from pymoo.operators.crossover.sbx import SBX
    except ImportError as error:
        raise SettingsError(
            f"NSGA-II needs pymoo ({error}); pip install 'npi-bids[evolution]', or use "
            "--evolve de."
        ) from error

    class RecordingSBX(SBX):  # type: ignore[misc]  # pymoo is not typed
        """Crossover that tells offspring the numbers of their parents."""

        def do(self, problem: Any, pop: Any, parents: Any = None, **options: Any) -> Any:
            offspring = super().do(problem, pop, parents, **options)
            pairs = [[pop[k] for k in pair] for pair in parents] if parents is not None else pop
            for position, child in enumerate(offspring):
                pair = pairs[position % len(pairs)]
                child.data["parents"] = tuple(sorted({p.data["number"] for p in pair}))
            return offspring

    low, high = ([getattr(axis, end) for axis in record.axes] for end in ("low", "high"))
    algorithm = NSGA2(
        pop_size=settings.population,
        sampling=_first_generation(record, settings, seed),
        crossover=RecordingSBX(eta=15, prob=0.9),
        # Offspring that equal others would make generations smaller.
        eliminate_duplicates=False,
    )
    problem = Problem(
        n_var=len(record.axes), n_obj=len(record.fitness.weights), xl=np.array(low),
        xu=np.array(high),
    )  # fmt: skip
    algorithm.setup(problem, termination=NoTermination(), seed=seed, verbose=False)
    return algorithm, lambda individual: tuple(individual.data.get("parents", ()))


def pareto_front(individuals: Sequence[Individual], fitness: Fitness) -> list[Individual]:
    """Return the individuals of which none is better in one term and not worse in another."""
    values = np.array([fitness.objectives(i.point) for i in individuals])
    front = []
    for own, individual in zip(values, individuals, strict=True):
        dominated = (values <= own).all(axis=1) & (values < own).any(axis=1)
        if not dominated.any() and (own < _FAILED).all():
            front.append(individual)
    return front
