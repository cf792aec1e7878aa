"""Methods that infer a directed map from regional series: ours, the published ones, and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
from sklearn.linear_model import LassoLarsIC

from benchmarks.rivals import granger_causality, pcmci
from npi_bids.connectivity.measures import (
    functional_connectivity,
    lagged_correlation,
    oriented_correlation,
    partial_correlation,
    uncensored_samples,
)
from npi_bids.connectivity.perturbation import infer_ec
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.matrices import symmetric
from npi_bids.records import Array, RegionSeries, Windows
from npi_bids.surrogates.base import TrainSettings, preset, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.windows import cut_windows, split_windows

Method = Callable[[Sequence[RegionSeries]], Array]


def surrogate(settings: TrainSettings) -> Method:
    """Return a method that trains a surrogate as the app does, and perturbs it."""

    def infer(runs: Sequence[RegionSeries]) -> Array:
        resolved = resolve(settings)
        windows = cut_windows(runs, resolved.n_lags or 1)
        learn, check = split_windows(windows, resolved.train_fraction)
        model, _ = fit_surrogate(learn, check, resolved)
        if resolved.refit:
            model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), resolved, model)
        return infer_ec(model, windows.history, PerturbSettings())

    return infer


def methods(*, published: Sequence[str] = ("mlp",), slow: bool = True) -> dict[str, Method]:
    """Return the methods by name, including ``published`` networks and ``slow`` methods."""
    by_name: dict[str, Method] = {
        "hybrid (default)": surrogate(TrainSettings(device="cpu")),
        "mou": surrogate(TrainSettings(surrogate="mou", device="cpu")),
        "var, ridge": surrogate(TrainSettings(surrogate="var", device="cpu")),
        "var(3), ridge": surrogate(TrainSettings(surrogate="var", n_lags=3, device="cpu")),
        "rDCM": surrogate(TrainSettings(surrogate="rdcm", device="cpu")),
        **{
            f"luo2025 {name}": surrogate(preset("luo2025", surrogate=name, device="cpu"))
            for name in published
        },
        "var, least squares": _on_windows(_least_squares),
        "var, lasso": _on_windows(_lasso),
        "impulse response": _on_windows(_impulse_response),
        "lag-1 correlation": _on_windows(lagged_correlation),
        "FC": functional_connectivity,
        "partial correlation": lambda runs: partial_correlation(uncensored_samples(runs)),
        "oriented": lambda runs: oriented_correlation(uncensored_samples(runs)),
    }
    if slow and find_spec("statsmodels"):
        by_name["Granger"] = _granger
    if slow and find_spec("tigramite"):
        by_name["PCMCI"] = _pcmci
    return by_name


def rivals() -> dict[str, Method]:
    """Return NPI, by default and as published, and the methods that it is compared with."""
    return {
        "NPI": surrogate(TrainSettings(device="cpu")),
        "NPI as published": surrogate(preset("luo2025", device="cpu")),
        "rDCM": surrogate(TrainSettings(surrogate="rdcm", device="cpu")),
        "Granger": granger_causality,
        "PCMCI": pcmci,
        "partial correlation": lambda runs: symmetric(
            partial_correlation(uncensored_samples(runs))
        ),
    }


def _on_windows(method: Callable[[Windows], Array]) -> Method:
    return lambda runs: method(cut_windows(runs, 1))


def _least_squares(windows: Windows) -> Array:
    past = windows.history[:, -1] - windows.history[:, -1].mean(axis=0)
    weights: Array = np.linalg.lstsq(past, windows.target, rcond=None)[0]
    return weights


def _lasso(windows: Windows) -> Array:
    columns = [
        LassoLarsIC("bic").fit(windows.history[:, -1], target).coef_ for target in windows.target.T
    ]
    return np.array(columns).T


def _impulse_response(windows: Windows) -> Array:
    """Return the generalised impulse response of a VAR after one step (Pesaran and Shin 1998)."""
    weights = _least_squares(windows)
    past = windows.history[:, -1] - windows.history[:, -1].mean(axis=0)
    residuals = windows.target - windows.target.mean(axis=0) - past @ weights
    noise = residuals.T @ residuals / len(residuals)
    response: Array = (noise / np.sqrt(np.diag(noise))[:, None]) @ weights
    return response


def _granger(runs: Sequence[RegionSeries]) -> Array:
    """Return conditional Granger causality: signed -log10 p of each weight of a VAR."""
    from statsmodels.tsa.api import VAR  # optional, and slow to import

    fitted = VAR(np.concatenate([run.data for run in runs])).fit(1)
    evidence: Array = -np.log10(np.maximum(fitted.pvalues[1:], 1e-300))
    return np.sign(fitted.params[1:]) * evidence


def _pcmci(runs: Sequence[RegionSeries]) -> Array:
    """Return the lag-1 partial correlations of PCMCI (Runge et al. 2019)."""
    from tigramite import data_processing
    from tigramite.independence_tests.parcorr import ParCorr
    from tigramite.pcmci import PCMCI

    data = data_processing.DataFrame(np.concatenate([run.data for run in runs]))
    results = PCMCI(dataframe=data, cond_ind_test=ParCorr()).run_pcmci(tau_min=1, tau_max=1)
    values: Array = results["val_matrix"][:, :, 1]
    return values
