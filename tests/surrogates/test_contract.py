"""What every surrogate must do: each family of the registry, and one from another package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import npi_bids
from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian, perturb_each
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import SettingsError
from npi_bids.surrogates import families
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.storage import read_surrogate, save_surrogate
from npi_bids.surrogates.windows import (
    cut_windows,
    split_windows,
)
from tests.surrogates.toy_family import FAMILY

# These are found by solving a problem that has one answer, whatever the seed.
SOLVED = {(name, "ridge") for name in ("var", "mou", "hybrid", "rdcm", "toy")}

CASES = [(name, "ridge") for name in (*families.families(), FAMILY.name)] + [("var", "adam")]


@pytest.fixture(autouse=True)
def _with_toy(monkeypatch):
    monkeypatch.setattr(families, "_registered", [])
    families.register(FAMILY)


def make_settings(name, var_fit, seed=0):
    return TrainSettings(
        surrogate=name,
        var_fit=var_fit,
        n_lags=3,
        epochs=15,
        learning_rate=5e-3,
        seed=seed,
        device="cpu",
    )


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def settings(request):
    return make_settings(*request.param)


@pytest.fixture
def windows(run):
    return split_windows(cut_windows([run], 3), 0.8)


@pytest.fixture
def model(windows, settings):
    return fit_surrogate(*windows, settings)[0]


def test_step_has_one_row_per_window(model, windows):
    assert model.step(windows[1].history).shape == windows[1].target.shape
    assert (model.n_lags, model.n_regions) == (3, 4)


def test_step_treats_windows_independently(model, windows):
    history = windows[1].history[:20]
    alone = np.concatenate([model.step(row[None]) for row in history])
    np.testing.assert_allclose(model.step(history), alone, atol=1e-5)


def test_step_leaves_its_input_alone(model, windows):
    before = windows[1].history.copy()
    model.step(windows[1].history)
    infer_ec(model, windows[1].history, PerturbSettings())
    np.testing.assert_array_equal(windows[1].history, before)


def test_same_seed_gives_same_model(windows, settings, unrelated_seed):
    predictions = []
    for unrelated in (1, 2):
        torch.manual_seed(unrelated)  # the state of the world must not matter
        model, _ = fit_surrogate(*windows, settings)
        predictions.append(model.step(windows[1].history))
    np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize(("name", "var_fit"), sorted(set(CASES) - SOLVED))
def test_another_seed_gives_another_network(windows, name, var_fit):
    one, other = (
        fit_surrogate(*windows, make_settings(name, var_fit, seed))[0].step(windows[1].history)
        for seed in (0, 1)
    )
    assert np.abs(one - other).max() > 1e-6


def test_beats_persistence_on_a_linear_system(model, windows):
    _, valid = windows
    error = np.mean((model.step(valid.history) - valid.target) ** 2)
    persistence = np.mean((valid.history[:, -1] - valid.target) ** 2)
    assert error < 0.8 * persistence


@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_fast_perturbation_equals_a_plain_loop(model, windows, strength):
    history = windows[0].history
    sign = "positive" if strength > 0 else "negative"
    fast = infer_ec(model, history, PerturbSettings(strength=abs(strength), sign=sign))
    plain = perturb_each(model, history, strength) * np.sign(strength)
    np.testing.assert_allclose(fast, plain, atol=1e-5)


def test_jacobian_is_the_limit_of_small_perturbations(model, windows):
    history = windows[0].history[:200]
    jacobian = mean_jacobian(model, history)
    step = 1e-2
    up, down = (perturb_each(model, history, s) for s in (step, -step))
    np.testing.assert_allclose(jacobian, (up - down) / (2 * step), atol=5e-3)


def test_tensors_hold_every_fitted_number(model):
    tensors = model.tensors()
    assert tensors
    assert all(np.isfinite(value).all() for value in tensors.values())


def test_a_stored_surrogate_comes_back_to_the_last_bit(model, windows, settings, tmp_path):
    path = tmp_path / "x_surrogate.safetensors"
    save_surrogate(model, path, family=settings.surrogate, labels="ABCD", tr=2.0)
    stored = read_surrogate(path)
    loaded, history = npi_bids.load_surrogate(path), windows[0].history
    assert (stored.family, stored.labels, stored.tr) == (settings.surrogate, tuple("ABCD"), 2.0)
    assert (loaded.n_lags, loaded.n_regions) == (3, 4)
    np.testing.assert_array_equal(loaded.step(history), model.step(history))
    settings = PerturbSettings(strength=0.7, sign="both")
    maps = [infer_ec(some, history, settings) for some in (loaded, model)]
    np.testing.assert_array_equal(*maps)
    errors = [some.weight_errors(windows[0]) for some in (loaded, model)]
    assert (errors[0] is None) == (errors[1] is None)
    if errors[1] is not None:
        np.testing.assert_array_equal(*errors)


def test_every_family_is_shrunk_towards_a_group_or_refuses_in_words(settings):
    if families.family(settings.surrogate).prior is not None:
        assert families.prior_support(settings.surrogate).linear in (
            "process",
            "var",
            "better",
            "",
        )
        return
    with pytest.raises(SettingsError, match="cannot be pre-trained on a group or shrunk"):
        families.prior_support(settings.surrogate)


def test_every_family_words_its_methods_and_its_defaults(settings):
    family = families.family(settings.surrogate)
    words = family.describe([{"linear_is_var": 1.0, "epochs": 80}, {}])
    assert words.startswith(("It was a", "Its linear part was "))
    assert not words.endswith(".")
    assert set(family.resolve_defaults(settings)) == set(families.DEFAULTS)


def test_methods_text_states_in_how_many_models_the_prior_followed_partial_correlations():
    plain = {"linear_is_var": 0.0, "prior_concentration": 0.0, "epochs": 80}
    sparse = {**plain, "prior_concentration": 0.9}
    var, observed = {**sparse, "linear_is_var": 1.0}, {**sparse, "common_gain": 1.0}
    describe = families.family("mou").describe
    assert "Of the prior variance in 1 model, 90 %" in describe([plain, sparse, var, observed])
    assert "50 to 90 %" in describe([{**plain, "prior_concentration": 0.5}, sparse])
    assert "Of the prior variance, 90 %" in families.family("hybrid").describe([sparse])
    assert "partial correlations" not in describe([plain, var, observed])


def test_methods_text_states_how_many_linear_parts_were_corrected():
    describe = families.family("hybrid").describe
    corrected, plain = {"epochs": 80, "linear_correction": 1.0}, {"epochs": 80}
    assert "added to the linear part in 1 of 2 models" in describe([corrected, plain])
    assert describe([corrected]).endswith("added to the linear part")
    assert "linear map" not in describe([plain])


def test_methods_text_speaks_of_networks_only_where_they_were_trained():
    describe = families.family("hybrid").describe
    tried, imposed = {"epochs": 80, "residual_gain": 0.001}, {"epochs": 80}
    assert "trained on the residuals (Adam" in describe([tried, tried])
    assert "not the case in any model" in describe([tried, tried])
    assert "trained on the residuals of 2 models (Adam" in describe([tried, imposed, tried])
    assert "Networks" not in describe([imposed, imposed])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "Where held-out data supported it, an observation model"),
        ({"delays": "on"}, "Where it was imposed or held-out data supported it, an observation"),
        ({"delays": "on", "gain": "none"}, "Where it was imposed, an observation model"),
        ({"prior_penalty": 3.0}, "estimated from the spectra of the group (standard deviation"),
    ],
)
def test_methods_tell_why_there_are_delays(change, said):
    fitted = {"linear_is_var": 0.0, "common_gain": 0.0, "delay_sd": 0.5, "measurement_noise": 0.0}
    options = {"delays": "auto", "gain": "auto"}
    text = families.family("hybrid").describe([{**fitted, **options, **change}])
    assert said in text
    assert ("held-out data supported" in said) == ("held-out data supported" in text)
    assert ("prior_penalty" in change) != ("maximised the evidence" in text)


def test_log_has_one_error_per_epoch(windows, settings):
    _, log = fit_surrogate(*windows, settings)
    expected = 1 if (settings.surrogate, settings.var_fit) in SOLVED else 15
    assert len(log.train) == len(log.valid) == expected
    assert log.train[-1] <= log.train[0]
