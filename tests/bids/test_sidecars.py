from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from npi_bids.assessment.verdict import VerdictSettings
from npi_bids.bids import sidecars
from npi_bids.bids.derivatives import find_models
from npi_bids.bids.quality_columns import quality_sidecar
from npi_bids.bids.sidecars import (
    ContrastSidecar,
    GroupFacts,
    GroupSidecar,
    Links,
    ModelSidecar,
    ModelSidecars,
    Place,
    RunSidecar,
    SelectionFacts,
    with_trust,
)
from npi_bids.errors import InputDataError
from npi_bids.io.json_records import Record, camel, described_keys, key_table, snake
from npi_bids.records import Quality
from npi_bids.surrogates.base import TrainSettings
from npi_bids.whole_brain.settings import BrainSettings
from tests.sidecars import FIELDS, model_sidecar

RECORDS = [
    cls for cls in vars(sidecars).values()
    if isinstance(cls, type) and issubclass(cls, Record) and is_dataclass(cls)
]  # fmt: skip
URI = "bids::sub-1/func/sub-1_task-x_atlas-A_meas-npi_desc-simple_relmat.json"
# What the sidecar of every matrix of a model held before it referred to that of the map.
OLD = {
    **FIELDS,
    "Training": {"n_lags": 4, "linear_is_var": 1.0},
    "Quality": {
        "r2": 0.1, "r2_own_history": 0.05, "r_seed": None, "direction_supported": True,
        "shrunk": None, "n_windows": 490, "n_train": 395, "n_valid": 95, "n_regions": 4,
    },
    "VerdictThresholds": {"direction_p": 0.05, "min_split": 0.3},
}  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda cls: cls.__name__)
def test_every_key_is_in_camel_case_and_described(record):
    for key, description in described_keys(record).items():
        if key in ("Place", "Links", "Facts", "NotTestedAgainstZero", "Columns"):
            continue  # parts of a table, which are records themselves
        assert key[0].isupper(), key
        assert "_" not in key
        assert description.endswith("."), key


def test_a_key_has_one_meaning_of_one_spelling():
    spelled = {}
    for record in RECORDS:
        for key in described_keys(record):
            assert spelled.setdefault(key.lower(), key) == key


@pytest.mark.parametrize("settings", [Quality, TrainSettings, BrainSettings, VerdictSettings])
def test_names_of_fields_survive_the_key(settings):
    for name in (field.name for field in fields(settings)):
        assert snake(camel(name)) == snake(name) == name


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
    whole = ModelSidecars(fit, ("A", "B"), Place(), Links(), URI)
    blocks = {"Quality", "Training", "Verdict", "VerdictReasons", "VerdictThresholds"}
    assert blocks <= set(whole.of_matrix("npi").to_json())
    for sidecar in (whole.of_matrix("npiq"), whole.of_matrix("jacobian"), whole.of_networks()):
        assert not blocks & set(sidecar.to_json())
        assert sidecar.to_json()["ModelSidecar"] == URI


def test_an_old_dataset_is_read(tmp_path):
    func = tmp_path / "sub-1" / "func"
    func.mkdir(parents=True)
    for measure in ("npi", "npiq"):
        path = func / f"sub-1_task-x_atlas-A_meas-{measure}_desc-simple_relmat.json"
        path.write_text(json.dumps(OLD))
        path.with_suffix(".tsv").write_text("")
    (model,) = find_models(tmp_path)
    assert model.fit.quality.n_windows == 490


def facts(n_subjects, **further):
    subjects = tuple(map(str, range(n_subjects)))
    return GroupFacts(subjects=subjects, number_of_subjects=n_subjects, **further)


def test_only_what_rests_on_tests_says_how_far_they_can_be_trusted():
    assert with_trust(facts(3), tested=True).few_subjects.startswith("n = 3")
    assert not with_trust(facts(3), tested=False).few_subjects
    assert not with_trust(facts(10), tested=True).few_subjects
    untested = facts(3, not_tested="why")
    assert with_trust(untested, tested=True).to_json()["NotTested"] == "why"
    assert "NotTested" not in with_trust(untested, tested=False).to_json()
    assert not with_trust(untested, tested=True).few_subjects


def test_what_is_left_at_its_default_may_be_left_out():
    assert set(Place(spatial_reference="orig").to_json()) == {"SpatialReference"}
    assert SelectionFacts().to_json()["GroupedBy"] is None
    assert "SplitHalfOfSubjects" not in facts(3).to_json()


def test_every_figure_of_quality_is_described():
    described = quality_sidecar().to_json()
    assert {field.name for field in fields(Quality)} <= set(described)
    assert all(text["Description"].endswith(".") for text in list(described.values())[1:])


@pytest.mark.parametrize("record", [RunSidecar, ModelSidecar, GroupSidecar, ContrastSidecar])
def test_keys_in_the_documentation_are_those_of_the_record(record):
    text = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    assert key_table(record) in text, f"paste key_table({record.__name__}) into it"
