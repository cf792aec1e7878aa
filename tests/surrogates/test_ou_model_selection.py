from __future__ import annotations

import numpy as np

from npi_bids.surrogates.base import TrainSettings
from tests.surrogates.ou_signals import MOU_SETTINGS, fit, sampled


def test_whitening_only_where_lagged_samples_of_others_say_nothing(process):
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((3000, 3)) @ (np.eye(3) + 0.4)
    smooth = np.apply_along_axis(lambda x: np.convolve(x, [1, 1, 1, 1])[:3000], 0, mixed)
    assert fit(smooth, MOU_SETTINGS)[1]["whitening_order"] > 0
    assert fit(sampled(process, 3000, 1), MOU_SETTINGS)[1]["whitening_order"] == 0
    never = TrainSettings(surrogate="mou", whitening="off", device="cpu")
    assert fit(smooth, never)[1]["whitening_order"] == 0
