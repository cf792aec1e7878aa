"""What a reader meets in a browser: pages that work, tell the truth, and can be used by anyone."""

import re

import html5lib
import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from npi_bids.io.tables import read_matrix
from npi_bids.reports.packed_matrices import unpack

PAGES = ("sub-01.html", "sub-04.html", "sub-05.html", "group.html", "index.html")
pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", PAGES)
def test_pages_open_without_a_complaint_or_a_request(page, site, name):
    page.open(site / name)
    assert page.complaints() == []
    assert [url for url in page.requests() if not url.startswith("data:")] == []
    assert not page.run("return document.documentElement.scrollWidth > innerWidth + 1")


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_valid_html(site, name):
    parser = html5lib.HTMLParser(strict=True)
    parser.parse((site / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nobody_is_shut_out(page, site, axe, name, scheme):
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page.open(site / name)
    page.run(axe)
    found = page.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({resultTypes: ['violations']}).then((r) => done(r.violations.map((v) =>"
        "  [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 120)])));"
    )
    assert [entry for entry in found if entry[1] in ("serious", "critical")] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_shows_a_page_without_scrolling_sideways(page, site, name):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True},
    )
    page.open(site / name)
    width = page.run("return document.documentElement.scrollWidth")
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 391


def embedded(page, selector=".matrix"):
    """Return the matrices that a page holds, by their names."""
    data = page.run(
        "return JSON.parse(document.querySelector(arguments[0] + ' script').textContent)", selector
    )

    def matrix(packed):
        return unpack(packed, len(data["labels"]))

    return data["labels"], {
        layer["name"]: matrix(layer) for layer in data["layers"] if "values" in layer
    }


def test_numbers_on_the_page_are_those_of_the_tables(page, site):
    page.open(site / "sub-01.html")
    labels, layers = embedded(page)
    for name, kind in (("EC", "npi"), ("FC", "pearsoncorrelation")):
        found = read_matrix(next(site.glob(f"sub-01/func/*_meas-{kind}_*relmat.tsv")))
        assert list(found.labels) == labels
        np.testing.assert_allclose(layers[name], found.matrix, atol=2e-4)
    page.open(site / "group.html")
    _, layers = embedded(page)
    mean = read_matrix(next(site.glob("tpl-*/func/*meas-npi_*Groupmean_relmat.tsv"))).matrix
    np.testing.assert_allclose(layers["mean EC"], mean, atol=2e-4)


def said(page):
    return page.one(".matrix .readout").text


def test_pointing_at_a_cell_tells_source_target_value_and_interval(page, site):
    page.open(site / "sub-01.html")
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv"))).matrix
    lower = read_matrix(next(site.glob("sub-01/func/*_meas-npilower_*relmat.tsv"))).matrix
    canvas = page.one(".matrix canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size, left = canvas.size["width"], 0.16 * canvas.size["width"]
    step = (size - left) / 5
    # Row A (source), column B (target): A drives B, and not the other way round.
    x, y = left + 1.5 * step - size / 2, left + 0.5 * step - size / 2
    ActionChains(page.driver).move_to_element_with_offset(canvas, x, y).perform()
    words = said(page)
    assert words.startswith("A → B: ")
    assert float(re.search(r"A → B: (\S+);", words)[1]) == pytest.approx(ec[0, 1], rel=0.01)
    assert float(re.search(r"interval (\S+) to", words)[1]) == pytest.approx(lower[0, 1], rel=0.01)
    assert float(re.search(r"reverse (\S+)", words)[1]) == pytest.approx(ec[1, 0], abs=2e-4)


def test_the_keyboard_goes_through_the_cells(page, site):
    page.open(site / "sub-01.html")
    canvas = page.one(".matrix canvas")
    page.run("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert said(page).startswith("A → B:")
    canvas.send_keys(Keys.ARROW_DOWN)
    assert said(page).startswith("B → B: n/a (diagonal)")
    for _ in range(9):
        canvas.send_keys(Keys.ARROW_DOWN)
    assert said(page).startswith("E → B: n/a")


def test_layers_show_what_they_say(page, site):
    page.open(site / "sub-01.html")
    names = [button.text for button in page.all(".matrix .layers button")]
    assert names == ["EC", "directed part", "EC, q < 0.05", "FC", "model FC"]
    page.all(".matrix .layers button")[1].click()
    assert "directed (antisymmetric) part" in page.one(".matrix .title").text
    canvas = page.one(".matrix canvas")
    page.run("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT)
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv"))).matrix
    shown = float(said(page).split(": ")[1])
    assert shown == pytest.approx((ec[0, 1] - ec[1, 0]) / 2, rel=0.01)
    page.all(".matrix .layers button")[3].click()
    assert page.all(".matrix .layers button")[3].get_attribute("aria-pressed") == "true"


def test_pixels_have_rows_for_sources(page, site):
    """The strongest connection, A to B, is red in the first row and second column."""
    page.open(site / "sub-01.html")
    pixel = """
      const canvas = document.querySelector('.matrix canvas'), left = Math.round(0.16 * 1000);
      const step = (1000 - left) / 5;
      const at = canvas.getContext('2d').getImageData(left + (arguments[1] + .5) * step,
                                                      left + (arguments[0] + .5) * step, 1, 1);
      return [...at.data];
    """
    red = page.run(pixel, 0, 1)
    other = page.run(pixel, 1, 0)
    assert red[0] > 150 > red[2]
    assert other[2] > 120
    assert page.run(pixel, 4, 0)[:3] == [213, 218, 224]  # E is not covered


def column(page, table, place):
    return [row.find_elements("css selector", "td, th")[place].text
            for row in page.all(f"#{table} tbody tr") if row.is_displayed()]  # fmt: skip


def test_tables_sort_and_filter(page, site):
    page.open(site / "index.html")
    heads = [head.text for head in page.all("#subjects thead button")]
    place = heads.index("mean FD (mm)")
    button = page.all("#subjects thead button")[place]
    button.click()
    shown = [float(x) for x in column(page, "subjects", place) if x != "n/a"]
    assert shown == sorted(shown)
    assert column(page, "subjects", place)[-1] == "n/a"
    button.click()
    shown = [float(x) for x in column(page, "subjects", place) if x != "n/a"]
    assert shown == sorted(shown, reverse=True)
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    page.one("#subjects-filter").send_keys("failed")
    assert column(page, "subjects", 0) == ["sub-04"]
    assert page.one(".count").text == "1 of 5"


def test_the_table_of_connections_is_that_of_the_map(page, site):
    page.open(site / "sub-01.html")
    sources, targets, values = (column(page, "matrix-1-strongest", n) for n in (0, 1, 2))
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv")))
    for source, target, value in zip(sources, targets, values, strict=True):
        at = ec.labels.index(source), ec.labels.index(target)
        assert float(value) == pytest.approx(ec.matrix[at], rel=1e-3)
    sizes = [abs(float(value)) for value in values]
    assert sizes == sorted(sizes, reverse=True)
    assert (sources[0], targets[0]) in (("A", "B"), ("B", "C"))


def test_verdict_comes_first_in_words_and_agrees_with_the_sidecar(page, site):
    quality = pd.read_table(site / "logs/quality.tsv").set_index("participant_id")
    page.open(site / "sub-01.html")
    word = page.one(".verdict .word")
    assert quality.loc["sub-01", "verdict"] in word.text.lower()
    assert word.location["y"] < 300
    figures = [row.text for row in page.all("table.key tbody tr")]
    assert len(figures) == 12
    grades = [term.text for term in page.all("dl.grades dt")]
    assert [text.split(":")[0] for text in grades] == ["Data", "Connections", "Direction"]
    assert quality.loc["sub-01", "grade_data"] in grades[0]
    assert all(re.search("good|caution|bad|unknown", text) for text in figures)


def test_failed_and_excluded_subjects_have_pages_that_say_why(page, site):
    page.open(site / "sub-04.html")
    assert "Failed: there is no map" in page.one(".verdict .word").text
    assert "cannot be read" in page.one(".verdict").text
    assert "Traceback" in page.one("pre").text
    page.open(site / "sub-05.html")
    assert "Excluded: there is no map" in page.one(".verdict .word").text
    assert "--min-time" in page.one(".verdict").text


def test_pages_lead_to_each_other(page, site):
    page.open(site / "index.html")
    page.one("#subjects tbody a").click()
    assert page.driver.current_url.endswith("sub-01.html")
    page.one("a[rel=next]").click()
    assert page.driver.current_url.endswith("sub-02.html")
    page.one("a[rel=prev]").click()
    page.driver.find_element("link text", "Group").click()
    assert page.driver.current_url.endswith("group.html")
    dot = page.one(".strip a")
    assert dot.get_attribute("aria-label").startswith("sub-0")
    for name in PAGES:
        page.open(site / name)
        for link in page.run("return [...document.links].map((a) => a.getAttribute('href'))"):
            target = link.partition("#")[0]
            assert not target or target.startswith("http") or (site / target).exists(), link


def test_the_citation_can_be_copied(page, site):
    page.open(site / "sub-01.html")
    button = page.one("button[data-copy=citation]")
    page.run("arguments[0].scrollIntoView()", button)
    button.click()
    assert button.text == "Copied"
    assert page.run("return getSelection().toString()").startswith("npi-bids")
    assert "10.1038/s41592-025-02654-x" in page.one("#citation").text


def test_without_scripts_the_page_still_says_everything_in_words(page, site):
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open(site / "sub-01.html")
        assert page.one(".verdict .word").text
        assert page.one(".matrix noscript .warning").is_displayed()
        assert not page.one(".matrix canvas").is_displayed()
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
