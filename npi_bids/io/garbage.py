"""How often Python looks for garbage while libraries are loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECTED_BY_DEFAULT = gc.get_threshold()
# Loading creates some million objects and hardly any garbage; the search for it takes a sixth of
# the time to load torch, nilearn and Nipype.
_WHILE_LOADING = (50_000, 50, 50)


def collect_rarely() -> None:
    """Look for garbage rarely from now on."""
    gc.set_threshold(*_WHILE_LOADING)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for garbage rarely until the context ends."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
