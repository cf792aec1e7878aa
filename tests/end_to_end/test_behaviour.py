"""Reruns, conflicts, failures, and the same result however it is computed."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from npi_bids.bids.derivatives import find_statuses
from npi_bids.cli.participant import choose_exit_code
from npi_bids.io.tables import read_matrix
from npi_bids.parcellation.parcellation import label_image
from tests.conftest import make_tiny, tiny_parcellation, write_atlas
from tests.end_to_end.conftest import run_command, validate

# What the surrogate is does not matter to most behaviour, and this one is fitted at once.
VAR = ("--surrogate", "var")


@pytest.fixture
def data(tiny, tmp_path):
    """Return a copy of the tiny dataset that the test may damage."""
    return tiny.copy(tmp_path)


def relmats(out):
    return {path.relative_to(out): path.read_bytes() for path in out.glob("sub-*/func/*.tsv")}


def bold(data, sub="02", run="1"):
    return data.file(f"sub-{sub}/func/*run-{run}_*bold.nii.gz")


def confounds(data, sub="02", run="1"):
    return data.file(f"sub-{sub}/func/*run-{run}_*confounds_timeseries.tsv")


def test_same_result_by_one_process_and_in_any_order(tiny, results, npi_bids, tmp_path):
    code, *_ = npi_bids(tiny.root, "out", "participant", "--atlas", tiny.atlas,
                        "--fd-thresh", "0.5", "--participant-label", "03", "01", "02")  # fmt: skip
    assert code == 0
    assert relmats(tmp_path / "out") == relmats(results)


@pytest.mark.slow
def test_same_network_by_one_process_and_by_two(tiny, tmp_path):
    outputs = []
    for n_procs in ("1", "2"):
        out = tmp_path / n_procs
        done = run_command(
            tiny.root, out, "participant", "--atlas", tiny.atlas, "--surrogate", "mlp",
            "--epochs", "5", "--n-procs", n_procs, "-w", tmp_path / f"w{n_procs}",
            env={**os.environ, "PYTHONHASHSEED": n_procs},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outputs.append(relmats(out))
    assert outputs[0] == outputs[1]


def test_finished_units_are_skipped(tiny, npi_bids, tmp_path):
    words = (tiny.root, "out", "participant", "--atlas", tiny.atlas)
    assert npi_bids(*words, "--participant-label", "01")[0] == 0
    path = next((tmp_path / "out").glob("sub-01/func/*meas-npi_*.tsv"))
    before = path.stat().st_mtime_ns
    code, out, err = npi_bids(*words)
    assert code == 0
    assert path.stat().st_mtime_ns == before
    assert "complete" in out
    assert "Fitting 2 models" in err


def test_another_configuration_is_exit_5_and_overwrite_replaces(tiny, npi_bids, tmp_path):
    words = (tiny.root, "out", "participant", "--atlas", tiny.atlas)
    one = ("--participant-label", "01")
    assert npi_bids(*words, *one)[0] == 0
    before = relmats(tmp_path / "out")
    described = (tmp_path / "out" / "descriptions.tsv").read_text()
    code, _, err = npi_bids(*words, "--denoise", "24P")
    assert code == 5
    assert "holds results of another configuration" in err
    assert relmats(tmp_path / "out") == before
    assert (tmp_path / "out" / "descriptions.tsv").read_text() == described
    assert npi_bids(*words, *one, "--strength", "2", "--overwrite")[0] == 0
    name, content = next((n, c) for n, c in before.items() if "meas-npi" in n.name)
    assert (tmp_path / "out" / name).read_bytes() != content


def test_another_atlas_may_join(tiny, npi_bids, tmp_path):
    other = write_atlas(tmp_path, tiny_parcellation(), "atlas-Other_space-MNI152NLin6Asym_dseg")
    assert npi_bids(tiny.root, "out", "participant", "--atlas", tiny.atlas, *VAR)[0] == 0
    assert npi_bids(tiny.root, "out", "participant", "group", "--atlas", other, *VAR)[0] == 0
    groups = list((tmp_path / "out").glob("tpl-*/func/*meas-npi_*Groupmean*.tsv"))
    assert len(groups) == 2


def test_one_failure_harms_no_other(data, npi_bids, tmp_path):
    bold(data).write_bytes(b"no image")
    code, out, err = npi_bids(data.root, "out", "participant", "group", "--atlas", data.atlas)
    assert code == 1
    assert [f"[{n}/3]" in err for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert err.count("/3]") == 3
    assert "finished successfully" not in out
    statuses = {status.entities["sub"]: status for status in find_statuses(tmp_path / "out")}
    assert [statuses[sub].status for sub in ("01", "02", "03")] == ["done", "failed", "done"]
    assert "cannot be read as an image" in statuses["02"].reason
    assert (tmp_path / "out" / statuses["02"].crash).is_file()
    assert not list((tmp_path / "out").glob("sub-02/func/*relmat*"))
    page = (tmp_path / "out" / "sub-02.html").read_text()
    assert "failed" in page
    assert "cannot be read as an image" in page
    group = (tmp_path / "out" / "group.html").read_text()
    assert "cannot be read as an image" in group
    sidecar = next((tmp_path / "out").glob("tpl-*/func/*meas-npi_*Groupmean*.json"))
    assert json.loads(sidecar.read_text())["Subjects"] == ["01", "03"]
    validate(tmp_path / "out")


def no_label(data):
    return ["--participant-label", "09"]


def no_atlas_names(data):
    data.atlas.with_name(data.atlas.name.replace(".nii.gz", ".tsv")).unlink()
    return []


def raw_dataset(data):
    for path in data.root.rglob("*preproc_bold.nii.gz"):
        path.rename(path.with_name(path.name.split("_space")[0] + "_bold.nii.gz"))
    (data.root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return []


def everywhere(change):
    def damage(data):
        for sub in ("01", "02", "03"):
            for run in ("1", "2"):
                change(data, sub, run)
        return []

    damage.__name__ = change.__name__
    return damage


@everywhere
def missing_column(data, sub, run):
    path = confounds(data, sub, run)
    pd.read_table(path).drop(columns="csf").to_csv(path, sep="\t", index=False, na_rep="n/a")


@everywhere
def unreadable_image(data, sub, run):
    bold(data, sub, run).write_bytes(b"")


@everywhere
def dangling_link(data, sub, run):
    path = bold(data, sub, run)
    path.unlink()
    path.symlink_to("../../.git/annex/objects/MISSING")


def tr_of(value):
    @everywhere
    def tr(data, sub, run):
        path = bold(data, sub, run)
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        sidecar.write_text(json.dumps({"RepetitionTime": value}))

    tr.__name__ = f"tr_{value}"
    return tr


@everywhere
def no_confounds(data, sub, run):
    confounds(data, sub, run).unlink()


def all_censored(data):
    return ["--fd-thresh", "0.000001", "--min-time", "0"]


def too_short(data):
    shutil.rmtree(data.root)
    make_tiny(data.root.parent, n_samples=3)
    return ["--denoise", "none", "--lags", "3", "--min-time", "0"]


def below_min_time(data):
    return ["--min-time", "100000"]


@pytest.mark.parametrize(
    ("damage", "code", "message"),
    [
        (no_label, 3, "no such subject"),
        (no_atlas_names, 3, "no table of region names"),
        (raw_dataset, 3, "not a dataset of fMRIPrep derivatives"),
        (missing_column, 3, "lacks 1 column that the strategy 'simple' needs: csf"),
        (unreadable_image, 3, "cannot be read as an image"),
        (dangling_link, 3, "datalad get"),
        (tr_of(0), 3, "RepetitionTime 0"),
        (tr_of(2000), 3, "not milliseconds"),
        (tr_of(3.0), 3, "3 s in its sidecar but 2 s in its header"),
        (no_confounds, 3, "--denoise none to go without"),
        (all_censored, 4, "no uncensored sample in"),
        (too_short, 4, "lower the number of lags"),
        (below_min_time, 4, "--min-time requires 100000 s"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_input(data, npi_bids, tmp_path, damage, code, message):
    options = damage(data)
    words = ["--atlas", data.atlas, *options]
    found, out, err = npi_bids(data.root, "out", "participant", *words)
    assert found == code
    assert message in " ".join((out + err).split())
    assert "Traceback" not in err
    assert "finished successfully" not in out
    assert not list((tmp_path / "out").rglob("*relmat*"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--strength", "0", "--lags", "x"], 2, "--lags must be a whole number"),
        (["--atlas", "Nowhere"], 2, "no atlas of that name"),
        (["--mem", "16"], 2, "16G"),
        (["-d", "nothing"], 2, "NAME=PATH"),
    ],
)
def test_bad_options(tiny, npi_bids, words, code, message):
    found, _, err = npi_bids(tiny.root, "out", "participant", *words)
    assert found == code
    assert message in err


def test_output_into_the_input_is_refused(data, npi_bids):
    before = sorted(data.root.rglob("*"))
    code, _, err = npi_bids(data.root, data.root, "participant", "--atlas", data.atlas)
    assert code == 2
    assert "is the input dataset" in err
    assert sorted(data.root.rglob("*")) == before


def test_group_alone_reads_only_the_output(results, npi_bids, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    for path in out.glob("tpl-*/func/*"):
        path.unlink()
    assert npi_bids("nowhere", out, "group")[0] == 0
    one, other = (next(root.glob("tpl-*/func/*npi*Groupmean*.tsv")) for root in (results, out))
    np.testing.assert_array_equal(read_matrix(one).matrix, read_matrix(other).matrix)


def test_group_without_participants_says_so(npi_bids, tmp_path):
    (tmp_path / "out").mkdir()
    code, _, err = npi_bids("nowhere", "out", "group")
    assert code == 3
    assert "run the participant level first" in err


def test_group_of_mixed_settings_is_refused(results, npi_bids, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    path = next(out.glob("sub-02/func/*meas-npi_*.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "ConfigurationHash": "other"}))
    code, _, err = npi_bids("nowhere", out, "group")
    assert code == 5
    assert "other: sub-02" in err


def test_a_report_that_fails_is_exit_6(results, npi_bids, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    next(out.glob("sub-02/func/*Coverage_dseg.tsv")).unlink()
    code, stdout, _err = npi_bids("nowhere", out, "group", "--reports-only")
    assert code == 6
    assert "the results are complete" in stdout


def test_an_out_dir_that_cannot_be_made_is_one_line(tiny, npi_bids, tmp_path):
    (tmp_path / "file").write_text("")
    words = (tiny.root, tmp_path / "file" / "out", "participant", "--atlas", tiny.atlas)
    code, _, err = npi_bids(*words)
    assert code == 2
    assert "Traceback" not in err
    assert f"<{tmp_path / 'file'}> is no folder" in err


def test_paths_with_spaces_and_umlauts(tiny, tmp_path):
    folder = tmp_path / "größe und tsv & co"
    folder.mkdir()
    data = tiny.copy(folder)
    done = run_command(
        data.root, folder / "out dir", "participant", "--atlas", data.atlas, "--n-procs", "1",
        "-w", folder / "my work", "--participant-label", "01", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "out dir").glob("sub-01/func/*meas-npi_*.tsv"))) == 1


def test_an_interrupted_run_is_exit_130(tiny, npi_bids, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("npi_bids.cli.participant.run_workflow", interrupt)
    code, out, err = npi_bids(tiny.root, "out", "participant", "--atlas", tiny.atlas)
    assert code == 130
    assert "run the same command again to go on" in err
    assert "finished" not in out


def test_dry_run_tells_which_image_cannot_be_read(tiny, npi_bids, tmp_path):
    data = tiny.copy(tmp_path)
    data.file("sub-02/func/*bold.nii.gz").write_bytes(b"no image")
    code, out, _ = npi_bids(data.root, "out", "participant", "--atlas", data.atlas, "--dry-run")
    assert code == 0
    assert out.count("will fail: ") == 1
    assert "bold.nii.gz> cannot be read as an image" in out


def test_dry_run_writes_nothing(tiny, npi_bids, tmp_path):
    code, out, _ = npi_bids(tiny.root, "out", "participant", "--atlas", tiny.atlas, "--dry-run")
    assert code == 0
    assert "3 models to fit" in out
    text = r"\(2 runs, 520 samples, 512 windows, 5 regions, 25 weights, up to 0\.\d GB, about"
    assert re.search(text, out)
    assert "reports included" in out
    assert "Denoising simple; surrogate hybrid, 4 lags" in out
    assert not (tmp_path / "out").exists()


def test_input_is_left_alone(data, npi_bids):
    before = {p: p.stat().st_mtime_ns for p in data.root.rglob("*")}
    assert npi_bids(data.root, "out", "participant", "--atlas", data.atlas)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in data.root.rglob("*")} == before


def test_forgotten_seed_would_show(tiny, npi_bids, tmp_path):
    words = ("participant", "--atlas", tiny.atlas, "--surrogate", "mlp", "--epochs", "2",
             "--participant-label", "01")  # fmt: skip
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert npi_bids(tiny.root, name, *words, "--random-seed", seed)[0] == 0
    a, b, c = (relmats(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


def test_sessions_are_pooled_or_kept_apart(tmp_path, npi_bids):
    data = make_tiny(tmp_path, n_subjects=1)
    for path in list((data.root / "sub-01" / "func").iterdir()):
        for ses in ("a", "b"):
            target = data.root / "sub-01" / f"ses-{ses}" / "func"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / path.name.replace("sub-01", f"sub-01_ses-{ses}"))
    shutil.rmtree(data.root / "sub-01" / "func")
    for combine, n_models in (("none", 4), ("runs", 2), ("sessions", 1)):
        code, *_ = npi_bids(data.root, combine, "participant", "--atlas", data.atlas,
                            "--combine", combine, *VAR)  # fmt: skip
        assert code == 0
        assert len(list((tmp_path / combine).rglob("*meas-npi_*.tsv"))) == n_models
    validate(tmp_path / "runs")


def test_group_page_tells_who_is_in_model_by_model(tiny, npi_bids, tmp_path):
    """A subject that is in with one atlas is not in with another that it alone has."""
    other = write_atlas(tmp_path, tiny_parcellation(), "atlas-Other_space-MNI152NLin6Asym_dseg")
    words = (tiny.root, "out", "participant")
    assert npi_bids(*words, *VAR, "--atlas", tiny.atlas)[0] == 0
    one = ("--participant-label", "01", *VAR)
    assert npi_bids(*words, "group", "--atlas", other, *one)[0] == 0
    page = (tmp_path / "out" / "group.html").read_text()
    rows = [row for row in page.split("<tr>") if '<th scope="row"><a href=' in row]
    inside = {("Other" in row): "<td>yes</td>" in row for row in rows if "sub-01" in row}
    assert inside == {True: False, False: True}


def test_individual_space_is_warned_of_and_valid(data, npi_bids, tmp_path):
    for path in list(data.root.rglob("*space-MNI*")):
        path.rename(path.with_name(path.name.replace("space-MNI152NLin6Asym_res-4", "space-T1w")))
    code, _, err = npi_bids(data.root, "out", "participant", "group", "--atlas", data.atlas, *VAR)
    assert code == 0
    assert "images are in T1w" in err
    validate(tmp_path / "out")


def test_participants_table_is_copied_and_described(data, npi_bids, tmp_path):
    (data.root / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")
    code, *_ = npi_bids(data.root, "out", "participant", "--atlas", data.atlas,
                        "--participant-label", "01")  # fmt: skip
    assert code == 0
    described = json.loads((tmp_path / "out" / "participants.json").read_text())
    assert set(described) == {"Description", "participant_id", "age"}
    validate(tmp_path / "out")


@pytest.mark.parametrize(
    ("fates", "code"),
    [
        (["done", "done"], 0),
        (["done", "excluded"], 0),
        (["excluded"], 4),
        (["failed:InputDataError", "done"], 1),
        (["failed:InputDataError", "excluded"], 3),
        (["failed:InputDataError", "failed:KeyError"], 1),
    ],
)
def test_exit_code_follows_the_fate_of_all(fates, code):
    from npi_bids.bids.derivatives import UnitStatus

    statuses = []
    for number, fate in enumerate(fates):
        status, _, error = fate.partition(":")
        statuses.append(UnitStatus({"sub": str(number)}, "x", status, "c", error=error))
    assert choose_exit_code(statuses) == code


def test_image_is_float32_and_never_resampled(tiny, npi_bids, tmp_path):
    """The atlas comes to the grid of the images: it is the only image outside of the maps."""
    assert npi_bids(tiny.root, "out", "participant", "--atlas", tiny.atlas, *VAR)[0] == 0
    images = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.nii.gz")]
    outside = [path for path in images if path.parts[:2] != ("derivatives", "maps")]
    assert [path.parts[0] for path in outside] == ["tpl-MNI152NLin6Asym"]
    assert nib.load(tmp_path / "out" / outside[0]).shape == (9, 9, 9)


def test_texts_alone_are_written_again(results, npi_bids, tmp_path, tiny):
    shutil.copytree(results, tmp_path / "out")
    pages = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.html")}
    text = tmp_path / "out" / "logs" / "CITATION.md"
    content = text.read_text()
    text.unlink()
    for path in pages:
        path.write_text("old")
    code, *_ = npi_bids(tiny.root, "out", "participant", "group", "--boilerplate-only")
    assert code == 0
    assert text.read_text() == content
    assert all(path.read_text() == "old" for path in pages)


def test_graph_of_the_workflow_is_written(tiny, npi_bids, tmp_path):
    words = (tiny.root, "out", "participant", "--atlas", tiny.atlas, "--participant-label", "01")
    assert npi_bids(*words, "--write-graph", *VAR)[0] == 0
    (graph,) = (tmp_path / "out").rglob("workflow.dot")
    for name in ("train_surrogate", "assess_connectivity", "save_model", "parcellate"):
        assert name in graph.read_text()


def test_stopping_at_the_first_crash_leaves_the_others_for_a_rerun(data, npi_bids, tmp_path):
    bold(data, "01").write_bytes(b"no image")
    words = (data.root, "out", "participant", "--atlas", data.atlas, *VAR)
    code, out, _ = npi_bids(*words, "--stop-on-first-crash")
    assert code == 1
    statuses = {s.entities["sub"]: s for s in find_statuses(tmp_path / "out")}
    assert statuses["01"].status == "failed"
    stopped = [s for sub, s in statuses.items() if sub != "01" and s.status == "failed"]
    assert all("--stop-on-first-crash" in s.reason for s in stopped)
    assert stopped, out
    code, *_ = npi_bids(*words)
    found = [s.status for s in find_statuses(tmp_path / "out")]
    assert found == ["failed", "done", "done"]


def test_runs_and_threads_and_quiet(npi_bids, tiny, tmp_path):
    """Flags that only a whole run shows."""
    words = ("participant", "--atlas", tiny.atlas, "--participant-label", "01", "--surrogate",
             "var", "--run-id", "2", "--task-id", "rest", "--null", "99", "--omp-nthreads", "2",
             "--quiet")  # fmt: skip
    code, out, err = npi_bids(tiny.root, "out", *words)
    assert code == 0, out + err
    assert not err.strip()
    about = json.loads(next((tmp_path / "out").glob("sub-01/func/*npi_*relmat.json")).read_text())
    assert len(about["Sources"]) == 1
    assert "run-2" in about["Sources"][0]
    assert about["Quality"]["DirectionP"] >= 0.01  # one in a hundred is the least
    code, out, err = npi_bids(
        tiny.root, "other", "participant", "--atlas", tiny.atlas, "--participant-label", "01",
        "--run-id", "9",
    )  # fmt: skip
    assert code == 3
    assert "--run-id 9: no run matches; found run: 1, 2" in err


def test_sets_of_regions_are_perturbed_at_once(npi_bids, tiny, tmp_path):
    words = ("participant", "--atlas", tiny.atlas, "--participant-label", "01", *VAR)
    code, out, err = npi_bids(tiny.root, "out", *words, "--together", "A+B", "A+E")
    assert code == 0, out + err
    folder = tmp_path / "out" / "derivatives" / "surrogates" / "sub-01" / "func"
    table = pd.read_table(next(folder.glob("*_responses.tsv")), na_values="n/a")
    assert list(table["sources"]) == ["A+B", "A+E"]
    ec = read_matrix(next((tmp_path / "out").glob("sub-01/func/*meas-npi_*relmat.tsv"))).matrix
    assert table["C"][0] == pytest.approx(ec[0, 2] + ec[1, 2], abs=1e-6)
    assert table.loc[1].drop("sources").isna().all()  # region E is never covered
    validate(tmp_path / "out")
    code, out, err = npi_bids(tiny.root, "other", *words, "--together", "A+Nowhere")
    assert code == 3
    assert "the atlas has no region Nowhere" in " ".join((out + err).split())


def test_many_models_are_run_some_at_a_time(npi_bids, tiny, tmp_path, monkeypatch):
    words = ("participant", "--atlas", tiny.atlas, *VAR)
    assert npi_bids(tiny.root, "whole", *words)[0] == 0
    monkeypatch.setattr("npi_bids.cli.participant.BATCH_SIZE", 2)
    code, out, err = npi_bids(tiny.root, "parts", *words)
    assert code == 0, out + err
    assert [f"[{n}/3]" in err for n in (1, 2, 3)] == [True] * 3
    assert relmats(tmp_path / "parts") == relmats(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_is_read_once_for_all_atlases_with_the_maps_of_each_alone(npi_bids, tiny, tmp_path):
    """One of three atlases lies elsewhere, which stops its own models alone."""
    (tmp_path / "b").mkdir()
    far_image = tiny_parcellation().image
    affine = far_image.affine.copy()
    affine[2, 3] += 1000
    far = replace(tiny_parcellation(), image=label_image(far_image.dataobj, affine))
    name = "atlas-{}_space-MNI152NLin6Asym_dseg"
    other = write_atlas(tmp_path / "b", tiny_parcellation(5), name.format("Other"))
    elsewhere = write_atlas(tmp_path / "b", far, name.format("Far"))
    words = ("participant", "--participant-label", "01", *VAR, "--atlas")
    code, out, err = npi_bids(tiny.root, "together", *words, tiny.atlas, other, elsewhere)
    assert code == 1, out + err
    assert "holds signal in no region of the atlas Far" in " ".join(out.split())
    assert len(list((tmp_path / "work").rglob("reading_3.npz"))) == 2  # one per run
    assert not list((tmp_path / "work").rglob("parcellate"))
    for atlas in (tiny.atlas, other):
        assert npi_bids(tiny.root, "alone", *words, atlas)[0] == 0
    alone, together = relmats(tmp_path / "alone"), relmats(tmp_path / "together")
    assert len(together) > 1
    assert together == alone


@pytest.mark.slow
def test_a_run_with_nothing_to_do_loads_and_writes_nothing(npi_bids, tiny, tmp_path):
    words = ("participant", "--participant-label", "01", *VAR, "--atlas", tiny.atlas)
    assert npi_bids(tiny.root, "out", *words)[0] == 0
    before = states(tmp_path / "out")
    code = (
        "import sys\nfrom npi_bids.cli.run import main\n"
        f"words = {[str(w) for w in (tiny.root, 'out', *words, '-w', 'work')]!r}\n"
        "sys.argv[1:] = words\n"
        "assert main() == 0\n"
        "heavy = {'torch', 'nilearn', 'nipype', 'matplotlib', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    for last in (False, True):  # the first one has another command to show
        done = subprocess.run(
            [sys.executable, "-c", code if last else code.partition("heavy")[0]],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if last:
            assert states(tmp_path / "out") == before
            assert "1 page would show the same as before" in done.stderr
        before = states(tmp_path / "out")
    page = tmp_path / "out" / "sub-01.html"
    page.unlink()
    assert npi_bids(tiny.root, "out", *words)[0] == 0
    assert page.is_file()


def states(out):
    """Return size and time of all files but those of single runs."""
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix != ".log")
    return {
        path.relative_to(out): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
        if path.name not in ("settings.toml", "configuration.json")
    }


@pytest.mark.slow
def test_a_model_that_failed_is_tried_again_on_request_or_when_its_input_changes(
    data, npi_bids, tmp_path
):
    path = bold(data, "01")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    words = (data.root, "out", "participant", "--participant-label", "01", *VAR,
             "--atlas", data.atlas)  # fmt: skip

    def n_crashes():
        return len(list((tmp_path / "out" / "logs").glob("*/crash-*.txt")))

    assert npi_bids(*words)[0] == 3
    n_first = n_crashes()
    assert n_first > 0
    code, out, _ = npi_bids(*words)
    assert code == 3
    assert "cannot be read as an image" in " ".join(out.split())
    assert "--retry-failed tries it" in " ".join(out.split())
    assert n_crashes() == n_first
    assert npi_bids(*words, "--retry-failed")[0] == 3
    assert n_crashes() > n_first
    path.write_bytes(content)
    assert npi_bids(*words)[0] == 0
