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
from npi_bids.surrogates.windows import all_regions, shared_regions
from npi_bids.whole_brain.connectome import Connectome, read_connectome
from npi_bids.whole_brain.models import KINDS, BrainSystem, activity, simulate_brain, true_ec
from npi_bids.whole_brain.search import Evaluation, best_of, brain_target, search
from npi_bids.whole_brain.settings import (
    GOOD_FC,
    LEAST_FC,
    STIMULUS_SECONDS,
    BrainSettings,
)
from npi_bids.wording import join_words

_logger = logging.getLogger(__name__)
_N_POINTS = 15  # of the bifurcation diagram


@dataclass(frozen=True, slots=True, eq=False)
class FittedBrain:
    """The parameters of a fitted model, behind the part of the surrogate protocol that files need.

    Attributes
    ----------
    system
        The model with the fittest parameters.
    """

    system: BrainSystem

    def tensors(self) -> dict[str, Array]:
        """Return what was fitted, and what it stands on, by name."""
        values = {name: np.array([value]) for name, value in self.system.parameters.items()}
        connectome = self.system.connectome
        return {**values, "weights": connectome.weights, "lengths_mm": connectome.lengths}

    def facts(self) -> dict[str, object]:
        """Return nothing: the tensors say all."""
        return {}


def brain_of_runs(
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
        For its seed.
    brain
        The model, its structural connectivity, and how to search its parameters.
    cache
        Folder of what was simulated; a search that was stopped goes on from it.
    regressors
        Names of what was regressed out of the series, for warnings.
    n_procs
        Processes at once.

    Returns
    -------
    SubjectEC
        The map is the change of BOLD, in standard deviations of the target's simulated BOLD, 3 to
        6 s after a stimulus of 0.5 s of the source.

    Raises
    ------
    InputDataError
        The structural connectivity is missing, or lacks a region of the atlas.
    """
    shared, covered = shared_regions(runs)
    connectome = connectome_of(brain, shared[0].labels)
    plain = BrainSystem(brain.model, connectome, runs[0].tr, {"dt": brain.step})
    series = [run.data[run.keep] for run in shared]
    target = brain_target(series, runs[0].tr)

    number = count(1)

    def tell(found: Evaluation, total: int) -> None:
        _logger.info(
            "simulation %d of %d (%s): r of FC %.2f", next(number), total, found.stage, found.r_fc
        )

    tried = search(
        plain, target, brain, seed=train.seed, cache=cache, n_procs=n_procs, on_evaluation=tell
    )
    best = best_of(tried)
    system = plain.with_parameters(best.parameters)
    n_samples = round(60 * brain.sim_minutes / runs[0].tr)
    bold = simulate_brain(system, n_samples=n_samples, seed=train.seed)
    effect = true_ec(system, seed=train.seed, n_states=brain.n_states) / bold.std(axis=0)
    np.fill_diagonal(effect, 0.0)
    quality = _quality(effect, target.fc, best, shared)
    measures = {"npi": effect, "pearsoncorrelation": target.fc, "modelfc": correlation(bold)}
    labels = runs[0].labels
    return SubjectEC(
        measures={name: ECResult(all_regions(m, covered), labels) for name, m in measures.items()},
        quality=quality,
        verdict=judge_brain(best),
        hazards=find_hazards(shared, regressors),
        uncertainty="",
        log=TrainLog((best.fitness,), (best.fitness,)),
        surrogate=FittedBrain(system),
        covered=covered,
        n_windows_per_run=tuple(int(run.keep.sum()) for run in shared),
        settings=replace(train, surrogate=WHOLE_BRAIN),
        tables={"training": _search_table(tried), "bifurcation": bifurcation(system)},
        account=_account(brain, best, len(tried)),
    )


def connectome_of(brain: BrainSettings, labels: Sequence[str]) -> Connectome:
    """Return the structural connectivity of the regions, in their order.

    Raises
    ------
    InputDataError
        No table is named, or it lacks regions.
    """
    if not brain.sc:
        raise InputDataError(
            "--surrogate wbm needs structural connectivity: --sc PATH, a TSV of [source, target] "
            "whose rows and columns carry the names of the atlas's regions."
        )
    whole = read_connectome(Path(brain.sc), Path(brain.sc_lengths) if brain.sc_lengths else None)
    missing = [label for label in labels if label not in whole.labels]
    if missing:
        raise InputDataError(
            f"<{brain.sc}> lacks {len(missing)} of the {len(labels)} regions "
            f"({join_words(missing, most=5)}); it has {join_words(whole.labels, most=5)}. Its "
            "rows and columns must be named after the regions of the atlas."
        )
    order = [whole.labels.index(label) for label in labels]
    inside = np.ix_(order, order)
    return Connectome(whole.weights[inside], whole.lengths[inside], tuple(labels))


def bifurcation(system: BrainSystem) -> Table:
    """Return the lowest and highest activity of one region alone, without noise, by excitability.

    The region is kept from the network; where both ends part it oscillates, where they jump it
    switches between states.
    """
    name = list(KINDS[system.kind].ranges)[1]
    low, high = KINDS[system.kind].ranges[name]
    alone = Connectome(np.zeros((1, 1)), np.zeros((1, 1)), ("alone",))
    values = np.linspace(low, high, _N_POINTS)
    ends = []
    for value in values:
        parameters = {**system.parameters, name: float(value), "sigma_ou": 0.0}
        quiet = BrainSystem(system.kind, alone, system.tr, parameters)
        found = activity(quiet, seconds=2.0, seed=0)[1000:]
        ends.append((found.min(), found.max()))
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
        "the map is what a fitted model does, not what the signals show: its directions come from "
        "the structural connectivity and the model, and no data of this subject tested them"
    ]
    if best.r_fc < GOOD_FC or not np.isfinite(best.r_fc):
        reasons.insert(
            0,
            f"simulated and empirical FC correlate {best.r_fc:.2f} (target: at least {GOOD_FC:g} "
            f"for a good fit, {LEAST_FC:g} for any)",
        )
    fits = best.r_fc >= LEAST_FC
    return Verdict(CAUTION if fits else FAIL, tuple(reasons))


def _search_table(tried: Sequence[Evaluation]) -> Table:
    names = list(dict.fromkeys(name for found in tried for name in found.parameters))
    return {
        "evaluation": list(range(1, len(tried) + 1)),
        "stage": [found.stage for found in tried],
        **{name: [found.parameters.get(name) for found in tried] for name in names},
        "r_fc": [found.r_fc for found in tried],
        "ks_fcd": [found.ks_fcd for found in tried],
        "fitness": [found.fitness for found in tried],
    }


def _quality(effect: Array, fc: Array, best: Evaluation, runs: Sequence[RegionSeries]) -> Quality:
    """Return the figures that a mechanistic map has; NaN where one speaks of prediction."""
    n_samples = sum(int(run.keep.sum()) for run in runs)
    known = {
        "model_fc_r": best.r_fc,
        "fc_r": pearson(effect, fc),
        "antisymmetric_share": antisymmetric_share(effect),
        "direction_supported": False,
        "shrunk": False,
        "n_windows": n_samples,
        "n_train": n_samples,
        "n_valid": 0,
        "n_regions": len(effect),
        "minutes": n_samples * runs[0].tr / 60,
    }
    names = (field for field in Quality.__dataclass_fields__ if field not in known)
    return Quality(**known, **dict.fromkeys(names, float("nan")))  # type: ignore[arg-type]


def _account(brain: BrainSettings, best: Evaluation, n_tried: int) -> dict[str, object]:
    """Return what the sidecar says of the model instead of what it says of a surrogate."""
    kind = KINDS[brain.model]
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
            "strength": kind.push,
            "unit": f"of {kind.pushed} of {brain.model}, for {STIMULUS_SECONDS:g} s",
            "sign": "positive",
            "perturbation": "stimulus in the fitted model",
            "sustained": False,
            "steps_ahead": 1,
            "lag_seconds": 4.5,
        },
    }
