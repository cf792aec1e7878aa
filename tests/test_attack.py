"""Hostile input is read rightly, refused in words, or said to be hostile."""

import pytest

from benchmarks.attack import ATTACKS, run


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_no_hostile_input_changes_a_result_without_a_word(name):
    counts, fault = run(ATTACKS[name], n_examples=60 if name == "arrays" else 300)
    assert fault is None, fault
    assert counts["right"]
    assert counts["refused"]
