"""What the map of a group can be trusted for, in words."""

from __future__ import annotations

from math import isfinite

from npi_bids.bids.sidecars import DirectionSummary, MapReliability
from npi_bids.group.direction import ALPHA
from npi_bids.wording import count_noun


def describe_group(
    n_subjects: int,
    reliability: MapReliability | None,
    direction: DirectionSummary | None,
    expected_r: float = float("nan"),
) -> str:
    """Return the verdict on a group: how reliable its mean map is, and whether it has a direction.

    Parameters
    ----------
    n_subjects
        Number of subjects.
    reliability
        Reliability of the mean map and its parts; None if it is not known.
    direction
        Test of the direction; None if subjects have no maps of reversed time.
    expected_r
        Expected correlation of the mean map with the truth; NaN if it is not known.
    """
    texts = (
        _reliability_text(n_subjects, reliability),
        _accuracy_text(expected_r),
        _direction_text(n_subjects, direction),
    )
    return " ".join(filter(None, texts))


def _accuracy_text(expected_r: float) -> str:
    if not isfinite(expected_r):
        return ""
    return (
        f"Its expected correlation with the true connectivity is {expected_r:.2f}, from simulated "
        "maps that are comparable to those of the subjects."
    )


def _reliability_text(n_subjects: int, reliability: MapReliability | None) -> str:
    if reliability is None or not isfinite(reliability.all):
        return ""
    subjects = count_noun(n_subjects, "subject")
    text = (
        f"The mean map of {subjects} has a reliability of {_share(reliability.all)} (symmetric "
        f"part {_share(reliability.symmetric)}, antisymmetric part "
        f"{_share(reliability.antisymmetric)}): the squared correlation that it is expected to "
        "have with the mean of many such subjects."
    )
    if 0 < reliability.all < 1:
        doubled = 2 * reliability.all / (1 + reliability.all)  # Spearman and Brown
        text += f" With twice as many subjects it would be {_share(doubled)}."
    return text


def _direction_text(n_subjects: int, direction: DirectionSummary | None) -> str:
    if direction is None or not isfinite(direction.p_together):
        return ""
    smallest = 0.5 ** (n_subjects - 1)  # one of the sign patterns, and its opposite
    if smallest > ALPHA:
        return (
            f"A direction of the group cannot be tested with {count_noun(n_subjects, 'subject')}: "
            f"the smallest possible p is {smallest:.2g}."
        )
    evidence = (
        f"p = {direction.p_together:.3g} for all pairs of regions together; "
        f"{direction.pairs_significant} of {count_noun(direction.pairs_tested, 'pair')} with a "
        f"family-wise p of at most {ALPHA:g}"
    )
    if direction.p_together <= ALPHA:
        return (
            f"The group has a direction ({evidence}), unless haemodynamic delays that differ "
            "between regions produce it."
        )
    return f"A direction of the group is not supported ({evidence})."


def _share(value: float) -> str:
    return f"{max(value, 0.0):.2f}"
