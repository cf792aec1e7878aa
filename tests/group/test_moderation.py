from __future__ import annotations

import numpy as np
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import kstest

from npi_bids.group.moderation import VariancePrior, moderate, prior_variance


def draw(rng, n_edges, df, prior_df, prior_variance_):
    """Draw variances of edges from the model of Smyth 2004."""
    true = prior_df * prior_variance_ / rng.chisquare(prior_df, n_edges)
    return true, true * rng.chisquare(df, n_edges) / df


@pytest.mark.parametrize(("prior_df", "variance"), [(4.0, 2.0), (20.0, 0.01)])
@pytest.mark.parametrize("df", [3, 15])
def test_prior_is_recovered_from_variances_drawn_from_it(prior_df, variance, df):
    _, observed = draw(np.random.default_rng(1), 200_000, df, prior_df, variance)
    prior = prior_variance(observed, df)
    assert prior.df == pytest.approx(prior_df, rel=0.05)
    assert prior.variance == pytest.approx(variance, rel=0.02)


def test_prior_follows_the_formulas_of_limma():
    """Smyth 2004, section 6.2, for three distinct variances repeated."""
    variances, half = np.tile([1.0, 2.0, 8.0], 10), 2.0
    e = np.log(variances) - digamma(half) + np.log(half)
    excess = e.var(ddof=1) - polygamma(1, half)
    prior = prior_variance(variances, 2 * half)
    assert polygamma(1, prior.df / 2) == pytest.approx(excess)
    logarithm = e.mean() + digamma(prior.df / 2) - np.log(prior.df / 2)
    assert prior.variance == pytest.approx(np.exp(logarithm))


def test_moderated_t_of_null_edges_has_its_t_distribution():
    rng = np.random.default_rng(2)
    true, _ = draw(rng, 20_000, 1, 6.0, 1.0)
    maps = rng.standard_normal((6, true.size)) * np.sqrt(true)
    variances = maps.var(axis=0, ddof=1)
    moderated, df = moderate(variances, 5, prior_variance(variances, 5))
    assert df == pytest.approx(11, rel=0.1)
    t = maps.mean(axis=0) / np.sqrt(moderated / 6)
    assert kstest(t, "t", args=(df,)).pvalue > 0.01


def test_variances_that_differ_by_chance_alone_become_one():
    rng = np.random.default_rng(3)
    variances = rng.chisquare(5, 500) / 5
    moderated, df = moderate(variances, 5, prior_variance(variances, 5))
    assert np.ptp(moderated) < 0.1 * np.ptp(variances)
    assert df <= 5 * 500


def test_few_edges_or_edges_without_variance_say_nothing():
    assert prior_variance(np.arange(1.0, 10), 5).df == 0
    variances = np.array([0.0, np.nan, *np.linspace(1, 2, 20)])
    prior = prior_variance(variances, 5)
    assert prior == prior_variance(variances[2:], 5)
    moderated, _ = moderate(variances, 5, prior)
    assert np.isnan(moderated[1])
    np.testing.assert_allclose(moderate(variances, 5, VariancePrior())[0][2:], variances[2:])
