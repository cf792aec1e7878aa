"""Which maps of subjects are tested, and why some tests of pre-trained ones are not valid."""

from __future__ import annotations

from collections.abc import Iterable

from npi_bids.bids.sidecars import PretrainedOrigin

# Names of outputs: maps without prior, forwards and in reversed time, and with one in proportion
# to the number of windows.
UNSHRUNK, REVERSED, PROPORTIONAL = "npiunshrunk", "npireversed", "npiproportional"
SAME, DIFFERENT, UNKNOWN = "subjects of this group", "other subjects", "unknown subjects"
_REASONS = {
    SAME: "The surrogates were pre-trained on subjects of this group, or on subjects that have "
    "the same labels. Each map is shrunk towards the mean of all of them, so that "
    "subjects are not independent: t, p, q, intervals and the share of equal signs would make "
    "noise look certain. Fit the subjects without --pretrained, or by a surrogate that has maps "
    "without prior (hybrid, mou, var, rdcm), to test them. Agreement between subjects is "
    "inflated, too.",
    UNKNOWN: "The sidecars of the maps do not say on which subjects the surrogates were "
    "pre-trained. If these are subjects of this group, they are not independent of each other, "
    "and tests would make noise look certain. Fit the subjects again to record it, or without "
    "--pretrained to test them.",
}
_REASON_OF_MEAN = (
    "The surrogates were pre-trained on other subjects, and every map is shrunk towards the mean "
    "of those. All maps share it, noise included, so that a test of their mean against 0 would "
    "be significant whatever these subjects have. Differences between subjects and between "
    "sessions are tested; fit the subjects without --pretrained to test their mean."
)
_AS_THEY_ARE = (
    "At least one subject has no map without prior (meas-npiunshrunk): its surrogate cannot be "
    "fitted so, or it was fitted by an earlier version. The maps (meas-npi) are therefore tested "
    "as they are. Where a prior shrinks them, each by a precision of its own, connections that "
    "are 0 can take over what is taken from others, and groups whose scans differ in length can "
    "differ without cause."
)


_WITHOUT_PRIOR = (
    "At least one subject has no map with a prior in proportion to its number of windows "
    "(meas-npiproportional), because it was fitted by an earlier version. Differences are "
    "therefore tested on maps without prior (meas-npiunshrunk), which are noisier, so that fewer "
    "are found; run the participant level again to find more."
)


def describe_tested(measure: str, *, mean: bool) -> str:
    """Return what it means that maps of a measure were tested; empty for those that should be.

    Parameters
    ----------
    measure
        Measure of the maps.
    mean
        Whether their mean is tested against 0, and not differences between them.

    >>> describe_tested(UNSHRUNK, mean=True), describe_tested(PROPORTIONAL, mean=False)
    ('', '')
    """
    if measure == UNSHRUNK:
        return "" if mean else _WITHOUT_PRIOR
    return "" if measure == PROPORTIONAL else _AS_THEY_ARE


def pretrained_on(origins: Iterable[PretrainedOrigin | None]) -> str:
    """Return on which subjects surrogates were pre-trained; empty if they were not.

    Parameters
    ----------
    origins
        What the sidecar of each map of a group says of its pre-trained surrogate; None where it
        has none.

    Returns
    -------
    str
        ``SAME`` where at least one was a subject of the group, ``DIFFERENT``, ``UNKNOWN`` or
        empty.

    >>> pretrained_on([PretrainedOrigin(subject_included=False)])
    'other subjects'
    """
    stated = [origin for origin in origins if origin is not None]
    included = {
        origin.subject_left_out or None
        if origin.subject_included is None
        else origin.subject_included
        for origin in stated
    }
    if not stated:
        return ""
    if True in included:
        return SAME
    return DIFFERENT if included == {False} else UNKNOWN


def why_not_tested(subjects: str, measure: str, *, mean: bool) -> str:
    """Return why a test is not valid, as text; empty where it is.

    Parameters
    ----------
    subjects
        On which subjects the surrogates were pre-trained, from :func:`pretrained_on`.
    measure
        Measure of the maps that are tested; those with a fixed prior do not know the group.
    mean
        Whether the mean of the maps is tested against 0, and not differences between them.

    >>> why_not_tested(SAME, UNSHRUNK, mean=True)
    ''
    """
    if measure in (UNSHRUNK, PROPORTIONAL):
        return ""
    if subjects == DIFFERENT:
        return _REASON_OF_MEAN if mean else ""
    return _REASONS.get(subjects, "")
