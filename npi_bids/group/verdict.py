"""What the map of a group can be trusted for, in words."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from npi_bids.bids.sidecars import (
    FEWEST_FOR_Q,
    DirectionSummary,
    GroupFields,
    Heterogeneity,
    MapReliability,
)
from npi_bids.group.description import FEWEST_FOR_OUTLIERS, outlier_limit
from npi_bids.group.direction import ALPHA, explain_undirected
from npi_bids.group.reliability import predict_reliability
from npi_bids.wording import count_noun, join_items, rounded


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement on a group: its topic, the finding in a few words, and the finding in full."""

    topic: str
    finding: str
    text: str


def describe_group(group: GroupFields) -> str:
    """Return the verdict on a group in a few sentences."""
    return " ".join(statement.text for statement in state_verdict(group))


def state_verdict(group: GroupFields) -> tuple[Statement, ...]:
    """Return the verdict on a group, statement by statement, as far as each is known.

    Single connections, reliability of the mean map, its accuracy, its direction, and how far
    subjects differ.
    """
    n = group.number_of_subjects
    statements = (
        _state_connections(group),
        _state_reliability(n, group.map_reliability),
        _state_accuracy(group.expected_r),
        _state_direction(n, group.direction, group.subjects_with_direction),
        _state_heterogeneity(n, group.heterogeneity),
    )
    return tuple(statement for statement in statements if statement)


def _state_connections(group: GroupFields) -> Statement | None:
    topic = "connections"
    if group.not_tested:
        return Statement(topic, "not tested", group.not_tested)
    n_tested, n_significant = group.connections_tested, group.connections_significant
    if n_tested and n_significant:
        text = f"{n_significant} of {n_tested} connections have q below {ALPHA:g}."
        return Statement(topic, f"{n_significant} of {n_tested} differ from zero", text)
    if n_tested:
        text = (
            f"None of {count_noun(n_tested, 'connection')} has q below {ALPHA:g}: no mean "
            "connection can be told from zero."
        )
        return Statement(topic, "none differs from zero", text)
    if 1 < group.number_of_subjects < FEWEST_FOR_Q:
        text = (
            f"With {count_noun(group.number_of_subjects, 'subject')}, no connection can be called "
            f"significant: q is given from {FEWEST_FOR_Q} subjects on."
        )
        return Statement(topic, "too few subjects for q", text)
    return None


def _state_accuracy(expected_r: float) -> Statement | None:
    if not isfinite(expected_r):
        return None
    text = (
        "The expected correlation of the mean map with the true connectivity is "
        f"{rounded(expected_r)}, from simulated maps that are comparable to those of the subjects."
    )
    return Statement("expected accuracy", f"r = {rounded(expected_r)}", text)


def _state_reliability(n_subjects: int, reliability: MapReliability | None) -> Statement | None:
    if reliability is None or not isfinite(reliability.all):
        return None
    text = (
        f"The mean map of {count_noun(n_subjects, 'subject')} has a reliability of "
        f"{_share(reliability.all)} (symmetric part {_share(reliability.symmetric)}, "
        f"antisymmetric part {_share(reliability.antisymmetric)}): the squared correlation that "
        "it is expected to have with the mean of many such subjects."
    )
    if 0 < reliability.all < 1:
        doubled = float(predict_reliability(reliability.all, n_subjects, 2 * n_subjects))
        text += f" With twice as many subjects it would be {_share(doubled)}."
    elif reliability.all <= 0:
        text += " Their maps agree no better than noise."
    return Statement("reliability", _share(reliability.all), text)


def _state_direction(
    n_subjects: int, direction: DirectionSummary | None, n_directed: int | None
) -> Statement | None:
    if n_subjects < 2:
        return None
    why_not = explain_undirected(n_subjects, direction)
    if why_not or direction is None:
        text = f"A direction of the group is not supported: {why_not}."
        if n_directed:
            text += (
                f" The signals of {n_directed} of {count_noun(n_subjects, 'subject')} pass the "
                "test of direction on their own; whether the direction of a map may be read, its "
                "page says."
            )
        return Statement("direction", "not supported", text)
    text = (
        f"The group has a direction (p = {rounded(direction.p_together)} for all pairs of regions "
        f"together; {direction.pairs_significant} of "
        f"{count_noun(direction.pairs_tested, 'pair')} with a family-wise p of at most "
        f"{ALPHA:g}), unless haemodynamic delays that differ between regions produce it."
    )
    return Statement("direction", "supported", text)


def _state_heterogeneity(n_subjects: int, found: Heterogeneity | None) -> Statement | None:
    if found is None:
        return None
    ratio = f"{rounded(found.relative_sd)}"
    text = (
        f"The SD of a connection between subjects is {ratio} times the mean connection (root mean "
        "squares), which includes the error of each map."
    )
    if found.most_different:
        text += (
            f" sub-{found.most_different} differs most from the mean, with "
            f"{found.largest_share:.0%} of all squared differences ({1 / n_subjects:.0%} if all "
            "subjects differed alike)."
        )
    if n_subjects >= FEWEST_FOR_OUTLIERS:
        names = join_items(f"sub-{label}" for label in found.outliers)
        text += (
            " Outliers, whose correlation with the others is more than "
            f"{outlier_limit(n_subjects):.1f} robust SD below the median, which happens by chance "
            f"in 5 % of groups: {names or 'none'}."
        )
    return Statement("differences between subjects", f"SD {ratio} times the mean", text)


def _share(value: float) -> str:
    return f"{max(value, 0.0):.2f}"
