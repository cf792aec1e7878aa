"""Speed of this machine, relative to the one on which durations were measured."""

from __future__ import annotations

import json
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from npi_bids.errors import InputDataError
from npi_bids.io.files import read_json, write_json

_FILE = "machine.json"
# CPU seconds of the two workloads on the machine on which durations were measured.
_ARRAYS_SECONDS, _PYTHON_SECONDS = 0.0165, 0.0103
# The fastest of several repetitions, within half a second for each workload.
_BUDGET, _LEAST = 0.5, 3
_SIZE = 150  # regions; between the sizes at which overhead and arithmetic dominate


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """Duration of linear algebra and of plain Python, relative to the reference machine.

    A factor of 2 means that a workload takes twice the time.
    """

    arrays: float = 1.0
    python: float = 1.0


REFERENCE = MachineSpeed()


def find_speed(work_dir: Path) -> MachineSpeed:
    """Return the speed of this machine: as measured before, or measured now.

    Parameters
    ----------
    work_dir
        Work folder, in which the result is kept for each machine.
    """
    path = work_dir / _FILE
    machine = f"{socket.gethostname()} {platform.machine()} Python {platform.python_version()}"
    try:
        known = read_json(path)
    except InputDataError:
        known = {}
    try:
        return MachineSpeed(**known[machine])
    except (KeyError, TypeError):
        speed = measure_speed()
        write_json(path, {**known, machine: asdict(speed)})
        return speed


def measure_speed() -> MachineSpeed:
    """Measure the speed of this machine on one core, in CPU seconds."""
    arrays, python = time_workloads()
    return MachineSpeed(arrays / _ARRAYS_SECONDS, python / _PYTHON_SECONDS)


def time_workloads() -> tuple[float, float]:
    """Return the CPU seconds of the linear algebra of a fit, and of plain Python."""
    return _time(_prepare_algebra()), _time(_handle_records)


def _time(work: Callable[[], object]) -> float:
    fastest, started, n_done = float("inf"), time.process_time(), 0
    while n_done < _LEAST or time.process_time() - started < _BUDGET:
        before = time.process_time()
        work()
        fastest, n_done = min(fastest, time.process_time() - before), n_done + 1
    return fastest


def _prepare_algebra() -> Callable[[], object]:
    """Return a function with the matrix operations of a fit, on one thread."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((_SIZE, _SIZE))
    covariance = matrix @ matrix.T + _SIZE * np.eye(_SIZE)

    def work() -> None:
        with threadpool_limits(1):
            np.linalg.eig(matrix)
            np.linalg.eigh(covariance)
            np.linalg.solve(covariance + 1j * matrix, matrix)
            for _ in range(20):
                matrix @ covariance

    return work


def _handle_records() -> None:
    """Write and read records, as the scheduler and the writers of files do."""
    records = [{"name": f"region {number}", "values": list(range(30))} for number in range(2000)]
    json.loads(json.dumps(records))
    sorted(str(record["name"])[::-1] for record in records)
