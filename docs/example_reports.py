"""Make the reports that the documentation links to: ``python docs/example_reports.py OUT``.

``OUT/demo`` is what ``npi-bids-demo`` writes. ``OUT/cases`` holds five simulated participants
whose connectivity is known, one for each case of "How to read a report", and their analysis.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from npi_bids.io.files import write_json
from npi_bids.io.tables import write_matrix, write_rows, write_series
from npi_bids.records import Array, ECResult, Mask, RegionSeries
from npi_bids.simulate.dataset import simulated_atlas, write_description
from npi_bids.simulate.observation import ObserveSettings
from npi_bids.simulate.recording import record_system
from npi_bids.simulate.systems import SystemSettings, sampling_period

N_REGIONS = 20
_FD_STILL, _FD_MOVING = 0.08, 0.9  # mm


@dataclass(frozen=True, slots=True)
class Case:
    """One simulated participant.

    Attributes
    ----------
    label
        Label of the participant.
    title
        Heading of the case.
    system
        Name of the simulated system.
    minutes
        Length of the scan.
    tr
        Sampling period (s).
    observation
        What lies between the system and its signals.
    moving
        Whether lost samples are those of head motion, as censored by XCP-D.
    """

    label: str
    title: str
    system: str
    minutes: float
    tr: float
    observation: ObserveSettings = field(default_factory=ObserveSettings)
    moving: bool = False


CASES = (
    Case("good", "A good map", "rnn", 60, 1.0),
    Case("fclike", "A map that says no more than FC", "wbm", 20, 0.72),
    Case("short", "A scan that is too short", "rnn", 5, 2.0),
    Case("motion", "Head motion", "rnn", 14, 1.0, ObserveSettings(missing=0.55), moving=True),
    Case("delays", "Haemodynamic delays", "rnn", 30, 1.0, ObserveSettings(hrf_delay_sd=1.0)),
)


def write_cases(folder: Path) -> Path:
    """Write the participants as tables of regional series, and their true maps.

    Parameters
    ----------
    folder
        Receives ``dataset/`` and ``truth/sub-LABEL.tsv``.

    Returns
    -------
    Path
        The dataset.
    """
    dataset, truth = folder / "dataset", folder / "truth"
    write_description(dataset, "Cases of the documentation (simulated)")
    truth.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(CASES):
        run, matrix = _simulate_case(case, seed=40 + number)
        write_matrix(ECResult(matrix, run.labels), truth / f"sub-{case.label}.tsv")
        _write_participant(dataset / f"sub-{case.label}" / "func", case, run)
    return dataset


def _simulate_case(case: Case, seed: int) -> tuple[RegionSeries, Array]:
    """Return the signals and the true connectivity, indexed ``[source, target]``."""
    settings = SystemSettings(n_regions=N_REGIONS, tr=case.tr, seed=seed)
    n_samples = round(60 * case.minutes / sampling_period(case.system, settings))
    rng = np.random.default_rng([seed, 1])
    simulation, observed = record_system(
        case.system, settings, case.observation, rng, n_runs=1, n_samples=n_samples
    )
    data, keep = observed.series[0].copy(), observed.keep[0]
    data[~keep] = np.nan
    labels = simulated_atlas(N_REGIONS).labels
    return RegionSeries(data, labels, observed.tr, keep), simulation.truth


def _write_participant(func: Path, case: Case, run: RegionSeries) -> None:
    func.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{case.label}_task-rest"
    series = func / f"{stem}_desc-simulated_timeseries.tsv"
    write_series(run, series)
    sidecar = {"RepetitionTime": run.tr, "SamplingFrequency": 1 / run.tr, "StartTime": 0}
    write_json(series.with_suffix(".json"), sidecar)
    if case.moving:
        _write_motion(func, stem, run.keep)


def _write_motion(func: Path, stem: str, keep: Mask) -> None:
    """Write framewise displacement and outliers as XCP-D names them."""
    rng = np.random.default_rng(len(keep))
    typical = np.where(keep, _FD_STILL, _FD_MOVING)
    displacement = typical * rng.uniform(0.7, 1.3, len(keep))
    for name, values in (("motion", displacement), ("outliers", (~keep).astype(int))):
        rows = [{"framewise_displacement": value} for value in values.tolist()]
        write_rows(rows, func / f"{stem}_{name}.tsv")


# Arguments of ``python -m`` that make each set of reports.
COMMANDS = {
    "demo": ("npi_bids.cli.demo", "demo"),
    # The cases are no study: each keeps the kind of fit that its own data choose.
    "cases": (
        "npi_bids",
        "cases/dataset",
        "cases/results",
        "participant",
        "-w",
        "cases/work",
        "--fit-kind",
        "subject",
    ),
}


def main() -> int:
    """Make the reports of the demo and of the cases; keep what the commands print."""
    folder = Path(sys.argv[1]).absolute()
    write_cases(folder / "cases")
    for name, command in COMMANDS.items():
        done = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "-m", *command], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        # Paths as a reader would see them, without the folder of the build.
        printed = done.stdout.replace(f"{folder}/", "")
        (folder / f"{name}.txt").write_text(printed, encoding="utf-8")
        if done.returncode:
            sys.stderr.write(printed)
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
