"""Python looks for garbage rarely while libraries are loaded, and as usual while nodes run."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from npi_bids.cli.entry import run_command
from npi_bids.io.garbage import COLLECTED_BY_DEFAULT, rare_collections


def test_garbage_is_looked_for_rarely_until_the_context_ends():
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before
    with pytest.raises(KeyError), rare_collections():
        raise KeyError
    assert gc.get_threshold() == before


def test_a_command_loads_its_libraries_in_such_a_context():
    found = []
    assert run_command("npi-x", lambda _: found.append(gc.get_threshold()) or 0, []) == 0
    assert found[0][0] > COLLECTED_BY_DEFAULT[0]


def test_the_fork_server_loads_rarely_collecting_and_its_workers_collect_as_usual(tmp_path):
    code = (
        "import gc; usual = gc.get_threshold()\n"
        "import npi_bids.interfaces.preloading\n"
        "assert gc.get_threshold()[0] > usual[0]\n"
        "from npi_bids.interfaces import workers\n"
        "workers.end_with_parent = lambda: None\n"
        f"workers.prepare_worker({str(tmp_path)!r})\n"
        "assert gc.get_threshold() == usual and gc.get_freeze_count()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
