from __future__ import annotations

import pytest

from npi_bids.errors import ConfigurationError, InputDataError, NoUsableDataError
from npi_bids.group.cohorts import find_cohorts
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
