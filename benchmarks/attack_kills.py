"""Kill each command that writes files at random moments, and compare with an undisturbed run.

usage: python -m benchmarks.attack_kills [N] [SEED]

Several kills of runs in one folder are followed by an undisturbed run, whose files must be
identical bit for bit, except logs and pages that quote the command line. The signal (KILL, TERM,
INT, HUP), the moment and the victim (the command, one of its workers, its fork server, or all of
its processes) are drawn at random. No process of a killed command may be alive 10 s later. Prints
a table; exits with code 1 if a file differs, a process remains, or a traceback was shown.
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
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
VICTIMS = ("command", "worker", "fork server", "all")
MOST_KILLS = 4  # in one folder, before the undisturbed run
_ORPHAN_SECONDS = 10.0
_SHORTEST = 0.02  # fraction of the time of an undisturbed run


@dataclass(frozen=True, slots=True)
class Attacked:
    """A command that writes files: module, arguments for a folder, whether it has workers."""

    name: str
    module: str
    arguments: Callable[[Path, Path], Sequence[object]]
    workers: bool = False


def _level(*levels: str) -> Callable[[Path, Path], Sequence[object]]:
    def build_arguments(data: Path, folder: Path) -> Sequence[object]:
        return (
            *(data / "sim" / "dataset", folder / "out", *levels, "--surrogate", "var"),
            *("--n-procs", "2", "-w", folder / "work"),
        )

    return build_arguments


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
    """Run the attack, print the table, and return 1 if any requirement is violated."""
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
    """Kill commands until enough kills have hit a running command.

    Parameters
    ----------
    folder
        Folder of all files.
    n_kills
        Number of kills that must hit a running command.
    seed
        Seed of commands, moments, signals and victims.

    Returns
    -------
    Counter
        Number of events by command and type of event.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[tuple[str, str]] = Counter()
    data = folder / "data"
    _make_data(data)
    undisturbed = {command.name: _undisturbed(command, data, folder) for command in COMMANDS}
    chain = 0
    while sum(n for (_, what), n in counts.items() if what.startswith("SIG")) < n_kills:
        command = COMMANDS[chain % len(COMMANDS)]
        seconds, content = undisturbed[command.name]
        folder_of_chain = folder / f"chain_{chain}"
        for _ in range(int(rng.integers(1, MOST_KILLS + 1))):
            for what in _kill_once(command, data, folder_of_chain, seconds, rng):
                counts[command.name, what] += 1
        ended = _run(command, data, folder_of_chain)
        counts[command.name, "reruns"] += 1
        counts[command.name, "reruns that failed"] += ended.returncode != 0
        counts[command.name, "files that differ"] += n_differences(
            contents(folder_of_chain), content
        )
        counts[command.name, "leftovers"] += len(list(folder_of_chain.rglob(".partial_*")))
        if ended.returncode:
            print(f"seed {seed}, chain {chain}, {command.name}:\n{ended.stdout}{ended.stderr}")
        chain += 1
    return counts


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a result, hidden ones included, except logs and pages."""
    return {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
        and "logs" not in path.relative_to(folder).parts
        and path.suffix not in (".html", ".svg")
    }


def n_differences(one: dict[str, bytes], other: dict[str, bytes]) -> int:
    """Return the number of files that differ, or that one of both lacks."""
    return sum(one.get(name) != other.get(name) for name in one.keys() | other.keys())


def _make_data(data: Path) -> None:
    """Simulate and fit series, for the commands that read results."""
    arguments = ("var", data / "sim", "--n-subjects", 4, "--n-runs", 1, "--n-regions", 6,
             "--minutes", 5, "--series-only")  # fmt: skip
    simulation = Attacked("", "npi_bids.cli.simulate", lambda *_: arguments)
    fitted = Attacked("", "npi_bids", _level("participant", "group"))
    for command in (simulation, fitted):
        done = _run(command, data, data / "results")
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def _undisturbed(command: Attacked, data: Path, folder: Path) -> tuple[float, dict[str, bytes]]:
    """Return the run time of a command in seconds, and the files that it writes."""
    output = folder / "whole" / command.name.replace(" ", "_")
    started = time.monotonic()
    done = _run(command, data, output)
    seconds = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return seconds, contents(output)


def _start(command: Attacked, data: Path, output: Path, mark: str) -> subprocess.Popen[str]:
    arguments = [str(word) for word in command.arguments(data, output)]
    return subprocess.Popen(
        [sys.executable, "-m", command.module, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, MARK: mark}, preexec_fn=heed_signals,
    )  # fmt: skip


def heed_signals() -> None:
    """Restore signals that nohup and shells without job control ignore, as commands then do."""
    for name in SIGNALS[1:]:  # SIGKILL cannot be ignored
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _run(command: Attacked, data: Path, output: Path) -> subprocess.CompletedProcess[str]:
    process = _start(command, data, output, uuid4().hex)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _kill_once(
    command: Attacked, data: Path, output: Path, seconds: float, rng: np.random.Generator
) -> list[str]:
    """Start a command, kill it at a random moment, and return the events as text."""
    mark = uuid4().hex
    name = str(rng.choice(SIGNALS))
    victim = str(rng.choice(VICTIMS if command.workers else ("command", "all")))
    moment = rng.uniform(_SHORTEST, 1.0) * seconds
    process = _start(command, data, output, mark)
    time.sleep(moment)
    hit = process.poll() is None and send(getattr(signal, name), victim, process.pid, mark)
    try:
        _, err = process.communicate(timeout=600 if victim in VICTIMS[1:3] else 30)
    except subprocess.TimeoutExpired:
        process.kill()
        return ["processes left"]
    outcomes = [f"{name} to {victim}" if hit else "came too late or too early"]
    if "Traceback" in err and moment > 0.5:  # before that, Python itself is starting
        print(f"{command.name}, {name} to {victim} after {moment:.2f} s:\n{err}")
        outcomes.append("tracebacks")
    return outcomes + ["processes left"] * len(remaining_processes(mark))


def send(number: int, victim: str, pid: int, mark: str) -> bool:
    """Send a signal to a victim; return whether the victim exists."""
    descendants = [process for process in _processes(mark) if process != pid]
    servers = [process for process in descendants if b"forkserver" in _command_line(process)]
    parents = {process: _parent(process) for process in descendants}
    if victim == "fork server":
        targets = [process for process in servers if parents[process] == pid][:1]
    elif victim == "worker":
        tracker = b"resource_tracker"
        targets = [process for process in descendants if tracker not in _command_line(process)
                   and not (process in servers and parents[process] == pid)][:1]  # fmt: skip
    else:
        targets = [pid, *descendants] if victim == "all" else [pid]
    for target in targets:
        try:
            os.kill(target, number)
        except ProcessLookupError:
            continue
    return bool(targets)


def _processes(mark: str) -> list[int]:
    """Return the processes with a mark in their environment, except zombies."""
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if f"{MARK}={mark}".encode() in _read(folder / "environ").split(b"\0")
    ]


def remaining_processes(mark: str) -> list[int]:
    """Return the processes of a command that are still there after ten seconds."""
    end = time.monotonic() + _ORPHAN_SECONDS
    while (remaining := _processes(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return remaining


def n_processes(mark: str) -> int:
    """Return the number of processes of a command."""
    return len(_processes(mark))


def _command_line(pid: int) -> bytes:
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
