"""Windows of regional series: coverage, cutting and splitting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from npi_bids.errors import InputDataError, NoUsableDataError
from npi_bids.records import Array, Mask, RegionSeries, Windows
from npi_bids.wording import count_noun, join_items


def shared_regions(runs: Sequence[RegionSeries]) -> tuple[list[RegionSeries], Mask]:
    """Restrict runs to the regions that all of them cover.

    Parameters
    ----------
    runs
        Series that share their labels; runs without uncensored samples are ignored for coverage.

    Returns
    -------
    runs
        The same runs without regions that any run does not cover.
    covered
        Shape (n_regions of the atlas,); True for the regions that were retained.

    Raises
    ------
    InputDataError
        If the runs differ in their regions, their order, or their sampling period.
    NoUsableDataError
        If every sample is censored, or no region is covered in every run.
    """
    _check_consistent(runs)
    usable = [run for run in runs if run.keep.any()]
    if not usable:
        raise NoUsableDataError(
            f"There is no uncensored sample in {count_noun(len(runs), 'run')}; loosen the "
            "censoring threshold."
        )
    covered: Mask = np.logical_and.reduce([run.covered for run in usable])
    if covered.sum() < 2:
        raise NoUsableDataError(
            f"{int(covered.sum())} of {covered.size} regions are covered in every run; at least "
            "2 are needed. Check that atlas and images are in the same space, or lower "
            "--min-coverage."
        )
    labels = tuple(np.asarray(usable[0].labels, dtype=object)[covered])
    shared = [RegionSeries(run.data[:, covered], labels, run.tr, run.keep) for run in runs]
    return shared, covered


def check_time(runs: Sequence[RegionSeries], seconds: float) -> None:
    """Raise a NoUsableDataError if the uncensored samples last less than ``seconds`` in total."""
    uncensored = sum(float(run.keep.sum()) * run.tr for run in runs)
    if uncensored < seconds:
        total = sum(len(run.keep) * run.tr for run in runs)
        raise NoUsableDataError(
            f"{uncensored:.0f} s of {total:.0f} s remain after censoring, in "
            f"{count_noun(len(runs), 'run')}; --min-time requires {seconds:.0f} s. Loosen the "
            "censoring threshold or --min-time."
        )


def cut_windows(runs: Sequence[RegionSeries], n_lags: int) -> Windows:
    """Cut runs into (history, target) pairs.

    A window lies within one run and contains no censored sample, so that no pair spans a gap.

    Parameters
    ----------
    runs
        Series that share their regions, all of them covered.
    n_lags
        Number of past samples that predict the next one.

    Returns
    -------
    Windows
        Windows in the order of the runs, then of time.

    Raises
    ------
    InputDataError
        If the runs differ in their regions or their sampling period.
    NoUsableDataError
        If no stretch of uncensored samples is longer than ``n_lags``.
    """
    _check_consistent(runs)
    pieces: list[Windows] = []
    offset = 0
    for run in runs:
        if len(run.data) > n_lags:
            pieces.append(_cut_run(run, n_lags, offset))
        offset += len(run.data)
    if not sum(map(len, pieces)):
        lengths = [int(run.keep.sum()) for run in runs]
        raise NoUsableDataError(
            f"No {n_lags + 1} consecutive uncensored samples in {count_noun(len(runs), 'run')} "
            f"(uncensored samples: {join_items(lengths)}); lower the number of lags or loosen the "
            "censoring threshold."
        )
    return replace(join_windows(pieces), tr=runs[0].tr)


def join_windows(parts: Sequence[Windows]) -> Windows:
    """Join windows of the same signals, in the order of the parts."""
    return Windows(
        np.concatenate([part.history for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.position for part in parts]),
        parts[0].tr,
    )


def region_units(windows: Windows) -> tuple[Array, Array]:
    """Return mean and standard deviation of each region; 1 where a region does not vary."""
    scale = windows.target.std(axis=0)
    return windows.target.mean(axis=0), np.where(scale > 0, scale, 1.0)


def standardise(windows: Windows, units: tuple[Array, Array] | None = None) -> Windows:
    """Return windows with every region z-scored, or with a mean and a scale that are given."""
    mean, scale = units or region_units(windows)
    history, target = (windows.history - mean) / scale, (windows.target - mean) / scale
    return replace(windows, history=history, target=target)


def reverse_time(windows: Windows) -> Windows:
    """Return the windows of the same signals with time reversed.

    The first sample of each window becomes its target. Reversing twice restores the windows.

    >>> signals = np.arange(4.0)[:, None]
    >>> run = RegionSeries(signals, ("A",), 1.0, np.ones(4, dtype=bool))
    >>> reversed_ = reverse_time(cut_windows([run], 1))
    >>> reversed_.history.ravel(), reversed_.target.ravel()
    (array([3., 2., 1.]), array([2., 1., 0.]))
    """
    samples = np.concatenate([windows.history, windows.target[:, None]], axis=1)[::-1, ::-1]
    first = windows.position[::-1] - windows.n_lags
    position = first.max(initial=0) - first + windows.n_lags
    return Windows(samples[:, :-1].copy(), samples[:, -1].copy(), position, windows.tr)


def expand_to_atlas(matrix: Array, covered: Mask) -> Array:
    """Expand a matrix of the covered regions to all regions of the atlas, filled with NaN."""
    full = np.full((covered.size, covered.size), np.nan)
    full[np.ix_(covered, covered)] = matrix
    return full


def split_windows(windows: Windows, fraction: float) -> tuple[Windows, Windows]:
    """Split windows in time so that no sample is in both parts.

    Parameters
    ----------
    windows
        Windows in the order of time.
    fraction
        Fraction of the windows used for training; the later ones are for validation, except those
        whose history reaches back into training.

    Raises
    ------
    NoUsableDataError
        If one part would be empty.
    """
    stop = round(len(windows) * fraction)
    train = windows.take(slice(0, stop))
    if len(train):
        first_sample = windows.position - windows.n_lags
        valid = windows.take(first_sample > train.position[-1])
    if not len(train) or not len(valid):
        raise NoUsableDataError(
            f"{count_noun(len(windows), 'window')} of {windows.n_lags + 1} samples are too few to "
            f"hold out {1 - fraction:.0%} of them; use longer scans or fewer lags, and "
            "check that rows are samples and columns are regions."
        )
    return train, valid


def _cut_run(run: RegionSeries, n_lags: int, offset: int) -> Windows:
    complete = sliding_window_view(run.keep, n_lags + 1).all(axis=1)
    # sliding_window_view puts time last: (n_windows, n_regions, n_lags + 1).
    samples = sliding_window_view(run.data, n_lags + 1, axis=0)[complete].transpose(0, 2, 1)
    position = np.flatnonzero(complete).astype(np.int64) + n_lags + offset
    return Windows(
        np.ascontiguousarray(samples[:, :-1]), np.ascontiguousarray(samples[:, -1]), position
    )


def _check_consistent(runs: Sequence[RegionSeries]) -> None:
    if not runs:
        raise InputDataError("There are no runs to cut into windows.")
    for run in runs:
        if run.labels != runs[0].labels:
            differing = sorted(set(run.labels) ^ set(runs[0].labels))
            raise InputDataError(
                f"Runs differ in their regions: {join_items(differing, most=5)}."
                if differing
                else "Runs have the same regions in different orders."
            )
        if abs(run.tr - runs[0].tr) > 1e-4:
            raise InputDataError(
                f"Runs differ in their sampling period: {runs[0].tr:g} s and {run.tr:g} s; runs "
                "of different TR are never pooled. Choose with --task-id or --run-id."
            )
