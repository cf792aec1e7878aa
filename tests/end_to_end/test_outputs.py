"""What both levels write, on a dataset whose wiring is known."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from npi_bids.bids.derivatives import find_models, find_statuses
from npi_bids.io.tables import read_matrix, read_series
from npi_bids.matrices import pearson
from npi_bids.surrogates.storage import read_tensors
from tests.end_to_end.conftest import validate

EXPECTED = Path(__file__).parent / "expected"


def listing(root):
    paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return sorted(
        "/".join("<run id>" if len(p) == 24 and p[8] == "-" else p for p in path.parts)
        for path in paths
    )


def test_files_are_those_expected(results):
    assert listing(results) == (EXPECTED / "tiny.txt").read_text().splitlines()


@pytest.mark.slow
def test_dataset_is_valid_bids(results):
    validate(results)


def test_every_source_and_node_file_exists(results, tiny):
    links = json.loads((results / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"preprocessed": tiny.root.resolve().as_uri()}
    roots = {"": results, "preprocessed": tiny.root}
    sidecars = [*results.glob("sub-*/func/*.json"), *results.glob("tpl-*/func/*.json")]
    assert len(sidecars) > 30
    for path in sidecars:
        content = json.loads(path.read_text())
        assert content["NodeFiles"]
        assert content["Sources"]
        for uri in content["NodeFiles"] + content["Sources"]:
            _, link, relative = uri.split(":", 2)
            assert (roots[link] / relative).is_file(), f"{path}: {uri}"


@pytest.mark.parametrize("sub", ["01", "02", "03"])
def test_rows_are_sources(results, tiny, sub):
    found = read_matrix(next(results.glob(f"sub-{sub}/func/*meas-npi_*.tsv")))
    assert found.labels == ("A", "B", "C", "D", "E")
    inside = found.matrix[:4, :4]
    assert pearson(inside, tiny.weights) > 0.9
    assert pearson(inside.T, tiny.weights) < 0.3
    assert inside[0, 1] > 0.25 > abs(inside[1, 0])
    assert inside[1, 2] < -0.2 < inside[2, 1]


def test_uncovered_region_is_na_everywhere_and_never_zero(results):
    for path in results.glob("sub-*/func/*_relmat.tsv"):
        if "_meas-npinetworks_" in path.name:
            continue
        matrix = read_matrix(path).matrix
        assert np.isnan(matrix[4]).all()
        assert np.isnan(matrix[:, 4]).all()
        assert np.isfinite(matrix[:4, :4][~np.eye(4, dtype=bool)]).all()
    for path in results.glob("tpl-*/func/*Groupmean_relmat.tsv"):
        assert np.isnan(read_matrix(path).matrix[4]).all()
    series = read_series(next(results.glob("sub-01/func/*desc-simple_timeseries.tsv")), 2.0)
    np.testing.assert_array_equal(series.covered, [True] * 4 + [False])


def test_censored_samples_agree_in_all_tables(results):
    path = next(results.glob("sub-01/func/*run-1*desc-simple_timeseries.tsv"))
    keep = read_series(path, 2.0).keep
    outliers = pd.read_table(str(path).replace("desc-simple_", "desc-simpleOutliers_"))
    np.testing.assert_array_equal(outliers["left_out"], ~keep)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["SamplesKept"] == keep.sum() < sidecar["NumberOfSamples"] == 260
    assert sidecar["SamplingFrequency"] == 0.5
    design = pd.read_table(str(path).replace("desc-simple_", "desc-simpleDesign_"))
    assert list(design.columns[1:]) == sidecar["Regressors"]
    assert len(design.columns) == 1 + 24 + 2 + 8
    raw = pd.read_table(str(path).replace("desc-simple_", "desc-simpleRaw_"), na_values="n/a")
    assert list(raw.columns) == list("ABCDE")
    assert raw["E"].isna().all()  # not covered
    assert raw[list("ABCD")].notna().all().all()  # censored samples included
    np.testing.assert_allclose(raw[list("ABCD")].std(ddof=0), 1, atol=0.01)


def test_windows_do_not_cross_gaps_or_runs(results):
    model = next(find_models(results, "01"))
    sidecar = model.sidecar
    n_lags = sidecar.fit.training["n_lags"]
    expected = []
    for uri in sidecar.links.sources:
        keep = read_series(results / uri.removeprefix("bids::"), 2.0).keep
        expected.append(int(sliding_window_view(keep, n_lags + 1).all(axis=1).sum()))
    assert sidecar.fit.windows_per_run == tuple(expected)
    assert len(expected) == 2


def test_entries_lie_within_the_bounds_that_their_sidecars_state(results):
    stated = set()
    for path in results.rglob("*_relmat.tsv"):
        sidecar = json.loads(path.with_suffix(".json").read_text())
        values = read_matrix(path).matrix
        values = values[np.isfinite(values)]
        low, high = sidecar.get("Minimum", -np.inf), sidecar.get("Maximum", np.inf)
        assert sidecar["NonNegative"] == (low >= 0)
        assert (values >= low - 1e-9).all(), path
        assert (values <= high + 1e-9).all(), path
        stated.add((low, high))
    assert len(stated) > 3


def test_every_value_of_desc_is_described_and_no_other(results):
    table = pd.read_table(results / "descriptions.tsv")
    names = [
        path.name for path in results.rglob("*_desc-*") if not {"figures", "logs"} & {*path.parts}
    ]
    used = {f"desc-{name.split('_desc-')[1].split('_')[0]}" for name in names}
    assert set(table["desc_id"]) == used
    assert "desc-simpleGroupmotion" not in used  # motion of three subjects says nothing
    for text in table["description"]:
        assert text[0].isupper() or text[0].isdigit() or text.startswith(("t ", "p "))
        assert text.endswith("framewise displacement up to 0.5 mm.")


def test_sidecar_of_the_map_says_everything(results):
    path = next(find_models(results, "01")).path("npi").with_suffix(".json")
    sidecar = json.loads(path.read_text())
    assert (sidecar["Directed"], sidecar["ValidDiagonal"], sidecar["StorageFormat"]) == (
        True, False, "Full",
    )  # fmt: skip
    assert sidecar["Perturbation"] == {
        "Strength": 1.0, "Unit": "standard deviations of the source", "Sign": "positive",
        "Kind": "single", "Sustained": False, "Together": [], "StepsAhead": 1, "LagSeconds": 2.0,
    }  # fmt: skip
    assert sidecar["Surrogate"] == "hybrid"
    assert sidecar["Training"]["NLags"] == 4
    assert {"LinearIsVar", "PrecisionSymmetric", "ResidualGain"} <= set(sidecar["Training"])
    assert sidecar["Verdict"] in ("pass", "caution", "fail")
    assert bool(sidecar["VerdictReasons"]) == (sidecar["Verdict"] != "pass")
    assert sidecar["DirectionSupported"] is sidecar["Quality"]["DirectionSupported"]
    assert sidecar["VerdictThresholds"]["DirectionP"] == 0.01
    assert sidecar["Uncertainty"] == {"Method": "posterior", "Resamples": 0}
    assert sidecar["Quality"]["R2"] > sidecar["Quality"]["R2OwnHistory"]
    assert {"numpy", "torch", "npi-bids"} <= set(sidecar["SoftwareVersions"])
    assert sidecar["RegionsInModel"] == 4


def test_fitted_surrogate_can_be_read_back(results):
    model = next(find_models(results, "01"))
    tensors = read_tensors(model.path("weights"))
    matrix = read_matrix(model.path("jacobian")).matrix[:4, :4]
    np.testing.assert_allclose(tensors["weights"][-1], matrix, rtol=1e-6)
    assert json.loads(model.path("weights").with_suffix(".json").read_text())["Labels"][0] == "A"


def test_group_is_the_mean_of_its_subjects(results):
    maps = [
        read_matrix(path).matrix for path in sorted(results.glob("sub-*/func/*meas-npi_*.tsv"))
    ]
    name = "tpl-MNI152NLin6Asym/func/tpl-MNI152NLin6Asym_task-rest_atlas-Tiny_res-4"
    group = {
        kind: read_matrix(results / f"{name}_meas-npi_desc-simple{kind}_relmat.tsv").matrix
        for kind in ("Groupmean", "Groupsd", "Groupn", "Groupmax")
    }
    np.testing.assert_allclose(group["Groupmean"], np.mean(maps, axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        group["Groupsd"], np.std(maps, axis=0, ddof=1), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_array_equal(group["Groupn"][:4, :4], 3)
    assert np.nanmax(np.abs(group["Groupmax"])) == 1
    sidecar = json.loads(
        (results / f"{name}_meas-npi_desc-simpleGroupmean_relmat.json").read_text()
    )
    assert sidecar["Subjects"] == ["01", "02", "03"]


def test_quality_table_has_a_row_per_model(results):
    table = pd.read_table(results / "logs" / "quality.tsv")
    described = json.loads((results / "logs" / "quality.json").read_text())
    assert set(table.columns) == set(described) - {"Description"}
    assert list(table["participant_id"]) == ["sub-01", "sub-02", "sub-03"]
    assert (table["r2"] > table["r2_own_history"]).all()
    assert (table["mean_fd"] > 0).all()


def test_run_leaves_its_settings_as_toml(results, tiny):
    path = next(results.glob("logs/*/settings.toml"))
    content = tomllib.loads(path.read_text())
    assert content["analysis"]["denoise"]["fd_thresh"] == 0.5
    assert content["bids_dir"] == str(tiny.root)
    assert content["npi_bids"]["configuration"] == find_statuses(results)[0].configuration


def test_methods_text_says_what_was_done(results):
    text = (results / "logs" / "CITATION.md").read_text()
    for words in ("A separate model was fitted to the data of each of three participants ",
                  "(two runs each, pooled).",
                  "0.5 mm were censored", "34 regressors", "Ornstein-Uhlenbeck",
                  "Direction was supported", "(TR 2 s)", "by 1 standard deviation;",
                  "Tiny"):  # fmt: skip
        assert words in text, words
    cited = set(re.findall(r"@([A-Za-z]+\d{4})", text))
    references = (results / "logs" / "CITATION.bib").read_text()
    assert set(re.findall(r"@\w+\{(\w+),", references)) == cited


def test_reports_stand_alone(results):
    for name in ("sub-01.html", "sub-02.html", "group.html"):
        text = (results / name).read_text()
        assert "<svg" in text
        for outside in ('src="http', "<link", "@import", "url(http"):
            assert outside not in text
    assert "sub-03" in (results / "group.html").read_text()
    figures = {path.name.rsplit("_", 1)[1] for path in (results / "sub-01/figures").iterdir()}
    assert {"ec.svg", "fc.svg", "modelfc.svg", "coverage.svg", "carpet.svg"} <= figures


def test_report_names_the_regions_that_are_not_covered(results):
    assert (
        "1 region is not covered in every run and thus n/a: E."
        in (results / "sub-01.html").read_text()
    )


def test_terminal_tells_the_end(results):
    text = (results.parent / "stdout.txt").read_text()
    assert "npi-bids finished successfully." in text
    assert "participant" in text
