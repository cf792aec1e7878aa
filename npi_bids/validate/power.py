"""Power: accuracy on simulated subjects by method and minutes of data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from npi_bids import __version__
from npi_bids.connectivity.measures import functional_connectivity
from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import NPIError, SettingsError
from npi_bids.io.files import remove_leftovers, replacing
from npi_bids.io.lifeline import end_with_parent, start_tracker
from npi_bids.records import Array, RegionSeries
from npi_bids.settings import check_options, option
from npi_bids.simulate.observation import Observation, ObserveSettings, as_runs
from npi_bids.simulate.recording import record_system
from npi_bids.simulate.systems import SYSTEMS, SystemSettings, sampling_period
from npi_bids.surrogates.base import PRESETS, TrainSettings, preset, resolve
from npi_bids.surrogates.families import families
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.training import threads
from npi_bids.surrogates.windows import cut_windows
from npi_bids.validate.scores import score
from npi_bids.wording import join_items

FC = "fc"  # no surrogate: the baseline that a map must exceed
METHODS = (*families(), *PRESETS, FC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSettings:
    """The study to simulate."""

    system: str = option(
        "rnn",
        f"system to simulate: {join_items(SYSTEMS)}",
        choices=tuple(SYSTEMS),
        metavar="SYSTEM",
    )
    minutes: tuple[float, ...] = option(
        (5.0, 10.0, 20.0, 30.0, 60.0), "minutes of data per subject", above=0, metavar="X"
    )
    trs: tuple[float, ...] = option(
        (), "TR in seconds (default: the system's own)", above=0, flag="tr", metavar="X"
    )
    n_subjects: int = option(5, "number of subjects (with the same network)", above=0, metavar="N")
    methods: tuple[str, ...] = option(
        ("hybrid", "var", "fc"),
        f"methods to compare: {join_items(METHODS)}",
        choices=METHODS,
        metavar="NAME",
    )
    wanted: float = option(
        0.8,
        "target accuracy (r), for which the necessary minutes are reported",
        above=0,
        below=1,
        metavar="X",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not self.minutes or not self.methods:
            raise SettingsError("--minutes and --methods need at least one value.")


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Accuracy of one method at one length; one subject, or the mean map of all (``subject`` 0).

    ``r``, ``r_antisymmetric`` and ``direction`` are NaN, with a reason, where there is no map.
    """

    tr: float
    minutes: float
    method: str
    subject: int
    r: float
    r_antisymmetric: float
    direction: float
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One subject at one TR: all lengths and methods."""

    power: PowerSettings
    system: SystemSettings
    observation: ObserveSettings
    subject: int

    def key(self) -> str:
        content = {
            "power": {k: v for k, v in asdict(self.power).items() if k not in ("wanted", "trs")},
            "system": asdict(self.system),
            "seen": asdict(self.observation),
            "subject": self.subject,
            "version": __version__,
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_power(
    power: PowerSettings,
    system: SystemSettings,
    observation: ObserveSettings,
    *,
    cache: Path,
    n_procs: int = 1,
    on_done: Callable[[int, int], None] = lambda _, __: None,
) -> list[PowerRow]:
    """Simulate the study and score every map.

    Subjects share the network and differ in their noise. Results that were computed before
    with the same settings are read from the cache.

    Parameters
    ----------
    power, system, observation
        The study, the system, and what is recorded of it.
    cache
        Folder for results of single subjects.
    n_procs
        Number of processes; the result does not depend on it.
    on_done
        Called with the number of finished subjects and the number of all subjects.
    """
    tasks = [
        _Task(power, replace(system, tr=tr), observation, subject)
        for tr in (power.trs or (system.tr,))
        for subject in range(1, power.n_subjects + 1)
    ]
    cache.mkdir(parents=True, exist_ok=True)
    remove_leftovers(cache)
    missing = [task for task in tasks if not (cache / f"{task.key()}.npz").is_file()]
    on_done(len(tasks) - len(missing), len(tasks))
    for count, _ in enumerate(_run_tasks(missing, cache, n_procs), start=1):
        on_done(len(tasks) - len(missing) + count, len(tasks))
    return sorted(_score_tasks(tasks, cache), key=lambda row: (row.tr, row.minutes, row.method))


def needed_minutes(minutes: Sequence[float], accuracy: Sequence[float], target: float) -> float:
    """Return the minutes that reach an accuracy, on a logarithmic scale between two lengths.

    Infinite where the longest is not enough; the shortest where that is enough.

    >>> needed_minutes([10, 40], [0.6, 0.8], 0.7)
    20.0
    """
    pairs = [(m, a) for m, a in sorted(zip(minutes, accuracy, strict=True)) if np.isfinite(a)]
    for number, (length, reached) in enumerate(pairs):
        if reached < target:
            continue
        if number == 0:
            return float(length)
        before, lower = pairs[number - 1]
        share = (target - lower) / (reached - lower)
        return float(round(before * (length / before) ** share, 6))
    return float("inf")


class Summary(TypedDict):
    """Accuracy at a TR, by a method and at a length: means over subjects and their spread."""

    tr: float
    method: str
    minutes: float
    r: float
    r_low: float
    r_high: float
    r_antisymmetric: float
    direction: float
    direction_low: float
    direction_high: float
    group_r: float
    group_direction: float
    n_subjects: int


def summarise(rows: Sequence[PowerRow]) -> Iterator[Summary]:
    """Yield mean and spread over subjects, and the mean map's accuracy, by TR, method, length."""

    def condition(row: PowerRow) -> tuple[float, str, float]:
        return row.tr, row.method, row.minutes

    for (tr, method, minutes), group in groupby(sorted(rows, key=condition), key=condition):
        members = list(group)
        subject_rows = [row for row in members if row.subject]
        group_row = next(row for row in members if not row.subject)
        r = np.array([row.r for row in subject_rows])
        yield {
            "tr": tr,
            "method": method,
            "minutes": minutes,
            "r": float(r.mean()),
            "r_low": float(r.min()),
            "r_high": float(r.max()),
            "r_antisymmetric": float(np.mean([row.r_antisymmetric for row in subject_rows])),
            "direction": float(np.mean([row.direction for row in subject_rows])),
            "direction_low": float(np.min([row.direction for row in subject_rows])),
            "direction_high": float(np.max([row.direction for row in subject_rows])),
            "group_r": group_row.r,
            "group_direction": group_row.direction,
            "n_subjects": len(subject_rows),
        }


def necessary_minutes(
    summaries: Sequence[Summary], target: float
) -> Iterator[tuple[float, str, float]]:
    """Yield TR, method, and the minutes that reach the target accuracy."""

    def condition(row: Summary) -> tuple[float, str]:
        return row["tr"], row["method"]

    for (tr, method), group in groupby(summaries, key=condition):
        rows = list(group)
        minutes = [row["minutes"] for row in rows]
        yield tr, method, needed_minutes(minutes, [row["r"] for row in rows], target)


def _run_tasks(missing: Sequence[_Task], cache: Path, n_procs: int) -> Iterator[None]:
    if n_procs == 1 or len(missing) < 2:
        for task in missing:
            _simulate_subject(task, cache)
            yield
        return
    start_tracker()
    context = get_context("spawn")
    with ProcessPoolExecutor(n_procs, context, initializer=end_with_parent) as pool:
        for future in as_completed(
            [pool.submit(_simulate_subject, task, cache) for task in missing]
        ):
            future.result()
            yield


def _simulate_subject(task: _Task, cache: Path) -> None:
    """Simulate one subject, infer all maps, and save them with the truth."""
    tr = sampling_period(task.power.system, task.system)
    n_samples = round(60 * max(task.power.minutes) / tr)
    subject_system = replace(task.system, noise_seed=task.subject)
    rng = np.random.default_rng([task.system.seed, 3])  # same delays and unobserved regions
    simulation, observed = record_system(
        task.power.system, subject_system, task.observation, rng, n_runs=1, n_samples=n_samples
    )
    truth = simulation.truth[np.ix_(observed.recorded, observed.recorded)]
    arrays: dict[str, Any] = {"truth": truth, "tr": observed.tr}
    labels = tuple(np.array(simulation.labels)[observed.recorded])
    for minutes in task.power.minutes:
        runs = as_runs(_truncate(observed, round(60 * minutes / observed.tr)), labels)
        for method in task.power.methods:
            with threads(1):
                arrays[f"{method} {minutes!r}"] = _infer_map(method, runs, task.system.seed)
    with replacing(cache / f"{task.key()}.npz") as temporary:
        np.savez_compressed(temporary, **arrays)


def _truncate(observed: Observation, n_samples: int) -> Observation:
    return replace(
        observed, series=observed.series[:, :n_samples], keep=observed.keep[:, :n_samples]
    )


def _infer_map(method: str, runs: list[RegionSeries], seed: int) -> Array:
    """Return a map; an array of NaN where the data are too few for the method."""
    if method == "fc":
        return functional_connectivity(runs)
    settings = resolve(
        preset(method, seed=seed, device="cpu")
        if method in PRESETS
        else TrainSettings(surrogate=method, seed=seed, device="cpu")
    )
    try:
        windows = cut_windows(runs, settings.n_lags or 1)
        model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings)
        return infer_ec(model, windows.history, PerturbSettings())
    except NPIError:
        return np.full((len(runs[0].labels),) * 2, np.nan)


def _score_tasks(tasks: Sequence[_Task], cache: Path) -> Iterator[PowerRow]:
    stored = [dict(np.load(cache / f"{task.key()}.npz")) for task in tasks]
    for task, maps in zip(tasks, stored, strict=True):
        for minutes in task.power.minutes:
            for method in task.power.methods:
                name = f"{method} {minutes!r}"
                subject_maps = [
                    other_maps[name]
                    for other_task, other_maps in zip(tasks, stored, strict=True)
                    if other_task.system.tr == task.system.tr
                ]
                condition = float(maps["tr"]), minutes, method
                yield _score_map(condition, task.subject, maps[name], maps["truth"])
                if task.subject == 1:
                    yield _score_map(condition, 0, np.mean(subject_maps, axis=0), maps["truth"])


def _score_map(
    condition: tuple[float, float, str], subject: int, estimate: Array, truth: Array
) -> PowerRow:
    if not np.isfinite(estimate).all():
        undefined = float("nan")
        return PowerRow(*condition, subject, undefined, undefined, undefined, "too few samples")
    recovery = score(estimate, truth)
    return PowerRow(*condition, subject, recovery.r, recovery.r_antisymmetric, recovery.direction)
