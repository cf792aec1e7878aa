"""Where the computing time of a subject and of a cohort goes, compared with floors.

usage: python -m benchmarks.stages [extraction] [subject] [cohort] [published] [--quick]

All figures are seconds of computing time (user and system) of all processes together, including
those that end before the command does, so that the load of the machine matters less. Floors and
comparisons are measured in the same run, in alternating repetitions, all of which are saved; the
tables show their median, the lowest and the highest.

extraction
    One run of 600 volumes of 16-bit integers at 2 mm, compressed, for one and for four atlases of
    blocks (104, 438, 116 and 44 regions), beside decompression alone and nilearn's masker as a
    user calls it.
subject
    ``npi-bids`` on one subject with such a run, by step, in one process; on two processes, for the
    first atlas and for all four; again, with nothing to do; and answers that need no work.
cohort
    20 subjects with two runs each, for three atlases, small images, and their groups; then again,
    with nothing to do at either level.
published
    The published training and perturbation, as in ``benchmarks.speed``; short ones are repeated.
    ``giga_connectome`` is timed on the cohort's first run where it is installed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.memory import AFFINE, SHAPE, make_run
from benchmarks.table import save, show
from npi_bids.parcellation.parcellation import Parcellation, label_image, save_parcellation
from npi_bids.simulate.dataset import SimulatedRun, write_description, write_run

_SET_CHILD_SUBREAPER = 36  # of prctl(2)
_SPACE = "MNI152NLin6Asym"
_EDGES = (18, 10, 17, 27)  # of blocks of 104, 438, 116 and 44 regions at 2 mm
Times = dict[str, list[float]]
Grid = tuple[tuple[int, ...], Any]
# Each prints the computing time of its work, without that of loading libraries.
_EXTRACT = """
import sys, time
from pathlib import Path
import scipy.ndimage, scipy.sparse
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import read_regions
from npi_bids.parcellation.parcellation import read_parcellation
from npi_bids.parcellation.run_files import RunFiles
before = time.process_time()
atlases = [read_parcellation(Path(name)) for name in sys.argv[2:]]
read_regions(RunFiles(Path(sys.argv[1]), tr=0.8), atlases, DenoiseSettings(denoise="none"),
             CoverageSettings())
print(time.process_time() - before)
"""
_DECOMPRESS = """
import sys, time
from pathlib import Path
from npi_bids.io.volume_stream import open_decompressed
before = time.process_time()
buffer = bytearray(1 << 21)
with open_decompressed(Path(sys.argv[1])) as file:
    while file.readinto(buffer):
        pass
print(time.process_time() - before)
"""
_NILEARN = """
import sys, time
from nilearn.maskers import NiftiLabelsMasker
before = time.process_time()
atlas = sys.argv[2] + "/parcellation.nii.gz"
NiftiLabelsMasker(atlas, standardize=None).fit_transform(sys.argv[1])
print(time.process_time() - before)
"""
# Runs the command in this process, and adds up the computing time of its nodes.
_BY_STEP = """
import atexit, json, sys, time
from pathlib import Path
from nipype.pipeline.engine import Node
spent, run = {}, Node.run
def timed(node, *args, **options):
    before = time.process_time()
    try:
        return run(node, *args, **options)
    finally:
        name = type(node.interface).__name__
        spent[name] = spent.get(name, 0.0) + time.process_time() - before
Node.run = timed
from npi_bids.cli.run import main
code = main(sys.argv[2:])
spent["all"] = time.process_time()
Path(sys.argv[1]).write_text(json.dumps(spent))
sys.exit(code)
"""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="parts; all by default")
    parser.add_argument("--quick", action="store_true", help="small images, few subjects")
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # workers of workers are counted, too
    results = {}
    for part in args.part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            results[part] = PARTS[part](Path(folder), args.quick)
    print(f"written to {save('stages', results)}")
    return 0


def computing_time(command: Sequence[object], folder: Path, code: int = 0) -> float:
    """Return the computing time of a command and of all processes that it starts (s)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *map(str, command)], check=False, cwd=folder, env=_environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode != code:
        raise RuntimeError(f"exit code {done.returncode} instead of {code}: {done.stderr}")
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _environment() -> dict[str, str]:
    """Return the environment of what is measured: one thread, and compiled as if installed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def take_turns(works: Mapping[str, Callable[[], float]], n: int) -> Times:
    """Return all repetitions of each measurement; they take turns."""
    times: Times = {name: [] for name in works}
    for _ in range(n):
        for name, work in works.items():
            times[name].append(work())
    return times


def show_times(title: str, times: Times, floor: str) -> None:
    """Print medians and ranges, and how many times the floor a measurement takes."""
    least = statistics.median(times[floor])
    rows = {
        name: (median := statistics.median(values), min(values), max(values), median / least)
        for name, values in times.items()
    }
    show(title, ("CPU s", "lowest", "highest", f"relative to {floor}"), rows)


def make_atlas(folder: Path, edge: int, name: str, shape: tuple[int, ...], affine: Any) -> int:
    """Save an atlas of cubes within an ellipsoid; return the number of its regions."""
    positions = np.indices(shape)
    centre = [(length - 1) / 2 for length in shape]
    radius = sum(
        ((axis - c) / (0.42 * n)) ** 2 for axis, c, n in zip(positions, centre, shape, strict=True)
    )
    x, y, z = (axis // edge for axis in positions)
    values = np.where(radius < 1, 1 + x * 10_000 + y * 100 + z, 0)
    used, indices = np.unique(values, return_inverse=True)
    n_regions = len(used) - 1
    labels = tuple(f"R{number}" for number in range(1, n_regions + 1))
    image = label_image(indices.reshape(shape), affine)
    atlas = Parcellation(name, labels, tuple(range(1, n_regions + 1)), _SPACE, image)
    save_parcellation(atlas, folder / name)
    file = folder / f"atlas-{name}_space-{_SPACE}_dseg.nii.gz"
    nib.save(image, file)
    table = atlas.table().to_csv(sep="\t", index=False)
    file.with_name(file.name.replace(".nii.gz", ".tsv")).write_text(table)
    return n_regions


def extraction(folder: Path, quick: bool) -> Times:
    """Compare one pass with decompression alone, and with nilearn."""
    path = folder / "sub-1_task-rest_desc-preproc_bold.nii.gz"
    make_run(path, 40 if quick else 600)
    names = [f"Cubes{edge}" for edge in _EDGES]
    for edge, name in zip(_EDGES, names, strict=True):
        make_atlas(folder, edge, name, SHAPE, AFFINE)
    atlases = [folder / name for name in names]

    def child(code: str, *words: object) -> Callable[[], float]:
        command = [sys.executable, "-c", code, *map(str, words)]
        return lambda: float(subprocess.check_output(command, env=_environment(), text=True))

    found = take_turns(
        {
            "decompression": child(_DECOMPRESS, path),
            "one atlas": child(_EXTRACT, path, atlases[0]),
            "four atlases": child(_EXTRACT, path, *atlases),
        },
        5,
    )
    found |= take_turns({"nilearn, one atlas": child(_NILEARN, path, atlases[0])}, 1)
    show_times("Reading a run at 2 mm", found, "decompression")
    return found


def make_dataset(
    folder: Path, numbers: tuple[int, int, int], grid: Grid, edges: Sequence[int]
) -> list[Path]:
    """Write runs whose signals differ from region to region of the first atlas of blocks.

    Parameters
    ----------
    folder
        Where the dataset goes, as ``data``, and the atlases.
    numbers
        Numbers of subjects, of runs of each, and of their samples.
    grid
        Shape and affine of the images.
    edges
        Length of the edges of the blocks of each atlas, in voxels.

    Returns
    -------
    list
        Files of the atlases.
    """
    n_subjects, n_runs, n_samples = numbers
    rng = np.random.default_rng(0)
    write_description(folder / "data", "stages")
    names = [f"Cubes{edge}" for edge in edges]
    counts = [make_atlas(folder, *pair, *grid) for pair in zip(edges, names, strict=True)]
    from npi_bids.parcellation.parcellation import read_parcellation

    atlas = read_parcellation(folder / names[0])
    moving = np.zeros(n_samples, dtype=bool)
    for subject in range(1, n_subjects + 1):
        for number in range(1, n_runs + 1):
            entities = {"sub": f"{subject:02d}", "task": "rest", "run": str(number)}
            signals = np.cumsum(rng.standard_normal((n_samples, counts[0])), axis=0) * 0.1
            signals += rng.standard_normal(signals.shape)
            write_run(folder / "data", SimulatedRun(entities, signals, 2.0, moving), atlas, rng)
    return [folder / f"atlas-{name}_space-{_SPACE}_dseg.nii.gz" for name in names]


def coarse_grid(length: int) -> Grid:
    """Return a grid that spans the brain with so many voxels from left to right."""
    return (length, length + length // 5, length), np.diag([180 / length] * 3 + [1.0])


def subject(folder: Path, quick: bool) -> Times:
    """Measure the steps of one subject, the whole command, and the command with nothing to do."""
    grid = coarse_grid(24) if quick else (SHAPE, AFFINE)
    edges = (4, 5, 6, 8) if quick else _EDGES
    atlases = make_dataset(folder, (1, 1, 130 if quick else 600), grid, edges)
    (folder / "linear.yml").write_text("plugin: Linear\n")
    number = iter(range(1000))

    def words(out: object, *atlas_files: object) -> list[object]:
        return [folder / "data", out, "participant", "--min-time", "60", "--atlas", *atlas_files]

    def whole(*atlas_files: object) -> float:
        folders = f"out{next(number)}", "-w", f"work{next(number)}"
        options = [*folders[1:], "--n-procs", "2"]
        command = ["-m", "npi_bids", *words(folders[0], *atlas_files), *options]
        return computing_time(command, folder)

    again = ["-m", "npi_bids", *words("out", atlases[0]), "-w", "work", "--n-procs", "2"]
    computing_time(again, folder)
    wrong = ["-m", "npi_bids", folder / "data", "out", "participant", "--participant-label", "99"]
    found = {name: [value] for name, value in _by_step(folder, words("steps", atlases[0])).items()}
    found |= take_turns(
        {
            "two processes, all": lambda: whole(atlases[0]),
            "again, nothing to do": lambda: computing_time(again, folder),
            "--help": lambda: computing_time(["-m", "npi_bids", "--help"], folder),
            "unknown participant": lambda: computing_time(wrong, folder, code=3),
        },
        3,
    )
    found |= take_turns({"two processes, four atlases": lambda: whole(*atlases)}, 1)
    show_times("One subject, one run", found, "two processes, all")
    return found


def _by_step(folder: Path, words: Sequence[object]) -> dict[str, float]:
    """Return the computing time of the steps of a command in one process, and of all together."""
    linear = ["-w", "linear", "--nipype-plugin-file", folder / "linear.yml"]
    by_step = folder / "steps.json"
    computing_time(["-c", _BY_STEP, by_step, *words, *linear], folder)
    steps = json.loads(by_step.read_text())
    steps["everything else"] = 2 * steps["all"] - sum(steps.values())
    return {f"in one process: {name}": value for name, value in steps.items()}


def cohort(folder: Path, quick: bool) -> Times:
    """Measure a cohort and its groups: 20 subjects, two runs each, three atlases, small images."""
    n_subjects = 2 if quick else 20
    atlases = make_dataset(folder, (n_subjects, 2, 130), coarse_grid(16), (2, 3, 4))
    words = [folder / "data", "out", "participant", "group", "--min-time", "60"]
    words += ["--surrogate", "var"]
    command = ["-m", "npi_bids", *words, "--atlas", *atlases, "-w", "work", "--n-procs", "2"]
    found = {
        "all": [computing_time(command, folder)],
        "again, nothing to do": [computing_time(command, folder) for _ in range(3)],
    }
    show_times(f"{n_subjects} subjects, {n_subjects * len(atlases)} models", found, "all")
    return found


def published(folder: Path, quick: bool) -> dict[str, Any]:
    """Compare training and perturbation with the published loops, several times where short."""
    from benchmarks.speed import published_preset

    n_runs = 3 if quick else 7
    repeated = [published_preset(20, 1, 8000, 2) for _ in range(n_runs)]
    found: dict[str, Any] = {
        name: [float(values[name]) for values in repeated] for name in repeated[0]
    }
    rows = {
        name: (statistics.median(values), min(values), max(values))
        for name, values in found.items()
    }
    show("20 regions, 8000 samples, one thread", ("median", "lowest", "highest"), rows)
    if importlib.util.find_spec("giga_connectome") is None:
        print("giga_connectome is not installed")
        return found
    make_dataset(folder, (1, 1, 130), coarse_grid(16), (2, 3, 4))
    giga = ["-m", "giga_connectome", folder / "data", folder / "giga", "participant"]
    found["giga_connectome"] = computing_time(giga, folder)
    show("giga_connectome", ("CPU s",), {"one run": (found["giga_connectome"],)})
    return found


PARTS = {
    "extraction": extraction,
    "subject": subject,
    "cohort": cohort,
    "published": published,
}

if __name__ == "__main__":
    sys.exit(main())
