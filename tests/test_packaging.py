"""What is shipped: the wheel and the sdist, file by file, and a program that starts from them."""

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = (".py", ".json", ".toml", ".tsv", ".bib", ".j2", ".css", ".js", ".typed")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build both from the tree of the project, without the network."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def expected_files():
    package = [p for p in (ROOT / "npi_bids").rglob("*") if "workflows" not in p.parts[-2:]]
    files = {p.relative_to(ROOT).as_posix() for p in package if p.suffix in SHIPPED}
    files = {name for name in files if not name.startswith("npi_bids/workflows/")}
    workflows = {f"npi_bids/workflows/{p.name}" for p in (ROOT / "workflows").glob("*.py")}
    return files | workflows


@pytest.mark.install
def test_wheel_holds_every_file_of_the_package(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected_files()
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.install
def test_sdist_holds_what_the_wheel_is_built_from(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {name.replace("npi_bids/workflows/", "workflows/") for name in expected_files()}
    assert sources <= names
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def wheel_of(sdist, folder):
    """Build a wheel from nothing but an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, source],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


@pytest.mark.install
@pytest.mark.parametrize("kind", [0, 1], ids=["wheel", "sdist"])
def test_program_starts_from_a_clean_install(built, tmp_path, kind):
    """The dependencies come from this environment; the package itself from the archive alone."""
    wheel = built[0] if kind == 0 else wheel_of(built[1], tmp_path / "unpacked")
    venv.create(tmp_path / "venv", with_pip=True, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    own = subprocess.run(
        [sys.executable, "-c", "import numpy; print(numpy.__path__[0].rsplit('/', 1)[0])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    # Added last, so that what is installed below goes first.
    (site / "dependencies.pth").write_text(f"{own}\n")
    subprocess.run(
        [python, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall", wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    where = subprocess.run(
        [python, "-c", "import npi_bids.workflows.participant as b; print(b.__file__)"],
        check=True, capture_output=True, text=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert str(site) in where
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "npi-bids", "--version"],
        check=True, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip() == f"npi-bids {wheel.name.split('-')[1]}"


@pytest.mark.install
def test_metadata_is_what_the_index_accepts(built):
    pytest.importorskip("twine", reason="twine is not installed (pip install .[release])")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built], check=True)


@pytest.mark.install
def test_archives_hold_nothing_but_the_project(built):
    """No caches, results, editor files or paths of the machine that built them."""
    with tarfile.open(built[1]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    names += zipfile.ZipFile(built[0]).namelist()
    refused = ("__pycache__", ".pyc", ".nii", "benchmarks/results", ".venv", ".git/")
    assert not [name for name in names if any(part in name for part in refused)]


def test_the_version_is_written_once():
    """Tags of git decide on it; a second place would be forgotten."""
    code = (
        "import npi_bids as n, importlib.metadata as m; "
        "print(n.__version__, m.version(n.__name__))"
    )
    # In a process of its own: building an archive writes the version beside the source.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 1
    tracked = [*ROOT.glob("*.toml"), *ROOT.glob("*.cff"), *ROOT.glob("docker/[Da]*")]
    tracked += (ROOT / "npi_bids").rglob("*.py")
    for path in tracked:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not re.search(
                r"npi-bids[:=-]?\s?v?\d+\.\d+\.\d+|^version: \d", text, re.MULTILINE
            ), path
