from __future__ import annotations

import json
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from npi_bids.bids import sidecars
from npi_bids.bids.outputs import MEASURES, UNCERTAINTIES
from npi_bids.bids.sidecars import (
    ContrastSidecar,
    GroupFields,
    GroupSidecar,
    Links,
    ModelSidecar,
    ModelSidecars,
    RunSidecar,
    SelectionFields,
    SpatialGrid,
    describe_grid,
    matrix_fields,
    qualify_tests,
)
from npi_bids.errors import InputDataError
from npi_bids.io.json_records import Record, described_keys, key_table
from tests.sidecars import FIELDS, OLD, model_sidecar

RECORDS = [
    cls for cls in vars(sidecars).values()
    if isinstance(cls, type) and issubclass(cls, Record) and is_dataclass(cls)
]  # fmt: skip
URI = "bids::sub-1/func/sub-1_task-x_atlas-A_meas-npi_desc-simple_relmat.json"

SYMMETRIC = {"pearsoncorrelation", "modelfc", "partialcorrelation"}


@pytest.mark.parametrize("record", RECORDS, ids=lambda cls: cls.__name__)
def test_every_key_is_in_camel_case_and_described(record):
    for key, description in described_keys(record).items():
        if key in ("Grid", "Links", "SubjectFields", "NotTestedAgainstZero", "Columns"):
            continue  # parts of a table, which are records themselves
        assert key[0].isupper(), key
        assert "_" not in key
        assert description.endswith("."), key


def test_a_key_has_one_meaning_of_one_spelling():
    spelled = {}
    for record in RECORDS:
        for key in described_keys(record):
            assert spelled.setdefault(key.lower(), key) == key


def test_what_is_written_is_read_back(tmp_path):
    sidecar = model_sidecar(Pretrained={"SubjectIncluded": False})
    sidecar.write(tmp_path / "x.json")
    read = ModelSidecar.read(tmp_path / "x.json")
    assert json.dumps(read.to_json()) == json.dumps(sidecar.to_json())
    assert sidecar.to_json()["Training"] == {"NLags": 1}
    assert sidecar.fit.training == {"n_lags": 1}


def test_a_sidecar_of_an_older_version_is_read():
    fit = ModelSidecar.from_json(OLD).fit
    assert (fit.quality.r2, fit.quality.r2_own_history) == (0.1, 0.05)
    assert fit.quality.r_seed != fit.quality.r_seed  # NaN
    assert fit.quality.shrunk is False
    assert fit.training == {"n_lags": 4, "linear_is_var": 1.0}
    assert (fit.verdict_thresholds.direction_p, fit.verdict_thresholds.min_split) == (0.05, 0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Quality": [1]}, r"Quality: \[1\]; expected an object"),
        ({"Quality": {**FIELDS["Quality"], "R2": "high"}}, r"Quality, R2: 'high'; expected a num"),
        ({"RepetitionTime": True}, "RepetitionTime: True; expected a number"),
        ({"Sources": "bids::x"}, "Sources: 'bids::x'; expected a list"),
        ({"Sources": [1]}, "Sources: 1; expected a text"),
        ({"RegionsInModel": 2.5}, "RegionsInModel: 2.5; expected a whole number"),
        ({"VerdictThresholds": {"DirectionP": 3}}, "--direction-p must be below 1"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(changes, message):
    with pytest.raises(InputDataError, match=message):
        model_sidecar(**changes)


@pytest.mark.parametrize("key", ["Quality", "Verdict", "RepetitionTime"])
def test_a_key_that_is_missing_is_named(key):
    content = {name: value for name, value in FIELDS.items() if name != key}
    with pytest.raises(InputDataError, match=f"lacks {key}"):
        ModelSidecar.from_json(content)


def test_long_blocks_stand_in_the_sidecar_of_the_map_alone():
    fit = model_sidecar().fit
    whole = ModelSidecars(fit, ("A", "B"), SpatialGrid(), Links(), URI)
    blocks = {"Quality", "Training", "Verdict", "VerdictReasons", "VerdictThresholds"}
    assert blocks <= set(whole.describe_matrix("npi").to_json())
    for sidecar in (
        whole.describe_matrix("npiq"),
        whole.describe_matrix("jacobian"),
        whole.describe_networks(),
    ):
        assert not blocks & set(sidecar.to_json())
        assert sidecar.to_json()["ModelSidecar"] == URI


def facts(n_subjects, **further):
    subjects = tuple(map(str, range(n_subjects)))
    return GroupFields(subjects=subjects, number_of_subjects=n_subjects, **further)


def test_only_what_rests_on_tests_says_how_far_they_can_be_trusted():
    assert qualify_tests(facts(3), tested=True).few_subjects.startswith("n = 3")
    assert "taken from all connections" not in qualify_tests(facts(3), tested=True).few_subjects
    assert "taken from all connections" in qualify_tests(facts(2), tested=True).few_subjects
    assert not qualify_tests(facts(3), tested=False).few_subjects
    assert not qualify_tests(facts(10), tested=True).few_subjects
    untested = facts(3, not_tested="why")
    assert qualify_tests(untested, tested=True).to_json()["NotTested"] == "why"
    assert "NotTested" not in qualify_tests(untested, tested=False).to_json()
    assert not qualify_tests(untested, tested=True).few_subjects


def test_what_is_left_at_its_default_may_be_left_out():
    assert set(SpatialGrid(spatial_reference="orig").to_json()) == {"SpatialReference"}
    assert SelectionFields().to_json()["GroupedBy"] is None
    assert "SplitHalfOfSubjects" not in facts(3).to_json()


@pytest.mark.parametrize("record", [RunSidecar, ModelSidecar, GroupSidecar, ContrastSidecar])
def test_keys_in_the_documentation_are_those_of_the_record(record):
    text = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    assert key_table(record) in text, "run `make tables`"


def test_p_q_and_standard_errors_say_what_they_can_be():
    p, error, ec = (matrix_fields(kind) for kind in ("npip", "npistderr", "npi"))
    assert (p.minimum, p.maximum, p.non_negative) == (0, 1, True)
    assert p.measure_units == "probability"
    assert (error.minimum, error.maximum, error.non_negative) == (0, None, True)
    assert error.measure_units == ec.measure_units
    assert (ec.minimum, ec.non_negative) == (None, False)


@pytest.mark.parametrize("measure", [*MEASURES, *UNCERTAINTIES])
def test_every_measure_is_described(measure):
    fields = matrix_fields(measure)
    assert fields.directed == (measure not in SYMMETRIC)
    assert fields.valid_diagonal == (not measure.startswith("npi"))
    assert [axis.name for axis in fields.axes] == ["source", "target"]


def test_space_of_an_individual_is_no_template():
    assert describe_grid({"space": "T1w"}).spatial_reference == "orig"
    assert "MNI152" in describe_grid({"space": "MNI152NLin6Asym"}).spatial_reference
    assert "res-2" in describe_grid({"space": "T1w", "res": "2"}).resolution
