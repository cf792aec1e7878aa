"""General linear models of every edge over subjects: estimates, t or F, and parametric p.

Edges are columns and subjects are rows; designs come from :mod:`npi_bids.group.design`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.stats import f as fisher
from scipy.stats import t as student

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.map_stack import split_edges
from npi_bids.records import Array, Mask

_SINGULAR = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """A hypothesis to test: ``matrix @ coefficients = 0``.

    Attributes
    ----------
    name
        Name, such as ``age`` or ``patient - control``.
    matrix
        Shape (n_rows, n_columns of the design); one row is a t test, several are an F test.
    """

    name: str
    matrix: Array

    @property
    def statistic(self) -> str:
        """``t`` or ``F``."""
        return "t" if len(self.matrix) == 1 else "F"


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The explanatory variables of the subjects' maps.

    Attributes
    ----------
    matrix
        Shape (n_subjects, n_columns).
    columns
        Their names.
    contrasts
        What is tested.
    blocks
        Shape (n_subjects,); subjects are exchanged only within a block.
    """

    matrix: Array
    columns: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    blocks: Array

    def __post_init__(self) -> None:
        n_rows, n_columns = self.matrix.shape
        if n_rows - n_columns < 1:
            raise NoUsableDataError(
                f"{n_rows} subjects are too few for a model of {n_columns} columns "
                f"({', '.join(self.columns)}); at least {n_columns + 1} are needed."
            )
        # Columns of unit length, so that the rank does not depend on their units.
        scaled = self.matrix / np.linalg.norm(self.matrix, axis=0).clip(1e-300)
        rank = np.linalg.matrix_rank(scaled, tol=_SINGULAR)
        if rank < n_columns:
            raise SettingsError(
                f"The columns of the model depend on each other: {', '.join(self.columns)} have "
                f"rank {rank} over {n_rows} subjects. Leave one out, or merge redundant "
                "levels."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A contrast of every edge; arrays have shape (n_edges,), NaN where it cannot be tested.

    Attributes
    ----------
    effect, standard_error
        Effect of a t test and its standard error; NaN for an F test.
    statistic
        t or F.
    p, q
        Parametric p, two-sided for t, and its Benjamini-Hochberg q over all edges.
    n
        Number of subjects that have the edge.
    """

    effect: Array
    standard_error: Array
    statistic: Array
    p: Array
    q: Array
    n: Array


def estimate(maps: Array, design: Design, contrast: Contrast) -> Estimate:
    """Fit every edge by least squares, over the subjects that have it.

    Edges that the same subjects have are fitted together. Where the design is singular for the
    subjects that have the edge, the edge is NaN.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_edges), may be memory-mapped; NaN where a subject lacks the edge.
    design, contrast
        The explanatory variables, and the hypothesis to test.
    """
    n_rows, n_edges = maps.shape
    results = np.full((5, n_edges), np.nan)
    for edges in split_edges(n_rows, n_edges):
        block = np.asarray(maps[:, edges], dtype=np.float64)
        present = np.isfinite(block)
        complete = present.all(axis=0)
        block_results = np.full((5, block.shape[1]), np.nan)
        block_results[:, complete] = _fit(block[:, complete], design.matrix, contrast)
        for columns in _group_columns(present, np.flatnonzero(~complete)):
            rows = present[:, columns[0]]
            block_results[:, columns] = _fit(
                block[np.ix_(rows, columns)], design.matrix[rows], contrast
            )
        results[:, edges] = block_results
    effect, error, statistic, p, n = results
    return Estimate(effect, error, statistic, p, fdr_q_values(p), n)


def _group_columns(present: Mask, columns: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the columns in groups that the same subjects have."""
    groups: dict[bytes, list[int]] = {}
    for column, packed in zip(columns, np.packbits(present[:, columns], axis=0).T, strict=True):
        groups.setdefault(packed.tobytes(), []).append(int(column))
    return [np.array(members) for members in groups.values()]


def _fit(y: Array, x: Array, contrast: Contrast) -> Array:
    """Return effect, standard error, statistic, p and n of edges that the same subjects have."""
    untestable = np.full((5, y.shape[1]), np.nan)
    untestable[4] = len(y)
    free = len(y) - x.shape[1]
    scaled = x / np.linalg.norm(x, axis=0).clip(1e-300)
    if free < 1 or np.linalg.matrix_rank(scaled, tol=_SINGULAR) < x.shape[1]:
        return untestable
    pieces = split_design(x, contrast)
    centred = y - y.mean(axis=0)
    constant = (centred**2).sum(axis=0) <= 1e-24 * np.maximum((y**2).sum(axis=0), 1e-300)
    effect = pieces.effect @ y
    residuals = y - pieces.basis @ (pieces.basis.T @ y)
    noise = (residuals**2).sum(axis=0) / free
    with np.errstate(invalid="ignore", divide="ignore"):
        if contrast.statistic == "t":
            error = np.sqrt(noise * pieces.spread[0, 0])
            statistic = effect[0] / error
            p = 2 * student.sf(np.abs(statistic), free)
            results = np.array([effect[0], error, statistic, p, untestable[4]])
        else:
            rows = len(contrast.matrix)
            weighed = np.linalg.solve(pieces.spread, effect)
            statistic = (effect * weighed).sum(axis=0) / rows / noise
            p = fisher.sf(statistic, rows, free)
            results = np.array([untestable[0], untestable[1], statistic, p, untestable[4]])
    results[2:4, constant] = np.nan
    return results


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The parts of a design that tests need, computed once.

    Attributes
    ----------
    effect
        Shape (n_rows of the contrast, n_subjects): its product with data is the effect.
    spread
        Shape (n_rows, n_rows): covariance of the effect for unit noise.
    basis
        Shape (n_subjects, n_columns), orthonormal: the space that the design explains.
    nuisance
        The same for the design without the effect.
    """

    effect: Array
    spread: Array
    basis: Array
    nuisance: Array


def split_design(x: Array, contrast: Contrast) -> Pieces:
    """Split a design into effect and nuisance, for the permutation of Freedman and Lane."""
    inverse = np.linalg.pinv(x)
    effect = contrast.matrix @ inverse
    spread = contrast.matrix @ (inverse @ inverse.T) @ contrast.matrix.T
    basis, _ = np.linalg.qr(x)
    without = x @ null_space(contrast.matrix)
    nuisance = np.linalg.qr(without)[0] if without.shape[1] else np.zeros((len(x), 0))
    return Pieces(effect, spread, basis, nuisance)


def drop_test(result: Estimate) -> Estimate:
    """Return only the effects of a contrast whose test is not valid."""
    blank = np.full(result.effect.shape, np.nan)
    return Estimate(result.effect, blank, blank, blank, blank, result.n)


def depends_on_mean(design: Design, contrast: Contrast) -> bool:
    """Tell whether a contrast changes with the mean of all maps, as a test of the mean does.

    >>> design = Design(np.array([[1.0, -1], [1, 0], [1, 2]]), ("one", "age"), (), np.zeros(3))
    >>> mean, age = Contrast("one", np.array([[1.0, 0]])), Contrast("age", np.array([[0, 1.0]]))
    >>> depends_on_mean(design, mean), depends_on_mean(design, age)
    (True, False)
    """
    inverse = np.linalg.pinv(design.matrix)
    shift = contrast.matrix @ inverse.sum(axis=1)
    scale = np.abs(contrast.matrix) @ np.abs(inverse).sum(axis=1)  # whatever the units of columns
    return bool((np.abs(shift) > _SINGULAR * scale).any())
