from __future__ import annotations

import pytest

from npi_bids.errors import SettingsError
from npi_bids.surrogates.base import PRESETS, TrainSettings, preset


def test_presets_are_the_released_settings():
    settings = preset("luo2025")
    assert (settings.surrogate, settings.n_lags, settings.epochs) == ("mlp", 3, 80)
    assert (settings.batch_size, settings.learning_rate, settings.weight_decay) == (50, 2e-4, 5e-5)
    assert not settings.refit
    assert preset("luo2025-hcp").learning_rate == 1e-3
    with pytest.raises(SettingsError, match="luo2025"):
        preset("luo2030")
    assert set(PRESETS) == {"luo2025", "luo2025-hcp"}


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        TrainSettings().seed = 3
