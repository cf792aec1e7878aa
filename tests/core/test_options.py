from dataclasses import dataclass, replace

import pytest

from npi_bids.core.options import check_options, configuration_hash, option
from npi_bids.core.surrogate import TrainSettings
from npi_bids.errors import SettingsError


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
