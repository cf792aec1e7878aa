"""``npi-simulate lif``: a spiking network, its EEG, and its input inferred from that."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.parser import add_options, make_settings
from npi_bids.errors import ConfigurationError

if TYPE_CHECKING:
    from npi_bids.inverse.lesson import LessonSettings, Predictions, Recordings, RidgeScores
    from npi_bids.records import Array

_EXAMPLE = """\
npi-simulate lif lesson
npi-simulate lif lesson --n-simulations 500 --n-threads 8
npi-simulate lif rates --j-ext 26 29.89 32 --seconds 1 --size full"""
_LEVELS = (0.5, 0.8, 0.95)


def build_parser() -> CommandParser:
    """Return the parser."""
    from npi_bids.inverse.lesson import LessonSettings

    parser = CommandParser(
        "npi-simulate lif",
        "OUT",
        "Simulate a network of leaky integrate-and-fire neurons (Hagen et al. 2022) and the EEG "
        "that it causes, and infer the strength of its external input, J_ext, from features of "
        "EEG, by ridge regression and by neural posterior estimation.",
        example=_EXAMPLE,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    parser.add_help_options()
    add_options(parser.add_argument_group("simulation and inference"), LessonSettings)
    return parser


def run_lif(argv: Sequence[str]) -> int:
    """Simulate, infer, write tables and a figure, and print how well J_ext was recovered."""
    from npi_bids.inverse.lesson import LessonSettings

    args = build_parser().read(argv)
    settings = make_settings(args, (LessonSettings,))[LessonSettings]
    out: Path = args.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} exists and is not an empty folder; name a new folder.")
    return _run(out, settings)


def _run(out: Path, settings: LessonSettings) -> int:
    from npi_bids.inverse.estimator import check_sbi
    from npi_bids.inverse.lesson import predict_held_out, score_ridge, simulate_recordings
    from npi_bids.simulate.spiking import check_numba
    from npi_bids.surrogates.training import threads

    check_numba()
    infers = not settings.j_ext
    if infers and not settings.ridge_only:
        check_sbi()
    started = time.monotonic()
    with threads(1):
        recordings = simulate_recordings(settings, _print_simulation)
        simulated = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        _write_recordings(recordings, out)
        if infers:
            ridge = score_ridge(recordings, settings.seed)
            predictions = predict_held_out(recordings, settings)
            _write_predictions(predictions, ridge, settings, out)
            sys.stdout.write(describe_scores(predictions, ridge))
    sys.stdout.write(
        f"Written: {out} (simulations {simulated - started:.0f} s, everything else "
        f"{time.monotonic() - simulated:.0f} s)\n"
    )
    return 0


def _print_simulation(number: int, j_ext: float, rates: Array) -> None:
    sys.stdout.write(
        f"  simulation {number}: J_ext {j_ext:.2f} pA, rates {rates[0]:.2f} (excitatory) and "
        f"{rates[1]:.2f} Hz (inhibitory)\n"
    )
    sys.stdout.flush()


def _write_recordings(recordings: Recordings, out: Path) -> None:
    import numpy as np

    from npi_bids.inverse.catch22 import CATCH22
    from npi_bids.io.files import replacing
    from npi_bids.io.tables import write_rows
    from npi_bids.simulate.field_potentials import SAMPLING_RATE
    from npi_bids.simulate.spiking import POPULATIONS

    names = ("j_ext", *(f"rate_{name}" for name in POPULATIONS), *CATCH22)
    values = np.column_stack([recordings.j_ext, recordings.rates, recordings.features])
    write_rows([dict(zip(names, row, strict=True)) for row in values], out / "simulations.tsv")
    with replacing(out / "eeg.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, eeg=recordings.eeg.astype(np.float32), sampling_rate=SAMPLING_RATE)


def _write_predictions(
    predictions: Predictions, ridge: RidgeScores, settings: LessonSettings, out: Path
) -> None:
    from dataclasses import asdict

    import numpy as np

    from npi_bids import __version__
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import Table, write_table
    from npi_bids.reports.figures_lesson import draw_predictions

    columns = {
        "simulation": predictions.held_out + 1,
        "j_ext": predictions.truth,
        "ridge": predictions.ridge,
    }
    if predictions.posterior is not None:
        low, high = np.quantile(predictions.posterior, (0.025, 0.975), axis=0)
        mean = predictions.posterior.mean(axis=0)
        columns |= {"posterior_mean": mean, "posterior_q025": low, "posterior_q975": high}
    write_table(Table(columns), out / "predictions.tsv")
    summary = {
        "ridge_mse": float(np.median(ridge.mse)),
        "ridge_r2": float(np.median(ridge.r2)),
        "posterior_r2": predictions.posterior_r2(),
        **{f"coverage{level:.0%}".rstrip("%"): predictions.coverage(level) for level in _LEVELS},
        "n_held_out": len(predictions.truth),
        "settings": asdict(settings),
        "version": __version__,
    }
    write_json(out / "summary.json", summary)
    write_text(out / "predictions.svg", draw_predictions(predictions))


def describe_scores(predictions: Predictions, ridge: RidgeScores) -> str:
    """Say how well J_ext was recovered, line by line."""
    import numpy as np

    spread = np.percentile(ridge.mse, [5, 95])
    lines = [
        f"Ridge regression, {len(ridge.mse)} splits of 90 and 10 %: median of the mean squared "
        f"error {np.median(ridge.mse):.3f} pA^2 (5 to 95 %: {spread[0]:.3f} to {spread[1]:.3f}), "
        f"median R2 {np.median(ridge.r2):.3f}"
    ]
    if predictions.posterior is not None:
        coverage = ", ".join(
            f"{level:.0%}: {predictions.coverage(level):.2f}" for level in _LEVELS
        )
        lines.append(
            f"Posterior means of {len(predictions.truth)} held-out simulations: "
            f"R2 {predictions.posterior_r2():.3f}; share of truths in the central intervals of "
            f"{coverage}"
        )
        if len(predictions.truth) < 50:
            lines.append("Fewer than 50 were held out, so that these shares are only rough.")
    return "".join(f"{line}\n" for line in lines)
