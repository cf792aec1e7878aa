"""A small whole-brain experiment that simulates within a second."""

import numpy as np

from npi_bids.inverse.observation import ObservationModel, make_protocol
from npi_bids.inverse.simulations import Experiment

N_REGIONS, N_SAMPLES, TR = 8, 200, 2.0


def connectome(seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(N_REGIONS, N_REGIONS)) * (rng.random((N_REGIONS,) * 2) < 0.5)
    np.fill_diagonal(weights, 0)
    return weights * 0.3148 / np.abs(np.linalg.eigvals(weights)).max()


def observation(name="white", keep=None, regressors=None):
    keep = np.ones(N_SAMPLES, bool) if keep is None else keep
    regressors = np.zeros((len(keep), 0)) if regressors is None else regressors
    return ObservationModel(name, TR, (make_protocol(keep, regressors, TR),))


def experiment(name="white", seed=0, model="hopf"):
    return Experiment(model, connectome(), observation(name), seed=seed)
