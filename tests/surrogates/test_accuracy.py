"""The published surrogates reach the published accuracy on the released benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from npi_bids.connectivity.perturbation import infer_ec, mean_jacobian, perturb_each
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import RegionSeries
from npi_bids.surrogates.base import TrainSettings, preset, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.training import threads
from npi_bids.surrogates.windows import (
    cut_windows,
    split_windows,
)

# Mean r_EC of seeds 0-9 at 8000 samples; three of the packaged seeds may differ by .02.
PUBLISHED = {"mlp": 0.91, "cnn": 0.95, "rnn": 0.97, "var": 0.97}
SEEDS = ("00", "04", "08", "12", "16", "20")


def load(folder, seed):
    stored = np.load(folder / "npi_rnn_sim" / f"rnn_n20_T8000_seed{seed}.npz")
    x = stored["ts"].astype(float)
    labels = tuple(f"R{n}" for n in range(x.shape[1]))
    return RegionSeries(x, labels, 1.0, np.ones(len(x), dtype=bool)), stored["real_EC_src_row"]


def mean_r(folder, settings, seeds):
    """Return the mean r of map and Jacobian, without what the verdict needs beyond them."""
    settings = resolve(settings)
    found = []
    for seed in seeds:
        run, truth = load(folder, seed)
        windows = cut_windows([run], settings.n_lags)
        learn, check = split_windows(windows, settings.train_fraction)
        with threads(1):
            model, _ = fit_surrogate(learn, check, settings)
            if settings.refit:
                model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings, model)
            maps = (
                infer_ec(model, windows.history, PerturbSettings()),
                mean_jacobian(model, windows.history),
            )
        found.append([pearson(matrix, truth) for matrix in maps])
    return np.mean(found, axis=0)


@pytest.mark.accuracy
@pytest.mark.parametrize("surrogate", PUBLISHED)
def test_preset_reaches_the_published_accuracy(shared_data, surrogate):
    settings = preset("luo2025", surrogate=surrogate, device="cpu")
    by_perturbation, by_jacobian = mean_r(shared_data, settings, SEEDS[::2])
    assert by_perturbation == pytest.approx(PUBLISHED[surrogate], abs=0.02)
    assert by_jacobian == pytest.approx(PUBLISHED[surrogate], abs=0.02)


def test_default_beats_the_published_surrogate(shared_data):
    by_perturbation, _ = mean_r(shared_data, TrainSettings(device="cpu"), SEEDS)
    assert by_perturbation > 0.985


def test_transposed_map_does_not_agree_with_the_truth(shared_data):
    run, truth = load(shared_data, "00")
    found = ec_of_runs([run], train=TrainSettings(), perturb=PerturbSettings()).measures["npi"]
    assert pearson(antisymmetric(found.matrix), antisymmetric(truth)) > 0.97
    assert pearson(found.matrix.T, truth) < 0.2


def test_default_beats_the_published_lengths(shared_data):
    """The targets are those of the best recipe known before; whole-length fits are above."""
    for n_samples, target in ((400, 0.84), (800, 0.915), (1600, 0.95)):
        settings = resolve(TrainSettings(device="cpu"))
        found = []
        for seed in SEEDS:
            run, truth = load(shared_data, seed)
            short = RegionSeries(run.data[:n_samples], run.labels, run.tr, run.keep[:n_samples])
            windows = cut_windows([short], settings.n_lags)
            with threads(1):
                model, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings)
            found.append(pearson(infer_ec(model, windows.history, PerturbSettings()), truth))
        assert np.mean(found) > target


def test_fast_perturbation_equals_the_plain_loop_on_the_benchmark(shared_data):
    run, _ = load(shared_data, "00")
    windows = cut_windows([run], 3)
    settings = preset("luo2025", epochs=1, device="cpu")
    with threads(1):
        model = ec_of_runs([run], train=settings, perturb=PerturbSettings()).surrogate
        fast = infer_ec(model, windows.history, PerturbSettings())
        plain = perturb_each(model, windows.history, 1.0)
    np.testing.assert_allclose(fast, plain, atol=1e-5)
