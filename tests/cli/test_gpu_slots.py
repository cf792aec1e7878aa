"""Slots of the GPU: which models take one, and how many steps run on it at once.

The scheduler is that of the program; its steps are recorded instead of run.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from npi_bids.analysis import ResourceSettings
from npi_bids.cli import execution
from npi_bids.cli.execution import choose_plugin, uses_gpu
from npi_bids.cli.multiproc import SteadyMultiProcPlugin
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.devices import MIN_GPU_REGIONS
from npi_bids.workflows.ec import init_ec_wf
from tests.cli.conftest import node

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


def work(x):
    return x


def schedule(tmp_path, resources, n_threads):
    """Return the largest numbers of steps at once on the GPU and on the CPU, and all submitted."""
    from nipype.pipeline import engine as pe

    nodes = []
    for number in range(12):
        step = node(work, f"step_{number}", number)
        step.n_procs, step._mem_gb = n_threads, 0.01
        step.inputs.add_trait("use_gpu", number < 8)
        step.inputs.use_gpu = number < 8
        nodes.append(step)
    workflow = pe.Workflow("wf", base_dir=str(tmp_path))
    workflow.add_nodes(nodes)
    workflow.config["execution"]["poll_sleep_duration"] = "0.001"
    plugin = RecordingPlugin(choose_plugin(resources).args)
    workflow.run(plugin=plugin)
    on_gpu, on_cpu = np.array(plugin.at_once).max(axis=0)
    return int(on_gpu), int(on_cpu), len(plugin.at_once)


@pytest.mark.parametrize("n_gpu_procs", [1, 2, 3])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_at_most_n_gpu_procs_steps_run_on_the_gpu_at_once(tmp_path, n_gpu_procs, n_threads):
    resources = ResourceSettings(
        n_procs=16, omp_nthreads=n_threads, mem="8G", n_gpu_procs=n_gpu_procs
    )
    assert schedule(tmp_path, resources, n_threads) == (n_gpu_procs, 4, 12)
