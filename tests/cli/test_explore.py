"""The command npi-explore."""

import json

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


def make_output_dataset(root, tr=1.0):
    """Write series of two runs of sub-01 and one of sub-02, and tables beside them."""
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    root.mkdir()
    description = {"GeneratedBy": [{"Name": "npi-bids"}], "Name": "x", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    keep = np.ones(200, bool)
    keep[10:15] = False
    tables = []
    for subject, run_label in (("01", "1"), ("01", "2"), ("02", "1")):
        folder = root / f"sub-{subject}" / "func"
        folder.mkdir(parents=True, exist_ok=True)
        data = rng.standard_normal((200, 3)) @ mixing
        stem = f"sub-{subject}_task-rest_run-{run_label}_seg-Toy_desc-simple"
        for variant, labels in (("", "CAB"), ("Raw", "CAB"), ("Outliers", "xyz")):
            series = RegionSeries(data, tuple(labels), tr, keep)
            write_series(series, folder / f"{stem}{variant}_timeseries.tsv")
        (folder / f"{stem}_timeseries.json").write_text(json.dumps({"RepetitionTime": tr}))
        other = folder / f"{stem.replace('Toy', 'Other')}_timeseries.tsv"
        write_series(RegionSeries(data, tuple("PQR"), tr, keep), other)
        tables.append(folder / f"{stem}_timeseries.tsv")
    write_matrix(ECResult(np.array([[0.0, 1.0, 0.2], [1.0, 0.0, 0.0], [0.2, 0.0, 0.0]]),
                          tuple("ABC")), root.parent / "sc.tsv")  # fmt: skip
    return tables


def fit_subjects(tmp_path, capsys, *paths, options=()):
    words = ["--subject", *map(str, paths), "--sc", str(tmp_path / "sc.tsv"), "--set", "sigma=1"]
    status = run(tmp_path, *words, "--seconds", "40", "--discard", "2", *options)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_participants_of_an_output_dataset_are_compared_with(tmp_path, capsys):
    tables = make_output_dataset(tmp_path / "data")
    single = fit_subjects(tmp_path, capsys, tmp_path / "data" / "sub-02")
    assert single[0] == 0
    assert single == fit_subjects(tmp_path, capsys, tables[2])
    both = fit_subjects(tmp_path, capsys, tmp_path / "data")
    assert (
        both[:2]
        == fit_subjects(
            tmp_path, capsys, tmp_path / "data" / "sub-01", tmp_path / "data" / "sub-02"
        )[:2]
    )
    # Two runs are one subject, not two.
    joined = fit_subjects(tmp_path, capsys, tmp_path / "data" / "sub-01")
    assert joined[1] != fit_subjects(tmp_path, capsys, *tables[:2])[1]


def test_the_sampling_period_is_that_of_the_sidecars(tmp_path, capsys):
    make_output_dataset(tmp_path / "data")
    status, _, message = fit_subjects(tmp_path, capsys, tmp_path / "data", options=("--tr", "2"))
    assert status != 0
    assert "1, 2 s; expected one" in message


def test_a_dataset_with_two_tables_of_a_run_is_refused(tmp_path, capsys):
    tables = make_output_dataset(tmp_path / "data")
    twin = tables[2].with_name(tables[2].name.replace("simple", "compcor"))
    twin.write_text(tables[2].read_text())
    status, _, message = fit_subjects(tmp_path, capsys, tmp_path / "data")
    assert status != 0
    assert "sub-02" in message
    assert "Name one table of each subject" in message


def test_a_dataset_without_the_regions_of_the_connectome_is_refused(tmp_path, capsys):
    make_output_dataset(tmp_path / "data")
    write_matrix(ECResult(np.ones((2, 2)) - np.eye(2), ("X", "Y")), tmp_path / "sc.tsv")
    status, _, message = fit_subjects(tmp_path, capsys, tmp_path / "data")
    assert status != 0
    assert "2 regions of the connectome (X, Y" in message
    (tmp_path / "empty").mkdir()
    assert "no tables of regional series" in fit_subjects(tmp_path, capsys, tmp_path / "empty")[2]


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
