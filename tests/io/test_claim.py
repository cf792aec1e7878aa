"""An output dataset is claimed for one configuration at a time."""

import json
import os
import signal
import subprocess
import sys

import pytest

from npi_bids.errors import ConfigurationError
from npi_bids.io.claim import check_claim, claim_dataset, is_sole_configuration

HOLD = """
import sys
from pathlib import Path
from npi_bids.io.claim import claim_dataset
with claim_dataset(Path(sys.argv[1]), sys.argv[2], lambda: None):
    print("claimed", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "logs" / "configuration.json"


@pytest.fixture
def hold(path):
    """Return a function that claims in a process of its own, and says when that is done."""
    started = []

    def start(configuration):
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), configuration],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == b"claimed\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def nothing():
    """Find nothing that forbids a configuration."""


def test_processes_of_one_configuration_share_a_claim(path, hold):
    hold("aaa")
    hold("aaa")
    with claim_dataset(path, "aaa", nothing):
        check_claim(path, "aaa")


def test_the_second_configuration_is_refused_in_words_that_name_both(path, hold):
    first = hold("aaa")
    with pytest.raises(ConfigurationError) as refused, claim_dataset(path, "bbb", nothing):
        pass
    for word in ("aaa", "bbb", str(first.pid), str(path.parent.parent)):
        assert word in str(refused.value)
    check_claim(path, "aaa")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_claim_ends_with_its_process(path, hold, number):
    first = hold("aaa")
    first.send_signal(number)
    first.wait()
    with claim_dataset(path, "bbb", nothing):
        check_claim(path, "bbb")
        with pytest.raises(ConfigurationError, match="aaa"):
            check_claim(path, "aaa")


def test_a_claim_is_kept_where_results_forbid_the_new_configuration(path):
    with claim_dataset(path, "aaa", nothing):
        pass
    checks = []

    def saved_meanwhile():
        checks.append(1)
        if len(checks) > 1:
            raise ConfigurationError("models are there")

    with pytest.raises(ConfigurationError, match="are there"):  # noqa: SIM117
        with claim_dataset(path, "bbb", saved_meanwhile):
            pass
    check_claim(path, "aaa")


def test_a_claim_says_that_results_are_of_one_configuration_until_they_may_not_be(path):
    assert not is_sole_configuration(path, "aaa")
    with claim_dataset(path, "aaa", nothing):
        assert not is_sole_configuration(path, "aaa")
    with claim_dataset(path, "aaa", nothing, sole=True):
        assert is_sole_configuration(path, "aaa")
        assert not is_sole_configuration(path, "bbb")
    with claim_dataset(path, "aaa", nothing):  # which can add only results of the same
        assert is_sole_configuration(path, "aaa")
    with claim_dataset(path, "bbb", nothing):  # which may leave some of the former
        assert not is_sole_configuration(path, "bbb")


def test_without_locks_the_first_claim_stays(path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with claim_dataset(path, "aaa", nothing):
        pass
    with pytest.raises(ConfigurationError, match="delete"), claim_dataset(path, "bbb", nothing):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_half_a_claim_claims_nothing(path, content):
    path.parent.mkdir(parents=True)
    path.write_text(content)
    check_claim(path, "aaa")
    with claim_dataset(path, "bbb", nothing):
        assert json.loads(path.read_text())["ConfigurationHash"] == "bbb"
    assert os.listdir(path.parent) == [path.name]
