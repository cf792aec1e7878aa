"""Variance between subjects from halves, and the share of a map that is the subject's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.matrices import antisymmetric, symmetric
from npi_bids.surrogates.between_subjects import SubjectMoments, own_share
from npi_bids.surrogates.group_prior import GroupPrior
from npi_bids.surrogates.pretraining import pretrain
from npi_bids.surrogates.prior_variance import Variances
from tests.conftest import var_run
from tests.surrogates.group_of_subjects import MOU

N = 10


def maps_of(rng, n_subjects, sd_symmetric, sd_antisymmetric, noise):
    """Return two halves of maps: what is shared, what is the subject's own, and noise."""
    shared = rng.standard_normal((N, N))
    for _ in range(n_subjects):
        # A part of a matrix of standard normal entries has a variance of 1/2 off the diagonal.
        own = shared + 2**0.5 * (
            sd_symmetric * symmetric(rng.standard_normal((N, N)))
            + sd_antisymmetric * antisymmetric(rng.standard_normal((N, N)))
        )
        yield tuple(own + noise * rng.standard_normal((N, N)) for _ in range(2))


def test_variance_between_subjects_is_recovered_from_halves_in_noise():
    """Noise of three times the SD of subjects; 200 subjects and 45 pairs: its SE is .0011."""
    moments, rng = SubjectMoments(N), np.random.default_rng(0)
    for halves in maps_of(rng, 200, 0.2, 0.1, 0.45):
        moments.add(*halves)
    variance = moments.covariance()
    assert variance.symmetric == pytest.approx(0.04, abs=0.0035)
    assert variance.antisymmetric == pytest.approx(0.01, abs=0.0035)


def test_subjects_that_do_not_differ_have_a_variance_of_about_zero():
    """Not above 0 by construction: of 100 groups of eight, about half are below."""
    rng, below = np.random.default_rng(1), 0
    for _ in range(100):
        moments = SubjectMoments(N)
        for halves in maps_of(rng, 8, 0.0, 0.0, 0.4):
            moments.add(*halves)
        below += moments.covariance().antisymmetric < 0
    assert 30 < below < 70


def test_moments_agree_with_the_covariance_of_numpy_where_regions_are_missing():
    rng = np.random.default_rng(2)
    halves = np.array(list(maps_of(rng, 6, 0.3, 0.3, 0.2))) + 1e4  # a large mean loses no digits
    halves[2, :, 3] = np.nan  # subject 2 lacks region 3
    halves[2, :, :, 3] = np.nan
    moments = SubjectMoments(N)
    for first, second in halves:
        moments.add(first, second)
    total, df = 0.0, 0
    for i in range(N):
        for j in range(N):
            if i != j:
                odd = (halves[:, :, i, j] - halves[:, :, j, i]) / 2
                odd = odd[np.isfinite(odd).all(axis=1)]
                total += np.cov(odd.T)[0, 1] * (len(odd) - 1)
                df += len(odd) - 1
    assert moments.covariance().antisymmetric == pytest.approx(total / df, rel=1e-6)


def test_one_subject_has_no_variance():
    moments = SubjectMoments(N)
    moments.add(np.eye(N), np.eye(N))
    assert np.isnan(moments.covariance().symmetric)
    assert np.isnan(moments.variance_between())


def test_own_share_is_the_weight_of_each_part():
    rng = np.random.default_rng(3)
    group, own = rng.standard_normal((2, N, N))
    even, odd = symmetric(own - group), antisymmetric(own - group)
    shares = own_share(group + 0.2 * even + 0.6 * odd, own, group)
    assert shares.symmetric == pytest.approx(0.2)
    assert shares.antisymmetric == pytest.approx(0.6)
    assert 0.2 < shares.all < 0.6
    assert np.isnan(own_share(group, group, group).all)


def test_precision_of_the_prior_is_the_inverse_of_the_variance(pretrained):
    """The penalty of a VAR is noise over signal."""
    variances = Variances(0.0125, 0.02, 0.5, 8)
    prior = variances.set_prior(pretrained.prior)
    assert prior.choices.precision == pytest.approx((80.0, 80.0))
    assert prior.penalty == pytest.approx(25.0)
    none = replace(variances, drift=0.0).set_prior(pretrained.prior)
    assert isinstance(none, GroupPrior)
    assert none.choices.precision == pytest.approx((1e6, 1e6))


def test_variance_of_the_prior_is_above_zero_and_that_of_many_subjects_unchanged():
    """Of groups of eight without differences, half have a covariance below 0."""
    rng, variances = np.random.default_rng(6), []
    for _ in range(50):
        moments = SubjectMoments(N)
        for halves in maps_of(rng, 8, 0.0, 0.0, 0.4):
            moments.add(*halves)
        variances.append(moments.variance_between())
        assert variances[-1] > max(moments.covariance().of_entry, 0.0)
    assert np.mean(variances) < 0.05 * 0.4**2 * 2
    many = SubjectMoments(N)
    for halves in maps_of(rng, 200, 0.2, 0.1, 0.2):
        many.add(*halves)
    assert many.variance_between() == pytest.approx(many.covariance().of_entry, rel=1e-6)


def test_pretraining_estimates_how_subjects_differ():
    """Members of the group of the other tests differ; subjects with one network hardly do."""
    weights = 0.5 * np.eye(4)
    weights[0, 1] = 0.4
    runs = {str(n): [var_run(weights, 600, n)] for n in range(8)}
    same = pretrain(lambda: iter(runs.items()), MOU).variances
    for number in range(8):
        differing = weights.copy()
        differing[2, 3] = 0.3 * (-1) ** number
        runs[str(number)] = [var_run(differing, 600, number)]
    other = pretrain(lambda: iter(runs.items()), MOU).variances
    assert other.drift > 3 * same.drift
    assert other.weights > 3 * same.weights
