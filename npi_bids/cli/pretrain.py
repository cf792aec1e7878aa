"""The level pretrain: one surrogate over all subjects, as a prior for each of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.analysis import Task
from npi_bids.bids.outputs import CLAIM, pretrained_path
from npi_bids.cli.dataset import update_descriptions, write_dataset
from npi_bids.cli.execution import choose_plugin, read_crashes, run_workflow
from npi_bids.cli.inputs import Inputs
from npi_bids.cli.logs import parse_unit
from npi_bids.cli.parser import Request
from npi_bids.cli.participant import make_batches, make_tasks
from npi_bids.cli.work_folder import reserve_work_dir
from npi_bids.errors import SettingsError
from npi_bids.io.claim import claim_dataset
from npi_bids.surrogates.base import check_prior
from npi_bids.surrogates.delay_map import check_delay_map
from npi_bids.wording import count_noun
from npi_bids.workflows.pretrain import init_extract_wf, init_pretrain_wf

if TYPE_CHECKING:
    from nipype.pipeline.engine import Node

_logger = logging.getLogger(__name__)


def run_pretrain(request: Request, work_dir: Path, run_dir: Path) -> int:
    """Extract the series of all subjects, train on them together, and return the exit code.

    Raises
    ------
    NPIError
        Nothing can be trained; the message says why.
    """
    _check_options(request)
    inputs = Inputs(request)
    request = inputs.request
    # The dataset may hold models of another configuration, fitted before the pre-training.
    with claim_dataset(request.out_dir / CLAIM, request.analysis.configuration, lambda: None):
        return _pretrain(inputs, request, work_dir, run_dir)


def _pretrain(inputs: Inputs, request: Request, work_dir: Path, run_dir: Path) -> int:
    """Extract and train, and return the exit code."""
    strategies = {inputs.desc(spec): inputs.cleaning for spec in inputs.specs}
    write_dataset(request, inputs.datasets, inputs.specs, strategies)
    units = {spec: inputs.units(spec) for spec in inputs.specs}
    tasks = make_tasks(inputs, units, work_dir)
    for problem in (problem for task in tasks for problem in task.unit.problems):
        _logger.error("Left out: %s", problem)
    usable = [task for task in tasks if not task.unit.problems]
    if not usable:
        return 3
    names = sorted({name for task in usable for name in (task.node_name, *task.extract_names)})
    with reserve_work_dir(work_dir, names, f"parallel_{run_dir.name}") as folder:
        failed = _extract_series(usable, request, folder, run_dir)
        update_descriptions(request.out_dir)
        extracted = [
            task for task in usable if failed.isdisjoint((task.node_name, *task.extract_names))
        ]
        if code := _train_groups(extracted, request, folder, run_dir):
            return code
    return 1 if len(extracted) < len(tasks) else 0


def _check_options(request: Request) -> None:
    check_prior(request.analysis.train)
    if request.analysis.prior.delay_map:
        check_delay_map(request.analysis.train, pretrained=True)
    if request.analysis.prior.pretrained:
        raise SettingsError(
            "--pretrained cannot be combined with the level pretrain, which creates it."
        )


def _train_groups(tasks: Sequence[Task], request: Request, work_dir: Path, run_dir: Path) -> int:
    """Train one surrogate for each group of subjects, and return the exit code."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(str(pretrained_path(task.entities, task.desc)), []).append(task)
    for name, members in groups.items():
        n_subjects = len({task.entities["sub"] for task in members})
        _logger.info("Pre-training on %s: %s", count_noun(n_subjects, "subject"), name)
    workflow = init_pretrain_wf(
        groups=groups,
        train=request.analysis.train,
        out_dir=request.out_dir,
        work_dir=work_dir,
        n_threads=request.resources.omp_nthreads,
    )
    if run_workflow(workflow, choose_plugin(request.resources), run_dir, lambda *_: None):
        return 0
    crashes = [crash for crash in read_crashes(run_dir) if "pretrain_wf" in crash.node]
    for crash in crashes:
        _logger.error("Pre-training: %s", crash.failure.message)
    return max((crash.failure.exit_code for crash in crashes), default=1)


def _extract_series(
    tasks: Sequence[Task], request: Request, work_dir: Path, run_dir: Path
) -> set[str]:
    """Extract the regional series of all runs; return the names of the units that failed."""
    progress = _RunProgress(sum(len(task.unit.runs) for task in tasks))
    for batch in make_batches(tasks):
        workflow = init_extract_wf(
            tasks=batch,
            settings=request.analysis,
            out_dir=request.out_dir,
            work_dir=work_dir,
        )
        run_workflow(workflow, choose_plugin(request.resources), run_dir, progress)
    failed = {parse_unit(crash.node): crash for crash in read_crashes(run_dir)}
    for name, crash in failed.items():
        _logger.error("Left out: %s: %s", name, crash.failure.message)
    return set(failed)


class _RunProgress:
    """Log each run whose series have been extracted."""

    def __init__(self, n_runs: int) -> None:
        self.n_runs, self.n_done = n_runs, 0

    def __call__(self, node: Node, status: str) -> None:
        if status == "end" and str(node.name).startswith("save_run"):
            self.n_done += 1
            _logger.info("[%d/%d] series of %s", self.n_done, self.n_runs,
                         parse_unit(str(node.fullname)))  # fmt: skip
