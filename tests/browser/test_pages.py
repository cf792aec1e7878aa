"""What a reader meets in a browser: pages that work, tell the truth, and can be used by anyone."""

import re

import html5lib
import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from npi_bids.io.tables import read_matrix
from npi_bids.parcellation.cifti import MESH_VERTICES
from npi_bids.records import ECResult
from npi_bids.reports.components import IndexPage, ModelSection, SortedTable, SubjectPage
from npi_bids.reports.cortex import CortexView, RegionLayer
from npi_bids.reports.figures_connectivity import Layer, MatrixView
from npi_bids.reports.network_blocks import tabulate_networks
from npi_bids.reports.packed_matrices import unpack
from npi_bids.reports.page import index_page, subject_page

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


def find_faults(page, axe, path, scheme):
    """Return the serious faults of a page that axe-core finds."""
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page.open(path)
    page.run(axe)
    found = page.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({resultTypes: ['violations']}).then((r) => done(r.violations.map((v) =>"
        "  [v.id, v.impact, v.nodes.length, v.nodes[0].html.slice(0, 120)])));"
    )
    return [entry for entry in found if entry[1] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nobody_is_shut_out(page, site, axe, name, scheme):
    assert find_faults(page, axe, site / name, scheme) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out_of_cortex_and_networks(page, cortex_page, axe, scheme):
    assert find_faults(page, axe, cortex_page, scheme) == []


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
        np.testing.assert_allclose(layers[name], found.matrix, rtol=5.1e-3)  # three digits
    page.open(site / "group.html")
    _, layers = embedded(page)
    mean = read_matrix(next(site.glob("tpl-*/func/*meas-npi_*Groupmean_relmat.tsv"))).matrix
    np.testing.assert_allclose(layers["mean EC"], mean, rtol=5.1e-3)


def said(page):
    return page.one(".matrix .readout").text


def point_at(page, source, target, n=5):
    """Move the pointer to a cell of the first matrix, and return the canvas and the offsets."""
    canvas = page.one(".matrix canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size["width"]
    left = float(canvas.get_attribute("data-left")) * size
    step = (size - left) / n
    x, y = left + (target + 0.5) * step - size / 2, left + (source + 0.5) * step - size / 2
    ActionChains(page.driver).move_to_element_with_offset(canvas, x, y).perform()
    return canvas, x, y


def test_pointing_at_a_cell_tells_source_target_value_and_interval(page, site):
    page.open(site / "sub-01.html")
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv"))).matrix
    lower = read_matrix(next(site.glob("sub-01/func/*_meas-npilower_*relmat.tsv"))).matrix
    point_at(page, 0, 1)  # A drives B, and not the other way round
    words = said(page)
    assert words.startswith("A → B: ")
    assert float(re.search(r"A → B: (\S+);", words)[1]) == pytest.approx(ec[0, 1], abs=0.0051)
    assert float(re.search(r"interval (\S+) to", words)[1]) == pytest.approx(
        lower[0, 1], abs=0.0051
    )
    assert float(re.search(r"reverse (\S+)", words)[1]) == pytest.approx(ec[1, 0], abs=0.0051)


def inside_the_window(page, selector):
    return page.run(
        "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return box.width > 0 && box.left >= 0 && box.top >= 0 && box.right <= innerWidth"
        " && box.bottom <= innerHeight;", selector
    )  # fmt: skip


@pytest.mark.parametrize("cell", [(0, 0), (0, 4), (4, 0), (4, 4)])
@pytest.mark.parametrize("width", [420, 1400])
def test_the_tooltip_is_at_the_pointer_and_inside_the_window(page, site, cell, width):
    page.driver.set_window_size(width, 800)
    page.open(site / "sub-01.html")
    point_at(page, *cell)
    assert inside_the_window(page, ".matrix .tooltip")
    lines = page.one(".matrix .tooltip").text.splitlines()
    assert lines[0].startswith(f"{'ABCDE'[cell[0]]} → {'ABCDE'[cell[1]]}: ")
    assert lines[1] == f"{'one' if cell[0] == 0 else 'two'} → {'one' if cell[1] == 0 else 'two'}"


def test_a_click_pins_a_cell_until_the_next(page, site):
    page.open(site / "sub-01.html")
    canvas, x, y = point_at(page, 0, 1)
    ActionChains(page.driver).click().move_to_element_with_offset(canvas, x, -y).perform()
    assert said(page).startswith("A → B")
    assert said(page).endswith("(pinned)")
    ActionChains(page.driver).move_to_element_with_offset(canvas, x, y).click().perform()
    ActionChains(page.driver).move_to_element_with_offset(canvas, -x, y).perform()
    assert not said(page).startswith("A → B")


def downloaded(page, kind):
    """Return what a button saves, without a file."""
    return page.driver.execute_async_script(
        "const done = arguments[arguments.length - 1], click = HTMLAnchorElement.prototype.click;"
        "HTMLAnchorElement.prototype.click = async function () {"
        "  HTMLAnchorElement.prototype.click = click;"
        "  done([this.download, await (await fetch(this.href)).text()]); };"
        "document.querySelector(arguments[0]).click();", kind
    )  # fmt: skip


def test_the_matrix_can_be_saved_as_it_is_shown(page, site):
    page.open(site / "sub-01.html")
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv")))
    name, text = downloaded(page, '[data-download="csv"]')
    assert name.endswith("EC.csv")
    rows = [line.split(",") for line in text.splitlines()]
    assert rows[0] == ["source", *ec.labels]
    assert float(rows[1][2]) == pytest.approx(ec.matrix[0, 1], rel=0.01)
    assert float(rows[2][1]) == pytest.approx(ec.matrix[1, 0], rel=0.01)
    assert rows[5][1] == "n/a"  # E is not covered
    name, text = downloaded(page, '[data-download="svg"]')
    assert name.endswith("EC.svg")
    assert {">A</text>", ">source</text>", ">target</text>"} <= set(
        re.findall(r">[^<]+</text>", text)
    )


def write_matrix_page(path, labels, networks=()):
    """Write a page with one matrix of regions with these names."""
    matrix = np.arange(float(len(labels) ** 2)).reshape(len(labels), -1)
    view = MatrixView("matrix-1", tuple(labels), tuple(networks), [Layer("EC", "t", matrix)], {})
    section = ModelSection("task-rest", "done", view=view)
    path.write_text(subject_page(SubjectPage("01", "0", (section,))), encoding="utf-8")
    return path


LONG = [f"{side} inferior cerebellum, lobule {part}" for side in ("left", "right")
        for part in ("I-IV", "V", "VI", "crus I", "crus II", "VIIb", "VIIIa", "IX")]  # fmt: skip
MIDDLING = [f"inf cerebellum {number}" for number in range(16)]
NETWORKS = sorted(
    f"{name}ly named functional network" for name in ("first", "second", "third") * 40
)
# Words at the axes, the room that they have, their widths, and the names below the matrix.
AXES = """
  const view = document.querySelector('.matrix').view, pen = view.canvas.getContext('2d');
  const scale = view.canvas.clientWidth / view.canvas.width;
  const words = view.marks().filter((mark) => mark.content && !mark.weight);
  return [words.map((word) => word.content), view.left - 10 - 1.2 * view.letter,
          words.map((word) => { pen.font = word.height + 'px system-ui, sans-serif';
                                return pen.measureText(word.content).width; }),
          [...document.querySelectorAll('.names li')].map((name) => name.innerText),
          Math.min(...words.map((word) => word.height * scale)), view.svg()];
"""


@pytest.mark.parametrize("width", [320, 420, 1400])
@pytest.mark.parametrize(
    ("labels", "networks", "names"),
    [
        (MIDDLING, (), MIDDLING),
        (LONG, (), LONG),
        ([f"r{k}" for k in range(120)], NETWORKS, sorted(set(NETWORKS))),
    ],
    ids=["middling", "long", "networks"],
)
def test_names_at_the_axes_are_whole(page, tmp_path, labels, networks, names, width):
    path = write_matrix_page(tmp_path / "sub-01.html", labels, networks)
    with page.screen(width):
        page.open(path)
        words, room, widths, listed, smallest, svg = page.run(AXES)
        overflow = page.run("return document.documentElement.scrollWidth - innerWidth")
    assert max(widths) <= room
    assert smallest >= 8.9  # pixels on the screen
    assert overflow <= 1
    if words[0] == "1":
        assert width < 500
        assert words[::2] == [str(number + 1) for number in range(len(names))]
        assert listed == names
    else:
        assert words[::2] == words[1::2] == names
    assert all(f">{name}</text>" in svg for name in names)


def test_figures_out_of_sight_are_drawn_when_they_come_into_sight(page, site):
    drawn = "return [...document.querySelectorAll('.matrix')].map((m) => 'drawn' in m.dataset)"
    with page.before_scripts("window.requestIdleCallback = () => {};"), page.screen(1400, 300):
        page.driver.get((site / "group.html").as_uri())
        last = page.all(".matrix")[-1]
        assert page.run(drawn) == [False] * len(page.all(".matrix"))
        assert (
            last.find_element("css selector", ".title").text == "This figure is being unpacked …"
        )
        page.run("arguments[0].scrollIntoView()", last)
        WebDriverWait(page.driver, 20).until(lambda _: page.run(drawn)[-1])
        assert not page.run(drawn)[0]
        assert "unpacked" not in last.find_element("css selector", ".title").text


def test_a_figure_that_cannot_be_unpacked_says_so(page, site):
    with page.before_scripts("delete window.DecompressionStream;"):
        page.open(site / "sub-01.html")
    assert "cannot be drawn by this browser" in page.one(".matrix .title").text


def test_the_scale_says_where_colours_end(page, site):
    page.open(site / "sub-01.html")
    words = page.one(".matrix .clipped").text
    assert re.match(r"Colours end at ±\S+; (1 of 12 entries lie|no entry lies) beyond", words)


def test_a_rating_is_kept_and_exported_for_the_exclude_file(page, site):
    page.open(site / "sub-01.html")
    page.run("localStorage.clear()")
    page.one('.rating input[value="exclude"]').click()
    page.one("#rating-reason").send_keys("spikes  at the end")
    page.open(site / "sub-02.html")
    page.one('.rating input[value="doubtful"]').click()
    page.open(site / "sub-01.html")
    assert page.one('.rating input[value="exclude"]').is_selected()
    name, text = downloaded(page, '[data-export="tsv"]')
    assert name == "ratings.tsv"
    assert text == (
        "participant_id\trating\treason\nsub-01\texclude\tspikes at the end\n"
        "sub-02\tdoubtful\tn/a\n"
    )
    page.run("localStorage.clear()")


@pytest.mark.parametrize("name", ["index.html", "group.html"])
@pytest.mark.parametrize("width", [420, 1400, 1920])
def test_rows_of_tables_are_one_line_high(page, site, name, width):
    page.driver.set_window_size(width, 900)
    page.open(site / name)
    heights = page.run(
        "return [...document.querySelectorAll('.sortable tbody tr')]"
        ".filter((row) => row.offsetParent).map((row) => row.offsetHeight)"
    )
    assert heights
    assert max(heights) <= 40


@pytest.mark.parametrize("name", ["sub-01.html", "group.html", "index.html"])
@pytest.mark.parametrize("width", [320, 420, 1400, 1920])
def test_no_number_is_broken_over_lines(page, site, name, width):
    """Every number in the text of a page stands on one line."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    page.open(site / name)
    broken = page.run(r"""
      document.querySelectorAll('details').forEach((fold) => { fold.open = true; });
      const main = document.querySelector('main');
      const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
      const broken = [], range = document.createRange();
      while (walker.nextNode()) {
        const node = walker.currentNode;
        const parent = node.parentElement;
        if (!parent.checkVisibility() || parent.closest('svg, pre, a, script')) continue;
        const numbers = /(?<![\w/.-])-?\d+(\.\d+)?(e-?\d+)?(?![\w/-])/g;
        for (const found of node.data.matchAll(numbers)) {
          range.setStart(node, found.index);
          range.setEnd(node, found.index + found[0].length);
          const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
          if (tops.size > 1) broken.push(node.data.slice(0, 80));
        }
      }
      return broken;
    """)
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert broken == []


@pytest.fixture
def paper(page):
    """Yield a page of A4 paper, 19 cm of which are printed on."""
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    yield page
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("name", ["sub-01.html", "group.html", "index.html"])
def test_paper_shows_all_that_can_be_read_and_nothing_to_click(paper, site, name):
    paper.open(site / name)
    paper.run("dispatchEvent(new Event('beforeprint'))")
    assert paper.run("return document.documentElement.scrollWidth") <= 718
    shown = (
        "[...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).length"
    )
    for hidden in ("nav", "button:not(th button)", "input", ".rating", "details:not([open])"):
        assert paper.run(f"return {shown}", hidden) == 0, hidden
    assert paper.run(f"return {shown}", "details.printed") == (2 if name == "sub-01.html" else 0)
    for rows in paper.all(".abridged tbody"):
        assert (
            len([row for row in rows.find_elements("tag name", "tr") if row.is_displayed()]) < 26
        )
    paper.run("dispatchEvent(new Event('afterprint'))")
    assert paper.all("details.printed[open]") == []


def test_paper_has_all_rows_of_the_list_of_subjects(paper, tmp_path):
    rows = tuple((f"sub-{n:04d}", "pass", "") for n in range(150))
    table = SortedTable("subjects", "All", ("participant", "result", "reason"), rows)
    (tmp_path / "index.html").write_text(index_page(IndexPage("0", (), table)), encoding="utf-8")
    paper.open(tmp_path / "index.html")
    paper.run("dispatchEvent(new Event('beforeprint'))")
    assert len(paper.all("#subjects tbody tr")) == 150
    paper.run("dispatchEvent(new Event('afterprint'))")
    assert len(paper.all("#subjects tbody tr")) == 100


def test_a_thousand_rows_are_laid_out_in_parts(page, site, tmp_path):
    rows = tuple((f"sub-{n:04d}", "pass", f"{n / 7:.3f}") for n in range(1000))
    table = SortedTable("subjects", "All", ("participant", "result", "mean FD (mm)"), rows)
    (tmp_path / "index.html").write_text(index_page(IndexPage("0", (), table)), encoding="utf-8")
    page.open(tmp_path / "index.html")
    assert len(page.all("#subjects tbody tr")) == 100
    head = page.all("#subjects thead button")[2]
    took = page.run("const t = performance.now(); arguments[0].click(); arguments[0].click();"
                    "return performance.now() - t", head)  # fmt: skip
    assert column(page, "subjects", 0)[0] == "sub-0999"  # sorted over all rows
    assert took < 2000
    page.one("#subjects-filter").send_keys("sub-0007")
    assert column(page, "subjects", 0) == ["sub-0007"]
    assert page.one(".count").text == "1 of 1000"


@pytest.fixture
def cortex_page(tmp_path):
    """Return a page with four regions, the first two of them on the left hemisphere."""
    matrix = np.arange(16.0).reshape(4, 4)
    vertices = np.repeat([1, 2, 3, 4], MESH_VERTICES // 2)
    shades = np.linspace(-1, 1, 144).reshape(12, 12)
    layers = [RegionLayer("out-strength", "Out-strength: what a region sends", matrix.sum(axis=1))]
    section = ModelSection(
        "task-rest", "done",
        view=MatrixView("matrix-1", "ABCD", (), [Layer("EC", "t", matrix)], {}),
        cortex=CortexView("cortex-1", "ABCD", (), vertices, layers, files=(("Out", "a.svg"),)),
        blocks=tabulate_networks(ECResult(shades, tuple("abcdefghijkl")), tuple("abcdefghijkl")),
    )  # fmt: skip
    path = tmp_path / "sub-01.html"
    path.write_text(subject_page(SubjectPage("01", "0", (section,))), encoding="utf-8")
    return path


def test_the_cortex_tells_regions_and_shows_their_connections(page, cortex_page):
    page.open(cortex_page)
    canvas = page.one(".cortex canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    places = page.run("""
      const view = document.querySelector('.cortex').view, width = view.canvas.width;
      const box = view.canvas.getBoundingClientRect(), ratio = box.width / width;
      return [2, 3].map((region) => {
        const spots = [...view.regions.keys()].filter((i) => view.regions[i] === region);
        const at = spots[Math.floor(spots.length / 3)];
        return [(at % width + .5) * ratio - box.width / 2,
                (Math.floor(at / width) + .5) * ratio - box.height / 2];
      });
    """)
    for place, words in zip(places, ("B: 22.0", "C: 38.0"), strict=True):
        ActionChains(page.driver).move_to_element_with_offset(canvas, *place).perform()
        assert page.one(".cortex .tooltip strong").text == words
        assert inside_the_window(page, ".cortex .tooltip")
    assert places[0][0] < 0 < places[1][0]  # the left hemisphere is on the left
    ActionChains(page.driver).move_to_element_with_offset(canvas, *places[0]).click().perform()
    assert page.one(".cortex .title").text == "Connections from B"
    values = "return document.querySelector('.cortex').view.layer.values"
    assert page.run(values) == [4, None, 6, 7]
    page.all(".cortex .layers button")[2].click()
    assert page.one(".cortex .title").text == "Connections to B"
    assert page.run(values) == [1, None, 9, 13]


@pytest.fixture
def tabbed_page(tmp_path):
    """Return a page with two models, of which the second one was excluded."""
    layer = Layer("EC", "t", np.eye(2))
    sections = (
        ModelSection("atlas-A", "done", verdict="pass",
                     view=MatrixView("matrix-1", "AB", (), [layer], {})),
        ModelSection("atlas-B", "excluded", reason="too short"),
    )  # fmt: skip
    path = tmp_path / "sub-01.html"
    path.write_text(subject_page(SubjectPage("01", "0", sections)), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_several_models_are_tabs(page, tabbed_page, axe, scheme):
    assert find_faults(page, axe, tabbed_page, scheme) == []
    shown = "return [...document.querySelectorAll('section.panel')].map((one) => !one.hidden)"
    assert page.run(shown) == [True, False]
    tab = page.all(".tabs a")[1]
    tab.click()
    assert page.run(shown) == [False, True]
    assert "too short" in page.one("main").text
    tab.send_keys(Keys.ARROW_LEFT)
    assert page.run(shown) == [True, False]
    page.open(tabbed_page, "#model-2-conclusions")
    assert page.run(shown) == [False, True]


def test_contents_lead_to_the_parts_in_their_order(page, site):
    page.open(site / "sub-01.html")
    links = [link.get_attribute("href").partition("#")[2] for link in page.all(".contents a")]
    places = page.run("return arguments[0].map((id) => document.getElementById(id)"
                      ".getBoundingClientRect().top)", links)  # fmt: skip
    assert places == sorted(places)
    assert [name.removeprefix("model-1-") for name in links][:5] == [
        "summary", "conclusions", "connectivity", "brain", "data",
    ]  # fmt: skip


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
    assert "irected (antisymmetric) part" in page.one(".matrix .title").text
    canvas = page.one(".matrix canvas")
    page.run("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT)
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv"))).matrix
    shown = float(said(page).split(": ")[1])
    assert shown == pytest.approx((ec[0, 1] - ec[1, 0]) / 2, rel=0.02)
    page.all(".matrix .layers button")[3].click()
    assert page.all(".matrix .layers button")[3].get_attribute("aria-pressed") == "true"


def test_pixels_have_rows_for_sources(page, site):
    """The strongest connection, A to B, is red in the first row and second column."""
    page.open(site / "sub-01.html")
    pixel = """
      const canvas = document.querySelector('.matrix canvas'), left = 1000 * canvas.dataset.left;
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
    page.one("#subjects-filter").send_keys("crashed")
    assert column(page, "subjects", 0) == ["sub-04"]
    assert page.one(".count").text == "1 of 5"


def test_the_table_of_connections_is_that_of_the_map(page, site):
    page.open(site / "sub-01.html")
    sources, targets, values = (column(page, "matrix-1-strongest", n) for n in (0, 1, 2))
    ec = read_matrix(next(site.glob("sub-01/func/*_meas-npi_*relmat.tsv")))
    for source, target, value in zip(sources, targets, values, strict=True):
        at = ec.labels.index(source), ec.labels.index(target)
        assert float(value) == pytest.approx(ec.matrix[at], abs=0.0051)
    sizes = [abs(float(value)) for value in values]
    assert sizes == sorted(sizes, reverse=True)
    assert (sources[0], targets[0]) in (("A", "B"), ("B", "C"))


def test_verdict_comes_first_in_words_and_agrees_with_the_sidecar(page, site):
    quality = pd.read_table(site / "logs/quality.tsv").set_index("participant_id")
    page.open(site / "sub-01.html")
    word = page.one(".verdict .word")
    assert quality.loc["sub-01", "verdict"] in word.text.lower()
    assert word.location["y"] < 650  # the summary box comes before it
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
