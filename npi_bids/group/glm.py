"""General linear models of every edge over subjects: estimates, t or F, and parametric p.

Edges are columns and subjects are rows; designs come from :mod:`npi_bids.group.design`. Variances
are moderated over edges (:mod:`npi_bids.group.moderation`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.special import fdtrc, stdtr

from npi_bids.assessment.uncertainty import fdr_q_values
from npi_bids.bids.sidecars import FEWEST_FOR_Q
from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.map_stack import split_edges
from npi_bids.group.moderation import moderate, prior_variance
from npi_bids.records import Array, Mask

_SINGULAR = 1e-8
_FITTED = ("effect", "root_spread", "numerator", "variance", "free", "n")


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
    weights
        Shape (n_subjects,); weights of the subjects, in proportion to the inverse variance of
        their maps; equal if None.
    n_components
        Number of rows of each subject, which follow each other and are exchanged together: the
        components of an effect within subjects that has several degrees of freedom. Everything
        of shape (n_subjects,) has one entry per row then.
    epsilon
        Factor of the degrees of freedom of an F test of several components: 1 if they have the
        same variance and are not correlated, down to 1 / n_components (Box 1954,
        doi:10.1214/aoms/1177728717).
    """

    matrix: Array
    columns: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    blocks: Array
    weights: Array | None = None
    n_components: int = 1
    epsilon: float = 1.0

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.matrix) // self.n_components

    @property
    def root_weights(self) -> Array:
        """Square roots of the weights, by which rows are multiplied, shape (n_subjects,)."""
        n = len(self.matrix)
        roots: Array = np.ones(n) if self.weights is None else np.sqrt(self.weights)
        return roots

    def __post_init__(self) -> None:
        n_rows, n_columns = self.matrix.shape
        if n_rows - n_columns < 1:
            needed = n_columns // self.n_components + 1
            raise NoUsableDataError(
                f"{self.n_subjects} subjects are too few for a model of {n_columns} columns "
                f"({', '.join(self.columns)}); at least {needed} are needed."
            )
        # Columns of unit length, so that the rank does not depend on their units.
        scaled = self.matrix / np.linalg.norm(self.matrix, axis=0).clip(1e-300)
        rank = np.linalg.matrix_rank(scaled, tol=_SINGULAR)
        if rank < n_columns:
            raise SettingsError(
                f"The columns of the model depend on each other: {', '.join(self.columns)} have "
                f"rank {rank} over {self.n_subjects} subjects. Leave one out, or merge redundant "
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
        Parametric p, two-sided for t, and its Benjamini-Hochberg q over all edges; q is NaN for
        fewer than eight subjects.
    n
        Number of subjects that have the edge.
    df
        Degrees of freedom of its variance, those that all edges contribute included.
    """

    effect: Array
    standard_error: Array
    statistic: Array
    p: Array
    q: Array
    n: Array
    df: Array


def estimate(maps: Array, design: Design, contrast: Contrast) -> Estimate:
    """Fit every edge by weighted least squares, over the subjects that have it.

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
    fitted = np.full((len(_FITTED), n_edges), np.nan)
    roots = design.root_weights[:, None]
    weighted = roots * design.matrix
    is_weighted = bool((roots != 1).any())
    for edges in split_edges(n_rows, n_edges):
        block = np.asarray(maps[:, edges], dtype=np.float64)
        constant = _is_constant(block)
        block = roots * block if is_weighted else block
        present = np.isfinite(block)
        complete = present.all(axis=0)
        block_results = np.full((len(_FITTED), block.shape[1]), np.nan)
        block_results[:, complete] = _fit(block[:, complete], weighted, contrast)
        for columns in _group_columns(present, np.flatnonzero(~complete)):
            rows = present[:, columns[0]]
            block_results[:, columns] = _fit(
                block[np.ix_(rows, columns)], weighted[rows], contrast
            )
        block_results[_FITTED.index("variance"), constant] = np.nan
        fitted[:, edges] = block_results
    fitted[_FITTED.index("n")] /= design.n_components
    return _test(dict(zip(_FITTED, fitted, strict=True)), contrast, design)


def _is_constant(block: Array) -> Mask:
    """Return which columns do not vary over the subjects that have them."""
    present = np.isfinite(block)
    if present.all():
        values, centred = block, block - block.sum(axis=0) / len(block)
    else:
        n = np.maximum(present.sum(axis=0), 1)
        values = np.where(present, block, 0.0)
        centred = np.where(present, values - values.sum(axis=0) / n, 0.0)
    squares = np.multiply(centred, centred, out=centred).sum(axis=0)
    squares_of_values = np.multiply(values, values, out=centred).sum(axis=0)
    constant: Mask = squares <= 1e-24 * np.maximum(squares_of_values, 1e-300)
    return constant


def _test(fitted: dict[str, Array], contrast: Contrast, design: Design) -> Estimate:
    """Return the tests of the fitted edges, with moderated variances."""
    variance, free, numerator = (fitted[name] for name in ("variance", "free", "numerator"))
    moderated, df = moderate(variance, free, prior_variance(variance, free))
    df = np.where(np.isfinite(variance), df, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        if contrast.statistic == "t":
            statistic = numerator / np.sqrt(moderated)
            p = 2 * stdtr(df, -np.abs(statistic))
        else:
            statistic = numerator / moderated
            epsilon = design.epsilon
            p = fdtrc(epsilon * len(contrast.matrix), epsilon * df, statistic)
    q = fdr_q_values(p) if design.n_subjects >= FEWEST_FOR_Q else np.full_like(p, np.nan)
    error = fitted["root_spread"] * np.sqrt(moderated)
    return Estimate(fitted["effect"], error, statistic, p, q, fitted["n"], df)


def _group_columns(present: Mask, columns: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the columns in groups that the same subjects have."""
    groups: dict[bytes, list[int]] = {}
    for column, packed in zip(columns, np.packbits(present[:, columns], axis=0).T, strict=True):
        groups.setdefault(packed.tobytes(), []).append(int(column))
    return [np.array(members) for members in groups.values()]


def _fit(y: Array, x: Array, contrast: Contrast) -> Array:
    """Return the fields of edges that the same subjects have, in the order of ``_FITTED``.

    The statistic is ``numerator / sqrt(variance)`` for t, and ``numerator / variance`` for F.
    """
    untestable = np.full((len(_FITTED), y.shape[1]), np.nan)
    untestable[-1] = len(y)
    free = len(y) - x.shape[1]
    scaled = x / np.linalg.norm(x, axis=0).clip(1e-300)
    if free < 1 or np.linalg.matrix_rank(scaled, tol=_SINGULAR) < x.shape[1]:
        return untestable
    pieces = split_design(x, contrast)
    effect = pieces.effect @ y
    residuals = pieces.basis @ (pieces.basis.T @ y)
    np.subtract(y, residuals, out=residuals)
    variance = np.multiply(residuals, residuals, out=residuals).sum(axis=0) / free
    same = np.ones(y.shape[1])
    if contrast.statistic == "t":
        root_spread = np.sqrt(pieces.spread[0, 0])
        numerator = effect[0] / root_spread
        fields = effect[0], root_spread * same, numerator, variance, free * same, len(y) * same
    else:
        weighed = np.linalg.solve(pieces.spread, effect)
        numerator = (effect * weighed).sum(axis=0) / len(contrast.matrix)
        fields = np.nan * same, np.nan * same, numerator, variance, free * same, len(y) * same
    return np.array(fields)


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
    return Estimate(result.effect, blank, blank, blank, blank, result.n, blank)


def depends_on_mean(design: Design, contrast: Contrast) -> bool:
    """Tell whether a contrast changes with the mean of all maps, as a test of the mean does.

    >>> design = Design(np.array([[1.0, -1], [1, 0], [1, 2]]), ("one", "age"), (), np.zeros(3))
    >>> mean, age = Contrast("one", np.array([[1.0, 0]])), Contrast("age", np.array([[0, 1.0]]))
    >>> depends_on_mean(design, mean), depends_on_mean(design, age)
    (True, False)
    """
    inverse = np.linalg.pinv(design.matrix)
    inverse = inverse.reshape(len(inverse), design.n_subjects, design.n_components)
    shift = contrast.matrix @ inverse.sum(axis=1)
    scale = np.abs(contrast.matrix) @ np.abs(inverse).sum(axis=1)  # whatever the units of columns
    return bool((np.abs(shift) > _SINGULAR * scale).any())
