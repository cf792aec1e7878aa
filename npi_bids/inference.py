"""Effective connectivity of a subject, from its signals, without files; ``ec()`` takes arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from npi_bids.assessment.expected_accuracy import expected_accuracy
from npi_bids.assessment.hazards import find_hazards
from npi_bids.assessment.quality import Fit, assess_fit, split_half, split_oriented
from npi_bids.assessment.uncertainty import bootstrap_error, intervals
from npi_bids.assessment.verdict import AssessSettings, judge, supports_direction
from npi_bids.connectivity.measures import (
    MEASURE_NAMES,
    functional_connectivity,
    model_free_measures,
)
from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian
from npi_bids.connectivity.responses import response_table, responses_together
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.connectivity.simulation import model_fc
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.records import (
    Array,
    ECResult,
    Mask,
    Quality,
    RegionSeries,
    Table,
    Uncertainty,
    Verdict,
    Windows,
)
from npi_bids.settings import period_problem
from npi_bids.surrogates.base import PRESETS, Surrogate, TrainLog, TrainSettings, resolve
from npi_bids.surrogates.families import family
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.group_prior import GroupPrior
from npi_bids.surrogates.lagged_evidence import direction_test
from npi_bids.surrogates.storage import Stored
from npi_bids.surrogates.training import threads, torch_threads
from npi_bids.surrogates.windows import all_regions, cut_windows, shared_regions, split_windows
from npi_bids.wording import count_noun, join_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_FEW_REGIONS = 200
__all__ = ("ec", "period_problem")


@dataclass(frozen=True, slots=True, eq=False)
class SubjectEC:
    """All that one fit of one subject gives.

    Attributes
    ----------
    measures
        By name, over all regions of the atlas: ``npi`` (EC by perturbation, diagonal 0 as
        published) and what else was asked for; ``modelfc`` only where the free run stays bounded.
        Standard errors, ends of the 95 % intervals, p and q of the map are ``npistderr``,
        ``npilower``, ``npiupper``, ``npip``, ``npiq``, where they are known.
    quality, verdict
        What the result says about itself, and whether it can be trusted.
    hazards
        What is known to spoil maps and was seen in the signals, in words.
    uncertainty
        Where the standard errors come from: ``posterior``, ``bootstrap`` or nothing.
    log
        What training saw.
    surrogate
        The fitted model of the covered regions.
    covered
        Shape (n_regions of the atlas,); regions in the model.
    n_windows_per_run
        Windows that each run gave, in the order of the runs.
    settings
        The training settings with every choice resolved.
    tables, account
        What a model that is no surrogate writes beside its map, by the name of the file, and says
        of itself instead of training and perturbation.
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
        details = dict(self.log.details)
        verdict = "; ".join([self.verdict.label, *self.verdict.reasons[:1]])
        more = len(self.verdict.reasons) - 1
        surrogate = f"{settings.surrogate}, {count_noun(settings.n_lags or 0, 'lag')}"
        if "linear_is_var" in details:
            surrogate += ", VAR" if details["linear_is_var"] else ", Ornstein-Uhlenbeck process"
        return "\n".join([
            f"Effective connectivity of {count_noun(int(self.covered.sum()), 'region')}, "
            f"{quality.minutes:.1f} min in {runs}, {count_noun(quality.n_windows, 'window')}",
            f"  surrogate: {surrogate}; held-out R² {quality.r2:.2f}",
            f"  verdict: {verdict}" + (f" (and {more} more)" if more > 0 else ""),
            f"  expected accuracy: {_expected_text(quality)}",
            f"  strongest connection: {self._strongest_text()}",
        ])  # fmt: skip

    def _strongest_text(self) -> str:
        size = np.abs(self.ec)
        np.fill_diagonal(size, np.nan)
        if not np.isfinite(size).any():
            return "none"
        source, target = np.unravel_index(np.nanargmax(size), size.shape)
        labels = self.measures["npi"].labels
        text = f"{labels[source]} -> {labels[target]}, {self.ec[source, target]:.3g}"
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
            One row per directed pair of different regions instead, with its standard error, p and
            q; NaN where they are not known.

        Returns
        -------
        DataFrame
            Shape (n_regions, n_regions), index ``source`` and columns ``target``; or the columns
            ``source``, ``target``, ``ec``, ``se``, ``p`` and ``q``.

        Raises
        ------
        SettingsError
            There is no such measure, or it is not the map and ``long`` is set.
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
            raise SettingsError("Long tables hold the map; take measure='npi'.")
        source, target = np.nonzero(~np.eye(len(labels), dtype=bool))
        columns = {"source": np.array(labels)[source], "target": np.array(labels)[target]}
        for name, kind in (("ec", "npi"), ("se", "npistderr"), ("p", "npip"), ("q", "npiq")):
            known = self.measures.get(kind)
            columns[name] = np.full(source.size, np.nan) if known is None else (
                known.matrix[source, target]
            )  # fmt: skip
        return pd.DataFrame(columns)

    def plot(
        self, measure: str = "npi", networks: Sequence[str] = (), *, axes: Axes | None = None
    ) -> Axes:
        """Draw a matrix as the reports draw it, sources in rows and targets in columns.

        Parameters
        ----------
        measure
            One of ``measures``.
        networks
            Network of each region, by which regions are ordered; empty to keep their order.
        axes
            Axes of matplotlib; those of a new figure where None.

        Returns
        -------
        Axes
            Where the matrix was drawn.

        Raises
        ------
        SettingsError
            There is no such measure.
        """
        from matplotlib import pyplot as plt

        from npi_bids.plotting import MatrixStyle, plot_matrix

        shown = self._measure(measure)
        if axes is None:
            _, axes = plt.subplots(figsize=(5.6, 5.0), layout="compressed")
        symmetric = np.allclose(shown.matrix, shown.matrix.T, equal_nan=True)
        title = "effective connectivity" if measure == "npi" else measure
        style = MatrixStyle(title=title, directed=not symmetric)
        return plot_matrix(axes, shown.matrix, style, networks, shown.labels)

    def _measure(self, name: str) -> ECResult:
        if name not in self.measures:
            raise SettingsError(
                f"There is no measure {name}; this result has {join_words(self.measures)}."
            )
        return self.measures[name]


def _expected_text(quality: Quality) -> str:
    """Return the accuracy of comparable simulations, or that it is not known."""
    if np.isnan(quality.expected_r):
        return "not known (no comparable simulation)"
    return (
        f"r = {quality.expected_r:.2f} with the truth in comparable simulations "
        f"(90 % interval {quality.expected_r_lower:.2f} to {quality.expected_r_upper:.2f})"
    )


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A surrogate that was trained on the runs of one subject.

    Attributes
    ----------
    surrogate
        Model of the covered regions, fitted to all windows; ``checked`` itself where the settings
        ask for no refit.
    checked
        The same fitted to the training windows alone, for the error on held-out windows.
    log
        What training saw.
    settings
        The training settings with every choice resolved.
    """

    surrogate: Surrogate
    checked: Surrogate
    log: TrainLog
    settings: TrainSettings


@dataclass(frozen=True, slots=True, eq=False)
class PerturbedModel:
    """How a trained surrogate responds to perturbations, over the covered regions.

    Attributes
    ----------
    matrix
        Effective connectivity, shape (n_covered, n_covered), indexed ``[source, target]``; the
        diagonal is 0, as published.
    jacobian
        Mean derivative by the most recent sample, same shape and orientation.
    members
        Shape (n_members, n_covered, n_covered); the matrix of each member of an ensemble, none
        where the surrogate is a single model.
    responses
        Shape (n_sets, n_regions of the atlas); responses to the sets of regions that were
        perturbed together.
    settings
        How it was perturbed.
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
    prior: GroupPrior | None = None,
) -> SubjectEC:
    """Train one surrogate on all runs of a subject and perturb it in every observed state.

    Calls :func:`train_runs`, :func:`perturb_model` and :func:`assess_model` in this order.
    Regions that some run does not cover leave the model and come back as NaN.

    Parameters
    ----------
    runs
        Normalised series of one subject with the same regions and sampling period.
    train
        How to train.
    perturb
        How to perturb.
    assess
        What is wanted beyond the map.
    regressors
        Names of what was regressed out of the series, for warnings.
    prior
        What a group knows of the subject, over all regions. Agreement of halves is then that of
        their deviations from the group's map, since what they share of the group says nothing.

    Returns
    -------
    SubjectEC
        Matrices in the order and with all regions of the input, indexed ``[source, target]``.

    Raises
    ------
    InputDataError
        The runs do not belong together.
    NoUsableDataError
        Too few samples or regions are left.
    SurrogateError
        Training or perturbation diverged.

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
    return assess_model(
        runs, trained, perturbed, assess=assess, regressors=regressors, prior=prior
    )


def train_runs(
    runs: Sequence[RegionSeries], *, train: TrainSettings, prior: GroupPrior | None = None
) -> TrainedModel:
    """Train one surrogate on all runs of a subject.

    Parameters
    ----------
    runs
        Normalised series of one subject with the same regions and sampling period.
    train
        How to train.
    prior
        What a group knows of the subject, over all regions of the atlas.

    Raises
    ------
    InputDataError
        The runs do not belong together.
    NoUsableDataError
        Too few samples or regions are left.
    SurrogateError
        Training diverged.
    """
    settings = resolve(train)
    with _threads_for(runs):
        _, covered, windows = _prepare(runs, settings)
        prior = prior and prior.take(covered)
        learn, check = split_windows(windows, settings.train_fraction)
        checked, log = fit_surrogate(learn, check, settings, prior=prior)
        surrogate = checked
        if settings.refit:
            nothing = windows.take(slice(0, 0))
            surrogate, _ = fit_surrogate(windows, nothing, settings, checked, prior)
    return TrainedModel(surrogate, checked, log, settings)


def perturb_model(
    runs: Sequence[RegionSeries], trained: TrainedModel, *, perturb: PerturbSettings
) -> PerturbedModel:
    """Perturb a trained surrogate in every state that was observed.

    Parameters
    ----------
    runs
        The series that the surrogate was trained on.
    trained
        What :func:`train_runs` returned.
    perturb
        How to perturb.

    Raises
    ------
    InputDataError
        A set of regions to perturb together names a region that the atlas does not have.
    SurrogateError
        The perturbed predictions are not finite.
    """
    surrogate, seed = trained.surrogate, trained.settings.seed
    with _threads_for(runs):
        _, covered, windows = _prepare(runs, trained.settings)
        matrix = _map(surrogate, windows, perturb, seed)
        several = surrogate.members
        members = np.zeros((len(several) if len(several) > 1 else 0, *matrix.shape))
        for place in range(len(members)):
            members[place] = _map(several[place], windows, perturb, seed)
        return PerturbedModel(
            matrix=matrix,
            jacobian=mean_jacobian(surrogate, windows.history),
            members=members,
            responses=responses_together(
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

    The surrogate is refitted to halves of the data, and to resamples where a bootstrap is asked
    for.

    Parameters
    ----------
    runs
        The series that the surrogate was trained on.
    trained, perturbed
        What :func:`train_runs` and :func:`perturb_model` returned.
    assess
        Which measures are wanted, and the thresholds of the verdict.
    regressors
        Names of what was regressed out of the series, for warnings.
    prior
        The one that the surrogate was trained with.

    Returns
    -------
    SubjectEC
        Matrices in the order and with all regions of the input, indexed ``[source, target]``.

    Raises
    ------
    SurrogateError
        A refit diverged.
    """
    wanted, settings = assess or AssessSettings(), trained.settings
    with _threads_for(runs):
        shared, covered, windows = _prepare(runs, settings)
        again = _Again(
            trained.surrogate, settings, perturbed.settings, prior and prior.take(covered)
        )
        fit = _gather(shared, windows, trained, perturbed)
        quality = _quality(fit, shared, windows, again, perturbed.members, wanted)
        found = _measures(fit, shared, windows, wanted.measures.measures)
        sure = _uncertainty(fit, windows, again, wanted.measures.n_bootstrap)
    if sure is not None:
        parts = ("stderr", sure.standard_error), ("lower", sure.lower), ("upper", sure.upper)
        found |= {f"npi{name}": part for name, part in (*parts, ("p", sure.p), ("q", sure.q))}
    labels = runs[0].labels
    return SubjectEC(
        tables=_tables(trained.surrogate, perturbed, labels, covered, runs[0].tr),
        measures={name: ECResult(all_regions(m, covered), labels) for name, m in found.items()},
        quality=quality,
        verdict=judge(quality, wanted.verdict),
        hazards=find_hazards(shared, regressors),
        uncertainty=sure.method if sure else "",
        log=trained.log,
        surrogate=trained.surrogate,
        covered=covered,
        n_windows_per_run=_count_windows(windows, shared),
        settings=settings,
    )


def _tables(
    surrogate: Surrogate,
    perturbed: PerturbedModel,
    labels: Sequence[str],
    covered: Mask,
    tr: float,
) -> dict[str, Table]:
    """Return what is written beside the matrices: responses to sets, and delays of regions."""
    tables: dict[str, Table] = {}
    if together := perturbed.settings.together:
        tables["responses"] = response_table(together, perturbed.responses, labels)
    if (delays := surrogate.region_delays) is not None:
        whole = np.full((2, len(labels)), np.nan)
        whole[:, covered] = tr * np.array(delays)
        lags, errors = whole.tolist()
        tables["delays"] = {
            "index": range(1, len(labels) + 1),
            "name": list(labels),
            "delay": lags,
            "standard_error": errors,
        }
    return tables


@contextmanager
def _threads_for(runs: Sequence[RegionSeries]) -> Iterator[None]:
    """Compute on one thread where there are few regions: two are slower on small matrices."""
    few = bool(runs) and runs[0].data.shape[1] < _FEW_REGIONS
    with threads(1 if few else torch_threads()):
        yield


def _prepare(
    runs: Sequence[RegionSeries], settings: TrainSettings
) -> tuple[list[RegionSeries], Mask, Windows]:
    """Return the runs with the regions that all of them cover, which these are, and windows."""
    shared, covered = shared_regions(runs)
    return shared, covered, cut_windows(shared, settings.n_lags or 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Again:
    """Fits other windows of the same subject as the subject was fitted, and maps them."""

    surrogate: Surrogate
    settings: TrainSettings
    perturb: PerturbSettings
    prior: GroupPrior | None = None

    def map_of(self, windows: Windows) -> Array:
        nothing = windows.take(slice(0, 0))
        fitted, _ = fit_surrogate(windows, nothing, self.settings, self.surrogate, self.prior)
        return _map(fitted, windows, self.perturb, self.settings.seed)

    def own_of(self, windows: Windows) -> Array:
        """Return the map, less that of the group where there is a prior."""
        own = self.map_of(windows)
        if self.prior is None:
            return own
        from npi_bids.surrogates.group_prior import group_surrogate

        shared = group_surrogate(windows, self.settings, self.prior)
        deviation: Array = own - _map(shared, windows, self.perturb, self.settings.seed)
        return deviation


def _map(surrogate: Surrogate, windows: Windows, perturb: PerturbSettings, seed: int) -> Array:
    """Perturb a surrogate in every observed state; the diagonal is 0, as published."""
    matrix = infer_ec(surrogate, windows.history, perturb, seed)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _gather(
    runs: Sequence[RegionSeries],
    windows: Windows,
    trained: TrainedModel,
    perturbed: PerturbedModel,
) -> Fit:
    """Put together what the quality of a fitted subject is judged on."""
    learn, check = split_windows(windows, trained.settings.train_fraction)
    return Fit(
        surrogate=trained.surrogate,
        checked=trained.checked,
        learn=learn,
        check=check,
        matrix=perturbed.matrix,
        jacobian=perturbed.jacobian,
        fc=functional_connectivity(runs),
        model_fc=model_fc(trained.surrogate, np.random.default_rng(trained.settings.seed)),
    )


def _quality(
    fit: Fit,
    runs: Sequence[RegionSeries],
    windows: Windows,
    again: _Again,
    members: Array,
    wanted: AssessSettings,
) -> Quality:
    """Return the quality of a result, with the accuracy that is expected of it where known."""
    settings = again.settings
    test = direction_test(windows, np.random.default_rng(settings.seed), wanted.measures.null)
    quality = assess_fit(
        fit,
        halves=split_half(windows, again.own_of),
        members=list(members),
        direction=test,
        direction_supported=supports_direction(test, wanted.verdict),
        runs=runs,
    )
    quality = replace(quality, shrunk=again.prior is not None)
    if "oriented" in wanted.measures.measures:
        quality = replace(quality, r_split_oriented=split_oriented(runs))
    if family(settings.surrogate).calibrated and again.prior is None:
        quality = _with_expected(quality)
    return quality


def _measures(
    fit: Fit, runs: Sequence[RegionSeries], windows: Windows, wanted: Sequence[str]
) -> dict[str, Array]:
    """Return the matrices that are wanted by the names of their files; the map always."""
    free = model_free_measures()
    own = {"jacobian": fit.jacobian, "modelfc": fit.model_fc, "fc": fit.fc}
    found = {"npi": fit.matrix}
    for name in wanted:
        matrix = own[name] if name in own else free[name](runs, windows) if name in free else None
        if matrix is not None:
            found[MEASURE_NAMES[name]] = matrix
    return found


def _uncertainty(
    fit: Fit, windows: Windows, again: _Again, n_bootstrap: int
) -> Uncertainty | None:
    """Return the bootstrap where it is wanted; the closed form where there is one; or nothing.

    Resamples do not show the bias of a shrunken estimate, which the posterior allows for; where
    both are known the larger error of each entry counts.
    """
    push = again.perturb
    plain = push.steps_ahead == 1 and push.perturbation == "single"
    closed = None
    errors = fit.surrogate.weight_errors(windows) if plain else None
    if errors is not None:
        closed = push.strength * errors
    if n_bootstrap:
        rng = np.random.default_rng(again.settings.seed)
        error = bootstrap_error(windows, again.map_of, n_bootstrap, rng)
        return intervals(fit.matrix, np.fmax(error, 0 if closed is None else closed), "bootstrap")
    return None if closed is None else intervals(fit.matrix, closed, "posterior")


def _with_expected(quality: Quality) -> Quality:
    """Add the accuracy of simulated maps with comparable quality metrics."""
    found = {
        f"expected_{target}{end}": getattr(expected, name)
        for target, expected in expected_accuracy(quality).items()
        for end, name in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    return replace(quality, **found)


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

    Each run is z-scored by itself. A row of NaN is a censored sample and a column of NaN a region
    that is not covered; no window crosses the former, and the latter stays NaN.

    Parameters
    ----------
    series
        Shape (n_samples, n_regions), time down the rows; or a list of such arrays, one per run.
        Columns of data frames are matched by name.
    tr
        Sampling period (s).
    labels
        Region names in the order of the columns. Where None, those of data frames, or ``R001``
        and so on.
    preset
        ``luo2025`` or ``luo2025-hcp``, the published settings.
    perturb
        How to perturb.
    assess
        Which matrices are wanted beyond the map, and the thresholds of the verdict.
    **train
        Fields of :class:`~npi_bids.surrogates.base.TrainSettings`: ``surrogate="var"`` and so on.

    Returns
    -------
    SubjectEC
        ``result.ec`` is the map, indexed ``[source, target]``; ``result.verdict`` says how far it
        can be trusted.

    Raises
    ------
    InputDataError
        The series are no tables of numbers, or runs differ in their regions.
    SettingsError
        An option is unknown or out of bounds.
    NoUsableDataError
        Too few samples or regions are left.

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
        runs, labels = _by_name(runs)
    records = [_run(number, run, tr, labels) for number, run in enumerate(runs, start=1)]
    if preset is not None and preset not in PRESETS:
        raise SettingsError(
            f"Unknown preset {preset!r}; choose one of {join_words(sorted(PRESETS))}."
        )
    fields: dict[str, Any] = {**(PRESETS[preset] if preset else {}), **train}
    unknown = sorted(set(fields) - set(TrainSettings.__dataclass_fields__))
    if unknown:
        known = ", ".join(TrainSettings.__dataclass_fields__)
        raise SettingsError(f"Unknown training options: {join_words(unknown)}. Known are {known}.")
    return ec_of_runs(
        records,
        train=TrainSettings(**fields),
        perturb=perturb or PerturbSettings(),
        assess=assess,
    )


def _by_name(runs: Sequence[DataFrame]) -> tuple[list[DataFrame], list[str]]:
    """Return the columns of data frames in the order of the first, and their names."""
    first = list(runs[0].columns)
    for number, run in enumerate(runs, start=1):
        if differing := sorted(map(str, set(first) ^ set(run.columns)))[:5]:
            raise InputDataError(
                f"Run {number} has other regions than the first: {', '.join(differing)} are in "
                "one of them alone."
            )
    return [run[first] for run in runs], [str(name) for name in first]


def _run(number: int, run: ArrayLike, tr: float, labels: Sequence[str] | None) -> RegionSeries:
    if np.iscomplexobj(run):
        raise InputDataError(f"Run {number} holds complex numbers; expected real signals.")
    try:
        data: Array = np.array(run, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputDataError(f"Run {number} is no array of numbers: {error}.") from error
    if data.ndim != 2:
        raise InputDataError(
            f"Run {number} has shape {data.shape}; expected (n_samples, n_regions), and a list of "
            "such arrays for several runs."
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
    kept = data[keep]
    wrong = ~np.isfinite(kept)
    partly = np.flatnonzero(wrong.any(axis=0) & ~np.isnan(kept).all(axis=0))
    if partly.size:
        raise InputDataError(
            f"Run {number} has {int(wrong[:, partly[0]].sum())} of {len(kept)} samples of region "
            f"{names[partly[0]]} that are not finite (regions of this kind: {partly.size}); "
            "expected NaN in whole rows (a censored sample) or whole columns (a region that is "
            "not covered)."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = kept.std(axis=0)
        scaled = (data - kept.mean(axis=0)) / np.where(spread > 0, spread, np.nan)
    return RegionSeries(scaled, names, tr, keep)
