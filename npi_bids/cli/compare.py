"""``npi-validate compare``: two maps of any origin, by the names of their regions."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npi_bids import __version__
from npi_bids.cli.validate import words_of
from npi_bids.errors import InputDataError

if TYPE_CHECKING:
    from npi_bids.simulate.agreement import Agreement

_ROWS = ("source", "target")
_SHOWN = {
    "r": "r", "spearman": "Spearman", "r_symmetric": "r, symmetric part",
    "r_antisymmetric": "r, antisymmetric part", "r_transposed": "r, second turned round",
    "p_distance": "p, pairs shuffled at like distance", "p_spin": "p, regions spun",
    "p_direction_distance": "p of direction, shuffled at like distance",
    "p_direction_spin": "p of direction, spun", "n_regions": "regions", "n_entries": "entries",
}  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Compare two maps, say so, and write a table, JSON and a page."""
    return _run(build_parser().parse_args(words))


def build_parser() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(
        "npi-validate compare",
        description="Compare two maps of the same regions, matched by name: structural "
        "connectivity, cortico-cortical evoked potentials, published maps. Nulls keep what "
        "distance and neighbourhood alone would give.",
        allow_abbrev=False,
    )
    parser.add_argument("one", type=Path, metavar="A",
                        help="TSV or CSV with names in first row and column, or a list of pairs "
                        "(source, target, value; stimulated, recorded, value), or .npz with "
                        "labels")  # fmt: skip
    parser.add_argument("other", type=Path, metavar="B", help="the same")
    parser.add_argument("--rows", nargs=2, choices=_ROWS, default=["source", "source"],
                        metavar=("A", "B"), help="what the rows of each are: source or target "
                        "(source source)")  # fmt: skip
    parser.add_argument("--column", default="", metavar="NAME",
                        help="column of values in a list of pairs (first of numbers)")  # fmt: skip
    parser.add_argument("--regions", type=Path, metavar="TSV",
                        help="table with name, x, y, z of the regions, for the nulls; found by "
                        "itself for results of npi-bids")  # fmt: skip
    parser.add_argument("--n-null", type=int, default=1000, metavar="N",
                        help="maps of each null (1000)")  # fmt: skip
    parser.add_argument("--random-seed", type=int, default=0, metavar="N", help="of the nulls (0)")
    parser.add_argument("-o", "--out", type=Path, default=Path("npi-comparison"), metavar="DIR",
                        help="folder (npi-comparison)")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"npi-bids {__version__}")
    return parser


def _run(args: Namespace) -> int:
    from npi_bids.io.files import replacing_folder
    from npi_bids.io.outside import read_outside
    from npi_bids.simulate.agreement import compare_outside
    from npi_bids.workflows.export import table_of

    os.environ["NIPYPE_NO_ET"] = "1"
    for path in (args.one, args.other, *filter(None, [args.regions])):
        if not path.is_file():
            raise InputDataError(f"<{path}> does not exist.")
    one, other = (
        read_outside(path, rows=rows, column=args.column)
        for path, rows in zip((args.one, args.other), args.rows, strict=True)
    )
    table = args.regions or table_of(args.one) or table_of(args.other)
    found, maps = compare_outside(one, other, table, n_null=args.n_null, seed=args.random_seed)
    facts = _facts(found)
    for heading, value in facts.items():
        sys.stdout.write(f"{heading:<45} {value}\n")
    if table is None:
        sys.stdout.write("No nulls: the places of the regions are not known; give --regions.\n")
    sys.stdout.write(f"Orientation: {found.orientation}.\n")
    with replacing_folder(args.out) as folder:
        _write(args, found, facts, maps, folder)
    sys.stdout.write(f"Written: {args.out / 'comparison.html'} (and .tsv, .json, .svg)\n")
    return 0


def _facts(found: Agreement) -> dict[str, str]:
    values = asdict(found)
    return {heading: words_of(values[name]) for name, heading in _SHOWN.items()}


def _write(
    args: Namespace, found: Agreement, facts: dict[str, str], maps: Any, folder: Path
) -> None:
    from npi_bids.io.files import write_json, write_text
    from npi_bids.io.tables import write_rows
    from npi_bids.reports.records import Figure
    from npi_bids.reports.validation import ValidationPage, draw_recovery, validation_page

    names = {"A": str(args.one), "B": str(args.other), "RowsOfA": args.rows[0],
             "RowsOfB": args.rows[1]}  # fmt: skip
    settings = {"NullMaps": args.n_null, "Seed": args.random_seed, "Version": __version__}
    about = {"Orientation": found.orientation, **asdict(found)}
    write_json(folder / "comparison.json", names | settings | about)
    write_rows([names | about], folder / "comparison.tsv")
    svg = draw_recovery({"B against A": maps}, "", names=("A", "B"))
    write_text(folder / "comparison.svg", svg)
    caption = "One point per connection."
    figure = Figure("comparison", "B against A", caption, svg, found.orientation)
    page = ValidationPage(
        __version__,
        "Two maps of the same regions",
        f"A: {args.one.name}. B: {args.other.name}. Regions are matched by name. "
        f"{found.orientation[:1].upper()}{found.orientation[1:]}.",
        tuple(facts),
        (tuple(facts.values()),),
        (figure,),
    )
    write_text(folder / "comparison.html", validation_page(page))
