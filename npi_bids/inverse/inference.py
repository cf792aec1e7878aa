"""Posterior of the parameters of a whole-brain model for one subject.

Simulations and flows are made once for a model, a structural connectivity and an observation
(sampling period, lengths, censoring, regression and filters), and then read every subject that
was observed in the same way.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import NoUsableDataError
from npi_bids.inverse.calibration import (
    Calibration,
    PointEstimates,
    calibrate,
    correlate_rows,
    find_best_fc,
    judge_identification,
)
from npi_bids.inverse.domain import (
    OUTSIDE,
    Domain,
    Position,
    SimulatedSubjects,
    fit_domain,
)
from npi_bids.inverse.estimator import Ensemble, check_sbi, train_ensemble
from npi_bids.inverse.features import compute_section_features, describe_structure
from npi_bids.inverse.observation import (
    FEWEST_SAMPLES,
    Filters,
    ObservationModel,
    ObservedRun,
    make_protocol,
    read_subject,
)
from npi_bids.inverse.priors import FLAT_VARIANCE, Prior
from npi_bids.inverse.settings import InferSettings
from npi_bids.inverse.simulations import (
    Experiment,
    Simulations,
    compute_fc,
    run_simulations,
    split_halves,
    usable_features,
)
from npi_bids.matrices import pearson
from npi_bids.records import Array, Mask, RegionSeries
from npi_bids.surrogates.storage import read_tensors, write_tensors
from npi_bids.surrogates.windows import shared_regions
from npi_bids.whole_brain.inference import load_connectome
from npi_bids.whole_brain.settings import CLOSE_FC, BrainSettings

_logger = logging.getLogger(__name__)
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
HALF_LEVEL = 0.8  # of the intervals of the halves that are compared
_N_CALIBRATION = 400  # samples of each held-out subject
_N_PREDICTED = 20  # simulations of the posterior predictive FC
_RIDGE_PENALTIES = np.logspace(-2, 4, 13)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedInference:
    """All that is needed to read a subject.

    Attributes
    ----------
    experiment
        What was simulated.
    simulations
        The simulated subjects that the flows were trained on.
    usable
        Shape (n_features,); which features are used.
    ensemble, half_ensemble
        Posterior of whole recordings, and of the halves of their runs.
    calibration
        Calibration on simulated subjects that were held out.
    domain
        What the model can produce.
    """

    experiment: Experiment
    simulations: Simulations
    usable: NDArray[np.bool_]
    ensemble: Ensemble
    half_ensemble: Ensemble
    calibration: Calibration
    domain: Domain

    @property
    def prior(self) -> Prior:
        """Priors of the parameters."""
        return self.experiment.prior

    @property
    def used_features(self) -> tuple[str, ...]:
        """Names of the features that are used."""
        return _names_of(self.experiment, self.usable)


@dataclass(frozen=True, slots=True, eq=False)
class SubjectPosterior:
    """Posterior of one subject.

    Attributes
    ----------
    prior
        Priors of the parameters.
    samples
        Shape (n_samples, n_parameters), in the units of the parameters.
    half_samples
        The same of the first and of the second half of the recording.
    position
        Whether the subject lies inside what the model can produce.
    identification
        Verdict of each parameter: ``identified``, ``weakly identified``, ``not identified``.
    contraction
        Shape (n_parameters,); 1 minus the variance of this posterior over that of the prior, of
        positions in the prior.
    fc, predicted_fc
        Shape (n_regions, n_regions); FC of the subject, and mean FC of simulations with
        parameters of the posterior.
    fc_r
        Correlation of the two.
    best_fc
        Shape (n_parameters,); parameters of the simulation with the best r of FC.
    best_fc_r
        This r.
    close_fc
        Shape (2, n_parameters); least and largest parameters of the simulations whose r of FC is
        within .02 of the best.
    n_close_fc
        Number of these.
    """

    prior: Prior
    samples: Array
    half_samples: tuple[Array, Array]
    position: Position
    identification: tuple[str, ...]
    contraction: Array
    fc: Array
    predicted_fc: Array
    fc_r: float
    best_fc: Array
    best_fc_r: float
    close_fc: Array
    n_close_fc: int

    @property
    def readable(self) -> bool:
        """Whether the posterior may be read: the subject is not outside."""
        return self.position.label != OUTSIDE

    @property
    def halves_agree(self) -> tuple[bool, ...]:
        """Whether the 80 % intervals of the two halves overlap, for each parameter."""
        tails = (0.5 - HALF_LEVEL / 2, 0.5 + HALF_LEVEL / 2)
        first, second = (np.quantile(half, tails, axis=0) for half in self.half_samples)
        overlap = (first[0] <= second[1]) & (second[0] <= first[1])
        return tuple(bool(value) for value in overlap)


@dataclass(frozen=True, slots=True, eq=False)
class Cleaning:
    """How the signals of a subject were cleaned.

    Attributes
    ----------
    regressors
        Shape (n_samples, n_regressors) for each run; confounds that were regressed out, without
        the constant.
    filters
        Cut-offs of the filters.
    """

    regressors: tuple[Array, ...]
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True, slots=True, eq=False)
class SubjectPlan:
    """What is to be simulated for a subject, and its runs.

    Attributes
    ----------
    experiment
        What is simulated.
    runs
        The runs of the subject that are long enough.
    covered
        Shape (n_regions,); regions of the atlas that are in the model.
    """

    experiment: Experiment
    runs: list[ObservedRun]
    covered: Mask


def plan_subject(
    runs: Sequence[RegionSeries],
    cleaning: Cleaning,
    settings: InferSettings,
    brain: BrainSettings,
    seed: int,
) -> SubjectPlan:
    """Return what is to be simulated for a subject.

    Parameters
    ----------
    runs
        Cleaned series of one subject.
    cleaning
        How they were cleaned.
    settings
        Model and observation.
    brain
        Names the tables of structural connectivity.
    seed
        Seed of all random numbers.

    Raises
    ------
    InputDataError
        The structural connectivity is missing, or lacks a region.
    NoUsableDataError
        No run has enough samples.
    """
    shared, covered = shared_regions(runs)
    connectome = load_connectome(brain, shared[0].labels)
    long_enough = [
        (run, regressors)
        for run, regressors in zip(shared, cleaning.regressors, strict=True)
        if run.keep.sum() >= FEWEST_SAMPLES
    ]
    if not long_enough:
        raise NoUsableDataError(
            f"No run has {FEWEST_SAMPLES} uncensored samples, which the features need."
        )
    tr = shared[0].tr
    protocols = tuple(
        make_protocol(run.keep, regressors, tr, cleaning.filters)
        for run, regressors in long_enough
    )
    observation = ObservationModel(settings.observation, tr, protocols)
    experiment = Experiment(
        settings.infer, connectome.weights, observation, catch22=settings.catch22, seed=seed
    )
    return SubjectPlan(experiment, read_subject([run for run, _ in long_enough]), covered)


def prepare_inference(
    experiment: Experiment,
    settings: InferSettings,
    cache: Path,
    *,
    n_procs: int = 1,
    on_progress: Callable[[str], None] = lambda _: None,
) -> TrainedInference:
    """Simulate, train and calibrate, or read what the cache holds of it.

    Parameters
    ----------
    experiment
        What is simulated.
    settings
        Numbers of simulations and of flows.
    cache
        Folder of simulations and flows.
    n_procs
        Number of processes of the simulations; the result does not depend on it.
    on_progress
        Called with a line of progress.

    Raises
    ------
    SettingsError
        ``sbi`` is not installed.
    SurrogateError
        Most simulations or all flows failed.
    NoUsableDataError
        No feature is defined for recordings of this length.
    """
    check_sbi()
    total = settings.n_simulations + settings.n_held_out
    everything = run_simulations(
        experiment,
        total,
        cache,
        n_procs=n_procs,
        on_batch=lambda done, of: on_progress(f"simulated {done} of {of} subjects"),
    )
    usable = usable_features(everything)
    if usable.sum() < len(experiment.prior):
        raise NoUsableDataError(
            f"Only {int(usable.sum())} features are defined for recordings of "
            f"{experiment.observation.n_samples} samples; their halves are too short."
        )
    n_held_out = settings.n_held_out
    training, held_out = (
        everything.take(slice(-n_held_out)),
        everything.take(slice(-n_held_out, None)),
    )
    folder = cache / experiment.digest()
    ensembles = [
        _load_or_train(
            folder / f"{part}_{_digest_training(settings)}.safetensors",
            (training.positions, features[:, usable]),
            settings.n_members,
            experiment.seed + offset,
            partial(on_progress, f"training {settings.n_members} flows ({part})"),
        )
        for part, features, offset in (
            ("whole", training.features, 0),
            ("halves", training.half_features, 1_000_000),
        )
    ]
    calibration = _calibrate(experiment, ensembles[0], training, held_out, usable)
    on_progress("calibrated on held-out subjects")
    names = _names_of(experiment, usable)
    subjects = SimulatedSubjects(
        training.positions,
        training.features[:, usable],
        training.reordered_features[:, usable],
        training.sections,
    )
    domain = fit_domain(names, subjects)
    return TrainedInference(
        experiment, training, usable, ensembles[0], ensembles[1], calibration, domain
    )


def infer_subject(
    trained: TrainedInference, runs: list[ObservedRun], settings: InferSettings
) -> SubjectPosterior:
    """Return the posterior of a subject.

    Parameters
    ----------
    trained
        Made for the observation of this subject.
    runs
        Its runs.
    settings
        Number of samples.

    Raises
    ------
    NoUsableDataError
        A feature of the subject is not defined.
    """
    experiment, prior = trained.experiment, trained.prior
    seed = experiment.seed
    first, second = split_halves(runs)
    whole, *halves = (_subject_features(trained, part) for part in (runs, first, second))
    positions = trained.ensemble.sample(whole[None], settings.n_samples, seed)[:, 0]
    half_positions = [
        trained.half_ensemble.sample(half[None], settings.n_samples, seed)[:, 0] for half in halves
    ]
    contraction = 1 - positions.var(axis=0) / FLAT_VARIANCE
    structure = describe_structure(experiment.connectome)
    sections = compute_section_features(runs, structure, experiment.observation.tr)
    fc = compute_fc(runs)
    predicted = predict_fc(experiment, positions[:_N_PREDICTED])
    r = correlate_rows(fc[structure.pairs][None], trained.simulations.fc)[0]
    close = r >= r.max() - CLOSE_FC
    values = prior.values(trained.simulations.positions)
    return SubjectPosterior(
        prior=prior,
        samples=prior.values(positions),
        half_samples=(prior.values(half_positions[0]), prior.values(half_positions[1])),
        position=trained.domain.locate(whole, sections),
        identification=tuple(
            judge_identification(float(value), parameter.r2)
            for value, parameter in zip(contraction, trained.calibration.parameters, strict=True)
        ),
        contraction=contraction,
        fc=fc,
        predicted_fc=predicted,
        fc_r=pearson(fc, predicted),
        best_fc=values[r.argmax()],
        best_fc_r=float(r.max()),
        close_fc=np.array([values[close].min(axis=0), values[close].max(axis=0)]),
        n_close_fc=int(close.sum()),
    )


def predict_fc(experiment: Experiment, positions: Array) -> Array:
    """Return the mean FC of simulations with some positions, those that fail left out."""
    rng = np.random.default_rng([experiment.seed, 2_000_000])
    simulated = [compute_fc(runs) for runs in experiment.simulate(positions, rng)]
    finite = [fc for fc in simulated if np.isfinite(fc).all()]
    if not finite:
        return np.full_like(experiment.connectome, np.nan)
    mean: Array = np.mean(finite, axis=0)
    return mean


def summarise_posterior(posterior: SubjectPosterior) -> Mapping[str, list[object]]:
    """Return the table of a subject's parameters, one row per parameter, by column."""
    samples = posterior.samples
    quantiles = np.quantile(samples, QUANTILES, axis=0)
    halves = [np.median(half, axis=0) for half in posterior.half_samples]
    names = ("q025", "q25", "median", "q75", "q975")
    parameters = posterior.prior.parameters
    return {
        "name": [parameter.name for parameter in parameters],
        "mean": samples.mean(axis=0).tolist(),
        "sd": samples.std(axis=0, ddof=1).tolist(),
        **{name: row.tolist() for name, row in zip(names, quantiles, strict=True)},
        "identification": list(posterior.identification),
        "contraction": posterior.contraction.tolist(),
        "first_half": halves[0].tolist(),
        "second_half": halves[1].tolist(),
        "halves_agree": [int(value) for value in posterior.halves_agree],
        "best_fc": posterior.best_fc.tolist(),
        "close_fc_low": posterior.close_fc[0].tolist(),
        "close_fc_high": posterior.close_fc[1].tolist(),
        "prior_low": [parameter.low for parameter in parameters],
        "prior_high": [parameter.high for parameter in parameters],
    }


def _names_of(experiment: Experiment, usable: NDArray[np.bool_]) -> tuple[str, ...]:
    names = experiment.feature_names
    return tuple(name for name, used in zip(names, usable, strict=True) if used)


def _subject_features(trained: TrainedInference, runs: list[ObservedRun]) -> Array:
    features = trained.experiment.compute_features(runs)[trained.usable]
    if not np.isfinite(features).all():
        names = np.array(trained.used_features)[~np.isfinite(features)]
        raise NoUsableDataError(
            f"{len(names)} features of the subject are not defined ({', '.join(names[:5])}); a "
            "region is constant, or too few samples remain in a half of a run."
        )
    return features


def _digest_training(settings: InferSettings) -> str:
    content = (settings.n_simulations, settings.n_held_out, settings.n_members)
    return hashlib.sha256(repr(content).encode()).hexdigest()[:8]


def _load_or_train(
    path: Path,
    simulated: tuple[Array, Array],
    n_members: int,
    seed: int,
    on_start: Callable[[], None],
) -> Ensemble:
    if path.is_file():
        return Ensemble.from_tensors(read_tensors(path))
    on_start()
    ensemble = train_ensemble(*simulated, n_members=n_members, seed=seed)
    write_tensors(ensemble.tensors(), path)
    return ensemble


def _calibrate(
    experiment: Experiment,
    ensemble: Ensemble,
    training: Simulations,
    held_out: Simulations,
    usable: NDArray[np.bool_],
) -> Calibration:
    features = held_out.features[:, usable]
    samples = ensemble.sample(features, _N_CALIBRATION, experiment.seed)
    points = PointEstimates(
        ridge=predict_by_ridge(training.positions, training.features[:, usable], features),
        best_fc=find_best_fc(held_out.fc, training.fc, training.positions),
    )
    return calibrate(experiment.prior.names, held_out.positions, samples, points, experiment.seed)


def predict_by_ridge(positions: Array, features: Array, others: Array) -> Array:
    """Return what a ridge regression of positions on features predicts for other subjects."""
    from sklearn.linear_model import RidgeCV

    mean, sd = features.mean(axis=0), features.std(axis=0)
    model = RidgeCV(_RIDGE_PENALTIES).fit((features - mean) / sd, positions)
    predicted: Array = model.predict((others - mean) / sd)
    return predicted
