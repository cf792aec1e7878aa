"""Group analysis of the parameters of whole-brain models."""

import numpy as np
import pytest

from npi_bids.group.parameters import estimate_effect

MEAN = np.ones(1)


def test_equal_posteriors_have_their_mean_and_its_standard_error():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = estimate_effect(values, np.full(4, 1e-8), np.ones((4, 1)), MEAN)
    assert found.effect == pytest.approx(2.5)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 2, rel=0.01)
    assert found.sd_between == pytest.approx(values.std(ddof=1), rel=0.02)
    assert found.free == 3


def test_subjects_that_are_known_better_count_more():
    values, variances = np.array([0.0, 0.0, 10.0]), np.array([1.0, 1.0, 1e4])
    found = estimate_effect(values, variances, np.ones((3, 1)), MEAN)
    assert abs(found.effect) < 0.1


def test_uncertain_subjects_make_an_uncertain_mean():
    """Values that agree by chance do not make the mean more certain than its parts allow."""
    found = estimate_effect(np.full(4, 2.0), np.full(4, 9.0), np.ones((4, 1)), MEAN)
    assert found.standard_error == pytest.approx(3 / 2)
    assert found.sd_between == 0


def test_a_difference_of_groups_is_found_with_its_sign():
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0], 20)
    values = -2 * group + 0.5 * rng.standard_normal(40)
    design = np.column_stack([np.ones(40), group])
    found = estimate_effect(values, np.full(40, 0.01), design, np.array([0.0, 1.0]))
    assert found.effect == pytest.approx(-2, abs=0.4)
    assert found.p < 1e-6


def test_p_is_uniform_without_an_effect_whatever_the_uncertainty():
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0], 8)
    design, contrast = np.column_stack([np.ones(16), group]), np.array([0.0, 1.0])
    p = []
    for _ in range(400):
        sds = rng.uniform(0.2, 2, 16)
        values = rng.standard_normal(16) + sds * rng.standard_normal(16)
        p.append(estimate_effect(values, sds**2, design, contrast).p)
    assert np.mean(np.array(p) < 0.05) < 0.08
    assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_too_few_subjects_have_no_estimate():
    found = estimate_effect(np.ones(1), np.ones(1), np.ones((1, 1)), MEAN)
    assert np.isnan([found.effect, found.standard_error, found.p]).all()
