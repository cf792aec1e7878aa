from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from npi_bids.assessment.quality import agreement, high_frequency_share, mean_spectrum
from npi_bids.assessment.settings import AssessSettings
from npi_bids.connectivity.settings import MeasureSettings
from npi_bids.inference import ec_of_runs
from npi_bids.records import Quality, RegionSeries
from npi_bids.surrogates.base import TrainSettings
from tests.assessment.conftest import PUSH, VAR, run_of


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


def test_every_figure_is_there(result):
    values = {field.name: getattr(result.quality, field.name) for field in fields(Quality)}
    without = {name for name, value in values.items() if np.isnan(value)}
    # There is no ensemble where networks did not pay; four regions are too few for delays, and
    # where the signals are taken for the state none are allowed for; arrays have neither motion
    # nor voxels, and belong to no group.
    seeds = {"r_seed", "r_seed_symmetric", "r_seed_antisymmetric"}
    assert without == {
        *seeds,
        "mean_fd",
        "lowest_coverage",
        "r_split_oriented",
        "delay_share",
        "delay_sd",
        "removed_delay_sd",
        "delay_evidence",
        "delay_benefit",
        "expected_delay_evidence",
        "r_split_delays",
        "r_undelayed_antisymmetric",
        "stripe_share",
        *(f"own_share{part}" for part in ("", "_symmetric", "_antisymmetric")),
        *(f"r_{name}{part}" for name in ("others", "group") for part in ("", "_antisymmetric")),
    }
    assert values["skill_own_history"] == pytest.approx(
        1 - (1 - values["r2"]) / (1 - values["r2_own_history"]), abs=0.05
    )


def test_seeds_of_an_ensemble_are_compared(run):
    settings = TrainSettings(surrogate="mlp", n_seeds=3, epochs=10, n_lags=1, device="cpu")
    quality = ec_of_runs([run], train=settings, perturb=PUSH).quality
    assert 0 < quality.r_seed < 1
    assert np.isfinite(quality.r_split)


def test_agreement_of_transposed_maps_is_in_the_symmetric_part_alone():
    one = np.random.default_rng(0).standard_normal((6, 6))
    whole, even, odd = agreement([one, one.T])
    assert even == pytest.approx(1)
    assert odd == pytest.approx(-1)
    assert whole < 0.9


def test_power_is_counted_above_a_fixed_frequency():
    time = np.arange(600)
    slow, fast = (np.sin(2 * np.pi * f * time)[:, None] for f in (0.05, 0.3))
    assert high_frequency_share([run_of(slow)]) < 0.01
    assert high_frequency_share([run_of(fast)]) > 0.99
    assert np.isnan(high_frequency_share([run_of(slow, tr=3.5)]))


def test_oriented_map_is_trusted_only_where_it_repeats(run):
    asked = AssessSettings(measures=MeasureSettings(measures=("oriented",)))
    found = ec_of_runs([run], train=VAR, perturb=PUSH, assess=asked)  # Gaussian: no orientation
    assert "oriented" in found.measures
    assert np.isfinite(found.quality.r_split_oriented)
    rng = np.random.default_rng(0)
    skewed = rng.exponential(size=(4000, 3)) - 1
    skewed[:, 1] += 0.8 * skewed[:, 0]
    skewed[:, 2] += 0.8 * skewed[:, 1]
    repeated = ec_of_runs([run_of(skewed)], train=VAR, perturb=PUSH, assess=asked)
    assert repeated.quality.r_split_oriented > 0.9


def test_a_free_run_that_diverges_is_named_with_what_to_do():
    rng = np.random.default_rng(0)
    growing = 1.02 ** np.arange(300)[:, None] + 0.01 * rng.standard_normal((300, 3))
    found = ec_of_runs([run_of(growing)], train=VAR, perturb=PUSH)
    assert found.quality.free_run_diverged
    assert np.isnan(found.quality.model_fc_r)
    (reason,) = [text for text in found.verdict.reasons if "free-running" in text]
    assert "diverges" in reason
    assert "--combine runs" in reason


@pytest.mark.parametrize("n_lags", [1, 3])
def test_samples_per_parameter_are_effective_samples_over_weights_of_a_region(n_lags):
    rng = np.random.default_rng(0)
    series = np.zeros((2000, 4))
    for sample in range(1, 2000):
        series[sample] = 0.8 * series[sample - 1] + rng.standard_normal(4)
    settings = replace(VAR, n_lags=n_lags)
    quality = ec_of_runs([run_of(series)], train=settings, perturb=PUSH).quality
    correlation_time = (1 + 0.64) / (1 - 0.64)  # 1 + 2 sum of 0.8^(2k)
    n_weights = 4 * 4 * n_lags
    by_hand = 4 * quality.n_windows / correlation_time / n_weights
    assert quality.samples_per_parameter == pytest.approx(by_hand, rel=0.15)
