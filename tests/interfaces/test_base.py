"""A fitted surrogate goes through a file and answers as before, whatever its family."""

import numpy as np
import pytest

from npi_bids.inference import train_runs
from npi_bids.interfaces.base import _load, _save, plain
from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import SURROGATES, TrainSettings
from npi_bids.surrogates.group_prior import GroupPrior
from npi_bids.surrogates.hybrid import Hybrid
from npi_bids.surrogates.ou import MOU
from npi_bids.surrogates.windows import cut_windows

CASES = {name: {} for name in SURROGATES} | {
    "var-adam": {"surrogate": "var", "var_fit": "adam"},
    "mou-whitened": {"surrogate": "mou", "whitening": "on"},
    "mlp-skip": {"surrogate": "mlp", "skip": True, "hidden": 5},
}


def settings_of(case, **further):
    options = {"surrogate": case, "epochs": 2, "n_seeds": 2, "device": "cpu"}
    return TrainSettings(**{**options, **CASES[case], **further})


def assert_equal(loaded, surrogate, history):
    assert type(loaded) is type(surrogate)
    np.testing.assert_array_equal(loaded.step(history), surrogate.step(history))
    for name in ("perturbed_change", "mean_jacobian"):
        arguments = (history, 0.7) if name == "perturbed_change" else (history,)
        one, other = (getattr(model, name)(*arguments) for model in (loaded, surrogate))
        np.testing.assert_array_equal(one, other)
    assert set(loaded.tensors()) == set(surrogate.tensors())


@pytest.mark.parametrize("case", CASES)
def test_a_surrogate_that_went_through_a_file_answers_the_same_to_the_last_bit(
    run, tmp_path, case
):
    trained = train_runs([run], train=settings_of(case))
    path = _save(trained.surrogate, tmp_path / "surrogate.safetensors", trained.settings)
    history = cut_windows([run], trained.surrogate.n_lags).history
    assert_equal(_load(path), trained.surrogate, history)


def test_a_hybrid_keeps_its_networks_and_its_choices(tmp_path):
    rng = np.random.default_rng(0)
    data = np.zeros((700, 6))
    for now in range(1, len(data)):  # far from linear, so that networks pay
        before = data[now - 1]
        data[now] = 0.4 * np.tanh(before) + 0.3 * np.abs(before[::-1])
        data[now] += 0.7 * rng.standard_normal(6)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    series = RegionSeries(data, tuple("ABCDEF"), 2.0, np.ones(700, dtype=bool))
    trained = train_runs([series], train=TrainSettings(epochs=20, n_seeds=2, device="cpu"))
    assert isinstance(trained.surrogate, Hybrid)
    loaded = _load(_save(trained.surrogate, tmp_path / "s.safetensors", trained.settings))
    history = cut_windows([series], trained.surrogate.n_lags).history
    assert_equal(loaded, trained.surrogate, history)
    assert len(loaded.members) == len(trained.surrogate.members) == 2
    assert loaded.residual.epochs == trained.surrogate.residual.epochs


def test_what_the_data_chose_comes_back_so_that_refits_make_the_same_choices(run, tmp_path):
    trained = train_runs([run], train=settings_of("mou"))
    loaded = _load(_save(trained.surrogate, tmp_path / "s.safetensors", trained.settings))
    assert isinstance(loaded, MOU)
    assert repr(loaded.choices) == repr(trained.surrogate.choices)
    assert loaded.penalty == trained.surrogate.penalty
    windows = cut_windows([run], loaded.n_lags)
    errors = (model.weight_errors(windows) for model in (loaded, trained.surrogate))
    np.testing.assert_array_equal(*errors)


def test_a_surrogate_shrunk_towards_a_group_comes_back_with_its_penalty(run, tmp_path):
    choices = train_runs([run], train=settings_of("mou")).surrogate.choices
    process = train_runs([run], train=settings_of("mou")).surrogate.process
    prior = GroupPrior(process, choices, process.transition, 3.0, linear_is_var=True)
    trained = train_runs([run], train=settings_of("hybrid"), prior=prior)
    loaded = _load(_save(trained.surrogate, tmp_path / "s.safetensors", trained.settings))
    assert loaded.penalty == trained.surrogate.penalty == 3.0
    assert_equal(loaded, trained.surrogate, cut_windows([run], loaded.n_lags).history)


def test_containers_of_traits_become_plain_ones():
    assert plain({"a": [(1, 2), {"b": 3}]}) == {"a": [[1, 2], {"b": 3}]}
