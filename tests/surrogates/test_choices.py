"""Choices of fits, and the settings that impose the most frequent ones on every subject."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.choices import FitChoices, majority_settings, read_choices
from npi_bids.surrogates.hybrid import Hybrid
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


def test_each_choice_is_that_of_most_subjects():
    kinds = [FitChoices("process", whitened=True), FitChoices("process", whitened=True, gain=True),
             FitChoices("VAR", networks=True)]  # fmt: skip
    assert majority_settings(kinds) == {
        "linear_part": "process", "delays": "none", "gain": "none", "residual": "none",
        "whitening": "on",
    }  # fmt: skip
    assert majority_settings([FitChoices("VAR", networks=True)] * 2)["residual"] == "auto"
    assert (
        majority_settings([FitChoices("VAR"), FitChoices("process")])["linear_part"] == "process"
    )


def test_families_without_choices_have_no_settings():
    assert majority_settings([FitChoices("var"), FitChoices("var")]) == {}
    assert majority_settings([FitChoices("mou")]) == {"whitening": "off"}


def test_the_settings_are_fields_of_the_training():
    assert TrainSettings(**majority_settings([FitChoices("process"), FitChoices("VAR")]))


def test_a_passband_does_not_go_with_the_autoregression():
    with pytest.raises(SettingsError, match="Leave one of them out"):
        TrainSettings(surrogate="hybrid", linear_part="var", passband=("0.01", "0.1"))
