"""Pools of worker processes, which all workflows of a command share."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.process import BaseProcess


class Workers:
    """A pool of worker processes, which is replaced when it is broken."""

    def __init__(self, n_processes: int, cwd: str, context: str | None) -> None:
        self._n_processes, self._cwd, self._context = n_processes, cwd, context
        # The workers of each pool; a pool that is shut down forgets them.
        self._processes: list[Mapping[int, BaseProcess]] = []
        self.pool = self.new_pool(n_processes)
        self._gpu_pool: ProcessPoolExecutor | None = None

    def find_gpu_pool(self, n_processes: int) -> ProcessPoolExecutor:
        """Return the pool of nodes that use a GPU, which starts with the first of them."""
        if self._gpu_pool is None:
            self._gpu_pool = self.new_pool(n_processes)
        return self._gpu_pool

    def new_pool(self, n_processes: int) -> ProcessPoolExecutor:
        """Return a new pool, whose processes start when they are needed."""
        from npi_bids.interfaces.workers import prepare_worker

        pool = ProcessPoolExecutor(
            max_workers=n_processes,
            initializer=prepare_worker,
            initargs=(self._cwd, _log_file()),
            mp_context=multiprocessing.get_context(self._context),
        )
        self._processes.append(pool._processes)
        return pool

    def replace(self, pool: ProcessPoolExecutor) -> None:
        """Give up a broken pool, and replace it if it is one of those that nodes share."""
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        if pool is self.pool:
            self.pool = self.new_pool(self._n_processes)
        elif pool is self._gpu_pool:
            self._gpu_pool = None

    def end(self) -> None:
        """Kill all workers, whatever they are doing, without waiting."""
        for processes in self._processes:
            for process in list(processes.values()):
                process.kill()
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self._gpu_pool is not None:
            self._gpu_pool.shutdown(wait=False, cancel_futures=True)


Key = tuple[int, str, str | None, str]
_shared: ContextVar[dict[Key, Workers] | None] = ContextVar("shared_workers", default=None)


@contextmanager
def shared_workers() -> Iterator[None]:
    """Let all workflows that run in this context use the same worker processes.

    What they have loaded stays loaded. Workers that are still busy when a workflow ends, because
    it was interrupted or stopped at its first crash, are killed and replaced.
    """
    workers: dict[Key, Workers] = {}
    token = _shared.set(workers)
    try:
        yield
    finally:
        _shared.reset(token)
        for pool in workers.values():
            pool.end()


def find_workers(n_processes: int, cwd: str, context: str | None) -> Workers:
    """Return workers: those that the context shares, or new ones.

    Parameters
    ----------
    n_processes
        Number of processes at most.
    cwd
        Their working directory.
    context
        Name of the start method of multiprocessing.
    """
    shared = _shared.get()
    if shared is None:
        return Workers(n_processes, cwd, context)
    key = n_processes, cwd, context, _log_file()
    if key not in shared:
        shared[key] = Workers(n_processes, cwd, context)
    return shared[key]


def release_workers(workers: Workers, *, idle: bool) -> None:
    """End workers, unless they are shared and idle."""
    shared = _shared.get() or {}
    keys = [key for key, pool in shared.items() if pool is workers]
    if keys and idle:
        return
    for key in keys:
        del shared[key]
    workers.end()


def _log_file() -> str:
    """Return the log file of this run; empty if none is open."""
    handlers = logging.getLogger("npi_bids").handlers
    return next((h.baseFilename for h in handlers if isinstance(h, logging.FileHandler)), "")
