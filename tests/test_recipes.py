"""The recipes of CONTRIBUTING: what is added in one place is known everywhere."""

import dataclasses

import numpy as np
import pytest

from npi_bids.assessment.verdict import AssessSettings
from npi_bids.bids import outputs
from npi_bids.bids.outputs import CATALOGUE, output_path, parse_name
from npi_bids.cli import simulate as command
from npi_bids.connectivity import measures
from npi_bids.connectivity.measures import MeasureSettings
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import ec_of_runs
from npi_bids.io.tables import read_matrix
from npi_bids.simulate import systems
from npi_bids.simulate.systems import Simulation
from npi_bids.surrogates.base import TrainSettings


def test_a_simulator_in_the_list_is_a_word_of_the_command(monkeypatch, tmp_path):
    def ring(settings, n_runs, n_samples):
        truth = np.roll(np.eye(settings.n_regions), 1, axis=1)
        noise = np.random.default_rng(0).standard_normal((n_runs, n_samples, settings.n_regions))
        labels = tuple(f"R{place}" for place in range(settings.n_regions))
        return Simulation(noise, truth, "ones", labels, 2.0)

    monkeypatch.setitem(systems.SYSTEMS, "ring", ring)
    words = ["ring", str(tmp_path / "out"), "--series-only", "--n-regions", "4", "--minutes", "3",
             "--n-subjects", "1", "--n-runs", "1"]  # fmt: skip
    assert command.main(words) == 0
    truth = read_matrix(tmp_path / "out" / "desc-truth_relmat.tsv").matrix
    assert truth[0, 1] == 1 > truth[1, 0]


def test_an_entity_in_the_list_is_read_and_written(monkeypatch):
    name = "sub-1_task-rest_trc-water_bold.nii.gz"
    with pytest.raises(Exception, match="trc"):
        outputs.stem(dict(parse_name(name).entities))
    order = outputs.ENTITY_ORDER
    place = order.index("rec")
    monkeypatch.setattr(outputs, "ENTITY_ORDER", (*order[:place], "trc", *order[place:]))
    assert outputs.stem(dict(parse_name(name).entities)) == "sub-1_task-rest_trc-water"


def test_a_measure_is_a_function_and_an_output(monkeypatch, run):
    twice = "twicecorrelation"
    output = dataclasses.replace(CATALOGUE["partialcorrelation"], kind=twice, measure=twice)
    monkeypatch.setattr(outputs, "CATALOGUE", {**CATALOGUE, twice: output})
    known = measures.model_free_measures()
    monkeypatch.setitem(measures.MEASURE_NAMES, "twice", twice)
    monkeypatch.setattr("npi_bids.inference.model_free_measures",
                        lambda: {**known, "twice": lambda runs, _: 2 * np.eye(4)})  # fmt: skip
    asked = object.__new__(MeasureSettings)  # whose choices were read when it was defined
    for field in dataclasses.fields(MeasureSettings):
        value = ("npi", "twice") if field.name == "measures" else field.default
        object.__setattr__(asked, field.name, value)
    result = ec_of_runs(
        [run], train=TrainSettings(surrogate="var"), perturb=PerturbSettings(),
        assess=AssessSettings(measures=asked),
    )  # fmt: skip
    np.testing.assert_array_equal(result.measures[twice].matrix, 2 * np.eye(4))
    path = output_path(twice, {"sub": "1", "task": "rest", "atlas": "X"}, "simple")
    assert path.name == "sub-1_task-rest_atlas-X_meas-twicecorrelation_desc-simple_relmat.tsv"
