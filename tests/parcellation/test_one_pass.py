"""One pass over a run gives every atlas what nilearn gives it, however the run is stored."""

from __future__ import annotations

import gzip
import sys
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import resample_to_img, smooth_img
from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

from npi_bids.errors import InputDataError
from npi_bids.io import volume_stream
from npi_bids.parcellation.damaged_volumes import SampleStatistics
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import read_regions
from npi_bids.parcellation.parcellation import (
    Parcellation,
    label_image,
    read_parcellation,
    save_parcellation,
    weights_image,
)
from npi_bids.parcellation.resampling import Grid, labels_on_grid, to_grid, weights_on_grid
from npi_bids.parcellation.run_files import RunFiles

SHAPE, N = (10, 11, 9), 30
AFFINE = np.array([[-3.0, 0, 0, 14], [0, 3, 0, -16], [0, 0, 3, -12], [0, 0, 0, 1]])
RAW = DenoiseSettings(denoise="none")


def turned(angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE


def flipped():
    affine = AFFINE.copy()
    affine[0, 0], affine[0, 3] = 3, -13
    return affine


GRIDS = {
    "same": AFFINE,
    "turned": turned(0.1),
    "flipped": flipped(),
    "finer": AFFINE @ np.diag([0.71, 0.71, 0.71, 1]),
}


def label_atlas(affine=AFFINE, *, seed=1, n_regions=12):
    """Return scattered labels with values that are not consecutive, and more than one per cell."""
    rng = np.random.default_rng(seed)
    values = tuple(range(3, 3 + 2 * n_regions, 2))
    coarse = rng.choice((0, *values), size=(4, 4, 3))
    data = np.kron(coarse, np.ones((3, 3, 3)))[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(int)
    present = tuple(int(value) for value in np.unique(data) if value)
    names = tuple(f"R{value}" for value in present)
    return Parcellation(f"L{seed}", names, present, "X", label_image(data, affine))


def map_atlas(affine=AFFINE, n_maps=4):
    """Return smooth maps that overlap."""
    x, y, z = np.indices(SHAPE)
    centres = np.random.default_rng(4).uniform(2, 7, (n_maps, 3))
    maps = [np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 4) for a, b, c in centres]
    weights = np.stack(maps, axis=-1)
    weights[weights < 0.05] = 0
    names = tuple("ABCDEFGH"[:n_maps])
    return Parcellation(
        "M", names, tuple(range(1, n_maps + 1)), "X", weights_image(weights, affine)
    )


def signals(seed=0):
    rng = np.random.default_rng(seed)
    return 1000 + 200 * rng.random(SHAPE)[..., None] + 15 * rng.standard_normal((*SHAPE, N))


def constant(data):
    data[:3] = 500
    return data


def nan_background(data):
    data[:2] = np.nan
    return data


def late_nan(data):
    data[4, 4, 4, 20] = np.nan
    data[5, 5, 5, 29] = -np.inf
    return data


def infinite_from_the_start(data):
    data[4, :, 3] = np.inf
    return data


CHANGES = [lambda data: data, constant, nan_background, late_nan, infinite_from_the_start]
STORED = {
    "float32": (np.float32, None, ".nii.gz"),
    "float64": (np.float64, None, ".nii"),
    "big-endian": (np.dtype(">f4"), None, ".nii.gz"),
    "int16": (np.int16, None, ".nii"),
    "scaled": (np.int16, (0.25, 700.0), ".nii.gz"),
}


def store(path, data, kind):
    dtype, scale, extension = STORED[kind]
    dtype = np.dtype(dtype)
    if scale:
        data = (data - scale[1]) / scale[0]
    data = np.rint(data) if dtype.kind == "i" else data
    header = nib.Nifti1Header(endianness=">" if dtype.byteorder == ">" else "<")
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(data.astype(dtype), AFFINE, header)
    image.header.set_zooms((3, 3, 3, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    if scale:
        image.header.set_slope_inter(*scale)
    path = path.with_name(path.name + extension)
    nib.save(image, path)
    return path


def with_signal(data):
    """Return where a voxel is finite and varies."""
    finite = np.isfinite(data).all(axis=3)
    safe = np.where(finite[..., None], data, 0)
    return finite & (safe.min(axis=3) < safe.max(axis=3))


def by_nilearn(path, atlas, covered=None, smoothing=None):
    """Return sizes, sizes with signal, and signals, from nilearn on 64-bit floats."""
    data = nib.load(path).get_fdata(dtype=np.float64)
    here = with_signal(data)
    image = nib.Nifti1Image(np.where(np.isfinite(data), data, 0), AFFINE)
    if smoothing:
        held = np.where(np.isfinite(data).all(axis=3)[..., None], data, 0)
        image = smooth_img(nib.Nifti1Image(held, AFFINE), smoothing)
    maps = atlas.probabilistic
    reference = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE)
    resampled = resample_to_img(atlas.image, reference, force_resample=True, copy_header=True,
                                interpolation="linear" if maps else "nearest")  # fmt: skip
    weights = np.clip(resampled.get_fdata(), 0, None)
    if maps:
        kept = weights * here[..., None]
        sizes = weights.sum(axis=(0, 1, 2)), kept.sum(axis=(0, 1, 2))
        covered = sizes[1] / sizes[0] >= 0.5
        masker = NiftiMapsMasker(nib.Nifti1Image(kept[..., covered], AFFINE), standardize=None)
        return *sizes, masker.fit_transform(image)
    kept = np.where(here, weights, 0)
    sizes = [np.array([(part == v).sum() for v in atlas.values]) for part in (weights, kept)]
    covered = np.divide(sizes[1], sizes[0], where=sizes[0] > 0, out=np.zeros(len(sizes[0]))) >= 0.5
    held = np.where(np.isin(kept, np.array(atlas.values)[covered]), kept, 0).astype(np.int32)
    masker = NiftiLabelsMasker(label_image(held, AFFINE), standardize=None)
    return *sizes, masker.fit_transform(image)


def check(reading, expected):
    sizes, held, values = expected
    np.testing.assert_allclose(reading.coverage["n_voxels"], sizes, rtol=1e-6)
    np.testing.assert_allclose(reading.coverage["coverage"] * sizes, held, rtol=1e-5, atol=1e-4)
    assert reading.means.shape == values.shape
    # nilearn solves for maps in the precision of their weights, which are 32-bit floats.
    np.testing.assert_allclose(reading.means, values, rtol=1e-6, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", STORED)
def test_all_atlases_get_what_nilearn_gives_each(tmp_path, kind, grid):
    atlases = [label_atlas(GRIDS[grid]), map_atlas(), label_atlas(seed=2)]
    path = store(tmp_path / "b", signals(), kind)
    readings = read_regions(RunFiles(path), atlases, RAW, CoverageSettings())
    for reading, atlas in zip(readings, atlases, strict=True):
        check(reading, by_nilearn(path, atlas))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("smoothing", [0.0, 5.0])
@pytest.mark.parametrize("kind", ["float32", "float64", "big-endian"])
@pytest.mark.parametrize("change", CHANGES)
def test_voxels_without_signal_count_for_nothing(tmp_path, change, kind, smoothing):
    atlases = [label_atlas(), map_atlas()]
    path = store(tmp_path / "b", change(signals()), kind)
    denoise = DenoiseSettings(denoise="none", smoothing=smoothing)
    readings = read_regions(RunFiles(path), atlases, denoise, CoverageSettings())
    for reading, atlas in zip(readings, atlases, strict=True):
        check(reading, by_nilearn(path, atlas, smoothing=smoothing))


def test_the_raw_signals_of_censored_volumes_leave_out_lost_voxels(tmp_path):
    """A voxel that varies in a dummy scan alone is no part of any sample."""
    data = signals()
    atlas = label_atlas()
    labels = np.asarray(atlas.image.dataobj)
    voxel = tuple(np.argwhere(labels == atlas.values[0])[0])
    data[voxel] = 500
    data[(*voxel, 0)] = 90_000
    others = labels == atlas.values[0]
    others[voxel] = False
    path = store(tmp_path / "b", data, "float64")
    dummy = DenoiseSettings(denoise="none", dummy_scans="1")
    (reading,) = read_regions(RunFiles(path), [atlas], dummy, CoverageSettings())
    np.testing.assert_allclose(reading.means[:, 0], data[others].mean(axis=0), rtol=1e-9)


def test_an_atlas_that_the_run_does_not_cover_leaves_the_others_alone(tmp_path):
    far = AFFINE.copy()
    far[2, 3] += 1000
    path = store(tmp_path / "b", signals(), "float32")
    atlases = [label_atlas(), label_atlas(far, seed=2), map_atlas(far)]
    sound, *lost = read_regions(RunFiles(path), atlases, RAW, CoverageSettings())
    for reading in lost:
        assert isinstance(reading, InputDataError)
        assert "holds signal in no region" in str(reading)
    (alone,) = read_regions(RunFiles(path), atlases[:1], RAW, CoverageSettings())
    np.testing.assert_array_equal(sound.means, alone.means)


def test_maps_that_are_alike_share_their_signal(tmp_path):
    """As in the least squares of least norm."""
    one = np.asarray(map_atlas(n_maps=2).image.dataobj)
    image = weights_image(one[..., [0, 0, 1]], AFFINE)
    atlas = Parcellation("M", tuple("ABC"), (1, 2, 3), "X", image)
    path = store(tmp_path / "b", signals(), "float64")
    (reading,) = read_regions(RunFiles(path), [atlas], RAW, CoverageSettings())
    data = nib.load(path).get_fdata().reshape(-1, N)
    expected = np.linalg.lstsq(one[..., [0, 0, 1]].reshape(-1, 3), data, rcond=1e-6)[0].T
    np.testing.assert_allclose(reading.means, expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("saved", [True, False])
def test_atlases_are_resampled_as_nilearn_resamples_them(tmp_path, grid, saved):
    reference = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE)
    for atlas in (label_atlas(GRIDS[grid]), map_atlas(GRIDS[grid])):
        kind = "linear" if atlas.probabilistic else "nearest"
        expected = resample_to_img(atlas.image, reference, interpolation=kind,
                                   force_resample=True, copy_header=True)  # fmt: skip
        if saved:
            save_parcellation(atlas, tmp_path / atlas.name)
            atlas = read_parcellation(tmp_path / atlas.name)
        found = to_grid(atlas, reference)
        np.testing.assert_allclose(found.get_fdata(), expected.get_fdata(), atol=1e-6)


def test_a_map_is_resampled_within_its_box_alone(tmp_path):
    fine = Grid((20, 22, 18), AFFINE @ np.diag([0.5, 0.5, 0.5, 1]))
    for _, box, values in weights_on_grid(map_atlas(), fine):
        assert values.size < np.prod(fine.shape)
        assert tuple(part.stop - part.start for part in box) == values.shape
    assert labels_on_grid(label_atlas(), fine).shape == fine.shape


@pytest.mark.parametrize("backend", ["isal", "zlib"])
@pytest.mark.parametrize("damage", ["cut", "garbled", "checksum"])
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, backend, damage):
    path = store(tmp_path / "b", signals(), "float32")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) * 2 // 3]
    elif damage == "garbled":
        content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    else:
        content[-8] ^= 255  # of the data, which are as they were
    path.write_bytes(content)
    if backend == "zlib":
        monkeypatch.setitem(sys.modules, "isal.igzip", None)
        monkeypatch.setitem(sys.modules, "isal", None)
        assert isinstance(volume_stream.open_decompressed(path), gzip.GzipFile)
    with pytest.raises(InputDataError, match=r"b\.nii\.gz> cannot be read as an image"):
        read_regions(RunFiles(path), [label_atlas()], RAW, CoverageSettings())


def test_both_ways_to_decompress_give_the_same(tmp_path, monkeypatch):
    path = store(tmp_path / "b", signals(), "float32")
    (fast,) = read_regions(RunFiles(path), [label_atlas()], RAW, CoverageSettings())
    monkeypatch.setitem(sys.modules, "isal.igzip", None)
    (slow,) = read_regions(RunFiles(path), [label_atlas()], RAW, CoverageSettings())
    np.testing.assert_array_equal(fast.means, slow.means)


def test_a_run_is_decompressed_once_whatever_the_number_of_atlases(tmp_path, monkeypatch):
    path = store(tmp_path / "b", constant(signals()), "float32")
    n_bytes, volume = [], np.prod(SHAPE) * 4

    class Counted:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def read(self, size):
            content = self._file.read(size)
            if size == volume:  # the header and what follows the last volume have other sizes
                n_bytes.append(len(content))
            return content

    opened = volume_stream.open_decompressed
    monkeypatch.setattr(volume_stream, "open_decompressed", lambda path: Counted(opened(path)))
    read_regions(RunFiles(path), [label_atlas(), map_atlas()], RAW, CoverageSettings())
    # One volume is read before, from which the differences are taken.
    assert sum(n_bytes) == volume * (N + 1)


def test_the_volumes_of_a_run_are_never_held_together(tmp_path):
    data = np.zeros((40, 40, 40, N), np.float32)
    data[:10, :11, :9] = signals()
    path = store(tmp_path / "b", data, "float32")
    del data
    tracemalloc.start()
    read_regions(RunFiles(path), [label_atlas(), map_atlas()], RAW, CoverageSettings())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 4 * 40**3  # of a run of 30 volumes


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_statistics_of_a_block_are_those_of_its_samples(dtype):
    block = np.random.default_rng(0).integers(-50, 50, (6, 40)).astype(dtype)
    if dtype is np.float32:
        block[1, 3], block[2] = np.nan, np.inf
    together, alone = SampleStatistics(6), SampleStatistics(6)
    for columns in (slice(0, 15), slice(15, 40)):
        together.add_block(block[:, columns])
    for sample, values in enumerate(block):
        alone.add(sample, values)
    for name in ("n_finite", "low", "high", "mean"):
        np.testing.assert_allclose(getattr(together, name), getattr(alone, name))
    np.testing.assert_array_equal(together.damaged, alone.damaged)
