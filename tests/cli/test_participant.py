import logging
from types import SimpleNamespace

import pytest

from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, UnitStatus
from npi_bids.cli import participant
from npi_bids.cli.inputs import add_prior_digest
from npi_bids.cli.participant import choose_exit_code
from npi_bids.cli.run import describe_failures
from npi_bids.errors import InputDataError, SettingsError
from tests.cli.conftest import request_of


def status(fate, error="", reason=""):
    return UnitStatus({"sub": "01"}, "simple", fate, "x", error=error, reason=reason)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        ([status(DONE), status(EXCLUDED, "NoUsableDataError")], 0),
        ([status(EXCLUDED, "NoUsableDataError")], 4),
        ([status(FAILED, "InputDataError")], 3),
        ([status(FAILED, "InputDataError"), status(FAILED, "NoUsableDataError")], 3),
        ([status(FAILED, "SettingsError")], 2),
        ([status(FAILED, "InputDataError"), status(FAILED, "KeyError")], 1),
        ([status(FAILED, "InputDataError"), status(DONE)], 1),
        ([status(FAILED)], 1),
    ],
)
def test_the_fate_of_all_models_is_one_exit_code(statuses, code):
    assert choose_exit_code(statuses) == code


def task(name, n_regions=20, tr=2.0):
    run = SimpleNamespace(path=name, tr=tr)
    unit = SimpleNamespace(problems=(), runs=(run,))
    return SimpleNamespace(unit=unit, atlas=SimpleNamespace(n_regions=n_regions), name=name)


@pytest.fixture
def narrow(monkeypatch):
    """Return a request with a passband that 200 samples cannot resolve."""
    monkeypatch.setattr(participant, "count_values", lambda path: (200 if "short" in path else
                                                                   4000, 1))  # fmt: skip
    return request_of("--passband", "0.01", "0.04")


def test_a_passband_too_narrow_for_every_model_ends_the_run_at_once(narrow):
    with pytest.raises(SettingsError, match=r"0\.01 0\.04 is too narrow for TR 2 s"):
        participant.check_tasks_passband([task("short-1"), task("short-2")], narrow)


def test_models_that_could_use_the_passband_are_not_kept_back(narrow, caplog):
    participant.check_tasks_passband([task("short"), task("long")], narrow)
    participant.check_tasks_passband([task("short", tr=0.5), task("short", tr=None)], request_of())
    with caplog.at_level(logging.WARNING, "npi_bids"):
        participant.check_tasks_passband([task("short", n_regions=4)], narrow)
    assert "short: --passband 0.01 0.04 is not used: the model has 4 regions" in caplog.text


def test_the_last_line_names_the_cause_and_does_not_blame_the_group():
    failed = [status(FAILED, "SettingsError", "The band is too narrow.")] * 2
    text = describe_failures(2, 4, failed)
    assert text == (
        "no model could be fitted, because its options cannot be used: The band is too narrow; so "
        "there is no group"
    )
    mixed = [*failed, status(FAILED, reason="Other"), status(DONE)]
    assert describe_failures(1, 0, mixed) == (
        "some models failed: The band is too narrow (others for other reasons)"
    )
    assert "the group level failed, because no usable data" in describe_failures(0, 4, mixed)


def test_a_map_of_delays_that_fits_no_atlas_ends_the_run_at_once(tmp_path):
    path = tmp_path / "delays.tsv"
    path.write_text("name\tdelay\nA\t0\nB\t0.5\n")
    fitting, other = (
        SimpleNamespace(atlas=SimpleNamespace(labels=labels))
        for labels in (("A", "B"), ("A", "C"))
    )
    participant.check_known_delays([other], request_of())
    request = request_of("--delay-map", str(path))
    participant.check_known_delays([fitting], request)
    with pytest.raises(InputDataError, match="names regions that the atlas does not have: B"):
        participant.check_known_delays([fitting, other], request)
    with pytest.raises(SettingsError, match="not read with pretrain and --pretrained"):
        participant.check_known_delays(
            [fitting], request_of("--delay-map", str(path), "--pretrained", str(tmp_path))
        )


def test_another_map_of_delays_is_another_configuration(tmp_path):
    path = tmp_path / "delays.tsv"
    configurations = [add_prior_digest(request_of()).analysis.configuration]
    for delay in (0.5, 0.6):
        path.write_text(f"name\tdelay\nA\t0\nB\t{delay}\n")
        request = add_prior_digest(request_of("--delay-map", str(path)))
        configurations.append(request.analysis.configuration)
    assert len(set(configurations)) == 3
    assert configurations[0] == request_of().analysis.configuration
    with pytest.raises(InputDataError, match=r"--delay-map <.*> does not exist"):
        add_prior_digest(request_of("--delay-map", str(tmp_path / "none.tsv")))
