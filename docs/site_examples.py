"""The reports that the site links to: made once for each state of the code, and copied."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parent
_DEMO, _CASES = Path("demo/hybrid"), Path("cases/results")
_NOT_SHOWN = shutil.ignore_patterns("*.safetensors", "*.npz", "crash*", "20*")
# Where the pages of each run stand in the site.
SITES = {_DEMO: "demo", _CASES: "cases"}


def copy_examples(made: Path, site: Path) -> None:
    """Make the reports where the code has changed since, and copy their pages to the site.

    Parameters
    ----------
    made
        Folder of the datasets and results, kept between builds.
    site
        Root of the site.
    """
    stamp = made / "code.txt"
    digest = code_digest()
    if not stamp.is_file() or stamp.read_text() != digest:
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(DOCS / "example_reports.py"), str(made)]
        with (made / "log.txt").open("w") as log:
            done = subprocess.run(  # noqa: S603 (our own command)
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{command} failed; see {made / 'log.txt'}.")
        stamp.write_text(digest)
    for results, name in SITES.items():
        shutil.rmtree(site / name, ignore_errors=True)
        shutil.copytree(made / results, site / name, ignore=_NOT_SHOWN)


def code_digest(*more: Path) -> str:
    """Return a digest of all code that shapes the reports, and of more files below the project."""
    root = DOCS.parent
    files = [*(root / "npi_bids").rglob("*"), *(root / "workflows").rglob("*.py"),
             DOCS / "example_reports.py", *more]  # fmt: skip
    contents = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file() and "__pycache__" not in path.parts
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
