"""The parameters of a whole-brain model on the page of a subject."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from npi_bids.bids.sidecars import Links, PosteriorFields, posterior_sidecar
from npi_bids.io.tables import write_matrix, write_table
from npi_bids.records import ECResult
from npi_bids.reports.figures_posterior import draw_posterior_figures
from npi_bids.reports.parameters import (
    tabulate_group_parameters,
    tabulate_parameters,
    warn_of_position,
)
from npi_bids.reports.subject_figures import describe_spread

FIELDS = PosteriorFields(
    model="hopf", model_description="Hopf model", observation="white", position="inside",
    position_p=0.4, position_statistics={"mahalanobis": 3.0}, position_typical={"mahalanobis": 4},
    predicted_fc_r=0.7, best_fc_r=0.8, simulations_close_in_fc=12, number_of_simulations=100,
    number_held_out=40, flows=2, flows_dropped=0, tarp_p=0.3, features=("fc_mean",),
    simulation_hash="0", seed=0, software_versions={},
)  # fmt: skip
OUTSIDE = replace(FIELDS, position="outside", position_p=0.005, extreme_features={"fc_mean": 5.0})


@pytest.fixture
def model(tmp_path):
    """Write the posterior of a model with an identified and an unidentified parameter."""
    rng = np.random.default_rng(0)
    numbers = {name: [1.0, 0.5] for name in (
        *("mean", "sd", "q025", "q25", "median", "q75", "q975", "contraction", "first_half"),
        *("second_half", "best_fc", "close_fc_low"),
    )}  # fmt: skip
    table = pd.DataFrame({
        "name": ["coupling", "noise"], **numbers, "halves_agree": [1, 0],
        "identification": ["identified", "not identified"], "close_fc_high": [4.5, 0.9],
        "prior_low": [0.0, 0.0], "prior_high": [5.0, 1.0],
    })  # fmt: skip
    names = ["coupling", "noise"]
    write_table(table, tmp_path / "parameters.tsv")
    write_table(pd.DataFrame(rng.random((50, 2)), columns=names), tmp_path / "posterior.tsv")
    coverage = {f"coverage{level}": [level / 100] * 2 for level in (50, 80, 95)}
    write_table(pd.DataFrame({"name": names, **coverage}), tmp_path / "calibration.tsv")
    ranks = pd.DataFrame(rng.random((40, 3)), columns=[*names, "tarp"])
    write_table(ranks, tmp_path / "ranks.tsv")
    fc = np.corrcoef(rng.standard_normal((5, 20)))
    for name in ("pearsoncorrelation", "predictedfc"):
        write_matrix(ECResult(fc, tuple("abcde")), tmp_path / f"{name}.tsv")
    describe(tmp_path, FIELDS)
    return SimpleNamespace(path=lambda name: tmp_path / f"{name}.tsv", folder=tmp_path)


def describe(folder, fields):
    posterior_sidecar("parameters", Links(), fields).write(folder / "parameters.json")


def test_the_table_says_what_is_only_the_prior(model):
    (table,) = tabulate_parameters(model, "parameters-1")
    assert table.rows[0][:2] == ("coupling", "1.00")
    assert table.rows[1][:2] == ("noise", "0.50 (prior)")
    assert [row[6] for row in table.rows] == ["yes", "no"]
    assert table.rows[0][7] == "1.00 to 4.50"
    assert "FC alone does not identify" in table.caption


def test_a_subject_outside_is_not_to_be_read(model):
    assert warn_of_position(model) == ()
    describe(model.folder, OUTSIDE)
    (warning,) = warn_of_position(model)
    assert warning.startswith("Do not read the parameters of the hopf model")
    assert "fc_mean" in warning
    assert "not to be read" in draw_posterior_figures(model.path, OUTSIDE)[0].caption


def test_the_group_counts_who_is_left_out():
    table = pd.DataFrame({
        "parameter": ["coupling"], "contrast": ["mean"], "n": [5], "n_outside": [2],
        "n_identified": [4], "effect": [1.2345], "standard_error": [0.1], "lower": [1.0],
        "upper": [1.4], "sd_between": [0.2], "statistic": [np.nan], "p": [np.nan],
    })  # fmt: skip
    shown = tabulate_group_parameters(table, "parameters-1")
    assert "2 subjects outside what the model can produce are left out" in shown.caption
    assert shown.rows == (("coupling", "mean", "5", "4", "1.23", "1.00", "1.40", "0.20", "n/a"),)


def test_without_inference_there_is_nothing(tmp_path):
    nothing = SimpleNamespace(path=lambda name: tmp_path / f"{name}.tsv")
    assert tabulate_parameters(nothing, "x") == ()
    assert warn_of_position(nothing) == ()


def test_figures_show_parameters_fc_and_calibration(model):
    figures = draw_posterior_figures(model.path, FIELDS)
    assert [figure.name for figure in figures] == ["posterior", "predictedfc", "calibration"]
    assert all(figure.svg.startswith("<svg") for figure in figures)
    assert "coupling: 1.00 (1.00 to 1.00), identified" in figures[0].alt
    assert draw_posterior_figures(model.path, FIELDS)[0].svg == figures[0].svg


def test_the_spread_of_fits_of_fc_names_every_parameter():
    table = pd.DataFrame({
        "evaluation": [1, 2, 3], "stage": ["grid"] * 3, "K_gl": [0.5, 2.5, 1.0],
        "r_fc": [0.5, 0.49, 0.3], "ks_fcd": [0.1] * 3, "fitness": [0.4] * 3,
    })  # fmt: skip
    text = describe_spread(table)
    assert "2 simulations" in text
    assert "K_gl from 0.50 to 2.50" in text
