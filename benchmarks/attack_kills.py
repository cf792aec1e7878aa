"""Kill every command that writes at random moments, and compare with an undisturbed run.

usage: python -m benchmarks.attack_kills [N] [SEED]

A chain of a few kills on one folder is followed by a run to the end, whose files must be the same
bit for bit, but for logs, and for pages that quote the command line. The signal (KILL, TERM, INT,
HUP), the moment and the victim (the command, one of its workers, its fork server, all of its
processes) are drawn at random. No process of a command that was ended may be alive 10 s later.
Prints a table; exits with 1 where a file differs, a process is left, or a traceback was shown.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from benchmarks.table import save

MARK = "NPI_BIDS_ATTACK_MARK"
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
VICTIMS = ("command", "worker", "fork server", "all")
MOST_KILLS = 4  # on one folder, before the run to the end
_ORPHAN_SECONDS = 10.0
_SHORTEST = 0.02  # share of the time of an undisturbed run


@dataclass(frozen=True, slots=True)
class Attacked:
    """A command that writes: module, words for a folder, and whether it has workers."""

    name: str
    module: str
    words: Callable[[Path, Path], Sequence[object]]
    workers: bool = False


def _level(*levels: str) -> Callable[[Path, Path], Sequence[object]]:
    def words(data: Path, folder: Path) -> Sequence[object]:
        return (
            *(data / "sim" / "dataset", folder / "out", *levels, "--surrogate", "var"),
            *("--n-procs", "2", "-w", folder / "work"),
        )

    return words


def _results(data: Path) -> Path:
    return data / "results" / "out"


COMMANDS = (
    Attacked("npi-bids participant", "npi_bids", _level("participant"), workers=True),
    Attacked("npi-bids participant group", "npi_bids", _level("participant", "group"), True),
    Attacked(
        "npi-bids pretrain participant group",
        "npi_bids",
        _level("pretrain", "participant", "group"),
        workers=True,
    ),
    Attacked(
        "npi-simulate",
        "npi_bids.cli.simulate",
        lambda _, folder: (
            "var",
            folder / "out",
            "--n-subjects",
            3,
            "--n-runs",
            1,
            "--n-regions",
            6,
            "--minutes",
            2,
        ),
    ),
    Attacked(
        "npi-export",
        "npi_bids.cli.export",
        lambda data, folder: (_results(data), "-o", folder / "out", "--to", "graphml", "npz"),
    ),
    Attacked(
        "npi-validate",
        "npi_bids.cli.validate",
        lambda data, folder: (
            _results(data),
            data / "sim" / "desc-truth_relmat.tsv",
            "-o",
            folder / "out",
        ),
    ),
    Attacked(
        "npi-validate power",
        "npi_bids.cli.validate",
        lambda _, folder: (
            "power",
            "--n-subjects",
            4,
            "--minutes",
            2,
            4,
            "--n-regions",
            6,
            "--methods",
            "var",
            "fc",
            "--n-procs",
            2,
            "-o",
            folder / "out",
        ),
        workers=True,
    ),
)


def main() -> int:
    """Run the attack, print the table, and return 1 where something did not hold."""
    n_kills = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        counts = attack(Path(folder), n_kills, seed)
    for (command, what), number in sorted(counts.items()):
        print(f"{command:<36} {what:<28} {number}")
    total: Counter[str] = Counter()
    for (_, what), number in counts.items():
        total[what] += number
    print(f"\nall: {dict(sorted(total.items()))}")
    print(f"written to {save('attack_kills', {f'{a}: {b}': n for (a, b), n in counts.items()})}")
    return 1 if any(total[what] for what in BAD) else 0


BAD = ("files that differ", "leftovers", "processes left", "reruns that failed", "tracebacks")


def attack(folder: Path, n_kills: int, seed: int) -> Counter[tuple[str, str]]:
    """Kill commands until enough kills have hit one that was running.

    Parameters
    ----------
    folder
        Where everything is written.
    n_kills
        Kills that must hit a running command.
    seed
        Of commands, moments, signals and victims.

    Returns
    -------
    Counter
        How often what happened, by command and words.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[tuple[str, str]] = Counter()
    data = folder / "data"
    _make_data(data)
    whole = {command.name: _undisturbed(command, data, folder) for command in COMMANDS}
    chain = 0
    while sum(n for (_, what), n in counts.items() if what.startswith("SIG")) < n_kills:
        command = COMMANDS[chain % len(COMMANDS)]
        seconds, content = whole[command.name]
        place = folder / f"chain_{chain}"
        for _ in range(int(rng.integers(1, MOST_KILLS + 1))):
            for what in _kill_once(command, data, place, seconds, rng):
                counts[command.name, what] += 1
        ended = _run(command, data, place)
        counts[command.name, "reruns"] += 1
        counts[command.name, "reruns that failed"] += ended.returncode != 0
        counts[command.name, "files that differ"] += _n_differences(contents(place), content)
        counts[command.name, "leftovers"] += len(list(place.rglob(".partial_*")))
        if ended.returncode:
            print(f"seed {seed}, chain {chain}, {command.name}:\n{ended.stdout}{ended.stderr}")
        chain += 1
    return counts


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a result, hidden ones included, but for logs, times and pages."""
    return {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
        and "logs" not in path.relative_to(folder).parts
        and path.suffix not in (".html", ".svg")
    }


def _n_differences(one: dict[str, bytes], other: dict[str, bytes]) -> int:
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def _make_data(data: Path) -> None:
    """Simulate series, and fit them, for the commands that read results."""
    words = ("var", data / "sim", "--n-subjects", 4, "--n-runs", 1, "--n-regions", 6,
             "--minutes", 5, "--series-only")  # fmt: skip
    simulation = Attacked("", "npi_bids.cli.simulate", lambda *_: words)
    fitted = Attacked("", "npi_bids", _level("participant", "group"))
    for command in (simulation, fitted):
        done = _run(command, data, data / "results")
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def _undisturbed(command: Attacked, data: Path, folder: Path) -> tuple[float, dict[str, bytes]]:
    """Return the seconds that a command takes, and what it writes."""
    place = folder / "whole" / command.name.replace(" ", "_")
    started = time.monotonic()
    done = _run(command, data, place)
    seconds = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return seconds, contents(place)


def _start(command: Attacked, data: Path, place: Path, mark: str) -> subprocess.Popen[str]:
    words = [str(word) for word in command.words(data, place)]
    return subprocess.Popen(
        [sys.executable, "-m", command.module, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, MARK: mark},
    )  # fmt: skip


def _run(command: Attacked, data: Path, place: Path) -> subprocess.CompletedProcess[str]:
    process = _start(command, data, place, uuid4().hex)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _kill_once(
    command: Attacked, data: Path, place: Path, seconds: float, rng: np.random.Generator
) -> list[str]:
    """Start a command, kill at a random moment, and return in words what happened."""
    mark = uuid4().hex
    name = str(rng.choice(SIGNALS))
    victim = str(rng.choice(VICTIMS if command.workers else ("command", "all")))
    moment = rng.uniform(_SHORTEST, 1.0) * seconds
    process = _start(command, data, place, mark)
    time.sleep(moment)
    hit = process.poll() is None and _send(getattr(signal, name), victim, process.pid, mark)
    try:
        _, err = process.communicate(timeout=600 if victim in VICTIMS[1:3] else 30)
    except subprocess.TimeoutExpired:
        process.kill()
        return ["processes left"]
    found = [f"{name} to {victim}" if hit else "came too late or too early"]
    if "Traceback" in err and moment > 0.5:  # before, it is Python that starts
        print(f"{command.name}, {name} to {victim} after {moment:.2f} s:\n{err}")
        found.append("tracebacks")
    return found + ["processes left"] * len(_left(mark))


def _send(number: int, victim: str, pid: int, mark: str) -> bool:
    """Send a signal to a victim; return whether there is one."""
    others = [other for other in _processes(mark) if other != pid]
    servers = [other for other in others if b"forkserver" in _words(other)]
    parents = {other: _parent(other) for other in others}
    if victim == "fork server":
        targets = [other for other in servers if parents[other] == pid][:1]
    elif victim == "worker":
        tracker = b"resource_tracker"
        targets = [other for other in others if tracker not in _words(other)
                   and not (other in servers and parents[other] == pid)][:1]  # fmt: skip
    else:
        targets = [pid, *others] if victim == "all" else [pid]
    for target in targets:
        try:
            os.kill(target, number)
        except ProcessLookupError:
            continue
    return bool(targets)


def _processes(mark: str) -> list[int]:
    """Return the processes that hold a mark in their environment, but for zombies."""
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if f"{MARK}={mark}".encode() in _read(folder / "environ").split(b"\0")
    ]


def _left(mark: str) -> list[int]:
    end = time.monotonic() + _ORPHAN_SECONDS
    while (left := _processes(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _words(pid: int) -> bytes:
    return _read(Path(f"/proc/{pid}/cmdline"))


def _parent(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main())
