"""Groups of maps of several kinds of fit."""

from __future__ import annotations

import numpy as np

from npi_bids.group.glm import Contrast, Design
from npi_bids.group.kinds import (
    KindsOfRows,
    count_kinds,
    describe_association,
    describe_mixture,
    kind_association,
)

N = 16
GROUP = np.arange(N) % 2


def rows_of(kinds):
    return [{"participant_id": f"sub-{n}", "kind": kind} for n, kind in enumerate(kinds)]


def associate(kinds, group=GROUP):
    contrast = Contrast("group", np.array([[0.0, 1.0]]))
    design = Design(np.column_stack([np.ones(N), group]), ("one", "group"), (), np.zeros(N))
    return kind_association(
        KindsOfRows(rows_of(kinds)), design, contrast, 0, lambda values: (values, None)
    )


def test_a_mixture_of_kinds_is_described_with_its_counts():
    counts = count_kinds(rows_of(["VAR", "process", "process"]))
    assert counts == {"process": 2, "VAR": 1}
    assert "2 kinds of fit (process: 2; VAR: 1)" in describe_mixture(counts)
    assert describe_mixture({"process": 3}) == ""


def test_a_kind_that_goes_with_the_group_is_named():
    kinds = ["VAR" if patient and n > 2 else "process" for n, patient in enumerate(GROUP)]
    p = associate(kinds)
    assert p <= 0.05
    assert "cannot be told from" in describe_association(p)


def test_kinds_that_do_not_differ_between_groups_are_not_associated():
    rng = np.random.default_rng(0)
    p = [associate(rng.choice(["process", "VAR", "process, networks"], N)) for _ in range(40)]
    assert np.mean(np.array(p) <= 0.05) <= 0.125
    assert max(p) > 0.5
    assert describe_association(max(p)) == ""


def test_one_kind_has_no_association():
    assert associate(["process"] * N) is None
    assert describe_association(None) == ""


def test_a_kind_that_separates_groups_completely_has_the_smallest_p():
    assert associate(["process", "VAR"] * 8) <= 0.01


def associate_change(first, second):
    """Test whether the kind changes between two sessions of the same subjects."""
    n = len(first)
    mean = Contrast("Intercept", np.array([[1.0]]))
    design = Design(np.ones((n, 1)), ("Intercept",), (), np.zeros(n))
    kinds = KindsOfRows(rows_of(second), tuple(first))
    return kind_association(kinds, design, mean, 0, lambda values: (values, None))


def test_a_kind_that_most_subjects_change_between_sessions_is_associated():
    before, after = ["process"] * 10, ["VAR"] * 9 + ["process"]
    assert associate_change(before, after) <= 0.05
    assert associate_change(before, ["VAR"] * 10) == 2.0**-9


def test_kinds_that_change_to_and_fro_are_not_associated_with_the_session():
    before = ["process", "VAR"] * 5
    assert associate_change(before, ["VAR", "process"] * 5) > 0.5
    assert associate_change(before, before) is None
