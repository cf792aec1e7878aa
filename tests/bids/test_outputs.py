from __future__ import annotations

import pytest

from npi_bids.bids.atlases import atlas_description, known_atlases, locate
from npi_bids.bids.outputs import (
    ENTITY_ORDER,
    GROUP_KINDS,
    MEASURES,
    MODEL_KINDS,
    STATISTICS_TABLES,
    UNCERTAINTIES,
    atlas_path,
    contrast_labels,
    measure_fields,
    output_path,
    parse_name,
    stem,
)
from npi_bids.bids.sidecars import spatial_fields
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.group.pretraining import OTHERS, SAME, UNKNOWN, pretrained_on, why_not_tested
from npi_bids.group.selection import SelectionSettings, select

ENTITIES = {
    "sub": "01", "ses": "a", "task": "rest", "run": "1", "space": "MNI152NLin6Asym",
    "atlas": "Schaefer2018", "seg": "7Networks", "scale": "100",
}  # fmt: skip
SYMMETRIC = {"pearsoncorrelation", "modelfc", "partialcorrelation"}
HOSTILE = (
    *("group", "Group", "GROUP", "groups", "p", "Q", "t", "n", "mean", "sd", "sign", "max"),
    *("lower", "test", "Test", "effect", "Effect", "statistic", "x", "xtf", "Xtf", "xTF", "x tf"),
    *("age", "Age", "age2", "AGE", "µ", "年齢", "-", "groupt", "groupmean", "Intercept", "nbs"),
    *("group[T.p]", "p - q", "P - Q", "pMinusQ", "I(1/age)", "x" * 300, "x" * 299 + "y"),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("timeseries", "scale-100_desc-simple_timeseries.tsv"),
        ("coverage", "scale-100_desc-simpleCoverage_dseg.tsv"),
        ("outliers", "scale-100_desc-simpleOutliers_timeseries.tsv"),
        ("npi", "scale-100_meas-npi_desc-simple_relmat.tsv"),
        ("pearsoncorrelation", "scale-100_meas-pearsoncorrelation_desc-simple_relmat.tsv"),
    ],
)
def test_outputs_lie_with_their_subject_and_session(kind, expected):
    path = output_path(kind, ENTITIES, "simple")
    assert str(path.parent) == "sub-01/ses-a/func"
    start = "sub-01_ses-a_task-rest_run-1_space-MNI152NLin6Asym_atlas-Schaefer2018_seg-7Networks_"
    assert path.name == start + expected


def test_group_files_lie_with_their_template():
    entities = {"tpl": "MNI152NLin6Asym", "task": "rest", "atlas": "AAL", "meas": "npi"}
    path = output_path("groupmean", entities, "simple")
    assert str(path) == (
        "tpl-MNI152NLin6Asym/func/"
        "tpl-MNI152NLin6Asym_task-rest_atlas-AAL_meas-npi_desc-simpleGroupmean_relmat.tsv"
    )
    assert (
        str(atlas_path("X", {"atlas": "AAL"}, "dseg", ".tsv"))
        == "tpl-X/anat/tpl-X_atlas-AAL_dseg.tsv"
    )


def test_names_survive_parsing():
    path = output_path("npi", ENTITIES, "simple")
    parsed = parse_name(path)
    assert parsed.entities == {**ENTITIES, "meas": "npi", "desc": "simple"}
    assert (parsed.suffix, parsed.extension) == ("relmat", ".tsv")
    assert list(parsed.entities) == [key for key in ENTITY_ORDER if key in parsed.entities]


def test_what_is_no_label_is_refused():
    with pytest.raises(InputDataError, match="no BIDS label"):
        stem({"sub": "01", "desc": "my-own"})
    with pytest.raises(InputDataError, match="colour-red has unknown entities: colour"):
        stem({"colour": "red"})


@pytest.mark.parametrize("measure", [*MEASURES, *UNCERTAINTIES])
def test_every_measure_is_described(measure):
    fields = measure_fields(measure)
    assert fields["Directed"] == (measure not in SYMMETRIC)
    assert fields["ValidDiagonal"] == (not measure.startswith("npi"))
    assert [axis["Name"] for axis in fields["Axes"]] == ["source", "target"]


def test_space_of_an_individual_is_no_template():
    assert spatial_fields({"space": "T1w"})["SpatialReference"] == "orig"
    assert "MNI152" in spatial_fields({"space": "MNI152NLin6Asym"})["SpatialReference"]
    assert "res-2" in spatial_fields({"space": "T1w", "res": "2"})["Resolution"]


@pytest.mark.parametrize(
    ("asked", "entities"),
    [
        ("Schaefer2018", {"atlas": "Schaefer2018", "seg": "7Networks", "scale": "100"}),
        ("schaefer2018:scale-400:seg-17Networks",
         {"atlas": "Schaefer2018", "seg": "17Networks", "scale": "400"}),
        ("AAL", {"atlas": "AAL"}),
    ],
)  # fmt: skip
def test_atlases_by_name(asked, entities):
    assert locate(asked).entities == entities


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("Schaefer", "no atlas of that name, did you mean Schaefer2018"),
        ("Schaefer2018:scale-150", "scale '150'; choose from 100, 200"),
        ("AAL:scale-100", "one scale only"),
        ("AAL:size-3", "unknown size"),
        ("some/where.txt", "expected an image of labels"),
    ],
)
def test_atlases_that_are_none(asked, message):
    with pytest.raises(SettingsError, match=message):
        locate(asked)


def test_own_atlas_is_named_after_its_file(tmp_path):
    path = tmp_path / "my_own-atlas 2.nii.gz"
    path.touch()
    assert locate(str(path)).entities == {"atlas": "myownatlas2"}
    path = tmp_path / "tpl-MNI152NLin6Asym_atlas-Mine_scale-7_dseg.nii.gz"
    path.touch()
    spec = locate(str(path))
    assert (spec.entities, spec.space) == ({"atlas": "Mine", "scale": "7"}, "MNI152NLin6Asym")
    with pytest.raises(InputDataError, match="does not exist"):
        locate(str(tmp_path / "no.nii.gz"))


@pytest.mark.parametrize("name", known_atlases())
def test_every_atlas_is_described(name):
    described = atlas_description(locate(name))
    assert {"Name", "License", "Authors", "ReferencesAndLinks", "TemplateDrawnIn"} <= set(
        described
    )


def test_no_two_names_differ_in_case_alone_whatever_columns_are_called():
    labels = contrast_labels(HOSTILE)
    assert list(labels) == list(HOSTILE)
    entities = {"tpl": "X", "atlas": "A", "meas": "npi"}
    names = [output_path(kind, entities, "d") for kind in GROUP_KINDS]
    names += [output_path(table, entities, "d") for table in STATISTICS_TABLES]
    for label in labels.values():
        names += [output_path(kind, entities, f"d{label}") for kind in MODEL_KINDS]
        names += [output_path(table, entities, f"d{label}") for table in STATISTICS_TABLES]
    lower = [str(name).lower() for name in names]
    twins = {name for name in lower if lower.count(name) > 1}
    assert not twins
    assert max(len(name.name) for name in names) < 255


@pytest.mark.parametrize(
    ("facts", "on"),
    [
        ([{}, {}], ""),
        ([{"Pretrained": {"SubjectIncluded": False}}] * 2, OTHERS),
        ([{"Pretrained": {"SubjectIncluded": i}} for i in (False, True)], SAME),
        # Sidecars of before this was written down.
        ([{"Pretrained": {"SubjectLeftOut": True}}], SAME),
        ([{"Pretrained": {"SubjectLeftOut": False}}], UNKNOWN),
        ([{"Pretrained": {"SubjectIncluded": False}}, {"Pretrained": {}}], UNKNOWN),
    ],
)
def test_subjects_count_as_the_same_unless_it_is_known_that_they_are_not(facts, on):
    assert pretrained_on(facts) == on
    assert bool(why_not_tested(on, mean=True)) == bool(on)
    assert bool(why_not_tested(on, mean=False)) == (on in (SAME, UNKNOWN))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("a", "A"), "'a' and 'A' make the label 'a'"),
        (("healthy control", "healthycontrol"), "make the label 'healthycontrol'"),
        (("+", "a"), r"'\+' makes the label ''"),
    ],
)
def test_groups_whose_labels_would_be_one_are_refused(tmp_path, values, message):
    rows = "".join(f"sub-{n:02d}\t{value}\n" for n, value in enumerate(values))
    (tmp_path / "participants.tsv").write_text(f"participant_id\tarm\n{rows}")
    with pytest.raises(SettingsError, match=message):
        select([], tmp_path, SelectionSettings(group_by="arm"))
