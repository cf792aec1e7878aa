"""Fixtures shared by all tests: a system whose effective connectivity is known, and datasets."""

import os
import shutil
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from npi_bids.parcellation.parcellation import Parcellation, label_image
from npi_bids.records import RegionSeries
from npi_bids.simulate.dataset import SimulatedRun, write_description, write_run

LABELS = ("A", "B", "C", "D")
SHARED = Path(__file__).parents[2] / "shared"

os.environ["NIPYPE_NO_ET"] = "1"


@pytest.fixture
def weights():
    """Return ``[source, target]`` weights of a stable system; A drives B, B drives C."""
    matrix = 0.4 * np.eye(4)
    matrix[0, 1] = 0.5
    matrix[1, 2] = -0.4
    return matrix


@pytest.fixture
def run(weights):
    """Return 1200 samples of the system with unit noise."""
    return var_run(weights, 1200, seed=7)


def var_run(weights, n_samples, seed, tr=2.0, labels=LABELS):
    rng = np.random.default_rng(seed)
    data = np.zeros((n_samples, len(weights)))
    for now in range(1, len(data)):
        data[now] = data[now - 1] @ weights + rng.standard_normal(len(weights))
    return RegionSeries(data, labels, tr=tr, keep=np.ones(len(data), dtype=bool))


@pytest.fixture
def shared_data():
    """Return the folder of real data beside the project, or skip."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the test data are not beside the project")
    return SHARED / "data"


@pytest.fixture(autouse=True)
def _torch_is_left_as_it_was(request):
    """Fail the test that changes torch's global state."""
    if not {"surrogates", "connectivity", "assessment"} & set(Path(request.node.path).parts):
        yield
        return
    import torch

    before = torch.get_num_threads(), torch.get_default_dtype(), torch.get_rng_state()
    yield
    assert torch.get_num_threads() == before[0]
    assert torch.get_default_dtype() == before[1]
    if "unrelated_seed" not in request.fixturenames:
        assert torch.equal(torch.get_rng_state(), before[2]), "the test moved torch's generator"


@pytest.fixture
def unrelated_seed():
    """Mark a test that moves torch's generator on purpose."""


@dataclass(frozen=True)
class Tiny:
    """A tiny fMRIPrep-like dataset: root, atlas (region E is never covered), and wiring."""

    root: Path
    atlas: Path
    weights: np.ndarray

    def copy(self, folder):
        """Return a copy that a test may damage."""
        shutil.copytree(self.root, folder / "data")
        for path in self.atlas.parent.glob("atlas-*"):
            shutil.copy(path, folder)
        return Tiny(folder / "data", folder / self.atlas.name, self.weights)

    def file(self, pattern):
        """Return the first file that matches."""
        return sorted(self.root.glob(pattern))[0]


def tiny_parcellation(n_regions=4):
    data = np.zeros((9, 9, 9), dtype=np.int32)
    for region, (x, y) in enumerate([(1, 1), (1, 4), (4, 1), (4, 4)], start=1):
        data[x : x + 3, y : y + 3, 1:4] = region
    data[6:8, 6:8, 7:9] = 5 if n_regions == 5 else 0
    labels = (*LABELS, "E")[:n_regions]
    image = label_image(data, np.diag([4.0, 4, 4, 1]))
    networks = ("one", "one", "two", "two", "two")[:n_regions]
    values = tuple(range(1, n_regions + 1))
    return Parcellation("Tiny", labels, values, "MNI152NLin6Asym", image, networks)


def write_atlas(folder, parcellation, name="atlas-Tiny_space-MNI152NLin6Asym_dseg"):
    path = folder / f"{name}.nii.gz"
    nib.save(parcellation.image, path)
    parcellation.table().to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return path


def make_tiny(folder, n_subjects=3, n_runs=2, n_samples=260, tr=2.0):
    weights = 0.4 * np.eye(4)
    weights[0, 1], weights[1, 2] = 0.5, -0.4
    rng = np.random.default_rng(1)
    write_description(folder / "data", "tiny")
    for subject in range(1, n_subjects + 1):
        for number in range(1, n_runs + 1):
            entities = {"sub": f"{subject:02d}", "task": "rest", "run": str(number)}
            signals = var_run(weights, n_samples, seed=10 * subject + number).data
            moved = np.zeros(n_samples, dtype=bool)
            moved[slice(20, 24) if n_samples > 30 else slice(1, 2)] = True
            run = SimulatedRun(entities, signals, tr, moved)
            write_run(folder / "data", run, tiny_parcellation(), rng)
    return Tiny(folder / "data", write_atlas(folder, tiny_parcellation(5)), weights)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Return a tiny dataset that no test may change."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def block(name, corner, size=2, label="X", space="MNI152NLin6Asym", step=4.0):
    data = np.zeros((9, 9, 9), dtype=np.int32)
    x, y, z = corner
    data[x : x + size, y : y + size, z : z + size] = 7
    return Parcellation(name, (label,), (7,), space, label_image(data, np.diag([step] * 3 + [1])))


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "")


@pytest.fixture
def little_memory():
    """Fail a test that takes more than 40 MB, or reads data of an image that lies."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6, f"{peak / 1e6:.0f} MB"
