"""The page of any matrices in a real browser."""

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains

from npi_bids.cli.view import main
from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult

pytestmark = pytest.mark.browser
MATRIX = np.array([[0.0, 0.5, -0.75], [-0.25, 0.0, 1.5], [0.125, 0.0, 0.0]])


@pytest.fixture
def views(tmp_path):
    """Write a page of two matrices."""
    paths = [tmp_path / "one.tsv", tmp_path / "two.tsv"]
    write_matrix(ECResult(MATRIX, ("A", "B", "C")), paths[0])
    write_matrix(ECResult(2 * MATRIX, ("X", "Y", "Z")), paths[1])
    assert main([*map(str, paths), "-o", str(tmp_path / "view.html")]) == 0
    return tmp_path / "view.html"


def test_the_page_opens_without_a_complaint_or_a_request(page, views):
    page.open(views)
    assert page.complaints() == []
    assert [url for url in page.requests() if not url.startswith("data:")] == []
    assert not page.run("return document.documentElement.scrollWidth > innerWidth + 1")


def test_matrices_are_side_by_side_and_each_cell_can_be_read(page, views):
    page.open(views)
    tops = page.run(
        "return [...document.querySelectorAll('.matrix canvas')]"
        ".map((c) => c.getBoundingClientRect().top)"
    )
    assert len(tops) == 2
    assert tops[0] == pytest.approx(tops[1], abs=2)
    canvas = page.one("#matrix-2 canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size["width"]
    left = 0.16 * size
    step = (size - left) / 3
    # Row X (source), column Y (target).
    x, y = left + 1.5 * step - size / 2, left + 0.5 * step - size / 2
    ActionChains(page.driver).move_to_element_with_offset(canvas, x, y).perform()
    assert page.one("#matrix-2 .readout").text.startswith("X → Y: 1")
