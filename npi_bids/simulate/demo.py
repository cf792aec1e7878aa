"""The data set of ``npi-bids-demo``: three subjects, two runs each, with a known EC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npi_bids.io.tables import write_matrix, write_table
from npi_bids.parcellation.parcellation import save_image
from npi_bids.records import ECResult
from npi_bids.simulate.dataset import SimulatedRun, simulated_atlas, write_description, write_run
from npi_bids.simulate.rnn import random_network, simulate_rnn, true_ec

N_REGIONS, N_SUBJECTS, N_RUNS, N_SAMPLES = 20, 3, 2, 600
_SEED = 2025
_TR = 1.0


@dataclass(frozen=True, slots=True)
class DemoData:
    """Paths of the dataset, its atlas, and the true EC."""

    dataset: Path
    atlas: Path
    truth: Path


def write_demo(folder: Path) -> Iterator[DemoData]:
    """Write the dataset, yielding after each run so that progress can be shown.

    The subjects share one network; noise, in the network and in every voxel, is independent.

    Parameters
    ----------
    folder
        Output folder; receives ``dataset/``, an atlas image with its table, and ``truth.tsv``.

    Yields
    ------
    DemoData
        The same each time; complete after the last.
    """
    rng = np.random.default_rng(_SEED)
    system = random_network(N_REGIONS, rng)
    series = simulate_rnn(system, n_runs=N_SUBJECTS * N_RUNS, n_samples=N_SAMPLES, rng=rng)
    atlas = simulated_atlas(N_REGIONS)
    image = folder / "atlas-Dosenbach20_space-MNI152NLin6Asym_dseg.nii.gz"
    written = DemoData(folder / "dataset", image, folder / "truth.tsv")
    folder.mkdir(parents=True, exist_ok=True)
    save_image(atlas, image)
    write_table(atlas.table(), folder / image.name.replace(".nii.gz", ".tsv"))
    write_matrix(ECResult(true_ec(system, series, rng, every=20), atlas.labels), written.truth)
    write_description(written.dataset, "npi-bids demo (simulated)")
    for number, signals in enumerate(series):
        subject, run = divmod(number, N_RUNS)
        entities = {"sub": f"{subject + 1:02d}", "task": "rest", "run": str(run + 1)}
        moving = np.zeros(N_SAMPLES, dtype=bool)
        moving[100 + 50 * number : 112 + 50 * number] = True
        write_run(written.dataset, SimulatedRun(entities, signals, _TR, moving), atlas, rng)
        yield written
