"""The house rules that a machine can check. Do not edit them to make a change pass."""

import ast
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).parents[1]
# A room may import from all floors below its own, and not from the rooms beside it.
FLOORS = (
    ("errors", "wording"),
    ("settings", "records"),
    ("matrices",),
    ("plotting",),
    ("io",),
    ("parcellation", "surrogates"),
    ("connectivity",),
    ("assessment",),
    ("inference",),
    ("whole_brain",),
    ("bids",),
    ("group", "simulate"),
    ("validate", "inverse"),
    ("reports", "analysis"),
    ("interfaces",),
    ("workflows",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Packages that are banned where they would spoil what a room is for: package, who may import it.
MAY_IMPORT = {
    "nipype": lambda room, _: FLOOR[room] >= FLOOR["interfaces"],
    "nibabel": lambda room, module: (
        room in ("parcellation", "io") or module == "npi_bids.simulate.dataset"
        or module.startswith("npi_bids.reports.figures")
    ),
    "nilearn": lambda room, module: (
        room == "parcellation" or module.startswith("npi_bids.reports.figures")
        or module == "npi_bids.inverse.observation"  # which cleans as parcellation does
    ),
    "torch": lambda room, _: room not in ("bids", "io", "reports", "cli"),
    "pandas": lambda room, _: room not in ("surrogates", "connectivity", "assessment"),
}  # fmt: skip
# Who reads keys in CamelCase, of what: files that are not sidecars of npi-bids, but for the first.
SPELLS = {
    "npi_bids.bids.sidecars": "sidecars",
    "npi_bids.bids.companions": "sidecars of the input",
    "npi_bids.bids.datasets": "dataset_description.json of the input",
    "npi_bids.bids.description": "dataset_description.json",
    "npi_bids.bids.atlases": "atlas descriptions, as data/atlases.json has them",
    "npi_bids.cli.parser": "the same",
    "npi_bids.io.images": "headers of GIFTI",
    "npi_bids.parcellation.cifti": "the same",
    "npi_bids.io.claim": "the claim of an output dataset",
}
# Modules that act when they are imported: a fork server can be told only what to import.
ACTS_AT_IMPORT = {"npi_bids.interfaces.preloading"}
CAMEL = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
SCRIPTS = (
    *("npi-bids", "npi-bids-demo", "npi-bids-fetch", "npi-bids-slurm", "npi-ec"),
    *(
        "npi-explore",
        "npi-export",
        "npi-infer",
        "npi-perturb",
        "npi-simulate",
        "npi-validate",
        "npi-view",
    ),
)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("npi_bids", *parts) if parts[0] == "workflows" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(path): path
    for folder in ("npi_bids", "workflows")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not (folder == "npi_bids" and "workflows" in path.relative_to(ROOT).parts)
}


def room_of(module):
    return module.split(".")[1] if "." in module else ""


def imports(path):
    """Yield (module, name) of every import, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def imported_modules(path):
    """Yield the modules of the project that a file imports."""
    for module, name in imports(path):
        if module.split(".")[0] == "npi_bids":
            yield f"{module}.{name}" if f"{module}.{name}" in SOURCES else module


def forbidden(own, module):
    """Say why a module must not import another, or return None."""
    room, other = room_of(own), room_of(module)
    if not room or not other or room == other:
        return None
    if room not in FLOOR or other not in FLOOR:
        return f"{room if room not in FLOOR else other} has no floor"
    if FLOOR[other] >= FLOOR[room]:
        return f"{room} must not import from {other}, which is not below it"
    return None


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module):
    for other in imported_modules(SOURCES[module]):
        assert not (reason := forbidden(module, other)), f"{other}: {reason}"


@pytest.mark.parametrize("module", SOURCES)
def test_packages_stay_where_they_belong(module):
    for name, _ in imports(SOURCES[module]):
        head = name.split(".")[0]
        if head in MAY_IMPORT and room_of(module):
            assert MAY_IMPORT[head](room_of(module), module), f"{module} must not import {head}"


@pytest.mark.parametrize(
    ("own", "module"),
    [
        ("npi_bids.surrogates.var", "npi_bids.parcellation.volumes"),
        ("npi_bids.surrogates.var", "npi_bids.connectivity.measures"),
        ("npi_bids.bids.outputs", "npi_bids.group.design"),
        ("npi_bids.reports.subject", "npi_bids.interfaces.report"),
        ("npi_bids.io.tables", "npi_bids.bids.outputs"),
        ("npi_bids.group.glm", "npi_bids.new_room.anything"),
    ],
)
def test_the_guard_sees_a_forbidden_import(own, module):
    assert forbidden(own, module)


def test_no_module_imports_itself_through_others():
    graph = {module: set(imported_modules(path)) - {module} for module, path in SOURCES.items()}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in sorted(graph.get(module, ())):
            visit(other)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)


@pytest.mark.parametrize("module", SOURCES)
def test_functions_do_one_job(module):
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False) or ""
            assert node.end_lineno - node.lineno - doc.count("\n") <= 60, node.name


def keys_read(path):
    """Yield the keys in CamelCase that a file takes out of dictionaries, or looks for in them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        key = None
        if isinstance(node, ast.Subscript):
            key = node.slice
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            key = node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            key = node.args[0] if node.func.attr in ("get", "pop") and node.args else None
        value = getattr(key, "value", None)
        if isinstance(value, str) and CAMEL.fullmatch(value):
            yield value


@pytest.mark.parametrize("module", SOURCES)
def test_nobody_spells_a_key_of_a_sidecar(module):
    keys = [key for key in keys_read(SOURCES[module]) if not key.endswith("Error")]
    assert module in SPELLS or not keys, f"{module} reads {', '.join(keys)}: see bids/sidecars.py"


def test_the_guard_sees_a_key(tmp_path):
    source = 'a["Quality"]; b.get("Verdict"); "LowPass" in c; d["name"]; e[None]'
    (tmp_path / "x.py").write_text(source)
    assert sorted(keys_read(tmp_path / "x.py")) == ["LowPass", "Quality", "Verdict"]


@pytest.mark.parametrize("module", SPELLS)
def test_no_exception_is_left_over(module):
    assert list(keys_read(SOURCES[module])), f"{module} reads no key any more"


@pytest.mark.parametrize("module", SOURCES)
def test_no_pickle_no_print_no_state_at_import(module):
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    modules = {name for name, _ in imports(SOURCES[module])}
    assert not modules & {"pickle", "dill", "cloudpickle"}
    calls = [
        statement.lineno
        for statement in tree.body
        if isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant)
    ]
    assert bool(calls) == (module in ACTS_AT_IMPORT), f"lines {calls}: a call at import"


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
        parts = path.relative_to(ROOT).parts
        if parts[0] in skipped or "_build" in parts or path == Path(__file__):
            continue
        for word in ("/home/", "/Users/", "/work/"):
            assert word not in path.read_text(encoding="utf-8"), f"{path}: {word}"


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_runs_as_a_command_only_when_all_of_it_is_defined(module):
    body = ast.parse(SOURCES[module].read_text(encoding="utf-8")).body
    entries = [node for node in body if isinstance(node, ast.If) and "__main__" in ast.dump(node)]
    assert entries in ([], body[-1:])
