"""Slots of the GPU: which models take one, and how many steps run on it at once.

The scheduler is that of the program; its steps are recorded instead of run.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.analysis import ResourceSettings
from npi_bids.cli import execution, multiproc
from npi_bids.cli.execution import choose_plugin, run_workflow, uses_gpu
from npi_bids.cli.multiproc import SteadyMultiProcPlugin
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.surrogates.base import MIN_GPU_REGIONS, TrainSettings
from npi_bids.workflows.ec import init_ec_wf

pytestmark = pytest.mark.alone

MANY = MIN_GPU_REGIONS


@pytest.fixture
def one_gpu(monkeypatch):
    """Let Nipype and torch report one GPU."""
    monkeypatch.setattr(execution, "gpu_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize(("surrogate", "device", "n_regions", "expected"), [
    ("hybrid", "auto", MANY, True),
    ("hybrid", "auto", MANY - 1, False),
    ("hybrid", "cpu", MANY, False),
    ("mlp", "cuda:0", 4, True),
    ("rdcm", "auto", MANY, False),  # closed form
    ("wbm", "auto", MANY, False),
])  # fmt: skip
def test_models_that_a_gpu_computes_take_a_slot(one_gpu, surrogate, device, n_regions, expected):
    assert uses_gpu(TrainSettings(surrogate=surrogate, device=device), n_regions) is expected


def test_without_a_gpu_no_model_takes_a_slot(monkeypatch):
    monkeypatch.setattr(execution, "gpu_count", lambda: 0)
    assert not uses_gpu(TrainSettings(), MANY)


def test_a_torch_without_cuda_takes_no_slot(monkeypatch):
    monkeypatch.setattr(execution, "gpu_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not uses_gpu(TrainSettings(), MANY)


@pytest.mark.parametrize("use_gpu", [True, False])
def test_all_steps_of_a_model_take_a_slot_or_none(use_gpu):
    workflow = init_ec_wf(train=TrainSettings(), perturb=PerturbSettings(), use_gpu=use_gpu)
    steps = ("train_surrogate", "perturb_surrogate", "assess_connectivity")
    assert [workflow.get_node(step).is_gpu_node() for step in steps] == [use_gpu] * 3


class RecordingPlugin(SteadyMultiProcPlugin):
    """The scheduler of the program, whose jobs end one after another without being run."""

    def __init__(self, plugin_args):
        super().__init__(plugin_args=plugin_args)
        self.running = {}
        self.at_once = []

    def _submit_job(self, job, updatehash=False):
        self._taskid += 1
        self.running[self._taskid] = job
        on_gpu = sum(running.is_gpu_node() for running in self.running.values())
        self.at_once.append((on_gpu, len(self.running) - on_gpu))
        return self._taskid

    def _get_result(self, taskid):
        if taskid != min(self.running):  # the oldest one ends
            return None
        del self.running[taskid]
        self._ended.set()
        return {"result": None, "traceback": None}

    def _clear_task(self, taskid):
        pass


def name_process(path, use_gpu):
    """Write the number of the process that runs a step."""
    import os
    import time
    from pathlib import Path

    time.sleep(0.1)
    Path(path).write_text(str(os.getpid()))
    return path


def steps_of(tmp_path, n_steps, n_on_gpu, n_threads=1):
    """Return a workflow of independent steps, of which the first ones use the GPU."""
    workflow = pe.Workflow("wf", base_dir=str(tmp_path / "work"))
    for number in range(n_steps):
        interface = niu.Function(["path", "use_gpu"], ["out"], function=name_process)
        step = pe.Node(interface, name=f"step_{number}", n_procs=n_threads, mem_gb=0.01)
        step.inputs.path = str(tmp_path / f"process_{number}")
        step.inputs.use_gpu = number < n_on_gpu
        workflow.add_nodes([step])
    workflow.config["execution"]["poll_sleep_duration"] = "0.001"
    return workflow


def schedule(tmp_path, resources, n_threads):
    """Return the largest numbers of steps at once on the GPU and on the CPU, and all submitted."""
    workflow = steps_of(tmp_path, 12, 8, n_threads)
    plugin = RecordingPlugin(choose_plugin(resources).args)
    workflow.run(plugin=plugin)
    on_gpu, on_cpu = np.array(plugin.at_once).max(axis=0)
    return int(on_gpu), int(on_cpu), len(plugin.at_once)


@pytest.mark.parametrize("n_gpu_procs", [1, 2, 3])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_at_most_n_gpu_procs_steps_run_on_the_gpu_at_once(
    tmp_path, monkeypatch, n_gpu_procs, n_threads
):
    monkeypatch.setattr(multiproc, "_WAIT_SECONDS", 0.001)
    resources = ResourceSettings(
        n_procs=16, omp_nthreads=n_threads, mem="8G", n_gpu_procs=n_gpu_procs
    )
    assert schedule(tmp_path, resources, n_threads) == (n_gpu_procs, 4, 12)


@pytest.mark.slow
def test_a_process_on_the_gpu_computes_several_subjects(tmp_path):
    resources = ResourceSettings(n_procs=3, mem="8G", n_gpu_procs=1)
    workflow = steps_of(tmp_path, 7, 4)
    assert run_workflow(workflow, choose_plugin(resources), tmp_path, lambda *_: None)
    processes = [(tmp_path / f"process_{number}").read_text() for number in range(7)]
    on_gpu, on_cpu = set(processes[:4]), set(processes[4:])
    assert len(on_gpu) == 1
    assert not on_gpu & on_cpu
