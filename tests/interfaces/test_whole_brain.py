"""Fit a whole-brain model through its interface."""

from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from npi_bids.bids.sidecars import ModelOutcome
from npi_bids.errors import InputDataError
from npi_bids.interfaces.whole_brain import FitWholeBrain
from npi_bids.io.tables import read_matrix, write_matrix
from npi_bids.records import ECResult

pytest.importorskip("neurolib")
TRAIN = {"surrogate": "wbm", "device": "cpu"}


def test_the_map_follows_the_direction_of_the_structure(subject, execute, tmp_path):
    structure = np.zeros((4, 4))
    structure[0, 1] = structure[1, 2] = structure[2, 0] = 1.0  # A to B to C to A; D alone
    write_matrix(ECResult(structure, tuple("ABCD")), tmp_path / "sc.tsv")
    brain = {"model": "hopf", "sc": str(tmp_path / "sc.tsv"), "search": "grid", "n_grid": 2,
             "sim_minutes": 2.5, "n_states": 1, "step": 0.2}  # fmt: skip
    outputs = execute(FitWholeBrain(train=TRAIN, perturb={}, brain=brain, **subject))
    found = read_matrix(next(p for p in map(Path, outputs.files) if p.stem == "npi")).matrix
    assert found[0, 1] > found[1, 0]
    assert found[1, 2] > found[2, 1]
    assert found[3, 0] == found[0, 3] == 0
    summary = ModelOutcome.read(Path(outputs.summary))
    assert summary.fit.surrogate == "wbm"
    assert "Run 1: much motion" in summary.fit.hazards


def test_missing_structure_is_an_error_and_too_little_data_is_not(subject, execute):
    with pytest.raises(InputDataError, match="needs structural connectivity"):
        execute(FitWholeBrain(train=TRAIN, perturb={}, **subject), "one")
    outputs = execute(FitWholeBrain(train=TRAIN, perturb={}, min_time=1e6, **subject), "other")
    assert not isdefined(outputs.files) or outputs.files == []
    assert ModelOutcome.read(Path(outputs.summary)).fit is None
