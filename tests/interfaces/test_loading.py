"""Nodes load only what they need: each library takes a second of every worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SLOW = {"torch", "sklearn", "matplotlib", "scipy.stats", "scipy.signal"}


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("bids.writing", set()),  # runs and models are saved
        ("parcellation.extraction", set()),
        ("reports.subject", {"matplotlib"}),
        ("inference", {"torch"}),
    ],
)
def test_what_a_node_does_not_need_is_not_loaded(module, needed):
    code = f"import sys, npi_bids.{module}; print(*sorted({_SLOW} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) == needed
