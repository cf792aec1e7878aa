from __future__ import annotations

import pytest

from npi_bids.errors import SettingsError
from npi_bids.whole_brain.models import NEUROLIB_MODELS
from npi_bids.whole_brain.settings import BRAIN_MODELS, BrainSettings


def test_options_name_the_models_that_there_are():
    assert tuple(NEUROLIB_MODELS) == BRAIN_MODELS


def test_a_step_that_does_not_divide_a_millisecond_is_refused():
    with pytest.raises(SettingsError, match=r"--wbm-step.*0\.3"):
        BrainSettings(step=0.3)
