"""Effects within and between subjects of a model over visits, each tested on one error term.

Rows of the model are visits. An effect that varies within subjects is estimated in every subject
by itself, and these estimates are modelled over subjects; any other effect is tested on the
subjects' means (summary statistics: Holmes and Friston 1998; within-between models: Mundlak 1978,
doi:10.2307/1913646). Visits of a subject may thus be correlated in any way, and differ in their
variance. An effect of several degrees of freedom, such as a factor of three sessions, has as many
components per subject; the rows of a subject are exchanged together, or change sign together
(Winkler et al. 2015, doi:10.1016/j.neuroimage.2015.05.092).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.contrasts import Columns, Part
from npi_bids.group.design import BuiltDesign
from npi_bids.group.glm import Contrast, Design, split_design
from npi_bids.group.map_stack import sample_edges, split_edges
from npi_bids.records import Array
from npi_bids.wording import join_items

WITHIN, BETWEEN = "within subjects", "between subjects"
_TOLERANCE = 1e-8
_FULL_LEVERAGE = 1 - 1e-8
_SMALLEST_SHARE = 1e-9  # of the largest variance of a component, below which it does not vary
_Key = tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class VisitModel:
    """A model over visits.

    Attributes
    ----------
    built
        Its design, whose rows are visits.
    participants
        Label of the subject of each included visit, ``sub-01``.
    sessions
        Label of the session of each included visit.
    n_windows
        Number of windows of each included visit; 1 for all where some are not known.
    """

    built: BuiltDesign
    participants: tuple[str, ...]
    sessions: tuple[str, ...]
    n_windows: Array

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels of the subjects, sorted."""
        return tuple(sorted(set(self.participants)))

    @property
    def varying(self) -> frozenset[int]:
        """Indices of the factors that vary within at least one subject."""
        varying = set()
        for factor, values in enumerate(self.built.factor_values):
            if any(np.ptp(values[visits]) > 0 for visits in self._visits.values()):
                varying.add(factor)
        return frozenset(varying)

    @property
    def varying_names(self) -> tuple[str, ...]:
        """Names of these factors."""
        factors = self._terms.formula.factors
        return tuple(factors[index].name for index in sorted(self.varying))

    @property
    def mixed_names(self) -> tuple[str, ...]:
        """Names of factors that vary within subjects, and whose mean differs between them."""
        names = []
        for factor in sorted(self.varying):
            values, levels = self.built.factor_values[factor], self._terms.levels[factor]
            codes = [values == level for level in range(len(levels))] if levels else [values]
            means = np.array([
                [code[visits].mean() for code in codes] for visits in self._visits.values()
            ])  # fmt: skip
            if (np.ptp(means, axis=0) > _TOLERANCE * max(1.0, np.abs(means).max())).any():
                names.append(self._terms.formula.factors[factor].name)
        return tuple(names)

    @property
    def _terms(self) -> Columns:
        if self.built.terms is None:
            raise ValueError("The design does not say of which factors its columns are products.")
        return self.built.terms

    @property
    def _visits(self) -> dict[str, NDArray[np.int64]]:
        """Rows of the visits of each subject."""
        names = np.array(self.participants)
        return {subject: np.flatnonzero(names == subject) for subject in self.subjects}

    def test(self, contrast: Contrast) -> SubjectTest:
        """Return how a contrast of the model is tested over subjects.

        Raises
        ------
        SettingsError
            The contrast combines effects that are not tested together.
        NoUsableDataError
            Too few subjects determine it.
        """
        deviations = self.built.design.matrix.copy()
        for visits in self._visits.values():
            deviations[visits] -= deviations[visits].mean(axis=0)
        if _determines(deviations, contrast.matrix):
            return self._test_within(contrast)
        return self._test_between(contrast)

    # Within subjects.

    def _test_within(self, contrast: Contrast) -> SubjectTest:
        effect = self._split(contrast)
        weights: dict[str, Array] = {}
        left_out = {}
        for subject, visits in self._visits.items():
            varying = self._columns(effect.joint, visits)
            varying = varying - varying.mean(axis=0)
            if _determines(varying, effect.within):
                weights[subject] = effect.within @ np.linalg.pinv(varying, rcond=_TOLERANCE)
            else:
                left_out[subject] = self._why_undetermined(subject, contrast)
        if not weights:
            raise NoUsableDataError(
                f"{contrast.name}: no subject has the visits that determine it within subjects; "
                f"for example {next(iter(left_out))}: {next(iter(left_out.values()))}."
            )
        transform = _Transform(
            tuple(self._visits[subject] for subject in weights), tuple(weights.values())
        )
        design, n_changes = self._design_within(effect, transform)
        return SubjectTest(
            WITHIN, tuple(weights), left_out, transform, design, self._information(transform),
            n_changes,
        ).named(contrast)  # fmt: skip

    def _split(self, contrast: Contrast) -> _Effect:
        """Split a contrast into what varies within subjects and how subjects are compared."""
        keys = [self._key(parts, within=True) for parts in self._terms.parts]
        others = [self._key(parts, within=False) for parts in self._terms.parts]
        within_keys, between_keys = (list(dict.fromkeys(k)) for k in (keys, others))
        tensor = np.zeros((len(contrast.matrix), len(within_keys), len(between_keys)))
        for column, (key, other) in enumerate(zip(keys, others, strict=True)):
            place = within_keys.index(key), between_keys.index(other)
            tensor[:, place[0], place[1]] = contrast.matrix[:, column]
        used = [number for number in range(len(within_keys)) if np.any(tensor[:, number])]
        tensor = tensor[:, used]
        tested = [within_keys[number] for number in used]
        crossed = [[o for k, o in zip(keys, others, strict=True) if k == key] for key in tested]
        within, between = _separate(tensor)
        separable = len(within) * len(between) == np.linalg.matrix_rank(contrast.matrix)
        if not separable or any(set(names) != set(crossed[0]) for names in crossed):
            raise SettingsError(
                f"--contrast {contrast.name!r} combines effects within subjects that are modelled "
                "differently between subjects, so that no single estimate per subject tests it; "
                "name one term, such as session or session:group."
            )
        factors = {part.factor for key in tested for part in key}
        joint = [key for key in within_keys if key and {part.factor for part in key} <= factors]
        spread = np.zeros((len(within), len(joint)))
        spread[:, [joint.index(key) for key in tested]] = within
        nuisance = [column for column, key in enumerate(keys) if key and key not in joint]
        compared = [between_keys.index(name) for name in crossed[0]]
        return _Effect(joint, spread, crossed[0], between[:, compared], nuisance)

    def _design_within(self, effect: _Effect, transform: _Transform) -> tuple[Design, int]:
        """Return the design of the subjects' estimates: one block of columns per component.

        The last columns are changes of covariates; their number is returned, too.
        """
        m = len(effect.within)
        first = np.array([visits[0] for visits in transform.visits])
        subjects = np.column_stack([self._product(key)[first] for key in effect.crossed])
        names = [self._name(key) for key in effect.crossed]
        matrix: Array = np.kron(subjects, np.eye(m))  # subjects x components, terms x components
        columns = [f"{name} ({i + 1})" if m > 1 else name for name in names for i in range(m)]
        weights: Array = np.asarray(np.kron(effect.between, np.eye(m)), dtype=np.float64)
        added = transform.apply(self.built.design.matrix[:, effect.nuisance])
        used = np.abs(added).max(axis=0, initial=0) > _TOLERANCE
        labels = [self.built.design.columns[column] for column in effect.nuisance]
        columns += [f"change of {label}" for label, use in zip(labels, used, strict=True) if use]
        weights = np.pad(weights, ((0, 0), (0, int(used.sum()))))
        matrix = np.column_stack([matrix, added[:, used]])
        blocks = np.repeat(self.built.design.blocks[first], m)
        tested = Contrast("", weights)
        return Design(matrix, tuple(columns), (tested,), blocks, n_components=m), int(used.sum())

    def _why_undetermined(self, subject: str, contrast: Contrast) -> str:
        sessions = [self.sessions[row] for row in self._visits[subject]]
        if len(sessions) == 1:
            return f"one session only ({sessions[0]}), which says nothing within the subject"
        return f"sessions {join_items(sessions)} do not determine {contrast.name}"

    # Between subjects.

    def _test_between(self, contrast: Contrast) -> SubjectTest:
        left_out: dict[str, str] = {}
        while True:
            subjects = [subject for subject in self.subjects if subject not in left_out]
            visits = tuple(self._visits[subject] for subject in subjects)
            means = _Transform(visits, tuple(np.full((1, len(v)), 1 / len(v)) for v in visits))
            full = means.apply(self.built.design.matrix)
            columns = _independent(full, [not self._varies(p) for p in self._terms.parts])
            leverage = (np.linalg.qr(full[:, columns])[0] ** 2).sum(axis=1)
            alone = np.flatnonzero(leverage > _FULL_LEVERAGE)
            if not alone.size or len(subjects) - alone.size < 2:
                break
            left_out |= {
                subjects[row]: "no other subject has such visits, so that the model fits its mean "
                "exactly"
                for row in alone
            }
        reduced = full[:, columns]
        loadings = np.linalg.pinv(reduced) @ full
        weights = contrast.matrix @ np.linalg.pinv(loadings)
        if not np.allclose(weights @ loadings, contrast.matrix, atol=1e-6):
            raise SettingsError(
                f"--contrast {contrast.name!r} cannot be tested between subjects: their visits "
                "differ so that it cannot be separated from effects within subjects "
                f"({join_items(self.varying_names)}). Leave out a term, or exclude subjects whose "
                "sessions are incomplete."
            )
        names = tuple(self.built.design.columns[column] for column in columns)
        blocks = self.built.design.blocks[[rows[0] for rows in visits]]
        design = Design(reduced, names, (Contrast("", weights),), blocks)
        information = self._information(means)
        return SubjectTest(BETWEEN, tuple(subjects), left_out, means, design, information).named(
            contrast
        )

    # Columns of the model.

    def _varies(self, parts: _Key) -> bool:
        return any(part.factor in self.varying for part in parts)

    def _key(self, parts: _Key, *, within: bool) -> _Key:
        varying = self.varying
        return tuple(part for part in parts if (part.factor in varying) == within)

    def _product(self, key: _Key) -> Array:
        """Return a product of factors over the visits."""
        product = np.ones(len(self.participants))
        for part in key:
            values = self.built.factor_values[part.factor]
            product = product * (values if part.level is None else values == part.level)
        return product

    def _columns(self, keys: Sequence[_Key], visits: NDArray[np.int64]) -> Array:
        return np.column_stack([self._product(key)[visits] for key in keys])

    def _name(self, key: _Key) -> str:
        terms = self._terms
        return replace(terms, parts=(key,)).names[0]

    def _information(self, transform: _Transform) -> Array:
        """Return windows that each subject's estimate is worth: 1 over the sum of weight^2 / n."""
        return np.array([
            len(weights) / (weights**2 / self.n_windows[visits]).sum()
            for visits, weights in zip(transform.visits, transform.weights, strict=True)
        ])  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Effect:
    """A contrast, split.

    ``joint`` are the products of factors that are fitted in every subject, ``within`` their
    weights, one row per component; ``crossed`` the products over subjects, ``between`` their
    weights; ``nuisance`` the columns that vary within subjects, and are covariates.
    """

    joint: list[_Key]
    within: Array
    crossed: list[_Key]
    between: Array
    nuisance: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class _Transform:
    """Weights of the visits of each subject, shape (n_components, n_visits of the subject)."""

    visits: tuple[NDArray[np.int64], ...]
    weights: tuple[Array, ...]

    def apply(self, values: Array, out: Array | None = None) -> Array:
        """Return the estimates of the subjects, shape (n_subjects * n_components, n_edges).

        Subject by subject, so that an edge that one lacks is missing in that subject alone.
        """
        m = len(self.weights[0])
        rows = np.empty((len(self.visits) * m, values.shape[1])) if out is None else out
        for number, (visits, weights) in enumerate(zip(self.visits, self.weights, strict=True)):
            rows[number * m : (number + 1) * m] = weights @ np.asarray(values[visits])
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class SubjectTest:
    """One contrast, as it is tested over subjects.

    Attributes
    ----------
    stratum
        ``within subjects`` or ``between subjects``.
    subjects
        Labels of the subjects that determine it.
    left_out
        Why others do not, by label.
    transform
        Weights of their visits.
    design
        Design of their estimates, with the contrast.
    information
        Shape (n_subjects,); number of windows that each estimate is worth.
    n_changes
        Number of columns of the design, the last ones, that are changes of covariates.
    """

    stratum: str
    subjects: tuple[str, ...]
    left_out: dict[str, str]
    transform: _Transform
    design: Design
    information: Array
    n_changes: int = 0

    def named(self, contrast: Contrast) -> SubjectTest:
        """Return the test with the name of the contrast of the model."""
        tested = replace(self.design.contrasts[0], name=contrast.name)
        return replace(self, design=replace(self.design, contrasts=(tested,)))

    @property
    def contrast(self) -> Contrast:
        """The contrast of the design."""
        return self.design.contrasts[0]

    @property
    def n_visits(self) -> int:
        """Number of visits."""
        return sum(map(len, self.transform.visits))

    def prepare(self, values: Array, path: Path | None = None) -> tuple[Array, Design]:
        """Return the estimates of the subjects, and their design.

        Several components are divided by the root of the covariance that all edges share, so that
        they have the same variance and are not correlated, as far as edges are alike; what is
        left is the ``epsilon`` of the design.

        Parameters
        ----------
        values
            Shape (n_visits of the model, n_edges), may be memory-mapped.
        path
            File of the estimates; in memory if None.
        """
        m = self.design.n_components
        shape = len(self.subjects) * m, values.shape[1]
        out: Array | None = None
        if path is not None:
            out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
        rows = self.transform.apply(values, out)
        if m == 1:
            return rows, self.design
        whitening = _whitening(sample_edges(rows), self.design)
        for edges in split_edges(*rows.shape):
            rows[:, edges] = _mix(rows[:, edges], whitening)
        matrix = self.design.matrix.copy()
        if self.n_changes:
            matrix[:, -self.n_changes :] = _mix(matrix[:, -self.n_changes :], whitening)
        design = replace(self.design, matrix=matrix)
        return rows, replace(design, epsilon=_box_epsilon(sample_edges(rows), design))


def _determines(rows: Array, weights: Array) -> bool:
    """Tell whether weights of coefficients are combinations of rows of a design."""
    if not np.any(rows):
        return False
    scale = np.linalg.norm(rows, axis=0).clip(1e-300)
    scaled, requested = rows / scale, weights / scale
    projected = requested @ np.linalg.pinv(scaled, rcond=_TOLERANCE) @ scaled
    unseen = np.abs(weights[:, np.linalg.norm(rows, axis=0) < 1e-12])
    if unseen.size and unseen.max() > 0:
        return False
    return bool(np.allclose(projected, requested, atol=1e-6 * np.abs(requested).max()))


def _separate(tensor: Array) -> tuple[Array, Array]:
    """Return weights within and between whose products span the rows of a contrast.

    ``tensor`` has the shape (n_rows, n_within, n_between). One row keeps its scale and sign.
    """
    rows, n_within, n_between = tensor.shape
    if rows == 1:
        matrix = tensor[0]
        between = matrix[np.argmax(np.linalg.norm(matrix, axis=1))]
        between = between / np.abs(between).max()
        within = matrix @ between / (between @ between)
        if np.allclose(np.outer(within, between), matrix):
            return within[None], between[None]
    within = _orthonormal(tensor.transpose(1, 0, 2).reshape(n_within, -1))
    between = _orthonormal(tensor.transpose(2, 0, 1).reshape(n_between, -1))
    return within.T, between.T


def _orthonormal(columns: Array) -> Array:
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    basis: Array = left[:, values > _TOLERANCE * values[0]]
    return basis


def _independent(matrix: Array, first: Sequence[bool]) -> list[int]:
    """Return columns that do not depend on each other; those in ``first`` are preferred."""
    order = [*np.flatnonzero(first), *np.flatnonzero(~np.array(first))]
    chosen: list[int] = []
    basis = np.zeros((len(matrix), 0))
    for column in order:
        values = matrix[:, column]
        remainder = values - basis @ (basis.T @ values)
        remainder -= basis @ (basis.T @ remainder)
        length = np.linalg.norm(remainder)
        if length > _TOLERANCE * max(float(np.linalg.norm(values)), 1e-12):
            chosen.append(int(column))
            basis = np.column_stack([basis, remainder / length])
    return chosen


def _mix(rows: Array, whitening: Array) -> Array:
    """Multiply the components of every subject by a matrix."""
    m = len(whitening)
    stacked = np.asarray(rows).reshape(-1, m, rows.shape[1])
    mixed: Array = np.einsum("ij,sje->sie", whitening, stacked).reshape(rows.shape)
    return mixed


def _component_covariances(residuals: Array, m: int) -> Array:
    """Return the products of the components of each edge, summed over subjects."""
    stacked = residuals.reshape(-1, m, residuals.shape[1])
    products: Array = np.einsum("sie,sje->eij", stacked, stacked)
    return products


def _whitening(sample: Array, design: Design) -> Array:
    """Return the inverse root of the covariance of components that all edges share.

    It comes from residuals of the model without the effect, so that it does not change when
    subjects are exchanged or change sign. Every edge counts alike, whatever its variance is.
    """
    m = design.n_components
    if not sample.shape[1]:
        return np.eye(m)
    nuisance = split_design(design.matrix, design.contrasts[0]).nuisance
    products = _component_covariances(sample - nuisance @ (nuisance.T @ sample), m)
    covariance = (products / np.trace(products, axis1=1, axis2=2)[:, None, None]).mean(axis=0)
    values, vectors = np.linalg.eigh(covariance * m)
    values = np.maximum(values, _SMALLEST_SHARE * values[-1])
    whitening: Array = (vectors / np.sqrt(values)) @ vectors.T
    return whitening


def _box_epsilon(sample: Array, design: Design) -> float:
    """Return Box's epsilon of the components, from the residuals of all edges together.

    ``tr(C)^2 / (m tr(C^2))`` with unbiased estimates of numerator and denominator for residual
    covariances C of each edge (Huynh and Feldt 1976; Srivastava 2005), averaged over edges.
    """
    m, n_columns = design.n_components, design.matrix.shape[1]
    df = (len(design.matrix) - n_columns) / m
    if not sample.shape[1] or df <= 1:
        return 1.0 / m
    basis = np.linalg.qr(design.matrix)[0]
    products = _component_covariances(sample - basis @ (basis.T @ sample), m)
    traces = np.trace(products, axis1=1, axis2=2)
    covariances = products / (traces[:, None, None] / m)  # the same size for every edge
    squares = float(np.einsum("eij,eij->e", covariances, covariances).mean())
    total = float(m**2)
    of_squares = df * squares - total  # common factors cancel
    of_trace = (df + 1) * total - 2 * squares
    if not of_squares > 0:
        return 1.0
    return float(np.clip(of_trace / (m * of_squares), 1.0 / m, 1.0))
