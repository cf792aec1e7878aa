"""Subjects for tests whose networks have something in common."""

from __future__ import annotations

import numpy as np

from npi_bids.records import RegionSeries
from npi_bids.simulate.linear import LinearSystem, simulate_linear, sparse_drift
from npi_bids.surrogates.base import TrainSettings

N, N_SUBJECTS = 8, 8
LABELS = tuple("ABCDEFGH")

MOU = TrainSettings(surrogate="mou")


def weights_of(subject):
    """Return the subject's own network: what all share, and a third as much of its own."""
    shared = sparse_drift(N, 1.2, np.random.default_rng(0))
    own = sparse_drift(N, 0.4, np.random.default_rng(10 + subject))
    return 0.5 * (np.eye(N) + shared + own)


def run_of(subject, n_samples=150):
    system = LinearSystem(weights_of(subject), np.eye(N))
    rng = np.random.default_rng(100 + subject)
    data = simulate_linear(system, n_runs=1, n_samples=n_samples, rng=rng)[0]
    scaled = (data - data.mean(axis=0)) / data.std(axis=0)
    return RegionSeries(scaled, LABELS, 2.0, np.ones(n_samples, dtype=bool))


def subjects(change=lambda subject, run: run, n=N_SUBJECTS):
    def give():
        for subject in range(n):
            yield str(subject), [change(subject, run_of(subject))]

    return give
