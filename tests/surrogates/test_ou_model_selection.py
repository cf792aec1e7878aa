from __future__ import annotations

import numpy as np

from npi_bids.matrices import pearson
from npi_bids.records import RegionSeries
from npi_bids.surrogates import ou_model_selection
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.ou import choose_process
from npi_bids.surrogates.ou_model_selection import least_held_out_error
from npi_bids.surrogates.windows import cut_windows, standardise
from tests.surrogates.ou_signals import MOU_SETTINGS, fast_process, fit, sampled


def test_whitening_only_where_lagged_samples_of_others_say_nothing(process):
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((3000, 3)) @ (np.eye(3) + 0.4)
    smooth = np.apply_along_axis(lambda x: np.convolve(x, [1, 1, 1, 1])[:3000], 0, mixed)
    assert fit(smooth, MOU_SETTINGS)[1]["whitening_order"] > 0
    assert fit(sampled(process, 3000, 1), MOU_SETTINGS)[1]["whitening_order"] == 0
    never = TrainSettings(surrogate="mou", whitening="off", device="cpu")
    assert fit(smooth, never)[1]["whitening_order"] == 0


def windows_of(process, n_samples):
    signals = sampled(process, n_samples, 1)
    run = RegionSeries(signals, ("A", "B", "C"), 1.0, np.ones(n_samples, dtype=bool))
    return cut_windows([run], 3)


def test_choices_on_more_windows_are_those_from_scratch_with_fewer_fits(process, monkeypatch):
    windows = windows_of(process, 600)
    first = choose_process(windows.take(slice(0, 480)), "auto")
    fits, fit_ou = [], ou_model_selection.fit_ou

    def counted(*args, **options):
        fits.append(args[1])
        return fit_ou(*args, **options)

    monkeypatch.setattr(ou_model_selection, "fit_ou", counted)
    anew = choose_process(windows, "auto")
    n_anew = len(fits)
    again = choose_process(windows, "auto", first)
    assert len(fits) - n_anew < n_anew
    assert again.precision == anew.precision
    assert again.concentration == anew.concentration
    assert (len(again.memory), len(again.whitening)) == (len(anew.memory), len(anew.whitening))
    assert again.n_windows == len(windows)


def test_the_least_error_of_all_regions_is_that_of_the_choices(process):
    windows = windows_of(process, 600)
    choices = choose_process(windows, "auto")
    error = least_held_out_error(standardise(windows), choices)
    np.testing.assert_allclose(error, min(choices.error, choices.var_error), rtol=1e-4)
    shuffled = np.random.default_rng(0).permutation(len(windows))
    unrelated = windows.take(shuffled)
    unrelated.target[:] = windows.target
    assert least_held_out_error(standardise(unrelated), choices) > 1.3 * error


def test_where_regions_forget_within_a_sample_the_likelihood_tells_precisions():
    """Errors of prediction do not: they are all but those of white noise."""
    process = fast_process(3.5, 16)
    found, details, windows = fit(sampled(process, 1500, 0), MOU_SETTINGS)
    choices = choose_process(windows, "auto")
    assert choices.error > 0.9
    assert choices.concentration == 0
    assert details["precision_symmetric"] < 100
    assert pearson(found.process.transition, process.transition) > 0.8
    unrelated = np.random.default_rng(0).standard_normal((1500, 16))
    assert fit(unrelated, MOU_SETTINGS)[1]["precision_symmetric"] > 100
