"""Entry point of ``npi-validate``: recovery of a known truth, comparison of maps, and power."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids import __version__
from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import add_options, make_settings
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError

# Columns of the table of comparisons: heading and field.
_COLUMNS = {
    "map": "map",
    "r": "r",
    "Spearman": "spearman",
    "r sym.": "r_symmetric",
    "r antisym.": "r_antisymmetric",
    "r transposed": "r_transposed",
    "AUROC": "auroc",
    "AUPRC": "auprc",
    "sign": "sign",
    "direction": "direction",
    "slope": "slope",
    "95 % hold": "intervals_hold",
    "false pos.": "false_positives",
    "delay r": "delay_r",
    "delay RMSE (s)": "delay_rmse",
    "delay n": "n_delays",
    "verdict": "verdict",
}
# Printed; the files have all columns.
_SHOWN = ("map", "r", "r antisym.", "r transposed", "AUROC", "direction", "95 % hold", "delay r",
          "delay RMSE (s)", "verdict")  # fmt: skip
_COMMANDS = """\
other commands:
  npi-validate power      accuracy to expect from scans of a given length
  npi-validate compare    agreement of two matrices of any origin"""
_PER_DEVIATION = "standard deviations"
_MOST_PANELS = 9
_ROWS = ("source", "target")
_AGREEMENT_HEADINGS = {
    "r": "r", "spearman": "Spearman", "r_symmetric": "r, symmetric part",
    "r_antisymmetric": "r, antisymmetric part", "r_transposed": "r, second transposed",
    "p_distance": "p, pairs shuffled at equal distance", "p_spin": "p, regions spun",
    "p_direction_distance": "p of direction, shuffled at equal distance",
    "p_direction_spin": "p of direction, regions spun",
    "p_orientation": "p of orientation, two-sided", "n_regions": "regions",
    "n_entries": "entries",
}  # fmt: skip
_POWER_HEADINGS = (
    "TR (s)", "method", "minutes", "r", "lowest to highest", "r antisym.", "direction",
    "r of the mean map", "its direction",
)  # fmt: skip


if TYPE_CHECKING:
    from npi_bids.records import Array, ECResult
    from npi_bids.reports.components import Figure
    from npi_bids.validate.recovery import Comparison


@interruptible("npi-validate", "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Compare results with a known truth, compare two matrices, or plan a study."""
    return run_command("npi-validate", _main, argv)


def _main(argv: Sequence[str]) -> int:
    if argv[:1] == ["power"]:
        return power_main(argv[1:])
    if argv[:1] == ["compare"]:
        return compare_main(argv[1:])
    return _run_recovery(build_recovery_parser().read(argv))


def build_recovery_parser() -> CommandParser:
    """Return the parser of the comparison with a known truth."""
    parser = CommandParser(
        "npi-validate",
        "RESULTS TRUTH",
        "Compare effective connectivity with the truth of a simulation; regions are matched by "
        "name.",
        example="npi-validate simulated/results simulated/desc-truth_relmat.tsv",
        epilog=_COMMANDS,
    )
    parser.add_argument("results", type=Path, metavar="RESULTS",
                        help="out_dir of npi-bids, or one matrix as TSV")  # fmt: skip
    parser.add_argument("truth", type=Path, metavar="TRUTH",
                        help="TSV of [source, target], as written by npi-simulate; the delays of "
                        "the regions are read from the table beside it, if any")  # fmt: skip
    parser.add_help_options()
    _add_out(parser, "npi-validation", "table, JSON, figure and page")
    return parser


def _add_out(parser: CommandParser, folder: str, content: str) -> None:
    parser.add_argument("-o", "--out", type=Path, default=Path(folder), metavar="DIR",
                        help=f"output folder for {content} (default: {folder})")  # fmt: skip


def _run_recovery(args: Namespace) -> int:
    from npi_bids.bids.outputs import output_pattern
    from npi_bids.bids.sidecars import TruthSidecar
    from npi_bids.io.files import replacing_folder
    from npi_bids.io.tables import read_matrix
    from npi_bids.simulate.dataset import delays_path

    if not args.truth.is_file():
        raise InputDataError(f"There is no truth at <{args.truth}>; expected a TSV of a matrix.")
    if not args.results.exists():
        raise InputDataError(f"There are no results at <{args.results}>: it does not exist.")
    truth = read_matrix(args.truth)
    sidecar = args.truth.with_suffix(".json")
    unit = TruthSidecar.read(sidecar).units if sidecar.is_file() else ""
    true_delays = _read_delays(delays_path(args.truth))
    comparisons = list(_compare_maps(args.results, truth, unit, true_delays))
    if not comparisons:
        raise InputDataError(
            f"<{args.results}> holds no map; expected a TSV, or a folder "
            f"with {output_pattern('npi')}."
        )
    rows = [comparison.row() for comparison in comparisons]
    shortened = [{**row, "map": _shorten_name(str(row["map"]))} for row in rows]
    readable = shortened if len({row["map"] for row in shortened}) == len(rows) else rows
    _print_table(readable)
    with replacing_folder(args.out) as folder:
        _write_recovery(
            folder, comparisons, (rows, readable), (str(args.results), str(args.truth), unit)
        )
    page = args.out / "validation.html"
    sys.stdout.write(f"Written, with more measures: {page} (and .tsv, .json, .svg)\n")
    return 0


def _read_delays(path: Path) -> dict[str, float]:
    """Return the delays of regions (s) in a table, by name; none if there is no table."""
    from npi_bids.io.tables import read_region_values

    return read_region_values(path, "delay") if path.is_file() else {}


def _compare_maps(
    results: Path, truth: ECResult, unit: str, true_delays: dict[str, float]
) -> Iterator[Comparison]:
    from npi_bids.bids.derivatives import find_group_maps, find_models
    from npi_bids.io.tables import read_matrix
    from npi_bids.validate.recovery import compare
    from npi_bids.validate.scores import score_delays

    if results.is_file():
        yield compare(results.name, read_matrix(results), truth)
        return
    scale = unit.startswith(_PER_DEVIATION)
    for model in find_models(results):
        bounds = {"lower": "npilower", "upper": "npiupper"} if scale else {}
        files = {
            key: model.path(output_kind) for key, output_kind in {**bounds, "q": "npiq"}.items()
        }
        inference = {key: read_matrix(path) for key, path in files.items() if path.is_file()}
        verdict = model.fit.verdict
        ec = read_matrix(model.path("npi"))
        comparison = compare(model.name, ec, truth, verdict=verdict, inference=inference)
        delays = score_delays(_read_delays(model.path("delays")), true_delays)
        yield replace(comparison, delays=delays)
    for path in find_group_maps(results):
        name = path.name.removesuffix("_relmat.tsv")
        yield compare(name, read_matrix(path), truth, level="group")


def _print_table(rows: Sequence[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    cells = {heading: [format_cell(row[_COLUMNS[heading]]) for row in rows] for heading in _SHOWN}
    cells = {heading: column for heading, column in cells.items() if set(column) != {"n/a"}}
    table = Table(box=None, pad_edge=False)
    for heading in cells:
        table.add_column(heading, justify="left" if heading == "map" else "right", overflow="fold")
    for texts in zip(*cells.values(), strict=True):
        table.add_row(*texts)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _write_recovery(
    out: Path,
    comparisons: Sequence[Comparison],
    tables: tuple[list[dict[str, object]], list[dict[str, object]]],
    names: tuple[str, str, str],
) -> None:
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import write_rows
    from npi_bids.reports.components import Figure
    from npi_bids.reports.validation import ValidationPage, draw_recovery, validation_page

    results, truth, unit = names
    rows, readable = tables
    content = {"Results": results, "Truth": truth, "Units": unit, "Version": __version__}
    write_json(out / "validation.json", content | {"Maps": rows})
    write_rows(rows, out / "validation.tsv")
    maps = [
        *(c for c in comparisons if c.level == "group"),
        *(c for c in comparisons if c.level != "group"),
    ]
    pairs = {_shorten_name(c.name): (c.estimate, c.truth) for c in maps[:_MOST_PANELS]}
    svg = draw_recovery(pairs, unit)
    write_text(out / "validation.svg", svg)
    n_maps = len(comparisons)
    figure = Figure(
        "validation", "Estimate against truth",
        "One point per connection; the line is the least-squares fit. "
        + (f"The first {_MOST_PANELS} of {n_maps} maps." if n_maps > _MOST_PANELS else ""),
        svg,
        "; ".join(f"{_shorten_name(c.name)}: r {c.recovery.r:.2f}" for c in maps[:_MOST_PANELS]),
    )  # fmt: skip
    page = ValidationPage(
        __version__,
        "Validation against known connectivity",
        f"Maps of {results} beside {truth}. Regions are matched by name; the diagonal is left "
        "out. A map that is transposed shows it in 'r transposed' and 'direction' (chance .5). "
        "Delays are those of the regions minus their median; n/a: the map accounts for no delays, "
        "or the true ones are unknown.",
        tuple(_COLUMNS),
        tuple(tuple(format_cell(row[field]) for field in _COLUMNS.values()) for row in readable),
        (figure,),
    )
    write_text(out / "validation.html", validation_page(page))


def _shorten_name(name: str) -> str:
    """Return the entities that distinguish the maps of one dataset."""
    entities = [part for part in name.split("_") if part.split("-")[0] in ("sub", "ses", "run")]
    return "_".join(entities) or "group mean"


def format_cell(value: object) -> str:
    """Write a number with three decimals; NaN becomes n/a."""
    if isinstance(value, float):
        return "n/a" if value != value else f"{value:.3f}"  # noqa: PLR0124 (NaN)
    return str(value)


if TYPE_CHECKING:
    from npi_bids.validate.map_comparison import Agreement


def compare_main(argv: Sequence[str]) -> int:
    """Compare two matrices; print the agreement and write a table, JSON and a page."""
    return _run_comparison(build_parser().read(argv))


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-validate compare",
        "A B",
        "Compare two matrices of the same regions, matched by name: effective connectivity, "
        "structural connectivity, cortico-cortical evoked potentials, published maps. Null "
        "models preserve the effects of distance and spatial autocorrelation.",
        example="npi-validate compare sub-01_relmat.tsv evoked_potentials.csv",
    )
    parser.add_argument("one", type=Path, metavar="A",
                        help="TSV or CSV with names in the first row and column, or a list of "
                        "pairs (source, target, value; stimulated, recorded, value), or .npz "
                        "with labels")  # fmt: skip
    parser.add_argument("other", type=Path, metavar="B", help="the same for the second matrix")
    parser.add_help_options()
    parser.add_argument("--rows", nargs=2, type=choice_type(_ROWS), default=["source", "source"],
                        metavar=("A", "B"), help="whether the rows of A and of B are source or "
                        "target (default: source source)")  # fmt: skip
    parser.add_argument("--column", default="", metavar="NAME",
                        help="value column of a list of pairs (default: the first with "
                        "numbers)")  # fmt: skip
    parser.add_argument("--regions", type=Path, metavar="TSV",
                        help="table with name, x, y, z of the regions, for the null models "
                        "(default: that of the dataset of npi-bids)")  # fmt: skip
    parser.add_argument("--n-null", type=int, default=1000, metavar="N",
                        help="draws from each null model (default: 1000)")  # fmt: skip
    parser.add_argument("--random-seed", type=int, default=0, metavar="N",
                        help="seed of the null models (default: 0)")  # fmt: skip
    _add_out(parser, "npi-comparison", "table, JSON, figure and page")
    return parser


def _run_comparison(args: Namespace) -> int:
    from npi_bids.bids.exporting import find_region_table
    from npi_bids.io.files import replacing_folder
    from npi_bids.io.tables import read_external
    from npi_bids.validate.map_comparison import compare_external

    os.environ["NIPYPE_NO_ET"] = "1"
    for path in (args.one, args.other, *filter(None, [args.regions])):
        if not path.is_file():
            raise InputDataError(f"<{path}> does not exist.")
    one, other = (
        read_external(path, rows=rows, column=args.column)
        for path, rows in zip((args.one, args.other), args.rows, strict=True)
    )
    table = args.regions or find_region_table(args.one) or find_region_table(args.other)
    agreement, maps = compare_external(
        one, other, table, n_null=args.n_null, seed=args.random_seed
    )
    cells = _agreement_cells(agreement)
    for heading, value in cells.items():
        sys.stdout.write(f"{heading:<45} {value}\n")
    if table is None:
        sys.stdout.write(
            "No p values of distance and spins: the coordinates of the regions are unknown; give "
            "--regions.\n"
        )
    sys.stdout.write(f"Orientation: {agreement.orientation}.\n")
    with replacing_folder(args.out) as folder:
        _write_comparison(args, agreement, cells, maps, folder)
    sys.stdout.write(f"Written: {args.out / 'comparison.html'} (and .tsv, .json, .svg)\n")
    return 0


def _agreement_cells(agreement: Agreement) -> dict[str, str]:
    values = asdict(agreement)
    return {heading: format_cell(values[name]) for name, heading in _AGREEMENT_HEADINGS.items()}


def _write_comparison(
    args: Namespace,
    agreement: Agreement,
    cells: dict[str, str],
    maps: tuple[Array, Array],
    folder: Path,
) -> None:
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import write_rows
    from npi_bids.reports.components import Figure
    from npi_bids.reports.validation import ValidationPage, draw_recovery, validation_page

    names = {"A": str(args.one), "B": str(args.other), "RowsOfA": args.rows[0],
             "RowsOfB": args.rows[1]}  # fmt: skip
    settings = {"NullMaps": args.n_null, "Seed": args.random_seed, "Version": __version__}
    statistics = {"Orientation": agreement.orientation, **asdict(agreement)}
    write_json(folder / "comparison.json", names | settings | statistics)
    write_rows([names | statistics], folder / "comparison.tsv")
    svg = draw_recovery({"B against A": maps}, "", names=("A", "B"))
    write_text(folder / "comparison.svg", svg)
    caption = "One point per connection."
    figure = Figure("comparison", "B against A", caption, svg, agreement.orientation)
    page = ValidationPage(
        __version__,
        "Two maps of the same regions",
        f"A: {args.one.name}. B: {args.other.name}. Regions are matched by name. "
        f"{agreement.orientation[:1].upper()}{agreement.orientation[1:]}.",
        tuple(cells),
        (tuple(cells.values()),),
        (figure,),
    )
    write_text(folder / "comparison.html", validation_page(page))


if TYPE_CHECKING:
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SystemSettings
    from npi_bids.validate.power import PowerRow, PowerSettings, Summary


def power_main(argv: Sequence[str]) -> int:
    """Plan a study: simulate scans, estimate maps, print their accuracy, write a page."""
    parser, classes = build_power_parser()
    args = parser.read(argv)
    if args.like:
        _fill_from_dataset(args, args.like)
    settings = make_settings(args, classes)
    power: PowerSettings
    system: SystemSettings
    observe: ObserveSettings
    power, system, observe = (settings[cls] for cls in classes)
    return _run_power(args, power, system, observe)


def build_power_parser() -> tuple[CommandParser, tuple[type, ...]]:
    """Return the parser, and the settings classes whose fields are its options."""
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SystemSettings
    from npi_bids.validate.power import PowerSettings

    parser = CommandParser(
        "npi-validate power",
        "",
        "Simulate subjects of a system whose effective connectivity is known, and report how "
        "well it is recovered by method and minutes of data.",
        example="npi-validate power --n-regions 100 --tr 0.8 2 --minutes 10 30",
    )
    parser.add_help_options()
    parser.add_argument("--like", type=Path, metavar="OUT_DIR",
                        help="take regions, TR, minutes and low-pass filter from results of "
                        "npi-bids; explicit options override them")  # fmt: skip
    _add_out(parser, "npi-power", "page, tables and cached results")
    parser.add_argument("--n-procs", type=int, default=1, metavar="N",
                        help="number of processes (default: 1)")  # fmt: skip
    classes = PowerSettings, SystemSettings, ObserveSettings
    for title, cls in zip(("study", "system", "observation"), classes, strict=True):
        group = parser.add_argument_group(title)
        add_options(group, cls, without=("tr",) if cls is SystemSettings else ())
    return parser, classes


def _fill_from_dataset(args: Namespace, out_dir: Path) -> None:
    """Fill options that the user did not set from the sidecars of a dataset."""
    from npi_bids.bids.derivatives import find_models

    models = list(find_models(out_dir))
    if not models:
        raise InputDataError(f"<{out_dir}> holds no results of npi-bids.")
    fit = models[0].fit
    minutes = fit.quality.minutes
    grid = sorted({minutes, *(round(minutes * share, 1) for share in (0.25, 0.5, 2.0, 4.0))})
    options = {
        "n_regions": str(fit.quality.n_regions),
        "trs": [str(fit.repetition_time)],
        "minutes": [str(value) for value in grid],
    }
    run_sidecar = models[0].runs()[0][1]
    if run_sidecar.low_pass:
        options["filter_high"] = str(run_sidecar.low_pass)
    for name, value in options.items():
        if not hasattr(args, name):
            setattr(args, name, value)


def _run_power(
    args: Namespace, power: PowerSettings, system: SystemSettings, observe: ObserveSettings
) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from npi_bids.io.files import replacing_folder
    from npi_bids.validate.power import necessary_minutes, run_power, summarise

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("simulated subjects")
        rows = run_power(
            power,
            system,
            observe,
            cache=args.out / "cache",
            n_procs=args.n_procs,
            on_done=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    summaries = list(summarise(rows))
    needed = list(necessary_minutes(summaries, power.wanted))
    _print_power(summaries, needed, power.wanted)
    with replacing_folder(args.out) as folder:
        _write_power(folder, rows, summaries, needed, (power, system, observe))
    sys.stdout.write(f"Written: {args.out / 'power.html'} (and .tsv, .json, figures)\n")
    return 0


def _power_cells(row: Summary) -> tuple[str, ...]:
    return (
        f"{row['tr']:g}",
        row["method"],
        f"{row['minutes']:g}",
        _format_number(row["r"]),
        f"{_format_number(row['r_low'])} to {_format_number(row['r_high'])}",
        _format_number(row["r_antisymmetric"]),
        _format_number(row["direction"]),
        _format_number(row["group_r"]),
        _format_number(row["group_direction"]),
    )


def _format_number(value: float) -> str:
    return "n/a" if value != value else f"{value:.2f}"  # noqa: PLR0124 (NaN)


def _format_requirement(need: tuple[float, str, float], target: float) -> str:
    tr, method, minutes = need
    where = f"{method}, TR {tr:g} s"
    if minutes == float("inf"):
        return f"{where}: r {target:g} is not reached with the longest scan."
    return f"{where}: r {target:g} with {minutes:.3g} minutes per subject."


def _print_power(
    summaries: Sequence[Summary], needed: Sequence[tuple[float, str, float]], target: float
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*_POWER_HEADINGS, show_edge=False)
    for row in summaries:
        table.add_row(*_power_cells(row))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for need in needed:
        sys.stdout.write(_format_requirement(need, target) + "\n")


def _write_power(
    out: Path,
    rows: Sequence[PowerRow],
    summaries: Sequence[Summary],
    needed: Sequence[tuple[float, str, float]],
    settings: tuple[PowerSettings, SystemSettings, ObserveSettings],
) -> None:
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import write_rows
    from npi_bids.reports.validation import ValidationPage, validation_page

    power, system, observe = settings
    write_rows([asdict(row) for row in rows], out / "power.tsv")
    content = {"Version": __version__, "Power": asdict(power), "System": asdict(system),
               "Observe": asdict(observe), "Summaries": summaries}  # fmt: skip
    write_json(out / "power.json", content)
    figures = list(_draw_figures(summaries, power.wanted))
    for figure in figures:
        write_text(out / f"{figure.name}.svg", figure.svg)
    effects = [f"{name} {value if isinstance(value, str) else format(value, 'g')}"
               for name, value in asdict(observe).items()
               if value != getattr(type(observe)(), name)]  # fmt: skip
    page = ValidationPage(
        __version__,
        "What scans of this length can show",
        f"{power.n_subjects} simulated subjects of one network ({power.system}, "
        f"{system.n_regions} regions, coupling {system.coupling:g}); observed with "
        f"{', '.join(effects) or 'no noise, filter or loss'}. r is the correlation with the true "
        "effective connectivity off the diagonal; direction is the share of clearly directed "
        "pairs that point the right way (chance .5). Real data differ from any simulation: read "
        "this as what is possible, not as what is promised.",
        _POWER_HEADINGS,
        tuple(_power_cells(row) for row in summaries),
        tuple(figures),
        tuple(_format_requirement(need, power.wanted) for need in needed),
    )
    write_text(out / "power.html", validation_page(page))


def _draw_figures(summaries: Sequence[Summary], target: float) -> Iterator[Figure]:
    from npi_bids.reports.components import Figure
    from npi_bids.reports.validation import draw_power

    for tr, group in groupby(summaries, key=lambda row: row["tr"]):
        rows = list(group)
        for key, title in (("r", "r with the truth"), ("direction", "pairs directed rightly")):
            get_point = itemgetter("minutes", key, f"{key}_low", f"{key}_high")
            curves = {
                method: [get_point(row) for row in method_rows]
                for method, method_rows in groupby(rows, key=lambda row: row["method"])
            }
            svg = draw_power(curves, title, target if key == "r" else 0.5)
            alt = "; ".join(
                f"{name}: {points[0][1]:.2f} at {points[0][0]:g} min, "
                f"{points[-1][1]:.2f} at {points[-1][0]:g} min"
                for name, points in curves.items()
            )
            yield Figure(
                f"power_tr-{tr:g}_{key}".replace(".", "p"),
                f"TR {tr:g} s: {title}",
                "Mean of the subjects, and from the lowest to the highest of them; "
                + ("dashed: the target accuracy." if key == "r" else "dashed: chance."),
                svg,
                alt,
            )


if __name__ == "__main__":
    sys.exit(main())
