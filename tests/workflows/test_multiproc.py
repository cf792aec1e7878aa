"""A worker that is killed takes nothing else with it."""

import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.cli.crashes import read_crashes
from npi_bids.workflows.base import Plugin, run_workflow

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


def work(x):
    import time

    time.sleep(0.2)
    return x


def node(function, name, value):
    (argument,) = function.__code__.co_varnames[:1]
    interface = niu.Function(input_names=[argument], output_names=["out"], function=function)
    made = pe.Node(interface, name=name)
    setattr(made.inputs, argument, value)
    return made


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
    assert crash.error == "MemoryError"
    assert "ran out of memory" in crash.message


@pytest.mark.slow
def test_a_node_that_is_killed_once_is_tried_again(tmp_path):
    nodes = [node(killed_once, "unlucky", str(tmp_path / "mark")), node(work, "work", 1)]
    well, fates = run(tmp_path, nodes)
    assert well
    assert set(fates.values()) == {"end"}
