"""Perturb a trained surrogate: matrices from source to target, in safetensors."""

from pathlib import Path

import numpy as np
from nipype.interfaces.base import isdefined

from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import perturb_model, train_runs
from npi_bids.interfaces.perturb import PerturbSurrogate
from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.io.tables import read_series
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.storage import read_tensors


def trained(execute, subject, **train):
    outputs = execute(TrainSurrogate(train={"device": "cpu", **train}, **subject), "train")
    names = ("surrogate", "checked", "training")
    return {name: getattr(outputs, name) for name in names if isdefined(getattr(outputs, name))}


def perturb(execute, subject, files, **settings):
    outputs = execute(PerturbSurrogate(perturb=settings, **files, **subject), "perturb")
    return read_tensors(outputs.connectivity)


def test_rows_of_the_matrix_are_sources(subject, execute, weights):
    found = perturb(execute, subject, trained(execute, subject, surrogate="var"), strength=2.0)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(found["matrix"][off], 2 * weights[off], atol=0.2)
    assert found["matrix"][0, 1] > 0.8
    assert abs(found["matrix"][1, 0]) < 0.2
    assert (np.diag(found["matrix"]) == 0).all()
    assert (np.diag(found["jacobian"]) > 0.3).all()


def test_files_hold_what_the_library_returns_to_the_last_bit(subject, execute):
    options = {"surrogate": "mlp", "epochs": 2, "n_seeds": 2, "device": "cpu"}
    found = perturb(execute, subject, trained(execute, subject, **options), together=("A+B", "C"))
    runs = [read_series(Path(subject["series"][0]), 2.0)]
    settings = PerturbSettings(together=("A+B", "C"))
    model = train_runs(runs, train=TrainSettings(**options))
    expected = perturb_model(runs, model, perturb=settings)
    assert expected.members.shape == (2, 4, 4)
    assert expected.responses.shape == (2, 4)
    for name in ("matrix", "jacobian", "members", "responses"):
        np.testing.assert_array_equal(found[name], getattr(expected, name))


def test_without_a_surrogate_there_is_nothing_to_perturb(subject, execute):
    files = trained(execute, subject, surrogate="var", n_lags=1300)
    outputs = execute(PerturbSurrogate(perturb={}, **files, **subject), "perturb")
    assert not isdefined(outputs.connectivity)
