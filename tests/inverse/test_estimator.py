"""Neural posterior estimation, on a problem whose posterior is known."""

import sys

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.inverse import estimator
from npi_bids.inverse.estimator import Ensemble, check_sbi, fit_summaries, train_ensemble
from npi_bids.surrogates.storage import read_tensors, write_tensors

NOISE = 0.1


def toy(n, seed):
    """Draw positions of two parameters; features know the first with an SD of .1, no more."""
    rng = np.random.default_rng(seed)
    positions = rng.random((n, 2))
    known = positions[:, :1] + NOISE * rng.standard_normal((n, 1))
    return positions, np.column_stack([np.exp(3 * known), rng.standard_normal((n, 2))])


@pytest.fixture(scope="module")
def ensemble():
    pytest.importorskip("sbi")
    return train_ensemble(*toy(1000, 0), n_members=2, seed=0)


@pytest.mark.slow
def test_the_known_parameter_is_recovered_with_its_uncertainty(ensemble):
    positions, features = toy(150, 1)
    samples = ensemble.sample(features, 200, seed=0)
    assert samples.shape == (200, 150, 2)
    error = samples[:, :, 0].mean(axis=0) - positions[:, 0]
    assert error.std() < 1.6 * NOISE
    assert samples[:, :, 0].std(axis=0).mean() == pytest.approx(0.09, abs=0.03)


@pytest.mark.slow
def test_the_posterior_of_an_unknown_parameter_is_its_prior(ensemble):
    samples = ensemble.sample(toy(50, 2)[1], 200, seed=0)[:, :, 1]
    assert samples.std() == pytest.approx(np.sqrt(1 / 12), abs=0.04)
    assert samples.mean(axis=0).std() < 0.14  # half the SD of the prior


@pytest.mark.slow
def test_no_sample_lies_outside_the_prior(ensemble):
    extreme = np.array([[1e9, -50.0, 50.0]])
    samples = ensemble.sample(extreme, 500, seed=0)
    assert samples.min() >= 0
    assert samples.max() <= 1


@pytest.mark.slow
def test_a_stored_ensemble_gives_the_same_bits(ensemble, tmp_path):
    path = tmp_path / "flows.safetensors"
    write_tensors(ensemble.tensors(), path)
    features = toy(5, 3)[1]
    again = Ensemble.from_tensors(read_tensors(path))
    assert np.array_equal(ensemble.sample(features, 50, 4), again.sample(features, 50, 4))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(ensemble):
    again = train_ensemble(*toy(1000, 0), n_members=2, seed=0)
    assert again.losses == ensemble.losses
    features = toy(5, 3)[1]
    assert np.array_equal(ensemble.sample(features, 50, 4), again.sample(features, 50, 4))


@pytest.mark.slow
def test_training_leaves_the_global_generator_and_the_folder_alone(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sbi")
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimator, "_MOST_EPOCHS", 1)
    before = torch.random.get_rng_state()
    train_ensemble(*toy(60, 0), n_members=1, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out


def test_a_failed_flow_is_dropped(monkeypatch, caplog):
    weights = {"a": np.zeros(1)}
    losses = iter([1.0, 4.0, float("nan"), 1.5])
    monkeypatch.setattr(estimator, "_train_flow", lambda *_: (weights, next(losses)))
    monkeypatch.setattr(estimator, "check_sbi", lambda: None)
    found = train_ensemble(*toy(60, 0), n_members=4, seed=0)
    assert len(found.members) == 2
    assert "2 of 4 flows failed" in caplog.text


def test_summaries_of_simulations_do_not_know_their_own_truth():
    """With useless features, leaving each simulation out gives estimates without correlation."""
    rng = np.random.default_rng(0)
    positions, features = rng.random((300, 1)), rng.standard_normal((300, 5))
    summaries, own = fit_summaries(positions, features)
    assert np.corrcoef(own[:, 0], positions[:, 0])[0, 1] < 0.1
    assert summaries.apply(features).shape == own.shape == (300, 6)


def test_outliers_are_mapped_to_the_ends_of_normal_scores():
    positions, features = toy(300, 0)
    summaries, _ = fit_summaries(positions, features)
    scores = summaries.normal_scores(np.array([[1e12, -1e12, 0.0]]))
    assert scores[0, :2] == pytest.approx([3.02, -3.02], abs=0.01)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sbi", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sbi" else 1)
    with pytest.raises(SettingsError, match=r"needs sbi, which is not installed; pip install "):
        check_sbi()
