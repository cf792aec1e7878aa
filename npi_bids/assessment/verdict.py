"""Verdict on a result: a table of rules with thresholds and texts."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

from npi_bids.assessment.settings import HIGH_FREQUENCY, UNDIRECTED_SHARE, VerdictSettings
from npi_bids.connectivity.settings import DIVERGENCE_ADVICE
from npi_bids.records import Quality, Verdict
from npi_bids.surrogates.lagged_evidence import DirectionTest
from npi_bids.wording import fill_in

PASS, CAUTION, FAIL = "pass", "caution", "fail"


def supports_direction(test: DirectionTest, settings: VerdictSettings) -> bool:
    """Return whether signals differ from their time reversal significantly and by enough."""
    return test.p < settings.direction_p and test.ratio >= settings.direction_ratio


def may_be_delays(quality: Quality, settings: VerdictSettings) -> bool:
    """Return whether delays that were not modelled may explain the direction of the signals."""
    return (
        not quality.removed_delay_sd > 0
        and quality.delay_share > settings.max_delay_share
        and quality.delay_sd > settings.max_delay_sd
    )


Rule = tuple[str, Callable[[Quality, VerdictSettings], bool], str]

# Level, condition, and text, which takes its numbers from quality and settings; !n rounds them. A
# comparison with NaN is False, so that a metric that is not available is ignored.
_RULES: tuple[Rule, ...] = (
    (
        FAIL,
        lambda q, s: q.high_frequency_share < s.min_high_frequency and not q.common_gain,
        "low-passed: only {q.high_frequency_share:.1%} of the power is above "
        f"{HIGH_FREQUENCY:g} Hz "
        "(target: at least {s.min_high_frequency:.0%}), and the map treats the filtered signals "
        "as the dynamics themselves: in simulations band-pass filtered at 0.01-0.1 Hz such maps "
        "correlated r = .06 to .34 with the truth. Use unfiltered signals, or the default "
        "surrogate with longer data",
    ),
    (
        CAUTION,
        lambda q, s: q.high_frequency_share < s.min_high_frequency and q.common_gain,
        "low-passed: only {q.high_frequency_share:.1%} of the power is above "
        f"{HIGH_FREQUENCY:g} Hz. The map accounts for the filter, which costs accuracy: in "
        "simulations of 20 regions band-pass filtered at 0.01-0.1 Hz it correlated r = .91 with "
        "the truth with 1600 samples and r = .74 with 400, where unfiltered signals gave .93 and "
        ".80",
    ),
    (
        CAUTION,
        lambda q, _: q.removed_delay_sd > 0 and not isnan(q.r_undelayed_antisymmetric),
        "regional delays were detected and modelled (SD {q.removed_delay_sd!n} s). They are "
        "most likely haemodynamic, but a strictly feed-forward hierarchy looks partly similar, so "
        "that some of its direction may have been attributed to delays: the directed parts of the "
        "maps with and without delays (meas-npi, meas-npiundelayed) correlate "
        "r = {q.r_undelayed_antisymmetric!n}, and the signals alone cannot tell which is right",
    ),
    (
        CAUTION,
        lambda q, _: q.removed_delay_sd > 0 and isnan(q.r_undelayed_antisymmetric),
        "regional delays were detected and modelled (SD {q.removed_delay_sd!n} s), and there is "
        "no stable map without them to compare with",
    ),
    (
        FAIL,
        lambda q, s: q.skill_own_history < s.min_skill,
        "held-out samples are predicted worse than from each region's own past "
        "(skill {q.skill_own_history!n}, target: at least {s.min_skill:g})",
    ),
    (
        FAIL,
        lambda q, _: q.spectral_radius >= 1,
        "the surrogate is unstable (spectral radius {q.spectral_radius:.3f}, target: below 1)",
    ),
    (
        FAIL,
        lambda q, s: not q.shrunk and q.r_split < s.min_split,
        "the maps of the two halves of the data hardly agree (r = {q.r_split!n}, target: at "
        "least {s.min_split:g})",
    ),
    (
        FAIL,
        lambda q, s: q.shrunk and q.r_others < s.min_split,
        "the map without prior hardly agrees with that of the other subjects (r = "
        "{q.r_others!n}, target: at least {s.min_split:g}), so that their mean does not "
        "describe this subject, or is noise",
    ),
    (
        FAIL,
        lambda q, s: q.expected_r < s.min_expected,
        "the expected accuracy is low: in simulations with comparable quality metrics, maps "
        "correlated only r = {q.expected_r!n} with the truth (90 % interval "
        "{q.expected_r_interval!n}; target: at least {s.min_expected:g})",
    ),
    (
        CAUTION,
        lambda q, _: not q.direction_supported,
        "direction is not supported: the signals do not differ from their time reversal (ratio "
        "{q.direction_ratio!n}, p = {q.direction_p!n}; targets: at least "
        "{s.direction_ratio:g} and below {s.direction_p:g}). Read the map as undirected",
    ),
    (
        CAUTION,
        lambda q, s: s.min_skill <= q.skill_own_history < s.good_skill,
        "other regions add little to the prediction (skill {q.skill_own_history!n} over each "
        "region's own past, target: {s.good_skill:g})",
    ),
    (
        CAUTION,
        lambda q, s: not q.shrunk and s.min_split <= q.r_split < s.good_split,
        "the maps of the two halves of the data agree weakly (r = {q.r_split!n}, target: "
        "{s.good_split:g})",
    ),
    (
        CAUTION,
        lambda q, s: (
            not q.shrunk
            and q.direction_supported
            and q.r_split_antisymmetric < s.good_direction_split
        ),
        "direction is weakly reproducible (the antisymmetric parts of the two halves correlate r "
        "= {q.r_split_antisymmetric!n}, target: {s.good_direction_split:g}): the direction of "
        "single connections in one subject is mostly noise; average over subjects",
    ),
    (
        CAUTION,
        lambda q, s: q.direction_supported and may_be_delays(q, s),
        "direction may be haemodynamic: fixed regional delays (SD {q.delay_sd!n} s) explain "
        "{q.delay_share:.0%} of the difference between the signals and their time reversal "
        "(limits: {s.max_delay_sd:g} s and {s.max_delay_share:.0%}). Do not interpret which "
        "region drives which",
    ),
    (
        CAUTION,
        lambda q, s: q.shrunk and not q.r_split >= s.good_split,
        "individual deviations are weakly reproducible: the deviations of the two halves from "
        "the group map correlate r = {q.r_split!n} (target: {s.good_split:g}). Read the map as "
        "that of the group, and compare subjects with care",
    ),
    (
        CAUTION,
        lambda q, s: q.r_split_oriented < s.good_direction_split,
        "the directions of the oriented matrix are not reproducible (r = "
        "{q.r_split_oriented!n} between the two halves, target: {s.good_direction_split:g}): "
        "do not interpret them",
    ),
    (
        CAUTION,
        lambda q, _: q.free_run_diverged,
        "the free-running surrogate diverges: left to itself it grows without bound, unlike the "
        f"signals, and its functional connectivity cannot be compared. {DIVERGENCE_ADVICE}",
    ),
    (
        CAUTION,
        lambda q, s: q.model_fc_r < s.good_model_fc,
        "the free-running surrogate reproduces functional connectivity poorly (model FC r = "
        "{q.model_fc_r!n}, target: {s.good_model_fc:g})",
    ),
    (
        CAUTION,
        lambda q, s: q.fc_r > s.max_fc_r and q.antisymmetric_share < UNDIRECTED_SHARE,
        "the map is little more than functional connectivity (r = {q.fc_r!n}, limit: "
        "{s.max_fc_r:g}; {q.antisymmetric_share:.1%} of its variance is directed)",
    ),
    (
        CAUTION,
        lambda q, s: q.stripe_share > s.max_stripes,
        "the map consists of stripes: the means of sources or of targets explain "
        "{q.stripe_share:.0%} of its variance (limit: {s.max_stripes:.0%}), so that it says "
        "little about single connections",
    ),
    (
        CAUTION,
        lambda q, s: s.min_expected <= q.expected_r < s.good_expected,
        "the expected accuracy is below its target: in simulations with comparable quality "
        "metrics, maps correlated r = {q.expected_r!n} with the truth (90 % interval "
        "{q.expected_r_interval!n}; target: {s.good_expected:g})",
    ),
    (
        CAUTION,
        lambda q, s: q.samples_per_parameter < s.good_samples,
        "little data: {q.samples_per_parameter!n} effective samples per parameter "
        "({q.minutes:.1f} min, {q.n_regions} regions; target: {s.good_samples:g})",
    ),
)  # fmt: skip


def judge(quality: Quality, settings: VerdictSettings) -> Verdict:
    """Judge a result by its quality; the most severe rule that applies gives the label.

    A verdict labels a map but never suppresses it.
    """
    reasons = [
        (level, fill_in(text, q=quality, s=settings))
        for level, applies, text in _RULES
        if applies(quality, settings)
    ]
    reasons.sort(key=lambda reason: reason[0] != FAIL)
    label = reasons[0][0] if reasons else PASS
    return Verdict(label, tuple(text for _, text in reasons))
