"""What each kind of matrix is: the only description of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_AXES = [
    {"Name": "source", "Description": "rows: the region that is perturbed"},
    {"Name": "target", "Description": "columns: the region that responds"},
]
_PAIRS = [{"Name": "source", "Description": "rows"}, {"Name": "target", "Description": "columns"}]


@dataclass(frozen=True, slots=True)
class _Measure:
    name: str
    description: str
    units: str
    directed: bool = True
    diagonal: bool = True


_MEASURES = {
    "npi": _Measure(
        "effective connectivity",
        "Mean change of the target one sample after the source was perturbed in the surrogate "
        "(neural perturbational inference, Luo et al. 2025, doi:10.1038/s41592-025-02654-x). "
        "Negative means a negative net effect in the surrogate. The diagonal is set to 0.",
        "standard deviations of the target",
        diagonal=False,
    ),
    "jacobian": _Measure(
        "effective connectivity",
        "Mean derivative of the surrogate's prediction of the target by the most recent sample "
        "of the source: the limit of the perturbation for small strength, per unit.",
        "standard deviations of the target per standard deviation of the source",
    ),
    "pearsoncorrelation": _Measure(
        "functional connectivity",
        "Pearson correlation over all kept samples of the runs.",
        "arbitrary",
        directed=False,
    ),
    "modelfc": _Measure(
        "functional connectivity of the surrogate",
        "Pearson correlation of the free-running surrogate (1200 samples from zeros, noise of SD "
        "0.1 on its input).",
        "arbitrary",
        directed=False,
    ),
    "partialcorrelation": _Measure(
        "partial correlation",
        "Correlation of a pair of regions with all others held fixed, from a covariance shrunk "
        "by the rule of Ledoit and Wolf (2004).",
        "arbitrary",
        directed=False,
    ),
    "laggedcorrelation": _Measure(
        "lagged correlation",
        "Correlation of the source with the target one sample later.",
        "arbitrary",
    ),
    "ridgevar": _Measure(
        "vector autoregression",
        "Weights of a VAR of one lag, by ridge regression with a penalty of least leave-one-out "
        "error.",
        "standard deviations of the target per standard deviation of the source",
    ),
    "oriented": _Measure(
        "oriented partial correlation",
        "Partial correlation, in the direction that the skewness of the signals gives it "
        "(Hyvarinen and Smith 2013); 0 in the other. Holds only where regions are skewed, and is "
        "to be trusted only where it repeats.",
        "arbitrary",
    ),
    "npistderr": _Measure(
        "standard error of effective connectivity",
        "Standard error of each entry of the map (meas-npi).",
        "standard deviations of the target",
        diagonal=False,
    ),
    "npilower": _Measure(
        "lower end of the 95 % interval of effective connectivity",
        "The map (meas-npi) less 1.96 standard errors.",
        "standard deviations of the target",
        diagonal=False,
    ),
    "npiupper": _Measure(
        "upper end of the 95 % interval of effective connectivity",
        "The map (meas-npi) plus 1.96 standard errors.",
        "standard deviations of the target",
        diagonal=False,
    ),
    "npip": _Measure(
        "p value of effective connectivity",
        "Two-sided p of the entry (meas-npi) being 0, not corrected.",
        "arbitrary",
        diagonal=False,
    ),
    "npiq": _Measure(
        "q value of effective connectivity",
        "p after the correction of Benjamini and Hochberg over all entries of the map.",
        "arbitrary",
        diagonal=False,
    ),
}


def measure_fields(measure: str) -> dict[str, Any]:
    """Return the fields that every matrix of a measure has."""
    known = _MEASURES[measure]
    return {
        "Description": f"Relationship matrix: {known.name}.",
        "RelationshipMeasure": known.name,
        "MeasureDescription": known.description,
        "MeasureUnits": known.units,
        "Weighted": True,
        "Directed": known.directed,
        "ValidDiagonal": known.diagonal,
        "NonNegative": False,
        "StorageFormat": "Full",
        "Software": "npi-bids",
        "Axes": _AXES if known.directed else _PAIRS,
    }
