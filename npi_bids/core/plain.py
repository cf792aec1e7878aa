"""Effective connectivity of arrays, without BIDS and without files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from npi_bids.core.options import period_problem
from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.pipeline import ec_of_runs
from npi_bids.core.records import Array, Mask, RegionSeries
from npi_bids.core.subject import SubjectEC
from npi_bids.core.surrogate import PRESETS, TrainSettings
from npi_bids.core.verdict import AssessSettings
from npi_bids.errors import InputDataError, SettingsError

__all__ = ("ec", "period_problem")


def ec(
    series: ArrayLike | Sequence[ArrayLike],
    tr: float,
    *,
    labels: Sequence[str] | None = None,
    preset: str | None = None,
    perturb: PerturbSettings | None = None,
    assess: AssessSettings | None = None,
    **train: Any,
) -> SubjectEC:
    """Infer the effective connectivity of regional series.

    Each run is z-scored by itself. A row of NaN is a censored sample and a column of NaN a region
    that is not covered; no window crosses the former, and the latter stays NaN.

    Parameters
    ----------
    series
        Shape (n_samples, n_regions), time down the rows; or a list of such arrays, one per run.
        Columns of data frames are matched by name.
    tr
        Sampling period (s).
    labels
        Region names in the order of the columns. Where None, those of data frames, or ``R001``
        and so on.
    preset
        ``luo2025`` or ``luo2025-hcp``, the published settings.
    perturb
        How to perturb.
    assess
        Which matrices are wanted beyond the map, and the thresholds of the verdict.
    **train
        Fields of :class:`~npi_bids.core.surrogate.TrainSettings`: ``surrogate="var"`` and so on.

    Returns
    -------
    SubjectEC
        ``result.ec`` is the map, indexed ``[source, target]``; ``result.verdict`` says how far it
        can be trusted.

    Raises
    ------
    InputDataError
        The series are no tables of numbers, or runs differ in their regions.
    SettingsError
        An option is unknown or out of bounds.
    NoUsableDataError
        Too few samples or regions are left.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> series = rng.standard_normal((400, 3))
    >>> series[1:, 2] += 0.9 * series[:-1, 0]
    >>> result = ec(series, tr=2.0, labels=["A", "B", "C"])
    >>> bool(result.ec[0, 2] > 0.4), result.measures["npi"].labels
    (True, ('A', 'B', 'C'))
    """
    if problem := period_problem(tr):
        raise SettingsError(f"The sampling period tr {problem}")
    runs: list[Any] = list(series) if isinstance(series, list | tuple) else [series]
    if labels is None and all(hasattr(run, "columns") for run in runs):
        runs, labels = _by_name(runs)
    records = [_run(number, run, tr, labels) for number, run in enumerate(runs, start=1)]
    if preset is not None and preset not in PRESETS:
        raise SettingsError(f"Unknown preset {preset!r}; choose one of {sorted(PRESETS)}.")
    fields = {**(PRESETS[preset] if preset else {}), **train}
    unknown = sorted(set(fields) - set(TrainSettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(TrainSettings.__dataclass_fields__)
        raise SettingsError(f"Unknown option(s) {unknown}; the options of training are {known}.")
    return ec_of_runs(
        records,
        train=TrainSettings(**fields),
        perturb=perturb or PerturbSettings(),
        assess=assess,
    )


def _by_name(runs: list[Any]) -> tuple[list[Any], list[str]]:
    """Return the columns of data frames in the order of the first, and their names."""
    first = list(runs[0].columns)
    for number, run in enumerate(runs, start=1):
        if differing := sorted(map(str, set(first) ^ set(run.columns)))[:5]:
            raise InputDataError(
                f"Run {number} has other regions than the first: {', '.join(differing)} are in "
                "one of them alone."
            )
    return [run[first] for run in runs], [str(name) for name in first]


def _run(number: int, run: ArrayLike, tr: float, labels: Sequence[str] | None) -> RegionSeries:
    if np.iscomplexobj(run):
        raise InputDataError(f"Run {number} holds complex numbers; expected real signals.")
    try:
        data: Array = np.array(run, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputDataError(f"Run {number} is no array of numbers: {error}.") from error
    if data.ndim != 2:
        raise InputDataError(
            f"Run {number} has shape {data.shape}; expected (n_samples, n_regions), and a list of "
            "such arrays for several runs."
        )
    if data.shape[0] < data.shape[1] and labels is not None and len(labels) == data.shape[0]:
        raise InputDataError(
            f"Run {number} has shape {data.shape} and there are {len(labels)} labels: time must "
            "run down the rows; transpose it."
        )
    names = tuple(labels) if labels is not None else tuple(
        f"R{region + 1:03d}" for region in range(data.shape[1])
    )  # fmt: skip
    keep: Mask = np.logical_not(np.isnan(data).all(axis=1))
    kept = data[keep]
    wrong = ~np.isfinite(kept)
    partly = np.flatnonzero(wrong.any(axis=0) & ~np.isnan(kept).all(axis=0))
    if partly.size:
        raise InputDataError(
            f"Run {number} has {int(wrong[:, partly[0]].sum())} of {len(kept)} samples of region "
            f"{names[partly[0]]} that are not finite (regions of this kind: {partly.size}); "
            "expected NaN in whole rows (a censored sample) or whole columns (a region that is "
            "not covered)."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = kept.std(axis=0)
        scaled = (data - kept.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    return RegionSeries(scaled, names, tr, keep)
