"""What rounding might decide is named, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from npi_bids.assessment.near_ties import (
    CHOICE_TOLERANCE,
    VERDICT_TOLERANCE,
    find_near_ties,
)
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.surrogates.selection_criteria import DELAY_EVIDENCE

SETTINGS = VerdictSettings()


def test_a_typical_map_has_no_near_tie(result):
    assert not [hazard for hazard in result.hazards if "near tie" in hazard]
    training = dict(result.log.details)
    assert "var_gain" in training
    assert find_near_ties(training, result.quality, SETTINGS) == ()


@pytest.mark.parametrize(("share", "n_ties"), [(0.5, 1), (-0.5, 1), (2, 0), (-2, 0)])
def test_a_choice_within_rounding_of_its_threshold_is_named(result, share, n_ties):
    value = DELAY_EVIDENCE * (1 + share * CHOICE_TOLERANCE)
    ties = find_near_ties({"delay_evidence": value}, result.quality, SETTINGS)
    assert len(ties) == n_ties
    assert all("whether regions have delays" in tie for tie in ties)


@pytest.mark.parametrize(("share", "n_ties"), [(0.5, 1), (-0.5, 1), (2, 0), (-2, 0)])
def test_a_verdict_within_rounding_of_a_threshold_is_named(result, share, n_ties):
    quality = replace(result.quality, r_split=SETTINGS.good_split + share * VERDICT_TOLERANCE)
    ties = find_near_ties({}, quality, SETTINGS)
    assert len(ties) == n_ties
    assert all("r_split" in tie for tie in ties)


def test_what_changes_no_verdict_is_no_tie(result):
    """A second reason for the same label makes the first one irrelevant."""
    quality = replace(result.quality, r_split=SETTINGS.good_split, model_fc_r=0.1)
    assert find_near_ties({}, quality, SETTINGS) == ()


def test_what_was_not_decided_is_no_tie(result):
    training = {"delay_evidence": float("nan"), "gain_evidence": float("-inf"), "epochs": 12}
    assert find_near_ties(training, result.quality, SETTINGS) == ()
