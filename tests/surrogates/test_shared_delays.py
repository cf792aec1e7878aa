"""Delays that the subjects of a group share: from the spectra of all, and in their maps."""

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import RegionSeries
from npi_bids.simulate.linear import LinearSystem, simulate_linear
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.cross_spectra import cross_spectra
from npi_bids.surrogates.delay_map import read_delay_map
from npi_bids.surrogates.observed import ObservedOU
from npi_bids.surrogates.ou_process import OU, second_moments
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.shared_delays import align_moments, observe_process, sum_spectra
from npi_bids.surrogates.storage import (
    PretrainedLinks,
    delay_table_path,
    read_pretrained,
    write_pretrained,
)
from npi_bids.surrogates.windows import cut_windows

N, N_SAMPLES, FINE = 12, 300, 5
LABELS = tuple(f"R{region}" for region in range(N))
TRAIN = TrainSettings(device="cpu", residual="none")
DELAYS = np.random.default_rng(1).standard_normal(N)


def drift_of(subject):
    """Return the subject's drift per fine step, ``[source, target]``: mostly what all share."""
    shared, own = (
        np.random.default_rng(seed).standard_normal((N, N)) for seed in (0, 10 + subject)
    )
    coupling = (0.9 * shared + 0.3 * own) / np.sqrt(N)
    np.fill_diagonal(coupling, 0)
    return 0.8 * (0.6 * coupling - np.eye(N)) / FINE


def truth_of(subject):
    return np.linalg.matrix_power(np.eye(N) + drift_of(subject), FINE)


def shift(signals, delays):
    """Return signals later by delays in their own samples."""
    phase = np.exp(-2j * np.pi * np.fft.rfftfreq(len(signals))[:, None] * delays)
    return np.fft.irfft(np.fft.rfft(signals, axis=0) * phase, len(signals), axis=0)


def run_of(subject, delays):
    system = LinearSystem(np.eye(N) + drift_of(subject), np.eye(N))
    rng = np.random.default_rng(100 + subject)
    fine = simulate_linear(system, n_runs=1, n_samples=FINE * N_SAMPLES, rng=rng)[0]
    signals = shift(fine, FINE * delays)[::FINE]
    signals = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    return RegionSeries(signals, LABELS, 2.0, np.ones(N_SAMPLES, dtype=bool))


def subjects(delays, n=6):
    runs = {str(subject): [run_of(subject, delays)] for subject in range(n)}
    return lambda: iter(runs.items())


@pytest.fixture(scope="module")
def group():
    return pretrain(subjects(DELAYS), TRAIN)


def direction(runs, prior, subject, **options):
    result = ec_of_runs(
        runs, train=replace(TRAIN, **options), perturb=PerturbSettings(), prior=prior
    )
    truth = truth_of(subject)
    return result, pearson(antisymmetric(result.ec), antisymmetric(truth))


def test_moments_are_those_of_signals_without_delays():
    signals = run_of(0, np.zeros(N)).data
    late = RegionSeries(shift(signals, DELAYS), LABELS, 2.0, np.ones(N_SAMPLES, dtype=bool))
    windows = cut_windows([late], 1)
    aligned = align_moments(windows, DELAYS)
    expected = second_moments(signals[:-1], signals[1:])
    ignoring = second_moments(windows.history[:, -1], windows.target)
    for name in ("past", "cross"):
        truth = getattr(expected, name)
        errors = [np.abs(getattr(part, name) - truth).mean() for part in (aligned, ignoring)]
        assert errors[0] < errors[1] / 2  # ends are tapered
    assert (
        np.abs(aligned.cross - expected.cross.T).mean()
        > 2 * np.abs(aligned.cross - expected.cross).mean()
    )


def test_shared_delays_are_found(group):
    delays = group.prior.delays
    assert np.corrcoef(delays.mean, DELAYS)[0, 1] > 0.97
    assert delays.sd == pytest.approx(DELAYS.std(), rel=0.4)
    assert delays.evidence > 12
    assert not group.prior.linear_is_var
    assert not group.networks


def test_no_delays_are_found_where_there_are_none():
    assert pretrain(subjects(np.zeros(N)), TRAIN).prior.delays is None


def test_no_delays_are_sought_where_they_are_switched_off():
    assert pretrain(subjects(DELAYS), replace(TRAIN, delays="none")).prior.delays is None


def test_no_delays_are_sought_where_networks_are_imposed(monkeypatch):
    """Networks, which the user requests, cannot model signals that are observed with delays."""
    sought = []
    monkeypatch.setattr(
        "npi_bids.surrogates.pretraining.estimate_shared_delays",
        lambda *_, **options: sought.append(options),
    )
    for residual in ("none", "networks"):
        pretrain(
            subjects(DELAYS, n=4),
            TrainSettings(device="cpu", residual=residual, epochs=1, n_seeds=1),
        )
    assert len(sought) == 1


def test_maps_of_subjects_are_free_of_the_delays(group):
    runs = [run_of(0, DELAYS)]
    shrunk, with_group = direction(runs, group.build_prior("0"), 0)
    _, ignoring = direction(runs, None, 0, delays="none")
    assert isinstance(shrunk.surrogate, ObservedOU)
    assert with_group > ignoring + 0.2
    assert with_group > 0.8
    lags, _ = shrunk.surrogate.region_delays
    np.testing.assert_allclose(lags, group.prior.delays.mean, atol=1e-12)
    assert shrunk.quality.r2 > 0
    assert np.isnan(shrunk.quality.r_split_delays)  # both halves have those of the group
    assert {"npiunshrunk", "npireversed", "npiundelayed"} <= set(shrunk.measures)
    assert dict(shrunk.log.details)["delay_sd"] == pytest.approx(2 * group.prior.delays.sd)


def test_a_region_that_is_not_covered_leaves_the_delays_of_the_others(group):
    run = run_of(0, DELAYS)
    data = run.data.copy()
    data[:, 3] = np.nan
    shrunk, _ = direction([replace(run, data=data)], group.build_prior("0"), 0)
    lags, _ = shrunk.surrogate.region_delays
    expected = np.delete(group.prior.delays.mean, 3)
    np.testing.assert_allclose(lags, expected - np.median(expected), atol=1e-12)


def test_a_short_scan_displaces_no_other_subject():
    covered = np.ones(N, dtype=bool)
    runs = [run_of(subject, np.zeros(N)) for subject in range(5)]
    runs[0] = replace(runs[0], data=runs[0].data[:30], keep=runs[0].keep[:30])
    windows = [cut_windows([run], 1) for run in runs]
    folds, tr = sum_spectra(
        lambda: ((str(number), part, covered) for number, part in enumerate(windows)), covered
    )
    assert tr == 2
    alone = cross_spectra([runs[1]], 48)
    np.testing.assert_allclose(folds[1].power, alone.power, atol=0.05 * np.abs(alone.power).max())
    assert len(folds) == 4
    assert folds[0].n_samples == pytest.approx(330, abs=2)  # the first subject and the fifth


def test_a_delay_that_is_not_known_is_not_stated(group):
    known = group.prior.delays
    mean, error = known.mean.copy(), known.error.copy()
    mean[4], error[4] = 0, np.nan
    windows = cut_windows([run_of(0, DELAYS)], 1)
    process = OU(group.prior.process.drift, group.prior.process.diffusion)
    observed = observe_process(
        process, windows, replace(known, mean=mean, error=error), group.prior.choices.precision
    )
    lags, errors = observed.region_delays
    for values in (lags, errors):
        np.testing.assert_array_equal(np.isnan(values), np.arange(N) == 4)
    np.testing.assert_allclose(np.nanmedian(lags), 0, atol=1e-12)
    assert np.isfinite(observed.weights).all()
    assert np.isfinite(observed.errors).all()


def test_delays_come_back_from_the_file_and_as_a_map(group, tmp_path):
    path = tmp_path / "task-rest_desc-x_surrogate.safetensors"
    delays = replace(group.prior.delays, over_var=np.nan)  # as with a free gain
    group = replace(group, prior=replace(group.prior, delays=delays))
    write_pretrained(
        group, path, labels=LABELS, tr=2.0, settings=resolve(TRAIN), links=PretrainedLinks()
    )
    restored = read_pretrained(path, LABELS, 2.0, "hybrid").prior.delays
    np.testing.assert_array_equal(restored.mean, group.prior.delays.mean)
    assert restored.benefit == group.prior.delays.benefit
    assert np.isnan(restored.over_var)
    known = read_delay_map(delay_table_path(path), LABELS)
    np.testing.assert_allclose(known.mean, 2 * group.prior.delays.mean, rtol=1e-4)
    np.testing.assert_allclose(known.sd, 2 * group.prior.delays.error, rtol=1e-4)
