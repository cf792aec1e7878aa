"""What a subject page may say of a map, by what its tests support."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from npi_bids.assessment.grades import AVERAGES, GOOD, NOT_SUPPORTED, STRENGTHS
from npi_bids.records import ECResult
from npi_bids.reports import brain_figures
from npi_bids.reports.subject import ModelMap
from tests.sidecars import model_sidecar

QUALITY = {"NWindows": 300, "NTrain": 240, "NValid": 60, "NRegions": 4}
CENTRES = np.zeros((4, 3))
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
    assert "A → B (0.50)" in strongest
    assert count.startswith("1 of 16")
    assert not model_map.strongest_table().folded


@pytest.fixture
def summarise(make_map):
    def make(q, graded=STRENGTHS, centres=CENTRES, **changes):
        model_map = make_map(q)
        quality = {**QUALITY, "DirectionSupported": False, "AntisymmetricShare": 0.1} | changes
        direction = graded if quality["DirectionSupported"] else NOT_SUPPORTED
        grades = {"Data": GOOD, "Connections": AVERAGES, "Direction": direction}
        model_map.model = SimpleNamespace(fit=model_sidecar(Quality=quality, Grades=grades).fit)
        model_map.regions = SimpleNamespace(centres=centres, path=Path("atlas_dseg.tsv"))
        return model_map.summary()

    return make


def test_an_undirected_map_says_so_first_and_names_no_sender(summarise):
    undirected, strongest, _ = summarise(np.full((4, 4), 0.01))
    assert undirected.startswith(
        "Read the map as undirected: the signals do not support direction"
    )
    assert "between A and B (0.25, mean of both directions)" in strongest
    assert not any("→" in line or "source" in line for line in (undirected, strongest))


def test_that_nothing_is_significant_comes_before_direction(summarise):
    nothing, undirected = summarise(np.full((4, 4), 0.5))
    assert nothing.startswith("None of 16 connections has q below 0.05")
    assert undirected.startswith("Read the map as undirected")


def test_a_directed_map_names_arrows_and_the_net_source(summarise):
    lines = summarise(np.full((4, 4), 0.01), DirectionSupported=True)
    assert "A → B" in lines[0]
    assert any("strongest net source" in line for line in lines)
    assert not any("undirected" in line for line in lines)


def test_regions_without_coordinates_are_why_nothing_is_drawn(summarise):
    *_, last = summarise(np.full((4, 4), 0.01), centres=None)
    assert last == (
        "Nothing is drawn on the brain, because the coordinates of the regions are not known."
    )


def test_no_net_source_is_named_where_only_averages_may_be_read(summarise):
    lines = summarise(np.full((4, 4), 0.01), graded=AVERAGES, DirectionSupported=True)
    assert not any("net source" in line for line in lines)


def test_the_table_of_an_undirected_map_says_so(make_map):
    q = np.full((4, 4), 0.01)
    assert "direction may not be read" in make_map(q).strongest_table(
        directed=False).title  # fmt: skip
    assert "direction" not in make_map(q).strongest_table().title


@pytest.fixture
def drawn(monkeypatch):
    """Collect the matrices that are drawn on the brain."""
    matrices = []
    monkeypatch.setattr(
        brain_figures.figures_connectivity, "draw_connectome",
        lambda matrix, *_: matrices.append(matrix) or "<svg/>",
    )  # fmt: skip
    monkeypatch.setattr(brain_figures.figures_connectivity, "draw_on_brain", lambda *_: "<svg/>")
    return matrices


class Regions:
    network = ()
    centres = np.zeros((4, 3))
    path = Path("atlas_dseg.tsv")  # without an image beside it
    labels = LABELS


def draw(**options):
    matrix = np.zeros((4, 4))
    matrix[0, 1], matrix[2, 3] = 0.5, -0.2
    figures = brain_figures.draw_connections(ECResult(matrix, LABELS), Regions(), **options)
    return {figure.name: figure for figure in figures}


def test_arrows_are_drawn_where_direction_is_supported(drawn):
    assert "Arrows point from source to target" in draw(directed=True)["connectome"].caption
    assert drawn[0][0, 1] == 0.5
    assert drawn[0][1, 0] == 0


def test_lines_are_drawn_where_it_is_not(drawn):
    caption = draw(directed=False)["connectome"].caption
    assert "Direction is not supported" in caption
    assert "Arrows" not in caption
    assert drawn[0][0, 1] == drawn[0][1, 0] == 0.25


def test_regions_send_and_receive_only_where_direction_is_supported(drawn):
    directed, undirected = (draw(directed=is_directed) for is_directed in (True, False))
    assert {"outstrength", "instrength", "netflow"} <= set(directed)
    assert "instrength" not in undirected
    assert undirected["strength"].title == "Strength"


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
    brain_figures.draw_connections(
        ECResult(matrix, LABELS), Regions(), significant=significant, directed=False
    )
    assert drawn[0][0, 1] == drawn[0][1, 0] == pytest.approx(0.4)
    assert np.isnan(drawn[0][2, 3])
