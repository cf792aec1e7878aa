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
from npi_bids.simulate.observation import Observed, ObserveSettings, as_runs, observe
from npi_bids.simulate.systems import SYSTEMS, SystemSettings, sampling_period, simulate
from npi_bids.surrogates.base import PRESETS, TrainSettings, preset, resolve
from npi_bids.surrogates.families import families
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.training import threads
from npi_bids.surrogates.windows import cut_windows
from npi_bids.validate.scores import score
from npi_bids.wording import join_words

FC = "fc"  # no surrogate: what a map must be better than
METHODS = (*families(), *PRESETS, FC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSettings:
    """The study to plan."""

    system: str = option(
        "rnn",
        f"system to simulate: {join_words(SYSTEMS)}",
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
        f"methods to compare: {join_words(METHODS)}",
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

    ``r``, ``r_antisymmetric`` and ``direction`` are NaN, with a reason, where nothing came out.
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
    seen: ObserveSettings
    subject: int

    def key(self) -> str:
        content = {
            "power": {k: v for k, v in asdict(self.power).items() if k not in ("wanted", "trs")},
            "system": asdict(self.system),
            "seen": asdict(self.seen),
            "subject": self.subject,
            "version": __version__,
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_power(
    power: PowerSettings,
    system: SystemSettings,
    seen: ObserveSettings,
    *,
    cache: Path,
    n_procs: int = 1,
    on_done: Callable[[int, int], None] = lambda _, __: None,
) -> list[PowerRow]:
    """Simulate the study and score every map.

    Subjects share the network and differ in their noise. What was computed before, with the same
    settings, is read from the cache.

    Parameters
    ----------
    power, system, seen
        The study, the system, and what is recorded of it.
    cache
        Folder for what is computed.
    n_procs
        Number of processes; the result does not depend on it.
    on_done
        Called with how many of how many subjects are done.
    """
    tasks = [
        _Task(power, replace(system, tr=tr), seen, subject)
        for tr in (power.trs or (system.tr,))
        for subject in range(1, power.n_subjects + 1)
    ]
    cache.mkdir(parents=True, exist_ok=True)
    remove_leftovers(cache)
    missing = [task for task in tasks if not (cache / f"{task.key()}.npz").is_file()]
    on_done(len(tasks) - len(missing), len(tasks))
    for count, _ in enumerate(_compute(missing, cache, n_procs), start=1):
        on_done(len(tasks) - len(missing) + count, len(tasks))
    return sorted(_rows(tasks, cache), key=lambda row: (row.tr, row.minutes, row.method))


def needed_minutes(minutes: Sequence[float], accuracy: Sequence[float], wanted: float) -> float:
    """Return the minutes that give an accuracy, on a logarithmic scale between two lengths.

    Infinite where the longest is not enough; the shortest where that is enough already.

    >>> needed_minutes([10, 40], [0.6, 0.8], 0.7)
    20.0
    """
    pairs = [(m, a) for m, a in sorted(zip(minutes, accuracy, strict=True)) if np.isfinite(a)]
    for number, (at, reached) in enumerate(pairs):
        if reached < wanted:
            continue
        if number == 0:
            return float(at)
        before, lower = pairs[number - 1]
        share = (wanted - lower) / (reached - lower)
        return float(round(before * (at / before) ** share, 6))
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

    def place(row: PowerRow) -> tuple[float, str, float]:
        return row.tr, row.method, row.minutes

    for (tr, method, minutes), group in groupby(sorted(rows, key=place), key=place):
        found = list(group)
        single = [row for row in found if row.subject]
        group_row = next(row for row in found if not row.subject)
        r = np.array([row.r for row in single])
        yield {
            "tr": tr,
            "method": method,
            "minutes": minutes,
            "r": float(r.mean()),
            "r_low": float(r.min()),
            "r_high": float(r.max()),
            "r_antisymmetric": float(np.mean([row.r_antisymmetric for row in single])),
            "direction": float(np.mean([row.direction for row in single])),
            "direction_low": float(np.min([row.direction for row in single])),
            "direction_high": float(np.max([row.direction for row in single])),
            "group_r": group_row.r,
            "group_direction": group_row.direction,
            "n_subjects": len(single),
        }


def necessary_minutes(
    summaries: Sequence[Summary], wanted: float
) -> Iterator[tuple[float, str, float]]:
    """Yield TR, method, and the minutes that give the wanted accuracy."""

    def place(row: Summary) -> tuple[float, str]:
        return row["tr"], row["method"]

    for (tr, method), group in groupby(summaries, key=place):
        found = list(group)
        minutes = [row["minutes"] for row in found]
        yield tr, method, needed_minutes(minutes, [row["r"] for row in found], wanted)


def _compute(missing: Sequence[_Task], cache: Path, n_procs: int) -> Iterator[None]:
    if n_procs == 1 or len(missing) < 2:
        for task in missing:
            _work(task, cache)
            yield
        return
    start_tracker()
    context = get_context("spawn")
    with ProcessPoolExecutor(n_procs, context, initializer=end_with_parent) as pool:
        for future in as_completed([pool.submit(_work, task, cache) for task in missing]):
            future.result()
            yield


def _work(task: _Task, cache: Path) -> None:
    """Simulate one subject, make all maps, and keep them with the truth."""
    tr = sampling_period(task.power.system, task.system)
    n_samples = round(60 * max(task.power.minutes) / tr)
    own_noise = replace(task.system, noise_seed=task.subject)
    whole = simulate(task.power.system, own_noise, 1, n_samples)
    rng = np.random.default_rng([task.system.seed, 3])  # delays and unseen regions: the same
    mine = observe(whole.series, tr, task.seen, rng)
    truth = whole.truth[np.ix_(mine.seen, mine.seen)]
    kept: dict[str, Any] = {"truth": truth, "tr": mine.tr}
    labels = tuple(np.array(whole.labels)[mine.seen])
    for minutes in task.power.minutes:
        runs = as_runs(_first(mine, round(60 * minutes / mine.tr)), labels)
        for method in task.power.methods:
            with threads(1):
                kept[f"{method} {minutes!r}"] = _map(method, runs, task.system.seed)
    with replacing(cache / f"{task.key()}.npz") as temporary:
        np.savez_compressed(temporary, **kept)


def _first(observed: Observed, n_samples: int) -> Observed:
    return replace(
        observed, series=observed.series[:, :n_samples], keep=observed.keep[:, :n_samples]
    )


def _map(method: str, runs: list[RegionSeries], seed: int) -> Array:
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


def _rows(tasks: Sequence[_Task], cache: Path) -> Iterator[PowerRow]:
    stored = [dict(np.load(cache / f"{task.key()}.npz")) for task in tasks]
    for task, maps in zip(tasks, stored, strict=True):
        for minutes in task.power.minutes:
            for method in task.power.methods:
                name = f"{method} {minutes!r}"
                alike = [
                    other[name]
                    for twin, other in zip(tasks, stored, strict=True)
                    if twin.system.tr == task.system.tr
                ]
                place = float(maps["tr"]), minutes, method
                yield _scored(place, task.subject, maps[name], maps["truth"])
                if task.subject == 1:
                    yield _scored(place, 0, np.mean(alike, axis=0), maps["truth"])


def _scored(place: tuple[float, float, str], subject: int, found: Array, truth: Array) -> PowerRow:
    if not np.isfinite(found).all():
        nothing = float("nan")
        return PowerRow(*place, subject, nothing, nothing, nothing, "too few samples")
    s = score(found, truth)
    return PowerRow(*place, subject, s.r, s.r_antisymmetric, s.direction)
