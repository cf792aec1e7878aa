"""Entry point of ``npi-validate``: maps beside known connectivity, and what a scan can show."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npi_bids import __version__
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError

if TYPE_CHECKING:
    from npi_bids.simulate.validate import Comparison

# What is shown of a comparison: heading and field.
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
    "verdict": "verdict",
}
_PER_DEVIATION = "standard deviations"
_MOST_PANELS = 9


@interruptible("npi-validate", "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Compare results with a truth, or (``npi-validate power``) plan a study."""
    return run_command("npi-validate", _main, argv)


def _main(words: Sequence[str]) -> int:
    if words[:1] == ["power"]:
        from npi_bids.cli.power import main as power

        return power(words[1:])
    if words[:1] == ["compare"]:
        from npi_bids.cli.compare import main as compare

        return compare(words[1:])
    return _compare(_parse(words))


def _parse(words: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        "npi-validate",
        description="Compare effective connectivity with the truth of a simulation, regions "
        "matched by name. 'npi-validate power --help': what a scan of some length can show; "
        "'npi-validate compare --help': two maps of any origin.",
        allow_abbrev=False,
    )
    parser.add_argument("results", type=Path, metavar="RESULTS",
                        help="out_dir of npi-bids, or one map as TSV")  # fmt: skip
    parser.add_argument("truth", type=Path, metavar="TRUTH",
                        help="TSV of [source, target], as npi-simulate writes it")  # fmt: skip
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("npi-validation"),
        metavar="DIR",
        help="folder for table, JSON, figure and page (npi-validation)",
    )
    parser.add_argument("--version", action="version", version=f"npi-bids {__version__}")
    return parser.parse_args(words)


def _compare(args: Namespace) -> int:
    from npi_bids.io.files import read_json, replacing_folder
    from npi_bids.io.tables import read_matrix

    if not args.truth.is_file():
        raise InputDataError(f"There is no truth at <{args.truth}>; expected a TSV of a matrix.")
    truth = read_matrix(args.truth)
    sidecar = args.truth.with_suffix(".json")
    facts = read_json(sidecar) if sidecar.is_file() else {}
    unit = str(facts.get("Units", ""))
    found = list(_comparisons(args.results, truth, unit))
    if not found:
        raise InputDataError(
            f"<{args.results}> holds no map; expected a TSV, or a folder with "
            "sub-*/**/func/*_meas-npi_*_relmat.tsv."
        )
    rows = [comparison.row() for comparison in found]
    short = [{**row, "map": _short(row["map"])} for row in rows]
    shown = short if len({row["map"] for row in short}) == len(rows) else rows
    _print(shown)
    with replacing_folder(args.out) as folder:
        _write(folder, found, (rows, shown), (str(args.results), str(args.truth), unit))
    sys.stdout.write(f"Written: {args.out / 'validation.html'} (and .tsv, .json, .svg)\n")
    return 0


def _comparisons(results: Path, truth: Any, unit: str) -> Iterator[Comparison]:
    from npi_bids.bids.results import find_models
    from npi_bids.io.tables import read_matrix
    from npi_bids.simulate.validate import compare

    if results.is_file():
        yield compare(results.name, read_matrix(results), truth)
        return
    scale = unit.startswith(_PER_DEVIATION)
    for model in find_models(results):
        wanted = {"lower": "npilower", "upper": "npiupper"} if scale else {}
        files = {key: model.path(kind) for key, kind in {**wanted, "q": "npiq"}.items()}
        sure = {key: read_matrix(path) for key, path in files.items() if path.is_file()}
        verdict = str(model.sidecar.get("Verdict", ""))
        found = read_matrix(model.path("npi"))
        yield compare(model.name, found, truth, verdict=verdict, sure=sure)
    for path in sorted(results.glob("tpl-*/**/func/*_meas-npi_*Groupmean_relmat.tsv")):
        name = path.name.removesuffix("_relmat.tsv")
        yield compare(name, read_matrix(path), truth, kind="group")


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False)
    for heading in _COLUMNS:
        table.add_column(heading, justify="left" if heading == "map" else "right", overflow="fold")
    for row in rows:
        table.add_row(*(words_of(row[field]) for field in _COLUMNS.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _write(
    out: Path,
    found: Sequence[Comparison],
    tables: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    names: tuple[str, str, str],
) -> None:
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import write_rows
    from npi_bids.reports.records import Figure
    from npi_bids.reports.validation import ValidationPage, draw_recovery, validation_page

    results, truth, unit = names
    rows, readable = tables
    content = {"Results": results, "Truth": truth, "Units": unit, "Version": __version__}
    write_json(out / "validation.json", content | {"Maps": rows})
    write_rows(rows, out / "validation.tsv")
    first = [*(c for c in found if c.kind == "group"), *(c for c in found if c.kind != "group")]
    pairs = {_short(c.name): (c.estimate, c.truth) for c in first[:_MOST_PANELS]}
    svg = draw_recovery(pairs, unit)
    write_text(out / "validation.svg", svg)
    figure = Figure(
        "validation", "Estimate against truth",
        "One point per connection; the line is the least-squares fit. "
        + (f"The first {_MOST_PANELS} of {len(found)} maps." if len(found) > _MOST_PANELS else ""),
        svg, "; ".join(f"{_short(c.name)}: r {c.recovery.r:.2f}" for c in first[:_MOST_PANELS]),
    )  # fmt: skip
    page = ValidationPage(
        __version__,
        "Validation against known connectivity",
        f"Maps of {results} beside {truth}. Regions are matched by name; the diagonal is left "
        "out. A map that is transposed shows it in 'r transposed' and 'direction' (chance .5).",
        tuple(_COLUMNS),
        tuple(tuple(words_of(row[field]) for field in _COLUMNS.values()) for row in readable),
        (figure,),
    )
    write_text(out / "validation.html", validation_page(page))


def _short(name: str) -> str:
    """Return the entities that tell maps of one dataset apart."""
    kept = [part for part in name.split("_") if part.split("-")[0] in ("sub", "ses", "run")]
    return "_".join(kept) or "group mean"


def words_of(value: Any) -> str:
    """Write a figure with three digits; what is missing is n/a."""
    if isinstance(value, float):
        return "n/a" if value != value else f"{value:.3f}"  # noqa: PLR0124 (NaN)
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
