"""A study of two groups, from series to findings, by the real command."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from npi_bids.io.tables import read_matrix, write_matrix
from npi_bids.records import ECResult
from tests.conftest import var_run
from tests.end_to_end.conftest import validate

LABELS = ("LH_Vis_1", "LH_Vis_2", "LH_Default_1", "RH_Vis_1", "RH_Vis_2", "RH_Default_1")
PLANTED = ((0, 1), (1, 2), (0, 4))
N_SUBJECTS, N_SAMPLES = 16, 240


def write_study(folder, sessions=("",)):
    """Write series of two groups; patients have a network of three directed edges more."""
    rng = np.random.default_rng(0)
    shared = 0.4 * np.eye(6)
    shared[3, 0], shared[5, 2] = 0.3, -0.3
    rows = []
    for number in range(N_SUBJECTS):
        patient, sub = number % 2 == 1, f"{number + 1:02d}"
        rows.append({
            "participant_id": f"sub-{sub}", "group": "patient" if patient else "control",
            "age": round(20 + 40 * rng.random(), 1), "site": "ab"[number // 2 % 2],
        })  # fmt: skip
        for place, session in enumerate(sessions):
            weights = shared.copy()
            if patient and (len(sessions) == 1 or place):
                weights[tuple(np.array(PLANTED).T)] = 0.35
            run = var_run(weights, N_SAMPLES, seed=10 * number + place, labels=LABELS)
            parts = [f"sub-{sub}", *([f"ses-{session}"] if session else [])]
            func = folder.joinpath(*parts, "func")
            func.mkdir(parents=True)
            stem = "_".join([*parts, "task-rest_atlas-Six"])
            pd.DataFrame(run.data, columns=LABELS).to_csv(
                func / f"{stem}_timeseries.tsv", sep="\t", index=False
            )
            about = {"RepetitionTime": 2.0, "SamplingFrequency": 0.5, "StartTime": 0}
            (func / f"{stem}_timeseries.json").write_text(json.dumps(about))
    description = {"Name": "study", "BIDSVersion": "1.11.1", "DatasetType": "derivative",
                   "GeneratedBy": [{"Name": "test"}]}  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(description))
    pd.DataFrame(rows).to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


OPTIONS = ("--input-type", "timeseries", "--surrogate", "var", "--min-time", "60")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Return input and results of all subjects; a test that changes them takes a copy."""
    from tests.end_to_end.conftest import run_command

    folder = tmp_path_factory.mktemp("study")
    write_study(folder / "in")
    done = run_command(folder / "in", folder / "out", "participant", *OPTIONS,
                       "-w", folder / "work", "--n-procs", "2", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def out(fitted, tmp_path):
    shutil.copytree(fitted / "out", tmp_path / "out")
    return tmp_path / "out"


def found(out, kind, contrast="GroupPatient"):
    path = next(out.glob(f"tpl-*/func/*_desc-*{contrast}{kind}_relmat.tsv"))
    return read_matrix(path), json.loads(path.with_suffix(".json").read_text())


def table(out, kind, contrast="GroupPatient"):
    return pd.read_table(next(out.glob(f"derivatives/statistics/**/*{contrast}_{kind}.tsv")))


@pytest.mark.slow
def test_the_planted_network_is_found_and_its_transpose_is_not(npi_bids, out):
    code, said, problems = npi_bids(
        "x", out, "group", "--model", "group + age", "--n-permutations", "199",
        "--network-statistic", "both", "--nbs-threshold", "3",
    )  # fmt: skip
    assert code == 0, said + problems
    validate(out)
    planted = tuple(np.array(PLANTED).T)
    for kind in ("Nbs", "Tfnbs", "Fwe"):
        p = found(out, kind)[0].matrix
        assert (p[planted] <= 0.05).all(), kind
        assert (p.T[planted] > 0.05).all(), kind
    components = table(out, "components")
    first = components[components["component"] == 1]
    edges = {(LABELS.index(a), LABELS.index(b))
             for a, b in zip(first["source"], first["target"], strict=True)}  # fmt: skip
    assert set(PLANTED) <= edges
    assert not {(b, a) for a, b in PLANTED} & edges
    matrix, sidecar = found(out, "Statistic")
    assert sidecar["Model"] == "group + age"  # framewise displacement is not known here
    assert sidecar["Columns"] == ["Intercept", "group[T.patient]", "age"]
    assert sidecar["Contrast"] == "group[T.patient]"
    assert sidecar["NumberOfSubjects"] == N_SUBJECTS
    assert found(out, "Statistic", "Age")[1]["Contrast"] == "age"
    edges = table(out, "edges").set_index(["source", "target"])
    np.testing.assert_allclose(
        edges.loc[(LABELS[0], LABELS[1]), "statistic"], matrix.matrix[0, 1], rtol=1e-6
    )
    networks = table(out, "networks")
    assert set(networks["grouping"]) == {"hemisphere"}
    words = (out / "descriptions.tsv").read_text()
    assert "GroupPatientNbs\t" in words


def test_everything_known_of_a_group_is_written(npi_bids, out, tmp_path):
    networks = pd.DataFrame({"name": LABELS, "network": [n.split("_")[1] for n in LABELS]})
    networks.to_csv(tmp_path / "networks.tsv", sep="\t", index=False)
    code, said, problems = npi_bids(
        "x", out, "group", "--network-table", tmp_path / "networks.tsv", "--weights", "quality",
        "--trim", "0.2",
    )  # fmt: skip
    assert code == 0, said + problems
    maps = [read_matrix(p).matrix for p in sorted(out.glob("sub-*/func/*meas-npi_*relmat.tsv"))]
    models = [
        json.loads(p.read_text()) for p in sorted(out.glob("sub-*/func/*meas-npi_*relmat.json"))
    ]
    weights = np.clip([model["Quality"]["RSplit"] for model in models], 0.01, 1)
    mean = np.average(maps, axis=0, weights=weights)
    off = ~np.eye(6, dtype=bool)
    wanted = read_matrix(next(out.glob("tpl-*/func/*meas-npi_*Groupmean_relmat.tsv"))).matrix
    np.testing.assert_allclose(wanted[off], mean[off], rtol=1e-6)
    statistics = next(out.glob("derivatives/statistics/**/*_networks.tsv"))
    pairs = pd.read_table(statistics)
    assert set(pairs["grouping"]) == {"network", "hemisphere"}
    vision = pairs[(pairs["source"] == "Vis") & (pairs["target"] == "Default")].iloc[0]
    blocks = [m[np.ix_([0, 1, 3, 4], [2, 5])].mean() for m in maps]
    assert vision["mean"] == pytest.approx(np.average(blocks, weights=weights), rel=1e-6)
    subjects = pd.read_table(next(out.glob("derivatives/statistics/**/*_subjects.tsv")))
    assert subjects["participant_id"].tolist() == [f"sub-{n:02d}" for n in range(1, 17)]
    assert {"r_with_others", "outlier", "verdict", "age", "group"} <= set(subjects)
    regions = pd.read_table(next(out.glob("derivatives/statistics/**/*_regions.tsv")))
    sent = regions[(regions["figure"] == "out_strength") & (regions["region"] == LABELS[3])]
    sums = [m[3][off[3]].sum() for m in maps]
    assert sent["mean"].item() == pytest.approx(np.average(sums, weights=weights))
    own = pd.read_table(next(out.glob("sub-01/func/*Strength_dseg.tsv"))).set_index("name")
    assert own.loc[LABELS[3], "out_strength"] == pytest.approx(maps[0][3][off[3]].sum())


def test_sites_are_taken_out_and_subjects_exchanged_within_them(npi_bids, out):
    code, said, problems = npi_bids(
        "x", out, "group", "--model", "group", "--harmonize", "site", "--n-permutations", "49",
        "--contrast", "patient - control",
    )  # fmt: skip
    assert code == 0, said + problems
    _, sidecar = found(out, "Fwe", "PatientMinusControl")
    assert sidecar["HarmonizedOver"] == sidecar["ExchangedWithin"] == "site"


@pytest.mark.slow
def test_sessions_are_compared_within_subjects(npi_bids, tmp_path):
    write_study(tmp_path / "in", sessions=("pre", "post"))
    code, said, problems = npi_bids(
        tmp_path / "in", tmp_path / "out", "participant", "group", *OPTIONS, "--paired", "pre",
        "post", "--model", "group", "--n-permutations", "99", "--nbs-threshold", "3",
    )  # fmt: skip
    assert code == 0, said + problems
    validate(tmp_path / "out")
    p, sidecar = found(tmp_path / "out", "Nbs")
    assert (p.matrix[tuple(np.array(PLANTED).T)] <= 0.05).all()
    assert sidecar["Paired"] == ["pre", "post"]
    mean = json.loads(
        next((tmp_path / "out").glob("tpl-*/func/*meas-npi_*Groupmean_relmat.json")).read_text()
    )
    assert mean["Reliability"]["Subjects"] == N_SUBJECTS
    assert mean["Reliability"]["MeanRWithin"] > 0.3
    icc = next((tmp_path / "out").glob("tpl-*/func/*Groupicc_relmat.tsv"))
    assert np.isfinite(read_matrix(icc).matrix[~np.eye(6, dtype=bool)]).all()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--model", "diagnosis"), 2, "no column diagnosis"),
        (("--model", "group + ("), 2, "cannot be read"),
        (("--contrast", "age"), 2, "--contrast needs --model"),
        (("--paired", "pre"), 2, "--paired takes two sessions"),
        (("--paired", "pre", "post"), 2, "no subject of"),
        (("--model", "group", "--harmonize", "scanner"), 2, "no column scanner"),
        (("--network-table", "nowhere.tsv"), 2, "--network-table"),
        (("--model", "big"), 2, "big is not finite for 1 of 16 subjects (inf of sub-01)"),
        (("--model", "one"), 2, "one has only one level, 'F'"),
        (("--model", "single"), 2, "have a single subject ('X': sub-01)"),
        (("--model", "age | C"), 2, "at '|': there are no random or grouped effects"),
        (("--model", "np.log(age)"), 2, "at '.': attributes are not read"),
        (("--model", "{age}"), 2, "at '{': Python code is not evaluated"),
        (("--model", "Intercept"), 2, "a column cannot be called 'Intercept'"),
        (("--model", "age + twice"), 2, "depend on each other"),
        (("--model", "group", "--contrast", "patient"), 2, "of group sum to 1"),
        (("--model", "group + site + arm", "--contrast", "a - b"), 2, "write site[a] or arm[a]"),
        (("--model", "group + arm", "--harmonize", "arm"), 2, "removes effects that --model"),
    ],
)
def test_what_cannot_be_tested_is_said(npi_bids, out, words, code, message):
    add_columns(
        out, big=["inf", *range(15)], one=["F"] * 16, single=["X", *"YZYZYZYZYZYZYZY"],
        C=range(16), np=range(16), Intercept=range(16), arm=["ab"[n // 4 % 2] for n in range(16)],
        twice=lambda table: 2 * table["age"],
    )  # fmt: skip
    before = {path for path in out.rglob("*") if "logs" not in path.parts}
    for further in ((), ("--dry-run",)):
        if further and "--network-table" in words:
            continue  # read when the group is described
        found_code, said, problems = npi_bids("x", out, "group", *words, *further)
        text = " ".join((said + problems).split())
        assert message in text
        assert found_code == code
        for foreign in ("Traceback", "formulaic", "matmul", "Evaluating", "Trait", "numpy"):
            assert foreign not in text
    if "--network-table" not in words:  # found before anything is computed
        assert {path for path in out.rglob("*") if "logs" not in path.parts} == before


def add_columns(out, **columns):
    """Add columns to the participants of an output dataset."""
    path = out / "participants.tsv"
    table = pd.read_table(path).assign(**columns)
    table.to_csv(path, sep="\t", index=False)
    sidecar = path.with_suffix(".json")
    about = json.loads(sidecar.read_text()) | {name: {"Description": "x"} for name in columns}
    sidecar.write_text(json.dumps(about))


def test_a_column_of_the_name_of_a_result_is_not_taken_for_it(npi_bids, out):
    add_columns(out, minutes=[17.0 + n % 5 for n in range(16)])
    code, said, problems = npi_bids("x", out, "group", "--model", "participants_minutes")
    assert code == 0, said + problems
    assert "the former is called participants_minutes here" in " ".join((said + problems).split())
    subjects = table(out, "subjects", "series")
    assert (subjects["minutes"] == 8).all()
    assert subjects["participants_minutes"].tolist()[:3] == [17, 18, 19]


def test_what_can_be_tested_is_told_by_the_dry_run(npi_bids, out):
    add_columns(out, C=np.arange(16.0) ** 2, np=np.arange(16.0))
    code, said, problems = npi_bids("x", out, "group", "--model", "C + np", "--dry-run")
    assert code == 0, problems
    assert "Model 'C + np' can be tested" in said
    assert not list(out.glob("tpl-*/func/*Statistic*"))


@pytest.mark.parametrize(
    "levels", [("participant", "group"), ("pretrain", "participant", "group")]
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_model_is_checked_before_any_subject_is_fitted(npi_bids, fitted, tmp_path, levels, dry):
    wrong = (
        (("agee",), "no column agee"),
        (("age + {",), "at '{'"),
        (("group", "--contrast", "patient - controll"), "'controll' is no"),
        (("group", "--contrast", "patient"), "sum to 1"),
    )
    for model, message in wrong:
        code, said, problems = npi_bids(
            fitted / "in", tmp_path / "out", *levels, *OPTIONS, "--model", *model, *dry
        )
        assert code == 2
        assert message in " ".join((said + problems).split())
        assert not list(tmp_path.glob("out/sub-*"))


def test_a_misspelt_exclusion_is_told_before_any_subject_is_fitted(npi_bids, fitted, tmp_path):
    (tmp_path / "exclude.tsv").write_text("sub-1\tmotion\n")
    code, said, problems = npi_bids(
        fitted / "in", tmp_path / "out", "participant", "group", *OPTIONS, "--exclude-file",
        tmp_path / "exclude.tsv",
    )  # fmt: skip
    assert code == 2
    assert "there is no sub-1, but a sub-01" in " ".join((said + problems).split())
    assert not list(tmp_path.glob("out/sub-*"))


def test_names_that_follow_from_columns_do_not_meet_those_of_the_group(npi_bids, out):
    """A column of numbers called group made GroupP, which is Groupp on many file systems."""
    names = ("Group", "P", "Q", "mean", "Mean", "n", "Sign")
    hostile = {name: np.random.default_rng(n).random(16) for n, name in enumerate(names)}
    add_columns(out, **hostile)
    model = "group + Group + P + Q + mean + Mean + n + Sign"
    code, said, problems = npi_bids("x", out, "group", "--model", model, "--n-permutations", "9")
    assert code == 0, said + problems
    validate(out)
    files = [str(path.relative_to(out)).lower() for path in out.rglob("*") if path.is_file()]
    assert len(files) == len(set(files))
    contrasts = {
        json.loads(path.read_text())["Contrast"]
        for path in out.glob("tpl-*/func/*Statistic_relmat.json")
    }
    assert contrasts == {"group[T.patient]", *hostile}
    words = (out / "descriptions.tsv").read_text()
    for path in out.glob("tpl-*/func/*Test*_relmat.tsv"):
        assert f"desc-{path.stem.split('_desc-')[1].split('_')[0]}\t" in words


def pretrained(out, **facts):
    """State in the sidecars of all maps on whom the surrogates were pre-trained."""
    about = {"NumberOfSubjects": 9, "Folds": 9, "PrecisionSymmetric": 1.0, "SubjectLeftOut": False,
             "PrecisionAntisymmetric": 1.0}  # fmt: skip
    for path in out.glob("sub-*/func/*_relmat.json"):
        sidecar = json.loads(path.read_text())
        path.write_text(json.dumps({**sidecar, "Pretrained": about | facts}))


TESTS = ("Groupt", "Groupp", "Groupq", "Grouplower", "Groupupper", "Groupsign")
TESTS_OF_MODEL = ("Statistic", "P", "Q", "Permuted", "Fwe", "Nbs", "Tfnbs")


def known(out, name):
    """Tell whether any connection of a matrix of the group has a value."""
    path = next(out.glob(f"tpl-*/func/*meas-npi_desc-*{name}_relmat.tsv"))
    sidecar = json.loads(path.with_suffix(".json").read_text())
    off = ~np.eye(6, dtype=bool)
    return np.isfinite(read_matrix(path).matrix[off]).any(), sidecar.get("NotTested", "")


@pytest.mark.parametrize(
    ("facts", "mean", "contrast"),
    [
        ({"SubjectIncluded": True}, False, False),
        ({}, False, False),
        ({"SubjectIncluded": False}, False, True),
    ],
)
def test_only_what_holds_after_pretraining_is_tested(npi_bids, out, facts, mean, contrast):
    pretrained(out, **facts)
    for measure in ("npiunshrunk", "npiproportional"):  # as of a network, or an older version
        for path in out.glob(f"sub-*/func/*meas-{measure}_*"):
            path.unlink()
    code, said, problems = npi_bids(
        "x", out, "group", "--model", "group", "--contrast", "group", "Intercept",
        "--n-permutations", "19", "--network-statistic", "both",
    )  # fmt: skip
    assert code == 0, said + problems
    for name in TESTS:
        assert (known(out, name)[0], not known(out, name)[1]) == (mean, mean), name
    for name in TESTS_OF_MODEL:
        for label, tested in (("TestIntercept", mean), ("TestGroupPatient", contrast)):
            assert known(out, f"{label}{name}")[0] == tested, (label, name)
            assert bool(known(out, f"{label}{name}")[1]) != tested
    for name in ("Groupmean", "Groupsd", "Groupmedian", "TestGroupPatientEffect"):
        assert known(out, name) == (True, ""), name
    for kind in ("edges", "regions", "networks"):
        described = pd.read_table(next(out.glob(f"derivatives/**/*desc-series_{kind}.tsv")))
        assert described[["t", "p", "q", "lower", "upper"]].isna().all().all()
        assert described["mean"].notna().any()
        tested = table(out, kind)
        assert tested["p"].notna().any() == contrast
    page = (out / "group.html").read_text()
    assert "The mean of the maps is not tested" in page
    assert ("This contrast is not tested" in page) == (not (mean and contrast))
    assert "connections at p ≤ 0.05" in page
    assert "surrogates pre-trained on" in page


def test_maps_without_prior_are_tested_after_pretraining_too(npi_bids, out):
    """The tests are those of the same maps without prior, whatever the maps are shrunk to."""
    words = ("x", out, "group", "--model", "group", "--n-permutations", "19")
    assert npi_bids(*words)[0] == 0
    before = {p.name: p.read_text() for p in out.glob("tpl-*/func/*meas-npi_*desc-*_relmat.tsv")}
    pretrained(out, SubjectIncluded=True)
    for path in out.glob("sub-*/func/*meas-npi_*relmat.tsv"):
        result = read_matrix(path)
        write_matrix(ECResult(0.5 * result.matrix, result.labels), path)
    code, said, problems = npi_bids(*words)
    assert code == 0, said + problems
    validate(out)
    for path in out.glob("tpl-*/func/*meas-npi_*desc-*_relmat.tsv"):
        shown = re.search("Group(mean|sd|median|trimmed|max|influence)_", path.name)
        assert (path.read_text() == before[path.name]) == (not shown), path.name
    sidecar = json.loads(next(out.glob("tpl-*/func/*Groupt_relmat.json")).read_text())
    assert sidecar["TestedMeasure"] == "npiunshrunk"
    contrast = json.loads(next(out.glob("tpl-*/func/*PatientStatistic_relmat.json")).read_text())
    assert contrast["TestedMeasure"] == "npiproportional"
    assert "TestedAsTheyAre" not in sidecar | contrast
    assert 0 <= sidecar["WindowPower"] <= 1
    assert "NotTested" not in sidecar


def test_differences_are_tested_without_prior_where_one_subject_has_no_proportional_map(
    npi_bids, out
):
    for path in out.glob("sub-01/func/*meas-npiproportional_*"):
        path.unlink()
    assert npi_bids("x", out, "group", "--model", "group", "--n-permutations", "0")[0] == 0
    contrast = json.loads(next(out.glob("tpl-*/func/*PatientStatistic_relmat.json")).read_text())
    assert contrast["TestedMeasure"] == "npiunshrunk"
    assert "no map with a prior in proportion" in contrast["TestedAsTheyAre"]
    assert "no map with a prior in proportion" in (out / "group.html").read_text()


def test_few_subjects_are_marked_beside_every_p(npi_bids, out, tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text("".join(f"{n:02d}\n" for n in range(9, 17)))
    words = ("--model", "group", "--n-permutations", "19", "--exclude-file", str(path))
    assert npi_bids("x", out, "group", *words)[0] == 0
    for name in (*TESTS, "GroupPatientStatistic", "GroupPatientP", "GroupPatientFwe"):
        found_ = next(out.glob(f"tpl-*/func/*meas-npi_desc-*{name}_relmat.json"))
        assert json.loads(found_.read_text())["FewSubjects"].startswith("n = 8: p values")
    mean = next(out.glob("tpl-*/func/*meas-npi_desc-*Groupmean_relmat.json"))
    assert "FewSubjects" not in json.loads(mean.read_text())
    tables = [json.loads(p.read_text()) for p in out.glob("derivatives/statistics/**/*edges.json")]
    assert len(tables) == 2
    assert all(about["FewSubjects"] for about in tables)
    assert (out / "group.html").read_text().count("n = 8: p values") == 2
    assert npi_bids("x", out, "group", *words[:4])[0] == 0
    assert "p values and intervals rest on few" not in (out / "group.html").read_text()


@pytest.mark.slow
def test_noise_is_not_certain_because_it_was_pretrained(npi_bids, tmp_path):
    """Eight subjects of unconnected regions: q < .05 for 72 % of connections was written."""
    study = write_noise(tmp_path / "in")
    code, said, problems = npi_bids(
        study, tmp_path / "out", "pretrain", "participant", "group", *PRE, "--model", "1",
        "--n-permutations", "49",
    )  # fmt: skip
    assert code == 0, said + problems
    out = tmp_path / "out"
    validate(out)
    for name in TESTS:
        assert known(out, name) == (True, ""), name
    q, p = (
        read_matrix(next(out.glob(f"tpl-*/func/*meas-npi_*{name}_relmat.tsv"))).matrix
        for name in ("Groupq", "TestInterceptFwe")
    )
    assert not (q < 0.05).any()
    assert not (p < 0.05).any()
    uncorrected = read_matrix(next(out.glob("tpl-*/func/*meas-npi_*Groupp_relmat.tsv"))).matrix
    assert (uncorrected < 0.05).sum() <= 5  # of 30; binomial, P = .01 or less


def write_noise(folder):
    """Write series of eight subjects whose regions have nothing to do with each other."""
    write_study(folder)
    rng = np.random.default_rng(5)
    for path in folder.glob("sub-*/func/*_timeseries.tsv"):
        if int(path.name[4:6]) > 8:
            shutil.rmtree(path.parents[1])
            continue
        data = rng.standard_normal((N_SAMPLES, 6))
        for now in range(1, len(data)):
            data[now] += 0.5 * data[now - 1]
        pd.DataFrame(data, columns=LABELS).to_csv(path, sep="\t", index=False)
    return folder


def test_results_do_not_depend_on_the_processes(npi_bids, out, fitted):
    from tests.end_to_end.conftest import run_command

    words = ("--model", "group", "--n-permutations", "49")
    assert npi_bids("x", out, "group", *words)[0] == 0
    one = {p.name: p.read_bytes() for p in out.glob("tpl-*/func/*.tsv")}
    further = ("--overwrite", "--n-procs", "2", "-w", out.parent / "w2")
    done = run_command("x", out, "group", *words, *further)
    assert done.returncode == 0, done.stderr
    assert {p.name: p.read_bytes() for p in out.glob("tpl-*/func/*.tsv")} == one


PRE = (*OPTIONS[:2], "--min-time", "60", "--surrogate", "mou")


@pytest.mark.slow
def test_pretraining_is_a_prior_for_each_subject(npi_bids, tmp_path):
    study = write_study(tmp_path / "in")
    code, said, problems = npi_bids(study, tmp_path / "out", "pretrain", *PRE)
    assert code == 0, said + problems
    path = next((tmp_path / "out").glob("derivatives/pretrained/*.safetensors"))
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["NumberOfSubjects"] == N_SUBJECTS
    for given in (tmp_path / "out", path):
        code, said, problems = npi_bids(
            study, tmp_path / "maps", "participant", *PRE, "--pretrained", given, "--overwrite",
            "--participant-label", "01", "02",
        )  # fmt: skip
        assert code == 0, said + problems
    validate(tmp_path / "maps")
    sidecar = json.loads(
        next((tmp_path / "maps").glob("sub-01/func/*meas-npi_*relmat.json")).read_text()
    )
    assert sidecar["Pretrained"]["SubjectLeftOut"] is False
    assert sidecar["Pretrained"]["SubjectIncluded"] is True
    assert 0 < sidecar["Quality"]["OwnShare"] < 1
    assert sidecar["Pretrained"]["NumberOfSubjects"] == N_SUBJECTS
    assert sidecar["Quality"]["Shrunk"] is True
    text = (tmp_path / "maps" / "logs" / "CITATION.md").read_text()
    assert "pre-trained" in text
    # Another prior is another configuration.
    code, said, problems = npi_bids(study, tmp_path / "maps", "participant", *PRE)
    assert code == 5, said + problems


@pytest.mark.slow
def test_what_is_no_prior_for_these_data_is_refused(npi_bids, tmp_path):
    study = write_study(tmp_path / "in")
    assert npi_bids(study, tmp_path / "out", "pretrain", *PRE)[0] == 0
    path = next((tmp_path / "out").glob("derivatives/pretrained/*.safetensors"))
    sidecar = path.with_suffix(".json")
    whole, text = path.read_bytes(), sidecar.read_text()

    def refused(given, message, code=3):
        found_code, said, problems = npi_bids(
            study, tmp_path / "maps", "participant", *PRE, "--pretrained", given,
            "--participant-label", "01",
        )  # fmt: skip
        assert message in " ".join((said + problems).split())
        assert found_code == code
        assert not list((tmp_path / "maps").glob("sub-01/func/*relmat.tsv"))

    refused(tmp_path / "nowhere", "does not exist")
    refused(tmp_path / "in", "holds no task-rest_atlas-Six_desc-series_surrogate.safetensors")
    refused(tmp_path / "in" / "participants.tsv", "expected a .safetensors file with its .json")
    sidecar.write_text(json.dumps({"Description": "a subject's surrogate"}))
    refused(path, "is not a pre-trained surrogate of a group")
    sidecar.write_text(text.replace('"Six"', '"Seven"'))
    refused(path, "was made with the atlas atlas-Seven of 6 regions")
    sidecar.write_text(text.replace("RH_Vis_1", "RH_Vis_9"))
    refused(path, "was made with another atlas")
    sidecar.write_text(text.replace('"RepetitionTime": 2.0', '"RepetitionTime": 0.8'))
    refused(path, "has a sampling period of 0.8 s")
    sidecar.write_text(text)
    path.write_bytes(whole[:200])
    refused(path, "cannot be read as safetensors")


def write_visits(folder):
    """Write three sessions; that of ``sub-01`` is alone, and a link appears in the second."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    shared = 0.4 * np.eye(6)
    shared[3, 0] = 0.3
    rows = []
    for number in range(10):
        sub = f"{number + 1:02d}"
        rows.append({"participant_id": f"sub-{sub}", "group": "ab"[number % 2]})
        (folder / f"sub-{sub}").mkdir()
        sessions = []
        for place in range(1 if number == 0 else 3):
            weights = shared.copy()
            weights[0, 1] = 0.45 * (place == 1)
            run = var_run(weights, N_SAMPLES, seed=10 * number + place, labels=LABELS)
            stem = f"sub-{sub}_ses-{place + 1:02d}_task-rest_atlas-Six"
            func = folder / f"sub-{sub}" / f"ses-{place + 1:02d}" / "func"
            func.mkdir(parents=True)
            pd.DataFrame(run.data, columns=LABELS).to_csv(
                func / f"{stem}_timeseries.tsv", sep="\t", index=False
            )
            about = {"RepetitionTime": 2.0, "SamplingFrequency": 0.5, "StartTime": 0}
            (func / f"{stem}_timeseries.json").write_text(json.dumps(about))
            sessions.append({"session_id": f"ses-{place + 1:02d}",
                             "months": round(6 * place + rng.uniform(0, 2), 2)})  # fmt: skip
        path = folder / f"sub-{sub}" / f"sub-{sub}_sessions.tsv"
        pd.DataFrame(sessions).to_csv(path, sep="\t", index=False)
    description = {"Name": "study", "BIDSVersion": "1.11.1", "DatasetType": "derivative",
                   "GeneratedBy": [{"Name": "test"}]}  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(description))
    pd.DataFrame(rows).to_csv(folder / "participants.tsv", sep="\t", index=False)


@pytest.mark.slow
def test_three_sessions_are_compared_within_subjects(npi_bids, tmp_path):
    write_visits(tmp_path / "in")
    out = tmp_path / "out"
    code, said, problems = npi_bids(
        tmp_path / "in", out, "participant", "group", *OPTIONS, "--model", "session*group",
        "--n-permutations", "199", "--min-subjects", "3",
    )  # fmt: skip
    assert code == 0, said + problems
    validate(out)
    p, sidecar = found(out, "Fwe", "TestSession")
    assert p.matrix[0, 1] <= 0.05
    assert p.matrix[1, 0] > 0.05
    assert sidecar["ErrorTerm"] == "within subjects"
    assert (sidecar["NumberOfSubjects"], sidecar["NumberOfVisits"]) == (9, 27)
    assert sidecar["LeftOut"]["sub-01"].startswith("one session only (01)")
    assert "one session only (01)" in said + problems
    assert found(out, "Fwe", "TestGroupB")[1]["ErrorTerm"] == "between subjects"
    assert found(out, "Fwe", "TestSessionGroup")[1]["ComponentsPerSubject"] == 2
    subjects = pd.read_table(next(out.glob("derivatives/statistics/**/*_subjects.tsv")))
    assert subjects["n_sessions"].tolist() == [1, *[3] * 9]
    assert subjects["not_tested_within"].notna().tolist() == [True, *[False] * 9]
    page = (out / "group.html").read_text()
    assert "within subjects" in page
    assert "effect was estimated in every participant" in page
    assert (out / "sub-02" / "sub-02_sessions.tsv").is_file()
    code, said, problems = npi_bids(
        "x", out, "group", "--model", "months", "--n-permutations", "19", "--min-subjects", "3",
    )  # fmt: skip
    assert code == 0, said + problems
    effect, sidecar = found(out, "Effect", "TestMonths")
    assert sidecar["NumberOfVisits"] == 27
    assert sidecar["VaryingWithin"] == ["months"]
    assert np.isfinite(effect.matrix[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "session", "--paired", "01", "02"), "leave out --paired"),
        (("--model", "session", "--harmonize", "group"), "--harmonize is not available"),
    ],
)
def test_options_that_do_not_go_with_sessions_are_refused(npi_bids, tmp_path, words, message):
    write_visits(tmp_path / "in")
    code, said, problems = npi_bids(
        tmp_path / "in", tmp_path / "out", "participant", "group", *OPTIONS, *words
    )
    assert code == 2
    assert message in said + problems
