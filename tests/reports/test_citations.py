"""The methods text in other formats."""

import re

import pytest

from npi_bids.reports.citations import read_references, render_html, render_latex
from npi_bids.reports.page import _references
from tests.reports.markup import Checker

TEXT = (
    "# Methods\n\nAt p < 5 % in *all* maps (`a_b`), EC was estimated [@luo2025; @smyth2004].\n\n"
    "Again [@luo2025]."
)


@pytest.fixture(scope="module")
def references():
    return read_references("\n\n".join(_references()))


def test_all_references_have_authors_year_and_title(references):
    assert len(references) > 20
    for key, one in references.items():
        assert re.fullmatch(r"\d{4}", one.year), key
        assert one.authors, key
        assert not set(one.text) & set("{}\\"), one.text


def test_html_cites_by_author_and_lists_what_is_cited_once(references):
    text = render_html(TEXT, references)
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert "(Luo et al., 2025; Smyth, 2004)" in text
    assert "<em>all</em>" in text
    assert "<code>a_b</code>" in text
    assert "p &lt; 5 %" in text
    assert text.count("<li>") == 2
    assert text.index("<li>Luo") < text.index("<li>Smyth")


def test_latex_escapes_what_latex_would_read_and_keeps_keys():
    text = render_latex(TEXT)
    assert r"\section*{Methods}" in text
    assert r"5 \% in \emph{all} maps (\texttt{a\_b})" in text
    assert r"\citep{luo2025,smyth2004}" in text
    assert text.endswith("\\bibliography{CITATION}\n")


def test_a_key_without_reference_stays(references):
    assert "(nobody1999)" in render_html("See [@nobody1999].", references)
