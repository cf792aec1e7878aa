"""Fields of the JSON sidecars of groups and of models over subjects: the only list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from npi_bids.bids.measures import measure_fields

ENOUGH_SUBJECTS = 10  # below, tests are marked


@dataclass(frozen=True, slots=True)
class _Variant:
    what: str
    units: str = ""  # of the measure where empty
    negative: bool = True
    test: bool = False  # or an interval: what does not hold where tests do not


_VARIANTS = {
    "groupmean": _Variant("Mean over subjects"),
    "groupsd": _Variant("Sample standard deviation over subjects", negative=False),
    "groupn": _Variant("Number of subjects that have the edge", "subjects", negative=False),
    "groupmax": _Variant(
        "Mean over subjects, scaled so that the strongest connection is 1", "arbitrary"
    ),
    "groupt": _Variant("t of the mean over subjects", "t", test=True),
    "groupp": _Variant(
        "Two-sided p of a mean of 0, not corrected", "p", negative=False, test=True
    ),
    "groupq": _Variant(
        "p of a mean of 0 after the correction of Benjamini and Hochberg over all edges",
        "q",
        negative=False,
        test=True,
    ),
    "grouplower": _Variant("Lower end of the 95 % interval of the mean over subjects", test=True),
    "groupupper": _Variant("Upper end of the 95 % interval of the mean over subjects", test=True),
    "groupsign": _Variant(
        "Share of the subjects whose entry has the sign of the mean",
        "share",
        negative=False,
        test=True,
    ),
    "groupinfluence": _Variant(
        "Largest change of the mean when one subject is left out, in standard errors",
        "standard errors",
        negative=False,
    ),
    "groupmedian": _Variant("Median over subjects"),
    "grouptrimmed": _Variant("Trimmed mean over subjects"),
    "groupicc": _Variant("ICC(2,1) over the visits of subjects (Shrout and Fleiss 1979)", "ICC"),
    "groupmotion": _Variant(
        "Correlation with mean framewise displacement over subjects (QC-EC)", "r"
    ),
    "modeleffect": _Variant("Effect, by least squares over subjects"),
    "modelstatistic": _Variant(
        "Statistic of the effect (t, or F of several columns)", "t or F", test=True
    ),
    "modelp": _Variant("Parametric p, two-sided, not corrected", "p", negative=False, test=True),
    "modelq": _Variant(
        "Parametric p after the correction of Benjamini and Hochberg over all edges",
        "q",
        negative=False,
        test=True,
    ),
    "modelpermuted": _Variant(
        "p of each edge by permutation, not corrected", "p", negative=False, test=True
    ),
    "modelfwe": _Variant(
        "p by permutation, family-wise by the largest statistic of each",
        "p",
        negative=False,
        test=True,
    ),
    "modelnbs": _Variant(
        "p by permutation, family-wise, of the network of directed edges above the threshold that "
        "the edge is in; 1 outside of networks",
        "p",
        negative=False,
        test=True,
    ),
    "modeltfnbs": _Variant(
        "p by permutation, family-wise, of the threshold-free network score of the edge",
        "p",
        negative=False,
        test=True,
    ),
}


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
    stated = {key: value for key, value in facts.items() if key != "NotTested"}
    return {
        **fields,
        "Description": f"{known.what}: {fields['RelationshipMeasure']}.",
        "MeasureUnits": known.units or fields["MeasureUnits"],
        "NonNegative": not known.negative,
        **links,
        **stated,
        **(trust_fields(facts) if known.test else {}),
    }


def trust_fields(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sidecar says of how far tests over subjects can be trusted.

    ``facts`` hold ``NumberOfSubjects``, and ``NotTested`` where there is a reason against tests.
    """
    if facts.get("NotTested"):
        return {"NotTested": facts["NotTested"]}
    n_subjects = int(facts["NumberOfSubjects"])
    return {"FewSubjects": few_subjects(n_subjects)} if n_subjects < ENOUGH_SUBJECTS else {}


def few_subjects(n_subjects: int) -> str:
    """Return what to bear in mind of tests over few subjects."""
    return (
        f"n = {n_subjects}: p values and intervals rest on few subjects (fewer than "
        f"{ENOUGH_SUBJECTS}). They assume normally distributed effects, which so few subjects "
        "cannot show; a single subject can decide them, and only large effects can be found. "
        "Treat them as exploratory."
    )


_TABLES = {
    "edges": "One row per connection",
    "regions": "One row per region and figure of what the maps say of regions",
    "networks": "One row per pair of networks, by how regions are put together",
    "subjects": "One row per subject of the group",
    "components": "One row per connection of every network of connections above the threshold",
}
_COLUMNS = {
    "grouping": "How regions are put together.",
    "figure": "What the maps say of the region; columns of desc-*Strength_dseg.tsv.",
    "region": "Name of the region.",
    "network": "Network of the region.",
    "source": "Region or network that is perturbed.",
    "target": "Region or network that responds.",
    "n": "Subjects that have the value.",
    "mean": "Mean over subjects.",
    "sd": "Sample standard deviation over subjects.",
    "standard_error": "Standard error of the mean or of the effect.",
    "lower": "Lower end of the 95 % interval of the mean.",
    "upper": "Upper end of the 95 % interval of the mean.",
    "t": "t of the mean.",
    "effect": "Effect, by least squares over subjects; n/a for an F test.",
    "statistic": "t or F of the effect.",
    "p": "Two-sided p, not corrected.",
    "q": "p after the correction of Benjamini and Hochberg over all rows of the same figure.",
    "p_permuted": "p by permutation, not corrected.",
    "p_fwe": "p by permutation, family-wise.",
    "p_nbs": "p by permutation, family-wise, of the network of connections it is in.",
    "p_tfnbs": "p by permutation, family-wise, of its threshold-free network score.",
    "sign_consistency": "Share of the subjects whose value has the sign of the mean.",
    "median": "Median over subjects.",
    "trimmed": "Trimmed mean over subjects.",
    "influence": "Largest change of the mean when one subject is left out, in standard errors.",
    "most_influential": "That subject.",
    "r_with_others": "Correlation of the subject's map with the mean of all others.",
    "outlier": "Whether that is three robust standard deviations lower than usual.",
    "component": "Number of the network of connections.",
    "sign": "Sign of the effect.",
    "n_edges": "Connections of the network.",
}


def table_sidecar(table: str, columns: Iterable[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sidecar of a long table of a group.

    Parameters
    ----------
    table
        What is in its rows: edges, regions, networks, subjects or components.
    columns
        Of the table.
    facts
        ``NumberOfSubjects`` and further fields, as :func:`group_sidecar` has them.
    """
    names = [name for name in columns if name in _COLUMNS]
    stated = {key: value for key, value in facts.items() if key != "NotTested"}
    tested = {"p", "p_fwe", "lower"} & set(names)
    return {
        "Description": f"{_TABLES[table]}.",
        **stated,
        **(trust_fields(facts) if tested else {}),
        **{name: {"Description": _COLUMNS[name]} for name in names},
    }


def variant_words() -> dict[str, str]:
    """Return what the end of ``desc`` means for every matrix of a group or a model."""
    return {
        kind.removeprefix("model").capitalize(): known.what for kind, known in _VARIANTS.items()
    }
