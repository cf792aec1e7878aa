from __future__ import annotations

import pytest

from npi_bids.analysis import ResourceSettings
from npi_bids.errors import SettingsError


def test_memory_needs_a_unit():
    assert ResourceSettings(mem="1.5 GB").memory_gb == 1.5
    with pytest.raises(SettingsError, match="16G"):
        ResourceSettings(mem="16")
