from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("option", ["--help", "--version", "--list-atlases"])
def test_help_loads_nothing_heavy(option):
    """Help stays fast because it imports none of these (each takes a second or more)."""
    code = (
        "import sys\nfrom npi_bids.cli.run import main\n"
        f"try: main(['{option}'])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'nilearn', 'nipype', 'pandas', 'matplotlib', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "npi-bids" in done.stdout or "Schaefer2018" in done.stdout
