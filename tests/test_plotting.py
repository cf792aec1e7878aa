import numpy as np
import pytest
from matplotlib.figure import Figure

from npi_bids.plotting import MatrixStyle, network_order, plot_matrix


@pytest.mark.parametrize(
    ("networks", "expected"), [((), ["V1", "M1", "V2"]), (("v", "m", "v"), ["V1", "V2", "M1"])]
)
def test_few_regions_are_named_along_both_axes_in_the_drawn_order(networks, expected):
    axes = plot_matrix(
        Figure().subplots(), np.eye(3), MatrixStyle(title="t"), networks, ["V1", "M1", "V2"]
    )
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == expected


def test_many_regions_are_named_by_their_networks():
    names = [f"R{n}" for n in range(40)]
    networks = ["a"] * 20 + ["b"] * 20
    axes = plot_matrix(Figure().subplots(), np.eye(40), MatrixStyle(title="t"), networks, names)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_networks_keep_the_order_of_their_first_region():
    assert network_order(["b", "a", "b", "c", "a"]) == [0, 2, 1, 4, 3]
