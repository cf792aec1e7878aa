from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind

from npi_bids.assessment.settings import AssessSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError
from npi_bids.group.description import describe
from npi_bids.inference import ec_of_runs, train_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import RegionSeries
from npi_bids.simulate.linear import LinearSystem, simulate_linear
from npi_bids.surrogates.base import TrainSettings, resolve
from npi_bids.surrogates.fitting import fit_surrogate
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.windows import cut_windows
from tests.conftest import var_run
from tests.surrogates.group_of_subjects import (
    LABELS,
    MOU,
    N_SUBJECTS,
    N,
    run_of,
    subjects,
    weights_of,
)


def maps(found, subject):
    windows = cut_windows([run_of(subject)], 4)
    nothing = windows.take(slice(0, 0))
    alone, _ = fit_surrogate(windows, nothing, resolve(MOU))
    prior = found.build_prior(str(subject))
    shrunk, _ = fit_surrogate(windows, nothing, resolve(MOU), prior=prior)
    return alone.weights[-1], shrunk.weights[-1]


def test_short_scans_gain_by_what_others_share(pretrained):
    pairs = [maps(pretrained, subject) for subject in range(N_SUBJECTS)]
    truth = [weights_of(subject) for subject in range(N_SUBJECTS)]
    alone, shrunk = (
        np.mean([pearson(pair[side], true) for pair, true in zip(pairs, truth, strict=True)])
        for side in (0, 1)
    )
    assert shrunk > alone + 0.025
    turned = np.mean([pearson(p[1].T, true) for p, true in zip(pairs, truth, strict=True)])
    assert turned < 0.4
    directed = [pearson(antisymmetric(p[1]), antisymmetric(true))
                for p, true in zip(pairs, truth, strict=True)]  # fmt: skip
    assert np.mean(directed) > 0.7


def test_what_is_a_subjects_own_is_kept(pretrained):
    pairs = [maps(pretrained, subject) for subject in range(N_SUBJECTS)]
    truth = [weights_of(subject) for subject in range(N_SUBJECTS)]
    figures = []
    for side in (0, 1):
        own = [pair[side] for pair in pairs]
        mean, true_mean = np.mean(own, axis=0), np.mean(truth, axis=0)
        figures.append(np.mean([pearson(o - mean, t - true_mean)
                                for o, t in zip(own, truth, strict=True)]))  # fmt: skip
    assert figures[1] > figures[0] - 0.01
    assert figures[1] > 0.2


def test_what_predicts_a_subject_does_not_know_it_and_its_map_does():
    """With and without another signal in subject 3."""

    def change(subject, run):
        if subject != 3:
            return run
        noise = np.random.default_rng(9).standard_normal(run.data.shape)
        return RegionSeries(noise, run.labels, run.tr, run.keep)

    one, other = (
        pretrain(group, MOU).build_prior("3") for group in (subjects(), subjects(change))
    )
    a, b = (prior.for_prediction.process.drift for prior in (one, other))
    np.testing.assert_allclose(a, b, atol=2e-3)
    assert np.abs(one.process.drift - other.process.drift).max() > 0.01


def test_the_prior_of_members_and_of_others_is_the_whole_group(pretrained):
    stranger, member = pretrained.build_prior("stranger"), pretrained.build_prior("3")
    for prior in (stranger, member):
        np.testing.assert_array_equal(prior.process.drift, pretrained.prior.process.drift)
    assert stranger.for_prediction is stranger
    assert np.abs(member.for_prediction.process.drift - member.process.drift).max() > 0.001
    covered = np.arange(N) != 5
    assert member.take(covered).for_prediction.process.drift.shape == (N - 1, N - 1)


def test_held_out_error_does_not_know_the_subject_but_its_map_does(pretrained):
    prior = pretrained.build_prior("3")
    trained = train_runs([run_of(3)], train=MOU, prior=prior)
    others = train_runs([run_of(3)], train=MOU, prior=prior.for_prediction)
    everybody = train_runs([run_of(3)], train=MOU, prior=replace(prior, without_subject=None))
    np.testing.assert_array_equal(trained.checked.linear_weights, others.checked.linear_weights)
    np.testing.assert_array_equal(
        trained.surrogate.linear_weights, everybody.surrogate.linear_weights
    )


@pytest.mark.parametrize("refit", [True, False])
def test_differences_keep_their_sign_where_little_of_a_map_is_the_subjects_own(refit):
    """Eight subjects with two connections of their own, and an own share below one in eight.

    Shrunk towards the mean of the others, their differences would have the wrong sign. One of the
    connections has a direction, so that a transposed map would fail.
    """
    rng = np.random.default_rng(4)
    runs, truth = {}, []
    for number in range(8):
        weights = weights_of(0).copy()
        own = 0.15 * (-1) ** number
        weights[0, 1] += own
        weights[2, 3] -= own
        truth.append(weights)
        data = simulate_linear(LinearSystem(weights, np.eye(N)), n_runs=1, n_samples=150, rng=rng)
        scaled = (data[0] - data[0].mean(axis=0)) / data[0].std(axis=0)
        runs[str(number)] = RegionSeries(scaled, LABELS, 2.0, np.ones(150, dtype=bool))
    train = replace(MOU, refit=refit)
    fitted = pretrain(lambda: ((name, [run]) for name, run in runs.items()), train)
    # As if hardly anything were known to differ: the own share is below 1/8.
    choices = replace(fitted.prior.choices, precision=(3000.0, 3000.0))
    fitted = replace(fitted, prior=replace(fitted.prior, choices=choices))
    shrunken, unshrunk, shares = [], [], []
    for name, run in runs.items():
        result = ec_of_runs(
            [run], train=train, perturb=PerturbSettings(), prior=fitted.build_prior(name)
        )
        shrunken.append(result.ec)
        unshrunk.append(result.measures["npiunshrunk"].matrix)
        shares.append(result.quality.own_share)
    assert 0 < np.mean(shares) < 1 / 8
    deviations, plain, true = (
        maps - np.mean(maps, axis=0) for maps in (shrunken, unshrunk, truth)
    )
    r_truth, r_transposed, r_unshrunk = (
        np.corrcoef(np.ravel(deviations), np.ravel(other))[0, 1]
        for other in (true, true.transpose(0, 2, 1), plain)
    )
    assert r_truth > 0.1
    assert r_transposed < r_truth - 0.1
    assert r_unshrunk > 0.2


def test_own_share_is_higher_where_scans_are_longer_and_told_for_both_parts(pretrained):
    prior = pretrained.build_prior("stranger")
    shares = [
        ec_of_runs([run_of(0, n)], train=MOU, perturb=PerturbSettings(), prior=prior).quality
        for n in (150, 3000)
    ]
    assert 0 < shares[0].own_share < shares[1].own_share < 1.05
    assert shares[0].own_share_symmetric != shares[0].own_share_antisymmetric
    alone = ec_of_runs([run_of(0)], train=MOU, perturb=PerturbSettings()).quality
    assert np.isnan(alone.own_share)


def test_a_map_of_noise_fails_whatever_its_group_lends_it():
    rng = np.random.default_rng(0)
    runs = {
        str(number): RegionSeries(
            rng.standard_normal((200, N)), LABELS, 2.0, np.ones(200, dtype=bool)
        )
        for number in range(N_SUBJECTS)
    }
    fitted = pretrain(lambda: ((name, [run]) for name, run in runs.items()), MOU)
    for name in ("0", "1"):
        result = ec_of_runs([runs[name]], train=MOU, perturb=PerturbSettings(),
                            prior=fitted.build_prior(name))  # fmt: skip
        assert abs(result.quality.r_others) < 0.2
        assert result.verdict.label == "fail"
        assert any("hardly agrees with that of the other" in one for one in result.verdict.reasons)


def test_a_subject_agrees_with_the_others_by_what_it_shares_and_not_by_its_own_share(pretrained):
    prior = pretrained.build_prior("3")
    alike, alone = (
        ec_of_runs([run_of(3)], train=MOU, perturb=PerturbSettings(), prior=one)
        for one in (prior, None)
    )
    assert alike.quality.r_others > 0.4
    assert not any("other subjects" in reason for reason in alike.verdict.reasons)
    assert np.isnan(alone.quality.r_others)
    # Another network of which the same group knows nothing: that of the subject, transposed.
    transposed = var_run(weights_of(3).T, 150, seed=3, labels=LABELS)
    other = ec_of_runs([transposed], train=MOU, perturb=PerturbSettings(), prior=prior)
    assert other.quality.r_others < alike.quality.r_others - 0.2


def test_regions_that_a_subject_lacks_come_back_as_nan(pretrained):
    data = run_of(2).data.copy()
    data[:, 5] = np.nan
    run = RegionSeries(data, LABELS, 2.0, np.ones(len(data), dtype=bool))
    result = ec_of_runs([run], train=MOU, perturb=PerturbSettings(),
                        prior=pretrained.build_prior("2"))  # fmt: skip
    assert np.isnan(result.ec[5]).all()
    inside = np.delete(np.delete(result.ec, 5, 0), 5, 1)
    assert np.isfinite(inside).all()
    assert result.quality.shrunk


def test_regions_that_nobody_covers_are_alone():
    def change(subject, run):
        data = run.data.copy()
        data[:, 1] = np.nan
        if subject == 0:
            data[:, 4] = np.nan
        return RegionSeries(data, run.labels, run.tr, run.keep)

    drift = pretrain(subjects(change), MOU).prior.process.drift
    assert np.isfinite(drift).all()
    assert (np.delete(drift[1], 1) == 0).all()
    assert (np.delete(drift[:, 1], 1) == 0).all()
    assert np.abs(np.delete(drift[4], [1, 4])).max() > 0.01


def test_an_ensemble_of_networks_starts_from_the_groups():
    settings = TrainSettings(surrogate="mlp", epochs=3, n_lags=1)
    found = pretrain(subjects(), settings)
    assert set(found.networks) == {"all", "0", "1"}
    windows = cut_windows([run_of(0)], 1)
    nothing = windows.take(slice(0, 0))
    prior = found.build_prior("x")
    still = TrainSettings(surrogate="mlp", epochs=1, n_lags=1, learning_rate=1e-12)
    tuned, _ = fit_surrogate(windows, nothing, resolve(still), prior=prior)
    for name, value in tuned.tensors().items():
        np.testing.assert_allclose(value, found.networks["all"][name], atol=1e-6)
    other = TrainSettings(surrogate="mlp", epochs=1, n_lags=2)
    two = cut_windows([run_of(0)], 2)
    with pytest.raises(InputDataError, match="Pre-train with the same --surrogate, --lags"):
        fit_surrogate(two, two.take(slice(0, 0)), resolve(other), prior=prior)


@pytest.mark.parametrize("n_covered", [N, N - 2])
@pytest.mark.parametrize("surrogate", ["mlp", "hybrid"])
def test_a_subject_is_mapped_from_the_networks_of_its_group(surrogate, n_covered):
    train = TrainSettings(surrogate=surrogate, epochs=2, n_lags=2, device="cpu")
    prior = pretrain(subjects(), train).build_prior("x")
    run = run_of(0)
    data = run.data.copy()
    data[:, n_covered:] = np.nan
    run = RegionSeries(data, run.labels, run.tr, run.keep)
    result = ec_of_runs([run], train=train, perturb=PerturbSettings(), prior=prior)
    assert np.isfinite(result.ec[:n_covered, :n_covered]).all()
    assert np.isfinite(result.quality.r_split)


def test_what_cannot_be_pretrained_is_said(pretrained):
    with pytest.raises(NoUsableDataError, match="Usable data of 3 subjects"):
        pretrain(subjects(n=3), MOU)
    windows = cut_windows([run_of(0)], 3)
    with pytest.raises(SettingsError, match="holds no networks for --surrogate mlp"):
        fit_surrogate(windows, windows.take(slice(0, 0)), TrainSettings(surrogate="mlp"),
                      prior=pretrained.prior)  # fmt: skip


def noise_subjects(rng, prefix, n_subjects):
    """Return series of subjects whose ten regions have nothing to do with each other."""
    return {f"{prefix}{n}": [var_run(0.5 * np.eye(10), 360, int(rng.integers(1 << 30)), tr=1.0,
                                     labels=tuple("abcdefghij"))]
            for n in range(n_subjects)}  # fmt: skip


@pytest.mark.slow
def test_maps_share_the_noise_of_those_they_were_pretrained_on():
    """Why the mean of such maps is not tested, but differences of them are."""
    rng = np.random.default_rng(0)
    others, members = noise_subjects(rng, "a", 8), noise_subjects(rng, "b", 16)
    train = TrainSettings(surrogate="mou")
    fitted = pretrain(lambda: iter(others.items()), train)
    maps = np.array([
        ec_of_runs(runs, train=train, perturb=PerturbSettings(), assess=AssessSettings(),
                   prior=fitted.build_prior(subject)).ec.ravel()
        for subject, runs in members.items()
    ])  # fmt: skip
    off = ~np.eye(10, dtype=bool).ravel()
    assert np.mean(describe(maps[:8]).q[off] < 0.05) > 0.2
    assert np.mean(ttest_ind(maps[:8, off], maps[8:, off]).pvalue < 0.05) < 0.12


@pytest.mark.parametrize(
    ("residual", "least_gain", "n_networks"),
    [("auto", 0.01, 0), ("networks", 0.01, 3), ("auto", -10, 3), ("none", -10, 0)],
)
def test_networks_of_a_group_are_there_if_they_help_or_are_imposed(
    residual, least_gain, n_networks, monkeypatch
):
    monkeypatch.setattr("npi_bids.surrogates.pretraining.NETWORKS_GAIN", least_gain)
    runs = {str(seed): [var_run(0.5 * np.eye(4), 80, seed=seed)] for seed in range(5)}
    train = TrainSettings(device="cpu", epochs=1, n_seeds=1, residual=residual)
    assert len(pretrain(lambda: iter(runs.items()), train).networks) == n_networks
