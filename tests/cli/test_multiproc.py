"""A worker that is killed takes nothing else with it."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace

import pytest
from nipype.pipeline import engine as pe
from nipype.utils.filemanip import loadpkl

from npi_bids.cli.execution import Plugin, read_crashes, run_workflow
from npi_bids.cli.multiproc import SteadyMultiProcPlugin
from npi_bids.cli.worker_pool import shared_workers
from tests.cli.conftest import node

pytestmark = pytest.mark.alone

MULTIPROC = Plugin("MultiProc", {"n_procs": 2, "mp_context": "forkserver"})


def killed_always(x):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return x


def killed_once(path):
    import os
    import signal
    from pathlib import Path

    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path


def unreadable(x):
    import os

    class Unreadable:
        def __reduce__(self):
            return os.stat, (x,)

    return Unreadable()


def work(x):
    import time

    time.sleep(0.2)
    return x


def own_process(x):
    import os

    return os.getpid()


def run(tmp_path, nodes):
    workflow = pe.Workflow("wf", base_dir=str(tmp_path / "work"))
    workflow.add_nodes(nodes)
    fates = {}
    well = run_workflow(
        workflow, MULTIPROC, tmp_path / "crash", lambda n, status: fates.update({n.name: status})
    )
    return well, fates


@pytest.mark.slow
def test_only_the_node_that_is_killed_fails(tmp_path):
    nodes = [node(killed_always, "killer", 1), *(node(work, f"work{n}", n) for n in range(6))]
    well, fates = run(tmp_path, nodes)
    assert not well
    assert fates.pop("killer") == "exception"
    assert set(fates.values()) == {"end"}
    (crash,) = read_crashes(tmp_path / "crash")
    assert crash.failure.error == "MemoryError"
    assert "ran out of memory" in crash.failure.message


@pytest.mark.slow
def test_a_node_whose_result_cannot_be_read_is_not_said_to_lack_memory(tmp_path):
    nodes = [node(unreadable, "late", str(tmp_path / "hidden.tsv")), node(work, "work", 1)]
    well, fates = run(tmp_path, nodes)
    assert not well
    assert fates == {"late": "exception", "work": "end"}
    (crash,) = read_crashes(tmp_path / "crash")
    assert "memory" not in crash.failure.message
    assert "FileNotFoundError" in crash.failure.message
    assert "hidden.tsv" in crash.failure.message
    assert "run the same command again" in crash.failure.message


@pytest.mark.slow
def test_a_node_that_is_killed_once_is_tried_again(tmp_path):
    nodes = [node(killed_once, "unlucky", str(tmp_path / "mark")), node(work, "work", 1)]
    well, fates = run(tmp_path, nodes)
    assert well
    assert set(fates.values()) == {"end"}


def fork_server_killed_once(path):
    import os
    import signal
    import time
    from pathlib import Path

    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getppid(), signal.SIGKILL)  # which started this worker
        time.sleep(10)
    return path


@pytest.mark.slow
def test_a_fork_server_that_is_killed_is_replaced(tmp_path):
    nodes = [
        node(fork_server_killed_once, "unlucky", str(tmp_path / "mark")),
        *(node(work, f"work{n}", n) for n in range(12)),
    ]
    well, fates = run(tmp_path, nodes)
    assert well
    assert set(fates.values()) == {"end"}


def test_a_pool_that_cannot_start_a_process_fails_the_node_in_words(tmp_path, monkeypatch):
    def refuse(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("concurrent.futures.ProcessPoolExecutor.submit", refuse)
    well, fates = run(tmp_path, [node(work, "work", 1)])
    assert not well
    assert fates == {"work": "exception"}
    (crash,) = read_crashes(tmp_path / "crash")
    assert crash.failure.error == "OSError"
    assert "no process could be started" in crash.failure.message


def sleeps_then_writes(path):
    import time
    from pathlib import Path

    time.sleep(1.5)
    Path(path).touch()
    return path


def fails(x):
    raise ValueError(x)


@pytest.mark.slow
def test_nothing_runs_on_after_the_crash_that_stops_a_run(tmp_path):
    workflow = pe.Workflow("wf", base_dir=str(tmp_path / "work"))
    workflow.add_nodes([
        node(sleeps_then_writes, "sleeper", str(tmp_path / "late")), node(fails, "fails", 1)
    ])  # fmt: skip
    stopping = replace(MULTIPROC, stop=True)
    assert not run_workflow(workflow, stopping, tmp_path / "crash", lambda *_: None)
    time.sleep(2)
    assert not (tmp_path / "late").exists()


def process_of(tmp_path, name):
    """Run a workflow of one node; return the number of the process that ran it."""
    workflow = pe.Workflow(name, base_dir=str(tmp_path / "work"))
    workflow.add_nodes([node(own_process, "asks", 1)])
    assert run_workflow(workflow, MULTIPROC, tmp_path / "crash", lambda *_: None)
    return loadpkl(tmp_path / "work" / name / "asks" / "result_asks.pklz").outputs.out


@pytest.mark.slow
def test_workflows_of_a_command_share_their_workers(tmp_path):
    with shared_workers():
        first, second = process_of(tmp_path, "one"), process_of(tmp_path, "two")
        assert first == second
        assert first in {child.pid for child in multiprocessing.active_children()}
    for _ in range(100):
        if first not in {child.pid for child in multiprocessing.active_children()}:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the worker outlives the command")
    assert process_of(tmp_path, "three") != first


@pytest.mark.slow
def test_workers_that_are_busy_after_a_crash_are_not_shared(tmp_path):
    with shared_workers():
        before = process_of(tmp_path, "one")
        workflow = pe.Workflow("wf", base_dir=str(tmp_path / "work"))
        workflow.add_nodes([
            node(sleeps_then_writes, "sleeper", str(tmp_path / "late")), node(fails, "fails", 1)
        ])  # fmt: skip
        stopping = replace(MULTIPROC, stop=True)
        assert not run_workflow(workflow, stopping, tmp_path / "crash", lambda *_: None)
        assert process_of(tmp_path, "two") != before
    assert not (tmp_path / "late").exists()


def sleeps(x):
    import time

    time.sleep(4)
    return x


@pytest.mark.slow
def test_the_queue_is_not_polled_while_a_node_runs(tmp_path, monkeypatch):
    """Each look at the queue takes milliseconds, and a poll would take hundreds."""
    looks = []
    look = SteadyMultiProcPlugin._send_procs_to_workers
    monkeypatch.setattr(
        SteadyMultiProcPlugin, "_send_procs_to_workers",
        lambda self, *args, **kwargs: (looks.append(1), look(self, *args, **kwargs)),
    )  # fmt: skip
    assert run(tmp_path, [node(sleeps, "sleeper", 1)])[0]
    assert 2 <= len(looks) <= 8
