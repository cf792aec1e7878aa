from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, configuration_hash, option, period_problem
from npi_bids.surrogates.base import TrainSettings


@dataclass(frozen=True)
class Example:
    one: int = option(1, "a number", above=0)
    two: float | None = option(None, "a share", at_least=0, at_most=1)
    three: str = option("a", "a letter", choices=("a", "b"))


def test_all_broken_bounds_are_named_together():
    with pytest.raises(SettingsError) as error:
        check_options(Example(one=0, two=1.5, three="c"))
    for words in ("--one must be above 0, not 0", "--two must be at most 1", "one of a, b"):
        assert words in str(error.value)


def test_none_is_within_every_bound():
    check_options(Example())


def test_an_unknown_fact_is_a_mistake():
    with pytest.raises(TypeError, match="belwo"):
        option(1, "help", belwo=3)


def test_hash_follows_the_settings_and_not_the_device():
    settings = TrainSettings()
    assert configuration_hash(settings) != configuration_hash(replace(settings, seed=1))
    assert configuration_hash(settings) == configuration_hash(replace(settings, device="cpu"))


@pytest.mark.parametrize("tr", [0.05, 1, 2.0, 20, np.float32(0.72), np.int64(2)])
def test_seconds_are_a_sampling_period(tr):
    assert period_problem(tr) == ""


@pytest.mark.parametrize(
    ("tr", "words"),
    [
        ("2", "must be a number of seconds, not '2'"),
        (True, "must be a number of seconds, not True"),
        (None, "must be a number of seconds, not None"),
        ([2.0], "must be a number of seconds"),
        (0, "must be above 0 s, not 0"),
        (-2.0, "must be above 0 s"),
        (float("nan"), "must be above 0 s, not nan"),
        (21, "at most 20, not 21 (21 ms are 0.021 s)."),
        (720, "not milliseconds, and at most 20, not 720 (720 ms are 0.72 s)."),
        (float("inf"), "must be in seconds, not milliseconds, and at most 20, not inf."),
        (10**400, "at most 20, not inf."),
    ],
)
def test_what_is_no_sampling_period_is_told(tr, words):
    assert words in period_problem(tr)
