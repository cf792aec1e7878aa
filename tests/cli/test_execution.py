"""The plugin that was asked for; and errors in nodes, which keep their class, code and words."""

from pathlib import Path

import pytest
from nipype.interfaces.base import Undefined
from nipype.pipeline import engine as pe

from npi_bids.analysis import ResourceSettings
from npi_bids.cli.execution import Plugin, choose_plugin, n_processes, read_crashes, run_workflow
from npi_bids.errors import SettingsError
from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import save_parcellation
from npi_bids.workflows.parcellate import init_parcellate_wf
from tests.cli.conftest import request_of
from tests.conftest import tiny_parcellation
from tests.interfaces.conftest import write_run_files

pytestmark = pytest.mark.alone

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


def test_resources_arrive_at_the_scheduler():
    args = choose_plugin(
        request_of("--n-cpus", "3", "--mem-mb", "2500", "--n-gpu-procs", "2").resources
    )
    assert (args.args["n_procs"], args.args["memory_gb"], args.args["n_gpu_procs"]) == (3, 2.5, 2)
    assert request_of("--omp-nthreads", "4").resources.omp_nthreads == 4


def test_plugin_of_the_users(tmp_path):
    path = tmp_path / "plugin.yml"
    path.write_text("plugin: SLURM\nplugin_args:\n  sbatch_args: --mem=4G\n")
    plugin = choose_plugin(ResourceSettings(nipype_plugin_file=str(path)))
    assert (plugin.name, plugin.args) == ("SLURM", {"sbatch_args": "--mem=4G"})
    path.write_text("- nothing\n")
    with pytest.raises(SettingsError, match="must name a 'plugin'"):
        choose_plugin(ResourceSettings(nipype_plugin_file=str(path)))


def test_multiproc_by_default():
    plugin = choose_plugin(ResourceSettings(n_procs=3, mem="2G"))
    assert plugin.name == "MultiProc"
    assert (plugin.args["n_procs"], plugin.args["memory_gb"]) == (3, 2.0)
    assert n_processes(ResourceSettings()) >= 1


def test_a_node_that_fails_leaves_a_crash_file_and_ends_in_false(tiny, tmp_path):
    save_parcellation(tiny_parcellation(), tmp_path / "atlas")
    workflow = init_parcellate_wf(denoise=DenoiseSettings(), coverage=CoverageSettings())
    workflow.base_dir = str(tmp_path / "work")
    workflow.inputs.inputnode.bold = str(tiny.file("sub-01/func/*bold.nii.gz"))
    workflow.inputs.inputnode.atlas = str(tmp_path / "atlas")
    assert not run_workflow(workflow, Plugin("Linear", {}), tmp_path / "crash", lambda *_: None)
    (crash,) = Path(tmp_path / "crash").glob("crash-*.txt")
    assert "no confounds table" in crash.read_text()
