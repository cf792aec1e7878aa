"""The documentation names what exists, and its tutorials run."""

from __future__ import annotations

import importlib
import json
import linecache
import os
import re
import runpy
import subprocess
import sys
import tomllib
from argparse import SUPPRESS
from pathlib import Path

import numpy as np
import pytest

from npi_bids.io.files import write_json

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TUTORIALS = sorted(path for path in (DOCS / "tutorials").glob("*.md") if path.stem != "index")
SHARED = ROOT.parent / "shared" / "data"
API = (DOCS / "api.md").read_text(encoding="utf-8")
NAMES = [
    *re.findall(r"auto(?:function|class):: (\S+)", API),
    *(
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"automodule:: (\S+)\n +:members:(.*)", API)
        for name in names.split(",")
        if name.strip()
    ),
]
# Options of pip, conda, Docker, Apptainer, Slurm and pybids that pages show.
_OF_OTHERS = {
    *("--array", "--cleanenv", "--cpus-per-task", "--dependency", "--env", "--find-links"),
    *("--index-url", "--job-name", "--mem", "--no-index", "--output", "--parsable", "--rm"),
    *("--time", "--user", "--wrap", "--no-validate", "--partition"),
    *("--bind", "--build-arg", "--containall", "--network", "--read-only", "--tmpfs"),
    "--extra-index-url",  # of pip
    "--show",  # of docker/npi-bids-docker
    # Of benchmarks.
    *("--n-pools", "--n-sets", "--quick", "--slow"),
}


@pytest.fixture(scope="module")
def site():
    """Import the modules that build the site."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module
    sys.path.remove(str(DOCS))


def test_the_interface_documents_dozens_of_names():
    assert len(NAMES) > 100


@pytest.mark.parametrize("name", NAMES)
def test_a_documented_name_exists_and_says_what_it_is(name):
    module, attribute = name.rsplit(".", 1)
    assert getattr(importlib.import_module(module), attribute).__doc__


def test_every_page_is_in_the_navigation():
    listed = {"index"}
    for page in PAGES:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            folder = page.parent.relative_to(DOCS)
            listed |= {(folder / entry).as_posix() for entry in entries}
    # cli.md is written when the site is built.
    assert {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES} | {"cli"} == listed


def test_every_option_that_a_page_names_exists(site):
    parsers = site("cli_reference").parsers().values()
    known = set().union(*(parser._option_string_actions for parser in parsers)) | _OF_OTHERS
    for page in PAGES:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+(?![\w-]*\*)", page.read_text()))
        assert named - known == set(), page.name


def test_the_reference_has_every_option_with_its_help(site):
    module = site("cli_reference")
    page = module.cli_reference()
    for command, parser in module.parsers().items():
        assert f"\n## {command}\n" in page
        shown = [action for action in parser._actions if action.help != SUPPRESS]
        for flag in (flag for action in shown for flag in action.option_strings):
            assert re.search(rf"^`` .*{flag}\b.*``\n: \S", page, re.MULTILINE), flag


def test_the_reference_has_every_command(site):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {name.split()[0] for name in site("cli_reference").parsers()} == set(project["scripts"])


def test_the_reference_has_no_markup_by_accident(site):
    escape = site("cli_reference").escape
    assert escape("a *b* <c> [d](e) $f$") == r"a \*b\* \<c\> \[d\](e) \$f\$"
    assert escape("see --atlas") == "see `--atlas`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_generated_tables_are_up_to_date(page):
    update_tables = runpy.run_path(str(DOCS / "tables.py"))["update_tables"]
    text = page.read_text(encoding="utf-8")
    assert update_tables(text) == text, "run make tables"


def test_the_best_number_at_each_place_of_a_table_is_bold(tmp_path):
    content = {
        "columns": ["method", "one", "two"], "best": "columns", "digits": [2, 1],
        "rows": {"A": [0.914, [0.5, 0.2]], "B": [0.806, [0.1, 0.24]], "C": [None, None]},
    }  # fmt: skip
    write_json(tmp_path / "x.json", content)
    table = runpy.run_path(str(DOCS / "tables.py"))["data_table"](tmp_path / "x.json")
    assert table.splitlines()[2:] == [
        "| A | **.91** | **.5** / .2 |",  # .2 and .24 print alike: neither is bold
        "| B | .81 | .1 / .2 |",
        "| C | | |",
    ]


def test_a_table_takes_complete_results_and_keeps_the_rest():
    from benchmarks.site import TABLES, fill

    table = TABLES["released"]
    earlier = {name: [0.1] * 6 for name in table.rows.values()}
    complete, quick = {"r": [0.5] * 5 + [0.8]}, {"r": [0.9]}
    results = {
        "released RNN, 400 samples": {"FC": complete, "rDCM": quick},
        "released RNN, 8000 samples": {"FC": complete},
    }
    rows = fill(table, results, earlier)["rows"]
    assert rows["FC"] == [0.55, 0.1, 0.1, 0.1, 0.55, 0.1]
    assert rows["`rdcm` (regression DCM)"] == [0.1] * 6


def test_a_table_takes_no_numbers_of_a_smaller_run():
    from benchmarks.site import TABLES, fill

    table = TABLES["group_null"]
    earlier = {name: [0.1] * 6 for name in table.rows.values()}
    found = {key: [0.2] * 6 for key in table.rows}
    assert fill(table, found | {"n_sets": 20}, earlier)["rows"] == earlier
    rows = fill(table, found | {"n_sets": 504}, earlier)["rows"]
    assert set(map(tuple, rows.values())) == {(0.2,) * 6}


def test_a_row_says_with_which_version_its_cells_were_computed():
    from benchmarks.site import TABLES, fill

    table = TABLES["wbm"]
    earlier = {name: [0.1, 0.2] for name in table.rows.values()}
    sections = ("WBM, 10000 samples", "WBM band-passed 0.01-0.1 Hz")
    results = {sections[0]: {"FC": {"r": [0.3] * 5}, "rDCM": {"r": [0.3] * 5}}}
    results[sections[1]] = {"FC": {"r": [0.3] * 5}, "var, ridge": {"r": [0.9] * 4}}
    measured = dict.fromkeys(table.rows.values(), "old")
    content = fill(table, results, earlier, version="new", measured=measured)
    assert content["rows"]["FC"] == [0.3, 0.3]
    assert content["rows"]["`var` (ridge)"] == [0.1, 0.2]  # four of five systems are not enough
    found = content["measured with"]
    assert found["FC"] == "new"
    assert found["`rdcm`"] == "old and new"
    assert found["`var` (ridge)"] == "old"


def test_versions_of_results_are_kept_beside_them(tmp_path, monkeypatch):
    from benchmarks import table

    monkeypatch.setattr(table, "RESULTS", tmp_path)
    monkeypatch.setattr(table, "find_version", lambda: "abc")
    table.save("one", {"a": 1})
    monkeypatch.setattr(table, "find_version", lambda: "def")
    table.save("two", {})
    assert table.read_versions(tmp_path) == {"one": "abc", "two": "def"}


def test_no_table_of_the_validation_page_is_typed():
    text = (DOCS / "validation.md").read_text(encoding="utf-8")
    generated = runpy.run_path(str(DOCS / "tables.py"))["_TABLE"]
    typed = [line for line in generated.sub("", text).splitlines() if line.startswith("|")]
    assert not typed, "give the table a data file: benchmarks/site.py"


def test_means_of_systems_and_shares_of_promises_are_those_of_the_results():
    from benchmarks.site import TABLES

    rivals = TABLES["rivals"]
    scores = {"r": [0.1, 0.2, 0.6], "r_antisymmetric": [float("nan")] * 3}
    quick = {"r": [0.1], "r_antisymmetric": [0.1]}
    results = {"NetSim": {"NPI": scores, "rDCM": quick}}
    default, published, rdcm, *_ = rivals.cells(results, "NetSim")
    assert default == [pytest.approx(0.3), None]
    assert (published, rdcm) == (None, None)
    counts = {"promise": 0.5, "results": 31, "means": [0.7, 0.6], "kept": 0.9,
              "by type": {"neuromatch": [3, 4], "ou": [24, 25], "rnn": [0, 0], "var": [1, 1],
                          "wbm": [0, 1]}, "by delays": [0.9, 0.8]}  # fmt: skip
    cells = TABLES["promises"].cells(
        {"grades": {"direction": {"group averages": counts}}}, "direction: group averages"
    )
    assert list(cells) == ["r of .5", "31", 0.9, [0.7, 0.6], "3 of 4", 0.96, "none", "1 of 1",
                           "0 of 1", [0.9, 0.8]]  # fmt: skip


def test_several_numbers_of_a_cell_have_decimals_of_their_own(tmp_path):
    content = {"columns": ["", "a"], "best": "", "digits": [[3, 1]], "rows": {"A": [[0.5, 30.84]]}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    table = runpy.run_path(str(DOCS / "tables.py"))["data_table"](tmp_path / "x.json")
    assert table.splitlines()[2:] == ["| A | .500 / 30.8 |"]


@pytest.mark.parametrize("name", [path.stem for path in sorted((DOCS / "data").glob("*.json"))])
def test_a_table_of_the_site_has_the_rows_that_its_benchmark_fills(name):
    from benchmarks.site import TABLES

    content = json.loads((DOCS / "data" / f"{name}.json").read_text())
    if name in TABLES:
        assert list(content["rows"]) == list(TABLES[name].rows.values())
        assert list(content["measured with"]) == list(content["rows"])
    else:  # a benchmark that writes its table itself
        module = content["made by"].split()[2].replace(".", "/")
        assert f'"{name.split("_")[0]}_' in (DOCS.parent / f"{module}.py").read_text()
    assert {len(row) for row in content["rows"].values()} == {len(content["columns"]) - 1}


def test_links_to_missing_files_and_places_are_found(site, tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"></a><a href="b.html#there"></a><img src="no.png">'
        '<a href="https://example.org/x"></a><a href="../outside.html"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="#here"></a>')
    broken = list(site("check_links").find_broken_links(tmp_path))
    assert broken == [
        "a.html: there is no ../outside.html",
        "a.html: b.html#there has no such place",
        "a.html: there is no no.png",
    ]


def _check_three_lines(names):
    ec = names["result"].ec
    assert ec[0, 1] > 0.3 > abs(ec[1, 0])
    assert ec[3, 2] < -0.2


def _check_rnn(names):
    rows = names["rows"]
    assert rows["default"].r > max(rows["luo2025"].r, rows["FC"].r)
    assert rows["default"].r_transposed < 0.5 < rows["default"].r


def _check_neuromatch(names):
    true, npi = names["connections"], names["npi"]
    assert names["pearson"](npi, true) > 0.8 > names["pearson"](npi.T, true)
    assert names["pearson"](names["effect"], true) > 0.8
    assert names["two"][1, 0] > 0.5 > abs(names["everything"][3, 1])  # what is left out


def _check_groups(names):
    strongest = names["tested"].sort_values("t", key=abs, ascending=False).iloc[0]
    assert (strongest["source"], strongest["target"]) == ("PFC", "IPS")
    assert strongest["effect"] > 0


def _check_power(names):
    table = names["table"]
    last = table[table["minutes"] == 40].groupby("method")["r"].mean()
    assert last["var"] > last["fc"]


def _check_whole_brain(names):
    assert names["effect"].shape == (6, 6)
    assert np.isfinite(names["effect"]).all()


def _check_spiking(names):
    rates = np.array(list(names["rates"].values()))
    assert (np.diff(rates, axis=0) > 0).all()  # both rise with the external input
    assert rates[2, 1] > rates[2, 0]
    lags = [values[2] for values in names["features"].values()]
    assert np.ptp(lags) > 1


# What must be true after a tutorial: its claims, where the direction matters.
_CLAIMS = {
    "three_lines": _check_three_lines,
    "rnn": _check_rnn,
    "neuromatch": _check_neuromatch,
    "groups": _check_groups,
    "power": _check_power,
    "whole_brain_models": _check_whole_brain,
    "spiking": _check_spiking,
    "nipype": lambda names: _assert_equal(names["outputs"].strongest, "A -> C"),
    "own_inputs": lambda names: _assert_equal(names["sidecar"]["SamplesCensored"], 20),
    "real_series": lambda names: _assert_equal(names["result"].ec.shape, (24, 24)),
    "whole_brain_system": lambda names: _assert_equal(names["result"].ec.shape, (16, 16)),
}


def _assert_equal(one, other):
    assert one == other


def _cells(page):
    """Yield the code of each cell; a cell of shell commands becomes a call."""
    for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page.read_text(), re.DOTALL):
        lines = [line for line in cell.splitlines() if not line.startswith(":tags:")]
        code = "\n".join(lines).strip("\n")
        shell = code.removeprefix("%%bash\n")
        yield f"_shell({shell!r})" if shell != code else code


def _run_shell(commands):
    subprocess.run(["bash", "-c", f"set -e\n{commands}"], check=True)


def test_every_tutorial_has_a_claim_that_is_tested():
    assert set(_CLAIMS) == {page.stem for page in TUTORIALS}


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_cells_of_a_tutorial_run(page, monkeypatch):
    if "shared/data" in page.read_text() and not SHARED.is_dir():
        pytest.skip(f"needs the folder {SHARED}")
    if page.stem == "whole_brain_models":
        pytest.importorskip("neurolib")
    if page.stem == "spiking":
        pytest.importorskip("numba")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", commands)
    monkeypatch.chdir(page.parent)  # as the build of the site does
    names = {"_shell": _run_shell}
    for number, cell in enumerate(_cells(page)):
        source = f"{page.name}, cell {number}"
        # Nipype reads the source of a function that becomes a node.
        linecache.cache[source] = (len(cell), None, cell.splitlines(keepends=True), source)
        exec(compile(cell, source, "exec"), names)  # noqa: S102 (our own tutorial)
    _CLAIMS[page.stem](names)
