"""Inputs that are no volumes of fMRIPrep, through the whole command."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from npi_bids.cli import export
from npi_bids.io.tables import read_matrix, read_table
from tests.conftest import var_run
from tests.end_to_end.conftest import validate
from tests.greyordinates import N_VERTICES, axis, write_gifti, write_labels, write_series

VAR = ("--surrogate", "var")
NAMES = ("LH_A", "LH_B", "RH_C", "RH_D")
SPACE = "space-MNI152NLin2009cAsym"


def describe(root, name="XCP-D"):
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({
        "Name": "series", "BIDSVersion": "1.9.0", "DatasetType": "derivative",
        "GeneratedBy": [{"Name": name, "Version": "0.10.0"}],
    }))  # fmt: skip


def write_run(root, weights, subject, *, censored=(), names=NAMES, atlas="seg-4S4Parcels"):
    """Write series as XCP-D does: censored rows are gone, and a table says which."""
    func = root / f"sub-{subject}" / "func"
    func.mkdir(parents=True, exist_ok=True)
    run = var_run(weights, 260, int(subject), labels=names)
    keep = np.ones(260, dtype=bool)
    keep[list(censored)] = False
    stem = f"sub-{subject}_task-rest"
    table = pd.DataFrame(run.data[keep], columns=list(names))
    table["RH_D" if "RH_D" in names else names[-1]] = (
        np.nan if subject == "3" else table.iloc[:, -1]
    )
    path = func / f"{stem}_{SPACE}_{atlas}_stat-mean_timeseries.tsv"
    table.to_csv(path, sep="\t", na_rep="n/a", index=False)
    path.with_suffix(".json").write_text(json.dumps({"SamplingFrequency": 0.5}))
    outliers = pd.DataFrame({"framewise_displacement": (~keep).astype(int)})
    outliers.to_csv(func / f"{stem}_outliers.tsv", sep="\t", index=False)
    motion = pd.DataFrame({"trans_x": np.zeros(260), "framewise_displacement": np.full(260, 0.1)})
    motion.to_csv(func / f"{stem}_motion.tsv", sep="\t", index=False)
    return path


@pytest.fixture
def xcp(tmp_path, weights):
    root = tmp_path / "xcp_d"
    describe(root)
    write_run(root, weights, "1", censored=range(50, 60))
    write_run(root, weights, "2")
    return root


def test_series_of_xcp_d_are_mapped(npi_bids, xcp, tmp_path, weights):
    code, said, problems = npi_bids(xcp, tmp_path / "out", "participant", "group", *VAR)
    assert code == 0, said + problems
    stem = f"sub-1_task-rest_{SPACE}_atlas-4S4Parcels"
    func = tmp_path / "out" / "sub-1" / "func"
    ec = read_matrix(func / f"{stem}_meas-npi_desc-series_relmat.tsv")
    assert ec.labels == NAMES
    assert ec.matrix[0, 1] > 0.2 > abs(ec.matrix[1, 0])
    assert ec.matrix[1, 2] < -0.2
    series = read_table(func / f"{stem}_desc-series_timeseries.tsv")
    assert len(series) == 260
    assert series[50:60].isna().all(axis=None)
    about = json.loads((func / f"{stem}_meas-npi_desc-series_relmat.json").read_text())
    assert (about["RepetitionTime"], about["SamplesKeptPerRun"]) == (2.0, [250])
    assert about["WindowsPerRun"][0] < 250 - 1
    run = json.loads((func / f"{stem}_desc-series_timeseries.json").read_text())
    assert run["MeanFramewiseDisplacement"] == pytest.approx(0.1)
    assert len(run["Sources"]) == 3
    assert "were used as provided" in (tmp_path / "out/logs/CITATION.md").read_text()
    validate(tmp_path / "out")


def test_series_are_not_cleaned_twice(npi_bids, xcp, tmp_path):
    code, _, problems = npi_bids(
        xcp, tmp_path / "out", "participant", *VAR, "--low-pass", "0.1", "--denoise", "36P"
    )
    assert code == 2
    assert "--denoise 36P, --low-pass: regional series come as another program" in problems


def test_a_region_without_values_is_not_covered(npi_bids, xcp, tmp_path, weights):
    write_run(xcp, weights, "3")
    code, said, problems = npi_bids(
        xcp, tmp_path / "out", "participant", *VAR, "--participant-label", "3"
    )
    assert code == 0, said + problems
    path = next((tmp_path / "out" / "sub-3").rglob("*meas-npi_*relmat.tsv"))
    ec = read_matrix(path)
    assert np.isnan(ec.matrix[3]).all()
    assert np.isfinite(ec.matrix[:3, :3]).all()
    assert "RH_D" in path.with_name(path.name.replace("_meas-npi", "").replace(
        "relmat.tsv", "timeseries.json")).read_text()  # fmt: skip


def _series(root, subject="1"):
    return next(root.glob(f"sub-{subject}/func/*_timeseries.tsv"))


def _no_period(root):
    _series(root).with_suffix(".json").unlink()


def _rows(root):
    _edit(_series(root), lambda lines: lines[:-3])


def _words(root):
    _edit(_series(root), lambda lines: [lines[0], "a\tb\tc\td", *lines[2:]])


def _gap(root):
    path = _series(root)
    table = pd.read_table(path)
    table.loc[5, "LH_B"] = np.nan
    table.to_csv(path, sep="\t", na_rep="n/a", index=False)


def _twice(root):
    for subject in "12":
        path = _series(root, subject)
        _edit(path, lambda lines: [lines[0].replace("LH_B", "LH_A"), *lines[1:]])


def _columns(root):
    _edit(_series(root, "2"), lambda lines: [line.rsplit("\t", 1)[0] for line in lines])


def _other_names(root):
    _edit(_series(root, "2"), lambda lines: ["Q0\tQ1\tQ2\tQ3", *lines[1:]])


def _trailing_tabs(root):
    _edit(_series(root, "2"), lambda lines: [lines[0], *(f"{line}\t" for line in lines[1:])])


def _table(root):
    (root / "atlas-4S4Parcels_dseg.tsv").write_text("index\tlabel\n1\tA\n2\tB\n3\tC\n")


def _second(root):
    path = _series(root)
    path.with_name(path.name.replace("4S4", "4S5")).write_bytes(path.read_bytes())


def _edit(path, change):
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_period, "--repetition-time SECONDS"),
        (_second, "come in 2 parcellations: atlas-4S4Parcels_desc-series"),
        (_rows, "expected 260 rows, or 250 without the censored ones"),
        (_words, "holds 'a' in column 'LH_A', line 2"),
        (_trailing_tabs, "4 columns in its header but 5 cells in line 2 (260 such rows)"),
        (_gap, "n/a in 1 of 250 samples of region LH_B"),
        (_twice, "several columns of the same name: LH_A"),
        (_columns, "does not have the regions of the other tables of its atlas: 1 missing (RH_D)"),
        (_other_names, "4 missing (LH_A, LH_B, RH_C, RH_D); 4 unknown (Q0, Q1, Q2, Q3)"),
        (_table, "has 4 columns but the atlas"),
    ],
)
def test_series_that_cannot_be_used_say_why(npi_bids, xcp, tmp_path, damage, words):
    damage(xcp)
    code, said, problems = npi_bids(xcp, tmp_path / "out", "participant", *VAR)
    heard = " ".join((said + problems).split())
    assert words in heard, heard
    assert code in (1, 3)
    assert not list(tmp_path.rglob("out/**/.partial_*"))


def test_series_are_matched_by_name_within_and_across_subjects(npi_bids, tmp_path, weights):
    root = tmp_path / "xcp_d"
    describe(root)
    write_run(root, weights, "1")
    path = write_run(root, weights, "2")
    code, said, problems = npi_bids(root, tmp_path / "before", "participant", *VAR)
    assert code == 0, said + problems
    table = pd.read_table(path)
    table[["RH_C", "LH_B", "RH_D", "LH_A"]].to_csv(path, sep="\t", na_rep="n/a", index=False)
    code, said, problems = npi_bids(root, tmp_path / "after", "participant", *VAR)
    assert code == 0, said + problems
    for subject in "12":
        pattern = f"sub-{subject}/func/*meas-npi_*relmat.tsv"
        before, after = (
            read_matrix(next((tmp_path / name).glob(pattern))) for name in ("before", "after")
        )
        assert after.labels == NAMES
        np.testing.assert_array_equal(after.matrix, before.matrix)


def test_one_of_several_parcellations_is_chosen_by_its_name(npi_bids, xcp, tmp_path):
    """The names are those of the program that extracted the series."""
    for subject in "12":
        path = _series(xcp, subject)
        for old in (path, path.with_suffix(".json")):
            old.with_name(old.name.replace("4S4", "4S5")).write_bytes(old.read_bytes())
    code, out, err = npi_bids(xcp, tmp_path / "out", "participant", *VAR, "--atlas", "4S5Parcels")
    assert code == 0, out + err
    names = {path.name for path in (tmp_path / "out").rglob("*meas-npi_*relmat.tsv")}
    assert len(names) == 2
    assert all("_atlas-4S5Parcels_" in name for name in names)


def test_an_atlas_that_the_series_do_not_have_is_named(npi_bids, xcp, tmp_path):
    code, _, problems = npi_bids(xcp, tmp_path / "out", "participant", *VAR, "--atlas", "AAL")
    assert code == 3
    assert "no series of that parcellation; found atlas-4S4Parcels" in problems


def test_numbered_columns_take_their_names_from_the_atlas(npi_bids, tmp_path, weights):
    root = tmp_path / "giga_connectome"
    describe(root, "giga_connectome")
    path = write_run(root, weights, "1", names=("1", "2", "3", "4"))
    path.with_suffix(".json").write_text("{}")
    (root / "atlas-4S4Parcels_dseg.tsv").write_text("index\tname\n1\tA\n2\tB\n3\tC\n4\tD\n")
    code, said, problems = npi_bids(
        root, tmp_path / "out", "participant", *VAR, "--input-type", "timeseries",
        "--repetition-time", "2",
    )  # fmt: skip
    assert code == 0, said + problems
    assert read_matrix(next((tmp_path / "out").rglob("*npi_*relmat.tsv"))).labels == tuple("ABCD")


def write_grey(root, weights, subject):
    """Write greyordinates and both hemispheres of one run of the known system, and an atlas."""
    func = root / f"sub-{subject}" / "func"
    func.mkdir(parents=True)
    run = var_run(weights, 260, int(subject)).data
    rng = np.random.default_rng(int(subject))
    data = np.repeat(run, 5, axis=1) + 0.1 * rng.standard_normal((260, 20))
    models = axis(left=range(10), right=range(10), voxels=())
    stem = func / f"sub-{subject}_task-rest"
    write_series(f"{stem}_space-fsLR_den-91k_bold.dtseries.nii", models, data)
    for side, half in (("L", data[:, :10]), ("R", data[:, 10:])):
        padded = np.pad(half, ((0, 0), (0, N_VERTICES - 10)))
        write_gifti(f"{stem}_hemi-{side}_space-fsaverage5_bold.func.gii", padded)
    confounds = pd.DataFrame({"trans_x": rng.standard_normal(260)})
    confounds.to_csv(f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)


@pytest.fixture
def grey(tmp_path, weights):
    root = tmp_path / "fmriprep"
    describe(root, "fMRIPrep")
    write_grey(root, weights, "1")
    values = np.repeat([1, 2, 3, 4], 5)
    models = axis(left=range(10), right=range(10), voxels=())
    write_labels(root.parent / "Parcels.dlabel.nii", models, values, dict(enumerate("ABCD", 1)))
    for side, half in (("lh", [1] * 5 + [2] * 5), ("rh", [3] * 5 + [4] * 5)):
        path = root.parent / f"Pair_fsaverage5_{side}.label.gii"
        write_gifti(path, [half + [0] * (N_VERTICES - 10)], dict(enumerate("ABCD", 1)))
    return root


@pytest.mark.parametrize(
    ("atlas", "space", "source"),
    [
        ("Parcels.dlabel.nii", "space-fsLR_atlas-Parcels_den-91k", "bold.dtseries.nii"),
        ("Pair_fsaverage5_lh.label.gii", "space-fsaverage5_atlas-Pairfsaverage5", "bold.func.gii"),
    ],
)
def test_surfaces_are_mapped_with_an_atlas_of_theirs(
    npi_bids, grey, tmp_path, atlas, space, source
):
    code, said, problems = npi_bids(
        grey, tmp_path / "out", "participant", *VAR, "--atlas", tmp_path / atlas,
        "--denoise", "none",
    )  # fmt: skip
    assert code == 0, said + problems
    path = tmp_path / f"out/sub-1/func/sub-1_task-rest_{space}_meas-npi_desc-none_relmat.tsv"
    ec = read_matrix(path)
    assert ec.labels == tuple("ABCD")
    assert ec.matrix[0, 1] > 0.2 > abs(ec.matrix[1, 0])
    about = json.loads(path.with_name(path.name.replace("_meas-npi", "").replace(
        "relmat.tsv", "timeseries.json")).read_text())  # fmt: skip
    assert about["Sources"][0].endswith(source)
    assert len(about["Sources"]) == (3 if "gii" in source else 2)
    (drawn,) = (tmp_path / "out" / "derivatives" / "maps").rglob("*Strength_boldmap.pscalar.nii")
    strength = nib.load(drawn)
    assert strength.header.get_axis(1).name.tolist() == list("ABCD")
    np.testing.assert_allclose(strength.get_fdata()[0], ec.matrix.sum(axis=1), rtol=1e-5)
    words = (path, "--to", "pconn", "dscalar", "gifti", "-o", tmp_path / "exported")
    assert export.main([str(word) for word in words]) == 0
    assert len(list((tmp_path / "exported").iterdir())) == 4  # two hemispheres
    validate(tmp_path / "out")


def test_a_volume_atlas_does_not_fit_surfaces(npi_bids, grey, tiny, tmp_path):
    code, _, problems = npi_bids(
        grey, tmp_path / "out", "participant", *VAR, "--atlas", tiny.atlas, "--denoise", "none"
    )
    assert code == 3
    assert "found 1 cifti, 1 gifti. Use --file-format cifti with a dlabel atlas" in problems


def test_greyordinates_with_a_volume_atlas_say_so(npi_bids, grey, tiny, tmp_path):
    code, _, problems = npi_bids(
        grey, tmp_path / "out", "participant", *VAR, "--atlas", tiny.atlas, "--denoise", "none",
        "--file-format", "cifti",
    )  # fmt: skip
    assert code == 3
    assert "is a volume, but the runs are cifti" in problems


def test_outputs_are_an_input_whose_cleaned_series_are_taken_once(npi_bids, tiny, tmp_path):
    words = (*VAR, "--min-time", "100")
    code, said, problems = npi_bids(
        tiny.root, tmp_path / "first", "participant", *words, "--atlas", tiny.atlas,
        "--participant-label", "01",
    )  # fmt: skip
    assert code == 0, said + problems
    code, said, problems = npi_bids(
        tmp_path / "first", tmp_path / "second", "participant", *words, "--input-type",
        "timeseries",
    )  # fmt: skip
    assert code == 0, said + problems
    (first,), (second,) = (
        list((tmp_path / name).glob("sub-01/func/*meas-npi_*relmat.tsv"))
        for name in ("first", "second")
    )
    np.testing.assert_allclose(read_matrix(second).matrix, read_matrix(first).matrix, atol=1e-6)
    sources = json.loads(second.with_suffix(".json").read_text())["Sources"]
    assert len(sources) == 2
    assert not any("Raw" in source for source in sources)


def test_what_is_left_out_has_a_row_in_the_table_and_stops_nothing(npi_bids, xcp, tmp_path):
    (xcp / "sub-7" / "anat").mkdir(parents=True)
    filters = tmp_path / "filters.json"
    filters.write_text(json.dumps({"timeseries": {"subject": "1"}}))
    code, said, problems = npi_bids(
        xcp, tmp_path / "out", "participant", *VAR, "--bids-filter-file", filters
    )
    assert code == 0, said + problems
    rows = {line.split()[0]: line for line in said.splitlines() if line.startswith("sub-")}
    assert "done" in rows["sub-1"]
    assert "absent" in rows["sub-2"]
    assert "no run matches --bids-filter-file" in rows["sub-2"]
    assert "no preprocessed run" in rows["sub-7"]
    code, said, problems = npi_bids(
        xcp, tmp_path / "new", "participant", *VAR, "--bids-filter-file", filters, "--dry-run"
    )
    assert "sub-7: no preprocessed run" in said


def test_images_of_another_description_are_not_taken_for_results_that_exist(
    npi_bids, tiny, tmp_path
):
    data = tiny.copy(tmp_path)
    for path in list(data.root.rglob("*_desc-preproc_bold.*")):
        other = path.with_name(path.name.replace("desc-preproc", "desc-smoothAROMAnonaggr"))
        other.write_bytes(path.read_bytes())
    words = (*VAR, "--atlas", data.atlas, "--participant-label", "01", "--min-time", "100")
    code, said, problems = npi_bids(data.root, tmp_path / "out", "participant", *words)
    assert code == 0, said + problems
    filters = tmp_path / "filters.json"
    filters.write_text(json.dumps({"bold": {"desc": "smoothAROMAnonaggr"}}))
    words = (*words, "--bids-filter-file", filters)
    code, said, problems = npi_bids(data.root, tmp_path / "out", "participant", *words)
    assert code == 5, said + problems
    assert "smoothAROMAnonaggr" in problems
    code, said, problems = npi_bids(data.root, tmp_path / "aroma", "participant", *words)
    assert code == 0, said + problems
    sidecar = next((tmp_path / "aroma").glob("sub-01/func/*desc-simple_timeseries.json"))
    assert "desc-smoothAROMAnonaggr_bold" in json.loads(sidecar.read_text())["Sources"][0]
