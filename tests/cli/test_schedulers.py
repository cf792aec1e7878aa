"""Job scripts do what they say, in every dialect."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from npi_bids.bids.outputs import UNITS
from npi_bids.cli.schedulers import (
    MODELS,
    PARTICIPANTS,
    SCHEDULERS,
    JobRequest,
    write_group_script,
    write_participant_script,
    write_submit_script,
)

ECHO = ("printf", "%s\\n")
VARIABLES = {"slurm": "SLURM_ARRAY_TASK_ID", "sge": "SGE_TASK_ID", "pbs": "PBS_ARRAY_INDEX"}


@pytest.fixture
def array(tmp_path):
    """Return an array for five participants, in a folder whose name needs quotes."""
    folder = tmp_path / "a folder's name"
    folder.mkdir()
    (folder / PARTICIPANTS).write_text("01\n02\n03\n04\n05\n")
    return JobRequest(name="participant", folder=folder, memory_gb=1.5, minutes=95, n_tasks=3)


def run_task(name, array, task, before=()):
    text = write_participant_script(SCHEDULERS[name], array, ECHO, per_task=2, before=before)
    array.script.write_text(text)
    words = ["bash", str(array.script), *([str(task)] if name == "loop" else [])]
    environment = {"PATH": "/usr/bin:/bin"}
    environment |= {VARIABLES[name]: str(task)} if name in VARIABLES else {}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_tasks_of_an_array_run_every_participant_once(name, array):
    assert [run_task(name, array, task) for task in (1, 2, 3)] == [
        ["01", "02"],
        ["03", "04"],
        ["05"],
    ]


def test_the_command_replaces_the_shell_so_that_signals_reach_it(array):
    text = write_participant_script(SCHEDULERS["slurm"], array, ["npi-bids"], per_task=1)
    assert text.splitlines()[-1].startswith("exec npi-bids ")


def test_lines_of_the_user_run_first(array):
    assert run_task("loop", array, 3, before=["echo loaded"]) == ["loaded", "05"]


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("n_tasks", [0, 1, 3])
def test_scripts_are_sound_bash(name, n_tasks, array, tmp_path):
    array = replace(array, n_tasks=n_tasks, n_cpus=2, most_at_once=2, directives=("-q long",))
    group = JobRequest(name="group", folder=array.folder, memory_gb=2, minutes=10)
    texts = [
        write_participant_script(SCHEDULERS[name], array, ECHO, per_task=2),
        write_group_script(SCHEDULERS[name], group, ECHO, tmp_path, complete=True),
        write_submit_script(SCHEDULERS[name], array, group, ["12", "13"]),
        write_submit_script(SCHEDULERS[name], array, None),
    ]
    for text in texts:
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", "--exclude=SC2016,SC2129", "-"], input=text, text=True,
                           check=True)  # fmt: skip


def directives(name, job):
    text = write_participant_script(SCHEDULERS[name], job, ECHO, per_task=1)
    prefix = SCHEDULERS[name].prefix
    return [
        line.removeprefix(f"{prefix} ") for line in text.splitlines() if line.startswith(prefix)
    ]


def test_memory_and_time_are_those_that_were_asked_for(array):
    slurm, sge, pbs = (directives(name, array) for name in ("slurm", "sge", "pbs"))
    assert {"--mem=1500M", "--time=01:35:00", "--array=1-3", "--cpus-per-task=1"} <= set(slurm)
    assert {"-l h_vmem=1500M", "-l h_rt=5700", "-l s_rt=5640", "-t 1-3"} <= set(sge)
    assert {"-l select=1:ncpus=1:mem=1500mb", "-l walltime=01:35:00", "-J 1-3"} <= set(pbs)


def test_a_warning_comes_before_the_end(array):
    assert "--signal=B:USR1@60" in directives("slurm", array)


@pytest.mark.parametrize("name", ["slurm", "sge", "pbs"])
def test_the_group_waits_for_this_array_and_for_earlier_ones(name, array, tmp_path):
    """With programs that print the words they are called with."""
    program = "sbatch" if name == "slurm" else "qsub"
    (tmp_path / program).write_text(f'#!/bin/bash\necho "$@" >> {tmp_path}/calls\necho 77\n')
    (tmp_path / program).chmod(0o755)
    group = JobRequest(name="group", folder=array.folder, memory_gb=2, minutes=10)
    text = write_submit_script(SCHEDULERS[name], array, group, ["12"])
    subprocess.run(["bash", "-c", text], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.endswith("participant.sh")
    assert second.endswith("group.sh")
    assert "12" in second
    assert "77" in second
    assert (array.folder / "participant.id").read_text() == "77\n"
    assert (array.folder / "group.id").read_text() == "77\n"


def group_job(array, out_dir, complete):
    group = JobRequest(name="group", folder=array.folder, memory_gb=2, minutes=10)
    text = write_group_script(SCHEDULERS["loop"], group, ["echo", "computed"], out_dir,
                              complete=complete)  # fmt: skip
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)


def set_status(out_dir, name, status):
    path = out_dir / UNITS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{\n  "status": "{status}",\n  "reason": ""\n}}\n')


def test_a_group_is_not_computed_from_a_part_of_the_study(array, tmp_path):
    (array.folder / MODELS).write_text("sub-01_desc-x\nsub-02_desc-x\n")
    set_status(tmp_path, "sub-01_desc-x", "done")
    for status in (None, "failed"):
        if status:
            set_status(tmp_path, "sub-02_desc-x", status)
        done = group_job(array, tmp_path, complete=True)
        assert done.returncode == 1
        assert "sub-02_desc-x has no result" in done.stderr
        assert "computed" not in done.stdout
        assert "computed" in group_job(array, tmp_path, complete=False).stdout
    set_status(tmp_path, "sub-02_desc-x", "excluded")
    assert group_job(array, tmp_path, complete=True).stdout == "computed\n"


def test_a_loop_goes_on_after_a_task_that_fails(array):
    array.script.write_text('[ "$1" = 2 ] && exit 3; echo "$1" >> done\n')
    (array.folder / "group.sh").write_text("echo group >> done\n")
    group = JobRequest(name="group", folder=array.folder, memory_gb=2, minutes=10)
    text = write_submit_script(SCHEDULERS["loop"], array, group)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert "task 2 failed" in done.stdout
    assert Path(array.folder / "done").read_text().split() == ["1", "3", "group"]
