"""What an interrupted run left is used again where it is whole, and made anew where it is not."""

import gzip
import io
import pickle

import pytest
from nipype.interfaces.base.support import Bunch, InterfaceResult
from nipype.pipeline import engine as pe
from nipype.utils.filemanip import loadpkl, savepkl

from npi_bids.workflows.base import Plugin, run_workflow
from npi_bids.workflows.cache import drop_damaged
from tests.workflows.test_multiproc import node


def write_gzip(path, content):
    with gzip.open(path, "wb") as file:
        file.write(content)


def plain_pickle(value):
    stream = io.BytesIO()
    pickle.dump(value, stream)
    return stream.getvalue()


@pytest.fixture
def result(tmp_path):
    """Return the result of a node that left no files."""
    path = tmp_path / "node" / "result_node.pklz"
    path.parent.mkdir()
    savepkl(str(path), InterfaceResult(None, Bunch(), outputs=Bunch()))
    return path


def test_a_whole_result_is_kept(result):
    assert drop_damaged([result.parent]) == 0
    assert result.is_file()


@pytest.mark.parametrize(
    "content",
    [b"no result", b"", plain_pickle({"a": 1}), plain_pickle([1, 2])[:-1]],
    ids=["text", "empty", "dict", "half"],
)
def test_a_file_that_holds_no_result_is_removed_without_being_unpickled(result, content):
    write_gzip(result, content)
    assert drop_damaged([result.parent]) == 1
    assert not result.exists()


def test_inputs_that_are_no_pickle_cost_the_node(result):
    write_gzip(result.parent / "_inputs.pklz", b"no inputs")
    assert drop_damaged([result.parent]) == 1


def add(x):
    return x + 1


@pytest.mark.parametrize("plugin", [Plugin("Linear", {}), Plugin("MultiProc", {"n_procs": 1})])
def test_every_workflow_recomputes_a_damaged_node(tmp_path, plugin):
    for damaged in (False, True):
        workflow = pe.Workflow("wf", base_dir=str(tmp_path))
        first, second = node(add, "first", 1), node(add, "second", 0)
        inner = pe.Workflow("inner")
        inner.add_nodes([first])
        workflow.connect(inner, "first.out", second, "x")
        if damaged:
            write_gzip(tmp_path / "wf" / "inner" / "first" / "result_first.pklz", b"no result")
        assert run_workflow(workflow, plugin, tmp_path / "crash", lambda *_: None)
        assert loadpkl(tmp_path / "wf" / "second" / "result_second.pklz").outputs.out == 3
