"""From the signals of a subject to its effective connectivity, without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from npi_bids.core.evidence import direction_test
from npi_bids.core.expected import KNOWN_SURROGATES, expected_accuracy
from npi_bids.core.hazards import find_hazards
from npi_bids.core.measures import (
    MEASURE_NAMES,
    functional_connectivity,
    model_free_measures,
)
from npi_bids.core.perturb import PerturbSettings, infer_ec, mean_jacobian
from npi_bids.core.prior import GroupPrior
from npi_bids.core.quality import Fit, assess_fit, split_half, split_oriented
from npi_bids.core.records import (
    Array,
    ECResult,
    Quality,
    RegionSeries,
    Uncertainty,
    Windows,
)
from npi_bids.core.rollout import model_fc
from npi_bids.core.subject import SubjectEC
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings, fit_surrogate, resolve
from npi_bids.core.together import responses_together
from npi_bids.core.train import threads, torch_threads
from npi_bids.core.uncertainty import KnowsErrors, bootstrap_error, intervals
from npi_bids.core.verdict import AssessSettings, judge, supports_direction
from npi_bids.core.windows import all_regions, cut_windows, shared_regions, split_windows

_FEW_REGIONS = 200


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
    # Products of small matrices are slower on two threads than on one.
    few = bool(runs) and runs[0].data.shape[1] < _FEW_REGIONS
    with threads(1 if few else torch_threads()):
        wanted = assess or AssessSettings()
        return _ec_of_runs(runs, (train, perturb, wanted), regressors, prior)


def _ec_of_runs(
    runs: Sequence[RegionSeries],
    asked: tuple[TrainSettings, PerturbSettings, AssessSettings],
    regressors: Sequence[str],
    prior: GroupPrior | None,
) -> SubjectEC:
    settings, perturb, wanted = resolve(asked[0]), asked[1], asked[2]
    shared, covered = shared_regions(runs)
    windows = cut_windows(shared, settings.n_lags or 1)
    prior = prior and prior.take(covered)
    fit, log = _fit(shared, windows, settings, perturb, prior)
    again = _Again(fit.surrogate, settings, perturb, prior)
    test = direction_test(windows, np.random.default_rng(settings.seed), wanted.measures.null)
    several: Sequence[Surrogate] = getattr(fit.surrogate, "members", ())
    members = several if len(several) > 1 else ()
    quality = assess_fit(
        fit,
        halves=split_half(windows, again.own_of),
        members=[_map(member, windows, perturb, settings.seed) for member in members],
        direction=test,
        direction_supported=supports_direction(test, wanted.verdict),
        runs=shared,
    )
    quality = replace(quality, shrunk=prior is not None)
    if "oriented" in wanted.measures.measures:
        quality = replace(quality, r_split_oriented=split_oriented(shared))
    if settings.surrogate in KNOWN_SURROGATES and prior is None:
        quality = _with_expected(quality)
    found = _measures(fit, shared, windows, wanted.measures.measures)
    sure = _uncertainty(fit, windows, again, wanted.measures.n_bootstrap)
    if sure is not None:
        parts = ("stderr", sure.standard_error), ("lower", sure.lower), ("upper", sure.upper)
        found |= {f"npi{name}": part for name, part in (*parts, ("p", sure.p), ("q", sure.q))}
    labels = runs[0].labels
    tables = {}
    if perturb.together:
        tables["responses"] = responses_together(
            fit.surrogate, windows.history, perturb, labels, covered.tolist()
        )
    return SubjectEC(
        tables=tables,
        measures={name: ECResult(all_regions(m, covered), labels) for name, m in found.items()},
        quality=quality,
        verdict=judge(quality, wanted.verdict),
        hazards=find_hazards(shared, regressors),
        uncertainty=sure.method if sure else "",
        log=log,
        surrogate=fit.surrogate,
        covered=covered,
        n_windows_per_run=_count_windows(windows, shared),
        settings=settings,
    )


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
        from npi_bids.core.surrogates.shrunk import group_surrogate

        shared = group_surrogate(windows, self.settings, self.prior)
        deviation: Array = own - _map(shared, windows, self.perturb, self.settings.seed)
        return deviation


def _map(surrogate: Surrogate, windows: Windows, perturb: PerturbSettings, seed: int) -> Array:
    """Perturb a surrogate in every observed state; the diagonal is 0, as published."""
    matrix = infer_ec(surrogate, windows.history, perturb, seed)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _fit(
    runs: Sequence[RegionSeries],
    windows: Windows,
    settings: TrainSettings,
    perturb: PerturbSettings,
    prior: GroupPrior | None,
) -> tuple[Fit, TrainLog]:
    learn, check = split_windows(windows, settings.train_fraction)
    checked, log = fit_surrogate(learn, check, settings, prior=prior)
    surrogate = checked
    if settings.refit:
        nothing = windows.take(slice(0, 0))
        surrogate, _ = fit_surrogate(windows, nothing, settings, checked, prior)
    fit = Fit(
        surrogate=surrogate,
        checked=checked,
        learn=learn,
        check=check,
        matrix=_map(surrogate, windows, perturb, settings.seed),
        jacobian=mean_jacobian(surrogate, windows.history),
        fc=functional_connectivity(runs),
        model_fc=model_fc(surrogate, np.random.default_rng(settings.seed)),
    )
    return fit, log


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
    if plain and isinstance(fit.surrogate, KnowsErrors):
        closed = push.strength * fit.surrogate.weight_errors(windows)
    if n_bootstrap:
        rng = np.random.default_rng(again.settings.seed)
        error = bootstrap_error(windows, again.map_of, n_bootstrap, rng)
        return intervals(fit.matrix, np.fmax(error, 0 if closed is None else closed), "bootstrap")
    return None if closed is None else intervals(fit.matrix, closed, "posterior")


def _with_expected(quality: Quality) -> Quality:
    """Add what simulated maps of like quality reached."""
    found = {
        f"expected_{target}{end}": getattr(expected, name)
        for target, expected in expected_accuracy(quality).items()
        for end, name in (("", "value"), ("_lower", "lower"), ("_upper", "upper"))
    }
    return replace(quality, **found)


def _count_windows(windows: Windows, runs: Sequence[RegionSeries]) -> tuple[int, ...]:
    ends = np.cumsum([0, *(len(run.keep) for run in runs)])
    return tuple(np.diff(np.searchsorted(windows.position, ends)).tolist())
