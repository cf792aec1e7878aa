from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from npi_bids.parcellation.denoising import DenoiseSettings
from npi_bids.parcellation.extraction import summarise_run
from npi_bids.parcellation.parcellation import Parcellation, weights_image
from npi_bids.parcellation.run_files import RunFiles
from tests.conftest import LABELS, tiny_parcellation
from tests.parcellation.conftest import extract_tiny, write_bold


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_series_are_the_means_of_their_voxels_in_atlas_order(run):
    data = nib.load(run.bold).get_fdata()
    found = extract_tiny(run)
    labels = tiny_parcellation().image.get_fdata()
    for region in range(4):
        mean = data[labels == region + 1].mean(axis=0)
        expected = (mean - mean.mean()) / mean.std(ddof=1)
        np.testing.assert_allclose(found.series.data[:, region], expected, atol=1e-4)
    assert found.series.labels == (*LABELS, "E")


def test_region_outside_the_mask_is_nan_and_not_zero(run):
    found = extract_tiny(run)
    assert np.isnan(found.series.data[:, 4]).all()
    assert list(found.coverage["coverage"]) == [1, 1, 1, 1, 0]
    assert list(found.coverage["covered"]) == [True] * 4 + [False]


def test_threshold_of_coverage_decides(run, tmp_path):
    mask = nib.load(run.mask)
    data = mask.get_fdata()
    data[1:3, 1:4, 1:4] = 0  # two thirds of region A
    nib.save(nib.Nifti1Image(data.astype(np.uint8), mask.affine), tmp_path / "mask.nii.gz")
    part = RunFiles(run.bold, tmp_path / "mask.nii.gz", None, 2.0)
    table = extract_tiny(part).coverage
    assert table["coverage"][0] == pytest.approx(1 / 3)
    assert not table["covered"][0]
    assert extract_tiny(part, min_coverage=0.3).coverage["covered"][0]


def test_voxels_without_signal_do_not_count(run, tmp_path):
    data = nib.load(run.bold).get_fdata()
    data[1:4, 1:4, 1:4] = 1000.0  # region A is constant
    dead = RunFiles(write_bold(tmp_path / "bold.nii.gz", data), None, None, 2.0)
    found = extract_tiny(dead)
    assert np.isnan(found.series.data[:, 0]).all()
    assert np.isfinite(found.series.data[:, 1:4]).all()


def test_regression_is_one_joint_least_squares_fit(run):
    denoise = DenoiseSettings(fd_thresh=0.5)
    found = extract_tiny(run, denoise)
    raw = extract_tiny(run, DenoiseSettings(denoise="none", standardize="none")).series.data[:, :4]
    keep = found.series.keep
    design = np.column_stack([np.ones(keep.sum()), found.confounds.regressors.to_numpy()[keep]])
    residual = raw[keep] - design @ np.linalg.lstsq(design, raw[keep], rcond=None)[0]
    expected = residual / residual.std(axis=0, ddof=1)
    np.testing.assert_allclose(found.series.data[keep, :4], expected, atol=1e-4)


def test_censored_samples_are_rows_of_nan(run):
    found = extract_tiny(run, DenoiseSettings(fd_thresh=0.5)).series
    assert (~found.keep).sum() > 0
    assert np.isnan(found.data[~found.keep]).all()
    assert len(found.data) == 260


@pytest.mark.parametrize("low_pass", [None, 0.1])
def test_filters_take_their_frequencies_out(run, low_pass):
    denoise = DenoiseSettings(denoise="none", high_pass=0.02, low_pass=low_pass)
    data = extract_tiny(run, denoise).series.data[:, :4]
    power = np.abs(np.fft.rfft(data, axis=0)) ** 2
    frequency = np.fft.rfftfreq(len(data), 2.0)
    share = power[frequency < 0.01].sum() / power.sum()
    assert share < (0.05 if low_pass else 0.01)
    if low_pass:
        assert power[frequency > 0.15].sum() / power.sum() < 0.05


def test_smoothing_changes_the_signals(run):
    smooth = extract_tiny(run, DenoiseSettings(denoise="none", smoothing=8.0)).series.data
    assert np.abs(smooth[:, :4] - extract_tiny(run).series.data[:, :4]).max() > 0.01


def test_maps_give_back_their_signals(run):
    labels = tiny_parcellation().image.get_fdata()
    weights = np.stack([labels == value for value in (1, 2, 3, 4)], axis=-1)
    weights = np.concatenate([weights, np.zeros((9, 9, 9, 1))], axis=-1)
    image = weights_image(weights, np.diag([4.0, 4, 4, 1]))
    atlas = Parcellation("Maps", (*LABELS, "E"), (1, 2, 3, 4, 5), "MNI152NLin6Asym", image)
    found = extract_tiny(run, atlas=atlas)
    np.testing.assert_allclose(
        found.series.data[:, :4], extract_tiny(run).series.data[:, :4], atol=1e-3
    )
    assert np.isnan(found.series.data[:, 4]).all()


def test_summary_counts_what_happened(run):
    denoise = DenoiseSettings(fd_thresh=0.5, dummy_scans="4")
    found = extract_tiny(run, denoise)
    summary = summarise_run(found, tiny_parcellation(5), denoise)
    assert summary.n_dummy == 4
    assert summary.n_kept + summary.n_dummy + summary.n_censored == summary.n_samples == 260
    assert summary.regions_lost == summary.regions_uncovered == ("E",)
    assert summary.max_fd > 0.5


def test_a_run_with_more_regressors_than_samples_is_left_out_and_says_so(run):
    found = extract_tiny(run, DenoiseSettings(dummy_scans="240"))
    assert "20 of 260 samples are kept but 35 regressors" in found.excluded
    assert not found.series.keep.any()
    assert np.isnan(found.series.data).all()


def test_painted_series_come_back(shared_data, monkeypatch, tmp_path):
    """The composite dataset holds real series painted on AAL2 regions; names tell the pairs."""
    from npi_bids.parcellation.atlases import AtlasRequest, load_atlas

    monkeypatch.setenv("NILEARN_DATA", str(shared_data / "nilearn_data"))
    atlas = load_atlas(AtlasRequest("AAL"), offline=True)
    (tmp_path / "motion.toml").write_text('components = ["motion"]\nmotion = "basic"\n')
    denoise = DenoiseSettings(denoise=str(tmp_path / "motion.toml"))
    for sub in ("01", "02"):
        root = shared_data / "composite_fmriprep_bold"
        stem = f"sub-{sub}/func/sub-{sub}_task-rest"
        space = f"{stem}_space-MNI152NLin6Asym_res-4"
        files = RunFiles(
            root / f"{space}_desc-preproc_bold.nii.gz",
            root / f"{space}_desc-brain_mask.nii.gz",
            root / f"{stem}_desc-confounds_timeseries.tsv",
            2.0,
        )
        series = extract_tiny(files, denoise, atlas=atlas).series
        truth = np.load(root / f"sub-{sub}_source_region_ts_AAL2.npz")
        painted = dict(zip(truth["labels"].tolist(), truth["z"].T, strict=True))
        r = [
            np.corrcoef(series.data[:, place], painted[name])[0, 1]
            for place, name in enumerate(series.labels)
            if name in painted
        ]
        assert len(r) > 70
        assert np.median(r) > 0.88
