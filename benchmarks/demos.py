"""Accuracy of the demonstrations: the dataset of ``npi-bids-demo``, and its three systems.

usage: python -m benchmarks.demos
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.table import save, show
from npi_bids.bids.derivatives import find_group_maps
from npi_bids.cli.demo import run_demo
from npi_bids.io.tables import read_matrix
from npi_bids.surrogates.training import threads
from npi_bids.validate.demonstrations import (
    DEMONSTRATIONS,
    SURROGATES,
    MissingRecordingError,
    analyse,
    compare_with_known,
)
from npi_bids.validate.scores import score


def measure_dataset() -> dict[str, list[float]]:
    """Run the demo; return r, r of the antisymmetric part and of the transposed map by surrogate.

    Raises
    ------
    RuntimeError
        The demo failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if code := run_demo(folder, "1"):
            raise RuntimeError(f"the demo ended with exit code {code}")
        truth = read_matrix(folder / "truth.tsv").matrix
        rows = {}
        for surrogate in SURROGATES:
            (path,) = find_group_maps(folder / surrogate)
            found = score(read_matrix(path).matrix, truth)
            rows[surrogate] = [found.r, found.r_antisymmetric, found.r_transposed]
    return rows


def measure_systems() -> dict[str, dict[str, Any]]:
    """Return the agreement with what is known, by system and surrogate; and how long each took."""
    found: dict[str, dict[str, Any]] = {}
    for system, prepare in DEMONSTRATIONS.items():
        started = time.process_time()
        try:
            demonstration = prepare()
        except MissingRecordingError as error:
            print(f"{system}: skipped: {error}")
            continue
        found[system] = {}
        for surrogate in SURROGATES:
            with threads(1):
                (result,) = analyse(demonstration, [surrogate])
            found[system][surrogate] = asdict(compare_with_known(demonstration, result))
        found[system]["seconds"] = time.process_time() - started
    return found


def main() -> int:
    """Run the benchmark."""
    systems = measure_systems()
    for system, rows in systems.items():
        methods = {name: rows[name] for name in SURROGATES}
        columns = list(next(iter(methods.values())))
        show(f"{system} ({rows['seconds']:.0f} s of processor time)", columns,
             {name: list(row.values()) for name, row in methods.items()})  # fmt: skip
    dataset = measure_dataset()
    show("Mean map of the demo", ("r", "r antisymmetric", "r transposed"), dataset)
    print(f"written to {save('demos', {'dataset': dataset, 'systems': systems})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
