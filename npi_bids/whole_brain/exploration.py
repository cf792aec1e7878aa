"""Exploration of the parameters of a model: measures of its activity over a grid.

Every simulation is stored in a cache, so that an interrupted exploration resumes where it stopped,
and results do not depend on the number of processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from scipy.signal import welch
from scipy.stats import ks_2samp

from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError, SurrogateError
from npi_bids.io.files import write_text
from npi_bids.io.lifeline import parallel_map
from npi_bids.matrices import correlation, pearson
from npi_bids.records import Array
from npi_bids.whole_brain.forward import (
    Activity,
    ForwardModel,
    ForwardSettings,
    load_model_class,
    simulate_model,
)
from npi_bids.whole_brain.parameters import Axis
from npi_bids.whole_brain.search import BrainTarget, compute_target, fc_dynamics
from npi_bids.wording import join_items, suggest_word

_VERSION = 1  # of simulations and measures; part of the hash of the cache
_GW_TR = 2.0  # s; not stated in neurolib's dataset, 355 volumes of 12 minutes imply it


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that describes a simulation.

    Attributes
    ----------
    summary
        What it is.
    compute
        Function of the simulation and of the subjects.
    units
        Its units; empty where they are those of the model.
    uses_bold, uses_subjects
        Whether it is computed from BOLD, and whether it compares with recordings.
    """

    summary: str
    compute: Callable[[Activity, Sequence[BrainTarget]], float]
    units: str = ""
    uses_bold: bool = False
    uses_subjects: bool = False


def fc_fit(activity: Activity, subjects: Sequence[BrainTarget]) -> float:
    """Return the mean over subjects of r of simulated and empirical FC; NaN if a region is silent.

    This is the mean of ``matrix_correlation`` in neurolib, which takes the entries below the
    diagonal.
    """
    fc = correlation(activity.bold)
    if not np.isfinite(fc).all():
        return float("nan")
    return float(np.mean([pearson(fc, subject.fc) for subject in subjects]))


def fcd_distance(activity: Activity, subjects: Sequence[BrainTarget]) -> float:
    """Return the mean Kolmogorov-Smirnov distance of FC dynamics; NaN for short simulations."""
    distances = []
    for subject in subjects:
        simulated = fc_dynamics(activity.bold, subject.tr)
        if not (simulated.size and np.isfinite(simulated).all()):
            return float("nan")
        distances.append(float(ks_2samp(simulated, subject.fcd, method="asymp").statistic))
    return float(np.mean(distances))


def dominant_frequency(activity: Activity, _: Sequence[BrainTarget] = ()) -> float:
    """Return the frequency of the highest mean power (Hz); NaN where nothing varies."""
    values = activity.activity - activity.activity.mean(axis=0)
    if np.ptp(values) < 1e-9:
        return float("nan")
    rate = 1 / np.median(np.diff(activity.time))
    frequencies, power = welch(values, rate, nperseg=min(len(values), round(rate)), axis=0)
    return float(frequencies[power.mean(axis=1)[1:].argmax() + 1])


MEASURES: dict[str, Measure] = {
    "max_rate": Measure("highest activity of any region", lambda a, _: float(a.activity.max())),
    "min_rate": Measure("lowest activity of any region", lambda a, _: float(a.activity.min())),
    "mean_rate": Measure("mean activity", lambda a, _: float(a.activity.mean())),
    "amplitude": Measure(
        "largest range of the activity of a region",
        lambda a, _: float(np.ptp(a.activity, axis=0).max()),
    ),
    "frequency": Measure("frequency of the highest power", dominant_frequency, "Hz"),
    "fc_fit": Measure("mean r of simulated and empirical FC", fc_fit, "r", True, True),
    "fcd": Measure("mean distance of FC dynamics (Kolmogorov-Smirnov)", fcd_distance, "D", True,
                   True),
    "synchrony": Measure("mean FC of BOLD", lambda a, _: float(
        np.mean(correlation(a.bold)[np.triu_indices(a.bold.shape[1], 1)])), "r", True),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Exploration:
    """What is simulated, and what is measured.

    Attributes
    ----------
    model
        The model, with the parameters that are not varied.
    settings
        Length and sampling of the simulations.
    measures
        Keys of ``MEASURES``.
    subjects
        FC and FC dynamics of the subjects to compare with.
    tr
        Sampling period of BOLD (s).
    seed
        Seed of the noise, the same for all points.
    """

    model: ForwardModel
    settings: ForwardSettings
    measures: tuple[str, ...]
    subjects: tuple[BrainTarget, ...] = ()
    tr: float = _GW_TR
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown or not self.measures:
            hint = suggest_word(unknown[0], tuple(MEASURES)) if unknown else ""
            raise SettingsError(
                f"Unknown measure {join_items(unknown)}; choose some of "
                f"{join_items(MEASURES)}{hint or '.'}"
            )
        compared = [name for name in self.measures if MEASURES[name].uses_subjects]
        if compared and not self.subjects:
            raise SettingsError(
                f"{join_items(compared)} compares with recordings; give --fit gw or --subject."
            )
        for subject in self.subjects:
            if len(subject.fc) != len(self.model.labels):
                raise InputDataError(
                    f"The subject has {len(subject.fc)} regions and the model "
                    f"{len(self.model.labels)}; expected the same regions in the same order "
                    "(--sc)."
                )

    def digest(self) -> str:
        """Return a hash of everything that the measures of a point depend on."""
        model = self.model
        content = [_VERSION, model.name, sorted(model.parameters.items()), asdict(self.settings),
                   self.measures, self.tr, self.seed]  # fmt: skip
        digest = hashlib.sha256(json.dumps(content).encode())
        arrays = [array for subject in self.subjects for array in (subject.fc, subject.fcd)]
        if model.connectome is not None:
            arrays += [model.connectome.weights, model.connectome.lengths]
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        source, colon, _ = model.name.rpartition(":")
        if colon and source.endswith(".py"):
            digest.update(Path(source).read_bytes())
        return digest.hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Point:
    """Parameters, and the measures of their simulation; NaN where it diverged."""

    parameters: dict[str, float]
    measures: dict[str, float] = field(default_factory=dict)


def grid_points(axes: Sequence[Axis]) -> list[dict[str, float]]:
    """Return all combinations; the last parameter varies fastest.

    >>> grid_points([Axis("a", 0, 1, 2), Axis("b", 5, 6, 2)])[1]
    {'a': 0.0, 'b': 6.0}
    """
    names = [axis.name for axis in axes]
    return [dict(zip(names, values, strict=True)) for values in product(*(a.values for a in axes))]


@contextmanager
def evaluator(
    exploration: Exploration, cache: Path, n_procs: int = 1
) -> Iterator[Callable[[Sequence[Mapping[str, float]]], Iterator[Point]]]:
    """Give a function that simulates parameter sets in order, or reads them from the cache.

    Parameters
    ----------
    exploration
        What is simulated and measured.
    cache
        Folder of simulated points; each exploration has a folder of its own in it.
    n_procs
        Number of processes; the result does not depend on it.

    Raises
    ------
    SettingsError
        The model cannot be made.
    """
    load_model_class(exploration.model.name)
    folder = cache / exploration.digest()
    folder.mkdir(parents=True, exist_ok=True)
    work = partial(_load_or_simulate, exploration, folder)
    with parallel_map(n_procs) as mapped:
        yield lambda parameter_sets: mapped(work, parameter_sets)


def explore_grid(
    exploration: Exploration,
    axes: Sequence[Axis],
    cache: Path,
    *,
    n_procs: int = 1,
    on_point: Callable[[int, int], None] = lambda _, __: None,
) -> list[Point]:
    """Simulate every point of a grid.

    Parameters
    ----------
    exploration, cache, n_procs
        See :func:`evaluator`.
    axes
        Parameters that are varied.
    on_point
        Called with the number of finished points and of all.

    Returns
    -------
    list of Point
        In the order of :func:`grid_points`.
    """
    candidates = grid_points(axes)
    exploration.model.with_parameters(candidates[0]).create(0)  # unknown parameters end it here
    points = []
    with evaluator(exploration, cache, n_procs) as evaluate:
        for point in evaluate(candidates):
            points.append(point)
            on_point(len(points), len(candidates))
    return points


def gw_subjects() -> tuple[BrainTarget, ...]:
    """Return FC and FC dynamics of the five subjects of neurolib's dataset gw.

    Raises
    ------
    InputDataError
        neurolib is not installed.
    """
    try:
        from neurolib.utils.loadData import Dataset  # an optional extra, and slow to import
    except ImportError as error:
        raise InputDataError(
            "The dataset gw needs neurolib; pip install 'npi-bids[neurolib]'."
        ) from error
    stored = Dataset("gw").data["subjects"]
    series = [np.asarray(stored[name]["bold"], dtype=float).T for name in sorted(stored)]
    return tuple(compute_target([bold], _GW_TR) for bold in series)


def read_subjects(subjects: Sequence[Sequence[Array]], tr: float) -> tuple[BrainTarget, ...]:
    """Return FC and FC dynamics of subjects.

    Parameters
    ----------
    subjects
        The runs of each subject, of shape (n_samples, n_regions).
    tr
        Sampling period (s).

    Raises
    ------
    NoUsableDataError
        A region has missing samples or does not vary, or all runs of a subject are too short.
    """
    for number, runs in enumerate(subjects, start=1):
        if any(not np.isfinite(run).all() or (run.std(axis=0) == 0).any() for run in runs):
            raise NoUsableDataError(
                f"Subject {number} has missing samples or regions without signal; expected all "
                "regions of the connectome, without gaps."
            )
    return tuple(compute_target(runs, tr) for runs in subjects)


def _load_or_simulate(
    exploration: Exploration, folder: Path, parameters: Mapping[str, float]
) -> Point:
    key = hashlib.sha256(json.dumps(sorted(parameters.items())).encode()).hexdigest()[:20]
    path = folder / f"{key}.json"
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            values = [stored[name] for name in exploration.measures]
        except (ValueError, KeyError):  # cut off when it was written
            pass
        else:
            numbers = [float("nan") if value is None else float(value) for value in values]
            return Point(dict(parameters), dict(zip(exploration.measures, numbers, strict=True)))
    measures = measure_point(exploration, parameters)
    storable = {name: value if np.isfinite(value) else None for name, value in measures.items()}
    write_text(path, json.dumps(storable))
    return Point(dict(parameters), measures)


def measure_point(exploration: Exploration, parameters: Mapping[str, float]) -> dict[str, float]:
    """Simulate one parameter set and return its measures; NaN where it diverged."""
    uses_bold = any(MEASURES[name].uses_bold for name in exploration.measures)
    try:
        activity = simulate_model(
            exploration.model.with_parameters(parameters), exploration.settings,
            seed=exploration.seed, tr=exploration.tr if uses_bold else None,
        )  # fmt: skip
    except SurrogateError:
        return dict.fromkeys(exploration.measures, float("nan"))
    return {
        name: MEASURES[name].compute(activity, exploration.subjects)
        for name in exploration.measures
    }
