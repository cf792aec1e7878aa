"""Group analysis of the parameters of whole-brain models, with the uncertainty of each subject.

Each subject has a posterior of its own, whose variance is its sampling variance; what is left is
the variance between subjects. Both are in a random-effects meta-regression, by restricted maximum
likelihood, with the standard errors and degrees of freedom of Knapp and Hartung (2003,
doi:10.1002/sim.1482). The posterior mean of a parameter that is not identified is the middle of
its prior, so that effects on it are shrunk towards 0; the table counts the subjects in which it is
identified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

from npi_bids.bids.sidecars import GroupFields, PosteriorFields
from npi_bids.group.analysis import GroupTarget
from npi_bids.group.design import build_model
from npi_bids.group.settings import ModelSettings
from npi_bids.io.tables import read_table
from npi_bids.records import Array

_FEWEST = 2  # subjects more than columns
_INSIDE, _NOT_IDENTIFIED = "inside", "not identified"
_MOST_SPREAD = 100.0  # SD between subjects, in SD of the values, that are searched


@dataclass(frozen=True, slots=True)
class ParameterEffect:
    """A contrast of one parameter: effect, standard error, degrees of freedom and p.

    ``sd_between`` is the standard deviation between subjects that neither the model nor the
    posteriors explain. All are NaN where there are too few subjects.
    """

    effect: float
    standard_error: float
    free: float
    p: float
    sd_between: float


def estimate_effect(
    values: Array, variances: Array, design: Array, contrast: Array
) -> ParameterEffect:
    """Estimate a contrast by a random-effects meta-regression.

    Parameters
    ----------
    values, variances
        Shape (n_subjects,); posterior means and variances.
    design
        Shape (n_subjects, n_columns).
    contrast
        Shape (n_columns,).
    """
    n, n_columns = design.shape
    free = n - n_columns
    if free < _FEWEST - 1:
        return ParameterEffect(*[float("nan")] * 5)
    spread = _estimate_spread(values, variances, design)
    weights = 1 / (variances + spread**2)
    inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
    coefficients = inverse @ (design.T @ (weights * values))
    residuals = values - design @ coefficients
    scale = max(1.0, float(weights @ residuals**2) / free)  # never narrower than the posteriors
    effect = float(contrast @ coefficients)
    error = float(np.sqrt(scale * contrast @ inverse @ contrast))
    p = float(2 * student.sf(abs(effect) / error, free)) if error > 0 else float("nan")
    return ParameterEffect(effect, error, float(free), p, spread)


def _estimate_spread(values: Array, variances: Array, design: Array) -> float:
    """Return the SD between subjects by restricted maximum likelihood."""

    def loss(spread: float) -> float:
        weights = 1 / (variances + spread**2)
        information = design.T @ (weights[:, None] * design)
        coefficients = np.linalg.solve(information, design.T @ (weights * values))
        residuals = values - design @ coefficients
        _, log_determinant = np.linalg.slogdet(information)
        return float(-np.log(weights).sum() + log_determinant + (weights * residuals**2).sum())

    most = _MOST_SPREAD * float(values.std() + np.sqrt(variances).mean())
    scale = float(values.std()) or most
    found = minimize_scalar(loss, bounds=(0.0, min(most, 10 * scale)), method="bounded")
    return float(found.x) if found.fun < loss(0.0) else 0.0


def save_parameters(
    tables: Mapping[str, Sequence[Path]],
    rows: Sequence[Mapping[str, object]],
    target: GroupTarget,
    model: ModelSettings,
) -> Path | None:
    """Write the group's mean of every parameter, and its tests by the requested model.

    Subjects outside what the model can produce are left out, and counted.

    Parameters
    ----------
    tables
        ``parameters.tsv`` of each subject, by label.
    rows
        One row of the subjects' table for each subject, in the order of their labels.
    target
        Where the files go.
    model
        The requested model; only the mean is estimated for models over sessions.
    """
    inside = {label: paths for label, paths in tables.items() if all(map(_is_inside, paths))}
    subjects = [str(row["participant_id"]).removeprefix("sub-") for row in rows]
    used = [row for row, label in zip(rows, subjects, strict=True) if label in inside]
    pooled = {label: _pool_runs(paths) for label, paths in inside.items()}
    names = list(dict.fromkeys(name for paths in tables.values() for name in _names(paths[0])))
    designs = _list_designs(used, model)
    records = []
    for name in names:
        values = {label: table.loc[name] for label, table in pooled.items() if name in table.index}
        for contrast, matrix, labels, weights in designs:
            chosen = [label for label in labels if label in values]
            keep = np.array([label in values for label in labels], dtype=bool)
            means = np.array([values[label]["mean"] for label in chosen], dtype=np.float64)
            sds = np.array([values[label]["sd"] for label in chosen], dtype=np.float64)
            effect = estimate_effect(means, sds**2, matrix[keep], weights)
            is_mean = contrast == "mean"
            records.append({
                "parameter": name, "contrast": contrast, "n": len(chosen),
                "n_outside": len(tables) - len(inside),
                "n_identified": sum(
                    values[label]["identification"] != _NOT_IDENTIFIED for label in chosen
                ),
                "effect": effect.effect, "standard_error": effect.standard_error,
                "lower": effect.effect - _half_width(effect),
                "upper": effect.effect + _half_width(effect),
                "sd_between": effect.sd_between,
                "statistic": np.nan if is_mean else effect.effect / effect.standard_error,
                "p": np.nan if is_mean else effect.p,
            })  # fmt: skip
    fields = GroupFields(subjects=tuple(inside), number_of_subjects=len(inside))
    return target.save_table("parametertests", pd.DataFrame(records), fields)


_Design = tuple[str, Array, list[str], Array]  # contrast, matrix, labels of its rows, weights


def _list_designs(rows: Sequence[Mapping[str, object]], model: ModelSettings) -> list[_Design]:
    """Return the mean and the contrasts of the requested model with one row."""
    labels = [str(row["participant_id"]).removeprefix("sub-") for row in rows]
    designs: list[_Design] = [("mean", np.ones((len(rows), 1)), labels, np.ones(1))]
    if not model.effective_formula or model.paired or not rows:
        return designs
    built = build_model(rows, model)
    included = [label for label, use in zip(labels, built.rows, strict=True) if use]
    return designs + [
        (contrast.name, built.design.matrix, included, contrast.matrix[0])
        for contrast in built.design.contrasts
        if len(contrast.matrix) == 1
    ]


def _pool_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """Return mean and SD of the parameters of a subject, averaged over its tables."""
    tables = [read_table(path).set_index("name") for path in paths]
    pooled = tables[0].copy()
    pooled["mean"] = np.mean([table["mean"] for table in tables], axis=0)
    pooled["sd"] = np.sqrt(np.mean([table["sd"] ** 2 for table in tables], axis=0) / len(tables))
    return pooled


def _names(path: Path) -> list[str]:
    return read_table(path)["name"].astype(str).tolist()


def _is_inside(path: Path) -> bool:
    return PosteriorFields.read(path.with_suffix(".json")).position == _INSIDE


def _half_width(effect: ParameterEffect) -> float:
    """Return half of the width of the 95 % interval."""
    return float(student.ppf(0.975, effect.free) * effect.standard_error)
