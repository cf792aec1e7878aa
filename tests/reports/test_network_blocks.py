import numpy as np

from npi_bids.records import ECResult
from npi_bids.reports.network_blocks import network_colours, tabulate_networks

LABELS, NETWORKS = tuple("ABCD"), ("Vis", "Vis", "Default", "Default")


def make(scale=1.0):
    matrix = np.zeros((4, 4))
    matrix[:2, 2:], matrix[2:, :2] = 0.4 * scale, -0.1 * scale
    return ECResult(matrix, LABELS)


def texts(table):
    return [[cell.text for cell in row] for row in table.cells]


def test_rows_are_sources_and_the_sign_is_kept():
    means, directed = tabulate_networks(make(), NETWORKS)
    assert means.names == ("Vis", "Default")
    assert texts(means) == [["0", "0.40"], ["-0.10", "0"]]
    assert texts(directed) == [["0", "0.50"], ["-0.50", "0"]]
    assert means.colours == ("#781286", "#cd3e4e")


def test_without_direction_there_is_one_table_of_both_directions():
    (table,) = tabulate_networks(make(), NETWORKS, directed=False)
    assert texts(table) == [["0", "0.15"], ["0.15", "0"]]
    assert "direction is not supported" in table.caption


def test_small_numbers_are_written_in_thousandths():
    means, _ = tabulate_networks(make(0.01), NETWORKS)
    assert texts(means)[0][1] == "4.0"
    assert "multiplied by 1000" in means.caption


def test_letters_can_be_read_on_their_background():
    means, _ = tabulate_networks(make(), NETWORKS)
    assert means.cells[0][1].ink == "#ffffff"  # on dark red
    assert means.cells[0][0].ink == "#000000"  # on white


def test_other_networks_have_colours_of_their_own():
    colours = network_colours(["motor", "Vis", "sensory"])
    assert len(set(colours.values())) == 3


def test_too_few_or_no_networks_have_no_table():
    assert tabulate_networks(make(), ()) == ()
    assert tabulate_networks(make(), ("Vis",) * 4) == ()
