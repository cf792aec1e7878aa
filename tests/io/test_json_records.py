from __future__ import annotations

from dataclasses import fields

import pytest

from npi_bids.assessment.settings import VerdictSettings
from npi_bids.io.json_records import camel_case, snake_case
from npi_bids.records import Quality
from npi_bids.surrogates.base import TrainSettings
from npi_bids.whole_brain.settings import BrainSettings


@pytest.mark.parametrize("settings", [Quality, TrainSettings, BrainSettings, VerdictSettings])
def test_names_of_fields_survive_the_key(settings):
    for name in (field.name for field in fields(settings)):
        assert snake_case(camel_case(name)) == snake_case(name) == name
