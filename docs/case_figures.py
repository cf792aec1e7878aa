"""Figures and tables of "How to read a report", from what ``docs/example_reports.py`` writes."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from npi_bids.bids.derivatives import find_models
from npi_bids.io.tables import read_matrix
from npi_bids.matrices import antisymmetric, off_diagonal, pearson
from npi_bids.plotting import MatrixStyle, plot_matrix
from npi_bids.records import Array

# Quality metrics of the table of a case: column of logs/quality.tsv, and heading.
_METRICS = {
    "verdict": "verdict",
    "grade_data": "grade of the data",
    "grade_connections": "grade of the connections",
    "grade_direction": "grade of the direction",
    "minutes_kept": "minutes kept",
    "mean_fd": "mean FD (mm)",
    "censored_share": "share of samples censored",
    "samples_per_parameter": "samples per parameter",
    "r2": "held-out R²",
    "r_split": "r of the halves' maps",
    "fc_r": "r of EC and FC",
    "antisymmetric_share": "directional share of the variance",
    "direction_ratio": "time-reversal test: ratio",
    "expected_r": "expected accuracy (r)",
}


class Cases:
    """Results of the simulated participants, beside their truth.

    Parameters
    ----------
    folder
        What ``docs/example_reports.py`` wrote as ``cases``.
    """

    def __init__(self, folder: Path) -> None:
        self._truth = folder / "truth"
        table = pd.read_csv(folder / "results" / "logs" / "quality.tsv", sep="\t")
        self.quality = table.set_index(table["participant_id"].str.removeprefix("sub-"))
        self._models = {m.entities["sub"]: m for m in find_models(folder / "results")}

    def maps(self, label: str) -> tuple[Array, Array]:
        """Return the true and the estimated map, indexed ``[source, target]``."""
        truth = read_matrix(self._truth / f"sub-{label}.tsv").matrix
        return truth, read_matrix(self._models[label].path("npi")).matrix

    def draw(self, label: str) -> Figure:
        """Draw the true map, the estimated map, and one against the other."""
        truth, estimate = self.maps(label)
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
        for axis, matrix, name in ((axes[0], truth, "true"), (axes[1], estimate, "estimated")):
            plot_matrix(axis, matrix, MatrixStyle(title=f"{name} EC"))
            axis.locator_params(integer=True)
        axes[2].locator_params(axis="x", nbins=4)
        axes[2].plot(off_diagonal(truth), off_diagonal(estimate), ".", markersize=4, alpha=0.6)
        axes[2].set(title=f"r = {pearson(truth, estimate):.2f}", xlabel="true entry",
                    ylabel="estimated entry")  # fmt: skip
        plt.close(figure)
        return figure

    def table(self, label: str) -> Markdown:
        """Return the verdict, its reasons and the key metrics, beside what was reached."""
        truth, estimate = self.maps(label)
        row = self.quality.loc[label]
        lines = ["| metric | value |", "|---|---|"]
        lines += [f"| {heading} | {_text(row[name])} |" for name, heading in _METRICS.items()]
        reached = pearson(truth, estimate)
        directed = pearson(antisymmetric(truth), antisymmetric(estimate))
        accuracy = f"{reached:.2f}; {directed:.2f}"
        lines.append(f"| **true accuracy (r); of the directed part** | {accuracy} |")
        reasons = [] if pd.isna(row["verdict_reasons"]) else [f"*{row['verdict_reasons']}*", ""]
        report = f'<a href="cases/sub-{label}.html">Open the report of sub-{label}</a>'
        return Markdown("\n".join([*reasons, *lines, "", report]))

    def compare_undelayed(self, label: str) -> Markdown:
        """Return what the map without delays of the same participant reached."""
        truth, estimate = self.maps(label)
        undelayed = read_matrix(self._models[label].path("npiundelayed")).matrix
        return Markdown(
            f"With delays modelled the map reaches r = {pearson(truth, estimate):.2f} with the "
            f"truth, without them {pearson(truth, undelayed):.2f}."
        )


def _text(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "n/a" if np.isnan(value) else f"{value:.2f}"
    return str(value)
