"""What is known of an error in another process: class, exit code and message."""

import errno

import pytest

from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError, SurrogateError
from npi_bids.io.failures import Failure, describe_failure, read_failure, write_failure

ODD = 'Run 1:\n\tTraceback (most recent call last):\nValueError: <b> \u2028 "quoted" {x}'


@pytest.mark.parametrize(
    ("error", "code"),
    [(SettingsError, 2), (InputDataError, 3), (NoUsableDataError, 4), (SurrogateError, 1)],
)
def test_class_code_and_words_come_back_whatever_the_words_are(tmp_path, error, code):
    write_failure(error(ODD), tmp_path / "node" / "failure.json")
    found = read_failure(tmp_path / "node" / "failure.json")
    assert found == Failure(error.__name__, code, ODD, on_purpose=True)


def test_errors_of_others_have_code_1_and_always_some_words():
    assert describe_failure(KeyError("a")) == Failure("KeyError", 1, "'a'", on_purpose=False)
    assert describe_failure(MemoryError()).message == "MemoryError"


def test_a_missing_result_of_an_earlier_step_is_told_in_a_sentence():
    said = describe_failure(FileNotFoundError("work/result_train.pklz")).message
    assert "<work/result_train.pklz>, which an earlier step has written, is not there" in said
    message = describe_failure(FileNotFoundError(2, "No such file or directory", "a.tsv")).message
    assert message == "[Errno 2] No such file or directory: 'a.tsv'"


def test_a_full_disk_is_told_with_what_to_do():
    said = describe_failure(OSError(errno.ENOSPC, "No space left on device")).message
    assert said == (
        "[Errno 28] No space left on device; make room on the disk, and run the same command again"
    )


def test_a_file_name_that_is_no_text_can_be_told(tmp_path):
    write_failure(InputDataError("<sub-\udcff.nii> is bad"), tmp_path / "failure.json")
    assert read_failure(tmp_path / "failure.json").message == "<sub-\\udcff.nii> is bad"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"error": "KeyError"}'])
def test_half_a_file_tells_nothing(tmp_path, content):
    (tmp_path / "failure.json").write_text(content)
    assert read_failure(tmp_path / "failure.json") is None
