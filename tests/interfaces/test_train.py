"""Train a surrogate: what it writes, and what it says where too little data is left."""

from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from npi_bids.errors import InputDataError, NoUsableDataError
from npi_bids.inference import train_runs
from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.io.files import read_json
from npi_bids.io.tables import read_series
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.storage import load_surrogate, read_tensors

VAR = {"surrogate": "var"}


def test_weights_on_disk_are_the_wiring_from_source_to_target(subject, execute):
    outputs = execute(TrainSurrogate(train=VAR, **subject))
    weights = read_tensors(outputs.surrogate)["weights"]
    assert weights.shape == (1, 4, 4)
    assert weights[0, 0, 1] > 0.4 > abs(weights[0, 1, 0]) + 0.3  # A drives B
    assert weights[0, 1, 2] < -0.3 < -abs(weights[0, 2, 1]) - 0.1  # B inhibits C


def test_the_surrogate_and_the_one_of_the_training_windows_differ(subject, execute):
    outputs = execute(TrainSurrogate(train=VAR, **subject))
    series = read_series(Path(subject["series"][0]), 2.0)
    trained = train_runs([series], train=TrainSettings(**VAR))
    for name in ("surrogate", "checked"):
        expected = getattr(trained, name).weights
        np.testing.assert_array_equal(_load_of(outputs, name).weights, expected)
    assert (trained.surrogate.weights != trained.checked.weights).any()


def _load_of(outputs, name):
    return load_surrogate(getattr(outputs, name))


def test_the_record_holds_resolved_settings_and_the_errors(subject, execute):
    outputs = execute(TrainSurrogate(train=VAR, **subject))
    record = read_json(Path(outputs.training))
    assert record["status"] == "done"
    assert record["settings"]["n_lags"] == 1
    assert len(record["train"]) == len(record["valid"]) == 1
    assert "ridge_penalty" in record["details"]


@pytest.mark.parametrize("options", [{"min_time": 1e6}, {"train": {**VAR, "n_lags": 1300}}])
def test_too_little_data_is_an_outcome_and_no_error(subject, execute, options):
    outputs = execute(TrainSurrogate(**{"train": VAR, **subject, **options}))
    record = read_json(Path(outputs.training))
    assert record["status"] == "excluded"
    assert record["reason"]
    assert not isdefined(outputs.surrogate)
    assert not isdefined(outputs.checked)


def test_a_pretrained_file_that_is_none_is_an_error(subject, execute, tmp_path):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(InputDataError, match=r"expected a \.safetensors file") as e:
        execute(TrainSurrogate(train=VAR, pretrained=str(path), **subject))
    assert not isinstance(e.value, NoUsableDataError)


def test_a_map_of_delays_is_read_for_the_regions_of_the_series(subject, execute, tmp_path):
    labels = read_series(Path(subject["series"][0]), 2.0).labels
    path = tmp_path / "delays.tsv"
    rows = [f"{label}\t{number}" for number, label in enumerate(labels)]
    path.write_text("\n".join(["name\tdelay", *rows]) + "\n")
    train = {"residual": "none", "device": "cpu"}
    outputs = execute(TrainSurrogate(train=train, delay_map=str(path), **subject))
    # Four regions are too few for delays.
    assert read_json(Path(outputs.training))["details"]["delay_map_used"] == 0
    path.write_text("name\tdelay\nelsewhere\t0\n")
    with pytest.raises(InputDataError, match="does not have: elsewhere"):
        execute(TrainSurrogate(train=train, delay_map=str(path), **subject), "again")
