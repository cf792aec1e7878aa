"""What the page of the groups says first: what each mean map can be trusted for."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import numpy as np

from npi_bids.bids.sidecars import GroupFields
from npi_bids.group.direction import ALPHA, explain_undirected
from npi_bids.group.reliability import predict_reliability
from npi_bids.group.verdict import state_verdict
from npi_bids.records import Array, ECResult
from npi_bids.reports import figures_signals
from npi_bids.reports.components import Figure, GroupVerdict
from npi_bids.reports.connections import Reading, name_strongest
from npi_bids.wording import count_noun, join_items

_MOST_PAIRS = 5  # pairs of regions that the summary names
# Numbers of subjects that the reliability is drawn for: up to a multiple of the group's, and at
# least to a common size of a study.
_MULTIPLE, _FEWEST_DRAWN = 4, 40
_CURVE = "groupreliability"


def present_verdict(group: GroupFields) -> GroupVerdict:
    """Return what the page says first of a group, with the figure of its reliability."""
    kinds = _list_kinds(group.kinds_of_fit)
    if group.own_kinds_of_fit:
        own = _list_kinds(group.own_kinds_of_fit)
        kinds += f" (decided for the dataset; the data of each subject alone chose {own})"
    subjects = count_noun(group.number_of_subjects, "subject")
    return GroupVerdict(
        f"{subjects}. Kinds of fit: {kinds}." if kinds else f"{subjects}.",
        tuple(filter(None, (group.mixed_kinds,))),
        tuple((one.topic, one.finding, one.text) for one in state_verdict(group)),
        _draw_reliability(group),
    )


def _list_kinds(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{kind}: {count}" for kind, count in counts.items())


def why_undirected(group: GroupFields) -> str:
    """Return why direction may not be read from the mean of a group; empty if it may."""
    return explain_undirected(group.number_of_subjects, group.direction)


def read_mean(group: GroupFields, matrices: Mapping[str, Array]) -> Reading:
    """Return how the mean of a group may be read."""
    return Reading(not why_undirected(group), matrices.get("groupq"), "mean connection")


def summarise_mean(
    group: GroupFields, mean: ECResult, matrices: Mapping[str, Array]
) -> tuple[str, ...]:
    """Summarise the mean map of a group in a few sentences.

    Parameters
    ----------
    group
        Description of the group.
    mean
        Its mean map.
    matrices
        Matrices beside it by output: its ``groupq``, ``groupdirection`` and
        ``groupdirectionfwe``, where it was tested.
    """
    why_not = why_undirected(group)
    lines = []
    if why_not:
        text = f"Read the mean map as undirected, because direction is not supported: {why_not}."
        lines.append(text)
    reading = read_mean(group, matrices)
    if reading.significant:
        lines += name_strongest(mean, reading)
    if not why_not and "groupdirectionfwe" in matrices:
        lines += _name_pairs(
            mean.labels, matrices["groupdirection"], matrices["groupdirectionfwe"]
        )
    return tuple(lines)


def _name_pairs(labels: tuple[str, ...], difference: Array, p_fwe: Array) -> list[str]:
    """Name the pairs of regions whose direction is significant, the largest differences first."""
    significant = (difference > 0) & (p_fwe <= ALPHA)
    source, target = np.nonzero(significant)
    order = np.argsort(-difference[significant], kind="stable")
    names = [f"{labels[source[one]]} → {labels[target[one]]}" for one in order]
    if not names:
        return ["No single pair of regions has a significant direction."]
    if len(names) > _MOST_PAIRS:
        listed = f", with the largest differences in {join_items(names[:_MOST_PAIRS])}"
    else:
        listed = f": {join_items(names)}"
    return [
        f"The direction of {count_noun(len(names), 'pair')} of regions is significant "
        f"(family-wise p of at most {ALPHA:g}){listed}."
    ]


def _draw_reliability(group: GroupFields) -> tuple[Figure, ...]:
    """Return the figure of the reliability by number of subjects, if it is known."""
    parts, n = group.map_reliability, group.number_of_subjects
    if parts is None or not isfinite(parts.all) or parts.all <= 0:
        return ()
    sizes = np.arange(1, max(_MULTIPLE * n, _FEWEST_DRAWN) + 1)
    curves = {
        name: predict_reliability(value, n, sizes)
        for name, value in (
            ("whole map", parts.all),
            ("symmetric part", parts.symmetric),
            ("antisymmetric part", parts.antisymmetric),
        )
        if isfinite(value)
    }
    return (
        Figure(
            _CURVE,
            "What more subjects would bring",
            "Expected reliability of the mean map by the number of subjects, after Spearman and "
            f"Brown. Dashed: this group of {count_noun(n, 'subject')}.",
            figures_signals.draw_reliability(n, sizes.astype(float), curves),
            "Curves of reliability against number of subjects",
        ),
    )
