from __future__ import annotations

import pytest

from npi_bids.bids.runs import CombineSettings, group_runs
from tests.bids.conftest import STEM, runs_of
from tests.conftest import touch


def test_a_damaged_run_spoils_the_model_it_would_be_pooled_into(three_subjects):
    name = f"sub-02_{STEM.replace('run-1', 'run-1.5')}.nii.gz"
    touch(three_subjects, f"sub-02/func/{name}")
    pooled = group_runs(runs_of(three_subjects), CombineSettings(combine="runs"))
    assert [bool(unit.problems) for unit in pooled] == [False, True, False]
    single = group_runs(runs_of(three_subjects), CombineSettings(combine="none"))
    assert sorted(bool(unit.problems) for unit in single) == [False, False, False, True]


def test_an_unreadable_session_spoils_what_pools_it(three_subjects):
    touch(three_subjects, f"sub-02/ses-1/func/sub-02_ses-1_{STEM}.nii.gz")
    (three_subjects / "sub-02/ses-2").symlink_to("missing")
    (three_subjects / f"sub-02/func/sub-02_{STEM}.nii.gz").unlink()
    runs = runs_of(three_subjects)
    for combine, spoilt in (("none", 1), ("runs", 1), ("sessions", 1)):
        units = group_runs(runs, CombineSettings(combine=combine))
        usable = [unit for unit in units if not unit.problems]
        assert len(units) - len(usable) == spoilt
        assert len(usable) == (2 if combine == "sessions" else 3)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2.0, 2.1)])
def test_runs_of_different_tr_are_never_pooled(three_subjects, first, second):
    other = STEM.replace("run-1", "run-2")
    touch(three_subjects, f"sub-02/func/sub-02_{other}.nii.gz")
    for stem, tr in ((STEM, first), (other, second)):
        (three_subjects / f"sub-02/func/sub-02_{stem}.json").write_text(
            f'{{"RepetitionTime": {tr}}}'
        )
    units = group_runs(runs_of(three_subjects), CombineSettings())
    (problem,) = next(unit.problems for unit in units if unit.entities["sub"] == "02")
    assert f"{first:g} s of" in problem
    assert f"{second:g} s of" in problem
    assert all(
        not u.problems
        for u in group_runs(runs_of(three_subjects), CombineSettings(combine="none"))
    )


@pytest.mark.parametrize(("combine", "n_units"), [("none", 8), ("runs", 4), ("sessions", 2)])
def test_runs_are_pooled_into_units(root, combine, n_units):
    units = group_runs(runs_of(root), CombineSettings(combine=combine))
    assert len(units) == n_units
    assert sum(len(unit.runs) for unit in units) == 8
    dropped = {"none": set(), "runs": {"run"}, "sessions": {"run", "ses"}}[combine]
    assert not dropped & set(units[0].entities)
