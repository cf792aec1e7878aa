"""Assess a map: all files of a model, or why there are none."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from npi_bids.assessment.settings import AssessSettings
from npi_bids.bids.sidecars import ModelOutcome
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.interfaces.assess import AssessConnectivity
from npi_bids.interfaces.perturb import PerturbSurrogate
from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.io.files import read_json, write_json
from npi_bids.io.tables import read_matrix, read_series, read_table
from npi_bids.surrogates.base import TrainSettings


@pytest.fixture
def assess(subject, execute):
    """Train, perturb and assess through files; return files by kind, and the summary."""

    def through_files(train, perturb=None, **options):
        node = TrainSurrogate(train={"device": "cpu", **train}, **subject)
        outputs = execute(node, "train").get()
        trained = {name: path for name, path in outputs.items() if isdefined(path)}
        settings = {"perturb": perturb or {}, **trained, **subject}
        outputs = execute(PerturbSurrogate(**settings), "perturb").get()
        settings |= {name: path for name, path in outputs.items() if isdefined(path)}
        outputs = execute(AssessConnectivity(**settings, **options), "assess")
        paths = outputs.files if isdefined(outputs.files) else []
        paths = [paths] if isinstance(paths, str) else paths
        summary = ModelOutcome.read(Path(outputs.summary))
        return {Path(path).stem: Path(path) for path in paths}, summary

    return through_files


def test_the_map_on_disk_is_the_wiring_from_source_to_target(assess, weights):
    files, summary = assess({"surrogate": "var"})
    found = read_matrix(files["npi"])
    assert found.labels == tuple("ABCD")
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(found.matrix[off], weights[off], atol=0.1)
    assert found.matrix[0, 1] > 0.3 > abs(found.matrix[1, 0])
    assert summary.fit.verdict == "pass"
    assert {"training", "weights", "jacobian", "npiq"} <= set(files)


@pytest.mark.parametrize("surrogate", ["mou", "mlp"])
def test_quality_is_that_of_a_fit_in_one_go_to_the_last_bit(assess, subject, surrogate):
    train = {"surrogate": surrogate, "epochs": 2, "n_seeds": 2}
    _, summary = assess(train)
    series = read_series(Path(subject["series"][0]), 2.0)
    settings = TrainSettings(**train, device="cpu")
    whole = ec_of_runs(
        [series], train=settings, perturb=PerturbSettings(), assess=AssessSettings()
    )
    found, expected = asdict(summary.fit.quality), asdict(whole.quality)
    for name, value in expected.items():
        assert found[name] == value or (np.isnan(found[name]) and np.isnan(value)), name


def test_hazards_of_the_runs_and_responses_to_sets_are_passed_on(assess):
    files, summary = assess({"surrogate": "var"}, {"together": ("A+B",)})
    assert "Run 1: much motion" in summary.fit.hazards
    table = read_table(files["responses"], text=["sources"])
    assert list(table["sources"]) == ["A+B"]
    assert table["C"][0] < -0.3  # through B


def test_motion_and_coverage_of_the_runs_grade_the_data(assess, subject):
    path = Path(subject["summaries"][0])
    motion = {"n_samples": 1010, "n_dummy": 10, "n_censored": 300, "mean_fd": 0.6}
    write_json(path, {**read_json(path), **motion, "lowest_coverage": 0.4})
    _, summary = assess({"surrogate": "var"})
    quality, grades = summary.fit.quality, summary.fit.grades
    assert (quality.mean_fd, quality.censored_share) == (0.6, 0.3)  # without dummy scans
    assert (quality.covered_share, quality.lowest_coverage) == (1.0, 0.4)
    assert grades.data == "poor"
    assert "mean framewise displacement 0.60 mm" in grades.data_reasons[0]
    assert any("only 40% of its voxels" in reason for reason in grades.data_reasons)


def test_thresholds_decide_the_verdict(assess):
    _, summary = assess({"surrogate": "var"}, verdict={"min_skill": 0.9, "good_skill": 0.95})
    assert summary.fit.verdict == "fail"
    assert summary.fit.verdict_thresholds.min_skill == 0.9


def test_too_little_data_leaves_a_reason_and_no_files(assess):
    files, summary = assess({"surrogate": "var", "n_lags": 1300})
    assert files == {}
    assert summary.fit is None
    assert "consecutive uncensored samples" in summary.reason


def test_the_sidecar_names_the_map_of_delays(assess, tmp_path):
    path = tmp_path / "delays.tsv"
    path.write_text("name\tdelay\tveins\n" + "".join(f"{name}\t0\t1\n" for name in "ABCD"))
    _, summary = assess({"surrogate": "var"}, delay_map=str(path))
    known = summary.fit.delay_map
    assert (known.file, known.columns) == ("delays.tsv", ("delay", "veins"))
    assert len(known.digest) == 12
