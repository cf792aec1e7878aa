from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from npi_bids.bids.derivatives import sibling
from npi_bids.bids.outputs import (
    CATALOGUE,
    CONTRAST,
    CONTRAST_OUTPUTS,
    ENTITY_ORDER,
    GROUP,
    GROUP_OUTPUTS,
    MEMBER,
    MODEL,
    RUN,
    STATISTICS_TABLES,
    atlas_path,
    catalogue_table,
    contrast_labels,
    join_entities,
    output_names,
    output_path,
    output_pattern,
    parse_name,
)
from npi_bids.errors import InputDataError

ENTITIES = {
    "sub": "01", "ses": "a", "task": "rest", "run": "1", "space": "MNI152NLin6Asym",
    "atlas": "Schaefer2018", "seg": "7Networks", "scale": "100",
}  # fmt: skip

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
        join_entities({"sub": "01", "desc": "my-own"})
    with pytest.raises(InputDataError, match="colour-red has unknown entities: colour"):
        join_entities({"colour": "red"})


def test_the_table_of_outputs_in_the_documentation_is_the_catalogue():
    text = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text()
    assert catalogue_table() in text, "run `make tables`"


@pytest.mark.parametrize("output", CATALOGUE.values(), ids=CATALOGUE)
def test_an_output_is_described_whole(output):
    assert output.what
    assert not output.what.endswith(".")
    assert f"_{output.suffix}" in PurePosixPath(output_pattern(output.name)).name
    matrix_of_model = output.is_matrix and output.level in (MODEL, MEMBER)
    assert bool(output.relation and output.method and output.units) == matrix_of_model
    low, high = output.bounds
    if output.role in ("p", "q"):
        assert (low, high) == (0, 1)
    if output.role == "standard error":
        assert (low, output.units) == (0, CATALOGUE[output.uncertainty_of].units)


@pytest.mark.parametrize("kind", [kind for kind in CATALOGUE if kind not in STATISTICS_TABLES])
def test_an_output_is_found_by_its_pattern(tmp_path, kind):
    known = CATALOGUE[kind]
    place = {"tpl": "X"} if known.level in (GROUP, CONTRAST) else {"sub": "01"}
    entities = {
        **place,
        "task": "rest",
        "atlas": "A",
        **({"meas": "npi"} if "tpl" in place else {}),
    }
    for other in CATALOGUE.values():
        if other.level == known.level:
            path = tmp_path / output_path(other.name, entities, "d")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    own = tmp_path / output_path(kind, entities, "d")
    assert own in list(tmp_path.glob(output_pattern(kind)))
    for other in CATALOGUE.values():
        if other.level == known.level and not known.below:
            assert sibling(own, kind, other.name) == tmp_path / output_path(
                other.name, entities, "d"
            )


def test_no_two_names_differ_in_case_alone_whatever_columns_are_called():
    labels = contrast_labels(HOSTILE)
    assert list(labels) == list(HOSTILE)
    entities = {"tpl": "X", "atlas": "A", "meas": "npi"}
    own = {**entities, "sub": "X"}
    names = [output_path(kind, own, "d") for kind in (*output_names(RUN), *output_names(MODEL))]
    names += [output_path(kind, entities, "d") for kind in GROUP_OUTPUTS]
    names += [output_path(table, entities, "d") for table in STATISTICS_TABLES]
    for label in labels.values():
        names += [output_path(kind, entities, f"d{label}") for kind in CONTRAST_OUTPUTS]
        names += [output_path(table, entities, f"d{label}") for table in STATISTICS_TABLES]
    lower = [str(name).lower() for name in names]
    twins = {name for name in lower if lower.count(name) > 1}
    assert not twins
    assert max(len(name.name) for name in names) < 255
