"""Read Nipype's crash files: which node failed, and with what words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NODE = re.compile(r"^Node: (\S+)", re.MULTILINE)
_ERROR = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Exit|Interrupt|Warning)): ?(.*)$")


@dataclass(frozen=True, slots=True)
class Crash:
    """One failed node: its full name, the class of the error, its words, and the file."""

    node: str
    error: str
    message: str
    path: Path


def read_crashes(folder: Path) -> list[Crash]:
    """Return the crashes that a run left, in the order of time."""
    crashes = []
    for path in sorted(folder.glob("crash-*.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        node = _NODE.search(text)
        error, message = _last_error(text)
        crashes.append(Crash(node[1] if node else path.name, error, message, path))
    return crashes


def _last_error(text: str) -> tuple[str, str]:
    """Return the error that a crash file ends with; chained ones stand before it."""
    found = ("", "the crash file does not say")
    for line in text.splitlines():
        match = _ERROR.match(line.strip())
        if match and match[1] != "NodeExecutionError":
            found = (match[1], match[2])
    return found
