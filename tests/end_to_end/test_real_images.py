"""Images as fMRIPrep writes them: brains at 2 mm, as 32-bit floats and as scaled integers."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from npi_bids.io.files import write_json
from npi_bids.io.tables import read_matrix, read_series
from npi_bids.parcellation.parcellation import label_image, weights_image
from npi_bids.simulate import dataset
from tests.conftest import LABELS, var_run
from tests.end_to_end.conftest import validate

pytestmark = pytest.mark.slow

N, TR = 120, 2.0
# Shape and origin (mm) of the grids of TemplateFlow's resolution 2.
GRIDS = {
    "MNI152NLin2009cAsym": ((97, 115, 97), (-96.0, -132.0, -78.0)),
    "MNI152NLin6Asym": ((91, 109, 91), (-90.0, -126.0, -72.0)),
}
CENTRES = ((-30, -30, 20), (30, -30, 20), (-30, 25, 10), (30, 25, 10))  # mm
RADIUS = 10.0
SLOPE, INTERCEPT = 0.05, 1000.0


class Grid:
    """A grid at 2 mm with a brain and, of each region, the weight of its voxels."""

    def __init__(self, space):
        shape, origin = GRIDS[space]
        self.shape, self.affine = shape, np.diag([2.0, 2, 2, 1])
        self.affine[:3, 3] = origin
        mm = np.stack(np.indices(shape), axis=-1) * 2.0 + origin
        self.brain = (((mm - (0, -18, 8)) / (66, 84, 66)) ** 2).sum(axis=-1) < 1
        away = [np.linalg.norm(mm - centre, axis=-1) for centre in CENTRES]
        self.weights = np.stack([np.clip(1 - d / (2 * RADIUS), 0, None) * (d < RADIUS)
                                 for d in away], axis=-1)  # fmt: skip

    def write_atlases(self, folder, space):
        labels = ((self.weights > 0) * np.arange(1, 5)).sum(axis=-1)
        images = {
            f"atlas-Balls_space-{space}_dseg": label_image(labels, self.affine),
            f"atlas-Maps_space-{space}_probseg": weights_image(self.weights, self.affine),
        }
        for name, image in images.items():
            nib.save(image, folder / f"{name}.nii.gz")
            table = pd.DataFrame({"index": range(1, 5), "name": LABELS})
            table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        return [folder / f"{name}.nii.gz" for name in images]


def paint(grid, signals, rng):
    """Return the volumes: noise in the brain, signals in the regions, exactly 0 outside."""
    data = np.zeros((*grid.shape, N), dtype=np.float32, order="F")
    level = rng.uniform(600, 1400, grid.brain.sum()).astype(np.float32)
    weights = grid.weights[grid.brain].astype(np.float32)
    for sample in range(N):
        noise = 10 * rng.standard_normal(len(level), dtype=np.float32)
        data[..., sample][grid.brain] = level + noise + 20 * weights @ signals[sample]
    return data


def write_run(root, space, dtype, signals, grid):
    """Write image, mask, confounds and sidecar, and return the confounds."""
    rng = np.random.default_rng(0)
    func = root / "sub-01" / "func"
    func.mkdir(parents=True)
    stem = func / f"sub-01_task-rest_space-{space}_res-2"
    data = paint(grid, signals.astype(np.float32), rng)
    mean = data[grid.brain].mean(axis=0, dtype=np.float64)
    packed = data
    if dtype is np.int16:
        packed = np.rint((data - INTERCEPT) / SLOPE).astype(np.int16)
    image = nib.Nifti1Image(packed, grid.affine)
    if dtype is np.int16:
        image.header.set_slope_inter(SLOPE, INTERCEPT)
    image.header.set_zooms((2, 2, 2, TR))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, f"{stem}_desc-preproc_bold.nii.gz")  # at compression level 1
    brain = nib.Nifti1Image(grid.brain.astype(np.uint8), grid.affine)
    nib.save(brain, f"{stem}_desc-brain_mask.nii.gz")
    motion = dataset._simulate_motion(N, np.zeros(N, dtype=bool), rng)
    confounds = dataset._simulate_confounds(motion, TR, mean, rng)
    path = func / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    confounds.to_csv(path, sep="\t", index=False, na_rep="n/a")
    write_json(func / f"{stem.name}_desc-preproc_bold.json", {"RepetitionTime": TR})
    return confounds


def residuals(signals, confounds):
    """Return the z-scored residuals of the signals after the regressors of 'simple'."""
    axes = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    ends = ("", "_derivative1", "_power2", "_derivative1_power2")
    names = [axis + end for axis in axes for end in ends] + ["csf", "white_matter"]
    names += [name for name in confounds if name.startswith("cosine")]
    used = confounds[names].to_numpy().copy()
    used[0] = np.where(np.isnan(used[0]), used[1], used[0])  # derivatives, as nilearn fills them
    used = (used - used.mean(axis=0)) / used.std(axis=0)
    design = np.column_stack([np.ones(N), used])
    left = signals - design @ np.linalg.lstsq(design, signals, rcond=None)[0]
    return left / left.std(axis=0, ddof=1)


@pytest.mark.parametrize("space", GRIDS)
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_whole_brains_give_back_what_was_painted(npi_bids, tmp_path, weights, space, dtype):
    root = tmp_path / "data"
    dataset.write_description(root, "real")
    signals, grid = var_run(weights, N, seed=4).data, Grid(space)
    expected = residuals(signals, write_run(root, space, dtype, signals, grid))
    atlases = grid.write_atlases(tmp_path, space)
    image = nib.load(next(root.glob("sub-01/func/*bold.nii.gz")))
    assert (image.shape, image.get_data_dtype()) == ((*GRIDS[space][0], N), dtype)
    code, out, err = npi_bids(
        root, "out", "participant", "--atlas", *atlases, "--surrogate", "var", "--lags", "1",
        "--min-time", "0",
    )  # fmt: skip
    assert code == 0, out + err
    for atlas in ("Balls", "Maps"):
        stem = f"sub-01_task-rest_space-{space}_atlas-{atlas}_res-2"
        (path,) = (tmp_path / "out").glob(f"sub-01/func/{stem}_desc-simple_timeseries.tsv")
        series = read_series(path, TR)
        about = json.loads(path.with_suffix(".json").read_text())
        assert series.labels == LABELS
        assert series.keep.all()
        assert (about["SamplesDamaged"], about["Hazards"]) == (0, [])
        np.testing.assert_allclose(series.data, expected, atol=0.25)
        r = np.corrcoef(series.data.T, expected.T)[:4, 4:]
        assert np.diag(r).min() > 0.995
        assert np.abs(r[~np.eye(4, dtype=bool)]).max() < 0.7  # regions are not mixed up
        ec = read_matrix(path.with_name(f"{stem}_meas-npi_desc-simple_relmat.tsv"))
        between = ~np.eye(4, dtype=bool)
        truth, transposed = (
            np.corrcoef(ec.matrix[between], known[between])[0, 1] for known in (weights, weights.T)
        )
        assert truth > 0.7
        assert transposed < 0.3
    validate(tmp_path / "out")
