"""A real browser on the pages of real results; skipped with a reason where there is none."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import make_tiny
from tests.end_to_end.conftest import run_command

ROOT = Path(__file__).parents[2]
AXE = ROOT / ".venv" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def chromium():
    """Return paths of the browser and its driver."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if not all(found):
        if os.environ.get("CI"):
            pytest.fail("chromium and chromium-driver are not installed")
        pytest.skip("chromium and chromium-driver are not installed (make browser)")
    return found


@pytest.fixture(scope="session")
def axe():
    """Return the source of axe-core."""
    if not AXE.is_file():
        if os.environ.get("CI"):
            pytest.fail("axe-core is not installed (make browser)")
        pytest.skip("axe-core is not installed (make browser)")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Return results of five subjects: one failed, one excluded, one test over the others."""
    folder = tmp_path_factory.mktemp("site")
    tiny = make_tiny(folder, n_subjects=5, n_samples=150)
    bold = next(tiny.root.glob("sub-04/func/*run-1*_bold.nii.gz"))
    bold.write_bytes(bold.read_bytes()[:200])
    for path in tiny.root.glob("sub-05/func/*confounds_timeseries.tsv"):
        lines = path.read_text().splitlines()
        place = lines[0].split("\t").index("framewise_displacement")
        moved = [line.split("\t") for line in lines]
        for row in moved[1:]:
            row[place] = "3.0"
        path.write_text("\n".join("\t".join(row) for row in moved) + "\n")
    done = run_command(
        tiny.root, folder / "out", "participant", "group", "--atlas", tiny.atlas, "--fd-thresh",
        "0.5", "--n-procs", "2", "-w", folder / "work", "--offline", "--model", "1",
        "--n-permutations", "20", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return folder / "out"


class Page:
    """An open page, with what its console said and what it asked the network for."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, fragment=""):
        from selenium.webdriver.support.ui import WebDriverWait

        self.driver.get_log("browser")  # what an earlier page said
        self.driver.get(f"{path.as_uri()}{fragment}")
        WebDriverWait(self.driver, 20).until(lambda driver: driver.execute_script(
            "return document.querySelector("
            "  '.matrix:not([data-complete]), .cortex:not([data-complete])') === null"
            " || !document.documentElement.classList.contains('script')"
        ))  # fmt: skip
        return self

    @contextmanager
    def before_scripts(self, source):
        """Run a script before those of the pages that are opened within."""
        command = self.driver.execute_cdp_cmd
        added = command("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        yield
        command("Page.removeScriptToEvaluateOnNewDocument", added)

    @contextmanager
    def screen(self, width, height=900):
        """Show pages on a screen of another size; below 500 pixels it is that of a phone."""
        command = self.driver.execute_cdp_cmd
        command("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        })  # fmt: skip
        yield
        command("Emulation.clearDeviceMetricsOverride", {})

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def complaints(self):
        """Return what the console said that is an error or a warning."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def requests(self):
        """Return the addresses that the page asked for beside itself."""
        return self.run("return performance.getEntriesByType('resource').map((e) => e.name)")


@pytest.fixture(scope="session")
def driver(chromium, tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium[0]
    for word in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"),
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
        "--window-size=1200,900",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(chromium[1]))
    yield made
    made.quit()


@pytest.fixture
def page(driver):
    driver.set_window_size(1200, 900)
    return Page(driver)
