from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import t as student

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.glm import Contrast, Design, estimate
from npi_bids.group.moderation import prior_variance

RNG = np.random.default_rng(0)
N = 20
X = np.column_stack([np.ones(N), np.repeat([0.0, 1.0], 10), RNG.standard_normal(N)])
Y = RNG.standard_normal((N, 25)) + X[:, 1:2]

GROUP, GROUP_AND_AGE = Contrast("group", np.array([[0.0, 1, 0]])), Contrast("both", np.eye(3)[1:])


def design(matrix=X, contrasts=(GROUP,)):
    names = tuple(f"c{n}" for n in range(matrix.shape[1]))
    return Design(matrix, names, contrasts, np.zeros(len(matrix)))


def test_t_tests_of_few_edges_equal_statsmodels():
    result = estimate(Y[:, :9], design(), GROUP)
    for edge in range(9):
        expected = sm.OLS(Y[:, edge], X).fit()
        assert result.effect[edge] == pytest.approx(expected.params[1], rel=1e-10)
        assert result.standard_error[edge] == pytest.approx(expected.bse[1], rel=1e-10)
        assert result.statistic[edge] == pytest.approx(expected.tvalues[1], rel=1e-10)
        assert result.p[edge] == pytest.approx(expected.pvalues[1], rel=1e-10)


def test_f_tests_of_few_edges_equal_statsmodels():
    result = estimate(Y[:, :9], design(), GROUP_AND_AGE)
    for edge in range(9):
        expected = sm.OLS(Y[:, edge], X).fit().f_test(np.eye(3)[1:])
        assert result.statistic[edge] == pytest.approx(float(expected.fvalue), rel=1e-10)
        assert result.p[edge] == pytest.approx(float(expected.pvalue), rel=1e-10)


def test_an_edge_is_fitted_to_the_subjects_that_have_it():
    maps = Y[:, :9].copy()
    maps[3:6, 4], maps[7, 5], maps[:10, 6] = np.nan, np.nan, np.nan
    result = estimate(maps, design(), GROUP)
    rows = np.isfinite(maps[:, 4])
    expected = sm.OLS(maps[rows, 4], X[rows]).fit()
    assert result.statistic[4] == pytest.approx(expected.tvalues[1])
    assert result.n[4:7].tolist() == [17, 19, 10]
    assert np.isnan(result.statistic[6])  # one group is gone


def test_edges_that_do_not_vary_are_not_tested():
    maps = Y.copy()
    maps[:, 0] = 0.7
    result = estimate(maps, design(), GROUP)
    assert np.isnan([result.statistic[0], result.p[0], result.q[0]]).all()


def test_columns_that_say_the_same_are_refused():
    with pytest.raises(SettingsError, match=r"depend on each other.*rank 2"):
        design(np.column_stack([X[:, :2], 1 - X[:, 1]]))


def test_too_few_subjects_are_refused():
    with pytest.raises(NoUsableDataError, match="3 subjects are too few for a model of 3 columns"):
        design(X[[0, 10, 12]])


def test_weighted_tests_equal_weighted_least_squares_of_statsmodels():
    weights = RNG.uniform(0.5, 2, N)
    weighted = Design(X, ("a", "b", "c"), (GROUP,), np.zeros(N), weights)
    result = estimate(Y[:, :9], weighted, GROUP)
    for edge in range(9):
        expected = sm.WLS(Y[:, edge], X, weights=weights).fit()
        assert result.effect[edge] == pytest.approx(expected.params[1])
        assert result.statistic[edge] == pytest.approx(expected.tvalues[1])


def test_variances_of_many_edges_are_moderated_as_in_limma():
    """Effect / sqrt(spread * posterior variance), with the degrees of freedom of the prior."""
    result = estimate(Y, design(), GROUP)
    free = N - 3
    plain = np.array([sm.OLS(Y[:, edge], X).fit().bse[1] for edge in range(Y.shape[1])])
    spread = np.linalg.inv(X.T @ X)[1, 1]
    prior = prior_variance(plain**2 / spread, free)
    posterior = (prior.df * prior.variance + free * plain**2 / spread) / (prior.df + free)
    np.testing.assert_allclose(result.standard_error, np.sqrt(spread * posterior))
    np.testing.assert_allclose(result.df, min(prior.df + free, 25 * free))
    expected = 2 * student.sf(np.abs(result.effect) / np.sqrt(spread * posterior), result.df)
    np.testing.assert_allclose(result.p, expected)


def test_below_eight_subjects_there_is_no_q():
    rng = np.random.default_rng(0)
    for n, has_q in ((7, False), (8, True)):
        mean = Contrast("mean", np.array([[1.0]]))
        one = Design(np.ones((n, 1)), ("one",), (mean,), np.zeros(n))
        result = estimate(rng.standard_normal((n, 20)), one, mean)
        assert np.isfinite(result.q).all() == has_q
        assert np.isfinite(result.p).all()
