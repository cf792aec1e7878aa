"""Effective connectivity of a subject from its signals; ``ec()`` takes arrays."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from npi_bids.assessment.expected_accuracy import expected_accuracy
from npi_bids.assessment.grades import grade
from npi_bids.assessment.hazards import find_hazards
from npi_bids.assessment.near_ties import find_near_ties
from npi_bids.assessment.quality import (
    Fit,
    antisymmetric_share,
    assess_fit,
    split_delays,
    split_half,
    split_oriented,
)
from npi_bids.assessment.settings import AssessSettings
from npi_bids.assessment.uncertainty import bootstrap_error, compute_intervals
from npi_bids.assessment.verdict import judge, supports_direction
from npi_bids.connectivity.measures import functional_connectivity, model_free_measures
from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.responses import respond_to_sets, response_table
from npi_bids.connectivity.settings import MEASURE_NAMES, PerturbSettings
from npi_bids.connectivity.simulation import model_fc
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError, SurrogateError
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import (
    Array,
    ECResult,
    Grades,
    Mask,
    Quality,
    RegionSeries,
    Table,
    Uncertainty,
    Verdict,
    Windows,
)
from npi_bids.settings import period_problem
from npi_bids.surrogates.base import (
    PRESETS,
    Surrogate,
    TrainLog,
    TrainSettings,
    describe_training,
    parse_passband,
    resolve,
)
from npi_bids.surrogates.between_subjects import own_share
from npi_bids.surrogates.delay_map import DelayMap
from npi_bids.surrogates.devices import fit_device, fits_on
from npi_bids.surrogates.families import family, name_kind
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.fixed_precision import PROPORTIONAL, WEAK
from npi_bids.surrogates.group_prior import GroupPrior, group_surrogate
from npi_bids.surrogates.lagged_evidence import direction_test
from npi_bids.surrogates.selection_criteria import MIN_OBSERVATION_REGIONS
from npi_bids.surrogates.spectral_selection import (
    describe_few_regions,
    name_passband,
)
from npi_bids.surrogates.storage import Stored
from npi_bids.surrogates.training import requested_threads, threads
from npi_bids.surrogates.windows import cut_windows, expand_to_atlas, shared_regions, split_windows
from npi_bids.wording import count_noun, format_range, join_items, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_LOGGER = logging.getLogger(__name__)
_MIN_REGIONS_FOR_THREADS = 200
_ALPHA = 0.05  # q below which the representation of a result names a connection
__all__ = ("ec", "period_problem")


@dataclass(frozen=True, slots=True, eq=False)
class SubjectEC:
    """Result of one fit of one subject.

    Attributes
    ----------
    measures
        By name, over all regions of the atlas: ``npi`` (EC by perturbation, diagonal 0 as
        published) and the other requested measures; ``modelfc`` only if the free run is bounded.
        Standard errors, limits of the 95 % intervals, p and q of the map are ``npistderr``,
        ``npilower``, ``npiupper``, ``npip`` and ``npiq``, if available.
    quality, verdict
        Quality metrics of the result, and whether it can be trusted.
    hazards
        Sentences on properties of the signals that are known to degrade maps.
    uncertainty
        Origin of the standard errors: ``posterior``, ``bootstrap`` or empty.
    log
        Training history.
    surrogate
        The fitted model of the covered regions.
    covered
        Shape (n_regions of the atlas,); regions in the model.
    n_windows_per_run
        Number of windows of each run, in the order of the runs.
    settings
        The training settings with every choice resolved.
    grades
        Which statements about data, connections and direction hold; None for whole-brain models.
    tables, account
        Tables that a model other than a surrogate writes beside its map, by the name of the file,
        and its description instead of that of training and perturbation.
    """

    measures: dict[str, ECResult]
    quality: Quality
    verdict: Verdict
    hazards: tuple[str, ...]
    uncertainty: str
    log: TrainLog
    surrogate: Stored
    covered: Mask
    n_windows_per_run: tuple[int, ...]
    settings: TrainSettings
    grades: Grades | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)
    account: Mapping[str, object] = field(default_factory=dict)

    @property
    def ec(self) -> Array:
        """The map, shape (n_regions, n_regions), indexed ``[source, target]``."""
        return self.measures["npi"].matrix

    def __repr__(self) -> str:
        """Return five lines: regions and data, surrogate, verdict, accuracy, strongest entry."""
        quality, settings = self.quality, self.settings
        runs = count_noun(len(self.n_windows_per_run), "run")
        verdict = "; ".join([self.verdict.label, *self.verdict.reasons[:1]])
        more = len(self.verdict.reasons) - 1
        kind = name_kind(settings.surrogate, describe_training(settings, self.log))
        surrogate = f"{settings.surrogate}, {count_noun(settings.n_lags or 0, 'lag')}"
        surrogate += f" ({kind})" if kind != settings.surrogate else ""
        return "\n".join([
            f"Effective connectivity of {count_noun(int(self.covered.sum()), 'region')}, "
            f"{quality.minutes:.1f} min in {runs}, {count_noun(quality.n_windows, 'window')}",
            f"  surrogate: {surrogate}; held-out R² {quality.r2:.2f}",
            f"  verdict: {verdict}" + (f" (and {more} more)" if more > 0 else ""),
            f"  expected accuracy: {_expected_text(quality)}",
            f"  strongest connection: {self._strongest_text()}",
        ])  # fmt: skip

    def _strongest_text(self) -> str:
        magnitude = np.abs(self.ec)
        np.fill_diagonal(magnitude, np.nan)
        if not np.isfinite(magnitude).any():
            return "none"
        if "npiq" in self.measures and not (self.measures["npiq"].matrix < _ALPHA).any():
            return f"none has q below {_ALPHA:g}"
        source, target = np.unravel_index(np.nanargmax(magnitude), magnitude.shape)
        labels = self.measures["npi"].labels
        arrow = "->" if self.quality.direction_supported else "-"
        text = f"{labels[source]} {arrow} {labels[target]}, {self.ec[source, target]:.3g}"
        if "npiq" in self.measures:
            text += f" (q = {self.measures['npiq'].matrix[source, target]:.2g})"
        return text

    def to_frame(self, measure: str = "npi", *, long: bool = False) -> DataFrame:
        """Return a matrix as a data frame with region names.

        Parameters
        ----------
        measure
            One of ``measures``.
        long
            Return one row per directed pair of different regions instead, with its standard error,
            p and q; NaN if they are not available.

        Returns
        -------
        DataFrame
            Shape (n_regions, n_regions), index ``source`` and columns ``target``; or the columns
            ``source``, ``target``, ``ec``, ``se``, ``p`` and ``q``.

        Raises
        ------
        SettingsError
            If there is no such measure, or if ``long`` is set for a measure other than the map.
        """
        import pandas as pd

        matrix, labels = self._measure(measure).matrix, self._measure(measure).labels
        if not long:
            return pd.DataFrame(
                matrix,
                index=pd.Index(labels, name="source"),
                columns=pd.Index(labels, name="target"),
            )
        if measure != "npi":
            raise SettingsError("Long tables hold the map; use measure='npi'.")
        source, target = np.nonzero(~np.eye(len(labels), dtype=bool))
        columns = {"source": np.array(labels)[source], "target": np.array(labels)[target]}
        for name, measure_name in (
            ("ec", "npi"),
            ("se", "npistderr"),
            ("p", "npip"),
            ("q", "npiq"),
        ):
            result = self.measures.get(measure_name)
            columns[name] = np.full(source.size, np.nan) if result is None else (
                result.matrix[source, target]
            )  # fmt: skip
        return pd.DataFrame(columns)

    def plot(
        self, measure: str = "npi", networks: Sequence[str] = (), *, axes: Axes | None = None
    ) -> Axes:
        """Plot a matrix as in the reports, with sources in rows and targets in columns.

        Parameters
        ----------
        measure
            One of ``measures``.
        networks
            Network of each region, by which regions are sorted; empty to keep their order.
        axes
            Matplotlib axes; those of a new figure if None.

        Returns
        -------
        Axes
            The axes with the matrix.

        Raises
        ------
        SettingsError
            If there is no such measure.
        """
        from matplotlib import pyplot as plt

        from npi_bids.plotting import MatrixStyle, plot_matrix

        result = self._measure(measure)
        if axes is None:
            _, axes = plt.subplots(figsize=(5.6, 5.0), layout="compressed")
        symmetric = np.allclose(result.matrix, result.matrix.T, equal_nan=True)
        title = "effective connectivity" if measure == "npi" else measure
        style = MatrixStyle(title=title, directed=not symmetric)
        return plot_matrix(axes, result.matrix, style, networks, result.labels)

    def _measure(self, name: str) -> ECResult:
        if name not in self.measures:
            raise SettingsError(
                f"There is no measure {name}; this result has {join_items(self.measures)}."
            )
        return self.measures[name]


def _expected_text(quality: Quality) -> str:
    """Return the accuracy of comparable simulations, or that there are none."""
    if np.isnan(quality.expected_r):
        return "not available (no comparable simulation)"
    return (
        f"r = {rounded(quality.expected_r)} with the truth in comparable simulations "
        f"(90 % interval {format_range(*quality.expected_r_interval)})"
    )


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A surrogate trained on the runs of one subject.

    Attributes
    ----------
    surrogate
        Model of the covered regions, fitted to all windows; identical to ``checked`` if the
        settings do not request a refit.
    checked
        The same fitted to only the training windows, for the error on held-out windows.
    log
        Training history.
    settings
        The training settings with every choice resolved.
    """

    surrogate: Surrogate
    checked: Surrogate
    log: TrainLog
    settings: TrainSettings


@dataclass(frozen=True, slots=True, eq=False)
class PerturbedModel:
    """Responses of a trained surrogate to perturbations, over the covered regions.

    Attributes
    ----------
    matrix
        Effective connectivity, shape (n_covered, n_covered), indexed ``[source, target]``; the
        diagonal is 0, as published.
    jacobian
        Mean derivative by the most recent sample, same shape and orientation.
    members
        Shape (n_members, n_covered, n_covered); the matrix of each member of an ensemble, empty
        for a single model.
    responses
        Shape (n_sets, n_regions of the atlas); responses to the sets of regions that were
        perturbed together.
    settings
        Settings of the perturbation.
    """

    matrix: Array
    jacobian: Array
    members: Array
    responses: Array
    settings: PerturbSettings


def ec_of_runs(
    runs: Sequence[RegionSeries],
    *,
    train: TrainSettings,
    perturb: PerturbSettings,
    assess: AssessSettings | None = None,
    regressors: Sequence[str] = (),
    prior: GroupPrior | DelayMap | None = None,
) -> SubjectEC:
    """Train one surrogate on all runs of a subject and perturb it in every observed state.

    Calls :func:`train_runs`, :func:`perturb_model` and :func:`assess_model` in this order.
    Regions that any run does not cover are excluded from the model and are NaN in the result.

    Parameters
    ----------
    runs
        Normalised series of one subject with the same regions and sampling period.
    train
        Training settings.
    perturb
        Settings of the perturbation.
    assess
        Measures beyond the map, and the thresholds of the verdict.
    regressors
        Names of the regressors that were removed from the series, for warnings.
    prior
        Prior from a group, over all regions. Agreement of halves is then that of their deviations
        from the group's map, since the map that they share is not informative. Or what is known of
        the delays of regions, over all regions.

    Returns
    -------
    SubjectEC
        Matrices in the order and with all regions of the input, indexed ``[source, target]``.

    Raises
    ------
    InputDataError
        If the runs differ in regions or sampling period.
    NoUsableDataError
        If too few samples or regions remain.
    SurrogateError
        If training or perturbation diverges.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signals = rng.standard_normal((500, 2))
    >>> signals[1:, 1] += 0.8 * signals[:-1, 0]  # A drives B
    >>> run = RegionSeries(signals, ("A", "B"), tr=2.0, keep=np.ones(500, dtype=bool))
    >>> result = ec_of_runs([run], train=TrainSettings(), perturb=PerturbSettings())
    >>> result.measures["npi"].matrix.round(1) + 0.0
    array([[0. , 0.8],
           [0. , 0. ]])
    """
    trained = train_runs(runs, train=train, prior=prior)
    perturbed = perturb_model(runs, trained, perturb=perturb)
    group = prior if isinstance(prior, GroupPrior) else None
    return assess_model(
        runs, trained, perturbed, assess=assess, regressors=regressors, prior=group
    )


def train_runs(
    runs: Sequence[RegionSeries],
    *,
    train: TrainSettings,
    prior: GroupPrior | DelayMap | None = None,
) -> TrainedModel:
    """Train one surrogate on all runs of a subject.

    Parameters
    ----------
    runs
        Normalised series of one subject with the same regions and sampling period.
    train
        Training settings.
    prior
        Prior from a group, over all regions of the atlas. The surrogate that predicts held-out
        windows is shrunk towards the group without the subject. Or what is known of the delays of
        regions.

    Raises
    ------
    InputDataError
        If the runs differ in regions or sampling period.
    NoUsableDataError
        If too few samples or regions remain.
    SurrogateError
        If training diverges.
    """
    settings = resolve(train)
    with _resources_for(runs, settings):
        _, covered, windows = _prepare(runs, settings)
        prior = prior and prior.take(covered)
        group = prior if isinstance(prior, GroupPrior) else None
        train_windows, valid_windows = split_windows(windows, settings.train_fraction)
        checked, log = fit_surrogate(
            train_windows, valid_windows, settings, prior=group.for_prediction if group else prior
        )
        surrogate = checked
        if settings.refit or (group and group.without_subject):
            used, no_windows = windows if settings.refit else train_windows, windows.take(slice(0))
            surrogate, _ = fit_surrogate(used, no_windows, settings, checked, group)
    return TrainedModel(surrogate, checked, log, settings)


def perturb_model(
    runs: Sequence[RegionSeries], trained: TrainedModel, *, perturb: PerturbSettings
) -> PerturbedModel:
    """Perturb a trained surrogate in every observed state.

    Parameters
    ----------
    runs
        The series that the surrogate was trained on.
    trained
        Result of :func:`train_runs`.
    perturb
        Settings of the perturbation.

    Raises
    ------
    InputDataError
        If a set of regions to perturb together contains a region that is not in the atlas.
    SurrogateError
        If the perturbed predictions are not finite.
    """
    surrogate, seed = trained.surrogate, trained.settings.seed
    with _resources_for(runs, trained.settings):
        _, covered, windows = _prepare(runs, trained.settings)
        matrix = _infer_map(surrogate, windows, perturb, seed)
        networks = surrogate.members
        members = np.zeros((len(networks) if len(networks) > 1 else 0, *matrix.shape))
        for index in range(len(members)):
            members[index] = _infer_map(networks[index], windows, perturb, seed)
        return PerturbedModel(
            matrix=matrix,
            jacobian=mean_jacobian(surrogate, windows.history),
            members=members,
            responses=respond_to_sets(
                surrogate, windows.history, perturb, runs[0].labels, covered.tolist()
            ),
            settings=perturb,
        )


def assess_model(
    runs: Sequence[RegionSeries],
    trained: TrainedModel,
    perturbed: PerturbedModel,
    *,
    assess: AssessSettings | None = None,
    regressors: Sequence[str] = (),
    prior: GroupPrior | None = None,
) -> SubjectEC:
    """Assess how far the effective connectivity of a subject can be trusted.

    The surrogate is refitted to halves of the data, and to resamples if a bootstrap is requested.

    Parameters
    ----------
    runs
        The series that the surrogate was trained on.
    trained, perturbed
        Results of :func:`train_runs` and :func:`perturb_model`.
    assess
        Requested measures, and the thresholds of the verdict.
    regressors
        Names of the regressors that were removed from the series, for warnings.
    prior
        The prior with which the surrogate was trained.

    Returns
    -------
    SubjectEC
        Matrices in the order and with all regions of the input, indexed ``[source, target]``.

    Raises
    ------
    SurrogateError
        If a refit diverges.
    """
    requested, settings = assess or AssessSettings(), trained.settings
    with _resources_for(runs, settings):
        shared, covered, windows = _prepare(runs, settings)
        refit = _Refit(
            trained.surrogate, settings, perturbed.settings, prior and prior.take(covered)
        )
        fit = _collect_fit(shared, windows, trained, perturbed)
        quality = _assess_quality(fit, shared, windows, refit, perturbed.members, requested)
        matrices = _collect_measures(fit, shared, windows, requested.measures.measures)
        matrices |= _observation_measures(trained.surrogate, windows, refit)
        matrices |= _tested_measures(trained.surrogate, windows, refit)
        quality = _add_agreement(quality, matrices)
        quality = _add_own_share(quality, matrices, windows, refit)
        quality = _add_extent(quality, runs, covered)
        quality = _add_delay_evidence(quality, trained)
        if family(settings.surrogate).calibrated:
            quality = _add_expected_accuracy(quality)
        uncertainty = _estimate_uncertainty(fit, windows, refit, requested.measures.n_bootstrap)
    if uncertainty is not None:
        parts = (
            ("stderr", uncertainty.standard_error),
            ("lower", uncertainty.lower),
            ("upper", uncertainty.upper),
        )
        matrices |= {
            f"npi{name}": part
            for name, part in (*parts, ("p", uncertainty.p), ("q", uncertainty.q))
        }
    labels, verdict = runs[0].labels, judge(quality, requested.verdict)
    return SubjectEC(
        tables=_collect_tables(trained.surrogate, perturbed, labels, covered, runs[0].tr),
        measures={
            name: ECResult(expand_to_atlas(m, covered), labels) for name, m in matrices.items()
        },
        quality=quality,
        verdict=verdict,
        grades=grade(quality, verdict, requested.verdict),
        hazards=(
            *find_hazards(shared, regressors),
            *_find_unused_passband(trained, int(covered.sum())),
            *find_near_ties(dict(trained.log.details), quality, requested.verdict),
        ),
        uncertainty=uncertainty.method if uncertainty else "",
        log=trained.log,
        surrogate=trained.surrogate,
        covered=covered,
        n_windows_per_run=_count_windows(windows, shared),
        settings=settings,
    )


def _add_agreement(quality: Quality, matrices: Mapping[str, Array]) -> Quality:
    """Add the agreement of the map with others of the subject, and of those of both halves."""

    def agree(name: str, other: str) -> tuple[float, float]:
        pair = matrices[name], matrices[other]
        return pearson(*pair), pearson(*map(antisymmetric, pair))

    if "npiunshrunk" in matrices:
        r, r_antisymmetric = agree("npi", "npiunshrunk")
        quality = replace(
            quality,
            r_unshrunk=r,
            r_unshrunk_antisymmetric=r_antisymmetric,
            antisymmetric_share_unshrunk=antisymmetric_share(matrices["npiunshrunk"]),
        )
    if {"npifirsthalf", "npisecondhalf"} <= set(matrices):
        r, r_antisymmetric = agree("npifirsthalf", "npisecondhalf")
        quality = replace(quality, r_halves=r, r_halves_antisymmetric=r_antisymmetric)
    if "npiundelayed" in matrices:
        quality = replace(quality, r_undelayed_antisymmetric=agree("npi", "npiundelayed")[1])
    return quality


def _add_extent(quality: Quality, runs: Sequence[RegionSeries], covered: Mask) -> Quality:
    """Add how much of the scan and of the atlas is left."""
    keep = np.concatenate([run.keep for run in runs])
    return replace(
        quality,
        covered_share=float(covered.mean()),
        censored_share=float(1 - keep.mean()),
        minutes_kept=float(keep.sum()) * runs[0].tr / 60,
    )


def _add_delay_evidence(quality: Quality, trained: TrainedModel) -> Quality:
    """Add how clearly delays show, and would have shown, where they were looked for."""
    details = dict(trained.log.details)
    evidence, benefit, expected = (
        details.get(name, math.nan)
        for name in ("delay_evidence", "delay_benefit", "expected_delay_evidence")
    )
    return replace(
        quality,
        delay_evidence=evidence,
        delay_benefit=benefit,
        expected_delay_evidence=expected,
    )


def _find_unused_passband(trained: TrainedModel, n_regions: int) -> tuple[str, ...]:
    """Return why a named passband was not used, if it was not."""
    passband = parse_passband(trained.settings.passband)
    if passband is None or dict(trained.log.details).get("passband_used", 1.0):
        return ()
    if n_regions < MIN_OBSERVATION_REGIONS:
        return (describe_few_regions(name_passband(passband), n_regions),)
    return (
        f"{name_passband(passband)} is not used: no process fits these frequencies alone. All "
        "frequencies are fitted.",
    )


def _collect_tables(
    surrogate: Surrogate,
    perturbed: PerturbedModel,
    labels: Sequence[str],
    covered: Mask,
    tr: float,
) -> dict[str, Table]:
    """Return the tables beside the matrices: responses to sets, and delays of regions."""
    tables: dict[str, Table] = {}
    if together := perturbed.settings.together:
        tables["responses"] = response_table(together, perturbed.responses, labels)
    if (delays := surrogate.region_delays) is not None:
        all_delays = np.full((2, len(labels)), np.nan)
        all_delays[:, covered] = tr * np.array(delays)
        lags, errors = all_delays.tolist()
        tables["delays"] = {
            "index": range(1, len(labels) + 1),
            "name": list(labels),
            "delay": lags,
            "standard_error": errors,
        }
    return tables


@contextmanager
def _resources_for(runs: Sequence[RegionSeries], settings: TrainSettings) -> Iterator[None]:
    """Fit processes on the device of the settings; use one thread for few regions.

    Two threads are slower than one on small matrices.
    """
    n_regions = runs[0].data.shape[1] if runs else 0
    n_threads = 1 if n_regions < _MIN_REGIONS_FOR_THREADS else requested_threads()
    with threads(n_threads), fits_on(fit_device(settings.device, n_regions)):
        yield


def _prepare(
    runs: Sequence[RegionSeries], settings: TrainSettings
) -> tuple[list[RegionSeries], Mask, Windows]:
    """Return the runs restricted to shared regions, the mask of these, and windows."""
    shared, covered = shared_regions(runs)
    return shared, covered, cut_windows(shared, settings.n_lags or 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Refit:
    """Refits of a surrogate to other windows of the same subject, and their maps."""

    surrogate: Surrogate
    settings: TrainSettings
    perturb: PerturbSettings
    prior: GroupPrior | None = None

    def make_map(self, windows: Windows) -> Array:
        no_windows = windows.take(slice(0, 0))
        fitted, _ = fit_surrogate(windows, no_windows, self.settings, self.surrogate, self.prior)
        return _infer_map(fitted, windows, self.perturb, self.settings.seed)

    def make_subject_map(self, windows: Windows) -> Array:
        """Return the map, relative to that of the group without the subject if there is a prior.

        The mean of a group that holds both halves would make their deviations alike or opposite.
        """
        if self.prior is None:
            return self.make_map(windows)
        others = self.without_subject
        deviation: Array = others.make_map(windows) - others.make_group_map(windows)
        return deviation

    @property
    def without_subject(self) -> _Refit:
        """The same with the group without the subject, if there is a prior."""
        return replace(self, prior=self.prior and self.prior.for_prediction)

    def make_group_map(self, windows: Windows) -> Array:
        """Return the map of the group in the units of the subject; there must be a prior."""
        if self.prior is None:
            raise SurrogateError("There is no group without a pre-trained surrogate.")
        group = group_surrogate(windows, self.settings, self.prior)
        return _infer_map(group, windows, self.perturb, self.settings.seed)


def _infer_map(
    surrogate: Surrogate, windows: Windows, perturb: PerturbSettings, seed: int
) -> Array:
    """Perturb a surrogate in every observed state; the diagonal is 0, as published."""
    matrix = infer_ec(surrogate, windows.history, perturb, seed)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _collect_fit(
    runs: Sequence[RegionSeries],
    windows: Windows,
    trained: TrainedModel,
    perturbed: PerturbedModel,
) -> Fit:
    """Collect the inputs of the quality metrics of a fitted subject."""
    train, valid = split_windows(windows, trained.settings.train_fraction)
    return Fit(
        surrogate=trained.surrogate,
        checked=trained.checked,
        train=train,
        valid=valid,
        matrix=perturbed.matrix,
        jacobian=perturbed.jacobian,
        fc=functional_connectivity(runs),
        model_fc=model_fc(trained.surrogate, np.random.default_rng(trained.settings.seed)),
    )


def _assess_quality(
    fit: Fit,
    runs: Sequence[RegionSeries],
    windows: Windows,
    refit: _Refit,
    members: Array,
    requested: AssessSettings,
) -> Quality:
    """Return what the fit, its halves, its members and the signals tell of the quality."""
    settings = refit.settings
    test = direction_test(windows, np.random.default_rng(settings.seed), requested.measures.null)
    quality = assess_fit(
        fit,
        halves=split_half(windows, refit.make_subject_map),
        members=list(members),
        direction=test,
        direction_supported=supports_direction(test, requested.verdict),
        runs=runs,
    )
    quality = replace(quality, shrunk=refit.prior is not None)
    if refit.prior is None:
        quality = replace(quality, r_split_delays=split_delays(windows, fit.surrogate))
    if "oriented" in requested.measures.measures:
        quality = replace(quality, r_split_oriented=split_oriented(runs))
    return quality


def _collect_measures(
    fit: Fit, runs: Sequence[RegionSeries], windows: Windows, requested: Sequence[str]
) -> dict[str, Array]:
    """Return the requested matrices by the names of their files, always including the map."""
    free = model_free_measures()
    model_matrices = {"jacobian": fit.jacobian, "modelfc": fit.model_fc, "fc": fit.fc}
    matrices = {"npi": fit.matrix}
    for name in requested:
        matrix = free[name](runs, windows) if name in free else model_matrices.get(name)
        if matrix is not None:
            matrices[MEASURE_NAMES[name]] = matrix
    return matrices


def _observation_measures(
    surrogate: Surrogate, windows: Windows, refit: _Refit
) -> dict[str, Array]:
    """Return the matrices that only a surrogate with an observation model has."""
    matrices: dict[str, Array] = {}
    if (peaks := surrogate.signal_peaks) is not None:
        np.fill_diagonal(peaks, 0.0)
        matrices["npibold"] = peaks
    if (share := surrogate.delay_share) is not None:
        matrices["npidelayshare"] = share * (1 - np.eye(len(share)))
    try:
        undelayed = surrogate.without_delays(windows)
    except SurrogateError as error:  # the map itself does not depend on this comparison
        _LOGGER.warning("There is no map without delays to compare with: %s", error)
        return matrices
    if undelayed is not None:
        matrices["npiundelayed"] = _infer_map(
            undelayed, windows, refit.perturb, refit.settings.seed
        )
    return matrices


# Maps that tests over subjects read: precision of the prior, and whether time is reversed.
_TESTED_MEASURES = {
    "npiunshrunk": (WEAK, False),
    "npireversed": (WEAK, True),
    "npiproportional": (PROPORTIONAL, False),
}


def _tested_measures(surrogate: Surrogate, windows: Windows, refit: _Refit) -> dict[str, Array]:
    """Return the maps that tests over subjects read, with fixed priors."""
    matrices: dict[str, Array] = {}
    for name, (precision, reverse) in _TESTED_MEASURES.items():
        try:
            fitted = surrogate.with_precision(windows, precision, reverse=reverse)
        except SurrogateError as error:
            _LOGGER.warning("There is no map that group tests read (meas-%s): %s", name, error)
            continue
        if fitted is not None:
            matrices[name] = _infer_map(fitted, windows, refit.perturb, refit.settings.seed)
    if "npiunshrunk" in matrices:
        matrices |= _half_measures(surrogate, windows, refit)
    return matrices


def _half_measures(surrogate: Surrogate, windows: Windows, refit: _Refit) -> dict[str, Array]:
    """Return the maps without prior of both halves; empty if a half is too short."""
    try:
        halves = split_windows(windows, 0.5)
        fits = [surrogate.without_prior(half) for half in halves]
        return {
            name: _infer_map(fit, half, refit.perturb, refit.settings.seed)
            for name, fit, half in zip(
                ("npifirsthalf", "npisecondhalf"), fits, halves, strict=True
            )
            if fit is not None
        }
    except (NoUsableDataError, SurrogateError) as error:
        _LOGGER.warning(
            "There are no maps of halves, which tell how subjects of a group differ: %s", error
        )
        return {}


def _add_own_share(
    quality: Quality, matrices: Mapping[str, Array], windows: Windows, refit: _Refit
) -> Quality:
    """Add the weight of the subject's own data in a shrunken map, and its agreement with others.

    Both stay NaN where there is no map without prior to compare with.
    """
    if refit.prior is None or "npiunshrunk" not in matrices:
        return quality
    own = matrices["npiunshrunk"]
    shares = own_share(matrices["npi"], own, refit.make_group_map(windows))
    others = refit.without_subject.make_group_map(windows)
    return replace(
        quality,
        own_share=shares.all,
        own_share_symmetric=shares.symmetric,
        own_share_antisymmetric=shares.antisymmetric,
        r_others=pearson(own, others),
        r_others_antisymmetric=pearson(antisymmetric(own), antisymmetric(others)),
        r_group=pearson(matrices["npi"], others),
        r_group_antisymmetric=pearson(antisymmetric(matrices["npi"]), antisymmetric(others)),
    )


def _estimate_uncertainty(
    fit: Fit, windows: Windows, refit: _Refit, n_bootstrap: int
) -> Uncertainty | None:
    """Estimate uncertainty by bootstrap if requested, else in closed form if there is one.

    Resamples do not reflect the bias of a shrunken estimate, which the posterior includes; if both
    are available, the larger error of each entry is used.
    """
    perturb = refit.perturb
    is_one_step = perturb.steps_ahead == 1 and perturb.perturbation == "single"
    closed_form = None
    errors = fit.surrogate.weight_errors(windows) if is_one_step else None
    if errors is not None:
        closed_form = perturb.strength * errors
    if n_bootstrap:
        rng = np.random.default_rng(refit.settings.seed)
        error = bootstrap_error(windows, refit.make_map, n_bootstrap, rng)
        return compute_intervals(
            fit.matrix, np.fmax(error, 0 if closed_form is None else closed_form), "bootstrap"
        )
    return None if closed_form is None else compute_intervals(fit.matrix, closed_form, "posterior")


def _add_expected_accuracy(quality: Quality) -> Quality:
    """Add the accuracy of simulated maps with comparable quality metrics."""
    expectations = {
        f"expected_{target}{end}": getattr(expected, name)
        for target, expected in expected_accuracy(quality).items()
        for end, name in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    return replace(quality, **expectations)


def _count_windows(windows: Windows, runs: Sequence[RegionSeries]) -> tuple[int, ...]:
    ends = np.cumsum([0, *(len(run.keep) for run in runs)])
    return tuple(np.diff(np.searchsorted(windows.position, ends)).tolist())


def ec(
    series: ArrayLike | Sequence[ArrayLike],
    tr: float,
    *,
    labels: Sequence[str] | None = None,
    preset: str | None = None,
    perturb: PerturbSettings | None = None,
    assess: AssessSettings | None = None,
    **train: object,
) -> SubjectEC:
    """Infer the effective connectivity of regional series.

    Each run is z-scored separately. A row of NaN is a censored sample, which no window spans, and
    a column of NaN is a region that is not covered, which stays NaN.

    Parameters
    ----------
    series
        Shape (n_samples, n_regions); or a list of such arrays, one per run. Columns of data frames
        are matched by name.
    tr
        Sampling period (s).
    labels
        Region names in the order of the columns; if None, those of data frames, or ``R001`` and so
        on.
    preset
        ``luo2025`` or ``luo2025-hcp``, the published settings.
    perturb
        Settings of the perturbation.
    assess
        Requested matrices beyond the map, and the thresholds of the verdict.
    **train
        Fields of :class:`~npi_bids.surrogates.base.TrainSettings`: ``surrogate="var"`` and so on.

    Returns
    -------
    SubjectEC
        ``result.ec`` is the map, indexed ``[source, target]``; ``result.verdict`` states how
        far it can be trusted.

    Raises
    ------
    InputDataError
        If the series are not tables of numbers, or if runs differ in their regions.
    SettingsError
        If an option is unknown or out of bounds.
    NoUsableDataError
        If too few samples or regions remain.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> series = rng.standard_normal((400, 3))
    >>> series[1:, 2] += 0.9 * series[:-1, 0]
    >>> result = ec(series, tr=2.0, labels=["A", "B", "C"])
    >>> bool(result.ec[0, 2] > 0.4), result.measures["npi"].labels
    (True, ('A', 'B', 'C'))
    """
    if problem := period_problem(tr):
        raise SettingsError(f"The sampling period tr {problem}")
    runs: list[Any] = list(series) if isinstance(series, list | tuple) else [series]
    if labels is None and all(hasattr(run, "columns") for run in runs):
        runs, labels = _align_columns(runs)
    records = [_read_run(number, run, tr, labels) for number, run in enumerate(runs, start=1)]
    if preset is not None and preset not in PRESETS:
        raise SettingsError(
            f"Unknown preset {preset!r}; choose one of {join_items(sorted(PRESETS))}."
        )
    fields: dict[str, Any] = {**(PRESETS[preset] if preset else {}), **train}
    unknown = sorted(set(fields) - set(TrainSettings.__dataclass_fields__))
    if unknown:
        options = ", ".join(TrainSettings.__dataclass_fields__)
        raise SettingsError(
            f"Unknown training options: {join_items(unknown)}. Known are {options}."
        )
    return ec_of_runs(
        records,
        train=TrainSettings(**fields),
        perturb=perturb or PerturbSettings(),
        assess=assess,
    )


def _align_columns(runs: Sequence[DataFrame]) -> tuple[list[DataFrame], list[str]]:
    """Return data frames with the columns of the first one, and their names."""
    first = list(runs[0].columns)
    for number, run in enumerate(runs, start=1):
        if differing := sorted(map(str, set(first) ^ set(run.columns)))[:5]:
            raise InputDataError(
                f"Run {number} has other regions than the first: {', '.join(differing)} are in "
                "only one of them."
            )
    return [run[first] for run in runs], [str(name) for name in first]


def _read_run(
    number: int, run: ArrayLike, tr: float, labels: Sequence[str] | None
) -> RegionSeries:
    if np.iscomplexobj(run):
        raise InputDataError(f"Run {number} holds complex numbers; expected real signals.")
    try:
        data: Array = np.array(run, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputDataError(f"Run {number} is not an array of numbers: {error}.") from error
    if data.ndim != 2:
        raise InputDataError(
            f"Run {number} has shape {data.shape}; expected (n_samples, n_regions), and a list of "
            "such arrays for several runs."
        )
    if not data.size:
        raise InputDataError(
            f"Run {number} is empty: its shape is {data.shape}; expected (n_samples, n_regions)."
        )
    if data.shape[0] < data.shape[1] and labels is not None and len(labels) == data.shape[0]:
        raise InputDataError(
            f"Run {number} has shape {data.shape} and there are {len(labels)} labels: time must "
            "run down the rows; transpose it."
        )
    names = tuple(labels) if labels is not None else tuple(
        f"R{region + 1:03d}" for region in range(data.shape[1])
    )  # fmt: skip
    keep: Mask = np.logical_not(np.isnan(data).all(axis=1))
    uncensored = data[keep]
    not_finite = ~np.isfinite(uncensored)
    partly_missing = np.flatnonzero(not_finite.any(axis=0) & ~np.isnan(uncensored).all(axis=0))
    if partly_missing.size:
        region = partly_missing[0]
        raise InputDataError(
            f"Run {number} has {int(not_finite[:, region].sum())} of {len(uncensored)} samples of "
            f"region {names[region]} that are not finite (such regions: {partly_missing.size}); "
            "expected NaN in whole rows (a censored sample) or whole columns (a region that is "
            "not covered)."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = uncensored.std(axis=0)
        scaled = (data - uncensored.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    return RegionSeries(scaled, names, tr, keep)
