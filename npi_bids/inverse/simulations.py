"""Simulated subjects: parameters drawn from the prior, and the features of their signals.

Simulations are made in batches, each with a seed of its own and a file in the cache, so that an
interrupted run resumes where it stopped and the result does not depend on the number of
processes.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import SurrogateError
from npi_bids.inverse.features import (
    compute_features,
    compute_section_features,
    describe_structure,
    feature_names,
)
from npi_bids.inverse.models import BrainModel, Sampling, find_model
from npi_bids.inverse.observation import ObservationModel, ObservedRun
from npi_bids.inverse.priors import Prior, join_priors
from npi_bids.io.files import replacing
from npi_bids.io.lifeline import parallel_map
from npi_bids.matrices import correlation
from npi_bids.records import Array

_logger = logging.getLogger(__name__)
_VERSION = 4  # of models, observation and features; part of the hash of the cache
_MOST_SIGNALS = 5000  # signals of a batch, which bound its memory
_MOST_SIMULATIONS = 50  # of a batch
_WORST_FAILURES = 0.5  # share of failed simulations above which nothing is inferred


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """What is simulated: a model on a connectome, and how it is observed.

    Attributes
    ----------
    model_name
        ``hopf`` or ``rww``.
    connectome
        Shape (n_regions, n_regions), indexed ``[source, target]``.
    observation
        How signals are observed.
    catch22
        Whether features include catch22.
    seed
        Seed of all random numbers.
    """

    model_name: str
    connectome: Array
    observation: ObservationModel
    catch22: bool = False
    seed: int = 0

    @property
    def model(self) -> BrainModel:
        """The model."""
        return find_model(self.model_name)

    @property
    def prior(self) -> Prior:
        """Priors of the parameters of the model, and then of those of the observation."""
        return join_priors(self.model.prior, self.observation.prior)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features."""
        return feature_names(catch22=self.catch22)

    @property
    def batch_size(self) -> int:
        """Number of simulations that are integrated together."""
        return max(1, min(_MOST_SIMULATIONS, _MOST_SIGNALS // len(self.connectome)))

    def digest(self) -> str:
        """Return a hash of everything that determines the simulations but their number."""
        digest = hashlib.sha256()
        prior = [(p.name, p.low, p.high, p.logarithmic) for p in self.prior.parameters]
        content = (_VERSION, self.model_name, self.catch22, self.seed, self.batch_size, prior)
        digest.update(repr(content).encode())
        digest.update(np.ascontiguousarray(np.round(self.connectome, 12)).tobytes())
        digest.update(self.observation.digest().encode())
        return digest.hexdigest()[:16]

    def simulate(self, positions: Array, rng: np.random.Generator) -> list[list[ObservedRun]]:
        """Simulate and observe one subject for each row of positions in the prior."""
        values = self.prior.values(positions)
        n_model = len(self.model.prior)
        sampling = Sampling(self.observation.n_samples, self.observation.tr)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging simulation ends as NaN
            bold = self.model.simulate(values[:, :n_model], self.connectome, sampling, rng)
        return self.observation.observe(bold, values[:, n_model:], rng)

    def compute_features(self, runs: list[ObservedRun]) -> Array:
        """Return the features of one subject."""
        structure = describe_structure(self.connectome)
        return compute_features(runs, structure, self.observation.tr, catch22=self.catch22)


@dataclass(frozen=True, slots=True, eq=False)
class Simulations:
    """Simulated subjects.

    Attributes
    ----------
    positions
        Shape (n, n_parameters); positions of the parameters in the prior.
    features
        Shape (n, n_features); NaN where a simulation failed.
    half_features
        The same of the first half of every run.
    reordered_features
        The same as ``features``, with the regions of the signals in random order: how the model
        would look on a structure that has nothing to do with the one given.
    sections
        Shape (n, n_sections, n_section_features).
    fc
        Shape (n, n_pairs), in half precision.
    """

    positions: Array
    features: Array
    half_features: Array
    reordered_features: Array
    sections: Array
    fc: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Simulations:
        """Return some of the simulations."""
        return Simulations(*(getattr(self, field.name)[rows] for field in fields(self)))


def run_simulations(
    experiment: Experiment,
    n_simulations: int,
    cache: Path,
    *,
    n_procs: int = 1,
    on_batch: Callable[[int, int], None] = lambda _, __: None,
) -> Simulations:
    """Simulate subjects, or read those that the cache holds.

    Parameters
    ----------
    experiment
        What is simulated.
    n_simulations
        Number of simulated subjects. A larger number extends a smaller one.
    cache
        Folder of the batches; each experiment has a folder of its own in it.
    n_procs
        Number of processes; the result does not depend on it.
    on_batch
        Called with the number of finished simulations and of all.

    Returns
    -------
    Simulations
        Without those that failed.

    Raises
    ------
    SurrogateError
        More than half of the simulations failed.
    """
    folder = cache / experiment.digest()
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(ceil(n_simulations / experiment.batch_size))
    work = partial(_load_or_simulate, experiment, folder)
    batches: list[Simulations] = []
    with parallel_map(min(n_procs, len(numbers))) as mapped:
        for batch in mapped(work, numbers):
            batches.append(batch)
            done = min(n_simulations, len(batches) * experiment.batch_size)
            on_batch(done, n_simulations)
    joined = Simulations(
        *(np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(Simulations))
    ).take(slice(n_simulations))
    return _without_failures(joined)


def usable_features(simulations: Simulations) -> NDArray[np.bool_]:
    """Return which features are defined for recordings of this length, and vary."""
    finite = np.isfinite(simulations.features).all(axis=0)
    finite &= np.isfinite(simulations.half_features).all(axis=0)
    # The SD of an undefined feature is NaN, which is not above 0.
    usable: NDArray[np.bool_] = finite & (simulations.features.std(axis=0) > 1e-9)
    return usable


def _without_failures(simulations: Simulations) -> Simulations:
    failed = np.asarray(np.isnan(simulations.features).all(axis=1))
    if failed.mean() > _WORST_FAILURES:
        raise SurrogateError(
            f"{int(failed.sum())} of {len(failed)} simulations diverged or fell silent; check "
            "the structural connectivity."
        )
    if failed.any():
        _logger.warning(
            "%d of %d simulations diverged or fell silent and are left out",
            int(failed.sum()), len(failed),
        )  # fmt: skip
    return simulations.take(~failed)


def _load_or_simulate(experiment: Experiment, folder: Path, number: int) -> Simulations:
    path = folder / f"batch_{number:05d}.npz"
    if path.is_file():
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return Simulations(*(stored[field.name] for field in fields(Simulations)))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
            _logger.warning("<%s> cannot be read and is simulated again", path)
    batch = _simulate_batch(experiment, number)
    with replacing(path) as temporary, temporary.open("wb") as unfinished:
        np.savez(unfinished, **{f.name: getattr(batch, f.name) for f in fields(batch)})
    return batch


def _simulate_batch(experiment: Experiment, number: int) -> Simulations:
    rng = np.random.default_rng([experiment.seed, number])
    positions = experiment.prior.draw(experiment.batch_size, rng)
    structure = describe_structure(experiment.connectome)
    tr = experiment.observation.tr
    describe = partial(compute_features, structure=structure, tr=tr, catch22=experiment.catch22)
    features, halves, reordered, sections, fc = [], [], [], [], []
    for runs in experiment.simulate(positions, rng):
        features.append(describe(runs))
        halves.append(describe(split_halves(runs)[0]))
        reordered.append(describe(_reorder_regions(runs, rng)))
        sections.append(compute_section_features(runs, structure, tr))
        fc.append(compute_fc(runs)[structure.pairs].astype(np.float16))
    return Simulations(
        positions,
        np.array(features),
        np.array(halves),
        np.array(reordered),
        np.array(sections),
        np.array(fc),
    )


def _reorder_regions(runs: list[ObservedRun], rng: np.random.Generator) -> list[ObservedRun]:
    """Return the runs with their regions in random order, the same in all."""
    order = rng.permutation(runs[0].data.shape[1])
    return [replace(run, data=run.data[:, order]) for run in runs]


def compute_fc(runs: list[ObservedRun]) -> Array:
    """Return FC over all runs."""
    return correlation(np.concatenate([run.data for run in runs]))


def split_halves(runs: list[ObservedRun]) -> tuple[list[ObservedRun], list[ObservedRun]]:
    """Return the first and the second half of every run, each scaled anew."""
    ends = [int(run.position[-1]) + 1 for run in runs]
    first = [run.cut(0, end // 2) for run, end in zip(runs, ends, strict=True)]
    second = [run.cut(end // 2, end) for run, end in zip(runs, ends, strict=True)]
    return first, second
