"""Regional series of a run, from images or from tables."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from npi_bids.errors import InputDataError
from npi_bids.interfaces.parcellate import (
    DenoiseRegions,
    ExtractRegions,
    Parcellate,
    ReadSeries,
)
from npi_bids.io.json_records import read_record
from npi_bids.io.tables import read_series
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import RunSummary
from npi_bids.parcellation.parcellation import label_image, save_parcellation
from npi_bids.parcellation.volumes import count_values
from tests.conftest import tiny_parcellation

TABLES = ("timeseries", "coverage", "outliers", "design", "raw", "mean", "summary")


def test_an_image_becomes_series_of_all_regions_and_six_more_files(tiny, execute, tmp_path):
    save_parcellation(tiny_parcellation(5), tmp_path / "atlas")
    bold = tiny.file("sub-01/func/*bold.nii.gz")
    node = Parcellate(bold=str(bold), atlas=str(tmp_path / "atlas"), tr=2.0,
                      denoise=asdict(DenoiseSettings(denoise="none")),
                      coverage=asdict(CoverageSettings()))  # fmt: skip
    outputs = execute(node)
    assert all(Path(getattr(outputs, name)).is_file() for name in TABLES)
    series = read_series(Path(outputs.timeseries), 2.0)
    assert series.labels == tuple("ABCDE")
    assert series.covered.tolist() == [True] * 4 + [False]
    assert read_record(RunSummary, Path(outputs.summary)).tr == 2.0
    n_samples, n_voxels = count_values(bold)
    assert n_samples == len(series.data)
    assert n_voxels > 5


def test_atlases_read_together_give_the_files_of_each_alone(tiny, execute, tmp_path):
    atlases = [tiny_parcellation(5), tiny_parcellation(4)]
    folders = [tmp_path / f"atlas_{k}" for k in (0, 1)]
    for atlas, folder in zip(atlases, folders, strict=True):
        save_parcellation(atlas, folder)
    settings = {"denoise": asdict(DenoiseSettings(denoise="none")),
                "coverage": asdict(CoverageSettings())}  # fmt: skip
    run = {"bold": str(tiny.file("sub-01/func/*bold.nii.gz")), "tr": 2.0, **settings}
    readings = execute(ExtractRegions(atlases=[str(folder) for folder in folders], **run)).readings
    for reading, folder in zip(readings, folders, strict=True):
        together = execute(DenoiseRegions(atlas=str(folder), reading=reading, **run))
        files = {name: Path(getattr(together, name)).read_bytes() for name in TABLES}
        alone = execute(Parcellate(atlas=str(folder), **run))
        assert files == {name: Path(getattr(alone, name)).read_bytes() for name in TABLES}


def test_an_atlas_beside_the_image_fails_where_it_is_denoised(tiny, execute, tmp_path):
    sound = tiny_parcellation()
    affine = sound.image.affine.copy()
    affine[0, 3] += 1000
    far = replace(sound, image=label_image(sound.image.dataobj, affine))
    for atlas, name in ((sound, "sound"), (far, "far")):
        save_parcellation(atlas, tmp_path / name)
    run = {"bold": str(tiny.file("sub-01/func/*bold.nii.gz")), "tr": 2.0,
           "denoise": asdict(DenoiseSettings(denoise="none")),
           "coverage": asdict(CoverageSettings())}  # fmt: skip
    folders = [str(tmp_path / name) for name in ("sound", "far")]
    sound_reading, far_reading = execute(ExtractRegions(atlases=folders, **run)).readings
    execute(DenoiseRegions(atlas=folders[0], reading=sound_reading, **run))
    with pytest.raises(InputDataError, match="holds signal in no region of the atlas Tiny"):
        execute(DenoiseRegions(atlas=folders[1], reading=far_reading, **run))


def test_what_a_strategy_needs_and_is_not_there_is_an_error(tiny, execute, tmp_path):
    save_parcellation(tiny_parcellation(), tmp_path / "atlas")
    node = Parcellate(bold=str(tiny.file("sub-01/func/*bold.nii.gz")), tr=2.0,
                      atlas=str(tmp_path / "atlas"), denoise=asdict(DenoiseSettings()),
                      coverage=asdict(CoverageSettings()))  # fmt: skip
    with pytest.raises(InputDataError, match="no confounds table"):
        execute(node)


def table(folder, columns):
    rng = np.random.default_rng(0)
    path = folder / "given_timeseries.tsv"
    data = pd.DataFrame({name: 3 + 2 * rng.standard_normal(80) for name in columns})
    data.to_csv(path, sep="\t", index=False)
    return path


def test_a_table_is_read_by_the_names_of_its_columns(execute, tmp_path):
    path = table(tmp_path, "BCA")
    node = ReadSeries(series=str(path), tr=1.5, labels=list("ABC"), strategy="xcpd")
    outputs = execute(node)
    tables = [name for name in TABLES if name != "mean"]  # of an image
    assert all(Path(getattr(outputs, name)).is_file() for name in tables)
    series = read_series(Path(outputs.timeseries), 1.5)
    assert series.labels == tuple("ABC")
    given = pd.read_table(path)["A"]
    expected = (given - given.mean()) / given.std(ddof=0)
    np.testing.assert_allclose(series.data[:, 0], expected, atol=0.02)


def test_a_table_of_other_regions_is_refused(execute, tmp_path):
    path = table(tmp_path, "AB")
    node = ReadSeries(series=str(path), tr=1.5, labels=list("ABC"), strategy="xcpd")
    with pytest.raises(InputDataError):
        execute(node)
