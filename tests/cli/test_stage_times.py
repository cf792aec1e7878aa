"""How long stages took, in the command and in its workers."""

import time

import pandas as pd
import pytest
from nipype.pipeline import engine as pe

from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.cli.stage_times import COMMAND, FILE, WORKERS, current_times, record_stages, stage
from tests.cli.conftest import node

pytestmark = pytest.mark.alone

MULTIPROC = Plugin("MultiProc", {"n_procs": 2, "mp_context": "forkserver"})


def works(x):
    import time

    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    time.sleep(0.2)
    return x


def read(folder):
    return pd.read_csv(folder / FILE, sep="\t").set_index(["process", "stage"])


def test_stages_add_up_by_name(tmp_path):
    with record_stages(tmp_path, wanted=True):
        for _ in range(2):
            with stage("pages"):
                time.sleep(0.05)
        current_times().add(WORKERS, "extract_1", 2.0, 1.0)
        current_times().add(WORKERS, "extract_12", 5.0, 1.5)
    table = read(tmp_path)
    assert table.index.tolist() == [(COMMAND, "pages"), (WORKERS, "extract")]
    assert table.loc[(WORKERS, "extract")].tolist() == [2, 7.0, 2.5, 5.0]
    pages = table.loc[(COMMAND, "pages")]
    assert pages["count"] == 2
    assert 0.1 <= pages["seconds"] < 2 * pages["longest"] + 0.01
    assert pages["cpu_seconds"] < pages["seconds"]


def test_a_stage_that_fails_counts(tmp_path):
    with (
        pytest.raises(ValueError, match="x"),
        record_stages(tmp_path, wanted=True),
        stage("fails"),
    ):
        raise ValueError("x")
    assert read(tmp_path).loc[(COMMAND, "fails"), "count"] == 1


def test_nothing_is_recorded_unless_it_is_wanted(tmp_path):
    with record_stages(tmp_path, wanted=False), stage("pages"):
        assert current_times() is None
    assert not (tmp_path / FILE).exists()


@pytest.mark.slow
def test_nodes_are_timed_where_they_run(tmp_path):
    workflow = pe.Workflow("wf", base_dir=str(tmp_path / "work"))
    workflow.add_nodes([node(works, f"work_{n}", n) for n in range(3)])
    with record_stages(tmp_path, wanted=True):
        assert run_workflow(workflow, MULTIPROC, tmp_path / "crash", lambda *_: None)
    count, seconds, cpu_seconds, longest = read(tmp_path).loc[(WORKERS, "wf.work")]
    assert count == 3
    assert seconds >= 1.2
    assert 0.6 <= cpu_seconds < seconds
    assert longest < seconds
