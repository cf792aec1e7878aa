"""Runs and atlases of greyordinates."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nibabel.cifti2.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, LabelAxis, SeriesAxis

from npi_bids.errors import InputDataError
from npi_bids.parcellation.cifti import (
    MESH_VERTICES,
    GreyScan,
    load_grey_atlas,
    project_to_surface,
)
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.parcellation import digest, read_parcellation, save_parcellation
from npi_bids.parcellation.run_files import RunFiles
from tests.greyordinates import LEFT, axis, write_gifti, write_labels, write_series

RAW = DenoiseSettings(denoise="none", standardize="none")

NONE = DenoiseSettings(denoise="none")


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def extract(run, atlas, denoise=RAW, min_coverage=0.5):
    return extract_run(run, atlas, denoise, CoverageSettings(min_coverage=min_coverage))


@pytest.fixture
def atlas(tmp_path):
    """Right areas come first in the file, as in the released dlabel of the MMP; no medial wall."""
    values = np.concatenate(
        [np.r_[0, 0, np.repeat(4, 18)], np.r_[0, 0, np.repeat(2, 18)], [1, 1, 1]]
    )
    names = {1: "THA-lh", 2: "R_V1_ROI", 4: "L_V1_ROI", 9: "L_V2_ROI"}
    path = write_labels(tmp_path / "some.dlabel.nii", axis(), values, names)
    return load_grey_atlas(path, "Some", "fsLR")


def test_left_comes_first_and_names_are_those_of_the_volume(atlas):
    assert atlas.labels == ("THA-lh", "L_V1", "R_V1")
    assert atlas.values == (1, 2, 3)
    assert (atlas.grey, atlas.probabilistic) == (True, False)


def test_series_are_the_means_of_their_greyordinates(atlas, tmp_path):
    data = write_series(tmp_path / "bold.dtseries.nii", axis())
    found = extract(RunFiles(tmp_path / "bold.dtseries.nii"), atlas).series
    expected = np.column_stack([data[:, part].mean(axis=1) for part in
                                (slice(40, 43), slice(2, 20), slice(22, 40))])  # fmt: skip
    np.testing.assert_allclose(found.data, expected, atol=1e-6)
    assert found.tr == 2.0


def test_structures_are_matched_by_vertex_and_not_by_place(atlas, tmp_path):
    """A run without medial wall, its vertices in fewer places, and without the thalamus."""
    models = axis(left=range(5, 20), right=range(2, 20), voxels=())
    data = write_series(tmp_path / "bold.dtseries.nii", models)
    found = extract(RunFiles(tmp_path / "bold.dtseries.nii"), atlas)
    np.testing.assert_allclose(found.series.data[:, 1], data[:, :15].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.series.data[:, 2], data[:, 15:].mean(axis=1), atol=1e-6)
    assert np.isnan(found.series.data[:, 0]).all()
    np.testing.assert_allclose(found.coverage["coverage"], [0, 15 / 18, 1])


def test_vertices_without_signal_do_not_count(atlas, tmp_path):
    data = np.random.default_rng(0).standard_normal((30, 43))
    data[:, 2:14] = 0
    data[4, 14] = np.nan
    write_series(tmp_path / "bold.dtseries.nii", axis(), data)
    found = extract(RunFiles(tmp_path / "bold.dtseries.nii"), atlas)
    assert found.coverage["coverage"][1] == pytest.approx(5 / 18)
    assert np.isnan(found.series.data[:, 1]).all()
    assert np.isfinite(found.series.data[:, 2]).all()


def test_confounds_are_removed_from_greyordinates(atlas, tmp_path):
    time = np.arange(120.0)
    data = np.random.default_rng(0).standard_normal((120, 43)) + np.sin(time / 20)[:, None]
    write_series(tmp_path / "bold.dtseries.nii", axis(), data)
    run = RunFiles(tmp_path / "bold.dtseries.nii")
    clean = extract(run, atlas, DenoiseSettings(denoise="none", high_pass=0.02)).series.data
    power = np.abs(np.fft.rfft(clean, axis=0)) ** 2
    assert power[np.fft.rfftfreq(120, 2.0) < 0.012].sum() / power.sum() < 0.02


def test_the_period_of_the_header_is_read(atlas, tmp_path):
    write_series(tmp_path / "b.dtseries.nii", axis(), tr=0.8)
    assert extract(RunFiles(tmp_path / "b.dtseries.nii"), atlas).series.tr == pytest.approx(0.8)


def test_pairs_of_hemispheres(tmp_path):
    """Both label files number their areas from 1, as micapipe's do."""
    for side in "LR":
        write_gifti(
            tmp_path / f"atlas_{side.lower()}h.label.gii", [np.r_[0, 0, 1, 1, 2, 2]],
            {0: "???", 1: "V1", 2: "V2"},
        )  # fmt: skip
    atlas = load_grey_atlas(tmp_path / "atlas_rh.label.gii", "Pair", "fsaverage5")
    assert atlas.labels == ("L_V1", "L_V2", "R_V1", "R_V2")
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 6, 30))
    run = RunFiles(
        write_gifti(tmp_path / "sub-1_hemi-L_bold.func.gii", left.T),
        right=write_gifti(tmp_path / "sub-1_hemi-R_bold.func.gii", right.T),
    )
    found = extract(run, atlas).series
    means = [side[rows].mean(axis=0) for side in (left, right) for rows in ([2, 3], [4, 5])]
    np.testing.assert_allclose(found.data, np.column_stack(means), atol=1e-6)
    assert found.tr == 2.0


def test_an_atlas_is_read_back_as_it_was_saved(atlas, tmp_path):
    save_parcellation(atlas, tmp_path / "prepared")
    again = read_parcellation(tmp_path / "prepared")
    assert (again.labels, again.values, digest(again)) == (
        atlas.labels,
        atlas.values,
        digest(atlas),
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bold.nii.gz", "cannot be read as an image"),
        ("wrong.dtseries.nii", "cannot be read as an image"),
        ("labels.dlabel.nii", "expected a dense series"),
    ],
)
def test_what_is_no_dense_series_is_refused(atlas, tmp_path, name, words):
    if name.startswith("labels"):
        write_labels(tmp_path / name, axis(), np.ones(43), {1: "A"})
    else:
        (tmp_path / name).write_bytes(b"no image" * 100)
    with pytest.raises(InputDataError, match=words):
        extract(RunFiles(tmp_path / name), atlas)


def test_another_surface_is_refused(atlas, tmp_path):
    other = BrainModelAxis.from_surface(np.arange(12), 12, LEFT)
    write_series(tmp_path / "bold.dtseries.nii", other)
    with pytest.raises(
        InputDataError, match="12 vertices per hemisphere but the atlas Some has 20"
    ):
        extract(RunFiles(tmp_path / "bold.dtseries.nii"), atlas)


def test_half_a_pair_is_refused(tmp_path):
    path = write_gifti(tmp_path / "a_lh.label.gii", [[1, 1]], {1: "A"})
    with pytest.raises(InputDataError, match="expected the other beside it"):
        load_grey_atlas(path, "Half", "fsLR")


def test_real_surface_atlases(shared_data):
    folder = shared_data / "cifti_atlases"
    whole = load_grey_atlas(
        folder / "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii",
        "A",
        "fsLR",
    )
    assert len(whole.labels) == 116
    assert whole.labels[0] == "HIP-rh"
    assert whole.labels[16] == "LH_Vis_1"
    assert (whole.networks[0], whole.networks[16]) == ("Subcortex", "Vis")
    stem = "Q1-Q6_RelatedValidation210.CorticalAreas_dil_Final_Final_Areas_Group_Colors.32k_fs_LR"
    mmp = load_grey_atlas(folder / f"{stem}.dlabel.nii", "MMP", "fsLR")
    assert (len(mmp.labels), mmp.labels[0], mmp.labels[180]) == (360, "L_V1", "R_V1")
    values = np.asarray(mmp.image.dataobj).ravel()
    n_left = next(len(m) for name, _, m in mmp.image.header.get_axis(1).iter_structures())
    assert set(np.unique(values[:n_left])) <= set(range(181))  # left areas in the left hemisphere
    pair = load_grey_atlas(folder / "schaefer-100_conte69_lh.label.gii", "S", "fsLR")
    assert pair.labels[0] == "LH_Vis_1"
    assert len(pair.labels) == 100  # names of an older release than the dlabel's
    assert pair.labels[50].startswith("RH")
    glasser = load_grey_atlas(folder / "glasser-360_conte69_lh.label.gii", "MMP", "fsLR")
    assert glasser.labels == mmp.labels


def test_real_greyordinates_and_the_upstream_parcellation(shared_data):
    """The file of parcels that comes with the data holds the vertex means of the same atlas."""
    folder = shared_data / "cifti_series"
    stem = "Conte69.MyelinAndCorrThickness.32k_fs_LR"
    atlas = load_grey_atlas(
        folder / "Conte69.parcellations_VGD11b.32k_fs_LR.dlabel.nii", "VGD", "fsLR"
    )
    run = RunFiles(folder / f"{stem}.dtseries.nii", tr=1.0)
    _, (regions,) = GreyScan(run, [atlas]).read(np.ones(2, dtype=bool))
    means = regions.signals(regions.n_with_signal > 0)
    parcels = nib.load(folder / f"{stem}.ptseries.nii")
    expected = dict(
        zip(parcels.header.get_axis(1).name, np.asarray(parcels.dataobj).T, strict=True)
    )
    covered = [
        label for label, size in zip(atlas.labels, regions.n_with_signal, strict=True) if size
    ]
    names = [label for label in covered if label in expected]
    assert len(names) > 40
    for name in names:
        np.testing.assert_allclose(means[:, covered.index(name)], expected[name], rtol=1e-3)


def write_atlas(path, n_vertices=MESH_VERTICES):
    """Write an atlas of two regions a side, without the last hundred vertices (medial wall)."""
    inside = np.arange(n_vertices - 100)
    axis = BrainModelAxis.from_surface(inside, n_vertices, "CortexLeft")
    axis += BrainModelAxis.from_surface(inside, n_vertices, "CortexRight")
    values = np.r_[np.where(inside < 50, 1, 2), np.where(inside < 50, 3, 4)]
    names = {0: ("???", (0, 0, 0, 0)), **{n: (f"R{n}", (0, 0, 0, 1)) for n in (1, 2, 3, 4)}}
    header = LabelAxis(["parcels"], [names]), axis
    nib.save(Cifti2Image(values[None].astype(np.float32), header=header), path)
    return path


def test_each_vertex_has_the_number_of_its_region(tmp_path):
    labels, values = ("R4", "R1", "R3"), np.array([4.0, 1.0, np.nan])
    found = project_to_surface(write_atlas(tmp_path / "a.dlabel.nii"), labels, values)
    assert found["left"][:50].tolist() == [1.0] * 50
    assert np.isnan(found["left"][50:]).all()  # R2 is not in the map, then the medial wall
    assert np.isnan(found["right"][:50]).all()  # R3 is not covered
    assert found["right"][60] == 4.0


def test_regions_are_placed_on_any_surface_of_two_hemispheres(tmp_path):
    path = write_atlas(tmp_path / "a.dlabel.nii", 32492)
    found = project_to_surface(path, ("R1",), np.array([1.0]))
    assert [len(found[side]) for side in ("left", "right")] == [32492, 32492]
    assert np.flatnonzero(found["left"] == 1).tolist() == list(range(50))
    assert np.isnan(found["right"]).all()
    (tmp_path / "b.dlabel.nii").write_text("nothing")
    with pytest.raises(InputDataError, match="cannot be read"):
        project_to_surface(tmp_path / "b.dlabel.nii", ("R1",), np.array([1.0]))


def test_a_large_offset_costs_no_precision_of_greyordinates(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((60, 43))
    labels = write_labels(tmp_path / "a.dlabel.nii", axis(), np.repeat([1, 2], [20, 23]),
                          {1: "A", 2: "B"})  # fmt: skip
    header = SeriesAxis(0, 2.0, 60, "SECOND"), axis()
    image = Cifti2Image(data + 1e9, header=header)
    image.nifti_header.set_data_dtype(np.float64)
    nib.save(image, tmp_path / "b.dtseries.nii")
    assert nib.load(tmp_path / "b.dtseries.nii").get_data_dtype() == np.float64
    found = extract_run(
        RunFiles(tmp_path / "b.dtseries.nii"),
        load_grey_atlas(labels, "A", "fsLR"),
        NONE,
        CoverageSettings(),
    )
    mean = data[:, :20].mean(axis=1)
    np.testing.assert_allclose(
        found.series.data[:, 0], (mean - mean.mean()) / mean.std(ddof=1), atol=1e-4
    )


def test_an_atlas_of_labels_without_an_array_is_refused(tmp_path):
    for side in "lr":
        nib.save(nib.GiftiImage(), tmp_path / f"a_{side}h.label.gii")
    with pytest.raises(InputDataError, match=r"a_lh.label.gii> has no data array"):
        load_grey_atlas(tmp_path / "a_lh.label.gii", "A", "fsLR")
