"""Ridge regression with a penalty chosen by leave-one-out."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.surrogates.ridge import _PENALTIES, fit_ridge


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0, 3.0, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_penalty_is_the_best_of_all_candidates(noise, seed):
    rng = np.random.default_rng(seed)
    design = rng.standard_normal((60, 20)) * 10 ** rng.uniform(-2, 1, 20)
    target = design @ rng.standard_normal((20, 8)) + noise * rng.standard_normal((60, 8))
    singular = np.linalg.svd(design - design.mean(axis=0), compute_uv=False)
    penalties = _PENALTIES * np.mean(singular**2)
    errors = [fit_ridge(design, target, penalty).mse for penalty in penalties]
    fitted = fit_ridge(design, target)
    assert fitted.penalty == pytest.approx(penalties[int(np.argmin(errors))])
    assert fitted.mse == pytest.approx(min(errors))
