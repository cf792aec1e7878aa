"""``npi-validate power``: what scans of some length can show."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npi_bids import __version__
from npi_bids.cli.options import add_options, make_settings, with_dashes
from npi_bids.errors import InputDataError

if TYPE_CHECKING:
    from npi_bids.simulate.observe import ObserveSettings
    from npi_bids.simulate.power import PowerRow, PowerSettings
    from npi_bids.simulate.systems import SystemSettings

Summary = dict[str, Any]


def main(words: Sequence[str]) -> int:
    """Plan a study: simulate, infer, print a table, write a page."""
    parser, classes = build_parser()
    args = parser.parse_args([with_dashes(word) for word in words])
    if args.like:
        _take_over(args, args.like)
    made = make_settings(args, classes)
    power, system, seen = (made[cls] for cls in classes)
    return _run(args, power, system, seen)


def build_parser() -> tuple[ArgumentParser, tuple[type, ...]]:
    """Return the parser, and the settings classes whose fields are its options."""
    from npi_bids.simulate.observe import ObserveSettings
    from npi_bids.simulate.power import PowerSettings
    from npi_bids.simulate.systems import SystemSettings

    parser = ArgumentParser(
        "npi-validate power",
        description="Simulate subjects of a system whose effective connectivity is known and say "
        "how well it is recovered, by method and minutes of data.",
        allow_abbrev=False,
    )
    parser.add_argument("--like", type=Path, metavar="OUT_DIR",
                        help="take regions, TR, minutes and low-pass filter from the results of "
                        "npi-bids; options given beside it go first")  # fmt: skip
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("npi-power"),
        metavar="DIR",
        help="folder for page, tables and what was computed (npi-power)",
    )
    parser.add_argument(
        "--n-procs", type=int, default=1, metavar="N", help="processes at once (1)"
    )
    classes = PowerSettings, SystemSettings, ObserveSettings
    for title, cls in zip(("study", "system", "what is recorded of it"), classes, strict=True):
        own = parser.add_argument_group(title)
        add_options(own, cls, without=("tr",) if cls is SystemSettings else ())
    return parser, classes


def _take_over(args: Namespace, out_dir: Path) -> None:
    """Fill options that were not given from the sidecars of a dataset."""
    from npi_bids.bids.results import find_models

    models = list(find_models(out_dir))
    if not models:
        raise InputDataError(f"<{out_dir}> holds no results of npi-bids.")
    sidecar = models[0].sidecar
    quality = sidecar.get("Quality", {})
    minutes = float(quality["minutes"])
    grid = sorted({minutes, *(round(minutes * share, 1) for share in (0.25, 0.5, 2.0, 4.0))})
    found = {
        "n_regions": str(quality["n_regions"]),
        "trs": [str(sidecar["RepetitionTime"])],
        "minutes": [str(value) for value in grid],
    }
    of_run = models[0].runs()[0][1]
    if of_run.get("LowPass"):
        found["filter_high"] = str(of_run["LowPass"])
    for name, value in found.items():
        if not hasattr(args, name):
            setattr(args, name, value)


def _run(
    args: Namespace, power: PowerSettings, system: SystemSettings, seen: ObserveSettings
) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from npi_bids.io.files import replacing_folder
    from npi_bids.simulate.power import needs, run_power, summarise

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("simulated subjects")
        rows = run_power(
            power,
            system,
            seen,
            cache=args.out / "cache",
            n_procs=args.n_procs,
            on_done=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    summaries = list(summarise(rows))
    needed = list(needs(summaries, power.wanted))
    _print(summaries, needed, power.wanted)
    with replacing_folder(args.out) as folder:
        _write(folder, rows, summaries, needed, (power, system, seen))
    sys.stdout.write(f"Written: {args.out / 'power.html'} (and .tsv, .json, figures)\n")
    return 0


_HEADINGS = ("TR (s)", "method", "minutes", "r", "lowest to highest", "r antisym.", "direction",
             "r of the mean map", "its direction")  # fmt: skip


def _cells(row: Summary) -> tuple[str, ...]:
    return (
        f"{row['tr']:g}",
        row["method"],
        f"{row['minutes']:g}",
        _number(row["r"]),
        f"{_number(row['r_low'])} to {_number(row['r_high'])}",
        _number(row["r_antisymmetric"]),
        _number(row["direction"]),
        _number(row["group_r"]),
        _number(row["group_direction"]),
    )


def _number(value: float) -> str:
    return "n/a" if value != value else f"{value:.2f}"  # noqa: PLR0124 (NaN)


def _need_text(need: tuple[float, str, float], wanted: float) -> str:
    tr, method, minutes = need
    where = f"{method}, TR {tr:g} s"
    if minutes == float("inf"):
        return f"{where}: r {wanted:g} is not reached with the longest scan."
    return f"{where}: r {wanted:g} with {minutes:.3g} minutes per subject."


def _print(
    summaries: Sequence[Summary], needed: Sequence[tuple[float, str, float]], wanted: float
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*_HEADINGS, show_edge=False)
    for row in summaries:
        table.add_row(*_cells(row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for need in needed:
        sys.stdout.write(_need_text(need, wanted) + "\n")


def _write(
    out: Path,
    rows: Sequence[PowerRow],
    summaries: Sequence[Summary],
    needed: Sequence[tuple[float, str, float]],
    settings: tuple[PowerSettings, SystemSettings, ObserveSettings],
) -> None:
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import write_rows
    from npi_bids.reports.validation import ValidationPage, validation_page

    power, system, seen = settings
    write_rows([asdict(row) for row in rows], out / "power.tsv")
    facts = {"Version": __version__, "Power": asdict(power), "System": asdict(system),
             "Observe": asdict(seen), "Summaries": summaries}  # fmt: skip
    write_json(out / "power.json", facts)
    figures = list(_figures(summaries, power.wanted))
    for figure in figures:
        write_text(out / f"{figure.name}.svg", figure.svg)
    effects = [f"{name} {value:g}" for name, value in asdict(seen).items()
               if value != getattr(type(seen)(), name)]  # fmt: skip
    page = ValidationPage(
        __version__,
        "What scans of this length can show",
        f"{power.n_subjects} simulated subjects of one network ({power.system}, "
        f"{system.n_regions} regions, coupling {system.coupling:g}); observed with "
        f"{', '.join(effects) or 'no noise, filter or loss'}. r is the correlation with the true "
        "effective connectivity off the diagonal; direction is the share of clearly directed "
        "pairs that point the right way (chance .5). Real data differ from any simulation: read "
        "this as what is possible, not as what is promised.",
        _HEADINGS,
        tuple(_cells(row) for row in summaries),
        tuple(figures),
        tuple(_need_text(need, power.wanted) for need in needed),
    )
    write_text(out / "power.html", validation_page(page))


def _figures(summaries: Sequence[Summary], wanted: float) -> Iterator[Any]:
    from npi_bids.reports.records import Figure
    from npi_bids.reports.validation import draw_power

    for tr, group in groupby(summaries, key=lambda row: row["tr"]):
        found = list(group)
        for key, title in (("r", "r with the truth"), ("direction", "pairs directed rightly")):
            curves = {
                method: [
                    tuple(row[name] for name in ("minutes", key, f"{key}_low", f"{key}_high"))
                    for row in some
                ]
                for method, some in groupby(found, key=lambda row: row["method"])
            }
            svg = draw_power(curves, title, wanted if key == "r" else 0.5)
            words = "; ".join(
                f"{name}: {points[0][1]:.2f} at {points[0][0]:g} min, "
                f"{points[-1][1]:.2f} at {points[-1][0]:g} min"
                for name, points in curves.items()
            )
            yield Figure(
                f"power_tr-{tr:g}_{key}".replace(".", "p"),
                f"TR {tr:g} s: {title}",
                "Mean of the subjects, and from the lowest to the highest of them; "
                + ("dashed: the wanted accuracy." if key == "r" else "dashed: chance."),
                svg,
                words,
            )
