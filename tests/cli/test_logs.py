from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

from npi_bids.bids.derivatives import UnitStatus
from npi_bids.cli.logs import Outcome, Progress, print_table, show_elapsed_time


def node(unit, name="save_model"):
    return SimpleNamespace(fullname=f"npi_bids_wf.sub_wf.{unit}.{name}", name=name)


def test_what_is_done_running_and_failed_and_the_time_left(caplog):
    caplog.set_level(logging.INFO, logger="npi_bids")
    now = [0.0]
    progress = Progress({f"u{n}": f"unit-{n}" for n in range(4)}, clock=lambda: now[0])
    assert progress.state() == "0 of 4 done, 0 running"
    progress(node("u0", "parcellate"), "start")
    progress(node("u1", "parcellate"), "start")
    assert progress.state() == "0 of 4 done, 2 running (extracting signals)"
    progress(node("u1", "train_surrogate"), "start")
    assert progress.state() == "0 of 4 done, 2 running (extracting signals and fitting)"
    now[0] = 120.0
    progress(node("u0"), "end")
    progress(node("u0"), "end")  # some nodes report twice
    assert progress.state() == "1 of 4 done, 1 running (fitting), about 6 min left"
    progress(node("u1", "train_surrogate"), "exception")
    progress(node("u1", "save_run_1"), "exception")
    assert progress.state() == "1 of 4 done, 0 running, 1 failed, about 2 min left"
    assert progress.saved == {"unit-0"}
    assert [record.message for record in caplog.records] == [
        "[1/4] unit-0", "[2/4] unit-1 failed in train_surrogate",
    ]  # fmt: skip


def test_a_run_that_cannot_be_read_ends_all_models_that_need_it(caplog):
    caplog.set_level(logging.INFO, logger="npi_bids")
    names = {f"u{n}": f"unit-{n}" for n in range(3)}
    progress = Progress(names, {"extract_1": ["unit-0", "unit-1"]})
    reader = SimpleNamespace(fullname="npi_bids_wf.sub_wf.extract_1", name="extract_1")
    progress(reader, "start")
    assert progress.state() == "0 of 3 done, 2 running (extracting signals)"
    progress(reader, "exception")
    assert progress.state().startswith("0 of 3 done, 0 running, 2 failed")


def test_a_live_line_is_drawn_and_taken_away(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with Progress({"u0": "unit-0"}, live=True) as progress:
        progress(node("u0", "parcellate"), "start")
        progress(node("u0"), "end")
        shown = progress.state()
    assert shown == "1 of 1 done, 0 running, about 0 s left"
    assert "1 of 1 done" in capsys.readouterr().err


def test_elapsed_time_is_shown_on_a_terminal_alone(capsys, monkeypatch):
    with show_elapsed_time("fitting"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with show_elapsed_time("fitting"):
        pass
    shown = capsys.readouterr().err
    assert "fitting" in shown
    assert "0:00:00" in shown


def test_the_final_table_has_verdict_kind_of_fit_and_reason(capsys):
    entities = {"sub": "01", "task": "rest"}
    done = UnitStatus(entities, "simple", "done", "abc")
    failed = UnitStatus({**entities, "sub": "02"}, "simple", "failed", "abc", reason="no runs")
    before = UnitStatus({**entities, "sub": "03"}, "simple", "done", "abc")
    outcome = Outcome("caution", "0.45", "process, delays", "few samples")
    outcomes = dict.fromkeys((done.name, failed.name, before.name), outcome)
    print_table([done, failed, before], [before.name], outcomes)
    lines = map(str.rstrip, capsys.readouterr().out.splitlines())
    shared, header, first, second, third = lines
    assert shared == "All models: task-rest"
    assert header.split() == [
        *("participant", "status", "verdict", "expected", "r", "fit", "reason")
    ]
    assert "caution" in first
    assert " 0.45 " in first
    assert first.endswith("process, delays  few samples")
    assert second.startswith("sub-02       failed    caution")
    assert second.endswith("process, delays  no runs")
    assert third.endswith("process, delays  nothing to do")


def test_the_final_table_names_pages_below_and_what_models_differ_in(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, no colours
    (tmp_path / "sub-01.html").touch()
    shared = {"task": "rest", "space": "MNI152NLin2009cAsym"}
    one = UnitStatus({"sub": "01", **shared, "atlas": "A"}, "simple", "done", "abc")
    two = UnitStatus({"sub": "02", **shared, "atlas": "B"}, "simple", "done", "abc")
    print_table([one, two], [], {}, tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["All", "models:", "task-rest", "space-MNI152NLin2009cAsym"]
    assert lines[2:] == [
        ["sub-01", "atlas-A", "done"], ["sub-01.html"], ["sub-02", "atlas-B", "done"]
    ]  # fmt: skip
    print_table([one], [])
    assert capsys.readouterr().out.startswith(
        "Model: task-rest space-MNI152NLin2009cAsym atlas-A\n"
    )
