"""Accuracy of the maps of subjects that gain from their group.

Twelve regions, of which four are alone; every subject has the common network and differences of
half its size. Prints, over data sets, the mean correlation of a subject's map with its truth, that
of the deviations from the mean of all subjects, and the root mean square error in thousandths: of
maps alone, of those without prior, of those of ``pretrain``, of those shrunk by the same variance
towards the mean of the *other* subjects (which is why nothing does so), and of the maps of
``--subject-maps blup``; and the mean own share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.group_series import (
    SETTINGS,
    N,
    common_drift,
    draw_network,
    run_of,
)
from benchmarks.table import save, show
from npi_bids.connectivity.perturbation import mean_jacobian
from npi_bids.group.subject_maps import fit_shrinkage, shrink
from npi_bids.matrices import pearson
from npi_bids.records import Array, RegionSeries
from npi_bids.surrogates.base import Surrogate
from npi_bids.surrogates.between_subjects import own_share
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.group_prior import rescale_group_linear
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows, split_windows

SEED = 37400  # of the networks; data set k of a case has the seed SEED + 1000 * case + k
CASES = ((8, (150,), 12), (24, (150,), 5), (8, (100, 400), 10))  # subjects, samples, data sets
COLUMNS = ("r", "r deviations", "RMS x 1000", "own share")
WAYS = ("alone", "prior removed", "pretrain", "pretrain, left out", "BLUP")


def main() -> int:
    """Run the benchmark; fail if deviations are turned round, or maps gain nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", type=int, default=list(range(len(CASES))))
    args = parser.parse_args()
    content = {}
    well = True
    for case in args.cases:
        n_subjects, lengths, n_sets = CASES[case]
        name = f"n = {n_subjects}, T = {'/'.join(map(str, lengths))}, {n_sets} data sets"
        figures = np.array([measure(case, number) for number in range(n_sets)])
        mean = np.nanmean(figures, axis=0)
        content[name] = {way: mean[row].tolist() for row, way in enumerate(WAYS)}
        show(name, COLUMNS, content[name])
        gains = mean[[2, 4], 0] > mean[:2, 0].max()
        well &= bool(gains.all() and not (figures[:, [2, 4], 1] < 0).any())
    save("subject_maps", {"columns": COLUMNS, "rows": content, "seed": SEED})
    return 0 if well else 1


def measure(case: int, number: int) -> Array:
    """Return the figures of one data set, one row for each way."""
    n_subjects, lengths, _ = CASES[case]
    rng = np.random.default_rng(SEED + 1000 * case + number)
    common = common_drift(rng)
    drawn = [draw_network(rng, common, lengths[i % len(lengths)]) for i in range(n_subjects)]
    runs = [run_of(signals) for signals, _ in drawn]
    truth = np.array([_off(matrix) for _, matrix in drawn])
    maps, shares = make_maps(runs)
    mean_truth = truth.mean(axis=0)
    figures = []
    for way in WAYS:
        found = maps[way]
        mean = found.mean(axis=0)
        pairs = list(zip(found, truth, strict=True))
        figures.append((
            np.mean([pearson(one, true) for one, true in pairs]),
            np.mean([pearson(one - mean, true - mean_truth) for one, true in pairs]),
            1000 * np.sqrt(np.mean((found - truth) ** 2) * N / (N - 1)),
            shares.get(way, np.nan),
        ))  # fmt: skip
    return np.array(figures)


def make_maps(runs: Sequence[RegionSeries]) -> tuple[dict[str, Array], dict[str, float]]:
    """Return the maps of all subjects by the way they were made, and mean own shares."""
    stored = pretrain(lambda: ((str(n), [run]) for n, run in enumerate(runs)), SETTINGS)
    maps: dict[str, list[Array]] = {way: [] for way in WAYS[:4]}
    halves, n_windows, shares = [], [], []
    for number, run in enumerate(runs):
        windows = cut_windows([run], SETTINGS.n_lags or 1)
        nothing = windows.take(slice(0))
        alone, _ = fit_surrogate(windows, nothing, SETTINGS)
        prior = stored.build_prior(str(number))
        member, _ = fit_surrogate(windows, nothing, SETTINGS, None, prior)
        others, _ = fit_surrogate(windows, nothing, SETTINGS, None, prior.for_prediction)
        unshrunk = alone.without_prior(windows)
        for way, model in zip(WAYS, (alone, unshrunk, member, others), strict=False):
            maps[way].append(_map_of(model))
        group = _map_of(rescale_group_linear(windows, prior))
        of_group = _map_of(member.without_prior(windows))
        shares.append(own_share(maps["pretrain"][-1], of_group, group).all)
        halves.append([_map_of(alone.without_prior(half)) for half in split_windows(windows, 0.5)])
        n_windows.append(len(windows))
    stacked = {way: np.array(found) for way, found in maps.items()}
    flat = stacked["prior removed"].reshape(len(runs), -1)
    shrinkage = fit_shrinkage(flat, halves, np.array(n_windows, dtype=float))
    stacked["BLUP"] = np.array([
        shrink(matrix, shrinkage, row) for row, matrix in enumerate(stacked["prior removed"])
    ])  # fmt: skip
    blup_share = float(shrinkage.own_shares.mean())
    return stacked, {"pretrain": float(np.mean(shares)), "BLUP": blup_share}


def _map_of(surrogate: Surrogate) -> Array:
    return _off(mean_jacobian(surrogate, np.zeros((1, surrogate.n_lags, N))))


def _off(matrix: Array) -> Array:
    return matrix * (1 - np.eye(N))


if __name__ == "__main__":
    sys.exit(main())
