"""The command npi-explore."""

import numpy as np
import pytest

from npi_bids.cli.explore import main
from npi_bids.io.tables import read_table, write_matrix, write_series
from npi_bids.records import ECResult, RegionSeries
from npi_bids.reports.exploration import draw_grid, find_ancestors
from npi_bids.whole_brain.evolution import Individual
from npi_bids.whole_brain.exploration import Point
from npi_bids.whole_brain.parameters import Axis

pytest.importorskip("neurolib")
LEAKY = "tests.whole_brain.toy_model:LeakyModel"
QUICK = ("--seconds", "0.02", "--discard", "0.1")


def run(tmp_path, *words):
    return main([LEAKY, *words, "-o", str(tmp_path / "out")])


def test_a_grid_of_two_parameters_is_written_and_drawn(tmp_path, capsys):
    axes = ["x_ext=0:2:3", "tau=5:10:2"]
    assert run(tmp_path, *axes, "--measure", "max_rate", "mean_rate", *QUICK) == 0
    table = read_table(tmp_path / "out" / "simulations.tsv")
    assert list(table.columns) == ["x_ext", "tau", "max_rate", "mean_rate"]
    assert list(table["x_ext"]) == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(table["max_rate"], table["x_ext"], atol=1e-4)
    page = (tmp_path / "out" / "explore.html").read_text()
    assert page.count("Some rows of the map.") == 2
    assert "mean_rate along x_ext" in page
    assert "6 of 6 simulations" in capsys.readouterr().err


def test_one_parameter_gives_a_bifurcation_diagram(tmp_path):
    words = ["x_ext=0:2:3", "--measure", "max_rate", "min_rate", *QUICK]
    assert run(tmp_path, *words) == 0
    assert "Bifurcation diagram" in (tmp_path / "out" / "explore.html").read_text()


def test_the_first_parameter_runs_along_the_horizontal_axis(monkeypatch):
    drawn = []
    monkeypatch.setattr("npi_bids.reports.exploration.svg_text", drawn.append)
    axes = [Axis("a", 0, 1, 2), Axis("b", 0, 2, 3)]
    points = [Point({}, {"max_rate": float(value)}) for value in range(6)]
    draw_grid(axes, points)
    image = drawn[0].axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, [[0, 3], [1, 4], [2, 5]])
    assert drawn[0].axes[0].get_xlabel() == "a"


def test_an_evolution_is_written_with_its_genealogy(tmp_path):
    words = ["x_ext=-1:1", "--evolve", "de", "--fitness", "max_rate=1", *QUICK]
    assert run(tmp_path, *words, "--population", "5", "--generations", "2") == 0
    table = read_table(tmp_path / "out" / "simulations.tsv")
    assert len(table) == 15
    assert list(table["generation"]) == [0] * 5 + [1] * 5 + [2] * 5
    assert table["survived"].sum() == 5
    page = (tmp_path / "out" / "explore.html").read_text()
    assert "Genealogy" in page
    assert "History" in page


def test_ancestors_are_those_of_the_fittest():
    point = Point({}, {})
    family = [Individual(0, 0, point, 1.0), Individual(1, 0, point, 2.0),
              Individual(2, 1, point, 3.0, (0,)), Individual(3, 2, point, 5.0, (2,)),
              Individual(4, 2, point, float("nan"), (1,))]  # fmt: skip
    assert find_ancestors(family) == {0, 2, 3}


def test_the_fit_of_a_recording_is_printed_whatever_the_order_of_its_regions(tmp_path, capsys):
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    data = rng.standard_normal((100, 3)) @ mixing
    weights = np.array([[0.0, 1.0, 0.2], [1.0, 0.0, 0.0], [0.2, 0.0, 0.0]])
    write_matrix(ECResult(weights, tuple("ABC")), tmp_path / "sc.tsv")
    printed = []
    for number, order in enumerate(([0, 1, 2], [2, 0, 1])):
        series = RegionSeries(data[:, order], tuple("ABC"[k] for k in order), 2.0,
                              np.ones(100, bool))  # fmt: skip
        path = tmp_path / f"{number}.tsv"
        write_series(series, path)
        words = ["--subject", str(path), "--sc", str(tmp_path / "sc.tsv"), "--set", "sigma=1"]
        assert run(tmp_path, *words, "--seconds", "40", "--discard", "2") == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].startswith("Mean FC/FC correlation: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Nothing is varied"),
        (["a=0:1:2", "b=0:1:2", "c=0:1:2"], "one or two parameters, not 3"),
        (["a=0:1:2", "--evolve", "de"], "need each other"),
        (["a=0:1:2", "--fit", "gw", "--sc", "x.tsv"], "its own recordings"),
        (["a=0:1:2", "--subject", "x.tsv"], "give --sc"),
        (["a=0:1:2", "--n-procs", "0"], "--n-procs must be above 0"),
        (["x_ext=0:1:2", "--measure", "max"], "Unknown measure max"),
        (["speed=0:1:2"], "no parameter 'speed'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, capsys, words, message):
    assert run(tmp_path, *words) == 2
    assert message in capsys.readouterr().err
