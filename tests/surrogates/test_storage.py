"""Surrogates on disk: what is loaded is what was saved, and what cannot be loaded says why."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from npi_bids import load_surrogate
from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import InputDataError
from npi_bids.inference import train_runs
from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.families import families
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.group_prior import GroupPrior
from npi_bids.surrogates.hybrid import Hybrid
from npi_bids.surrogates.networks import fit_network
from npi_bids.surrogates.ou import MOU, fit_process
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.residual_networks import subtract_prediction, zero_mlp
from npi_bids.surrogates.storage import (
    PretrainedLinks,
    read_pretrained,
    read_tensors,
    save_surrogate,
    write_pretrained,
    write_tensors,
)
from npi_bids.surrogates.var import ridge_var
from npi_bids.surrogates.windows import cut_windows
from tests.surrogates.group_of_subjects import LABELS, run_of, subjects


@pytest.fixture
def windows(run):
    return cut_windows([run], 4)


@pytest.fixture
def saved(tmp_path, windows):
    path = tmp_path / "x_surrogate.safetensors"
    model, _ = ridge_var(windows)
    save_surrogate(model, path, family="var", labels="ABCD", tr=2.0)
    return path


def with_about(path, **changes):
    """Write the file again with other words in its metadata."""
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["npi_bids"])
    write_tensors(read_tensors(path), path, {"npi_bids": json.dumps({**about, **changes})})


@pytest.mark.parametrize("linear", ["process", "var"])
@pytest.mark.parametrize("skip", [True, False])
def test_a_hybrid_with_networks_comes_back_to_the_last_bit(tmp_path, windows, linear, skip):
    settings = resolve(
        TrainSettings(epochs=4, patience=0, n_seeds=3, skip=skip, hidden=5, device="cpu")
    )
    part = fit_process(windows, "auto")[0] if linear == "process" else ridge_var(windows)[0]
    left = subtract_prediction(part, windows)
    residual, _ = fit_network(zero_mlp, left, left.take(slice(0, 0)), settings)
    model = Hybrid(part, residual)
    save_surrogate(model, tmp_path / "x.safetensors", family="hybrid", labels="ABCD", tr=2.0)
    loaded = load_surrogate(tmp_path / "x.safetensors")
    assert np.abs(residual.step(left.history)).max() > 1e-4  # the networks say something
    np.testing.assert_array_equal(loaded.step(windows.history), model.step(windows.history))
    settings = PerturbSettings(strength=0.5)
    maps = [infer_ec(some, windows.history, settings) for some in (loaded, model)]
    np.testing.assert_array_equal(*maps)
    assert len(loaded.members) == len(model.members) == 3


def test_loading_moves_no_random_generator(tmp_path, windows):
    settings = resolve(TrainSettings(surrogate="rnn", epochs=1, n_lags=4, device="cpu"))
    model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings)
    save_surrogate(model, tmp_path / "x.safetensors", family="rnn", labels="ABCD", tr=2.0)
    before = torch.get_rng_state()
    load_surrogate(tmp_path / "x.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"family": "wbm"},
            "holds the parameters of a whole-brain model, which is not a one-step",
        ),
        ({"family": "gru"}, "family gru, which is not installed; available are hybrid, mou, var"),
        ({"format": 9}, "was written by another version of npi-bids"),
        ({"facts": {}}, "is damaged: the metadata of its var surrogate do not match its tensors"),
    ],
)
def test_what_cannot_be_loaded_says_why(saved, changes, words):
    with_about(saved, **changes)
    with pytest.raises(InputDataError, match=words):
        load_surrogate(saved)


def test_a_file_of_another_program_is_refused(tmp_path):
    write_tensors({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputDataError, match="does not state which surrogate it contains"):
        load_surrogate(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"12345")
    with pytest.raises(InputDataError, match="cannot be read as safetensors"):
        load_surrogate(tmp_path / "cut.safetensors")
    with pytest.raises(InputDataError, match=r"cannot be read as safetensors.*No such file"):
        load_surrogate(tmp_path / "none.safetensors")


def test_names_that_do_not_fit_the_numbers_are_damage(saved):
    with_about(saved, labels=["A", "B"])
    with pytest.raises(InputDataError, match="2 names of regions for 4 regions"):
        load_surrogate(saved)


CASES = {name: {} for name in families()} | {
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


def through_file(trained, folder):
    labels = [f"R{number}" for number in range(trained.surrogate.n_regions)]
    path = folder / "s.safetensors"
    save_surrogate(
        trained.surrogate, path, family=trained.settings.surrogate, labels=labels, tr=2.0
    )
    return load_surrogate(path)


@pytest.mark.parametrize("case", CASES)
def test_a_surrogate_that_went_through_a_file_answers_the_same_to_the_last_bit(
    run, tmp_path, case
):
    trained = train_runs([run], train=settings_of(case))
    history = cut_windows([run], trained.surrogate.n_lags).history
    assert_equal(through_file(trained, tmp_path), trained.surrogate, history)


def test_a_hybrid_keeps_its_networks_and_its_choices(tmp_path):
    rng = np.random.default_rng(0)
    data = np.zeros((1500, 6))
    for now in range(1, len(data)):  # far from linear, so that networks pay
        before = data[now - 1]
        data[now] = 0.4 * np.tanh(before) + 0.5 * np.abs(before[::-1])
        data[now] += 0.7 * rng.standard_normal(6)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    series = RegionSeries(data, tuple("ABCDEF"), 2.0, np.ones(1500, dtype=bool))
    trained = train_runs([series], train=TrainSettings(epochs=20, n_seeds=2, device="cpu"))
    assert isinstance(trained.surrogate, Hybrid)
    loaded = through_file(trained, tmp_path)
    history = cut_windows([series], trained.surrogate.n_lags).history
    assert_equal(loaded, trained.surrogate, history)
    assert len(loaded.members) == len(trained.surrogate.members) == 2
    assert loaded.residual.epochs == trained.surrogate.residual.epochs


def test_what_the_data_chose_comes_back_so_that_refits_make_the_same_choices(run, tmp_path):
    trained = train_runs([run], train=settings_of("mou"))
    loaded = through_file(trained, tmp_path)
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
    loaded = through_file(trained, tmp_path)
    assert loaded.penalty == trained.surrogate.penalty == 3.0
    assert_equal(loaded, trained.surrogate, cut_windows([run], loaded.n_lags).history)


def test_weights_survive_the_disk(tmp_path):
    tensors = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.float32([1.5])}
    write_tensors(tensors, tmp_path / "w.safetensors")
    back = read_tensors(tmp_path / "w.safetensors")
    for name, value in tensors.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].dtype == value.dtype


@pytest.mark.parametrize("surrogate", ["hybrid", "mou", "var", "mlp"])
def test_a_shrunken_surrogate_comes_back_to_the_last_bit(surrogate, tmp_path):
    settings = resolve(TrainSettings(surrogate=surrogate, epochs=2, n_lags=2, device="cpu"))
    prior = pretrain(subjects(), settings).build_prior("x")
    windows = cut_windows([run_of(0)], 2)
    model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings, prior=prior)
    save_surrogate(model, tmp_path / "x.safetensors", family=surrogate, labels=LABELS, tr=1.0)
    loaded = load_surrogate(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(loaded.step(windows.history), model.step(windows.history))


def test_a_group_of_an_earlier_version_is_refused_with_the_reason(pretrained, tmp_path):
    path = tmp_path / "group_surrogate.safetensors"
    settings = resolve(TrainSettings(surrogate="mou"))
    write_pretrained(
        pretrained, path, labels=LABELS, tr=2.0, settings=settings, links=PretrainedLinks()
    )
    stored = read_pretrained(path, LABELS, 2.0, "mou")
    assert stored.variances == pretrained.variances
    content = json.loads(path.with_suffix(".json").read_text())
    del content["Scheme"], content["VarianceBetweenSubjects"]
    path.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(InputDataError, match=r"made by an earlier version .* pretrain' again"):
        read_pretrained(path, LABELS, 2.0, "mou")
