from __future__ import annotations

import pytest

from npi_bids.errors import SettingsError
from npi_bids.parcellation.denoising import DenoiseSettings, find_strategy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"denoise": "simpel"}, "neither a strategy"),
        ({"dummy_scans": "two"}, "--dummy-scans"),
        ({"low_pass": 0.01, "high_pass": 0.1}, "must be above --high-pass"),
        ({"fd_thresh": -1.0}, "--fd-thresh must be above 0"),
    ],
)
def test_bad_options_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        DenoiseSettings(**settings)


def test_a_strategy_of_the_users(tmp_path):
    path = tmp_path / "my-own.toml"
    path.write_text('components = ["motion"]\nmotion = "basic"\n')
    settings = DenoiseSettings(denoise=str(path))
    assert find_strategy(settings).motion == "basic"
    assert settings.label == "myown"
    path.write_text('components = ["motoin"]\n')
    with pytest.raises(SettingsError, match="motoin"):
        DenoiseSettings(denoise=str(path))
    path.write_text('component = ["motion"]\n')
    with pytest.raises(SettingsError, match="unknown field"):
        DenoiseSettings(denoise=str(path))
