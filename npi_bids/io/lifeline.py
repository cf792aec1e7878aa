"""Lifetime of worker processes, which never outlive the process that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context, resource_tracker
from typing import Any

_PR_SET_PDEATHSIG = 1  # of prctl(2)
# Signals that ask a command to end: a keyboard, a closed terminal, and schedulers, of which Slurm
# and Grid Engine can send SIGUSR1, SIGUSR2 or SIGXCPU shortly before a limit is reached.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask a command to end and that this system has."""
    return [signal.Signals[name] for name in SIGNALS if hasattr(signal, name)]


def end_with_parent() -> None:
    """Make this worker process end as soon as the process that started it has ended.

    A parent that is killed cannot end its workers, and a fork server between them lives as long
    as they do. A thread waits for the pipe to the parent, which the system closes however the
    parent ends; on Linux the kernel also ends the worker with the fork server. Keyboard interrupts
    reach the parent as well, which ends its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A worker that was forked has the handlers of its parent, and would write to its pipe.
    signal.set_wakeup_fd(-1)
    for number in ending_signals():
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


@contextmanager
def parallel_map(n_procs: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Give ``map``, whose calls are spread over new processes if there is more than one.

    Results are in the order of the arguments. What has not been started is left out where the
    block ends by an error.
    """
    if n_procs <= 1:
        yield map
        return
    from concurrent.futures import ProcessPoolExecutor  # not at the start of every command

    pool = ProcessPoolExecutor(n_procs, get_context("spawn"), initializer=end_with_parent)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def start_tracker() -> None:
    """Start Python's tracker of semaphores such that no signal to all processes ends it.

    It ignores SIGINT and SIGTERM by itself. If it ends before the processes that
    use it, Python starts a new one, which lacks their records and prints tracebacks.
    """
    with _blocking(ending_signals()):
        resource_tracker.ensure_running()


def start_fork_server() -> None:
    """Start the fork server such that a keyboard interrupt while it loads shows no traceback.

    It ignores SIGINT itself, but only after it has loaded its modules.
    """
    with _blocking([signal.SIGINT]):
        forkserver.ensure_running()


@contextmanager
def _blocking(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals, also in processes that are started; those that arrive here are not lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
