"""An error in a node reaches the main process with its class, its exit code and its words."""

import pytest
from nipype.interfaces.base import Undefined
from nipype.pipeline import engine as pe

from npi_bids.bids.derivatives import DONE, EXCLUDED, FAILED, UnitStatus
from npi_bids.cli.execution import Plugin, read_crashes, run_workflow
from npi_bids.cli.participant import judge
from npi_bids.errors import exit_code_of
from npi_bids.interfaces.train import TrainSurrogate
from tests.interfaces.conftest import write_run_files

PLUGINS = [Plugin("Linear", {}), Plugin("MultiProc", {"n_procs": 1, "mp_context": "forkserver"})]
# The message names the file, and a file can have such a name.
ODD = "Traceback (most recent call last):\nValueError: \ttwo lines.txt"


def crash_of(tmp_path, run, plugin, **options):
    subject = write_run_files(run, tmp_path)
    node = pe.Node(TrainSurrogate(train={"surrogate": "var"}, **subject), name="train_surrogate")
    for name, value in options.items():
        setattr(node.inputs, name, value)
    workflow = pe.Workflow("wf", base_dir=str(tmp_path / "work"))
    workflow.add_nodes([node])
    assert not run_workflow(workflow, plugin, tmp_path / "crash", lambda *_: None)
    (crash,) = read_crashes(tmp_path / "crash")
    assert crash.node == "wf.train_surrogate"
    return crash


@pytest.mark.slow
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_class_code_and_message_survive_odd_words(tmp_path, run, plugin):
    path = tmp_path / ODD
    path.touch()
    failure = crash_of(tmp_path, run, plugin, pretrained=str(path)).failure
    assert (failure.error, failure.exit_code, failure.on_purpose) == ("InputDataError", 3, True)
    assert failure.message.startswith(f"--pretrained <{path}>: expected a .safetensors file")


@pytest.mark.slow
def test_an_error_before_the_interface_runs_is_told_too(tmp_path, run):
    failure = crash_of(tmp_path, run, PLUGINS[1], series=Undefined).failure
    assert failure.error == "ValueError"
    assert "series" in failure.message
    assert not failure.on_purpose


@pytest.mark.slow
def test_the_words_of_an_earlier_run_are_not_those_of_this_one(tmp_path, run):
    crash_of(tmp_path, run, PLUGINS[0], pretrained=str(_empty(tmp_path, "one.txt")))
    for path in (tmp_path / "crash").iterdir():
        path.unlink()
    crash = crash_of(tmp_path, run, PLUGINS[0], pretrained=str(_empty(tmp_path, "two.txt")))
    assert "two.txt" in crash.failure.message


def _empty(folder, name):
    path = folder / name
    path.touch()
    return path


def test_a_crash_file_alone_tells_the_node_and_no_more(tmp_path):
    """The words of a traceback are not read: they can be anything."""
    (tmp_path / "crash-1-x.txt").write_text(
        "Node: wf.sub_01_wf.unit.parcellate\nWorking directory: /x\n\nTraceback (most recent "
        "call last):\nnpi_bids.errors.InputDataError: The file <a: b> is bad.\n\n"
    )
    (crash,) = read_crashes(tmp_path)
    assert crash.node == "wf.sub_01_wf.unit.parcellate"
    assert (crash.failure.error, crash.failure.exit_code) == ("", 1)
    assert "crash file" in crash.failure.message


def status(fate, error=""):
    return UnitStatus({"sub": "01"}, "simple", fate, "x", error=error)


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
    assert judge(statuses) == code


def test_every_class_of_error_is_known_by_its_name():
    assert [exit_code_of(name) for name in ("NPIError", "NoUsableDataError", "OSError", "")] == [
        *(1, 4, 1, 1)
    ]
