"""A passband that is named is used, or it is said that it is not."""

import logging

import numpy as np
import pytest

from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.inference import ec
from npi_bids.surrogates import hybrid, observed
from npi_bids.surrogates.base import TrainSettings, check_prior, describe_training
from npi_bids.surrogates.spectral_selection import check_passband, check_passband_before
from tests.surrogates.observed_process import run_of

BAND = ("0.01", "0.1")


@pytest.mark.parametrize(
    ("options", "said"),
    [({"surrogate": "var"}, "read by --surrogate hybrid alone, not by var"),
     ({"surrogate": "mlp", "n_lags": 3}, "not by mlp"),
     ({"delays": "none", "gain": "none"}, "with --delays none and --gain none it would not be"),
     ({"delays": "possible", "gain": "none"}, "with --delays possible and --gain none it would")],
)  # fmt: skip
def test_options_that_exclude_a_passband_are_refused(options, said):
    with pytest.raises(SettingsError, match=said):
        TrainSettings(passband=BAND, **options)
    TrainSettings(**options)  # without a passband they are sound


@pytest.mark.parametrize("options", [{}, {"delays": "none"}, {"gain": "none"}])
def test_options_that_read_a_passband_are_accepted(options):
    assert TrainSettings(passband=BAND, **options).passband == BAND


def test_a_group_prior_refuses_a_passband():
    check_prior(TrainSettings())
    with pytest.raises(SettingsError, match="not read by surrogates that are pre-trained"):
        check_prior(TrainSettings(passband=BAND))


def test_sidecars_hold_the_passband_in_numbers():
    log = ec(noise(4, 150), tr=1.0, device="cpu", surrogate="mou").log
    assert describe_training(TrainSettings(passband=BAND), log)["passband"] == [0.01, 0.1]
    assert describe_training(TrainSettings(), log)["passband"] == "n/a"


def noise(n_regions, n_samples):
    return np.random.default_rng(3).standard_normal((n_samples, n_regions))


def test_few_regions_leave_a_passband_unused_and_say_so(caplog):
    with caplog.at_level(logging.WARNING, "npi_bids"):
        result = ec(noise(4, 200), tr=1.0, device="cpu", passband=BAND)
    assert any("the model has 4 regions" in message for message in caplog.messages)
    assert dict(result.log.details)["passband_used"] == 0
    assert any("--passband 0.01 0.1 is not used" in hazard for hazard in result.hazards)


def test_a_passband_that_cannot_be_fitted_is_unused_and_says_so(caplog, monkeypatch):
    def fail(*_, **__):
        raise SurrogateError("it is not stable")

    monkeypatch.setattr(observed, "fit_observed", fail)
    with caplog.at_level(logging.WARNING, "npi_bids"):
        result = ec(noise(10, 300), tr=1.0, device="cpu", passband=("0.01", "0.2"), epochs=1)
    assert any("no process fits these frequencies alone: it is not stable" in message
               for message in caplog.messages)  # fmt: skip
    assert dict(result.log.details)["passband_used"] == 0
    assert any("no process fits these frequencies alone" in hazard for hazard in result.hazards)


def test_a_passband_that_is_used_leaves_no_hazard():
    result = ec(noise(10, 300), tr=1.0, device="cpu", passband=("0.01", "0.25"), epochs=1)
    assert dict(result.log.details)["passband_used"] == 1
    assert not any("passband" in hazard for hazard in result.hazards)
    assert result.quality.band_share == pytest.approx(0.48, abs=0.07)  # 0.24 of 0.5 Hz


def test_a_narrow_passband_is_refused_before_anything_is_fitted(monkeypatch):
    monkeypatch.setattr(hybrid, "choose_process", None)
    with pytest.raises(SettingsError, match=r"too narrow for TR 2 s: it holds \d of the"):
        ec(noise(10, 300), tr=2.0, device="cpu", passband=("0.01", "0.03"))


@pytest.mark.parametrize("tr", [0.7, 2.0])
@pytest.mark.parametrize("n_samples", [200, 900])
def test_what_headers_refuse_the_signals_would_refuse_too(tr, n_samples):
    run = run_of(noise(10, n_samples))
    n_refused = 0
    for width in np.arange(0.01, 0.5 / tr, 0.01):
        band = (0.01, 0.01 + width)
        try:
            check_passband_before(band, tr, n_samples, 10)
        except SettingsError:
            n_refused += 1
            with pytest.raises(SettingsError):
                check_passband([run], tr, band)
    assert n_refused
    check_passband([run], tr, (0.0, 0.5 / tr))


def test_a_passband_above_the_nyquist_frequency_is_refused():
    with pytest.raises(SettingsError, match="0 of the"):
        check_passband_before((0.3, 0.4), 2.0, 400, 20)
