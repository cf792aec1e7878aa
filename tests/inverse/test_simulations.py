"""Simulated subjects."""

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.errors import SurrogateError
from npi_bids.inverse import simulations
from npi_bids.inverse.observation import scale_run
from npi_bids.inverse.simulations import (
    Experiment,
    Simulations,
    run_simulations,
    split_halves,
    usable_features,
)
from tests.inverse.small import connectome, experiment, observation


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(simulations, "_MOST_SIMULATIONS", 4)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        for name in Simulations.__slots__
    )


def test_an_interrupted_run_resumes_and_gives_the_same_bits(tmp_path):
    whole = run_simulations(experiment(), 10, tmp_path / "one")
    run_simulations(experiment(), 4, tmp_path / "other")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "other").rglob("*.npz")}
    resumed = run_simulations(experiment(), 10, tmp_path / "other")
    assert len(whole) == 10
    assert same(whole, resumed)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_progress_counts_simulations(tmp_path):
    counted = []
    run_simulations(experiment(), 10, tmp_path, on_batch=lambda *n: counted.append(n))
    assert counted == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.undo()  # other processes have batches of the usual size
    one = run_simulations(experiment(), 60, tmp_path / "one")
    two = run_simulations(experiment(), 60, tmp_path / "two", n_procs=2)
    assert same(one, two)


def test_a_damaged_file_is_simulated_again(tmp_path, caplog):
    first = run_simulations(experiment(), 4, tmp_path)
    path = next(tmp_path.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    assert same(first, run_simulations(experiment(), 4, tmp_path))
    assert "cannot be read and is simulated again" in caplog.text


def test_the_hash_knows_what_determines_simulations():
    transposed = Experiment("hopf", connectome().T, observation())
    keep = np.arange(200) > 5
    censored = Experiment("hopf", connectome(), observation(keep=keep))
    different = (
        experiment(), experiment(seed=1), experiment("regional"), experiment(model="rww"),
        transposed, censored,
    )  # fmt: skip
    assert len({item.digest() for item in different}) == len(different)
    assert experiment().digest() == experiment().digest()


def test_failed_simulations_are_left_out_and_counted(tmp_path, monkeypatch, caplog):
    real = Experiment.simulate

    def fail_first(self, positions, rng):
        runs = real(self, positions, rng)
        silent = runs[0][0].data.copy()
        silent[:, 0] = np.nan
        runs[0] = [type(runs[0][0])(silent, runs[0][0].position)]
        return runs

    monkeypatch.setattr(Experiment, "simulate", fail_first)
    found = run_simulations(experiment(), 8, tmp_path)
    assert len(found) == 6
    assert "2 of 8 simulations diverged" in caplog.text
    assert np.isfinite(found.features).all()


def test_a_model_that_always_fails_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(simulations, "compute_features", lambda *_, **__: np.full(54, np.nan))
    with pytest.raises(SurrogateError, match="4 of 4 simulations"):
        run_simulations(experiment(), 4, tmp_path)


def test_features_tell_coupling(tmp_path):
    """A sanity check of the whole chain: FC grows with coupling."""
    rng = np.random.default_rng(0)
    positions = np.full((8, len(experiment().prior)), 0.5)
    positions[:, -1] = 0.05  # hardly any measurement noise
    positions[:4, 0], positions[4:, 0] = 0.02, 0.9
    names = list(experiment().feature_names)
    fc = [
        experiment().compute_features(runs)[names.index("fc_mean")]
        for runs in experiment().simulate(positions, rng)
    ]
    assert max(fc[:4]) < min(fc[4:])


def test_features_that_do_not_vary_are_not_used(tmp_path):
    found = run_simulations(experiment(), 8, tmp_path)
    names = experiment().feature_names
    features = found.features.copy()
    features[:, names.index("fc_sd")] = 1.0
    constant = replace(found, features=features)
    usable = usable_features(constant)
    assert not usable[names.index("fc_sd")]
    assert usable[names.index("fc_mean")]


def test_halves_hold_the_samples_of_their_times():
    run = scale_run(np.random.default_rng(0).standard_normal((90, 3)), np.r_[0:30, 40:100])
    (first,), (second,) = split_halves([run])
    assert list(first.position[-11:]) == [29, *range(40, 50)]
    assert list(second.position) == list(range(50))
    assert first.data.mean() == pytest.approx(0, abs=1e-12)
