"""Infer the parameters of a whole-brain model through its interface."""

import numpy as np
import pandas as pd
import pytest
from nipype.interfaces.base import isdefined

from npi_bids.errors import InputDataError
from npi_bids.interfaces.infer import InferParameters
from npi_bids.io.tables import write_matrix, write_table
from npi_bids.records import ECResult

INFER = {"infer": "hopf", "n_simulations": 100, "n_held_out": 50, "n_members": 1}


@pytest.fixture
def inputs(subject, run, tmp_path):
    """Add the design matrix of the run, and structural connectivity, to its series."""
    design = tmp_path / "design.tsv"
    table = pd.DataFrame({"constant": 1, "global_signal": np.arange(len(run.keep)) * 0.1})
    write_table(table, design)
    write_matrix(ECResult(np.ones((4, 4)), tuple("ABCD")), tmp_path / "sc.tsv")
    return {**subject, "designs": [str(design)], "brain": {"sc": str(tmp_path / "sc.tsv")}}


def test_missing_structure_is_an_error(inputs, execute):
    with pytest.raises(InputDataError, match="needs structural connectivity"):
        execute(InferParameters(infer=INFER, **{**inputs, "brain": {}}))


def test_too_little_data_is_no_error_and_leaves_no_files(inputs, execute, caplog):
    outputs = execute(InferParameters(infer=INFER, min_time=1e6, **inputs))
    assert not isdefined(outputs.files) or outputs.files == []
    assert "No parameters are inferred" in caplog.text


def test_a_design_of_another_run_is_refused(inputs, execute, tmp_path):
    design = tmp_path / "design.tsv"
    write_table(pd.DataFrame({"constant": [1] * 7, "x": range(7)}), design)
    with pytest.raises(InputDataError, match=r"has 7 rows; expected \d+, one for each"):
        execute(InferParameters(infer=INFER, **inputs))
