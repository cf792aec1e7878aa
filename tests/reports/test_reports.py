import html.parser
import json

import numpy as np
import pandas as pd
import pytest

from npi_bids.plotting import network_order
from npi_bids.reports import figures_connectivity, figures_signals
from npi_bids.reports.components import (
    Figure,
    GroupPage,
    IndexPage,
    KeyFigure,
    ModelSection,
    Row,
    SortedTable,
    SubjectPage,
    number,
)
from npi_bids.reports.figures_connectivity import Layer, MatrixView, pack, unpack
from npi_bids.reports.page import bibliography, group_page, index_page, subject_page

MATRIX = np.array([[0.0, 1, np.nan], [-0.5, 0, 0.2], [np.nan, 0.1, 0]])


class Checker(html.parser.HTMLParser):
    """Collects what a page refers to, and sees that every tag is closed."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(text):
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    outside = [link for link in checker.links if link and link.startswith(("http", "//"))]
    assert not outside, outside
    return checker


def test_networks_keep_the_order_of_their_first_region():
    assert network_order(["b", "a", "b", "c", "a"]) == [0, 2, 1, 4, 3]


def test_figures_are_the_same_bytes_each_time():
    one, same = (figures_signals.draw_matrix(MATRIX, ["a", "b", "a"], title="t") for _ in range(2))
    assert one == same
    assert one.startswith("<svg")


@pytest.mark.parametrize("networks", [[], ["a", "b", "a"]])
def test_matrix_with_nothing_in_it_can_be_drawn(networks):
    assert "<svg" in figures_signals.draw_matrix(np.full((3, 3), np.nan), networks, title="t")


def test_other_figures():
    curve = pd.DataFrame({"epoch": [1, 2], "train_mse": [1, 0.5], "held_out_mse": [1, 0.8]})
    motion = pd.DataFrame({"left_out": [0, 1, 0], "framewise_displacement": [np.nan, 0.9, 0.1]})
    coverage = pd.DataFrame({"coverage": [1.0, 0.4, 0.9]})
    for svg in (
        figures_signals.draw_training(curve, {"own past": 0.3}),
        figures_signals.draw_prediction({"surrogate": 0.4, "persistence": -0.2}),
        figures_signals.draw_agreement(MATRIX, MATRIX, 0.9),
        figures_signals.draw_coverage([coverage], 0.5),
        figures_signals.draw_motion([motion, motion], 0.5, 2.0),
    ):
        check(svg)


def section(**facts):
    drawn = Figure(
        "ec", "EC", "Rows are sources.", figures_signals.draw_matrix(MATRIX, [], title="t"), "EC"
    )
    return ModelSection("task-rest", "done", done=(Row("runs", "2"),), figures=(drawn,), **facts)


def test_subject_page_is_whole_and_needs_no_network():
    text = subject_page(SubjectPage("01", "0", (section(files=("sub-01/x.tsv",)),), "Methods"))
    assert "sub-01/x.tsv" in check(text).links
    assert 'lang="en"' in text


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


def test_packed_matrices_keep_three_digits_and_what_is_missing():
    matrix = np.random.default_rng(0).standard_normal((7, 7))
    matrix[2, 3] = np.nan
    np.testing.assert_allclose(unpack(pack(matrix), 7), matrix, atol=2e-4)
    assert np.isnan(unpack(pack(np.full((2, 2), np.nan)), 2)).all()
    assert (unpack(pack(np.zeros((2, 2))), 2) == 0).all()


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


def test_the_strongest_connections_are_kept_in_size():
    matrix = np.array([[9.0, -3, np.nan], [1, 9, 2], [0.5, 0, 9]])
    kept = figures_connectivity.strongest(matrix, 2)
    assert kept.tolist() == [[0, -3, 0], [0, 0, 2], [0, 0, 0]]
    assert (figures_connectivity.strongest(np.full((2, 2), np.nan)) == 0).all()


def test_figures_of_networks_and_signals():
    flow = np.array([[5.0, 1, 0.2], [0.1, 0, 0.4], [np.nan, 0.3, 0]])
    centres = np.array([[-20.0, 0, 30], [20, -40, 10], [0, 10, 50]])
    rng = np.random.default_rng(0)
    runs = [rng.standard_normal((20, 3)), rng.standard_normal((10, 3))]
    runs[0][4] = np.nan
    motion = [np.full(20, np.nan), np.full(10, 0.1)]
    for svg in (
        figures_connectivity.draw_chord(flow, ("a", "b", "c")),
        figures_connectivity.draw_connectome(MATRIX, centres),
        figures_connectivity.draw_on_brain(np.array([1.0, np.nan, -2]), centres),
        figures_connectivity.draw_spectrum(np.arange(1, 9) / 20, np.ones(8), high_pass=0.01,
                                      low_pass=None),
        figures_connectivity.draw_carpet([runs, runs], motion, [np.zeros(20), np.zeros(10)], 2.0),
    ):  # fmt: skip
        check(svg)
    assert figures_connectivity.draw_chord(flow[:1, :1], ("a",)) is None
    assert figures_connectivity.draw_chord(np.zeros((2, 2)), ("a", "b")) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (float("nan"), "n/a"), (3, "3"), (0.12345, "0.123"), (-1e-9, "-1e-09")],
)
def test_numbers(value, text):
    assert number(value) == text


def test_every_reference_of_the_methods_text_is_in_the_bibliography():
    import re
    from importlib.resources import files

    from npi_bids.bids.atlases import known_atlases

    template = (files("npi_bids.reports.templates") / "methods.md.j2").read_text()
    cited = set(re.findall(r"@(\w+)", template))
    cited |= {facts["cite"] for facts in known_atlases().values()}
    references = bibliography(" ".join(f"@{key}" for key in cited))
    assert set(re.findall(r"@\w+\{(\w+),", references)) == cited
    assert "{Schaefer2018," not in bibliography("[@luo2025; @winkler2014]")
