from __future__ import annotations

import json

import numpy as np
import pytest

from npi_bids.errors import NoUsableDataError
from npi_bids.whole_brain.connectome import random_connectome
from npi_bids.whole_brain.models import BrainSystem, simulate_brain
from npi_bids.whole_brain.search import (
    compute_target,
    fc_dynamics,
    find_best,
    score_fit,
    search_parameters,
)
from npi_bids.whole_brain.settings import BrainSettings

pytest.importorskip("neurolib")

SETTINGS = BrainSettings(model="hopf", n_grid=2, population=5, generations=1, sim_minutes=2.5)


@pytest.fixture(scope="module")
def plain():
    return BrainSystem(
        "hopf", random_connectome(6, np.random.default_rng(0)), tr=2.0, parameters={"dt": 0.2}
    )


@pytest.fixture(scope="module")
def target(plain):
    strong = plain.with_parameters({"K_gl": 2.5})
    return compute_target([simulate_brain(strong, n_samples=150, seed=9)], 2.0)


@pytest.fixture(scope="module")
def tried(plain, target, tmp_path_factory):
    return search_parameters(
        plain, target, SETTINGS, seed=0, cache=tmp_path_factory.mktemp("cache")
    )


def test_search_finds_a_better_fit_than_the_model_came_with(tried):
    assert [e.stage for e in tried[:6]] == ["default", *["grid"] * 4, "evolution 0"]
    assert len(tried) == 1 + 4 + 2 * 5
    best = find_best(tried)
    assert best.fitness > tried[0].fitness
    assert best.parameters["K_gl"] > 1.0  # the target was simulated with 2.5


def test_a_search_that_was_stopped_goes_on_and_ends_the_same(plain, target, tried, tmp_path):
    seen = []

    def stop(evaluation, total):
        seen.append(evaluation)
        assert total == 15
        if len(seen) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_parameters(plain, target, SETTINGS, seed=0, cache=tmp_path, on_evaluation=stop)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(kept) >= 6
    assert search_parameters(plain, target, SETTINGS, seed=0, cache=tmp_path) == tried
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_processes_do_not_change_the_search(plain, target, tried, tmp_path):
    assert search_parameters(plain, target, SETTINGS, seed=0, cache=tmp_path, n_procs=2) == tried


def test_parameters_that_run_away_lose_and_do_not_stop_the_search(target, plain, tmp_path):
    nothing = np.zeros((90, 6))
    assert score_fit(nothing, target, 0.25)[2] == -1
    same = score_fit(np.random.default_rng(0).standard_normal((90, 6)), target, 0.25)
    assert -1 < same[2] < 0.6


def test_fc_dynamics_compare_windows_that_do_not_overlap():
    rng = np.random.default_rng(0)
    pattern = rng.standard_normal((2, 5, 5))
    steady = rng.standard_normal((300, 5)) @ pattern[0]
    changing = np.concatenate([steady[:150], rng.standard_normal((150, 5)) @ pattern[1]])
    assert fc_dynamics(steady, 2.0).min() > fc_dynamics(changing, 2.0).min() + 0.3
    assert fc_dynamics(steady[:40], 2.0).size == 0
    with pytest.raises(NoUsableDataError, match="80 s; FC dynamics need more than 120 s"):
        compute_target([steady[:40]], 2.0)


def test_cache_holds_plain_json(plain, target, tmp_path):
    grid = BrainSettings(model="hopf", search="grid", n_grid=2, sim_minutes=2.5)
    search_parameters(plain, target, grid, seed=0, cache=tmp_path)
    stored = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(stored) == 5
    assert {"stage", "parameters", "r_fc", "ks_fcd", "fitness"} == set(stored[0])
