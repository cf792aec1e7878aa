"""A signal ends a command and all of its processes, in words; the next run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import make_tiny
from tests.end_to_end.conftest import run_command
from tests.end_to_end.test_interrupted import contents, wait_for

pytestmark = pytest.mark.alone

MARK = "NPI_BIDS_TEST_MARK"
OPTIONS = ("--surrogate", "mlp", "--epochs", "600", "--n-procs", "2")
ENDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Return four subjects."""
    return make_tiny(tmp_path_factory.mktemp("four"), n_subjects=4, n_runs=1)


@pytest.fixture(scope="module")
def undisturbed(four, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(four, folder)
    return contents(folder / "out")


def words(four, folder):
    return (
        *(four.root, folder / "out", "participant", "group", "--atlas", four.atlas, *OPTIONS),
        *("-w", folder / "work"),
    )


def finish(four, folder):
    done = run_command(*words(four, folder), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def start(module, *arguments, mark):
    """Start a command in a session of its own; a mark in their environment tells its processes."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, MARK: mark}, preexec_fn=hear_signals,
    )  # fmt: skip


def hear_signals():
    """Undo what ``nohup`` and shells do for commands in the background: ignore signals."""
    for number in ENDED:
        signal.signal(number, signal.SIG_DFL)


def processes(mark):
    """Return the processes that hold a mark in their environment, but for zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment.split(b"\0"):
            found.append(int(folder.name))
    return found


def none_left(mark, seconds=10):
    """Return what is alive of a command after some seconds; nothing, as soon as that is so."""
    end = time.monotonic() + seconds
    while (left := processes(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def trains(folder):
    return list(folder.glob("work/npi_bids_wf/sub_*/*/ec_wf/train_surrogate/_node.pklz"))


@pytest.mark.slow
@pytest.mark.parametrize("number", ENDED)
def test_a_signal_to_all_processes_shows_no_traceback(four, tmp_path, number):
    """As a terminal sends it that is closed, and Ctrl-C."""
    mark = f"{os.getpid()}-all-{number}"
    run = start("npi_bids", *words(four, tmp_path), mark=mark)
    wait_for(lambda: trains(tmp_path) or run.poll() is not None)
    os.killpg(run.pid, number)
    _, err = run.communicate(timeout=10)
    assert run.returncode == 128 + number, err
    assert not none_left(mark)
    assert "Traceback" not in err
    assert "leaked" not in err


def test_a_keyboard_interrupt_while_the_fork_server_loads_shows_no_traceback(tmp_path):
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(3)\n")
    program = (
        "import signal, time\n"
        "from npi_bids.interfaces.workers import prepare_pools\n"
        "prepare_pools(['slow_to_load'])\n"
        "print('started', flush=True)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "time.sleep(4)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=hear_signals,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert run.stdout.readline() == "started\n"
    time.sleep(1)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert err == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [*ENDED, signal.SIGKILL])
def test_no_process_outlives_the_command_and_the_next_run_goes_on(
    four, undisturbed, tmp_path, number
):
    mark = f"{os.getpid()}-{number}"
    run = start("npi_bids", *words(four, tmp_path), mark=mark)
    wait_for(lambda: trains(tmp_path) or run.poll() is not None)
    assert len(processes(mark)) > 2, run.communicate()
    os.kill(run.pid, number)
    started = time.monotonic()
    assert not none_left(mark)
    out, err = run.communicate(timeout=10)
    if number != signal.SIGKILL:
        assert time.monotonic() - started < 5
        assert run.returncode == 128 + number, err
        assert "run the same command again to go on" in err
        assert "finished" not in out
    assert "Traceback" not in err
    finish(four, tmp_path)
    assert contents(tmp_path / "out") == undisturbed
    assert not list((tmp_path / "out").rglob(".partial_*"))


def handles_signals(pid):
    """Tell whether a process has a handler for SIGTERM, as it has once its command has begun."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


EARLY = """
import os, signal, sys
from npi_bids.cli.signals import interruptible

install = signal.signal

def install_and_send(number, handler):
    before = install(number, handler)
    signal.signal = install  # once is enough
    os.kill(os.getpid(), signal.SIGUSR1)
    return before

signal.signal = install_and_send
sys.exit(interruptible("program", "run it again.")(lambda argv=None: 0)())
"""


def test_a_signal_before_all_handlers_are_in_place_ends_in_words():
    done = subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 128 + signal.SIGUSR1
    assert "program: ended by SIGUSR1; run it again." in done.stderr


@pytest.mark.parametrize("number", ENDED)
@pytest.mark.parametrize("module", ["simulate", "export", "validate", "ec", "fetch", "run"])
def test_a_signal_during_imports_shows_no_traceback(tmp_path, module, number):
    arguments = {
        "simulate": ["rnn", tmp_path / "out"],
        "export": [tmp_path / "map.tsv", "-o", tmp_path / "out"],
        "validate": ["power", "-o", tmp_path / "out"],
        "ec": [tmp_path / "map.tsv", "--tr", 2, "-o", tmp_path / "out.tsv"],
        "fetch": ["Schaefer2018", "--offline"],
        "run": [tmp_path, tmp_path / "out", "participant", "-w", tmp_path / "work"],
    }
    (tmp_path / "map.tsv").touch()
    run = start(f"npi_bids.cli.{module}", *arguments[module], mark="imports")
    wait_for(lambda: handles_signals(run.pid))
    os.kill(run.pid, number)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 128 + number, err
    assert "Traceback" not in err
    assert ("interrupted" if number == signal.SIGINT else f"ended by {number.name}") in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("delay", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("number", ENDED)
def test_a_signal_at_any_moment_of_a_simulation_shows_no_traceback(tmp_path, number, delay):
    run = start("npi_bids.cli.validate", "power", "-o", tmp_path / "out", mark="moments")
    wait_for(lambda: handles_signals(run.pid))
    time.sleep(delay)
    os.kill(run.pid, number)
    _, err = run.communicate(timeout=20)
    assert run.returncode == 128 + number, err
    assert "Traceback" not in err
    assert "run the same command again to go on" in err


LOADS = """
import _imp, importlib.abc, importlib.machinery, sys, time
from npi_bids.cli.signals import interruptible

class Loader(importlib.abc.Loader):
    def create_module(self, spec):
        def _call_with_frames_removed(f, spec):  # as in importlib
            print("loads", flush=True)
            end = time.monotonic() + 1
            while time.monotonic() < end:
                pass
            print("loaded", flush=True)
        _call_with_frames_removed(_imp.create_dynamic, spec)
    def exec_module(self, module):
        time.sleep(30)

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "compiled":
            return importlib.machinery.ModuleSpec(name, Loader())

@interruptible("loads", "try again")
def command(argv=None):
    sys.meta_path.insert(0, Finder())
    import compiled

sys.exit(command())
"""


def test_a_module_that_is_being_loaded_is_not_interrupted():
    """An exception that passes through the C++ code of torch ends the process by an abort."""
    run = subprocess.Popen(
        [sys.executable, "-c", LOADS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "loads\n"
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=20)
    assert out == "loaded\n"
    assert err == "loads: ended by SIGTERM; try again\n"
    assert run.returncode == 128 + signal.SIGTERM


SERVES = """
import multiprocessing, os, sys
from multiprocessing import forkserver
from npi_bids.cli.signals import end_workers

sys.path.insert(0, sys.argv[1])
end_workers()  # there are none
multiprocessing.set_forkserver_preload(["slow_to_load"])
forkserver.ensure_running()
pid = forkserver._forkserver._forkserver_pid
end_workers()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_the_fork_server_ends_with_the_workers_while_it_loads(tmp_path):
    (tmp_path / "slow_to_load.py").write_text("import time\ntime.sleep(60)\n")
    done = subprocess.run([sys.executable, "-c", SERVES, tmp_path], capture_output=True, text=True,
                          check=False, timeout=30)  # fmt: skip
    assert done.stdout == f"{-signal.SIGKILL}\n", done.stderr


def test_what_is_ignored_stays_ignored(tmp_path):
    """As nohup wants it."""
    command = [sys.executable, "-m", "npi_bids.cli.simulate", "rnn", str(tmp_path / "out")]
    run = subprocess.Popen(["nohup", *command, "--n-subjects", "1", "--minutes", "1"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
    wait_for(lambda: handles_signals(run.pid))
    os.kill(run.pid, signal.SIGHUP)
    run.communicate(timeout=60)
    assert run.returncode == 0


def test_a_library_that_swallows_the_interrupt_does_not_stop_the_end(tmp_path):
    program = (
        "import sys, time\n"
        "from npi_bids.cli.signals import interruptible\n"
        "@interruptible('this', 'do that.')\n"
        "def main(argv=None):\n"
        "    while True:\n"
        "        try:\n"
        "            print('swallows', flush=True)\n"
        "            time.sleep(60)\n"
        "        except BaseException:\n"
        "            pass\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "swallows\n"  # else the interrupt ends it before the loop
    os.kill(run.pid, signal.SIGTERM)
    _, err = run.communicate(timeout=9)
    assert run.returncode == 128 + signal.SIGTERM
    assert err == "this: ended by SIGTERM; do that.\n"


def files(folder):
    """Return every file, hidden ones included, but for times that archives hold."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".html", ".npz", ".svg", ".mat", ".gz")
    }


def simulation(folder):
    return "npi_bids.cli.simulate", ("var", folder / "out", "--n-subjects", "8", "--n-runs", "2",
                                     "--n-regions", "6", "--minutes", "5")  # fmt: skip


def power(folder):
    return "npi_bids.cli.validate", ("power", "--n-subjects", "4", "--minutes", "2", "4",
                                     "--n-regions", "6", "--methods", "var", "fc",
                                     "--n-procs", "2", "-o", folder / "out")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number"),
    [(simulation, signal.SIGTERM), (simulation, signal.SIGKILL), (power, signal.SIGTERM)],
)
def test_a_command_that_was_ended_shows_no_half_and_the_next_run_is_the_same(
    tmp_path, command, number
):
    module, arguments = command(tmp_path / "whole")
    started = time.monotonic()
    start(module, *arguments, mark="whole").communicate(timeout=100)
    took = time.monotonic() - started
    whole = files(tmp_path / "whole" / "out")
    assert whole
    module, arguments = command(tmp_path / "ended")
    for share in (0.5, 0.8, 0.95):
        mark = f"{os.getpid()}-{number}-{share}"
        run = start(module, *arguments, mark=mark)
        time.sleep(share * took)
        run.send_signal(number)
        _, err = run.communicate(timeout=20)
        assert "Traceback" not in err
        assert not none_left(mark)
        shown = files(tmp_path / "ended" / "out") if (tmp_path / "ended" / "out").exists() else {}
        assert set(shown) in (set(), set(whole))
        if run.returncode == 0:
            break
    else:
        run = start(module, *arguments, mark="last")
        _, err = run.communicate(timeout=100)
        assert run.returncode == 0, err
    assert files(tmp_path / "ended" / "out") == whole
    assert os.listdir(tmp_path / "ended") == ["out"]
