"""The observation model of a subject."""

import numpy as np
import pytest
from nilearn.signal import clean

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.inverse.observation import (
    Filters,
    ObservationModel,
    make_protocol,
    observation_prior,
    scale_run,
)
from tests.inverse.small import N_SAMPLES, TR, observation

NO_REGRESSORS = np.zeros((N_SAMPLES, 0))


def keep_most():
    keep = np.ones(N_SAMPLES, bool)
    keep[:4] = keep[50:57] = False
    return keep


@pytest.mark.parametrize(
    ("filters", "options"),
    [
        (Filters(), {}),
        (Filters(high_pass=0.01), {"high_pass": 0.01, "filter": "cosine"}),
        (Filters(low_pass=0.1), {"high_pass": None, "low_pass": 0.1}),
        (Filters(0.01, 0.1), {"high_pass": 0.01, "low_pass": 0.1}),
    ],
)
def test_simulated_signals_are_cleaned_as_the_data_were(filters, options):
    rng = np.random.default_rng(0)
    signals, regressors = rng.standard_normal((N_SAMPLES, 3)), rng.standard_normal((N_SAMPLES, 5))
    keep = keep_most()
    protocol = make_protocol(keep, regressors, TR, filters)
    expected = clean(
        signals, confounds=regressors, sample_mask=np.flatnonzero(keep), t_r=TR, detrend=False,
        standardize="zscore_sample", standardize_confounds=True, **options,
    )  # fmt: skip
    expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
    assert protocol.clean(signals).data == pytest.approx(expected, abs=1e-5)


def test_a_regressor_leaves_no_trace():
    rng = np.random.default_rng(0)
    regressors = rng.standard_normal((N_SAMPLES, 1))
    signals = rng.standard_normal((N_SAMPLES, 2)) + 5 * regressors
    run = make_protocol(keep_most(), regressors, TR).clean(signals)
    kept = regressors[keep_most()]
    assert abs(np.corrcoef(run.data[:, 0], kept[:, 0])[0, 1]) < 1e-6


def test_censored_samples_are_left_out_and_do_not_matter():
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((N_SAMPLES, 2))
    spoilt = signals.copy()
    spoilt[52] = 1e3
    protocol = make_protocol(keep_most(), NO_REGRESSORS, TR)
    assert np.array_equal(protocol.clean(signals).data, protocol.clean(spoilt).data)
    assert list(protocol.clean(signals).position[:2]) == [4, 5]
    assert len(protocol.clean(signals).data) == keep_most().sum()


def test_noise_has_the_strength_that_the_parameter_says():
    rng = np.random.default_rng(0)
    slow = np.sin(np.linspace(0, 12, N_SAMPLES))[:, None].repeat(30, axis=1)
    bold = np.stack([slow, slow])
    quiet, loud = observation().observe(bold, np.array([[0.0], [1.5]]), rng)
    assert np.corrcoef(quiet[0].data.T).min() > 0.999
    r = np.corrcoef(loud[0].data.T)[np.triu_indices(30, 1)].mean()
    assert r == pytest.approx(1 / (1 + 1.5**2), abs=0.06)


def test_regional_noise_is_autocorrelated_as_the_parameter_says():
    rng = np.random.default_rng(0)
    bold = 1e-6 * rng.standard_normal((1, N_SAMPLES, 200))
    model = observation("regional")
    # measurement noise 1.5, no spread, autocorrelation .6, no global signal, no delays
    lag = []
    for noise in (0.0, 0.6):
        runs = model.observe(bold, np.array([[1.5, 0.0, noise, 0.0, 0.0]]), rng)
        data = runs[0][0].data
        lag.append((data[1:] * data[:-1]).mean())
    share = 1.5**2 / (1 + 1.5**2)
    assert lag[0] == pytest.approx(0, abs=0.03)
    assert lag[1] == pytest.approx(0.6 * share, abs=0.05)


def test_a_global_signal_is_shared_by_all_regions():
    rng = np.random.default_rng(0)
    bold = rng.standard_normal((1, N_SAMPLES, 50))
    model, shared = observation("regional"), []
    for strength in (0.0, 1.0):
        runs = model.observe(bold, np.array([[0.0, 0.0, 0.0, strength, 0.0]]), rng)
        shared.append(np.corrcoef(runs[0][0].data.T)[np.triu_indices(50, 1)].mean())
    assert shared[0] == pytest.approx(0, abs=0.02)
    assert shared[1] == pytest.approx(0.5, abs=0.15)


def test_the_hash_knows_censoring_regression_and_filters():
    rng = np.random.default_rng(0)
    regressors = rng.standard_normal((N_SAMPLES, 2))
    protocols = [
        make_protocol(np.ones(N_SAMPLES, bool), NO_REGRESSORS, TR),
        make_protocol(keep_most(), NO_REGRESSORS, TR),
        make_protocol(keep_most(), regressors, TR),
        make_protocol(keep_most(), regressors, TR, Filters(low_pass=0.1)),
    ]
    hashes = {ObservationModel("white", TR, (p,)).digest() for p in protocols}
    hashes |= {ObservationModel("white", TR, (protocols[0],) * 2).digest()}
    assert len(hashes) == 5


def test_a_silent_region_is_not_a_number():
    run = scale_run(np.array([[1.0, 2.0], [1.0, 3.0]]), np.arange(2))
    assert np.isnan(run.data[:, 0]).all()
    assert run.data[:, 1] == pytest.approx([-1, 1])


def test_too_few_samples_are_refused():
    keep = np.zeros(N_SAMPLES, bool)
    keep[:20] = True
    with pytest.raises(NoUsableDataError, match=r"20 of 200 samples .* at least 40"):
        make_protocol(keep, NO_REGRESSORS, TR)


def test_an_unknown_observation_is_refused():
    with pytest.raises(SettingsError, match="no observation model 'pink'"):
        observation_prior("pink")
