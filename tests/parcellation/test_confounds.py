from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from npi_bids.errors import InputDataError
from npi_bids.parcellation.confounds import Confounds, global_signal_problem, load_confounds
from npi_bids.parcellation.denoising import DenoiseSettings, find_strategy

N, TR = 260, 2.0
EXPANSIONS = ("", "_derivative1", "_power2", "_derivative1_power2")


@pytest.fixture
def table(tiny, tmp_path, monkeypatch):
    """Return a copy of a confounds table, in a folder that trips nilearn."""
    folder = tmp_path / "my tsv files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return Path(shutil.copy(tiny.file("sub-01/func/*confounds*.tsv"), folder))


def load(path, settings=None, dummy_scans="auto"):
    strategy = find_strategy(settings or DenoiseSettings())
    return load_confounds(path, n_samples=N, tr=TR, strategy=strategy, dummy_scans=dummy_scans)


def edit(path, change):
    table = pd.read_table(path)
    change(table).to_csv(path, sep="\t", index=False, na_rep="n/a")


def test_simple_takes_24_motion_parameters_tissue_and_cosines(table):
    columns = list(load(table).regressors.columns)
    n_cosines = int(2 * N * TR / 128)
    assert len(columns) == 24 + 2 + n_cosines
    assert sum(name.startswith(("trans", "rot")) for name in columns) == 24
    assert {"csf", "white_matter"} < set(columns)
    assert "global_signal" not in columns


@pytest.mark.parametrize(
    ("settings", "n_regressors"),
    [
        ({"denoise": "none"}, 0),
        ({"denoise": "24P"}, 24 + 8),
        ({"denoise": "36P"}, 36 + 8),
        ({"denoise": "simple", "gsr": True}, 26 + 8 + 1),
        ({"denoise": "simple", "high_pass": 0.01}, 26),
    ],
)
def test_strategies_take_their_columns(table, settings, n_regressors):
    assert load(table, DenoiseSettings(**settings)).regressors.shape == (N, n_regressors)


def test_missing_columns_are_named(table):
    edit(table, lambda t: t.drop(columns=["csf", "trans_x_power2"]))
    with pytest.raises(InputDataError, match=r"lacks 2 columns.*trans_x_power2, csf"):
        load(table)


def test_missing_cosines_are_an_error_that_names_them_and_the_remedy(table):
    edit(table, lambda t: t.loc[:, ~t.columns.str.startswith("cosine")])
    with pytest.raises(InputDataError, match=r"cosine00, .*cosine07; .*--high-pass 0.008"):
        load(table)
    assert load(table, DenoiseSettings(high_pass=0.008)).regressors.shape[1] == 26


def test_a_table_of_another_run_is_refused(table):
    edit(table, lambda t: t.iloc[:-1])
    with pytest.raises(InputDataError, match="259 rows but the run has 260 samples"):
        load(table)


def test_no_table_needs_the_strategy_none():
    with pytest.raises(InputDataError, match="--denoise none"):
        load(None)
    assert load(None, DenoiseSettings(denoise="none")).keep.all()


def test_motion_is_censored_by_framewise_displacement(table):
    found = load(table, DenoiseSettings(fd_thresh=0.5))
    displacement = pd.read_table(table)["framewise_displacement"].to_numpy()
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found.keep, ~(displacement > 0.5))
    assert 0 < (~found.keep).sum() < 10


def test_scrubbing_censors_short_stretches_too(table):
    few = load(table, DenoiseSettings(fd_thresh=0.5)).keep
    many = load(table, DenoiseSettings(denoise="scrubbing", fd_thresh=0.5)).keep
    assert (few >= many).all()
    starts = np.flatnonzero(np.diff(np.r_[False, many, False].astype(int)))
    assert (np.diff(starts)[::2] >= 5).all()


@pytest.mark.parametrize(("dummy_scans", "n_dropped"), [("auto", 3), ("0", 0), ("7", 7)])
def test_dummy_scans(table, dummy_scans, n_dropped):
    def flag(t):
        for number in range(3):
            t[f"non_steady_state_outlier{number:02d}"] = (t.index == number).astype(int)
        return t

    edit(table, flag)
    found = load(table, dummy_scans=dummy_scans)
    assert found.n_dummy == n_dropped
    np.testing.assert_array_equal(np.flatnonzero(~found.keep), np.arange(n_dropped))


def test_first_row_without_derivative_is_filled_by_nilearn_and_others_are_not(table):
    assert np.isfinite(load(table).regressors.to_numpy()).all()
    edit(table, lambda t: t.assign(trans_x=t["trans_x"].where(t.index != 50)))
    with pytest.raises(
        InputDataError, match=r"non-finite values in uncensored samples of trans_x"
    ):
        load(table)


def test_compcor_takes_components_of_the_sidecar(table, shared_data):
    folder = shared_data / "fmriprep_confounds"
    name = "nilearn_test-v21_desc-confounds_timeseries"
    path = Path(shutil.copy(folder / f"{name}.tsv", "."))
    shutil.copy(folder / f"{name}.json", ".")
    n_samples = len(pd.read_table(path))
    strategy = find_strategy(DenoiseSettings(denoise="compcor"))
    found = load_confounds(
        path, n_samples=n_samples, tr=2.0, strategy=strategy, dummy_scans="auto"
    )
    assert any(column.startswith("a_comp_cor") for column in found.regressors)


def test_names_of_the_first_versions_are_understood(tmp_path, monkeypatch):
    """A table of fMRIPrep 1.0 gives what the same table of 1.2 gives."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = ["csf", "white_matter", *(f"{k}_{a}" for k in ("trans", "rot") for a in "xyz")]
    old = ["CSF", "WhiteMatter", "X", "Y", "Z", "RotX", "RotY", "RotZ"]
    table = pd.DataFrame(rng.standard_normal((120, 8)), columns=names)
    for name in names:
        table[f"{name}_derivative1"] = table[name].diff()
        table[f"{name}_power2"] = table[name] ** 2
        table[f"{name}_derivative1_power2"] = table[name].diff() ** 2
    table["cosine00"] = np.cos(np.arange(120) / 40)
    new_path, old_path = tmp_path / "new.tsv", tmp_path / "old.tsv"
    table.to_csv(new_path, sep="\t", index=False, na_rep="n/a")
    before = table[names].rename(columns=dict(zip(names, old, strict=True)))
    before["Cosine00"] = table["cosine00"]
    before.to_csv(old_path, sep="\t", index=False, na_rep="n/a")
    found = [
        load_confounds(path, n_samples=120, tr=2.0, strategy=find_strategy(DenoiseSettings()),
                       dummy_scans="auto").regressors
        for path in (new_path, old_path)
    ]  # fmt: skip
    assert sorted(found[0].columns) == sorted(found[1].columns)
    pd.testing.assert_frame_equal(found[0], found[1][found[0].columns], rtol=1e-6)


def constant(*names):
    return lambda table: table.assign(**dict.fromkeys(names, 0.0))


MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


@pytest.mark.parametrize(
    ("settings", "names", "words"),
    [
        ({}, [m + e for m in MOTION for e in EXPANSIONS], "'motion' .*trans_x, trans_y"),
        ({}, ["csf", "white_matter"], "'wm_csf' .*: csf, white_matter;"),
        ({"gsr": True}, ["global_signal"], "'global_signal' .*: global_signal;"),
        ({"fd_thresh": 0.5}, ["framewise_displacement"], "'scrub' .*: framewise_displacement;"),
    ],
)
def test_a_component_that_never_changes_is_refused(table, settings, names, words):
    edit(table, constant(*names))
    with pytest.raises(InputDataError, match=f"constant in every column .*{words}"):
        load(table, DenoiseSettings(**settings))


def test_single_columns_may_be_constant(table):
    """A tissue may lie outside the field of view, and no sample need be an outlier."""
    edit(table, constant("csf", "rot_z", "motion_outlier00", "non_steady_state_outlier00"))
    found = load(table)
    assert np.isfinite(found.regressors.to_numpy()).all()
    assert found.keep.all()


def test_a_displacement_that_is_large_throughout_censors_every_sample(table):
    edit(table, lambda t: t.assign(framewise_displacement=3.0))
    assert not load(table, DenoiseSettings(fd_thresh=0.5)).keep.any()


def test_constant_confounds_that_are_not_used_do_no_harm(table):
    edit(table, constant(*MOTION, "csf", "white_matter"))
    assert load(table, DenoiseSettings(denoise="none")).keep.all()


def test_displacement_censors_without_std_dvars(table):
    whole = load(table, DenoiseSettings(fd_thresh=0.5))
    edit(table, lambda t: t.drop(columns="std_dvars"))
    found = load(table, DenoiseSettings(fd_thresh=0.5))
    np.testing.assert_array_equal(found.keep, whole.keep)
    assert (~found.keep).any()
    assert list(found.regressors.columns) == list(whole.regressors.columns)


def test_scrubbing_names_the_column_that_it_needs(table):
    edit(table, lambda t: t.drop(columns="std_dvars"))
    with pytest.raises(InputDataError, match=r"lacks 1 column .*'scrubbing' needs: std_dvars"):
        load(table, DenoiseSettings(denoise="scrubbing"))


def test_the_global_signal_of_another_run_is_told():
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.standard_normal(300))
    image, other = (drift + 3 * rng.standard_normal(300) for _ in range(2))
    resampled = image + 0.5 * rng.standard_normal(300)

    def problem(table, keep=slice(None)):
        kept = np.zeros(300, dtype=bool)
        kept[keep] = True
        nothing = pd.DataFrame(index=range(300))
        return global_signal_problem(
            Confounds(nothing, kept, 0, np.full(300, np.nan), table), image
        )

    assert np.corrcoef(image, other)[0, 1] > 0.6  # all scans drift
    assert "correlates with the mean of the image in its mask by r = 0.21 " in problem(other)
    assert problem(resampled) == problem(np.full(300, np.nan)) == problem(other, slice(40)) == ""
