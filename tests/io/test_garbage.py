"""Python collects garbage less often while libraries are loaded, and as usual in nodes."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from npi_bids.cli.entry import run_command
from npi_bids.io.garbage import less_garbage_collection


@pytest.fixture(autouse=True)
def usual_thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_garbage_is_collected_less_often_until_the_context_ends():
    with less_garbage_collection():
        assert gc.get_threshold() == (50_000, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_garbage_is_collected_as_before_after_an_error():
    with pytest.raises(KeyError), less_garbage_collection():
        raise KeyError
    assert gc.get_threshold() == (700, 10, 10)


def test_commands_collect_garbage_less_often():
    thresholds = []
    assert run_command("npi-x", lambda _: thresholds.append(gc.get_threshold()) or 0, []) == 0
    assert thresholds == [(50_000, 10, 10)]


_POOLS = """
import gc, multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
from npi_bids.interfaces.workers import prepare_pools, prepare_worker

if __name__ == "__main__":
    prepare_pools(["json"])
    context = multiprocessing.get_context("forkserver")
    for options in ({}, {"initializer": prepare_worker, "initargs": (os.getcwd(),)}):
        with ProcessPoolExecutor(1, context, **options) as pool:
            print(pool.submit(gc.get_threshold).result()[0], gc.get_threshold()[0])
"""


def test_the_fork_server_collects_garbage_less_often_and_its_prepared_workers_as_usual(tmp_path):
    (tmp_path / "pools.py").write_text(_POOLS)
    command = [sys.executable, "pools.py"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    (server, usual), (worker, _) = (line.split() for line in done.stdout.splitlines())
    assert int(server) == 50_000
    assert worker == usual
