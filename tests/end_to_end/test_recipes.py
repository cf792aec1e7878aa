"""The recipe of CONTRIBUTING that needs results: a figure of a page."""

import shutil

from npi_bids.reports import subject
from npi_bids.reports.components import Figure
from npi_bids.reports.figures_signals import make_canvas, svg_text


def draw_lengths(results):
    canvas, (axes,) = make_canvas(4.0, 3.0)
    axes.plot([len(table) for table in results.run_tables("outliers")])
    return [Figure("lengths", "Lengths of the runs", "Samples per run.", svg_text(canvas))]


def test_a_figure_in_the_list_is_on_the_page_with_its_caption(results, tmp_path, monkeypatch):
    out = shutil.copytree(results, tmp_path / "out")
    monkeypatch.setattr(subject, "DATA_FIGURES", [*subject.DATA_FIGURES, draw_lengths])
    page = subject.write_subject_report(out, "01").read_text()
    position = page.index("<strong>Lengths of the runs.</strong> Samples per run.")
    assert page.index("<strong>Signals, motion and censoring") < position
    assert list(out.glob("sub-01/figures/*_lengths.svg"))
