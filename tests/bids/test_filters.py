"""Filter files mean what they mean in fMRIPrep and pybids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from npi_bids.bids.datasets import find_datasets, walk
from npi_bids.bids.filters import Special, matches_metadata, read_filters
from npi_bids.bids.layout import QuerySettings, select_runs
from npi_bids.errors import InputDataError, SettingsError
from tests.bids.filter_cases import (
    CASES,
    LOOSER,
    find_with_pybids,
    make_dataset,
    without_space,
    write_filters,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("filters"))


@pytest.fixture(scope="module")
def stock(root):
    """Return the layout that pybids makes by itself, with metadata."""
    from bids.layout import BIDSLayout

    return BIDSLayout(root, validate=False, is_derivative=True)


@pytest.fixture(scope="module")
def index(root):
    from npi_bids.bids.indexing import open_index

    (dataset,) = find_datasets(root, {})
    return open_index(dataset, list(walk(dataset)))


@pytest.fixture
def select(root, index, tmp_path, monkeypatch):
    """Return a function that selects runs with a filter file; the index is made once."""
    from npi_bids.bids import indexing

    monkeypatch.setattr(indexing, "open_index", lambda *_, **__: index)

    def select_with(content, **query):
        path = write_filters(tmp_path, content)
        settings = QuerySettings(bids_filter_file=path, **query)
        return select_runs(find_datasets(root, {}), settings)

    return select_with


def names(selection):
    return {without_space(run.path.name) for run in selection.runs if not run.problem}


def test_there_are_fifty_filters():
    assert len(CASES) == 50


@pytest.mark.parametrize("name", CASES)
def test_a_filter_finds_what_pybids_finds(select, stock, name):
    expected = find_with_pybids(stock, CASES[name])
    if isinstance(expected, type):
        with pytest.raises(SettingsError, match="--bids-filter-file"):
            select(CASES[name])
    elif not expected:
        with pytest.raises(InputDataError, match=r"--bids-filter-file.*no run matches"):
            select(CASES[name])
    else:
        assert names(select(CASES[name])) == expected


def test_the_documentation_says_what_pybids_finds_and_that_the_same_is_found_here(stock):
    page = (Path(__file__).parents[2] / "docs" / "validation.md").read_text(encoding="utf-8")
    for content in CASES.values():
        found = find_with_pybids(stock, content)
        count = "error" if isinstance(found, type) else len(found) or "none"
        (row,) = [
            line for line in page.splitlines() if line.startswith(f"| `{json.dumps(content)}` |")
        ]
        cells = row.strip("| ").split(" | ")
        assert (cells[1], cells[3]) == (str(count), str(count)), row


@pytest.mark.parametrize("name", LOOSER)
def test_more_spellings_are_understood(select, stock, name):
    content, equivalent = LOOSER[name]
    expected = find_with_pybids(stock, equivalent)
    assert expected
    assert names(select(content)) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"BOLD": {}}, "the key 'BOLD'.*did you mean bold"),
        ({"timeserie": {}}, "did you mean timeseries"),
        ({"t1w": {}}, "remove all others"),
        ({"bold": {"taks": None}}, r"'taks' is not a recognized entity. Did you mean \['task'"),
        ({"bold": {"RepetitionTim": 2}}, "no sidecar has the field 'RepetitionTim'; found Repet"),
        ({"bold": {"session": "Query.NOTHING"}}, "expected Query.NONE, Query.ANY"),
        ({"bold": {"session": {"a": 1}}}, "expected a label, a list of labels, or null"),
        ({"bold": {"target": "run"}}, "target is not a filter"),
        ({"bold": {"task": "r(", "regex_search": True}}, "no regular expression"),
        ({"bold": []}, "must hold an object"),
    ],
)
def test_what_has_no_meaning_is_an_error_with_a_suggestion(select, content, words):
    with pytest.raises(SettingsError, match=words):
        select(content)


def test_a_filter_without_a_match_says_what_there_is(select):
    with pytest.raises(InputDataError, match="task: res; found task: echoes, nback, rest"):
        select({"bold": {"task": "res"}})


def test_a_label_in_a_list_that_no_run_has_is_named(select, caplog):
    assert len(names(select({"bold": {"task": ["rest", "resst"]}}))) == 18
    assert "no run has task resst; found echoes, nback, rest" in caplog.text


def test_options_and_filters_have_to_match_both(select):
    selection = select({"bold": {"session": "01"}}, session_label=("01", "1"))
    assert {run.entities["ses"] for run in selection.runs} == {"01"}
    with pytest.raises(InputDataError, match="no run matches session: 01"):
        select({"bold": {"session": "01"}}, session_label=("1",))


def test_a_participant_that_loses_all_runs_to_a_filter_is_accounted_for(select):
    selection = select({"bold": {"task": "echoes"}})
    assert {run.entities["sub"] for run in selection.runs} == {"03"}
    lost = {absence.entities["sub"]: absence.reason for absence in selection.absences}
    assert set(lost) == {"01", "1"}
    assert all("no run matches --bids-filter-file" in reason for reason in lost.values())


def test_images_of_another_description_are_told_from_the_default(select):
    assert select({}).descs == ()
    assert select({"bold": {"desc": "smoothAROMAnonaggr"}}).descs == ("smoothAROMAnonaggr",)


@pytest.mark.parametrize(
    ("value", "permitted", "expected"),
    [
        (2, [2.0], True),
        (2.5, [2.0], False),
        (None, [Special("NONE")], True),
        (2.0, [Special("NONE")], False),
        (2.0, [Special("ANY")], True),
        (None, [Special("ANY")], False),
        (None, [Special("NONE"), 2.0], True),
        (None, [Special("OPTIONAL")], True),
        ("AP", ["A"], False),
    ],
)
def test_metadata(value, permitted, expected):
    assert matches_metadata(value, permitted, regex=False) is expected


def test_no_file_means_no_filters():
    assert not any(read_filters("").values())
