"""What users see when one subject's files are damaged: a message, and the others unharmed.

Every row of the first table damages subject 02, those of the others what all subjects share.
"""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from npi_bids.bids.derivatives import find_statuses
from tests.end_to_end.conftest import (
    another_user_starts_workers,
    as_another_user,
    run_command,
    validate,
)

VAR = ("--surrogate", "var")


@pytest.fixture
def data(tiny, tmp_path):
    """Return a copy of the tiny dataset that the test may damage."""
    return tiny.copy(tmp_path)


def bold(data):
    return data.file("sub-02/func/*run-1_*bold.nii.gz")


def mask(data):
    return data.file("sub-02/func/*run-1_*mask.nii.gz")


def confounds(data):
    return data.file("sub-02/func/*run-1_*confounds_timeseries.tsv")


def rewrite(path, change):
    image = nib.load(path)
    values = change(np.asarray(image.dataobj).copy())
    header = image.header.copy()
    header.set_data_dtype(values.dtype)
    nib.save(nib.Nifti1Image(values, image.affine, header), path)


def retable(path, change):
    table = change(pd.read_table(path))
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def truncated(data):
    path = bold(data)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_inside(data):
    """Write a whole gzip stream of half an image."""
    path = bold(data)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: len(whole) // 2]))


def not_gzip(data):
    path = bold(data)
    path.write_bytes(gzip.decompress(path.read_bytes()))


def empty(data):
    bold(data).write_bytes(b"")


def three_dimensions(data):
    rewrite(bold(data), lambda values: values[..., 0])


def one_volume(data):
    rewrite(bold(data), lambda values: values[..., :1])


def all_nan(data):
    rewrite(bold(data), lambda values: np.full(values.shape, np.nan, dtype=np.float32))


def all_constant(data):
    rewrite(bold(data), lambda values: np.full(values.shape, 100, dtype=np.float32))


def mask_of_zeros(data):
    rewrite(mask(data), np.zeros_like)


def mask_of_another_shape(data):
    rewrite(mask(data), lambda values: values[:-1])


def mask_moved(data):
    image = nib.load(mask(data))
    affine = image.affine.copy()
    affine[:3, 3] += 8
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), mask(data))


def damaged_mask(data):
    mask(data).write_bytes(b"no image at all")


def one_row_less(data):
    retable(confounds(data), lambda table: table.iloc[:-1])


def column_of_na(data):
    retable(confounds(data), lambda table: table.assign(trans_x=np.nan))


def words_in_a_column(data):
    retable(confounds(data), lambda table: table.assign(trans_x="left"))


def empty_confounds(data):
    confounds(data).write_text("")


def binary_confounds(data):
    confounds(data).write_bytes(bytes(range(256)) * 10)


def header_in_milliseconds(data):
    image = nib.load(bold(data))
    header = image.header.copy()
    header.set_zooms((*header.get_zooms()[:3], 800.0))
    header.set_xyzt_units("mm", "sec")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header), bold(data))


def sidecar(data, text):
    path = bold(data)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_bytes(text)


def broken_json(data):
    sidecar(data, b'{"RepetitionTime": 2.0,')


def list_as_json(data):
    sidecar(data, b'[{"RepetitionTime": 2.0}]')


def words_as_tr(data):
    sidecar(data, b'{"RepetitionTime": "two"}')


def infinite_tr(data):
    sidecar(data, b'{"RepetitionTime": Infinity}')


def true_as_tr(data):
    sidecar(data, b'{"RepetitionTime": true}')


def tr_in_milliseconds(data):
    sidecar(data, b'{"RepetitionTime": 2000}')


def confounds_of_zeros(data):
    retable(confounds(data), lambda table: table * 0)


def complex_numbers(data):
    rewrite(bold(data), lambda values: values.astype(np.complex64))


def many_volumes_lost(data):
    def change(values):
        values[..., ::2] = 0
        return values

    rewrite(bold(data), change)


def header_of_another_size(data):
    path = bold(data)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:50] = np.array([3000, 3000, 3000, 3000], dtype="<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def confounds_without_run(data):
    path = confounds(data)
    path.rename(path.with_name(path.name.replace("_run-1", "")))


def two_files(data):
    path = bold(data)
    shutil.copy(path, path.with_name(path.name.replace(".nii.gz", ".nii")))


def label_that_climbs(data):
    """Give a run an acquisition whose label is a path, as a broken tool might."""
    path = bold(data)
    path.rename(path.with_name(path.name.replace("task-rest", "task-rest_acq-..")))


TABLE = [
    (truncated, "cannot be read as an image"),
    (truncated_inside, "cannot be read as an image"),
    (not_gzip, "cannot be read as an image"),
    (empty, "cannot be read as an image"),
    (three_dimensions, "expected a 4D series of volumes"),
    (one_volume, "expected a 4D series of volumes"),
    (all_nan, "holds signal in no region"),
    (all_constant, "holds signal in no region"),
    (mask_of_zeros, "is 0 everywhere"),
    (mask_of_another_shape, "is not the grid of its run"),
    (mask_moved, "is not the grid of its run"),
    (damaged_mask, "cannot be read as an image"),
    (one_row_less, "have 259 rows but the run has 260 samples"),
    (column_of_na, "uncensored samples of trans_x"),
    (words_in_a_column, "holds 'left' in column 'trans_x', line 2"),
    (empty_confounds, "cannot be read"),
    (binary_confounds, "cannot be read"),
    (header_in_milliseconds, "in its sidecar but 0.8 s in its header"),
    (broken_json, "cannot be read as JSON"),
    (list_as_json, "expected a JSON object"),
    (words_as_tr, "RepetitionTime 'two'"),
    (infinite_tr, "RepetitionTime inf"),
    (true_as_tr, "RepetitionTime True. It must be a number of seconds"),
    (tr_in_milliseconds, "in seconds, not milliseconds, and at most 20, not 2000"),
    (confounds_of_zeros, "are constant in every column of the component 'motion'"),
    (complex_numbers, "holds complex numbers; expected real numbers"),
    (many_volumes_lost, "is damaged: 130 of 260 samples are constant"),
    (header_of_another_size, "voxels per volume according to its header"),
    (confounds_without_run, "there is no confounds table for this run"),
    (two_files, "are the same run"),
    (label_that_climbs, "has acq-.., which is no BIDS label"),
]


@pytest.mark.parametrize(
    ("damage", "words"), TABLE, ids=lambda value: getattr(value, "__name__", "")
)
def test_one_damaged_subject_says_why_and_harms_no_other(data, npi_bids, tmp_path, damage, words):
    damage(data)
    code, out, err = npi_bids(
        data.root, "out", "participant", "--atlas", data.atlas, *VAR,
        "--participant-label", "01", "02",
    )  # fmt: skip
    heard = " ".join((out + err).split())
    assert words.lower() in heard.lower(), heard
    assert "Traceback" not in out + err
    statuses = {status.entities["sub"]: status for status in find_statuses(tmp_path / "out")}
    assert statuses["01"].status == "done", heard
    assert statuses["02"].status in ("failed", "excluded")
    assert code == (1 if statuses["02"].status == "failed" else 0)
    assert len(list((tmp_path / "out").glob("sub-01/func/*meas-npi_*relmat.tsv"))) == 1
    assert not list((tmp_path / "out").glob("sub-02/func/*relmat*"))
    assert not list((tmp_path / "out").rglob(".partial_*"))
    assert (tmp_path / "out" / "sub-02.html").is_file()


def some_voxels_broken(data):
    def change(values):
        broken = values.astype(np.float32)
        broken[1, 1, 1, 5], broken[4, 1, 1, 7] = np.nan, np.inf
        return broken

    rewrite(bold(data), change)


def constant_region(data):
    def change(values):
        values[1:4, 1:4, 1:4] = 100
        return values

    rewrite(bold(data), change)


def sidecar_with_bom(data):
    sidecar(data, '\ufeff{"RepetitionTime": 2.0}'.encode())


def header_without_tr(data):
    image = nib.load(bold(data))
    header = image.header.copy()
    header.set_zooms((*header.get_zooms()[:3], 0.0))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header), bold(data))


def one_region_outside(data):
    def change(values):
        values[1:4, 1:4, 1:4] = 0
        return values

    rewrite(mask(data), change)


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (some_voxels_broken, 0),
        (constant_region, 1),
        (one_region_outside, 1),
        (sidecar_with_bom, 0),
        (header_without_tr, 0),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_can_be_used_is_used_and_the_rest_is_missing(data, npi_bids, tmp_path, damage, lost):
    damage(data)
    code, out, err = npi_bids(
        data.root, "out", "participant", "--atlas", data.atlas, *VAR, "--participant-label", "02"
    )
    assert code == 0, out + err
    path = next((tmp_path / "out").glob("sub-02/func/*meas-npi_*relmat.tsv"))
    matrix = pd.read_table(path, index_col="source", keep_default_na=False, na_values="n/a")
    assert matrix.isna().all(axis=1).sum() == lost + 1  # region E is never covered
    validate(tmp_path / "out")


def lost_volumes(data):
    def change(values):
        values[..., [100, 101]] = 0
        return values

    rewrite(bold(data), change)


def test_lost_volumes_are_censored_and_counted(data, npi_bids, tmp_path):
    lost_volumes(data)
    code, out, err = npi_bids(
        data.root, "out", "participant", "--atlas", data.atlas, *VAR, "--participant-label", "02"
    )
    assert code == 0, out + err
    assert "2 of 260 samples are constant, not finite, or far" in " ".join((out + err).split())
    series = sorted((tmp_path / "out").glob("sub-02/func/*_timeseries.json"))
    series = [json.loads(path.read_text()) for path in series if "run-1" in path.name]
    told = next(about for about in series if "SamplesDamaged" in about)
    assert (told["SamplesDamaged"], told["SamplesCensored"], told["Hazards"]) == (2, 2, [])
    page = " ".join((tmp_path / "out" / "sub-02.html").read_text().split())
    assert "Run 1: 2 of 260 samples were left out because the image is damaged" in page
    methods = " ".join((tmp_path / "out" / "logs" / "CITATION.md").read_text().split())
    assert "Of the censored samples, 2 were damaged in the image" in methods
    validate(tmp_path / "out")


def test_confounds_of_another_run_are_a_hazard(data, npi_bids, tmp_path):
    """Nothing else in the table of another run tells that it is one."""
    path = confounds(data)
    shutil.copy(path.with_name(path.name.replace("run-1", "run-2")), path)
    code, out, err = npi_bids(
        data.root, "out", "participant", "--atlas", data.atlas, *VAR, "--participant-label", "02"
    )
    assert code == 0, out + err
    words = "The global signal of the confounds correlates with the mean of the image"
    assert words in " ".join((out + err).split())
    ec = next((tmp_path / "out").glob("sub-02/func/*meas-npi_*relmat.json"))
    (hazard,) = json.loads(ec.read_text())["Hazards"]
    assert hazard.startswith(f"Run 1: {words}")
    runs = {
        number: json.loads(next((tmp_path / "out").glob(
            f"sub-02/func/*_run-{number}_*desc-simple_timeseries.json")).read_text())
        for number in "12"
    }  # fmt: skip
    assert len(runs["1"]["Hazards"]) == 1
    assert runs["2"]["Hazards"] == []
    assert words in " ".join((tmp_path / "out" / "sub-02.html").read_text().split())


def atlas_values(change):
    def damage(data):
        rewrite(data.atlas, change)

    return damage


def more_values(values):
    values[8, 8, 0] = 77
    return values


def floats(values):
    return values.astype(np.float32) + np.float32(0.25) * (values > 0)


def negative(values):
    return np.where(values == 2, -2, values)


def table_with(change):
    def damage(data):
        path = data.atlas.with_name(data.atlas.name.replace(".nii.gz", ".tsv"))
        retable(path, change)

    return damage


def damaged_atlas(data):
    data.atlas.write_bytes(b"no image")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (atlas_values(more_values), "1 value that no region has (77)"),
        (atlas_values(floats), "values that are not whole numbers"),
        (atlas_values(negative), "1 value that no region has (-2)"),
        (table_with(lambda table: table.assign(name="A")), "region names that repeat: A"),
        (table_with(lambda table: table.iloc[:-1]), "that no region has (5)"),
        (table_with(lambda table: table.assign(index=1.5)), "the index '1.5' for the region"),
        (table_with(lambda table: table.rename(columns={"name": "colour"})), "expected 'index'"),
        (damaged_atlas, "cannot be read as an image"),
    ],
)
def test_what_all_share_is_an_error_before_anything_is_written(
    data, npi_bids, tmp_path, damage, words
):
    damage(data)
    code, out, err = npi_bids(data.root, "out", "participant", "--atlas", data.atlas, *VAR)
    heard = " ".join((out + err).split())
    assert words in heard, heard
    assert code == 3
    assert "Traceback" not in out + err
    assert not list((tmp_path / "out").rglob("*relmat*"))


def test_a_name_that_climbs_stays_in_the_output(data, npi_bids, tmp_path):
    path = data.atlas.with_name("..%2F..%2Fetc.nii.gz")
    data.atlas.rename(path)
    table = data.atlas.with_name(data.atlas.name.replace(".nii.gz", ".tsv"))
    table.rename(path.with_name("..%2F..%2Fetc.tsv"))
    before = set(tmp_path.iterdir())
    code, out, err = npi_bids(data.root, "out", "participant", "--atlas", path, *VAR)
    assert code == 0, out + err
    assert {item.name for item in set(tmp_path.iterdir()) - before} <= {"out", "work"}
    assert list((tmp_path / "out").glob("sub-01/func/*atlas-2F2Fetc_*meas-npi_*relmat.tsv"))


@pytest.mark.parametrize("shape", ["singleton axis", "values above 65535"])
def test_odd_but_sound_atlases_give_the_same_map(data, npi_bids, tmp_path, shape):
    npi_bids(data.root, "plain", "participant", "--atlas", data.atlas, *VAR)
    if shape == "singleton axis":
        rewrite(data.atlas, lambda values: values[..., None])
    else:
        rewrite(data.atlas, lambda values: np.where(values > 0, values + 70_000, 0))
        table_with(lambda table: table.assign(index=table["index"] + 70_000))(data)
    code, out, err = npi_bids(data.root, "odd", "participant", "--atlas", data.atlas, *VAR)
    assert code == 0, out + err
    plain, odd = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("sub-*/func/*relmat.tsv")}
        for name in ("plain", "odd")
    )
    assert plain
    assert plain == odd


def test_a_full_disk_is_named_and_nothing_is_half_written(data, npi_bids, tmp_path, monkeypatch):
    from npi_bids.io import files

    whole = files.copy_file

    def full(source, target):
        if "sub-02" in target.name:
            raise OSError(28, "No space left on device", str(target))
        whole(source, target)

    monkeypatch.setattr("npi_bids.bids.writing.copy_file", full)
    code, out, err = npi_bids(data.root, "out", "participant", "--atlas", data.atlas, *VAR)
    assert code == 1
    assert "No space left on device" in " ".join((out + err).split())
    assert not list((tmp_path / "out").rglob(".partial_*"))
    assert not list((tmp_path / "out").glob("sub-02/func/*relmat.tsv"))
    assert len(list((tmp_path / "out").glob("sub-0[13]/func/*meas-npi_*relmat.tsv"))) == 2


@pytest.mark.skipif(
    not another_user_starts_workers(), reason="another user cannot start this Python"
)
def test_an_unreadable_folder_is_named(data, tmp_path):
    folder = data.root / "sub-02" / "func"
    with as_another_user(tmp_path, folder) as prefix:
        done = run_command(
            data.root, tmp_path / "out", "participant", "--atlas", data.atlas, *VAR,
            "-w", tmp_path / "work", prefix=prefix, cwd=tmp_path,
        )  # fmt: skip
    assert "Permission denied" in done.stderr
    assert str(folder) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode in (1, 3)


def test_messages_are_json_too(data, npi_bids, tmp_path):
    """Whoever runs hundreds of subjects reads the reasons by a program."""
    truncated(data)
    npi_bids(data.root, "out", "participant", "--atlas", data.atlas, *VAR)
    status = json.loads(next((tmp_path / "out/logs/units").glob("sub-02*.json")).read_text())
    assert status["status"] == "failed"
    assert status["error"] == "InputDataError"
    assert "cannot be read as an image" in status["reason"]
