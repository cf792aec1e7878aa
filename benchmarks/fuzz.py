"""Damage headers, sidecars and tables at random, and count failures without a proper message.

usage: python -m benchmarks.fuzz [MINUTES] [SEED]

Every input must either be read or be refused with an error of npi-bids that names the file. Prints
all other exceptions, with the seeds that reproduce them.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.table import save
from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.errors import NPIError
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.parcellation import Parcellation, label_image
from npi_bids.parcellation.run_files import RunFiles
from npi_bids.simulate.dataset import SimulatedRun, write_description, write_run

_HEADER = 352  # bytes of a NIfTI header and its extension flag
_JSON_VALUES = (
    "NaN",
    "Infinity",
    "null",
    "[]",
    "{}",
    '"x"',
    "-1",
    "1e400",
    "true",
    "2000",
    "\ufeff",
    "\0",
)
_CELLS = ("n/a", "", "nan", "inf", "-", "1,5", "x", "\t", "1e999", '"', "é")


def main() -> int:
    """Run until the time limit."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    warnings.simplefilter("ignore")
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        atlas, files = make(Path(name) / "data")
        end, seed = time.monotonic() + 60 * minutes, first
        while time.monotonic() < end:
            outcome = one(Path(name) / "data", files, atlas, seed)
            outcomes[outcome] += 1
            if outcome not in ("read", "refused"):
                print(f"seed {seed}: {outcome}", flush=True)
            seed += 1
    print(f"{seed - first} damaged inputs: {dict(outcomes)}")
    print(f"written to {save('fuzz', dict(outcomes))}")
    return 0 if set(outcomes) <= {"read", "refused"} else 1


def make(root: Path) -> tuple[Parcellation, dict[Path, bytes]]:
    """Write a dataset of one run; return its atlas, and the undamaged content of its files."""
    rng = np.random.default_rng(0)
    data = np.zeros((6, 6, 6), dtype=np.int32)
    data[1:5, 1:5, 1:5] = np.repeat([1, 2, 3, 4], 16).reshape(4, 4, 4)
    image = label_image(data, np.diag([4.0, 4, 4, 1]))
    atlas = Parcellation("Tiny", tuple("ABCD"), (1, 2, 3, 4), "MNI152NLin6Asym", image)
    write_description(root, "tiny")
    high_motion = np.zeros(60, dtype=bool)
    run = SimulatedRun(
        {"sub": "1", "task": "rest"}, rng.standard_normal((60, 4)), 2.0, high_motion
    )
    write_run(root, run, atlas, rng)
    return atlas, {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def one(root: Path, files: dict[Path, bytes], atlas: Parcellation, seed: int) -> str:
    """Damage one to three files, read the dataset, and return the outcome."""
    rng = np.random.default_rng(seed)
    for path, content in files.items():
        path.write_bytes(content)
    paths = sorted(files)
    for index in rng.choice(len(paths), size=rng.integers(1, 4), replace=False):
        path = paths[index]
        path.write_bytes(_damage(path)(files[path], rng))
    try:
        for run in find_runs(find_datasets(root, {}), QuerySettings()):
            if run.problem:
                return "refused"
            extract_run(
                RunFiles(run.path, run.mask, run.confounds, run.tr),
                atlas,
                DenoiseSettings(min_time=0),
                CoverageSettings(),
            )
    except NPIError:
        return "refused"
    except Exception as error:  # noqa: BLE001 (to find unforeseen exceptions)
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "npi_bids" in f.filename and "benchmarks" not in f.filename]
        line = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        return f"{type(error).__name__} at {line}: {str(error)[:100]}"
    return "read"


def _damage(path: Path) -> Callable[[bytes, np.random.Generator], bytes]:
    if path.suffix == ".json":
        return _damaged_json
    if path.suffix == ".tsv":
        return _damaged_table
    return _damaged_image if path.name.endswith(".nii.gz") else _damaged_bytes


def _damaged_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, or truncate the file."""
    damaged = bytearray(content)
    if rng.random() < 0.2:
        return bytes(damaged[: rng.integers(0, len(damaged) + 1)])
    for _ in range(rng.integers(1, 5)):
        if damaged:
            damaged[rng.integers(len(damaged))] = rng.integers(256)
    return bytes(damaged)


def _damaged_image(content: bytes, rng: np.random.Generator) -> bytes:
    """Change bytes of the header, of the volumes, or of the compressed stream."""
    draw = rng.random()
    if draw < 0.2:
        return _damaged_bytes(content, rng)
    decompressed = gzip.decompress(content)
    if draw < 0.9:
        return gzip.compress(
            _damaged_bytes(decompressed[:_HEADER], rng) + decompressed[_HEADER:], 1
        )
    return gzip.compress(decompressed[:_HEADER] + _damaged_bytes(decompressed[_HEADER:], rng), 1)


def _damaged_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Replace values of fields by invalid ones, or change bytes."""
    if rng.random() < 0.4:
        return _damaged_bytes(content, rng)
    fields = json.loads(content)
    marks = {key: f"@{number}@" for number, key in enumerate(fields) if rng.random() < 0.5}
    text = json.dumps({**fields, **marks})
    for mark in marks.values():
        text = text.replace(f'"{mark}"', str(rng.choice(_JSON_VALUES)))
    return text.encode()


def _damaged_table(content: bytes, rng: np.random.Generator) -> bytes:
    """Change cells, remove rows or columns, or change bytes."""
    draw = rng.random()
    if draw < 0.3:
        return _damaged_bytes(content, rng)
    rows = [line.split("\t") for line in content.decode().splitlines()]
    if draw < 0.7:
        for _ in range(rng.integers(1, 6)):
            row = rows[rng.integers(len(rows))]
            row[rng.integers(len(row))] = str(rng.choice(_CELLS))
    elif draw < 0.85:
        del rows[rng.integers(len(rows))]
    else:
        column = rng.integers(len(rows[0]))
        rows = [row[:column] + row[column + 1 :] for row in rows]
    return ("\n".join("\t".join(row) for row in rows) + "\n").encode()


if __name__ == "__main__":
    sys.exit(main())
