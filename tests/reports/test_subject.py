"""What a subject page may say of a map, by what its tests support."""

import numpy as np
import pytest

from npi_bids.records import ECResult
from npi_bids.reports import subject_figures
from npi_bids.reports.subject import ModelMap

LABELS = ("A", "B", "C", "D")


@pytest.fixture
def make_map():
    def make(q):
        matrix = np.zeros((4, 4))
        matrix[0, 1], matrix[2, 3] = 0.5, -0.2
        model_map = object.__new__(ModelMap)  # without the files of a model
        model_map.name, model_map.ec = "matrix-1", ECResult(matrix, LABELS)
        model_map.networks = ()
        model_map.companions = {"npiq": q}
        return model_map

    return make


def test_a_map_without_significant_connections_says_so_first(make_map):
    q = np.full((4, 4), 0.3)
    np.fill_diagonal(q, np.nan)
    model_map = make_map(q)
    (line,) = model_map._strongest_lines()
    assert line.startswith("None of 12 connections has q below 0.05")
    table = model_map.strongest_table()
    assert table.folded
    assert "none of which has q below 0.05" in table.title


def test_a_map_with_significant_connections_names_the_strongest(make_map):
    q = np.full((4, 4), 0.3)
    q[0, 1] = 0.01
    model_map = make_map(q)
    strongest, count = model_map._strongest_lines()
    assert "A → B (0.5)" in strongest
    assert count.startswith("1 of 16")
    assert not model_map.strongest_table().folded


@pytest.fixture
def drawn(monkeypatch):
    """Collect the matrices that are drawn on the brain."""
    matrices = []
    monkeypatch.setattr(
        subject_figures.figures_connectivity, "draw_connectome",
        lambda matrix, centres: matrices.append(matrix) or "<svg/>",
    )  # fmt: skip
    monkeypatch.setattr(subject_figures.figures_connectivity, "draw_on_brain", lambda *_: "<svg/>")
    return matrices


class Regions:
    network = ()
    centres = np.zeros((4, 3))


def draw(**options):
    matrix = np.zeros((4, 4))
    matrix[0, 1], matrix[2, 3] = 0.5, -0.2
    figures = subject_figures.draw_connections(ECResult(matrix, LABELS), Regions(), **options)
    return {figure.name: figure for figure in figures}


def test_arrows_are_drawn_where_direction_is_supported(drawn):
    assert "Arrows point from source to target" in draw(directed=True)["connectome"].caption
    assert drawn[0][0, 1] == 0.5
    assert drawn[0][1, 0] == 0


def test_lines_are_drawn_where_it_is_not(drawn):
    caption = draw(directed=False)["connectome"].caption
    assert "do not support direction" in caption
    assert "Arrows" not in caption
    assert drawn[0][0, 1] == drawn[0][1, 0] == 0.25


def test_only_significant_connections_are_drawn(drawn):
    significant = np.full((4, 4), np.nan)
    assert "connectome" not in draw(significant=significant)
    assert not drawn
    significant[0, 1] = 0.5
    assert "q below 0.05" in draw(significant=significant)["connectome"].caption
    assert np.nansum(drawn[0]) == 0.5


def test_a_line_is_the_mean_of_both_directions_even_if_one_is_significant(drawn):
    matrix = np.zeros((4, 4))
    matrix[0, 1], matrix[1, 0] = 0.5, 0.3
    significant = np.full((4, 4), np.nan)
    significant[0, 1] = 0.5
    subject_figures.draw_connections(
        ECResult(matrix, LABELS), Regions(), significant=significant, directed=False
    )
    assert drawn[0][0, 1] == drawn[0][1, 0] == pytest.approx(0.4)
    assert np.isnan(drawn[0][2, 3])
