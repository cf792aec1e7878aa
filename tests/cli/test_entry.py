"""No traceback reaches a user, whatever happens."""

import logging
import os
import tempfile

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from npi_bids.cli import demo, ec, entry, explore, export, fetch, run, simulate, validate, view
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError, UsageError

MAINS = {
    "npi-bids": run, "npi-simulate": simulate, "npi-export": export, "npi-validate": validate,
    "npi-ec": ec, "npi-bids-fetch": fetch, "npi-bids-demo": demo,
    "npi-view": view, "npi-explore": explore,
}  # fmt: skip


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def raising(error):
    def function(_):
        raise error

    return function


@pytest.mark.parametrize(
    "error", [ValueError("odd"), RecursionError("deep"), KeyError("x"), ZeroDivisionError()]
)
def test_an_unexpected_error_is_one_sentence_with_the_place_of_its_traceback(
    capsys, temporary, error
):
    assert entry.run_command("npi-x", raising(error), []) == 1
    err = capsys.readouterr().err
    (file,) = temporary.iterdir()
    assert err.startswith(f"npi-x: stopped by an unexpected error, {type(error).__name__}")
    assert str(file) in err
    assert "npi-bids/issues" in err
    assert err.count("\n") == 1
    assert "Traceback" in file.read_text()
    assert "in raising" in file.read_text() or "in function" in file.read_text()


def test_no_memory_is_no_bug(capsys):
    assert entry.run_command("npi-x", raising(MemoryError("3 GB")), []) == 1
    err = capsys.readouterr().err
    assert "not enough memory" in err
    assert "issues" not in err


def test_the_traceback_goes_into_the_log_of_the_run(capsys, tmp_path, temporary):
    logger = logging.getLogger("npi_bids")
    level = logger.level

    def function(_):
        logger.addHandler(logging.FileHandler(tmp_path / "run.log"))
        logger.setLevel(logging.DEBUG)
        raise ValueError("odd")

    try:
        assert entry.run_command("npi-x", function, []) == 1
    finally:
        logger.setLevel(level)
    assert str(tmp_path / "run.log") in capsys.readouterr().err
    assert "ValueError: odd" in (tmp_path / "run.log").read_text()
    assert not list(temporary.iterdir())
    assert not any(isinstance(h, logging.FileHandler) for h in logger.handlers)


def test_a_traceback_that_cannot_be_written_is_not_written_elsewhere(
    capsys, temporary, monkeypatch
):
    monkeypatch.chdir(temporary)
    assert entry.run_command("npi-x", raising(ValueError("odd")), []) == 1
    assert "its traceback could not be written" in capsys.readouterr().err
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputDataError("a"), 3), (NoUsableDataError("a"), 4), (OSError(28, "No space left"), 1)],
)
def test_expected_errors_have_their_codes_and_no_traceback(capsys, temporary, error, code):
    assert entry.run_command("npi-x", raising(error), []) == code
    assert "Traceback" not in capsys.readouterr().err
    assert not list(temporary.iterdir())


def test_a_traceback_is_shown_where_it_is_asked_for(capsys):
    assert entry.run_command("npi-x", raising(InputDataError("a")), ["-v"]) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("name", MAINS)
def test_every_command_has_the_last_handler(capsys, monkeypatch, name):
    module = MAINS[name]
    monkeypatch.setattr(module, "_run" if name == "npi-bids" else "_main", raising(ValueError()))
    assert module.main([]) == 1
    assert capsys.readouterr().err.startswith(f"{name}: stopped by an unexpected error")


@pytest.mark.parametrize("name", MAINS)
def test_every_command_is_interrupted_in_words(capsys, monkeypatch, name):
    module = MAINS[name]
    target = "_run" if name == "npi-bids" else "_main"
    monkeypatch.setattr(module, target, raising(KeyboardInterrupt()))
    assert module.main([]) == 130
    assert capsys.readouterr().err.startswith(f"{name}: interrupted; ")


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (UsageError("--lags must be above 0."), ["npi-x: --lags must be above 0.",
                                                 "See npi-x --help."]),
        (UsageError("a.\nb."), ["npi-x: the options cannot be used:", "  a.", "  b.",
                                "See npi-x --help."]),
        (SettingsError("--out exists."), ["npi-x: --out exists."]),
    ],
)  # fmt: skip
def test_usage_errors_point_to_the_help(capsys, error, lines):
    assert entry.run_command("npi-x", raising(error), []) == 2
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("name", MAINS)
def test_an_unknown_option_is_answered_in_two_lines(capsys, name):
    with pytest.raises(SystemExit) as end:
        MAINS[name].main(["--no-such-option"])
    assert end.value.code == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{name}: --no-such-option is not an option")
    assert second == f"See {name} --help."


@pytest.mark.parametrize("name", MAINS)
def test_help_begins_with_an_example_and_fits_80_columns(capsys, name):
    with pytest.raises(SystemExit) as end:
        MAINS[name].main(["--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[lines.index("example:") + 1].strip().startswith(f"{name} ")
    assert lines.index("example:") < 10


def test_commands_and_what_they_start_use_one_thread_of_numpy(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    found = {}

    def look(_):
        found.update(
            {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()
             if pool["user_api"] == "blas"}
        )  # fmt: skip
        found["environment"] = os.environ["OPENBLAS_NUM_THREADS"]
        return 0

    with threadpool_limits(limits=2, user_api="blas"):
        assert entry.run_command("npi-x", look, []) == 0
        assert len(found) > 1
        assert {int(value) for value in found.values()} == {1}
        after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert set(after) == {2}


def test_threads_that_the_user_asks_for_are_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = []
    entry.run_command("npi-x", lambda _: found.append(os.environ["OMP_NUM_THREADS"]) or 0, [])
    assert found == ["3"]
