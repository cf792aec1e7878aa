"""Power of tests over sessions (``--model session``), beside what ignores the pairing.

Maps of 10 regions (90 connections) of subjects with two or three sessions: a trait of each
subject (SD 1) and errors of each session (SD 1). In 9 connections the mean changes with the
session, by ``EFFECT`` at the last one; with three sessions, by half of it at the second. With
``group``, only every other subject changes. Reported are the share of the changed connections
that are found at q < .05 and at a family-wise p < .05 of the largest statistic, and the share of
data sets with an unchanged connection at that family-wise p.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.table import save, show
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.permutation import permute
from npi_bids.group.sessions import build_visit_model
from npi_bids.group.settings import ModelSettings, PermuteSettings
from npi_bids.records import Array

N_REGIONS, N_CHANGED, EFFECT = 10, 9, 1.2
SEED = 30100
_DESIGNS = {
    "two sessions": (2, "session", ()),
    "two sessions, as if of different subjects": (2, "", ()),
    "three sessions, F": (3, "session", ()),
    "three sessions, 03 - 01": (3, "session", ("03 - 01",)),
    "group:session, two sessions": (2, "group * session", ("group[T.patient]:session[T.02]",)),
}


def draw_maps(
    rng: np.random.Generator, n_subjects: int, n_sessions: int, *, groups: bool
) -> Array:
    """Return maps of all visits, shape (n_subjects * n_sessions, n_connections)."""
    n_edges = N_REGIONS * (N_REGIONS - 1)
    trait = rng.standard_normal((n_subjects, 1, n_edges))
    maps = trait + rng.standard_normal((n_subjects, n_sessions, n_edges))
    growth = np.arange(n_sessions) / (n_sessions - 1) * EFFECT
    changes = np.arange(n_subjects) % 2 == 1 if groups else np.ones(n_subjects, dtype=bool)
    maps[:, :, :N_CHANGED] += (changes[:, None] * growth)[:, :, None]
    return maps.reshape(n_subjects * n_sessions, n_edges)


def test_maps(maps: Array, name: str, n_subjects: int, seed: int) -> tuple[Array, Array]:
    """Return q and family-wise p of each connection."""
    n_sessions, formula, contrasts = _DESIGNS[name]
    settings = PermuteSettings(n_permutations=199, network_statistic="none", group_seed=seed)
    if formula:
        rows = [
            {"participant_id": f"sub-{s:02d}", "session": f"{v + 1:02d}", "n_windows": 100,
             "group": "patient" if s % 2 else "control"}
            for s in range(n_subjects) for v in range(n_sessions)
        ]  # fmt: skip
        model = ModelSettings(formula=formula, contrast=contrasts, motion_covariate=False)
        visits = build_visit_model(rows, model)
        tested = visits.test(visits.built.design.contrasts[0])
        edges, design = tested.prepare(maps)
        contrast = tested.contrast
    else:
        session = np.tile(np.arange(2.0), n_subjects)
        contrast = Contrast("session", np.array([[0.0, 1.0]]))
        matrix = np.column_stack([np.ones(len(maps)), session])
        edges, design = maps, Design(matrix, ("1", "session"), (), np.zeros(len(maps)))
    square = np.full((len(edges), N_REGIONS, N_REGIONS), np.nan)
    off = ~np.eye(N_REGIONS, dtype=bool)
    square[:, off] = edges
    p_fwe = permute(square.reshape(len(edges), -1), N_REGIONS, design, contrast, settings).p_fwe
    return estimate(edges, design, contrast).q, p_fwe.reshape(N_REGIONS, N_REGIONS)[off]


def measure(name: str, n_subjects: int, n_sets: int) -> list[float]:
    """Return power at q < .05 and family-wise, and the rate of any family-wise false positive."""
    outcomes = []
    for number in range(n_sets):
        rng = np.random.default_rng([SEED, n_subjects, number])
        n_sessions, formula, _ = _DESIGNS[name]
        maps = draw_maps(rng, n_subjects, n_sessions, groups="group" in formula)
        q, p_fwe = test_maps(maps, name, n_subjects, number)
        outcomes.append([
            (q[:N_CHANGED] < 0.05).mean(), (p_fwe[:N_CHANGED] <= 0.05).mean(),
            float((p_fwe[N_CHANGED:] <= 0.05).any()),
        ])  # fmt: skip
    return [float(value) for value in np.mean(outcomes, axis=0)]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-sets", type=int, default=100)
    parser.add_argument("--n-subjects", type=int, nargs="+", default=[8, 12, 20])
    args = parser.parse_args()
    rows = {
        f"{name}, n = {n}": measure(name, n, args.n_sets)
        for name in _DESIGNS
        for n in args.n_subjects
    }
    show("Power of tests over sessions", ("q < .05", "max-T", "false, max-T"), rows)
    save("session_power", {**rows, "n_sets": args.n_sets})


if __name__ == "__main__":
    main()
