"""Lifetime of worker processes, which never outlive the process that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import resource_tracker

_PR_SET_PDEATHSIG = 1  # of prctl(2)


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
    for number in (signal.SIGTERM, signal.SIGHUP):
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


def start_tracker() -> None:
    """Start Python's tracker of semaphores such that closing the terminal does not end it.

    It ignores the other signals that ask a process to end. If it ends before the processes that
    use it, Python starts a new one, which lacks their records and prints tracebacks.
    """
    # A process inherits the blocked signals; signals that arrive here meanwhile are not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
