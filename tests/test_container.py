"""The wrapper of the container engine, and the files that the image is made of."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRAPPER = ROOT / "docker" / "npi-bids-docker"


def show(folder, *words, code=0, **environment):
    """Return the words of the command that the wrapper would run."""
    done = subprocess.run(
        [sys.executable, WRAPPER, "--engine", "docker", "--show", *map(str, words)],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return shlex.split(done.stdout) if code == 0 else done.stderr


def volumes(words):
    return {word for flag, word in pairwise(words) if flag == "--volume"}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "bids").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "my atlas").mkdir()
    (tmp_path / "my atlas" / "a.nii.gz").touch()
    (tmp_path / "rest.toml").touch()
    return tmp_path.resolve()


def test_what_the_arguments_name_is_mounted_and_nothing_else(place):
    words = ("--atlas", "AAL+my atlas/a.nii.gz", "--denoise=rest.toml", "-d", "other=bids")
    cache = {"NILEARN_DATA": str(place / "cache")}
    words = show(place, "bids", "out", "participant", *words, **cache)
    assert volumes(words) == {
        f"{place}/bids:{place}/bids:ro",
        f"{place}/out:{place}/out:rw",
        f"{place}/work:{place}/work:rw",
        f"{place}/my atlas:{place}/my atlas:ro",
        f"{place}:{place}:ro",
        f"{place}/cache:/atlases:ro",
    }
    assert f"AAL+{place}/my atlas/a.nii.gz" in words
    assert f"--denoise={place}/rest.toml" in words
    assert {"--read-only", "none", f"{os.getuid()}:{os.getgid()}"} <= set(words)


def test_the_work_folder_is_the_one_that_is_named(place):
    for words in (("-w", "scratch"), ("--work-dir=scratch",)):
        command = show(place, "bids", "out", "participant", *words)
        assert f"{place}/scratch:{place}/scratch:rw" in volumes(command)
        assert not (place / "work").exists()


def test_the_folder_of_the_database_is_written_to(place):
    for words in (("--bids-database-dir", "base"), ("--bids_database_dir=base",)):
        command = show(place, "bids", "out", "participant", *words)
        assert f"{place}/base:{place}/base:rw" in volumes(command)


def test_a_word_that_is_also_a_folder_here_is_left_as_it_is(place):
    (place / "rest").mkdir()
    words = show(place, "bids", "out", "participant", "--task-id", "rest")
    assert words[-4:-2] == ["--task-id", "rest"]
    assert not any("/rest:" in volume for volume in volumes(words))


def test_links_are_mounted_under_both_names(place):
    (place / "link").symlink_to("bids")
    words = show(place, "link", "out", "participant")
    assert {f"{place}/bids:{place}/bids:ro", f"{place}/link:{place}/link:ro"} <= volumes(words)


def test_what_cannot_be_mounted_is_refused(place):
    assert "folder of the system" in show(place, "/usr", "out", "participant", code=2)
    assert "is no folder" in show(place, "nothing", "out", "participant", code=2)
    assert "come first" in show(place, "bids", "--n-procs", "1", "out", code=2)


def test_the_wrapper_needs_nothing_but_python():
    before = set(sys.modules)
    runpy.run_path(str(WRAPPER), run_name="wrapper")
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] == "npi_bids"}


def pins(name):
    text = (ROOT / "docker" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ]+) \\$", text, re.MULTILINE)), text


def test_every_atlas_that_is_downloaded_for_the_image_is_found_in_it():
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    stages = text.split("\nFROM ")
    fetching, final = next(s for s in stages if "npi-bids-fetch" in s), stages[-1]
    (copied,) = re.findall(r"^COPY --from=atlases (\S+) \1$", final, re.MULTILINE)
    for downloaded, found in (
        ("NILEARN_DATA", "NILEARN_SHARED_DATA"), ("TEMPLATEFLOW_HOME", "TEMPLATEFLOW_HOME"),
    ):  # fmt: skip
        folder = re.search(rf"\b{downloaded}=(\S+)", fetching)[1]
        assert Path(folder).is_relative_to(copied)
        assert re.search(rf"\b{found}=(\S+)", final)[1] == folder


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_every_package_of_the_image_has_a_version_and_hashes(name):
    packages, text = pins(name)
    assert len(packages) > 3
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(packages)
    assert all("--hash=sha256:" in block for block in blocks)


def requirements():
    """Return the lowest version of each dependency of the package."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    return dict(re.fullmatch(r"([\w-]+)(>=.+)", requirement).groups() for requirement in needed)


def test_every_dependency_of_the_package_is_pinned():
    assert set(requirements()) <= set(pins("requirements.txt")[0])


def test_the_recipe_of_conda_has_the_dependencies_of_the_package():
    text = (ROOT / "conda-recipe" / "recipe.yaml").read_text(encoding="utf-8")
    run = text.partition("  run:\n")[2].partition("\n\n")[0]
    there = dict(re.findall(r"^    - ([\w-]+) (>=.+)$", run, re.MULTILINE))
    named_otherwise = {"isal": "python-isal", "matplotlib": "matplotlib-base", "torch": "pytorch"}
    for name, version in requirements().items():
        assert there[named_otherwise.get(name, name)] == version


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_of_the_image_is_sound():
    subprocess.run(["shellcheck", ROOT / "docker" / "test_image.sh"], check=True)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_the_dockerfile_is_sound():
    subprocess.run(["hadolint", ROOT / "docker" / "Dockerfile"], check=True)
