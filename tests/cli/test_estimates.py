"""Estimates follow the machine, and a job is as long as its longest participants."""

import pytest

from npi_bids.cli import machine
from npi_bids.cli.estimates import Estimate, command_seconds, estimate_job
from npi_bids.cli.execution import training_memory
from npi_bids.cli.machine import MachineSpeed, find_speed
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.families import families


def model(seconds, memory=1.0):
    return Estimate(600, 596, 400, memory, seconds)


def test_a_job_is_as_long_as_its_longest_participants():
    study = {"01": [model(10.0)], "02": [model(20.0), model(30.0)], "03": [model(40.0)]}
    assert estimate_job(study).seconds == 50 + command_seconds(1)
    assert estimate_job(study, per_task=2).seconds == 90 + command_seconds(2)
    assert estimate_job(study, n_procs=2).seconds == 25 + command_seconds(1)


def test_a_job_needs_memory_for_each_of_its_processes():
    study = {"01": [model(1.0, 2.0), model(1.0, 3.0)]}
    one, two, many = (estimate_job(study, n_procs=n).memory_gb for n in (1, 2, 9))
    assert two - one == pytest.approx(3.0)
    assert many == two  # there are two models


def test_an_unknown_duration_stays_unknown():
    assert estimate_job({"01": [model(1.0)], "02": [model(None)]}).seconds is None


def test_a_slower_machine_takes_longer():
    assert command_seconds(3, MachineSpeed(python=2.0)) == 2 * command_seconds(3)


def test_the_speed_is_measured_once_for_each_machine(tmp_path, monkeypatch):
    speeds = iter([MachineSpeed(2.0, 3.0), MachineSpeed(4.0, 5.0)])
    monkeypatch.setattr(machine, "measure_speed", lambda: next(speeds))
    assert find_speed(tmp_path) == find_speed(tmp_path) == MachineSpeed(2.0, 3.0)
    monkeypatch.setattr(machine.socket, "gethostname", lambda: "another")
    assert find_speed(tmp_path) == MachineSpeed(4.0, 5.0)
    (tmp_path / "machine.json").write_text("{")
    with pytest.raises(StopIteration):  # a damaged file is measured anew
        find_speed(tmp_path)


def test_workloads_take_time():
    assert all(0 < seconds < 5 for seconds in machine.time_workloads())


# CPU seconds at the speed of the reference machine, and GB, of whole commands with one process
# (python -m benchmarks.estimates), which goals of a factor 2 and 1.5 refer to.
MEASURED = {20: (13.5, 0.56), 100: (17.0, 0.57), 400: (62.0, 0.67), 1000: (420.0, 1.43)}


@pytest.mark.parametrize("n_regions", MEASURED)
def test_estimates_are_close_to_what_was_measured(n_regions):
    used, memory = MEASURED[n_regions]
    seconds = families()["hybrid"].seconds(600, n_regions, TrainSettings())
    job = estimate_job({"01": [model(seconds, training_memory(n_regions))]})
    assert used / 2 < job.seconds < used * 2
    assert memory / 1.5 < job.memory_gb < memory * 1.5
