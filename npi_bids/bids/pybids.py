"""pybids, imported so that it depends on no home folder.

On import pybids looks for a file of settings in the home folder. It fails where that folder cannot
be read or does not exist, as for the users of containers, and its settings would change what is
found without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_home() -> Iterator[None]:
    """Let the home folder be one that does not exist."""
    home = os.environ.get("HOME")
    os.environ["HOME"] = "/nonexistent"
    try:
        yield
    finally:
        if home is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = home


with _no_home():
    from bids.layout import BIDSLayout, BIDSLayoutIndexer, Query
    from bids.layout.models import BIDSFile, Tag

__all__ = ["BIDSFile", "BIDSLayout", "BIDSLayoutIndexer", "Query", "Tag"]
