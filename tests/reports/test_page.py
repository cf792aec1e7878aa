import json

import numpy as np

from npi_bids.reports import figures_signals
from npi_bids.reports.components import (
    Figure,
    GroupPage,
    IndexPage,
    KeyFigure,
    Methods,
    ModelSection,
    Row,
    SortedTable,
    SubjectPage,
)
from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.page import bibliography, group_page, index_page, subject_page
from npi_bids.surrogates.families import families
from tests.reports.markup import check

MATRIX = np.array([[0.0, 1, np.nan], [-0.5, 0, 0.2], [np.nan, 0.1, 0]])


def section(**facts):
    drawn = Figure(
        "ec", "EC", "Rows are sources.", figures_signals.draw_matrix(MATRIX, [], title="t"), "EC"
    )
    rows = (Row("runs", "2"),)
    return ModelSection("task-rest", "done", processing=rows, figures=(drawn,), **facts)


def test_subject_page_is_whole_and_needs_no_network():
    text = subject_page(SubjectPage("01", "0", (section(files=("sub-01/x.tsv",)),), Methods("M")))
    assert "sub-01/x.tsv" in check(text).links
    assert 'lang="en"' in text


def test_the_kind_of_fit_stands_at_the_top():
    kind = "The surrogate is a ridge VAR."
    text = subject_page(SubjectPage("01", "0", (section(kind=kind, verdict="pass"),)))
    assert text.index(kind) < text.index("Pass: all targets are met")


def test_a_page_escapes_what_it_is_told():
    failed = ModelSection("<b>", "failed", reason="a < b & c", crash="<script>alert(1)</script>")
    text = subject_page(SubjectPage("01", "0", (failed,)))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    assert "a &lt; b &amp; c" in text


def test_group_page_names_who_is_not_in():
    member = ("sub-02", "task-rest", "no", "n/a", "n/a", "n/a", "n/a", "n/a", "too short")
    columns = ("participant", *"bcdefgh", "reason")
    table = SortedTable("members", "Participants", columns, (member,), ("sub-02.html",))
    text = group_page(GroupPage("0", (), table))
    assert "sub-02.html" in check(text).links
    assert "too short" in text


def test_the_list_of_subjects_leads_to_their_pages():
    table = SortedTable("s", "All", ("participant", "verdict"), (("sub-02", "pass"),),
                        ("sub-02.html",))  # fmt: skip
    text = index_page(IndexPage("0", (("pass", 1),), table))
    assert "sub-02.html" in check(text).links
    assert "1 pass" in text


def test_long_reasons_are_folded_so_that_rows_stay_low():
    reason = "direction is not supported, " * 8
    table = SortedTable("s", "All", ("participant", "reasons"), (("sub-02", reason),))
    text = index_page(IndexPage("0", (), table))
    check(text)
    assert f'<details class="long"><summary>{reason[:48]}…</summary>{reason}</details>' in text


def test_a_name_cannot_end_the_data_of_a_page():
    labels = ("</script><script>alert(1)</script>", "B", "C")
    view = MatrixView("m", labels, ["a", "b", "a"], [Layer("EC", "t", MATRIX)], {"q": MATRIX})
    section_ = ModelSection("task-rest", "done", view=view)
    text = subject_page(SubjectPage("01", "0", (section_,)))
    assert "<script>alert" not in text
    content = json.loads(view.data)
    assert content["labels"][0] == labels[0]
    assert content["order"] == [0, 2, 1]


def test_key_figures_say_in_words_what_colours_say():
    key = tuple(KeyFigure(state, "1", "2", "why", state)
                for state in ("good", "caution", "bad", "unknown"))  # fmt: skip
    text = subject_page(SubjectPage("01", "0", (ModelSection("t", "done", key=key),)))
    for words in ("✓ good", "! caution", "✗ bad", "unknown"):
        assert words in text


def test_every_reference_of_the_methods_text_is_in_the_bibliography():
    import re
    from importlib.resources import files

    from npi_bids.parcellation.atlas_table import read_atlas_table

    template = (files("npi_bids.reports.templates") / "methods.md.j2").read_text()
    trainings = [{"rdcm_density": 0.5, "epochs": 80}]
    families_text = " ".join(family.describe(trainings) for family in families().values())
    cited = set(re.findall(r"@(\w+)", template + families_text))
    assert "fraessle2018" in cited
    cited |= {facts["cite"] for facts in read_atlas_table().values()}
    references = bibliography(" ".join(f"@{key}" for key in cited))
    assert set(re.findall(r"@\w+\{(\w+),", references)) == cited
    assert "{Schaefer2018," not in bibliography("[@luo2025; @winkler2014]")
