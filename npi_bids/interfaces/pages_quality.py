"""What the page of a subject says of how far its map can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npi_bids.bids.results import Model
from npi_bids.bids.selection import mean_displacement
from npi_bids.core.spectrum import mean_spectrum
from npi_bids.io.tables import read_series
from npi_bids.reports import figures_network
from npi_bids.reports.facts import number
from npi_bids.reports.records import Figure, KeyFigure

Runs = list[tuple[Path, dict[str, Any]]]
_MOVED = (0.25, 0.5)  # mean FD (mm) that is much, and very much, in the literature


def key_figures(model: Model, runs: Runs) -> tuple[KeyFigure, ...]:
    """Return the figures that decide, each with its threshold and what it means."""
    quality, wanted = model.sidecar["Quality"], model.sidecar["VerdictThresholds"]
    about = [sidecar for _, sidecar in runs]
    found = [
        _graded("skill over own past", quality["skill_own_history"],
                (wanted["min_skill"], wanted["good_skill"]),
                "share by which other regions lower the error of prediction, on held-out samples"),
        _graded("skill over a ridge VAR", quality["skill_ridge_var"], (None, 0.0),
                "the surrogate against the plain linear model of one lag"),
        _graded("model FC r", quality["model_fc_r"], (None, wanted["good_model_fc"]),
                "does the free-running surrogate behave like the data"),
        _graded("r between halves", quality["r_split"],
                (None if quality.get("shrunk") else wanted["min_split"], wanted["good_split"]),
                "does the first half of the data give the map of the second"
                + (", by the deviations from the group's map" if quality.get("shrunk") else "")),
        _direction(quality, wanted),
        _graded("expected r with the truth", quality["expected_r"],
                (wanted["min_expected"], wanted["good_expected"]),
                "what simulated maps of like quality reached; n/a: nothing like it was simulated"),
        _graded("samples per parameter", quality["samples_per_parameter"],
                (None, wanted["good_samples"]), "effective samples, per region and lag"),
        _motion(mean_displacement(about)),
        _minutes(about),
        _coverage(model, about),
    ]  # fmt: skip
    return tuple(found)


def _graded(
    name: str, value: float | None, limits: tuple[float | None, float], note: str
) -> KeyFigure:
    """Grade a figure of which more is better."""
    bad, good = limits
    wanted = f"≥ {good:g}" + (f" (bad < {bad:g})" if bad is not None else "")
    if value is None:
        return KeyFigure(name, "n/a", wanted, note, "unknown")
    state = "good" if value >= good else "bad" if bad is not None and value < bad else "caution"
    return KeyFigure(name, number(value), wanted, note, state)


def _direction(quality: dict[str, Any], wanted: dict[str, Any]) -> KeyFigure:
    yes = bool(quality["direction_supported"])
    return KeyFigure(
        "direction supported",
        f"{'yes' if yes else 'no'} (p {number(quality['direction_p'])})",
        f"p < {wanted['direction_p']:g}, ratio ≥ {wanted['direction_ratio']:g}",
        "do the signals differ from themselves with time reversed; if not, read the map as "
        "undirected",
        "good" if yes else "caution",
    )


def _motion(moved: float | None) -> KeyFigure:
    wanted = f"≤ {_MOVED[0]:g} mm (bad > {_MOVED[1]:g})"
    note = "mean framewise displacement over all samples, censored ones included"
    if moved is None:
        return KeyFigure("mean FD", "n/a", wanted, note, "unknown")
    state = "good" if moved <= _MOVED[0] else "caution" if moved <= _MOVED[1] else "bad"
    return KeyFigure("mean FD", f"{number(moved)} mm", wanted, note, state)


def _minutes(about: Sequence[dict[str, Any]]) -> KeyFigure:
    kept = sum(run["SamplesKept"] * run["RepetitionTime"] for run in about) / 60
    whole = sum(run["NumberOfSamples"] * run["RepetitionTime"] for run in about) / 60
    state = "good" if kept >= 0.8 * whole else "caution"
    return KeyFigure(
        "minutes kept", f"{kept:.1f} of {whole:.1f}", "≥ 80 %",
        "after dummy scans and censoring, all runs together", state,
    )  # fmt: skip


def _coverage(model: Model, about: Sequence[dict[str, Any]]) -> KeyFigure:
    lost = {name for run in about for name in run["RegionsNotCovered"]}
    inside = int(model.sidecar["RegionsInModel"])
    return KeyFigure(
        "regions covered", f"{inside} of {inside + len(lost)}", "all",
        "others are n/a in every matrix; nothing is filled in",
        "good" if not lost else "caution",
    )  # fmt: skip


def draw_signals(runs: Runs, motion: Sequence[Any], before: Sequence[Any]) -> list[Figure]:
    """Return the carpet before and after cleaning, and the spectrum after it."""
    about = runs[0][1]
    tr = float(about["RepetitionTime"])
    series = [read_series(path, tr) for path, _ in runs]
    drawn = [
        Figure(
            "carpet",
            "Signals, motion and censoring",
            "Framewise displacement, shaded where samples were left out; signals of all regions "
            "before cleaning, and after it, in SD from -2 (black) to 2 (white); orange: censored.",
            figures_network.draw_carpet(
                [before, [run.data for run in series]],
                [table["framewise_displacement"].to_numpy(dtype=float) for table in motion],
                [table["left_out"].to_numpy(dtype=float) for table in motion],
                tr,
            ),
            "Carpet plot of the signals before and after cleaning, under framewise displacement",
        )
    ]
    spectrum = mean_spectrum(series)
    if spectrum is not None:
        drawn.append(
            Figure(
                "spectrum",
                "Spectrum",
                "Mean power of the cleaned signals; dashed: the filter, and 0.15 Hz, above which "
                "signals that were low-passed have nothing left, and no direction.",
                figures_network.draw_spectrum(
                    *spectrum, high_pass=about["HighPass"], low_pass=about["LowPass"]
                ),
                "Mean power spectrum of the cleaned signals",
            )
        )
    return drawn
