"""Train one surrogate on the series of a group."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from npi_bids.errors import NoUsableDataError
from npi_bids.interfaces.pretrain import PretrainGroup
from npi_bids.io.files import write_json
from npi_bids.surrogates.storage import read_pretrained
from tests.conftest import var_run


def pretrain(weights, n_subjects, execute, tmp_path):
    series = {}
    for subject in range(1, n_subjects + 1):
        run, name = var_run(weights, 400, seed=subject), f"sub-{subject}_timeseries.tsv"
        table = pd.DataFrame(run.data, columns=run.labels)
        table.to_csv(tmp_path / name, sep="\t", index=False)
        write_json((tmp_path / name).with_suffix(".json"), {"RepetitionTime": 2.0})
        series[str(subject)] = [name]
    node = PretrainGroup(series=series, out_dir=str(tmp_path), file="pretrained.safetensors",
                         train={"surrogate": "var"}, links={})  # fmt: skip
    return Path(execute(node).surrogate)


def test_the_prior_of_a_group_has_the_direction_of_its_members(weights, execute, tmp_path):
    path = pretrain(weights, 4, execute, tmp_path)
    prior = read_pretrained(path, tuple("ABCD"), 2.0, "var").prior
    assert prior.weights[0, 1] > 0.4
    assert abs(prior.weights[1, 0]) < 0.1
    assert np.sign(prior.weights[1, 2]) == -1


def test_too_few_subjects_are_an_error(weights, execute, tmp_path):
    with pytest.raises(NoUsableDataError):
        pretrain(weights, 2, execute, tmp_path)
