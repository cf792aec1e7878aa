"""Contrasts in the words of users, through the designs that they are tested in."""

from __future__ import annotations

import pytest

from npi_bids.errors import SettingsError
from npi_bids.group.design import build_design
from tests.group.participants import AMBIGUOUS, TABLE


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("patient - control", [[0, 1, 0, 0, 0]]),
        ("control - patient", [[0, -1, 0, 0, 0]]),
        ("group[T.patient]", [[0, 1, 0, 0, 0]]),
        ("group[patient] - group[control]", [[0, 1, 0, 0, 0]]),
        ("group", [[0, 1, 0, 0, 0]]),
        ("site", [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]),
        ("b - c", [[0, 0, 1, -1, 0]]),
        ("2*age - b + a", [[0, 0, -1, 0, 2]]),
        ("0.5*b + 0.5*c - a", [[0, 0, 0.5, 0.5, 0]]),
    ],
)
def test_contrasts_say_what_they_test(text, rows):
    built = build_design(TABLE, "group + site + age", [text], motion=False)
    assert built.design.columns[-1] == "age"
    assert built.design.contrasts[0].matrix.tolist() == rows


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ("b - a", r"'b' is ambiguous; write arm\[b\] or sex\[b\]"),
        ("0.5*smoker + 0.5*non-smoker", "weights of the levels of group sum to 1"),
        ("smoker", "weights of the levels of group sum to 1"),
        ("sex[b] - arm[a]", "weights of the levels of (arm|sex) sum to"),
        ("smoker - nobody", "'nobody' is no column"),
        ("smoker * 2", "cannot be read|is no column"),
        ("2*", "cannot be read|is no column"),
    ],
)
def test_contrasts_that_mean_something_else_are_refused(contrast, message):
    with pytest.raises(SettingsError, match=message):
        build_design(AMBIGUOUS, "arm + sex + group", [contrast], motion=False)


def test_names_of_levels_may_hold_a_minus():
    design = build_design(AMBIGUOUS, "group", ["smoker - non-smoker"], motion=False).design
    assert design.contrasts[0].matrix.tolist() == [[0, 1]]
    spelled = build_design(AMBIGUOUS, "arm + sex", ["sex[b] - sex[a]"], motion=False).design
    assert spelled.contrasts[0].matrix.tolist() == [[0, 0, 1]]
