"""Headers are checked before data are read: what lies is refused in words, and costs no memory."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from nibabel.arrayproxy import ArrayProxy
from nibabel.cifti2.cifti2_axes import BrainModelAxis

from npi_bids.cli.execution import extraction_memory
from npi_bids.errors import InputDataError, NPIError
from npi_bids.io.images import load_image, read_data
from npi_bids.parcellation.atlases import AtlasRequest, load_file
from npi_bids.parcellation.cifti import load_grey_atlas, project_to_surface
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.mmp import load_mmp
from npi_bids.parcellation.run_files import RunFiles
from tests.conftest import tiny_parcellation
from tests.damaged_images import HUGE, SIDES, SQUARE, lying
from tests.greyordinates import LEFT, axis, write_gifti, write_labels, write_series


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tiny):
    stem = "sub-01/func/sub-01_task-rest_run-1_space-MNI152NLin6Asym_res-4"
    return RunFiles(
        tiny.root / f"{stem}_desc-preproc_bold.nii.gz",
        tiny.root / f"{stem}_desc-brain_mask.nii.gz",
        tr=2.0,
    )


def extract(run, atlas=None):
    return extract_run(
        run, atlas or tiny_parcellation(), DenoiseSettings(denoise="none"), CoverageSettings()
    )


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
@pytest.mark.parametrize(("shape", "words"), [
    (HUGE, "2.7e[+]10 voxels per volume according to its header"),
    ((200, 200, 200, 1200), "its header states 19200000352 bytes"),
])  # fmt: skip
def test_a_run_whose_header_lies(tmp_path, little_memory, name, shape, words):
    with pytest.raises(InputDataError, match=words):
        extract(RunFiles(lying(tmp_path / name, shape), tr=2.0))


@pytest.mark.slow
def test_a_bomb_takes_no_more_memory_than_is_said_of_its_run(tmp_path):
    shape = (100, 100, 100, 500)
    with gzip.open(tmp_path / "b.nii.gz", "wb", compresslevel=1) as file:
        file.write(lying(tmp_path / "head.nii", shape, n_bytes=0).read_bytes())
        for _ in range(shape[-1]):
            file.write(bytes(2_000_000))  # 1 GB of zeros in 5 MB
    tracemalloc.start()
    with pytest.raises(NPIError):  # no region has a signal
        extract(RunFiles(tmp_path / "b.nii.gz", tr=2.0), tiny_parcellation())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    told = extraction_memory([tmp_path / "b.nii.gz"], n_voxels=10**6)
    assert peak < 1.5e9 * (told - extraction_memory([]))


def test_a_run_that_could_unpack_to_what_it_says_but_does_not(tmp_path):
    path = lying(tmp_path / "b.nii.gz", (100, 100, 100, 40), n_bytes=200_000)
    path.write_bytes(path.read_bytes() + bytes(200_000))  # trailing garbage
    with pytest.raises(InputDataError, match="cannot be read as an image"):
        extract(RunFiles(path, tr=2.0))


@pytest.mark.parametrize(("shape", "words"), [
    ((1000, 1000, 1000), "cannot be read as an image|voxels per volume"),
    ((400, 400, 200), "is not the grid of its run"),
    ((9, 9, 9, 3000), "is not the grid of its run"),
    ((9, 9, 9), "cannot be read as an image: its header states"),
])  # fmt: skip
def test_a_mask_whose_header_lies(tmp_path, run, little_memory, shape, words):
    n_bytes = 20 if shape == (9, 9, 9) else 1000
    mask = lying(tmp_path / "m.nii", shape, np.uint8, n_bytes)
    if shape != (9, 9, 9):
        mask.write_bytes(mask.read_bytes()[:352])
        with mask.open("r+b") as file:
            file.truncate(352 + int(np.prod(shape)))  # as large as it says, and sparse
    with pytest.raises(InputDataError, match=words):
        extract(RunFiles(run.bold, mask, tr=2.0))


def test_a_mask_of_another_grid_is_refused_before_it_is_read(tmp_path, run, monkeypatch):
    nib.save(nib.Nifti1Image(np.ones((12, 12, 12), np.uint8), SQUARE), tmp_path / "m.nii.gz")
    mask = RunFiles(run.bold, tmp_path / "m.nii.gz", tr=2.0)

    def refuse(self, dtype=None):
        raise AssertionError("data were read")

    monkeypatch.setattr(ArrayProxy, "__array__", refuse)
    with pytest.raises(InputDataError, match="is not the grid of its run"):
        extract(mask)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("shape", [HUGE[:3], (400, 400, 400), (400, 400, 400, 100)])
def test_an_atlas_whose_header_lies(tmp_path, little_memory, name, shape):
    path = lying(tmp_path / name, shape)
    (tmp_path / "a.tsv").write_text("index\tname\n1\tA\n")
    with pytest.raises(InputDataError, match=r"cannot be read as an image|voxels per volume"):
        load_file(path, AtlasRequest("A", path=str(path)))
    with pytest.raises(InputDataError, match=r"cannot be read as an image|voxels per volume"):
        load_mmp(path)


def test_a_truncated_atlas_is_named(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2, (40, 40, 40)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, SQUARE), tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(content[: len(content) // 2])
    (tmp_path / "a.tsv").write_text("index\tname\n1\tA\n")
    with pytest.raises(InputDataError, match=r"a.nii.gz> cannot be read as an image"):
        load_file(tmp_path / "a.nii.gz", AtlasRequest("A", path="a.nii.gz"))


@pytest.fixture
def grey(tmp_path):
    path = write_labels(tmp_path / "a.dlabel.nii", axis(), np.ones(43), {1: "A"})
    return load_grey_atlas(path, "Grey", "fsLR")


def cut(path, n_left):
    path.write_bytes(path.read_bytes()[:-n_left])
    return path


def test_greyordinates_whose_header_lies(tmp_path, grey, little_memory):
    write_series(tmp_path / "b.dtseries.nii", axis())
    path = cut(tmp_path / "b.dtseries.nii", 1000)
    with pytest.raises(InputDataError, match=r"its header states .* bytes"):
        extract(RunFiles(path), grey)
    labels = cut(tmp_path / "a.dlabel.nii", 20)
    for read in (
        lambda: load_grey_atlas(labels, "A", "fsLR"),
        lambda: project_to_surface(labels, (), ()),
    ):
        with pytest.raises(InputDataError, match=r"its header states .* bytes"):
            read()


@pytest.mark.parametrize("name", SIDES)
def test_hemispheres_that_lie_or_are_damaged(tmp_path, name, little_memory):
    text, words = SIDES[name]
    surface = BrainModelAxis.from_surface(np.arange(20), 20, LEFT)
    labels = write_labels(tmp_path / "a.dlabel.nii", surface, np.ones(20), {1: "A"})
    (tmp_path / "sub-1_hemi-L_bold.func.gii").write_text(text)
    good = write_gifti(tmp_path / "sub-1_hemi-R_bold.func.gii", np.zeros((3, 20)))
    run = RunFiles(tmp_path / "sub-1_hemi-L_bold.func.gii", right=good, tr=2.0)
    with pytest.raises(InputDataError, match=words):
        extract(run, load_grey_atlas(labels, "A", "X"))


@pytest.mark.parametrize("seed", range(25))
def test_damaged_bytes_of_greyordinates_are_refused_or_read(tmp_path, grey, seed):
    """Whatever bytes are changed, nothing but an InputDataError is raised."""
    write_series(tmp_path / "b.dtseries.nii", axis())
    rng = np.random.default_rng(seed)
    content = bytearray((tmp_path / "b.dtseries.nii").read_bytes())
    # Up to where the data begin: header and XML.
    places = rng.integers(0, len(content) - 30 * 43 * 4, size=rng.integers(1, 6))
    for place in places:
        content[place] = rng.integers(0, 256)
    (tmp_path / "b.dtseries.nii").write_bytes(bytes(content))
    with contextlib.suppress(InputDataError):
        extract(RunFiles(tmp_path / "b.dtseries.nii"), grey)


@pytest.mark.parametrize("seed", range(25))
def test_damaged_headers_of_volumes_are_refused_or_read(tmp_path, run, seed, little_memory):
    rng = np.random.default_rng(seed)
    content = bytearray(gzip.decompress(run.bold.read_bytes()))
    for place in rng.integers(0, 352, size=rng.integers(1, 6)):
        content[place] = rng.integers(0, 256)
    (tmp_path / "b.nii").write_bytes(bytes(content))
    with contextlib.suppress(InputDataError):
        extract(RunFiles(tmp_path / "b.nii", run.mask, tr=2.0))


def test_a_sound_image_is_opened(run):
    assert load_image(run.bold).shape == (9, 9, 9, 260)


def test_an_image_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5, 9), dtype=np.uint8), np.eye(4)), path)
    monkeypatch.setattr("npi_bids.io.images.MOST_VALUES", 1000)
    with pytest.raises(InputDataError, match=r"1.12e\+03 values.*at most 1e\+03 in a mask"):
        read_data(path, nib.load(path))
