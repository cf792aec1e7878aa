"""How often Python collects garbage while libraries are loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULT_THRESHOLDS = gc.get_threshold()
# Loading libraries creates some million objects and hardly any garbage. Older generations are
# collected after as many collections of the youngest as by default.
_RAISED_THRESHOLD = 50_000


def collect_garbage_less_often() -> None:
    """Raise the number of new objects after which garbage is collected."""
    gc.set_threshold(_RAISED_THRESHOLD)


@contextmanager
def less_garbage_collection() -> Iterator[None]:
    """Collect garbage less often until the context ends."""
    before = gc.get_threshold()
    collect_garbage_less_often()
    try:
        yield
    finally:
        gc.set_threshold(*before)
