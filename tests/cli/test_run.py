from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("option", ["--help", "--version", "--list-atlases"])
def test_help_loads_nothing_heavy(option):
    """Help stays fast because it imports none of these, which take .2 s and more."""
    code = (
        "import sys\nfrom npi_bids.cli.run import main\n"
        f"try: main(['{option}'])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'numpy', 'torch', 'nilearn', 'nipype', 'pandas', 'matplotlib', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "npi-bids" in done.stdout or "Schaefer2018" in done.stdout


@pytest.mark.parametrize(("arguments", "words"), [
    (["{root}/none", "out", "participant"], "does not exist"),
    (["{root}", "out", "participant", "--participant-label", "77"], "no such subject"),
    (["{root}", "out", "participant", "--atlas", "Nowhere"], "no atlas of that name"),
])  # fmt: skip
def test_errors_of_the_input_load_nothing_heavy(tiny, tmp_path, arguments, words):
    given = [argument.format(root=tiny.root) for argument in [*arguments, "-w", "work"]]
    code = (
        "import sys\nfrom npi_bids.cli.run import main\n"
        f"assert main({given!r}) in (2, 3)\n"
        "heavy = {'torch', 'nilearn', 'nipype', 'matplotlib', 'sklearn', 'scipy.stats'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stderr
