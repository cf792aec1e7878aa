"""A whole-brain model fitted to one subject, and its mechanistic effective connectivity."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from npi_bids.assessment.hazards import find_hazards
from npi_bids.assessment.quality import antisymmetric_share
from npi_bids.assessment.verdict import CAUTION, FAIL
from npi_bids.errors import InputDataError
from npi_bids.inference import SubjectEC
from npi_bids.matrices import correlation, pearson
from npi_bids.records import Array, ECResult, Quality, RegionSeries, Table, Verdict
from npi_bids.surrogates.base import TrainLog, TrainSettings
from npi_bids.surrogates.families import WHOLE_BRAIN
from npi_bids.surrogates.windows import expand_to_atlas, shared_regions
from npi_bids.whole_brain.connectome import Connectome, read_connectome
from npi_bids.whole_brain.models import (
    NEUROLIB_MODELS,
    BrainSystem,
    simulate_activity,
    simulate_brain,
    true_ec,
)
from npi_bids.whole_brain.search import Evaluation, compute_target, find_best, search_parameters
from npi_bids.whole_brain.settings import (
    GOOD_FC,
    LEAST_FC,
    STIMULUS_SECONDS,
    BrainSettings,
)
from npi_bids.wording import join_items

_logger = logging.getLogger(__name__)
_N_POINTS = 15  # of the bifurcation diagram


@dataclass(frozen=True, slots=True, eq=False)
class FittedBrain:
    """A fitted model, with the part of the surrogate protocol that saving requires.

    Attributes
    ----------
    system
        The model with the best-fitting parameters.
    """

    system: BrainSystem

    def tensors(self) -> dict[str, Array]:
        """Return the fitted parameters and the connectome, by name."""
        values = {name: np.array([value]) for name, value in self.system.parameters.items()}
        connectome = self.system.connectome
        return {**values, "weights": connectome.weights, "lengths_mm": connectome.lengths}

    def fields(self) -> dict[str, object]:
        """Return no fields: the tensors are complete."""
        return {}


def fit_brain(
    runs: Sequence[RegionSeries],
    *,
    train: TrainSettings,
    brain: BrainSettings,
    cache: Path,
    regressors: Sequence[str] = (),
    n_procs: int = 1,
) -> SubjectEC:
    """Fit a whole-brain model to the FC of a subject and stimulate every region of it.

    Parameters
    ----------
    runs
        Normalised series of one subject.
    train
        Training settings, of which the seed is used.
    brain
        The model, its structural connectivity, and the search of its parameters.
    cache
        Folder of cached simulations, from which an interrupted search resumes.
    regressors
        Names of the confounds that were regressed out of the series, for warnings.
    n_procs
        Number of parallel processes.

    Returns
    -------
    SubjectEC
        The map is the change of BOLD, in standard deviations of the target's simulated BOLD, 3 to
        6 s after the source was stimulated for 0.5 s.

    Raises
    ------
    InputDataError
        The structural connectivity is missing, or lacks a region of the atlas.
    """
    shared, covered = shared_regions(runs)
    connectome = load_connectome(brain, shared[0].labels)
    base = BrainSystem(brain.model, connectome, runs[0].tr, {"dt": brain.step})
    series = [run.data[run.keep] for run in shared]
    target = compute_target(series, runs[0].tr)

    number = count(1)

    def log_evaluation(evaluation: Evaluation, total: int) -> None:
        _logger.info(
            "simulation %d of %d (%s): r of FC %.2f",
            next(number),
            total,
            evaluation.stage,
            evaluation.r_fc,
        )

    evaluations = search_parameters(
        base,
        target,
        brain,
        seed=train.seed,
        cache=cache,
        n_procs=n_procs,
        on_evaluation=log_evaluation,
    )
    best = find_best(evaluations)
    system = base.with_parameters(best.parameters)
    n_samples = round(60 * brain.sim_minutes / runs[0].tr)
    bold = simulate_brain(system, n_samples=n_samples, seed=train.seed)
    effect = true_ec(system, seed=train.seed, n_states=brain.n_states) / bold.std(axis=0)
    np.fill_diagonal(effect, 0.0)
    quality = _quality(effect, target.fc, best, shared, n_atlas=len(covered))
    measures = {"npi": effect, "pearsoncorrelation": target.fc, "modelfc": correlation(bold)}
    labels = runs[0].labels
    return SubjectEC(
        measures={
            name: ECResult(expand_to_atlas(m, covered), labels) for name, m in measures.items()
        },
        quality=quality,
        verdict=judge_brain(best),
        hazards=find_hazards(shared, regressors),
        uncertainty="",
        log=TrainLog((best.fitness,), (best.fitness,)),
        surrogate=FittedBrain(system),
        covered=covered,
        n_windows_per_run=tuple(int(run.keep.sum()) for run in shared),
        settings=replace(train, surrogate=WHOLE_BRAIN),
        tables={"training": _search_table(evaluations), "bifurcation": bifurcation(system)},
        account=_describe_model(brain, best, len(evaluations)),
    )


def load_connectome(brain: BrainSettings, labels: Sequence[str]) -> Connectome:
    """Return the structural connectivity of the regions, in their order.

    Raises
    ------
    InputDataError
        No table is named, or it lacks regions.
    """
    if not brain.sc:
        raise InputDataError(
            "A whole-brain model needs structural connectivity: --sc PATH, a TSV of [source, "
            "target] whose rows and columns carry the names of the atlas's regions."
        )
    connectome = read_connectome(
        Path(brain.sc), Path(brain.sc_lengths) if brain.sc_lengths else None
    )
    missing = [label for label in labels if label not in connectome.labels]
    if missing:
        raise InputDataError(
            f"<{brain.sc}> lacks {len(missing)} of the {len(labels)} regions "
            f"({join_items(missing, most=5)}); it has {join_items(connectome.labels, most=5)}. "
            "Its rows and columns must be named after the regions of the atlas."
        )
    order = [connectome.labels.index(label) for label in labels]
    selection = np.ix_(order, order)
    return Connectome(connectome.weights[selection], connectome.lengths[selection], tuple(labels))


def bifurcation(system: BrainSystem) -> Table:
    """Return the lowest and highest activity of an isolated region without noise, by excitability.

    Where the two differ the region oscillates; where they jump it switches between states.
    """
    name = list(NEUROLIB_MODELS[system.model_name].ranges)[1]
    low, high = NEUROLIB_MODELS[system.model_name].ranges[name]
    isolated = Connectome(np.zeros((1, 1)), np.zeros((1, 1)), ("alone",))
    values = np.linspace(low, high, _N_POINTS)
    ends = []
    for value in values:
        parameters = {**system.parameters, name: float(value), "sigma_ou": 0.0}
        noiseless = BrainSystem(system.model_name, isolated, system.tr, parameters)
        signals = simulate_activity(noiseless, seconds=2.0, seed=0)[1000:]
        ends.append((signals.min(), signals.max()))
    lowest, highest = np.array(ends).T
    fitted = np.full(_N_POINTS, system.parameter(name))
    return {
        "parameter": [name] * _N_POINTS,
        "value": values.tolist(),
        "lowest": lowest.tolist(),
        "highest": highest.tolist(),
        "fitted": fitted.tolist(),
    }


def judge_brain(best: Evaluation) -> Verdict:
    """Judge a mechanistic map: by the fit of FC, and never better than ``caution``."""
    reasons = [
        "the map shows the behaviour of a fitted model, not of the signals: its directions come "
        "from the structural connectivity and the model, and no data of this subject tested them"
    ]
    if best.r_fc < GOOD_FC or not np.isfinite(best.r_fc):
        reasons.insert(
            0,
            f"simulated and empirical FC correlate {best.r_fc:.2f} (target: at least {GOOD_FC:g} "
            f"for a good fit, {LEAST_FC:g} for any)",
        )
    fits = best.r_fc >= LEAST_FC
    return Verdict(CAUTION if fits else FAIL, tuple(reasons))


def _search_table(evaluations: Sequence[Evaluation]) -> Table:
    names = list(
        dict.fromkeys(name for evaluation in evaluations for name in evaluation.parameters)
    )
    return {
        "evaluation": list(range(1, len(evaluations) + 1)),
        "stage": [evaluation.stage for evaluation in evaluations],
        **{
            name: [evaluation.parameters.get(name) for evaluation in evaluations] for name in names
        },
        "r_fc": [evaluation.r_fc for evaluation in evaluations],
        "ks_fcd": [evaluation.ks_fcd for evaluation in evaluations],
        "fitness": [evaluation.fitness for evaluation in evaluations],
    }


def _quality(
    effect: Array, fc: Array, best: Evaluation, runs: Sequence[RegionSeries], *, n_atlas: int
) -> Quality:
    """Return the quality metrics of a mechanistic map; those of prediction are NaN."""
    n_samples = sum(int(run.keep.sum()) for run in runs)
    available = {
        "model_fc_r": best.r_fc,
        "fc_r": pearson(effect, fc),
        "antisymmetric_share": antisymmetric_share(effect),
        "direction_supported": False,
        "free_run_diverged": False,
        "common_gain": False,
        "shrunk": False,
        "n_windows": n_samples,
        "n_train": n_samples,
        "n_valid": 0,
        "n_regions": len(effect),
        "covered_share": len(effect) / n_atlas,
        "minutes": n_samples * runs[0].tr / 60,
        "minutes_kept": n_samples * runs[0].tr / 60,
    }
    names = (field for field in Quality.__dataclass_fields__ if field not in available)
    return Quality(**available, **dict.fromkeys(names, float("nan")))  # type: ignore[arg-type]


def _describe_model(brain: BrainSettings, best: Evaluation, n_tried: int) -> dict[str, object]:
    """Return the sidecar fields that describe the model in place of those of a surrogate."""
    spec = NEUROLIB_MODELS[brain.model]
    return {
        "training": {
            **asdict(brain),
            "n_lags": 0,
            "simulations": n_tried,
            "fitted": best.parameters,
            "r_fc": best.r_fc,
            "ks_fcd": best.ks_fcd,
        },
        "perturbation": {
            "strength": spec.stimulus,
            "unit": f"of {spec.stimulated} of {brain.model}, for {STIMULUS_SECONDS:g} s",
            "sign": "positive",
            "perturbation": "stimulus in the fitted model",
            "sustained": False,
            "steps_ahead": 1,
            "lag_seconds": 4.5,
        },
    }
