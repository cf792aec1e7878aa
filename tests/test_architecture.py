"""The house rules that a machine can check. Do not edit them to make a change pass."""

import ast
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
SETTINGS = "settings classes"
MAY_IMPORT = {
    "errors": set(),
    "core": {"errors"},
    "images": {"errors", "core", "io"},
    "bids": {"errors", "core.options", "io"},
    "io": {"errors", "core"},
    # Simulated datasets are painted on an atlas and written as images and tables.
    "simulate": {"errors", "core", "images", "io"},
    "reports": {"errors", "core", "io"},
    # The whole-brain surrogate is a simulator that is fitted to a subject.
    "interfaces": {"errors", "core", "images", "bids", "io", "reports", "simulate"},
    "workflows": {"errors", SETTINGS, "bids", "interfaces"},
    # npi-validate writes a page of its own, without a workflow.
    # npi-ec is one function of the library on a table.
    "cli": {
        *("errors", SETTINGS, "core.plain", "bids", "io", "reports", "simulate", "workflows"),
    },
    "data": set(),
    "__main__": {"cli"},
}
FOREIGN = {
    "core": {"numpy", "scipy", "torch"},
    "images": {"numpy", "scipy", "nibabel", "nilearn", "pandas", "pooch"},
    "io": {"numpy", "scipy", "pandas", "safetensors", "formulaic", "networkx"},
    # neurolib is an optional extra, imported where a whole-brain model is asked for.
    "simulate": {"numpy", "scipy", "nibabel", "pandas", "neurolib"},
    "reports": {"numpy", "pandas", "matplotlib", "jinja2", "nilearn"},
    "interfaces": {"nipype"},
    "workflows": {"nipype"},
    "cli": {"rich", "tomli_w", "yaml"},
}
SCRIPTS = (
    *("npi-bids", "npi-bids-demo", "npi-bids-fetch", "npi-ec"),
    *("npi-export", "npi-simulate", "npi-validate"),
)
# What the upper layers may take from core, images and simulate: settings, their machinery.
SETTINGS_NAMES = {"option", "configuration_hash", "PRESETS", "resolve", "check_options"}
SOURCES = sorted(
    path
    for folder in ("npi_bids", "workflows")
    for path in (ROOT / folder).rglob("*.py")
    if not (folder == "npi_bids" and "workflows" in path.relative_to(ROOT).parts)
)


def layer(path):
    parts = path.relative_to(ROOT).parts
    return "workflows" if parts[0] == "workflows" else parts[1].removesuffix(".py")


def imports(path):
    """Yield (module, imported names) of every import, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def forbidden(own, module, names):
    """Say why a layer must not import this, or return None."""
    head, _, rest = module.partition(".")
    if head != "npi_bids":
        known = head in sys.stdlib_module_names or head in FOREIGN.get(own, set())
        return None if known else f"{own} must not import {head}"
    if not rest:
        modules = {name for name in names if name != "__version__"}
        return f"import from the modules, not {modules}" if modules else None
    used = rest.split(".")[0]
    allowed = MAY_IMPORT[own]
    if used == own or used in allowed or ".".join(rest.split(".")[:2]) in allowed:
        return None
    settings = names and all(n.endswith("Settings") or n in SETTINGS_NAMES for n in names)
    if SETTINGS in allowed and used in ("core", "images", "simulate") and settings:
        return None
    return f"{own} must not import {names} from {rest}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = layer(path)
    if own == "__init__":
        return
    for module, names in imports(path):
        assert not (reason := forbidden(own, module, names)), reason


@pytest.mark.parametrize(
    ("own", "module", "names"),
    [
        ("core", "npi_bids.io.tables", ["read_series"]),
        ("core", "pandas", []),
        ("bids", "npi_bids.core.records", ["Array"]),
        ("workflows", "npi_bids.core.perturb", ["infer_ec"]),
        ("cli", "npi_bids.interfaces.ec", ["InferEC"]),
        ("reports", "npi_bids.bids.names", ["stem"]),
        ("workflows", "workflows.base", ["run_workflow"]),
    ],
)
def test_the_guard_sees_a_forbidden_import(own, module, names):
    assert forbidden(own, module, names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_do_one_job(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False) or ""
            assert node.end_lineno - node.lineno - doc.count("\n") <= 60, node.name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_no_print_no_state_at_import(path):
    tree = ast.parse(path.read_text())
    modules = {module for module, _ in imports(path)}
    assert not modules & {"pickle", "dill", "cloudpickle"}
    for statement in tree.body:
        assert not isinstance(statement, ast.Expr) or isinstance(statement.value, ast.Constant), (
            f"line {statement.lineno}: a call at import"
        )


def test_every_package_is_installed():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = set(find_packages(str(ROOT), include=["npi_bids", "npi_bids.*"]))
    found |= {f"npi_bids.{name}" for name in find_packages(str(ROOT), include=["workflows*"])}
    assert set(config["tool"]["setuptools"]["packages"]) == found


def test_workflows_link_points_to_the_top_level_folder():
    link = ROOT / "npi_bids" / "workflows"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "workflows"


def test_console_scripts_exist():
    scripts = [e for e in entry_points(group="console_scripts") if e.value.startswith("npi_bids")]
    assert {script.name for script in scripts} == set(SCRIPTS)
    assert all(callable(script.load()) for script in scripts)


def test_text_knows_no_machine():
    """No absolute path of a developer's machine stands in the project."""
    listed = [p for p in ROOT.rglob("*") if p.is_file() and p.suffix in (".py", ".md", ".toml")]
    skipped = (".venv", ".git", "build", "demo")
    for path in listed:
        if path.relative_to(ROOT).parts[0] in skipped or path == Path(__file__):
            continue
        for word in ("/home/", "/Users/", "/work/"):
            assert word not in path.read_text(encoding="utf-8"), f"{path}: {word}"
