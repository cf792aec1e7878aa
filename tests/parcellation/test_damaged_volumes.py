"""Volumes that are damaged are left out and counted, in volumes and greyordinates."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.cifti import load_grey_atlas
from npi_bids.parcellation.damaged_volumes import _running_median, far_samples
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run, summarise_run
from npi_bids.parcellation.run_files import RunFiles
from tests.conftest import tiny_parcellation
from tests.greyordinates import axis, write_labels, write_series

LOST = 100

NONE = DenoiseSettings(denoise="none")

RAW = DenoiseSettings(denoise="none", standardize="none")

SIMPLE = DenoiseSettings()


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def extract(run, denoise=NONE, min_coverage=0.5):
    atlas = tiny_parcellation(5)
    return extract_run(run, atlas, denoise, CoverageSettings(min_coverage=min_coverage))


def rewritten(run, path, change, dtype=np.float32):
    """Return the run with its image changed."""
    image = nib.load(run.bold)
    data = change(np.asarray(image.dataobj).astype(dtype))
    header = image.header.copy()
    header.set_data_dtype(dtype)
    nib.save(nib.Nifti1Image(data, image.affine, header), path)
    return RunFiles(path, run.mask, run.confounds, run.tr)


def zeros(data):
    data[..., LOST] = 0
    return data


def constant(data):
    data[..., LOST] = 1000
    return data


def not_finite(data):
    data[..., LOST] = np.nan
    return data


def mostly_not_finite(data):
    data[:, :, :3, LOST] = np.nan
    return data


def jump(data):
    data[..., LOST] *= 1.5
    return data


def half_a_slab(data):
    data[:5, ..., LOST] = 0
    return data


def added(data):
    data[..., LOST] += 800
    return data


DAMAGE = [zeros, constant, not_finite, mostly_not_finite, jump, half_a_slab, added]


@pytest.mark.parametrize("denoise", [NONE, SIMPLE, DenoiseSettings(low_pass=0.1)])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_volume_is_a_row_of_nan_and_changes_no_other(run, tmp_path, damage, denoise):
    sound = extract(run, denoise)
    found = extract(rewritten(run, tmp_path / "bold.nii.gz", damage), denoise)
    assert not found.series.keep[LOST]
    assert np.isnan(found.series.data[LOST]).all()
    assert np.isnan(found.raw[LOST]).all()
    assert found.series.keep.sum() == 259
    assert found.coverage["coverage"].equals(sound.coverage["coverage"])
    others = found.series.keep & (np.abs(np.arange(260) - LOST) > 20)
    for region in range(4):
        r = np.corrcoef(found.series.data[others, region], sound.series.data[others, region])[0, 1]
        assert r > (0.99 if denoise.low_pass else 0.999)


def test_the_number_of_damaged_volumes_is_told(run, tmp_path, caplog):
    def two(data):
        data[..., [40, 41]] = 0
        return data

    found = extract(rewritten(run, tmp_path / "bold.nii.gz", two), SIMPLE)
    summary = summarise_run(found, tiny_parcellation(5), SIMPLE)
    assert (summary.n_damaged, summary.n_censored, summary.n_kept) == (2, 2, 258)
    assert "bold.nii.gz: 2 of 260 samples are constant, not finite, or far" in caplog.text
    assert "(counted from 0: 40, 41)" in caplog.text


def test_sound_runs_lose_no_volume(run):
    """The tiny dataset has four volumes of motion."""
    found = extract(run)
    assert found.series.keep.all()
    assert not found.damaged.any()


def test_the_first_and_the_last_volume_are_looked_at_too(run, tmp_path):
    def ends(data):
        data[..., [0, -1]] *= 1.4
        return data

    found = extract(rewritten(run, tmp_path / "bold.nii.gz", ends))
    assert np.flatnonzero(~found.series.keep).tolist() == [0, 259]


def test_regressors_are_fitted_on_kept_volumes_only(run, tmp_path):
    """Whatever a damaged volume holds, all other samples are the same."""
    runs = [rewritten(run, tmp_path / f"{d.__name__}.nii.gz", d) for d in (zeros, constant, jump)]
    first, *others = (extract(item, SIMPLE).series.data for item in runs)
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-5)


def test_smoothing_keeps_damage_to_its_volume(run, tmp_path):
    smooth = DenoiseSettings(denoise="none", standardize="none", smoothing=8.0)
    sound = extract(run, smooth).series.data[:, :4]
    found = extract(rewritten(run, tmp_path / "bold.nii.gz", not_finite), smooth).series
    np.testing.assert_allclose(found.data[found.keep][:, :4], np.delete(sound, LOST, 0), rtol=1e-5)


def test_smoothing_does_not_spread_a_voxel_that_is_lost_at_times(run, tmp_path):
    """The gap leaves no step in the series of the voxels around it."""

    def at_times(data):
        data[2, 2, 2, 10:20] = np.nan
        return data

    def always(data):
        data[2, 2, 2] = 0
        return data

    smooth = DenoiseSettings(denoise="none", smoothing=8.0)
    runs = [rewritten(run, tmp_path / f"{d.__name__}.nii.gz", d) for d in (at_times, always)]
    first, second = (extract(item, smooth).series.data for item in runs)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_voxels_that_vary_in_a_damaged_volume_alone_hold_no_signal(run, tmp_path):
    def dead(data):
        data[1:4, 1:4, 1:4] = 500  # region A
        return jump(data)

    found = extract(rewritten(run, tmp_path / "bold.nii.gz", dead))
    assert list(found.coverage["covered"]) == [False, True, True, True, False]
    assert np.isnan(found.series.data[:, 0]).all()


def test_voxels_are_judged_on_volumes_that_are_kept(run, tmp_path):
    def dummy(data):
        data[1:4, 1:4, 1:4] = 500
        data[1:4, 1:4, 1:4, :3] = 700
        data[4:7, 4:7, 1:4, :3] = np.nan
        return data

    denoise = DenoiseSettings(denoise="none", dummy_scans="3")
    found = extract(rewritten(run, tmp_path / "bold.nii.gz", dummy), denoise)
    assert list(found.coverage["covered"]) == [False, True, True, True, False]
    assert found.damaged.sum() == 0


def test_many_damaged_volumes_are_an_error(run, tmp_path):
    def many(data):
        data[..., ::2] = 0
        return data

    with pytest.raises(InputDataError, match=r"is damaged: 130 of 260 samples .* at most a third"):
        extract(rewritten(run, tmp_path / "bold.nii.gz", many))


def test_a_lasting_change_of_level_is_no_damage():
    rng = np.random.default_rng(0)
    means = 1000 + 5 * rng.standard_normal((200, 20))
    means[120:] *= 1.3  # the head lies elsewhere from here on
    assert not far_samples(means, np.ones(200, dtype=bool)).any()


def test_spikes_of_ordinary_motion_are_no_damage():
    """Whole-brain drops of 5 %, ten times the SD of a quiet scan, are left to --fd-thresh."""
    rng = np.random.default_rng(0)
    means = 1000 + 5 * rng.standard_normal((300, 50))
    means[[50, 51, 120, 200]] *= 0.95
    means[250, :10] *= 0.8  # a fifth of the regions
    assert not far_samples(means, np.ones(300, dtype=bool)).any()
    means[150] *= 1.12
    assert np.flatnonzero(far_samples(means, np.ones(300, dtype=bool))).tolist() == [150]


def test_real_runs_lose_no_volume(shared_data):
    """Twelve runs of one subject, as scanned."""
    root = shared_data / "haxby2001_25mm"
    inside = nib.load(root / "masks" / "brain.nii.gz").get_fdata() > 0
    for path in sorted(root.glob("run*/bold_25mm.nii.gz")):
        voxels = nib.load(path).get_fdata()[inside]
        blocks = np.array_split(voxels, 50)
        means = np.stack([block.mean(axis=0) for block in blocks], axis=1)
        assert not far_samples(means, np.ones(len(means), dtype=bool)).any(), path


def test_kept_volumes_that_are_all_damaged_are_no_signal(run, tmp_path):
    def all_but_dummies(data):
        data[..., 3:8] = 0
        return data

    denoise = DenoiseSettings(denoise="none", dummy_scans="3")
    short = rewritten(run, tmp_path / "bold.nii.gz", lambda data: all_but_dummies(data)[..., :8])
    with pytest.raises(InputDataError, match="holds signal in no region"):
        extract(RunFiles(short.bold, short.mask, None, 2.0), denoise)


@pytest.fixture
def grey(tmp_path):
    values = np.concatenate([np.repeat(1, 20), np.repeat(2, 20), [3, 3, 3]])
    path = write_labels(tmp_path / "a.dlabel.nii", axis(), values, {1: "A", 2: "B", 3: "C"})
    return load_grey_atlas(path, "Grey", "fsLR")


@pytest.mark.parametrize("value", [0.0, 1000.0, np.nan, "jump"])
def test_damaged_samples_of_greyordinates_are_left_out(grey, tmp_path, value):
    rng = np.random.default_rng(1)
    data = 1000 + rng.standard_normal((60, 43))
    sound = data.copy()
    data[30] = data[30] * 1.5 if value == "jump" else value
    write_series(tmp_path / "b.dtseries.nii", axis(), data)
    found = extract_run(RunFiles(tmp_path / "b.dtseries.nii"), grey, RAW, CoverageSettings())
    assert np.flatnonzero(~found.series.keep).tolist() == [30]
    assert np.flatnonzero(found.damaged).tolist() == [30]
    assert found.coverage["covered"].all()
    expected = np.delete(sound[:, :20].mean(axis=1), 30)
    kept = np.delete(found.series.data[:, 0], 30)
    np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_kept_samples_of_greyordinates_that_are_all_damaged_are_no_signal(grey, tmp_path):
    data = np.random.default_rng(1).standard_normal((8, 43))
    data[3:] = 0
    write_series(tmp_path / "b.dtseries.nii", axis(), data)
    denoise = DenoiseSettings(denoise="none", dummy_scans="3")
    with pytest.raises(InputDataError, match="holds signal in no region"):
        extract_run(RunFiles(tmp_path / "b.dtseries.nii"), grey, denoise, CoverageSettings())


def test_the_running_median_is_that_of_each_column_alone():
    from scipy.ndimage import median_filter

    rng = np.random.default_rng(0)
    for n_samples, window in ((60, 21), (7, 7), (6, 5), (5, 5)):
        signals = rng.standard_normal((n_samples, 4)) + 100 * np.arange(4)
        expected = median_filter(signals, size=(window, 1), mode="mirror")
        np.testing.assert_array_equal(_running_median(signals, window), expected)
