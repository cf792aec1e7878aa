from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from npi_bids.bids.sidecars import Links, SubjectFields, table_sidecar
from npi_bids.errors import ConfigurationError, InputDataError, NoUsableDataError
from npi_bids.group.cohorts import RESULT_COLUMNS, Cohort, find_cohorts, subject_rows
from npi_bids.group.selection import SelectionSettings
from tests.conftest import touch
from tests.sidecars import model_sidecar


def model(root, sub, task="rest", configuration="abc", tr=2.0, ses=None):
    stem = f"sub-{sub}/" + (f"ses-{ses}/" if ses else "") + f"func/sub-{sub}"
    stem += (f"_ses-{ses}" if ses else "") + f"_task-{task}_atlas-X_meas-npi_desc-simple_relmat"
    touch(root, f"{stem}.tsv")
    sidecar = model_sidecar(ConfigurationHash=configuration, RepetitionTime=tr)
    sidecar.write(root / f"{stem}.json")


def test_groups_by_task_with_sessions_within_subjects(tmp_path):
    for sub in ("1", "2"):
        for ses in ("a", "b"):
            model(tmp_path, sub, ses=ses)
        model(tmp_path, sub, task="nback")
    cohorts = {
        cohort.entities["task"]: cohort
        for cohort in find_cohorts(tmp_path, SelectionSettings(), 2)[0]
    }
    assert {key: len(c.subjects) for key, c in cohorts.items()} == {"rest": 2, "nback": 2}
    assert len(cohorts["rest"].subjects["1"]) == 2


def test_settings_are_never_mixed(tmp_path):
    model(tmp_path, "1")
    model(tmp_path, "2", configuration="xyz")
    with pytest.raises(ConfigurationError, match=r"configuration.*abc: sub-1; xyz: sub-2"):
        find_cohorts(tmp_path, SelectionSettings(), 2)


def test_sampling_periods_are_never_mixed(tmp_path):
    model(tmp_path, "1")
    model(tmp_path, "2", tr=0.8)
    with pytest.raises(InputDataError, match=r"sampling period.*2.0: sub-1; 0.8: sub-2"):
        find_cohorts(tmp_path, SelectionSettings(), 2)


def test_no_group_says_why(tmp_path):
    with pytest.raises(NoUsableDataError, match="participant level"):
        find_cohorts(tmp_path, SelectionSettings(), 2)
    model(tmp_path, "1")
    with pytest.raises(NoUsableDataError, match="No group has 2 subjects"):
        find_cohorts(tmp_path, SelectionSettings(), 2)


def test_the_table_of_subjects_has_likeness_to_fc_and_stripes():
    quality = {"NWindows": 300, "NTrain": 240, "NValid": 60, "NRegions": 12,
               "DirectionSupported": True}  # fmt: skip
    fits = [model_sidecar(Quality={**quality, "FcR": r, "StripeShare": s}).fit
            for r, s in ((0.9, 0.2), (0.7, 0.4))]  # fmt: skip
    models = tuple(
        SimpleNamespace(fit=fit, runs=list, kind="process", own_kind="VAR") for fit in fits
    )
    (row,) = subject_rows(Cohort({}, "simple", {"1": models}), Path("none"))
    assert row["fc_r"] == pytest.approx(0.8)
    assert row["stripe_share"] == pytest.approx(0.3)
    assert row["direction_supported"] == 1.0
    assert (row["kind"], row["own_kind"]) == ("process", "VAR")
    assert set(row) == set(RESULT_COLUMNS)
    described = table_sidecar("subjects", row, Links(), SubjectFields(
        subjects=("1",), number_of_subjects=1)).to_json()  # fmt: skip
    assert "functional connectivity" in described["fc_r"]["Description"]
    assert set(row) - {"participant_id"} <= set(described)
