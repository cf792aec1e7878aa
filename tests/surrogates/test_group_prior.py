from __future__ import annotations

import numpy as np

from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.group_prior import rescale_group_linear, restrict
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows
from tests.surrogates.group_of_subjects import N, run_of, subjects


def test_a_network_without_a_region_ignores_it(pretrained):
    settings = TrainSettings(surrogate="mlp", epochs=2, n_lags=2)
    networks = pretrain(subjects(), settings).networks["all"]
    covered = np.arange(N) != 3
    small = restrict(networks, covered)
    history = np.random.default_rng(0).standard_normal((5, 2, N))
    history[:, :, 3] = 0.0

    def predict(weights, x):
        hidden = np.maximum(x @ weights["first.weight"].T + weights["first.bias"], 0)
        hidden = np.maximum(hidden @ weights["second.weight"].T + weights["second.bias"], 0)
        return hidden @ weights["third.weight"].T + weights["third.bias"]

    whole = predict(networks, history.reshape(5, -1))[:, covered]
    part = predict(small, history[:, :, covered].reshape(5, -1))
    np.testing.assert_allclose(part, whole, atol=1e-5)


def test_the_groups_surrogate_is_that_of_no_data(pretrained):
    windows = cut_windows([run_of(1)], 4)
    model = rescale_group_linear(windows, pretrained.prior)
    np.testing.assert_allclose(model.process.drift, pretrained.prior.process.drift)
