"""Nipype's MultiProc, made to survive a worker that is killed.

When the kernel kills a worker for lack of memory, the whole pool of processes is broken: Nipype's
own plugin then waits for ever. Here every node that was lost is tried once more, alone in a
process of its own and one after another; a node that is lost again has failed, and the others go
on.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

_LOST = (
    "MemoryError: the process that ran this step was killed, twice, most likely because the "
    "machine ran out of memory; give more memory, use fewer processes (--n-procs 1) or a smaller "
    "atlas\n"
)


class SteadyMultiProcPlugin(MultiProcPlugin):
    """Run nodes in several processes; what a killed worker takes with it is tried again."""

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool: ProcessPoolExecutor
        self._submitted: dict[int, tuple[Any, bool]] = {}
        self._lost: set[int] = set()
        self._tried_again: set[int] = set()
        self._alone: int | None = None

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        if getattr(node.interface, "terminal_output", "") == "stream":
            node.interface.terminal_output = "allatonce"
        self._submitted[self._taskid] = (node, updatehash)
        try:
            future = self.pool.submit(run_node, node, updatehash, self._taskid)
        except BrokenProcessPool:
            self.pool = self._new_pool(self.processors)
            future = self.pool.submit(run_node, node, updatehash, self._taskid)
        self._task_obj[self._taskid] = future
        future.add_done_callback(partial(self._collect, self._taskid))
        return int(self._taskid)

    def _collect(self, taskid: int, future: Future[dict[str, Any]]) -> None:
        """Keep a result; called in a thread of the pool, so it only takes notes."""
        error = future.exception()
        if error is None:
            self._taskresult[taskid] = future.result()
        elif isinstance(error, BrokenProcessPool):
            self._lost.add(taskid)
        else:
            self._taskresult[taskid] = {"result": None, "traceback": [repr(error) + "\n"]}
        if self._alone == taskid:
            self._alone = None

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        """Return the result of a task, None while it runs; give a lost one its second try."""
        if taskid not in self._lost:
            result: dict[str, Any] | None = self._taskresult.get(taskid)
            return result
        if taskid in self._tried_again:
            return {"result": None, "traceback": ["Traceback:\n", _LOST]}
        if self._alone is None:
            self._alone = taskid
            self._lost.discard(taskid)
            self._tried_again.add(taskid)
            pool = self._new_pool(1)
            node, updatehash = self._submitted[taskid]
            future = pool.submit(run_node, node, updatehash, taskid)
            future.add_done_callback(partial(self._collect, taskid))
            pool.shutdown(wait=False)  # the one job still runs
        return None

    def _new_pool(self, n_processes: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=n_processes,
            initializer=process_initializer,
            initargs=(self._cwd,),
            mp_context=multiprocessing.get_context(self.plugin_args.get("mp_context")),
        )
