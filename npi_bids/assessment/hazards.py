"""Hazards: properties of the signals or of the denoising that are known to degrade maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npi_bids.records import (
    Array,
    RegionSeries,
)

# Largest ratio of the standard deviations of two regions within a run that counts as equal.
_MAX_SD_RATIO = 1.5
# Two regions whose correlation is closer to 1 or -1 than this have the same signal; signals are
# linearly dependent where an eigenvalue of their correlations is smaller. Tables of nine digits
# and images of 32-bit floats round signals by 1e-7 at most, which gives eigenvalues of 1e-14.
_TOLERANCE = 1e-8
_MAX_LISTED = 3


def find_hazards(runs: Sequence[RegionSeries], regressors: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a sentence for each hazard, with its cost in simulations.

    The numbers are from ridge VARs on a benchmark of 20 regions and 4800 samples, where clean data
    give r .97 for the map and .97 for its antisymmetric part.

    Parameters
    ----------
    runs
        Series of the covered regions.
    regressors
        Names of the regressors that were removed from the series.
    """
    hazards = []
    if any(name.startswith("global_signal") for name in regressors):
        hazards.append(
            "The global signal was regressed out: r of the map fell from .97 to .92 on a "
            "benchmark, and negative entries rose from 50 to 62 %. Do not interpret the signs of "
            "connections."
        )
    spreads = [run.data[run.keep].std(axis=0) for run in runs if run.keep.any()]
    ratios = [float(s.max() / s.min()) if s.min() > 0 else np.inf for s in spreads]
    if ratios and max(ratios) > _MAX_SD_RATIO:
        hazards.append(
            f"Regions differ in their standard deviation by up to {max(ratios):.2g} times: "
            "without normalisation r of the map fell from .97 to .65 on a benchmark. Use "
            "--standardize zscore, or read entries in the unit of each region."
        )
    hazards += _find_dependence(runs, len(regressors))
    return tuple(hazards)


def _find_dependence(runs: Sequence[RegionSeries], n_regressors: int) -> list[str]:
    """Report regions with the same signal, or else a linear dependence between signals.

    Each run is examined separately, as the weights of a dependence may differ between runs.
    """
    run_numbers: dict[str, list[int]] = {}
    for number, run in enumerate(runs, start=1):
        for sentence in _find_dependence_in_run(run, n_regressors):
            run_numbers.setdefault(sentence, []).append(number)
    prefixes = {
        text: f"Run {', '.join(map(str, numbers))}: " for text, numbers in run_numbers.items()
    }
    return [
        f"{'' if len(numbers) == len(runs) else prefixes[text]}{text}"
        for text, numbers in run_numbers.items()
    ]


def _find_dependence_in_run(run: RegionSeries, n_regressors: int) -> list[str]:
    data = run.data[run.keep]
    n_samples, n_regions = data.shape
    if n_samples < 3 or n_regions < 2:
        return []
    signals = (data - data.mean(axis=0)) / _region_sd(data)
    correlation = signals.T @ signals / n_samples
    same = np.abs(np.triu(correlation, 1)) > 1 - _TOLERANCE
    if same.any():
        pairs = [
            f"{run.labels[a]} and {run.labels[b]} (r = {'1' if correlation[a, b] > 0 else '-1'})"
            for a, b in np.argwhere(same)
        ]
        more = f"; and {len(pairs) - _MAX_LISTED} more" if len(pairs) > _MAX_LISTED else ""
        return [
            f"Regions have the same signal: {'; '.join(pairs[:_MAX_LISTED])}{more}. Their "
            "connections cannot be distinguished, and the weights of their inputs and outputs are "
            "divided arbitrarily among them. Merge the regions, or correct the atlas."
        ]
    n_dependent = int(np.sum(np.linalg.eigvalsh(correlation) < _TOLERANCE))
    if n_dependent and n_samples - 1 - n_regressors > n_regions:
        return [
            f"The signals of {n_regions} regions are linearly dependent (rank "
            f"{n_regions - n_dependent}), as after subtraction of the mean of all regions. "
            "Single connections are then determined only by the prior of the surrogate, not by "
            "the data. Do not remove the mean of the regions."
        ]
    return []


def _region_sd(data: Array) -> Array:
    spread: Array = data.std(axis=0)
    return np.where(spread > 0, spread, 1.0)
