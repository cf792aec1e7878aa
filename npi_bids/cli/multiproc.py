"""Nipype's MultiProc plugin, made robust against killed worker processes.

When the kernel kills a worker for lack of memory, the whole pool of processes is broken: Nipype's
own plugin then waits for ever. Here every lost node is tried once more, one after another and each
alone in its own process; a node that is lost again has failed, and the others continue. The fork
server, which starts the workers, is replaced if it is killed. Workers end with this process,
whatever ends it. All workflows of a command share them
(:func:`~npi_bids.cli.worker_pool.shared_workers`), and the fork server loads what their nodes need
once for all of them.

Nodes that use a GPU run in processes of their own, as many as may use it at once. Each computes
several subjects one after another: CUDA takes half a gigabyte of the GPU in every process that has
used it, and seconds to start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from npi_bids.cli.stage_times import WORKERS, current_times
from npi_bids.cli.worker_pool import find_workers, release_workers
from npi_bids.interfaces.workers import note_failure, prepare_pools, run_node
from npi_bids.io.failures import write_failure

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from networkx import DiGraph
    from nipype.pipeline.engine import Node

_logger = logging.getLogger(__name__)

_LOST = (
    "the process that ran this step was killed, twice, most likely because the "
    "machine ran out of memory; give more memory, use fewer processes (--n-procs 1) or a smaller "
    "atlas"
)
_UNREADABLE = (
    "the result of this step could not be read, twice ({}); on a network file system, files may "
    "appear only after some seconds: run the same command again"
)
_NO_PROCESS = (
    "no process could be started to run this step ({}); use fewer processes (--n-procs) "
    "or raise the limit of processes (ulimit -u)"
)
# Seconds between attempts to start a process; a fork server that was killed ends within the first.
_PAUSES = (0.1, 0.3, 1.0, 0.0)
# Longest time between checks of the queue. A job that ends is noticed at once, so that this only
# limits the harm if a notice were lost; each check takes some milliseconds.
_WAIT_SECONDS = 2.0


class SteadyMultiProcPlugin(MultiProcPlugin):
    """Run nodes in several processes; nodes lost with a killed worker are tried again.

    Parameters
    ----------
    plugin_args
        As those of Nipype's plugin.
    modules
        Modules to load once for all workers.
    """

    def __init__(
        self, plugin_args: dict[str, object] | None = None, modules: Iterable[str] = ()
    ) -> None:
        prepare_pools(modules)
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown(wait=False)  # it has started no process; Nipype's would outlive this
        context = self.plugin_args.get("mp_context")
        self._workers = find_workers(self.processors, self._cwd, context)
        self._submitted: dict[int, tuple[Node, bool]] = {}
        self._lost: set[int] = set()
        self._unreadable: dict[int, str] = {}  # why results could not be read
        self._retried: set[int] = set()
        self._alone: int | None = None
        self._ended = threading.Event()
        self._times = current_times()  # results arrive in another thread

    def end(self) -> None:
        """Kill the workers without waiting, unless they are shared and idle."""
        release_workers(
            self._workers, idle=all(future.done() for future in self._task_obj.values())
        )

    def _postrun_check(self) -> None:
        """Leave the workers to :meth:`end`."""

    def _report_crash(self, node: Node, result: dict[str, Any] | None = None) -> str:
        """Write the crash file, with the error beside it where the node could not record it."""
        try:
            path = str(super()._report_crash(node, result))
            if result is not None and "error" in result:
                write_failure(result["error"], Path(path).with_suffix(".json"))
        except OSError as error:  # a full disk; the other nodes go on
            _logger.error("The crash file of %s cannot be written: %s", node.fullname, error)
            return ""
        return path

    def _submit_job(self, node: Node, updatehash: bool = False) -> int:
        self._taskid += 1
        if getattr(node.interface, "terminal_output", "") == "stream":
            node.interface.terminal_output = "allatonce"
        self._submitted[self._taskid] = (node, updatehash)
        self._start(self._taskid)
        return int(self._taskid)

    def _start(self, taskid: int, *, alone: bool = False) -> None:
        """Submit a task to the pool, or to its own process; to a new pool if that fails.

        A pool is broken when one of its workers was killed. Where the fork server was killed,
        the connection to it fails in one of several ways until its end has been noticed.
        """
        error: Exception | None = None
        node, updatehash = self._submitted[taskid]
        for pause in _PAUSES:
            pool = self._workers.new_pool(1) if alone else self._pool_for(node)
            try:
                future = pool.submit(run_node, node, updatehash, taskid)
            except (BrokenProcessPool, OSError, EOFError) as problem:
                error = problem
                self._workers.replace(pool)
                time.sleep(pause)
                continue
            self._task_obj[taskid] = future
            future.add_done_callback(partial(self._collect, taskid))
            if alone:
                pool.shutdown(wait=False)  # the one job still runs
            return
        refused = OSError(_NO_PROCESS.format(error))
        refused.__cause__ = error
        self._fail(taskid, refused)

    def _pool_for(self, node: Node) -> ProcessPoolExecutor:
        """Return the pool for a node; that for the GPU has a process for each node at a time."""
        if not node.is_gpu_node():
            return self._workers.pool
        return self._workers.find_gpu_pool(max(1, self.n_gpu_procs // node.n_procs))

    def _clear_task(self, taskid: int) -> None:
        self._task_obj.pop(taskid, None)
        del self._submitted[taskid]

    def _fail(self, taskid: int, error: BaseException) -> None:
        """Record an error as the result of a task that no process has run."""
        with suppress(OSError):
            note_failure(self._submitted[taskid][0], error, replace=True)
        self._taskresult[taskid] = {"result": None, "traceback": format_exception(error)}
        if self._alone == taskid:
            self._alone = None
        self._ended.set()

    def _collect(self, taskid: int, future: Future[dict[str, object]]) -> None:
        """Store a result; called in a thread of the pool, so it only records."""
        if future.cancelled():
            self._lost.add(taskid)
        elif (error := future.exception()) is None:
            self._record(taskid, result := future.result())
            self._taskresult[taskid] = result
        elif isinstance(error, BrokenProcessPool):
            # Without a cause, a process was killed.
            if error.__cause__ is not None:
                self._unreadable[taskid] = _last_line(str(error.__cause__))
            self._lost.add(taskid)
        else:
            self._fail(taskid, error)
        if self._alone == taskid:
            self._alone = None
        self._ended.set()

    def _record(self, taskid: int, result: Mapping[str, Any]) -> None:
        if self._times is not None:
            workflow, *_, node = self._submitted[taskid][0].fullname.split(".")
            name = f"{workflow}.{node}"
            self._times.add(WORKERS, name, result["seconds"], result["cpu_seconds"])

    def _get_result(self, taskid: int) -> dict[str, object] | None:
        """Return the result of a task, None while it runs; retry a lost task once."""
        if taskid not in self._lost:
            result: dict[str, object] | None = self._taskresult.get(taskid)
            return result
        if taskid in self._retried:
            self._lost.discard(taskid)
            reason = self._unreadable.get(taskid)
            self._fail(
                taskid, OSError(_UNREADABLE.format(reason)) if reason else MemoryError(_LOST)
            )
            return self._get_result(taskid)
        if self._alone is None:
            self._alone = taskid
            self._lost.discard(taskid)
            self._unreadable.pop(taskid, None)
            self._retried.add(taskid)
            self._start(taskid, alone=True)
        return None

    def _send_procs_to_workers(
        self, updatehash: bool = False, graph: DiGraph | None = None
    ) -> None:
        """Submit what can run; then wait until a job ends, without using the CPU."""
        n_before = self.proc_done.sum()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        # Nodes with results in the work folder are done at once, and others may follow.
        if self.pending_tasks and self.proc_done.sum() == n_before:
            self._ended.wait(_WAIT_SECONDS)
        self._ended.clear()


def _last_line(traceback: str) -> str:
    """Return the last line of a traceback, which names the error; other processes quote it."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip(" '\"")]
    return lines[-1] if lines else "unknown error"
