"""A dataset whose subjects choose different kinds of fit, by the real command."""

import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from npi_bids.bids.derivatives import find_models
from npi_bids.bids.outputs import KINDS_FILE
from tests.conftest import var_run
from tests.end_to_end.conftest import validate

LABELS = ("LH_Vis_1", "LH_Vis_2", "RH_Vis_1", "RH_Vis_2")
COUPLED, UNCOUPLED = ("01", "03"), ("02",)  # process; process after whitening
OPTIONS = ("--input-type", "timeseries", "--surrogate", "mou", "--min-time", "60")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Write two subjects with coupled regions, and one without, whose fit is whitened."""
    folder = tmp_path_factory.mktemp("mixed")
    ring = 0.5 * np.eye(4) + 0.4 * np.roll(np.eye(4), 1, axis=1)
    alone = 0.6 * np.eye(4)
    for sub in (*COUPLED, *UNCOUPLED):
        weights = ring if sub in COUPLED else alone
        run = var_run(weights, 200, seed=int(sub), labels=LABELS)
        func = folder / f"sub-{sub}" / "func"
        func.mkdir(parents=True)
        stem = f"sub-{sub}_task-rest_atlas-Four_timeseries"
        pd.DataFrame(run.data, columns=LABELS).to_csv(func / f"{stem}.tsv", sep="\t", index=False)
        about = {"RepetitionTime": 2.0, "SamplingFrequency": 0.5, "StartTime": 0}
        (func / f"{stem}.json").write_text(json.dumps(about))
    description = {"Name": "mixed", "BIDSVersion": "1.11.1", "DatasetType": "derivative",
                   "GeneratedBy": [{"Name": "test"}]}  # fmt: skip
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


def kinds(out):
    return {model.entities["sub"]: model.kind for model in find_models(out)}


def results(out):
    """Return all matrices and their sidecars."""
    return {path.relative_to(out): path.read_bytes()
            for path in out.glob("sub-*/func/*relmat.*")}  # fmt: skip


@pytest.mark.slow
def test_jobs_of_some_subjects_and_then_one_run_give_the_same_as_one_run(
    npi_bids, mixed, tmp_path
):
    assert npi_bids(mixed, "once", "participant", *OPTIONS)[0] == 0
    for labels in (["03"], ["02", "01"]):
        log = npi_bids(
            mixed, "jobs", "participant", *OPTIONS, "--participant-label", *labels
        )[2]  # fmt: skip
        assert " models again" not in log
    said = " ".join(log.split())
    assert "kinds of fit differ among the participants of this run (process" in said
    assert "process, whitened: 1" in said
    own = results(tmp_path / "jobs")
    log = npi_bids(mixed, "jobs", "group", *OPTIONS)[2]
    assert "--fit-kind dataset" in log
    config = tmp_path / "jobs" / KINDS_FILE
    assert tomllib.loads(config.read_text()) == {"fit_kind": "dataset"}
    # The file that the group level wrote works in the same folder.
    code, said, log = npi_bids(
        mixed, "jobs", "participant", "group", *OPTIONS, "--config-file", config
    )
    assert code == 0, said + log
    assert "Fitting 1 of 3 models again" in log
    assert said.count("nothing to do") == len(COUPLED)
    assert results(tmp_path / "jobs") == results(tmp_path / "once") != own
    check_texts(tmp_path / "jobs")
    # Every subject can go back to its own kind.
    assert npi_bids(mixed, "jobs", "participant", *OPTIONS, "--fit-kind", "subject")[0] == 0
    assert results(tmp_path / "jobs") == own


def check_texts(out):
    """Check what sidecars, tables and pages say of the decision."""
    assert set(kinds(out).values()) == {"process"}
    assert not (out / KINDS_FILE).exists()
    decided = {model.entities["sub"]: model.fit.kind_decision for model in find_models(out)}
    assert {sub for sub, decision in decided.items() if decision} == set(UNCOUPLED)
    assert decided["02"].own_kind == "process, whitened"
    quality = pd.read_table(out / "logs" / "quality.tsv", dtype=str).set_index("participant_id")
    assert quality.loc["sub-02", ["kind", "own_kind", "kind_decided_by"]].tolist() == [
        "process", "process, whitened", "dataset",
    ]  # fmt: skip
    assert quality.loc["sub-01", "kind_decided_by"] == "subject"
    said = "decided for the dataset: 2 of 3 subjects chose process"
    assert said in (out / "sub-02.html").read_text()
    assert said not in (out / "sub-01.html").read_text()
    group = (out / "group.html").read_text()
    assert "Kinds of fit: process: 3 (decided for the dataset;" in group
    assert (
        "1 model for which another had been selected was" in (out / "logs/CITATION.md").read_text()
    )
    sidecar = json.loads(next(out.glob("tpl-*/func/*Groupmean_relmat.json")).read_text())
    assert sidecar["KindsOfFit"] == {"process": 3}
    assert sidecar["OwnKindsOfFit"] == {"process": 2, "process, whitened": 1}
    validate(out)


@pytest.mark.slow
def test_a_second_fit_that_fails_keeps_the_first_and_is_told(
    npi_bids, mixed, tmp_path, monkeypatch
):
    from npi_bids.errors import SurrogateError
    from npi_bids.surrogates import ou

    words = (mixed, "out", "participant", *OPTIONS)
    assert npi_bids(*words, "--fit-kind", "subject")[0] == 0
    before = results(tmp_path / "out")

    def fail(*_, **__):
        raise SurrogateError("no such process")

    monkeypatch.setattr(ou, "fit_process", fail)
    code, _, log = npi_bids(*words)
    assert code == 1
    assert "the fit of the kind process failed, and the earlier fit is kept" in log
    assert results(tmp_path / "out") == before
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert npi_bids(*words)[0] == 0
    assert set(kinds(tmp_path / "out").values()) == {"process"}
