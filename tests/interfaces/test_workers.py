"""A worker runs a node, and writes down why it failed."""

from nipype.interfaces.base import Undefined
from nipype.pipeline import engine as pe

from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.interfaces.workers import note_failure, run_node
from npi_bids.io.failures import FAILURE, read_failure


def node(subject, folder):
    made = pe.Node(TrainSurrogate(train={"surrogate": "var"}, **subject), name="train_surrogate")
    made.base_dir = str(folder)
    return made


def test_a_node_that_goes_well_leaves_its_result_and_no_failure(subject, tmp_path):
    outcome = run_node(node(subject, tmp_path), updatehash=False, taskid=7)
    assert outcome["traceback"] is None
    assert outcome["taskid"] == 7
    assert outcome["result"].outputs.surrogate.endswith("surrogate.safetensors")
    assert not (tmp_path / "train_surrogate" / FAILURE).exists()


def test_the_error_of_an_interface_is_kept_and_not_that_which_nipype_makes_of_it(
    subject, tmp_path
):
    failing = node(subject, tmp_path)
    (tmp_path / "no.safetensors").touch()
    failing.inputs.pretrained = str(tmp_path / "no.safetensors")
    outcome = run_node(failing, updatehash=False, taskid=1)
    assert "NodeExecutionError" in "".join(outcome["traceback"])
    failure = read_failure(tmp_path / "train_surrogate" / FAILURE)
    assert (failure.error, failure.exit_code) == ("InputDataError", 3)


def test_an_error_before_the_interface_runs_is_kept_too(subject, tmp_path):
    failing = node(subject, tmp_path)
    failing.inputs.series = Undefined
    assert run_node(failing, updatehash=False, taskid=1)["traceback"]
    assert read_failure(tmp_path / "train_surrogate" / FAILURE).error == "ValueError"


def test_the_first_error_stays_but_where_it_is_to_be_replaced(subject, tmp_path):
    failing = node(subject, tmp_path)
    for error, replace in ((KeyError("a"), False), (OSError("b"), False), (OSError("c"), True)):
        note_failure(failing, error, replace=replace)
        found = read_failure(tmp_path / "train_surrogate" / FAILURE)
        assert found.message == ("c" if replace else "'a'")
