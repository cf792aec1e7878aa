"""What the page of the groups may say of a mean map, by what its tests support."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from npi_bids.bids.sidecars import ENOUGH_SUBJECTS, GroupFields, GroupOrigin, MapReliability
from npi_bids.group.analysis import GroupTarget, SubjectMaps, save_description
from npi_bids.group.settings import GroupSettings
from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult
from npi_bids.reports import group as group_module
from npi_bids.reports.components import GroupPage, SortedTable
from npi_bids.reports.group import _quality_strips, cohort_section
from npi_bids.reports.group_verdict import _name_pairs, present_verdict
from npi_bids.reports.page import group_page
from tests.reports.markup import check

LABELS = tuple("ABCDEF")
NODES = "tpl-T/anat/tpl-T_atlas-Six_dseg.tsv"
KINDS = ("process", "VAR")


@pytest.fixture
def drawn(monkeypatch):
    """Return the options with which connections are drawn."""
    options = []
    monkeypatch.setattr(
        group_module, "draw_connections", lambda *_, **given: options.append(given) or []
    )
    return options


@pytest.fixture
def describe(tmp_path):
    """Return a function that writes a group of maps and returns its section of the page."""

    def make(n, strength, back=0.0, *, kinds=KINDS[:1]):
        """Write n maps in which A drives B with a strength, and B drives A ``back``."""
        rng, out = np.random.default_rng(0), tmp_path / "out"
        (out / "tpl-T" / "anat").mkdir(parents=True)
        nodes = pd.DataFrame({"index": range(1, 7), "name": LABELS, "network": list("xxxyyy")})
        nodes.to_csv(out / NODES, sep="\t", index=False)
        common = np.zeros((6, 6))
        common[0, 1], common[1, 0] = strength, back
        files = {"npi": {}, "npiunshrunk": {}, "npireversed": {}}
        for subject in range(n):
            for measure, by_subject in files.items():
                matrix = common.T if measure == "npireversed" else common
                matrix = matrix + 0.1 * rng.standard_normal((6, 6))
                np.fill_diagonal(matrix, 0)
                label = f"{subject + 1:02d}"
                path = out / f"sub-{label}" / f"sub-{label}_meas-{measure}_relmat.tsv"
                write_matrix(ECResult(matrix, LABELS), path)
                by_subject[label] = [path]
        rows = [
            {"participant_id": f"sub-{label}", "n_windows": 200, "expected_r": 0.5,
             "r_split": 0.5, "direction_supported": 1.0, "mean_fd": 0.1,
             "kind": kinds[number % len(kinds)]}
            for number, label in enumerate(files["npi"])
        ]  # fmt: skip
        origin = GroupOrigin.from_json({"NodeFiles": [f"bids::{NODES}"], "ConfigurationHash": "x"})
        entities = {"task": "rest", "space": "T", "atlas": "Six"}
        target = GroupTarget(out, entities, "simple", origin, out)
        save_description(SubjectMaps(*files.values()), rows, target,
                         GroupSettings(min_subjects=2), tmp_path / "work")  # fmt: skip
        mean = next(Path(out).glob("tpl-T/func/*meas-npi_desc-simpleGroupmean_relmat.tsv"))
        return cohort_section(out, mean, 1)

    return make


def findings(section):
    return {topic: finding for topic, finding, _ in section.verdict.statements}


def render(section):
    page = group_page(GroupPage("0", (section,), SortedTable("members", "Who", ("a",), ())))
    check(page)
    return page


def test_a_group_with_a_direction_has_arrows_and_names_its_pairs(describe, drawn):
    section = describe(12, 1.0)
    assert findings(section)["direction"] == "supported"
    assert drawn[0]["directed"]
    assert np.isfinite(drawn[0]["significant"][0, 1])
    assert np.isnan(drawn[0]["significant"][1, 0])
    strongest, pairs = section.summary
    assert strongest.startswith("The strongest mean connection is A → B (")
    assert "significant (family-wise p of at most 0.05): A → B." in pairs
    edges, _, regions = section.tables
    assert edges.title == "The 30 strongest mean connections"
    assert not edges.folded
    assert not regions.folded
    assert edges.rows[0][:2] == ("A", "B")


def test_a_group_without_direction_has_lines_and_no_sender(describe, drawn):
    section = describe(12, 1.0, 1.0)
    assert findings(section)["direction"] == "not supported"
    assert not drawn[0]["directed"]
    assert section.summary[0].startswith("Read the mean map as undirected")
    assert "between A and B" in section.summary[1]
    assert "→" not in "".join(section.summary)
    edges, _, regions = section.tables
    assert edges.title.endswith("mean connections, whose direction may not be read")
    assert not edges.folded
    assert regions.folded
    assert "direction may not be read" in regions.title


def test_where_nothing_is_significant_the_first_sentence_says_so(describe, drawn):
    section = describe(12, 0.0)
    page = render(section)
    sentence = "None of 30 connections has q below 0.05"
    assert section.verdict.statements[0][2].startswith(sentence)
    assert page.index(sentence) < page.index("Included and excluded participants")
    assert not any("strongest" in line for line in section.summary)
    assert not np.isfinite(drawn[0]["significant"]).any()
    edges = section.tables[0]
    assert edges.folded
    assert "none of which has q below 0.05" in edges.title


def test_three_subjects_have_neither_q_nor_direction(describe, drawn):
    section = describe(3, 1.0)
    assert findings(section)["connections"] == "too few subjects for q"
    assert findings(section)["direction"] == "not supported"
    assert "cannot be tested with 3 subjects" in section.summary[0]
    assert "The signals of 3 of 3 subjects pass the test of direction" in render(section)
    assert "between A and B" in section.summary[1]
    assert drawn == [{"significant": None, "directed": False}]
    assert section.tables[0].title == (
        "The 30 strongest mean connections, whose direction may not be read"
    )


def test_the_verdict_names_kinds_reliability_and_who_differs_before_all_else(describe, drawn):
    section = describe(ENOUGH_SUBJECTS + 2, 1.0, kinds=KINDS)
    page = render(section)
    top = page[: page.index("Included and excluded participants")]
    assert "12 subjects. Kinds of fit: VAR: 6; process: 6." in top
    assert "on different scales" in top
    for topic in ("Reliability", "Expected accuracy", "Direction", "Differences between"):
        assert f"<dt>{topic}" in top
    assert "differs most from the mean" in top
    assert "What more subjects would bring" in top
    assert page.count("What more subjects would bring") == 1


def test_no_curve_is_drawn_where_maps_agree_no_better_than_noise():
    unreliable = MapReliability(all=-0.1, symmetric=-0.1, antisymmetric=0.1)
    group = GroupFields(subjects=("a", "b"), number_of_subjects=2, map_reliability=unreliable)
    assert present_verdict(group).figures == ()


@pytest.mark.parametrize(
    ("details", "survives"),
    [
        ({}, True),
        ({"q": np.full((2, 2), np.nan)}, True),  # too few subjects, and no permutations
        ({"q": np.full((2, 2), 0.2)}, False),
        ({"q": np.full((2, 2), 0.2), "p": np.full((2, 2), 0.01)}, False),
        ({"q": np.full((2, 2), 0.2), "p FWE": np.full((2, 2), 0.04)}, True),
    ],
)
def test_an_effect_survives_by_corrected_p_alone(details, survives):
    assert group_module._any_corrected(details) == survives


def test_of_many_pairs_those_with_the_largest_difference_are_named():
    difference = np.triu(np.arange(36.0).reshape(6, 6), k=1)
    (line,) = _name_pairs(LABELS, difference - difference.T, np.full((6, 6), 0.01))
    assert line.startswith("The direction of 15 pairs of regions is significant")
    assert line.endswith("largest differences in E → F, D → F, D → E, C → F, C → E.")


def test_of_many_subjects_only_those_that_fail_have_a_link():
    rows = [
        {
            "participant_id": f"sub-{n:03d}",
            "mean_fd": n / 300,
            "verdict": "fail" if n == 7 else "pass",
        }
        for n in range(300)
    ]
    strip = next(strip for strip in _quality_strips(rows, {}) if len(strip.dots) == 300)
    assert [dot.label for dot in strip.dots if dot.link] == ["sub-007"]
    few = next(strip for strip in _quality_strips(rows[:20], {}) if len(strip.dots) == 20)
    assert all(dot.link for dot in few.dots)
