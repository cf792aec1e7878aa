import numpy as np
import pandas as pd
import pytest

from npi_bids.reports import figures_signals
from tests.reports.markup import check

MATRIX = np.array([[0.0, 1, np.nan], [-0.5, 0, 0.2], [np.nan, 0.1, 0]])


def test_figures_are_the_same_bytes_each_time():
    one, same = (figures_signals.draw_matrix(MATRIX, ["a", "b", "a"], title="t") for _ in range(2))
    assert one == same
    assert one.startswith("<svg")


def test_a_static_matrix_names_its_regions():
    svg = figures_signals.draw_matrix(MATRIX, [], title="t", labels=("V1", "M1", "S1"))
    assert svg.count("<!-- M1 -->") == 2


@pytest.mark.parametrize("networks", [[], ["a", "b", "a"]])
def test_matrix_with_nothing_in_it_can_be_drawn(networks):
    assert "<svg" in figures_signals.draw_matrix(np.full((3, 3), np.nan), networks, title="t")


def test_other_figures():
    curve = pd.DataFrame({"epoch": [1, 2], "train_mse": [1, 0.5], "held_out_mse": [1, 0.8]})
    for svg in (
        figures_signals.draw_training(curve, {"own past": 0.3}),
        figures_signals.draw_prediction({"surrogate": 0.4, "persistence": -0.2}),
        figures_signals.draw_agreement(MATRIX, MATRIX, 0.9),
        figures_signals.draw_coverage([(0.4, "V1"), (0.9, "M1")], 0.5),
    ):
        check(svg)
