"""A process with regions enough for delays, and how well a fit to it scores."""

import numpy as np

from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import RegionSeries

N, T = 12, 3000


def run_of(signals):
    scaled = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    labels = tuple(f"R{place}" for place in range(signals.shape[1]))
    return RegionSeries(scaled, labels, 1.0, np.ones(len(signals), dtype=bool))


def scores(fit, ec):
    found = fit.transition
    return (
        pearson(found, ec),
        pearson(antisymmetric(found), antisymmetric(ec)),
    )
