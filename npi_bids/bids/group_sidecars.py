"""Fields of the JSON sidecars of groups and of models over subjects: the only list of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npi_bids.bids.measures import measure_fields


@dataclass(frozen=True, slots=True)
class _Variant:
    what: str
    units: str = ""  # of the measure where empty
    negative: bool = True


_VARIANTS = {
    "groupmean": _Variant("Mean over subjects"),
    "groupsd": _Variant("Sample standard deviation over subjects", negative=False),
    "groupn": _Variant("Number of subjects that have the edge", "subjects", negative=False),
    "groupmax": _Variant(
        "Mean over subjects, scaled so that the strongest connection is 1", "arbitrary"
    ),
    "groupt": _Variant("t of the mean over subjects", "t"),
    "groupp": _Variant("Two-sided p of a mean of 0, not corrected", "p", negative=False),
    "groupq": _Variant(
        "p of a mean of 0 after the correction of Benjamini and Hochberg over all edges",
        "q", negative=False,
    ),
    "grouplower": _Variant("Lower end of the 95 % interval of the mean over subjects"),
    "groupupper": _Variant("Upper end of the 95 % interval of the mean over subjects"),
    "groupsign": _Variant(
        "Share of the subjects whose entry has the sign of the mean", "share", negative=False
    ),
    "groupinfluence": _Variant(
        "Largest change of the mean when one subject is left out, in standard errors",
        "standard errors", negative=False,
    ),
    "groupmedian": _Variant("Median over subjects"),
    "grouptrimmed": _Variant("Trimmed mean over subjects"),
    "groupicc": _Variant("ICC(2,1) over the visits of subjects (Shrout and Fleiss 1979)", "ICC"),
    "groupmotion": _Variant(
        "Correlation with mean framewise displacement over subjects (QC-EC)", "r"
    ),
    "modeleffect": _Variant("Effect, by least squares over subjects"),
    "modelstatistic": _Variant("Statistic of the effect (t, or F of several columns)", "t or F"),
    "modelp": _Variant("Parametric p, two-sided, not corrected", "p", negative=False),
    "modelq": _Variant(
        "Parametric p after the correction of Benjamini and Hochberg over all edges",
        "q", negative=False,
    ),
    "modelpermuted": _Variant("p of each edge by permutation, not corrected", "p", negative=False),
    "modelfwe": _Variant(
        "p by permutation, family-wise by the largest statistic of each", "p", negative=False
    ),
    "modelnbs": _Variant(
        "p by permutation, family-wise, of the network of directed edges above the threshold that "
        "the edge is in; 1 outside of networks", "p", negative=False,
    ),
    "modeltfnbs": _Variant(
        "p by permutation, family-wise, of the threshold-free network score of the edge",
        "p", negative=False,
    ),
}  # fmt: skip


def group_sidecar(
    measure: str, variant: str, facts: Mapping[str, Any], links: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sidecar of a matrix of a group.

    Parameters
    ----------
    measure
        What the subjects' matrices are.
    variant
        What is known of the group's or the model's edges.
    facts, links
        Further fields.
    """
    fields = measure_fields(measure)
    known = _VARIANTS[variant]
    return {
        **fields,
        "Description": f"{known.what}: {fields['RelationshipMeasure']}.",
        "MeasureUnits": known.units or fields["MeasureUnits"],
        "NonNegative": not known.negative,
        **links,
        **facts,
    }


def variant_words() -> dict[str, str]:
    """Return what the end of ``desc`` means for every matrix of a group or a model."""
    return {
        kind.removeprefix("model").capitalize(): known.what for kind, known in _VARIANTS.items()
    }
