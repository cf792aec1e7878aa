"""Draw the pictures of README, first page and validation page: ``python docs/pictures.py``."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import npi_bids
from npi_bids.matrices import pearson
from npi_bids.plotting import MatrixStyle, plot_matrix
from npi_bids.records import Array
from npi_bids.simulate.systems import SystemSettings, simulate

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
_N_REGIONS, _N_SAMPLES, _SEED = 20, 1600, 3
_SHOWN, _STEPS = 6, 9


def draw(path: Path) -> None:
    """Draw signals, a virtual perturbation, and estimated beside true connectivity.

    Parameters
    ----------
    path
        Image to write.
    """
    settings = SystemSettings(n_regions=_N_REGIONS, seed=_SEED)
    simulation = simulate("rnn", settings, n_runs=1, n_samples=_N_SAMPLES)
    result = npi_bids.ec(simulation.series[0], tr=simulation.tr)
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), width_ratios=(1.15, 1.15, 1, 1),
                                layout="constrained")  # fmt: skip
    _draw_signals(axes[0], simulation.series[0])
    _draw_responses(axes[1], result)
    r = pearson(result.ec, simulation.truth)
    plot_matrix(axes[2], result.ec, MatrixStyle(title=f"3  responses: EC (r = {r:.2f})"))
    plot_matrix(axes[3], simulation.truth, MatrixStyle(title="true EC of this simulation"))
    figure.savefig(path, dpi=110, metadata={"Software": None})


def draw_accuracy(data: Path, path: Path) -> None:
    """Draw the accuracy of the released benchmark by number of samples.

    Parameters
    ----------
    data
        ``docs/data/released.json``.
    path
        Image to write.
    """
    content = json.loads(data.read_text(encoding="utf-8"))
    lengths = [int(name) for name in content["columns"][1:6]]
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for name, row in content["rows"].items():
        points = [(n, r) for n, r in zip(lengths, row, strict=False) if r is not None]
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4,
                      label=name.replace("`", ""))  # fmt: skip
    axes.set(xscale="log", xlabel="samples", ylabel="r with the true EC", ylim=(0.4, 1))
    axes.set_xticks(lengths, map(str, lengths))
    axes.minorticks_off()
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _draw_signals(axes: Axes, series: Array) -> None:
    part = series[:90, :_SHOWN] / series.std(axis=0)[:_SHOWN]
    axes.plot(part + 5 * np.arange(_SHOWN), color="#33475b", linewidth=0.9)
    axes.set(title="1  train a surrogate on the signals", xlabel="sample", yticks=[])
    axes.set_ylabel("regions")


def _draw_responses(axes: Axes, result: npi_bids.inference.SubjectEC) -> None:
    """Draw how the other regions respond when the region that sends most is raised once."""
    source = int(np.abs(result.ec).sum(axis=1).argmax())
    targets = np.argsort(-np.abs(result.ec[source]))[:_SHOWN]
    responses = respond_over_time(result, source)
    for target in targets:
        axes.plot(range(_STEPS), responses[:, target], marker="o", markersize=3)
    axes.axhline(0, color="grey", linewidth=0.6)
    axes.set(title=f"2  raise region {source + 1} by 1 SD", xlabel="samples later")
    axes.set_ylabel("change of the prediction (SD)")


def respond_over_time(result: npi_bids.inference.SubjectEC, source: int) -> Array:
    """Return the responses of all regions to raising one of them once.

    Parameters
    ----------
    result
        Result with a surrogate.
    source
        Index of the region that is raised by one standard deviation.

    Returns
    -------
    Array
        Shape (n_steps, n_regions), the first of which is 0.
    """
    surrogate = result.surrogate
    n_regions = len(result.ec)
    plain = np.zeros((1, surrogate.n_lags, n_regions))
    raised = plain.copy()
    raised[0, -1, source] = 1.0
    responses = np.zeros((_STEPS, n_regions))
    for step in range(1, _STEPS):
        following = [surrogate.step(history)[0] for history in (raised, plain)]
        responses[step] = following[0] - following[1]
        raised, plain = (
            np.concatenate([history[:, 1:], row[None, None]], axis=1)
            for history, row in zip((raised, plain), following, strict=True)
        )
    return responses


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    draw_accuracy(DOCS / "data" / "released.json", IMAGES / "accuracy.png")
    draw(IMAGES / "overview.png")
