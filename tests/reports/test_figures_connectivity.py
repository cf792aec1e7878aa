import numpy as np

from npi_bids.reports import figures_connectivity
from tests.reports.markup import check

MATRIX = np.array([[0.0, 1, np.nan], [-0.5, 0, 0.2], [np.nan, 0.1, 0]])


def test_the_strongest_connections_are_kept_in_size():
    matrix = np.array([[9.0, -3, np.nan], [1, 9, 2], [0.5, 0, 9]])
    kept = figures_connectivity.keep_strongest(matrix, 2)
    assert kept.tolist() == [[0, -3, 0], [0, 0, 2], [0, 0, 0]]
    assert (figures_connectivity.keep_strongest(np.full((2, 2), np.nan)) == 0).all()


def test_figures_of_networks_and_signals():
    centres = np.array([[-20.0, 0, 30], [20, -40, 10], [0, 10, 50]])
    rng = np.random.default_rng(0)
    runs = [rng.standard_normal((20, 3)), rng.standard_normal((10, 3))]
    runs[0][4] = np.nan
    motion = [np.full(20, np.nan), np.full(10, 0.1)]
    for svg in (
        figures_connectivity.draw_connectome(MATRIX, centres),
        figures_connectivity.draw_on_brain(np.array([1.0, np.nan, -2]), centres),
        figures_connectivity.draw_spectrum(np.arange(1, 9) / 20, np.ones(8), high_pass=0.01,
                                      low_pass=None),
        figures_connectivity.draw_carpet([runs, runs], motion, [np.zeros(20), np.zeros(10)], 2.0),
    ):  # fmt: skip
        check(svg)
