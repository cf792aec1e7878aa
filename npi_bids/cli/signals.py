"""Signals: a command that is asked to end does so in order, with a message."""

from __future__ import annotations

import _imp
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from multiprocessing import forkserver
from types import FrameType
from typing import Any, Protocol

from npi_bids.io.lifeline import ending_signals

# Seconds for the main thread to end in order; cluster schedulers kill after 10 or more.
_PATIENCE = 5.0
# Seconds between attempts to deliver a signal that came at a bad moment.
_PAUSE = 0.05
# The function of importlib that calls the code of a compiled module, its argument ``f``.
_LOADER = "_call_with_frames_removed"
_MAIN = threading.main_thread().ident or 0


class Command(Protocol):
    """The entry point of a command; reads ``sys.argv`` if it is called without arguments."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Run the command and return the exit code."""


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


def interruptible(program: str, advice: str) -> Callable[[Command], Command]:
    """Decorate the entry point of a command, so that it ends in order when a signal asks for it.

    Its worker processes are killed at once. The main thread removes what it was writing, the
    command says what happened and what to do, and returns 128 plus the number of the signal, as
    shells do. A main thread that does not end within a few seconds, because it computes or
    because a library swallowed the interrupt, is ended by another thread.

    Parameters
    ----------
    program
        Name of the command.
    advice
        What the user can do next, as a sentence.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def guarded(argv: Sequence[str] | None = None) -> int:
            if threading.current_thread() is not threading.main_thread():
                return command(argv)  # signals are handled by the main thread alone
            return _Guard(program, advice).run(command, argv)

        return guarded

    return decorate


def end_workers() -> None:
    """Kill all worker processes that this process has started through multiprocessing.

    And the server that forks them, which does not notice the end of this process while it loads
    modules.
    """
    for child in multiprocessing.active_children():
        child.kill()
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class _Guard:
    """Handlers of signals, and a thread that notices signals while the main thread computes."""

    def __init__(self, program: str, advice: str) -> None:
        self.program, self.advice = program, advice
        self._received = 0
        self._running = False
        self._postponed = False
        self._before: dict[int, Any] = {}
        self._pipe = os.pipe()
        self._ended = threading.Event()

    def run(self, command: Command, argv: Sequence[str] | None) -> int:
        """Run a command, and return its exit code or that of the signal."""
        code = number = 0
        try:
            self._install()
            self._running = True
            if self._received:
                raise Interrupted
            code = command(argv)
            self._running = False
        except BaseException as error:
            self._running = False
            if not self._received and not isinstance(error, KeyboardInterrupt):
                raise
            number = signal.SIGINT
        finally:
            self._uninstall(exiting=argv is None)
        number = self._received or number
        if not number:
            return code
        end_workers()
        self._say(number)
        return 128 + number

    def _install(self) -> None:
        # No signal is delivered, to the main thread or to the new one, before all handlers are in
        # place; the new thread leaves all signals to the others.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        os.set_blocking(self._pipe[1], False)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        for number in ending_signals():
            # nohup and shells without job control ignore signals on purpose.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    def _uninstall(self, *, exiting: bool) -> None:
        """Restore the signal handlers; if the process is exiting, signals end it silently."""
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if exiting else before)
        signal.set_wakeup_fd(-1)
        if not (exiting and self._received):  # else the thread watches to the very end
            self._ended.set()
            os.close(self._pipe[1])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._postponed = self._running and _initialises_extension(frame)
        if self._postponed:
            return
        self._received = number
        for other in self._before:
            signal.signal(other, signal.SIG_DFL)  # a second signal ends the process at once
        # An interrupt that hits a destructor is lost there; the thread ends the process then.
        sys.unraisablehook = lambda _: None
        if self._running:
            raise Interrupted

    def _watch(self) -> None:
        """Wait for a signal, kill the workers, and end the process where nothing else does."""
        number = self._next_signal()
        if number:
            end_workers()
            if not self._wait_for_end(number):
                end_workers()
                self._say(number)
                os._exit(128 + number)
        os.close(self._pipe[0])

    def _wait_for_end(self, number: int) -> bool:
        """Wait until the main thread has ended in order, and repeat a signal that it postponed."""
        end = time.monotonic() + _PATIENCE
        while (left := end - time.monotonic()) > 0:
            if self._ended.wait(min(left, _PAUSE)):
                return True
            if self._postponed:
                signal.pthread_kill(_MAIN, number)
        return False

    def _next_signal(self) -> int:
        while received := os.read(self._pipe[0], 1):
            if received[0] in self._before:
                return received[0]
        return 0

    def _say(self, number: int) -> None:
        name = signal.Signals(number).name
        word = "interrupted" if number == signal.SIGINT else f"ended by {name}"
        for stream, text in (
            (sys.stderr, f"{self.program}: {word}; {self.advice}\n"),
            (sys.stdout, ""),
        ):
            try:
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):  # the terminal is gone
                with suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _initialises_extension(frame: FrameType | None) -> bool:
    """Tell whether a compiled module is being loaded.

    Python code that its C++ code calls, as that of torch does, must not be interrupted: the
    exception would pass through frames that cannot handle it, and the process would abort.
    """
    loads = (_imp.create_dynamic, _imp.exec_dynamic)
    while frame is not None:
        if frame.f_code.co_name == _LOADER and frame.f_locals.get("f") in loads:
            return True
        frame = frame.f_back
    return False
