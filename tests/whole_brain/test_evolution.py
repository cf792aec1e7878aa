"""Evolution of the parameters of a model."""

import numpy as np
import pytest
import scipy.optimize

from npi_bids.errors import SettingsError
from npi_bids.whole_brain.evolution import EvolutionSettings, Fitness, evolve, pareto_front
from npi_bids.whole_brain.exploration import Exploration, Point
from npi_bids.whole_brain.forward import ForwardModel, ForwardSettings
from npi_bids.whole_brain.parameters import Axis

pytest.importorskip("neurolib")
LEAKY = "tests.whole_brain.toy_model:LeakyModel"
SHORT = ForwardSettings(seconds=0.02, discard=0.1)
SIZE = EvolutionSettings(population=6, generations=5)
AXES = [Axis("x_ext", -1.0, 1.0), Axis("tau", 5.0, 15.0)]


@pytest.fixture
def exploration():
    return Exploration(ForwardModel(LEAKY), SHORT, ("max_rate", "mean_rate"))


def check_genealogy(individuals, population, generations):
    assert [i.number for i in individuals] == list(range(population * (generations + 1)))
    for individual in individuals:
        assert bool(individual.parents) == (individual.generation > 0)
        assert all(individuals[p].generation < individual.generation for p in individual.parents)
    assert sum(i.survived for i in individuals) == population


def test_differential_evolution_finds_the_highest_activity(exploration, tmp_path):
    fitness = Fitness({"max_rate": 1.0})
    individuals = evolve(exploration, AXES, fitness, SIZE, tmp_path)
    check_genealogy(individuals, 6, 5)
    best = max(individuals, key=lambda i: i.fitness)
    assert best.survived
    assert best.point.parameters["x_ext"] > 0.9
    first = max(i.fitness for i in individuals if i.generation == 0)
    assert best.fitness > first
    assert evolve(exploration, AXES, fitness, SIZE, tmp_path / "again") == individuals


def test_a_survivor_of_differential_evolution_is_fitter_than_its_parent(exploration, tmp_path):
    individuals = evolve(exploration, AXES, Fitness({"max_rate": 1.0}), SIZE, tmp_path)
    replaced = {p for i in individuals if i.survived for p in i.parents}
    assert replaced
    for individual in individuals:
        if individual.survived:
            assert all(individuals[p].fitness < individual.fitness for p in individual.parents)
            assert not any(individuals[p].survived for p in individual.parents)
    survivors = sorted(i.fitness for i in individuals if i.survived)
    assert survivors[0] >= sorted(i.fitness for i in individuals)[-len(individuals) // 2]


def test_the_final_population_and_every_parent_are_those_of_scipy(
    exploration, tmp_path, monkeypatch
):
    """The place of each individual follows scipy, which moves the best to the first place."""
    results, populations = [], []
    original = scipy.optimize.differential_evolution

    def spy(*args, **options):
        def note(intermediate_result):
            populations.append(intermediate_result.population.copy())

        results.append(original(*args, callback=note, **options))
        return results[-1]

    monkeypatch.setattr("npi_bids.whole_brain.search.differential_evolution", spy)
    individuals = evolve(exploration, AXES, Fitness({"max_rate": 1.0}), SIZE, tmp_path)

    def vector(individual):
        return tuple(individual.point.parameters.values())

    survivors = {vector(i) for i in individuals if i.survived}
    np.testing.assert_allclose(sorted(survivors), sorted(map(tuple, results[0].population)))
    for generation, population in enumerate(populations[:-1], start=2):
        children = [i for i in individuals if i.generation == generation]
        parents = [vector(individuals[i.parents[0]]) for i in children]
        np.testing.assert_allclose(parents, population)


def test_a_negative_weight_minimises(exploration, tmp_path):
    individuals = evolve(exploration, AXES, Fitness({"max_rate": -1.0}), SIZE, tmp_path)
    assert max(individuals, key=lambda i: i.fitness).point.parameters["x_ext"] < -0.9


def test_nsga2_spreads_over_the_front(exploration, tmp_path):
    pytest.importorskip("pymoo")
    # Activity that is high at its peak and low on average is wanted: both follow the input, so
    # that every value of it is on the front, and the time constant decides nothing.
    fitness = Fitness({"max_rate": 1.0, "mean_rate": -1.0})
    individuals = evolve(exploration, AXES[:1], fitness, SIZE, tmp_path, method="nsga2")
    check_genealogy(individuals, 6, 5)
    assert any(len(i.parents) == 2 for i in individuals)
    kept = [i.point.parameters["x_ext"] for i in individuals if i.survived]
    assert min(kept) < 0 < max(kept)
    again = evolve(exploration, AXES[:1], fitness, SIZE, tmp_path / "again", method="nsga2")
    assert again == individuals


def test_offspring_of_nsga2_lie_between_or_near_their_parents(exploration, tmp_path):
    pytest.importorskip("pymoo")
    fitness = Fitness({"max_rate": 1.0, "mean_rate": -1.0})
    individuals = evolve(exploration, AXES[:1], fitness, SIZE, tmp_path, method="nsga2")
    x = [i.point.parameters["x_ext"] for i in individuals]
    own = [min(abs(x[i.number] - x[p]) for p in i.parents) for i in individuals if i.parents]
    others = [np.median([abs(x[i.number] - other) for other in x]) for i in individuals]
    assert np.median(own) < 0.5 * np.median(others)


def individual(number, a, b):
    from npi_bids.whole_brain.evolution import Individual

    return Individual(number, 0, Point({}, {"max_rate": a, "mean_rate": b}), 0.0)


def test_the_front_holds_what_nothing_dominates():
    nan = float("nan")
    values = [(1.0, 5.0), (2.0, 6.0), (2.0, 5.0), (0.0, 1.0), (nan, 0.0)]
    population = [individual(k, *pair) for k, pair in enumerate(values)]
    front = pareto_front(population, Fitness({"max_rate": 1.0, "mean_rate": -1.0}))
    assert [i.number for i in front] == [2, 3]


@pytest.mark.parametrize("weights", [{}, {"rate": 1.0}, {"max_rate": 0.0}])
def test_a_fitness_without_terms_is_refused(weights):
    with pytest.raises(SettingsError, match="expected measures with weights"):
        Fitness(weights)


def test_nsga2_with_one_term_is_refused(exploration, tmp_path):
    with pytest.raises(SettingsError, match="at least two terms"):
        evolve(exploration, AXES, Fitness({"max_rate": 1.0}), SIZE, tmp_path, method="nsga2")
