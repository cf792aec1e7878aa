"""What to do next with a map, by what limits it."""

from __future__ import annotations

from collections.abc import Callable

from npi_bids.assessment.grades import (
    AVERAGES,
    DATA_LIMITS,
    NOT_SUPPORTED,
    NOTHING,
    SINGLE,
    STRENGTHS,
)
from npi_bids.assessment.settings import HIGH_FREQUENCY, VerdictSettings
from npi_bids.assessment.verdict import FAIL, may_be_delays
from npi_bids.bids.sidecars import FittedModel
from npi_bids.records import Quality

Condition = Callable[[Quality, VerdictSettings], bool]

# What a metric calls for; a comparison with NaN is False, so that a metric that is not known
# calls for nothing.
_BY_METRIC: tuple[tuple[Condition, str], ...] = (
    (
        lambda q, s: q.high_frequency_share < s.min_high_frequency,
        "Use signals that were not low-passed: little is left above "
        f"{HIGH_FREQUENCY:g} Hz, where much of the direction is.",
    ),
    (
        lambda q, _: q.mean_fd > DATA_LIMITS.good_fd,
        "Look at the motion plot, and compare with a lower --fd-thresh; in a group, keep mean FD "
        "as a covariate.",
    ),
    (
        lambda q, _: q.covered_share < DATA_LIMITS.good_covered,
        "Look at the registration check: are regions cut off by the field of view, or is the "
        "image misplaced?",
    ),
    (
        lambda q, s: q.samples_per_parameter < s.good_samples,
        "Add runs of the same subject (--combine runs), take an atlas with fewer regions, or "
        "share information between subjects (pretrain).",
    ),
    (
        may_be_delays,
        "Do not read direction without a model of haemodynamic delays: they may explain it.",
    ),
    (
        lambda q, s: q.stripe_share > s.max_stripes,
        "Compare with another --denoise: stripes often come from a few noisy regions, or from "
        "the global signal.",
    ),
)
_BY_GRADE = {
    SINGLE: "Read connections with q below 0.05 and their intervals; the table of connections "
    "lists them.",
    STRENGTHS: "Report strong connections, regional strengths and networks; leave weak "
    "connections to the group.",
    AVERAGES: "Average over subjects (the group level) before interpreting connections.",
    NOTHING: "Do not interpret this map; exclude the subject, or change what the reasons above "
    "name and run again.",
}


def advise(fit: FittedModel) -> tuple[str, ...]:
    """Return what to do next with a map, the most important first."""
    quality, limits = fit.quality, fit.verdict_thresholds
    lines = [_BY_GRADE[fit.grades.connections]] if fit.grades.connections in _BY_GRADE else []
    if fit.grades.direction == NOT_SUPPORTED and fit.verdict != FAIL:
        lines.append(
            "Treat connections as undirected in figures and statistics; a longer scan may "
            "support their direction."
        )
    lines += [text for applies, text in _BY_METRIC if applies(quality, limits)]
    return tuple(lines)
