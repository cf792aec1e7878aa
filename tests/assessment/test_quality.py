from __future__ import annotations

import numpy as np

from npi_bids.assessment.quality import mean_spectrum
from npi_bids.records import RegionSeries


def series(data, keep=None):
    keep = np.ones(len(data), dtype=bool) if keep is None else keep
    return RegionSeries(data, ("A", "B"), 2.0, keep)


def test_a_wave_stands_at_its_frequency():
    time = 2.0 * np.arange(400)
    wave = np.sin(2 * np.pi * 0.05 * time)
    noise = 0.1 * np.random.default_rng(0).standard_normal((400, 2))
    frequency, power = mean_spectrum([series(wave[:, None] + noise)])
    assert abs(frequency[power.argmax()] - 0.05) < 0.005
    assert frequency[0] > 0
    assert abs(np.sum(power) * (frequency[1] - frequency[0]) - 1) < 0.1


def test_gaps_are_not_bridged_and_uncovered_regions_not_counted():
    rng = np.random.default_rng(1)
    data = rng.standard_normal((90, 2))
    data[:, 1] = np.nan
    keep = np.ones(90, dtype=bool)
    keep[40] = False
    frequency, power = mean_spectrum([series(data, keep)])
    assert np.isfinite(power).all()
    assert len(frequency) <= 25  # of the longer stretch, 49 samples
    keep[::20] = False
    assert mean_spectrum([series(data, keep)]) is None
