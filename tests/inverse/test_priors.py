"""Priors of parameters."""

import numpy as np
import pytest

from npi_bids.inverse.priors import FLAT_VARIANCE, from_real_line, to_real_line
from tests.inverse.small import experiment


def test_positions_and_values_are_inverse():
    prior = experiment("regional").prior
    positions = prior.draw(50, np.random.default_rng(0))
    assert prior.positions(prior.values(positions)) == pytest.approx(positions)


def test_draws_fill_the_range_of_every_parameter():
    prior = experiment().prior
    positions = prior.draw(4000, np.random.default_rng(0))
    assert positions.var(axis=0) == pytest.approx(FLAT_VARIANCE, rel=0.1)
    values = prior.values(positions)
    for k, parameter in enumerate(prior.parameters):
        assert parameter.low <= values[:, k].min() < values[:, k].max() <= parameter.high


def test_no_real_number_lies_outside_the_prior():
    positions = from_real_line(np.array([-50.0, 0.0, 50.0]))
    assert positions == pytest.approx([0, 0.5, 1])
    assert np.isfinite(to_real_line(np.array([0.0, 1.0]))).all()
