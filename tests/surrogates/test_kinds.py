"""The kind of model that was fitted is said in a sentence and in a few words."""

import numpy as np
import pytest

from npi_bids.inference import ec
from npi_bids.surrogates.base import describe_training
from npi_bids.surrogates.families import BUILT_IN, describe_kind, name_kind
from npi_bids.surrogates.kinds import named_passband

PLAIN = {"linear_is_var": 0.0, "whitening_order": 0.0, "memory_order": 0.0, "residual_gain": 0.0}
OBSERVED = {"common_gain": 0.0, "delay_sd": 0.0, "measurement_noise": 0.0}


@pytest.mark.parametrize(
    ("training", "said", "name"),
    [
        (PLAIN, "process; it is linear, as networks did not improve", "process"),
        (PLAIN | {"linear_is_var": 1.0}, "a ridge VAR with one lag", "VAR"),
        (PLAIN | {"whitening_order": 2.0}, "autoregression of 2 samples", "process, whitened"),
        (PLAIN | {"linear_correction": 1.0}, "plus an early-stopped linear correction",
         "process, correction"),
        (PLAIN | {"residual_networks": 4.0}, "plus 4 networks, so that effects depend",
         "process, networks"),
        (PLAIN | OBSERVED | {"delay_sd": 0.84}, "through a delay of each region (SD 0.8 s)",
         "process, delays"),
        (PLAIN | OBSERVED | {"common_gain": 1.0, "measurement_noise": 0.03},
         "a gain over frequency that all regions share, white measurement noise (3 %",
         "process, gain, noise"),
        (PLAIN | OBSERVED | {"common_gain": 1.0, "passband": [0.01, 0.1]},
         "frequencies from 0.01 to 0.1 Hz alone", "process, gain, passband"),
    ],
)  # fmt: skip
def test_every_choice_of_the_default_is_said(training, said, name):
    sentence = describe_kind("hybrid", training)
    assert sentence.startswith("The surrogate is a")
    assert sentence.endswith(".")
    assert said in sentence
    assert name_kind("hybrid", training) == name


def test_whitening_is_not_said_of_models_that_do_not_whiten():
    for other in ({"linear_is_var": 1.0}, OBSERVED | {"common_gain": 1.0}):
        training = PLAIN | {"whitening_order": 2.0} | other
        assert "whiten" not in describe_kind("hybrid", training) + name_kind("hybrid", training)


def test_shrinkage_towards_a_group_is_said():
    assert describe_kind("mou", PLAIN, shrunk=True).endswith("; it is shrunk towards that of a "
                                                             "group.")  # fmt: skip


@pytest.mark.parametrize("family", [family.name for family in BUILT_IN])
def test_every_family_has_a_sentence_and_a_name(family):
    sentence = describe_kind(family, {"n_lags": 3})
    assert sentence.startswith("The surrogate is ")
    assert sentence.count(".") == 1
    assert name_kind(family, {"n_lags": 3})


def test_families_that_are_not_installed_are_named():
    assert describe_kind("toy", {}) == "The surrogate is of the family toy."
    assert name_kind("toy", {}) == "toy"


def test_whole_brain_models_are_named():
    assert "model aln of neurolib" in describe_kind("wbm", {"model": "aln"})
    assert name_kind("wbm", {"model": "aln"}) == "wbm aln"


def test_a_fit_to_discrete_dynamics_says_that_it_is_a_var():
    rng = np.random.default_rng(0)
    series = rng.standard_normal((600, 4))
    series[1:, 1] += 0.9 * series[:-1, 0]
    result = ec(series, tr=1.0, device="cpu", epochs=2)
    training = describe_training(result.settings, result.log)
    kind = name_kind("hybrid", training)
    assert kind.startswith("VAR")
    assert "ridge VAR" in describe_kind("hybrid", training)
    assert f"hybrid, 4 lags ({kind})" in repr(result)
    assert named_passband(training) is None
    assert training["passband"] == "n/a"
