"""Choices of fits, and the settings that impose the most frequent ones on every subject."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.surrogates.base import TrainSettings, check_prior
from npi_bids.surrogates.choices import (
    FitChoices,
    imposing_settings,
    most_frequent,
    read_choices,
)
from npi_bids.surrogates.hybrid import Hybrid
from npi_bids.surrogates.kinds import name_hybrid_kind
from npi_bids.surrogates.ou import MOU
from npi_bids.surrogates.var import VAR
from tests.conftest import var_run
from tests.surrogates.ou_signals import fit

WEIGHTS = 0.5 * np.eye(4)
WEIGHTS[0, 1] = 0.4


def fit_series(**settings):
    series = var_run(WEIGHTS, 300, seed=0).data
    chosen = TrainSettings(surrogate="hybrid", device="cpu", epochs=5, n_seeds=1, **settings)
    return fit(series, chosen)


@pytest.mark.parametrize(
    ("linear_part", "surrogate", "kind"), [("process", MOU, "process"), ("var", VAR, "VAR")]
)
def test_the_linear_part_is_the_requested_one(linear_part, surrogate, kind):
    model, details, _ = fit_series(linear_part=linear_part, residual="none")
    assert type(model) is surrogate
    assert "residual_gain" not in details
    assert not isinstance(model, Hybrid)
    assert read_choices("hybrid", details).linear == kind


NOISE = np.random.default_rng(1).standard_normal((240, 11))


@pytest.mark.parametrize(
    "choices",
    [
        FitChoices("process", whitened=True),
        FitChoices("process", correction=True),
        FitChoices("VAR", networks=True),
        FitChoices("process", delays=True),
        FitChoices("process", gain=True),
        FitChoices("process", delays=True, gain=True, noise=True),
    ],
    ids=str,
)
def test_imposed_choices_are_made_though_the_data_do_not_ask_for_them(choices):
    settings = TrainSettings(device="cpu", epochs=3, n_seeds=1, **imposing_settings(choices))
    # White signals with a common autoregression support none of the choices but whitening.
    signals = NOISE.copy()
    for row in range(1, len(signals)):
        signals[row] += 0.5 * signals[row - 1]
    own = fit(signals, TrainSettings(device="cpu", epochs=3, n_seeds=1))[1]
    _, details, _ = fit(signals, settings)
    assert read_choices("hybrid", own) != choices or choices.whitened
    assert read_choices("hybrid", details) == choices


def test_choices_are_read_of_an_observed_process_without_its_whitening():
    details = {"whitening_order": 2.0, "common_gain": 1.0, "delay_sd": 0.4}
    assert read_choices("hybrid", details) == FitChoices("process", delays=True, gain=True)


def test_a_subject_has_one_vote_however_many_fits_it_has():
    var, process = FitChoices("VAR"), FitChoices("process")
    assert most_frequent({"01": [var] * 5, "02": [process], "03": [process]}) == process


def test_the_order_of_subjects_does_not_matter():
    fits = {"01": [FitChoices("VAR")], "02": [FitChoices("process", networks=True)],
            "03": [FitChoices("process", delays=True)]}  # fmt: skip
    backwards = dict(reversed(fits.items()))
    assert most_frequent(fits) == most_frequent(backwards)


def test_in_a_tie_the_simplest_choice_is_that_of_the_dataset():
    simple, gain = FitChoices("process"), FitChoices("process", gain=True)
    assert most_frequent({"01": [gain], "02": [simple]}) == simple
    assert most_frequent({"01": [gain], "02": [gain], "03": [simple]}) == gain


def test_families_without_choices_have_no_settings():
    assert imposing_settings(FitChoices("var")) == {}
    assert imposing_settings(FitChoices("mou")) == {"whitening": "off"}


@pytest.mark.parametrize(
    "settings",
    [
        {"linear_part": "var", "delays": "on"},
        {"residual": "networks", "gain": "on"},
        {"noise": "on", "gain": "none"},
        {"residual": "correction", "passband": ("0.01", "0.1")},
    ],
    ids=str,
)
def test_parts_that_exclude_each_other_are_refused(settings):
    with pytest.raises(SettingsError, match="Leave one of them out"):
        TrainSettings(surrogate="hybrid", **settings)


def test_delays_cannot_be_imposed_on_few_regions_and_the_log_says_so(caplog):
    with caplog.at_level("WARNING"):
        _, details, _ = fit_series(delays="on", residual="none")
    assert read_choices("hybrid", details).delays is False
    assert "--delays on is not used: the model has 4 regions" in caplog.text


@pytest.mark.parametrize("setting", [{"delays": "on"}, {"residual": "correction"}], ids=str)
def test_no_observation_model_is_imposed_on_a_fit_that_is_shrunk_towards_a_group(setting):
    with pytest.raises(SettingsError, match="no part of an observation model and no linear"):
        check_prior(TrainSettings(surrogate="hybrid", **setting))


def test_a_passband_does_not_go_with_the_autoregression():
    with pytest.raises(SettingsError, match="Leave one of them out"):
        TrainSettings(surrogate="hybrid", linear_part="var", passband=("0.01", "0.1"))


def test_fits_have_the_same_kind_if_and_only_if_they_made_the_same_choices():
    parts = {
        "delay_sd": 0.5, "common_gain": 1.0, "measurement_noise": 0.1, "response_width_sd": 0.1,
        "passband": [0.01, 0.1],
    }  # fmt: skip
    trainings = [
        {"common_gain": 0.0, **{name: parts[name] for name in chosen}}
        for n in range(len(parts) + 1)
        for chosen in combinations(parts, n)
    ]
    trainings += [{"linear_is_var": 1.0}, {"residual_networks": 4.0}, {"whitening_order": 2.0}]
    pairs = [(read_choices("hybrid", one), name_hybrid_kind(one)) for one in trainings]
    assert len(set(pairs)) == len({choices for choices, _ in pairs})
    assert len(set(pairs)) == len({kind for _, kind in pairs})
    assert len({kind for _, kind in pairs}) == 2**4 + 3
