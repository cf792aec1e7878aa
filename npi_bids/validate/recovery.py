"""Recovery of known connectivity: maps compared with the truth, by the names of regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from npi_bids.errors import InputDataError
from npi_bids.matrices import off_diagonal
from npi_bids.records import Array, ECResult
from npi_bids.validate.scores import (
    NO_DELAYS,
    DelayRecovery,
    Recovery,
    score,
    share_in_intervals,
)
from npi_bids.wording import count_noun, join_items


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One map compared with the truth.

    Attributes
    ----------
    name, level
        Name of the map, and its level: ``subject`` or ``group``.
    recovery
        Agreement with the truth.
    intervals_hold
        Share of the true entries inside their 95 % intervals; NaN where there are none, or they
        have a different unit from the truth.
    false_positives
        Share of the entries whose truth is exactly 0 with q < 0.05; NaN where there are none.
    verdict
        Verdict of the quality assessment of the map.
    estimate, truth
        Entries off the diagonal that both have, shape (n_entries,).
    delays
        Agreement of the delays of the regions with the truth; without any region where the map
        accounts for no delays, or the true ones are unknown.
    """

    name: str
    level: str
    recovery: Recovery
    intervals_hold: float
    false_positives: float
    verdict: str
    estimate: Array
    truth: Array
    delays: DelayRecovery = NO_DELAYS

    def row(self) -> dict[str, object]:
        """Return the figures by name."""
        return {
            "map": self.name,
            "kind": self.level,
            **asdict(self.recovery),
            "intervals_hold": self.intervals_hold,
            "false_positives": self.false_positives,
            "delay_r": self.delays.r,
            "delay_rmse": self.delays.rmse,
            "n_delays": self.delays.n_regions,
            "verdict": self.verdict or "n/a",
        }


def compare(
    name: str,
    ec: ECResult,
    truth: ECResult,
    *,
    level: str = "subject",
    verdict: str = "",
    inference: Mapping[str, ECResult] | None = None,
) -> Comparison:
    """Compare a map with the truth; regions are matched by name, in any order.

    Parameters
    ----------
    name, level, verdict
        Name, level and verdict of the map.
    ec, truth
        The map and the truth, indexed ``[source, target]``. Regions of the truth that the map
        lacks count as not covered.
    inference
        ``lower`` and ``upper`` ends of 95 % intervals in the unit of the truth, and ``q``; any of
        them.

    Raises
    ------
    InputDataError
        The map has regions that the truth lacks, or shares fewer than two with it.
    """
    unknown = sorted(set(ec.labels) - set(truth.labels))
    if unknown:
        raise InputDataError(
            f"{name} has {count_noun(len(unknown), 'region')} that the truth lacks "
            f"({join_items(unknown, most=5)}); expected some of "
            f"{join_items(truth.labels, most=5)}. Check that both use the same atlas."
        )
    shared = [label for label in truth.labels if label in set(ec.labels)]
    expected = _ordered(truth, shared)
    estimated = _ordered(ec, shared)
    aligned = {key: _ordered(value, shared) for key, value in (inference or {}).items()}
    inside = float("nan")
    if "lower" in aligned and "upper" in aligned:
        inside = share_in_intervals(aligned["lower"], aligned["upper"], expected)
    a, b = off_diagonal(estimated), off_diagonal(expected)
    joint = np.isfinite(a) & np.isfinite(b)
    return Comparison(
        name,
        level,
        score(estimated, expected),
        inside,
        _false_positives(aligned.get("q"), expected),
        verdict,
        a[joint],
        b[joint],
    )


def _false_positives(q: Array | None, truth: Array) -> float:
    if q is None:
        return float("nan")
    is_zero = off_diagonal(truth) == 0
    tested = off_diagonal(q)[is_zero]
    tested = tested[np.isfinite(tested)]
    return float(np.mean(tested < 0.05)) if tested.size else float("nan")


def _ordered(result: ECResult, labels: list[str]) -> Array:
    order = [result.labels.index(label) for label in labels]
    matrix: Array = result.matrix[np.ix_(order, order)]
    return matrix
