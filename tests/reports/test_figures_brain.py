"""Connections on a brain: arrows lead from source to target, and names do not overlap."""

import numpy as np
import pytest

from npi_bids.reports import figures_brain, figures_connectivity

CENTRES = np.array([[-40.0, 20, 30], [40, -40, 10], [0, 10, 50], [-40, 21, 30]])


@pytest.fixture
def arrows(monkeypatch):
    """Collect the ends and the style of each arrow."""
    found = []
    original = figures_brain.FancyArrowPatch

    def record(start, end, **style):
        found.append((tuple(start), tuple(end), style["arrowstyle"], style["linewidth"]))
        return original(start, end, **style)

    monkeypatch.setattr(figures_brain, "FancyArrowPatch", record)
    return found


def test_an_arrow_leads_from_source_to_target(arrows):
    matrix = np.zeros((4, 4))
    matrix[0, 1] = 0.5  # from the left front to the right back
    svg = figures_connectivity.draw_connectome(matrix, CENTRES, ("front", "back", "top", "other"))
    ((start, end, style, _),) = arrows
    assert start == (-40.0, 20.0)
    assert end == (40.0, -40.0)
    assert style == "-|>"
    assert "<!-- front -->" in svg
    assert "<!-- top -->" not in svg


def test_equal_directions_are_one_line_and_width_follows_strength(arrows):
    matrix = np.zeros((4, 4))
    matrix[0, 1] = matrix[1, 0] = 0.5
    matrix[2, 1] = matrix[1, 2] = -0.1
    figures_connectivity.draw_connectome(matrix, CENTRES)
    assert [style for *_, style, _ in arrows] == ["-", "-"]
    assert arrows[1][3] > 2 * arrows[0][3]  # the strongest is drawn last, on top


def test_names_beside_the_brain_keep_a_distance(monkeypatch):
    heights = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.text", lambda _, x, y, *__, **___: heights.append((x, y))
    )
    matrix = np.zeros((4, 4))
    matrix[0, 3] = 1.0  # two regions that are 1 mm apart
    figures_connectivity.draw_connectome(matrix, CENTRES, tuple("abcd"))
    (x, one), (x_other, other) = heights[-2:]
    assert x == x_other < 0
    assert abs(one - other) >= 7
