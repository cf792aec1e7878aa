"""Whether a subject lies inside what a model can produce."""

import numpy as np
import pytest

from npi_bids.inverse.domain import (
    INSIDE,
    OUTSIDE,
    OUTSIDE_SHARE,
    SimulatedSubjects,
    classify_sections,
    fit_domain,
)

NAMES = ("level", "square", "together", "noise")


def simulate(n, seed, shift=0.0):
    """Return positions, features and sections; ``together`` is level minus square, but noise."""
    rng = np.random.default_rng(seed)
    positions = rng.random((n, 1))
    level = positions[:, 0] + 0.05 * rng.standard_normal(n)
    square = level**2 + 0.05 * rng.standard_normal(n)
    together = level - square + 0.02 * rng.standard_normal(n)
    features = np.column_stack([level, square, together, rng.standard_normal(n)])
    sections = positions[:, :, None] + shift + 0.3 * rng.standard_normal((n, 6, 2))
    return positions, features, sections


def fit(names, positions, features, sections, reordered=None):
    """Fit a domain; features do not depend on the order of regions unless others are given."""
    if reordered is None:
        reordered = features[np.random.default_rng(9).permutation(len(features))]
    return fit_domain(names, SimulatedSubjects(positions, features, reordered, sections))


@pytest.fixture(scope="module")
def domain():
    return fit(NAMES, *simulate(400, 0))


def share_outside(domain, features, sections):
    places = [domain.locate(f, s).label for f, s in zip(features, sections, strict=True)]
    return np.mean([label == OUTSIDE for label in places])


def test_fresh_simulations_are_outside_as_often_as_is_stated(domain):
    _, features, sections = simulate(300, 1)
    assert share_outside(domain, features, sections) == pytest.approx(OUTSIDE_SHARE, abs=0.03)


def test_an_extreme_feature_is_outside_and_named(domain):
    _, features, sections = simulate(1, 1)
    features[0, 3] = 12.0
    place = domain.locate(features[0], sections[0])
    assert place.label == OUTSIDE
    assert place.p < OUTSIDE_SHARE
    assert next(iter(place.features)) == "noise"
    assert place.features["noise"] == pytest.approx(12, rel=0.2)


def test_features_that_do_not_go_together_are_outside(domain):
    """Every feature alone is common; their combination is not."""
    _, features, sections = simulate(100, 1)
    low = features[np.argsort(features[:, 0])[:40]].copy()
    low[:, 1] = 0.5
    assert share_outside(domain, low, sections[:40]) > 0.95


def simulate_turning(n, seed):
    """Return features of which two vary together at low positions, and oppositely at high ones."""
    rng = np.random.default_rng(seed)
    positions = rng.random((n, 1))
    shared, single = rng.standard_normal((2, n))
    sign = np.where(positions[:, 0] < 0.5, 1, -1)
    features = np.column_stack([
        positions[:, 0] + 0.02 * rng.standard_normal(n),
        shared + 0.1 * single,
        sign * shared - 0.1 * single,
        rng.standard_normal(n),
    ])  # fmt: skip
    return positions, features, rng.standard_normal((n, 6, 2))


def test_features_that_do_not_go_together_at_these_parameters_are_outside():
    """Over all simulations the two features are uncorrelated."""
    domain = fit(NAMES, *simulate_turning(1000, 0))
    _, features, sections = simulate_turning(400, 1)
    assert share_outside(domain, features, sections) == pytest.approx(OUTSIDE_SHARE, abs=0.03)
    clear = (np.abs(features[:, 0] - 0.5) > 0.3) & (np.abs(features[:, 1]) > 1.2)
    features[:, 2] *= -1
    assert share_outside(domain, features[clear], sections[clear]) > 0.9


def test_structural_features_have_a_distance_of_their_own():
    """One structural feature that is off among forty others of noise."""

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        positions = rng.random((n, 1))
        structural = positions + 0.1 * rng.standard_normal((n, 2))
        features = np.hstack([structural, rng.standard_normal((n, 40))])
        return positions, features, rng.standard_normal((n, 6, 2))

    names = ["fc_mean", "fc_sc_r", *(f"noise{k}" for k in range(40))]
    domain = fit(names, *draw(600, 0))
    _, features, sections = draw(100, 1)
    features[:, 1] += 0.6
    places = [domain.locate(f, s) for f, s in zip(features, sections, strict=True)]
    assert np.mean([place.label == OUTSIDE for place in places]) > 0.8
    far = [
        np.mean([place.statistics[name] > place.typical[name] for place in places])
        for name in ("local", "structural")
    ]
    assert far[0] < 0.6 < far[1]


def test_regions_in_another_order_than_those_of_the_structure_are_outside():
    """FC follows structure weakly at all parameters, which no feature alone shows."""

    def draw(n, seed, follows=1.0):
        rng = np.random.default_rng(seed)
        positions = rng.random((n, 1))
        strength = 1 + 2 * positions + 0.1 * rng.standard_normal((n, 1))
        along = strength * follows + 0.5 + 0.2 * rng.standard_normal((n, 1))
        features = np.hstack([strength, along, rng.standard_normal((n, 60))])
        return positions, features, rng.standard_normal((n, 6, 2))

    names = ["synchrony", "fc_sc_r", *(f"noise{k}" for k in range(60))]
    domain = fit(names, *draw(600, 0), reordered=draw(600, 2, follows=0.0)[1])
    assert share_outside(domain, *draw(200, 1)[1:]) == pytest.approx(OUTSIDE_SHARE, abs=0.04)
    _, features, sections = draw(200, 3, follows=0.0)
    places = [domain.locate(f, s) for f, s in zip(features, sections, strict=True)]
    assert np.mean([place.label == OUTSIDE for place in places]) > 0.9
    assert np.mean([place.statistics["order"] > place.typical["order"] for place in places]) > 0.95


def test_sections_of_another_kind_are_outside(domain):
    _, features, _ = simulate(100, 1)
    shifted = simulate(100, 1, shift=2.0)[2]
    assert share_outside(domain, features, shifted) > 0.95


def test_a_typical_subject_is_inside_by_every_statistic(domain):
    _, features, sections = simulate(50, 2)
    labels = [domain.locate(f, s) for f, s in zip(features, sections, strict=True)]
    inside = [place for place in labels if place.label == INSIDE]
    assert len(inside) > 40
    assert all(place.p > OUTSIDE_SHARE for place in inside)
    assert set(inside[0].statistics) == {
        *("mahalanobis", "local", "structural", "order", "classifier")
    }  # fmt: skip


def test_the_classifier_cannot_tell_sections_that_are_alike():
    rng = np.random.default_rng(0)
    areas = [
        classify_sections(rng.standard_normal((6, 3)), rng.standard_normal((30, 6, 3)))
        for _ in range(60)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08)
    shifted = classify_sections(3 + rng.standard_normal((6, 3)), rng.standard_normal((30, 6, 3)))
    assert shifted > 0.95


def test_sections_that_are_too_short_decide_nothing(domain):
    _, features, sections = simulate(1, 2)
    place = domain.locate(features[0], np.full_like(sections[0], np.nan))
    assert np.isnan(place.statistics["classifier"])
    assert place.label == INSIDE
