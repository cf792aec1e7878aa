"""Images as they come: the same signals in every format give the same regional series."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.parcellation import Parcellation, label_image, weights_image
from npi_bids.parcellation.run_files import RunFiles
from npi_bids.parcellation.volumes import read_series_shape
from tests.conftest import LABELS, tiny_parcellation, var_run
from tests.damaged_images import HUGE, SIDES, lying
from tests.greyordinates import axis, write_gifti, write_series
from tests.parcellation.conftest import extract_tiny

N = 120
SQUARE = np.diag([4.0, 4, 4, 1])

NONE = DenoiseSettings(denoise="none")


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def truth():
    weights = 0.4 * np.eye(4)
    weights[0, 1], weights[1, 2] = 0.5, -0.4
    return var_run(weights, N, seed=3).data


@pytest.fixture(scope="module")
def signals(truth):
    """Return four regions in a noisy brain, and exactly 0 outside, as fMRIPrep writes."""
    rng = np.random.default_rng(0)
    labels = np.asarray(tiny_parcellation().image.dataobj)
    data = np.zeros((9, 9, 9, N))
    data[:7, :7, :5] = 1000 + 10 * rng.standard_normal((7, 7, 5, N))
    for region in range(4):
        data[labels == region + 1] += 20 * truth[:, region]
    return data


def write(path, data, affine=SQUARE, *, dtype, scale=None, kind=nib.Nifti1Image, **header):
    """Write an image; ``scale`` are slope and intercept, whose numbers are packed as integers."""
    if scale:
        data = np.rint((data - np.float32(scale[1])) / np.float32(scale[0]))
    data = (np.rint(data) if np.issubdtype(dtype, np.integer) else data).astype(dtype)
    image = kind(data, affine, dtype=dtype)
    image.header.set_zooms((*image.header.get_zooms()[:3], header.get("tr", 2.0)))
    image.header.set_xyzt_units("mm", header.get("unit", "sec"))
    if scale:
        image.header.set_slope_inter(*scale)
    nib.save(image, path)
    assert nib.load(path).dataobj.slope == np.float32(scale[0] if scale else 1)
    return path


def extract(run, atlas=None, denoise=NONE):
    return extract_run(run, atlas or tiny_parcellation(), denoise, CoverageSettings())


def correlations(series, truth):
    return [np.corrcoef(series.data[:, k], truth[:, k])[0, 1] for k in range(truth.shape[1])]


@pytest.fixture(scope="module")
def expected(signals):
    """Return the z-scored means of the regions, from the arrays."""
    labels = np.asarray(tiny_parcellation().image.dataobj)
    means = np.stack([signals[labels == k].mean(axis=0) for k in (1, 2, 3, 4)], axis=1)
    return (means - means.mean(axis=0)) / means.std(axis=0, ddof=1)


def nan_outside(data):
    return np.where(data == 0, np.nan, data)


FORMATS = {
    "float32 .nii": ("b.nii", {"dtype": np.float32}),
    "float32 .nii.gz": ("b.nii.gz", {"dtype": np.float32}),
    "float64": ("b.nii.gz", {"dtype": np.float64}),
    "int16": ("b.nii.gz", {"dtype": np.int16}),
    "int16 scaled": ("b.nii.gz", {"dtype": np.int16, "scale": (0.05, 900.0)}),
    "uint16": ("b.nii", {"dtype": np.uint16}),
    "int32": ("b.nii.gz", {"dtype": np.int32}),
    "int64": ("b.nii", {"dtype": np.int64}),
    "uint8 scaled": ("b.nii.gz", {"dtype": np.uint8, "scale": (5.0, 0.0)}),
    "NIfTI-2": ("b.nii.gz", {"dtype": np.float32, "kind": nib.Nifti2Image}),
    "milliseconds": ("b.nii.gz", {"dtype": np.float32, "unit": "msec", "tr": 2000.0}),
    "no unit": ("b.nii.gz", {"dtype": np.float32, "unit": "unknown", "tr": 2000.0}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_series_are_those_of_the_arrays_whatever_the_format(tmp_path, signals, expected, name):
    file, options = FORMATS[name]
    found = extract(RunFiles(write(tmp_path / file, signals, **options)))
    rounding = {"uint8 scaled": 0.1, "int16": 0.02, "int32": 0.02, "int64": 0.02, "uint16": 0.02}
    np.testing.assert_allclose(found.series.data, expected, atol=rounding.get(name, 5e-3))
    assert found.series.tr == 2.0
    assert found.coverage["coverage"].tolist() == [1, 1, 1, 1]


def test_the_other_byte_order(tmp_path, signals, expected):
    for kind in (">f4", ">i2", ">f8"):
        image = nib.Nifti1Image(signals.astype(kind), SQUARE)
        header = image.header.as_byteswapped(">")
        header.set_data_dtype(np.dtype(kind))
        header.set_zooms((4, 4, 4, 2))
        nib.save(nib.Nifti1Image(signals.astype(kind), SQUARE, header), tmp_path / "b.nii")
        assert nib.load(tmp_path / "b.nii").header.endianness == ">"
        found = extract(RunFiles(tmp_path / "b.nii", tr=2.0)).series
        np.testing.assert_allclose(found.data, expected, atol=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 6.0])
def test_nan_outside_the_brain_is_as_0(tmp_path, signals, smoothing):
    denoise = DenoiseSettings(denoise="none", smoothing=smoothing)
    runs = [
        RunFiles(write(tmp_path / "zero.nii.gz", signals, dtype=np.float32)),
        RunFiles(write(tmp_path / "nan.nii.gz", nan_outside(signals), dtype=np.float32)),
    ]
    zero, nan = (extract(run, denoise=denoise) for run in runs)
    np.testing.assert_allclose(nan.series.data, zero.series.data, atol=1e-4)
    assert not nan.damaged.any()


@pytest.mark.parametrize("turn", ["left-handed", "oblique", "permuted"])
def test_affines_of_all_kinds(tmp_path, signals, expected, turn):
    """Atlas and run are turned alike, so that each region has the same voxels."""
    data, labels = signals, np.asarray(tiny_parcellation().image.dataobj)
    affine = SQUARE.copy()
    if turn == "left-handed":
        affine[0, 0], affine[0, 3] = -4, 32
        data = data[::-1]
    elif turn == "oblique":
        cos, sin = np.cos(0.3), np.sin(0.3)
        affine = np.array([[cos, -sin, 0, 5], [sin, cos, 0, -7], [0, 0, 1, 2], [0, 0, 0, 1.0]])
        affine = affine @ SQUARE
        labels = np.asarray(labels)
    else:
        affine = SQUARE[[2, 0, 1, 3]]
        data = data.transpose(1, 2, 0, 3)
        affine = np.array([[0, 0, 4, 0], [4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 1.0]])
    plain = tiny_parcellation()
    grid = affine if turn == "oblique" else SQUARE
    atlas = Parcellation("T", LABELS, (1, 2, 3, 4), "X", label_image(labels, grid))
    assert plain.labels == atlas.labels
    found = extract(RunFiles(write(tmp_path / "b.nii", data, affine, dtype=np.float32)), atlas)
    np.testing.assert_allclose(found.series.data, expected, atol=5e-3)
    assert found.coverage["coverage"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["float", "fourth axis", "scaled", "probability"])
def test_masks_of_all_kinds(tmp_path, signals, expected, kind):
    inside = np.zeros((9, 9, 9))
    inside[:7, :7, :5] = 0.7 if kind == "probability" else 1
    dtype = np.uint8 if kind in ("fourth axis", "scaled") else np.float64
    image = nib.Nifti1Image(inside.astype(dtype), SQUARE)
    if kind == "fourth axis":
        image = nib.Nifti1Image(inside.astype(dtype)[..., None], SQUARE)
    if kind == "scaled":
        image.header.set_slope_inter(2.0, 0.0)
    nib.save(image, tmp_path / "mask.nii.gz")
    bold = write(tmp_path / "b.nii.gz", signals, dtype=np.float32)
    found = extract(RunFiles(bold, tmp_path / "mask.nii.gz"))
    np.testing.assert_allclose(found.series.data, expected, atol=5e-3)


def test_a_mask_with_several_volumes_is_refused(tmp_path, signals):
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9, 2), np.uint8), SQUARE), tmp_path / "mask.nii")
    bold = write(tmp_path / "b.nii.gz", signals, dtype=np.float32)
    with pytest.raises(InputDataError, match=r"grid of \(9, 9, 9, 2\) that is not the grid"):
        extract(RunFiles(bold, tmp_path / "mask.nii"))


def test_maps_that_overlap_are_told_apart(tmp_path, truth, signals):
    """Least squares gives each map its own signal where two share voxels."""
    labels = np.asarray(tiny_parcellation().image.dataobj)
    weights = np.stack([labels == k for k in (1, 2, 3, 4)], axis=-1).astype(np.float32)
    data = np.where(signals > 0, 1000.0, 0)
    data[data > 0] += np.random.default_rng(0).standard_normal((data > 0).sum())
    weights[3, 1:4, 1:4, 2] = 0.8  # the third map reaches into the first region
    for region in range(4):
        data += 20 * weights[..., region, None] * truth[:, region]
    atlas = Parcellation("M", LABELS, (1, 2, 3, 4), "X", weights_image(weights, SQUARE))
    found = extract(RunFiles(write(tmp_path / "b.nii.gz", data, dtype=np.float32)), atlas)
    assert min(correlations(found.series, truth)) > 0.99


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int16])
@pytest.mark.parametrize("maps", [False, True])
def test_a_large_offset_costs_no_precision(tmp_path, signals, expected, dtype, maps):
    atlas = tiny_parcellation()
    if maps:
        labels = np.asarray(atlas.image.dataobj)
        weights = np.stack([labels == k for k in (1, 2, 3, 4)], axis=-1)
        atlas = Parcellation("M", LABELS, (1, 2, 3, 4), "X", weights_image(weights, SQUARE))
    if dtype is np.int16:
        bold = write(tmp_path / "b.nii.gz", signals + 1e9, dtype=dtype, scale=(0.05, 1e9 + 900))
    else:
        bold = write(tmp_path / "b.nii.gz", signals + 1e9, dtype=dtype)
    found = extract(RunFiles(bold), atlas)
    np.testing.assert_allclose(found.series.data, expected, atol=0.02)
    raw = extract(RunFiles(bold), atlas, DenoiseSettings(denoise="none", standardize="none"))
    assert raw.series.data.mean() == pytest.approx(1e9 + 1000, abs=20)


@pytest.mark.parametrize(("dtype", "words"), [
    (np.complex64, "holds complex numbers; expected real numbers"),
    (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "expected real numbers"),
])  # fmt: skip
def test_values_that_are_no_numbers_are_refused(tmp_path, signals, dtype, words):
    data = np.zeros((9, 9, 9, 20), dtype=dtype)
    if dtype is np.complex64:
        data = (signals[..., :20] * (1 + 1j)).astype(dtype)
    nib.save(nib.Nifti1Image(data, SQUARE), tmp_path / "b.nii.gz")
    with pytest.raises(InputDataError, match=words):
        extract(RunFiles(tmp_path / "b.nii.gz", tr=2.0))


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_image_is_named(run, tmp_path, content):
    path = tmp_path / "bold.nii.gz"
    path.write_bytes(run.bold.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputDataError, match=r"bold.nii.gz> cannot be read as an image"):
        extract_tiny(RunFiles(path, None, None, 2.0))


def test_a_volume_is_no_run(run, tmp_path):
    path = tmp_path / "bold.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)), path)
    with pytest.raises(InputDataError, match="expected a 4D series"):
        extract_tiny(RunFiles(path, None, None, 2.0))


def test_mask_of_another_grid_is_refused(run, tmp_path):
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), dtype=np.uint8), np.eye(4)), tmp_path / "m.nii")
    with pytest.raises(InputDataError, match="is not the grid of its run"):
        extract_tiny(RunFiles(run.bold, tmp_path / "m.nii", None, 2.0))


@pytest.mark.parametrize("name", ["laughing entities", "no XML", "unknown type"])
def test_samples_of_what_cannot_be_read_are_not_counted(tmp_path, name, little_memory):
    (tmp_path / "b.func.gii").write_text(SIDES[name][0])
    for path in (tmp_path / "b.func.gii", lying(tmp_path / "b.nii", (3, 4)),
                 lying(tmp_path / "c.nii.gz", HUGE)):  # fmt: skip
        with pytest.raises(InputDataError, match=path.name):
            read_series_shape(path)


def test_samples_and_places_are_counted_from_headers(tmp_path, run):
    assert read_series_shape(run.bold) == (260, 729)
    write_series(tmp_path / "b.dtseries.nii", axis())
    assert read_series_shape(tmp_path / "b.dtseries.nii") == (30, 43)
    side = write_gifti(tmp_path / "sub-1_hemi-L_bold.func.gii", np.zeros((3, 20)))
    assert read_series_shape(side) == (3, 20)
