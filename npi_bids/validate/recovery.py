"""Compare maps with the connectivity that they should have found, by the names of regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from npi_bids.errors import InputDataError
from npi_bids.matrices import off_diagonal
from npi_bids.records import Array, ECResult
from npi_bids.validate.scores import Recovery, held, score
from npi_bids.wording import count_noun, join_words


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One map beside the truth.

    Attributes
    ----------
    name, kind
        Of the map; ``subject`` or ``group``.
    recovery
        Agreement with the truth.
    intervals_hold
        Share of the true entries inside their 95 % intervals; NaN where there are none, or they
        have another unit than the truth.
    false_positives
        Share of the entries whose truth is exactly 0 with q < 0.05; NaN where there are none.
    verdict
        What the map said of itself.
    estimate, truth
        Entries off the diagonal that both have, shape (n_entries,).
    """

    name: str
    kind: str
    recovery: Recovery
    intervals_hold: float
    false_positives: float
    verdict: str
    estimate: Array
    truth: Array

    def row(self) -> dict[str, object]:
        """Return the figures by name."""
        return {
            "map": self.name,
            "kind": self.kind,
            **asdict(self.recovery),
            "intervals_hold": self.intervals_hold,
            "false_positives": self.false_positives,
            "verdict": self.verdict or "n/a",
        }


def compare(
    name: str,
    found: ECResult,
    truth: ECResult,
    *,
    kind: str = "subject",
    verdict: str = "",
    sure: Mapping[str, ECResult] | None = None,
) -> Comparison:
    """Compare a map with the truth; regions are matched by name, in any order.

    Parameters
    ----------
    name, kind, verdict
        Of the map.
    found, truth
        Indexed ``[source, target]``. Regions of the truth that the map lacks count as not
        covered.
    sure
        ``lower`` and ``upper`` ends of 95 % intervals in the unit of the truth, and ``q``; any of
        them.

    Raises
    ------
    InputDataError
        The map has regions that the truth does not know, or shares fewer than two with it.
    """
    unknown = sorted(set(found.labels) - set(truth.labels))
    if unknown:
        raise InputDataError(
            f"{name} has {count_noun(len(unknown), 'region')} that the truth lacks "
            f"({join_words(unknown, most=5)}); expected some of "
            f"{join_words(truth.labels, most=5)}. Was the map made with the atlas of the truth?"
        )
    shared = [label for label in truth.labels if label in set(found.labels)]
    wanted = _ordered(truth, shared)
    estimate = _ordered(found, shared)
    known = {key: _ordered(value, shared) for key, value in (sure or {}).items()}
    inside = float("nan")
    if "lower" in known and "upper" in known:
        inside = held(known["lower"], known["upper"], wanted)
    a, b = off_diagonal(estimate), off_diagonal(wanted)
    both = np.isfinite(a) & np.isfinite(b)
    return Comparison(
        name,
        kind,
        score(estimate, wanted),
        inside,
        _false_positives(known.get("q"), wanted),
        verdict,
        a[both],
        b[both],
    )


def _false_positives(q: Array | None, truth: Array) -> float:
    if q is None:
        return float("nan")
    nothing = off_diagonal(truth) == 0
    tested = off_diagonal(q)[nothing]
    tested = tested[np.isfinite(tested)]
    return float(np.mean(tested < 0.05)) if tested.size else float("nan")


def _ordered(result: ECResult, labels: list[str]) -> Array:
    order = [result.labels.index(label) for label in labels]
    matrix: Array = result.matrix[np.ix_(order, order)]
    return matrix
