"""Headers are checked before data are read: what lies is refused in words, and costs no memory."""

from __future__ import annotations

import base64
import contextlib
import gzip
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
from nibabel.arrayproxy import ArrayProxy
from nibabel.cifti2.cifti2_axes import BrainModelAxis

from npi_bids.cli.execution import extraction_memory
from npi_bids.errors import InputDataError, NPIError
from npi_bids.io.images import MOST_VOXELS, load_image, read_data
from npi_bids.parcellation.atlases import AtlasRequest, load_file
from npi_bids.parcellation.cifti import load_grey_atlas, on_surface
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.mmp import load_mmp
from npi_bids.parcellation.run_files import RunFiles, count_voxels
from npi_bids.parcellation.volumes import count_places
from tests.conftest import tiny_parcellation
from tests.greyordinates import LEFT, axis, write_gifti, write_labels, write_series

SQUARE = np.diag([4.0, 4, 4, 1])
HUGE = (3000, 3000, 3000, 3000)


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


@pytest.fixture
def little_memory():
    """Fail a test that takes more than 40 MB, or reads data of an image that lies."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6, f"{peak / 1e6:.0f} MB"


def lying(path, shape, dtype=np.int16, n_bytes=1000):
    """Write a header that promises much, and next to nothing behind it."""
    header = nib.Nifti2Header() if max(shape) > 32767 else nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_zooms((4.0,) * min(3, len(shape)) + (2.0,) * (len(shape) - 3))
    header.set_sform(SQUARE, 1)
    header["vox_offset"] = 352 if max(shape) <= 32767 else 544
    content = header.binaryblock + bytes(4) + bytes(n_bytes)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


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
    for read in (lambda: load_grey_atlas(labels, "A", "fsLR"), lambda: on_surface(labels, (), ())):
        with pytest.raises(InputDataError, match=r"its header states .* bytes"):
            read()


ENTITIES = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]><GIFTI>&a11;</GIFTI>"
)


def array(data, dims, packed=True):
    raw = np.asarray(data, np.float32).tobytes()
    text = base64.b64encode(zlib.compress(raw) if packed else raw).decode()
    sizes = "".join(f' Dim{axis}="{n}"' for axis, n in enumerate(dims))
    return (
        f'<DataArray Intent="NIFTI_INTENT_TIME_SERIES" DataType="NIFTI_TYPE_FLOAT32" '
        f'ArrayIndexingOrder="RowMajorOrder" Dimensionality="{len(dims)}"{sizes} '
        f'Encoding="{"GZip" if packed else ""}Base64Binary" Endian="LittleEndian" '
        f'ExternalFileName="" ExternalFileOffset=""><MetaData><MD><Name>TimeStep</Name>'
        f"<Value>2000</Value></MD></MetaData><Data>{text}</Data></DataArray>"
    )


def gifti(*arrays):
    return (
        f'<?xml version="1.0"?><GIFTI Version="1.0" NumberOfDataArrays="{len(arrays)}">'
        f"<MetaData/><LabelTable/>{''.join(arrays)}</GIFTI>"
    )


SIDES = {
    "laughing entities": (ENTITIES, "cannot be read as an image"),
    "no XML": ("<GIFTI", "cannot be read as an image"),
    "no array": (gifti(), "has 0 data arrays"),
    "arrays of two sizes": (gifti(array(np.zeros(20), [20]), array(np.zeros(9), [9])),
                            "data arrays of the shapes"),
    "more than it says": (gifti(*[array(np.zeros(2_000_000), [20])] * 3),
                          "unpacks to more bytes than its header states"),
    "much more than the file": (gifti(*[array(np.zeros(20), [3_000_000_000])] * 3),
                                "would unpack to more than"),
    "less than it says": (gifti(*[array(np.zeros(20), [200])] * 3), "cannot be read as an image"),
    "unknown type": (gifti(array(np.zeros(20), [20]).replace("FLOAT32", "FLOAT31")),
                     "cannot be read as an image"),
    "a TimeStep in words": (gifti(*[array(np.zeros(20), [20]).replace("2000", "two")] * 3),
                            "states a TimeStep of two"),
}  # fmt: skip


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


@pytest.mark.parametrize("name", ["laughing entities", "no XML", "unknown type"])
def test_samples_of_what_cannot_be_read_are_not_counted(tmp_path, name, little_memory):
    (tmp_path / "b.func.gii").write_text(SIDES[name][0])
    for path in (tmp_path / "b.func.gii", lying(tmp_path / "b.nii", (3, 4)),
                 lying(tmp_path / "c.nii.gz", HUGE)):  # fmt: skip
        with pytest.raises(InputDataError, match=path.name):
            count_places(path)


def test_samples_and_places_are_counted_from_headers(tmp_path, run):
    assert count_places(run.bold) == (260, 729)
    write_series(tmp_path / "b.dtseries.nii", axis())
    assert count_places(tmp_path / "b.dtseries.nii") == (30, 43)
    side = write_gifti(tmp_path / "sub-1_hemi-L_bold.func.gii", np.zeros((3, 20)))
    assert count_places(side) == (3, 20)


def test_an_atlas_of_labels_without_an_array_is_refused(tmp_path):
    for side in "lr":
        nib.save(nib.GiftiImage(), tmp_path / f"a_{side}h.label.gii")
    with pytest.raises(InputDataError, match=r"a_lh.label.gii> has no data array"):
        load_grey_atlas(tmp_path / "a_lh.label.gii", "A", "fsLR")


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


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
@pytest.mark.parametrize("order", "<>")
def test_voxels_are_counted_from_the_first_bytes(tmp_path, kind, name, order):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    data = np.zeros((5, 6, 7, 2), dtype=np.int16)
    nib.save(kind(data, SQUARE, header), tmp_path / name)
    assert count_voxels(tmp_path / name) == 210


def test_voxels_of_what_is_no_image_are_none_and_never_too_many(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    (tmp_path / "a.nii").write_bytes(b"no image" * 100)
    found = [count_voxels(tmp_path / name) for name in ("a.nii", "a.nii.gz", "none.nii")]
    assert found == [0, 0, 0]
    assert count_voxels(lying(tmp_path / "b.nii", HUGE)) == MOST_VOXELS
    assert extraction_memory([tmp_path / "b.nii"], MOST_VOXELS) == pytest.approx(6.5)


def test_an_image_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5, 9), dtype=np.uint8), np.eye(4)), path)
    monkeypatch.setattr("npi_bids.io.images.MOST_VALUES", 1000)
    with pytest.raises(InputDataError, match=r"1.12e\+03 values.*at most 1e\+03 in a mask"):
        read_data(path, nib.load(path))
