"""Entry point of ``npi-view``: an interactive page of any matrices of connectivity."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids import __version__
from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, SettingsError

if TYPE_CHECKING:
    from npi_bids.io.matrix_files import MatrixFile

_EXAMPLE = """\
npi-view sub-01_meas-npi_desc-simple_relmat.tsv
npi-view EC_Schaefer100.npz EC_AAL1.npz -o resources.html"""


@interruptible("npi-view", "run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Write an interactive page of matrices from any source."""
    return run_command("npi-view", _main, argv)


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-view",
        "MATRIX ...",
        "Write one HTML page on which matrices of connectivity can be read cell by cell, several "
        "atlases side by side. The page needs neither a server nor a network.",
        example=_EXAMPLE,
    )
    parser.add_argument("matrices", nargs="+", type=Path, metavar="MATRIX",
                        help="TSV or CSV with the names of the regions in the first row and "
                        "column, a list of pairs (source, target, value), or .npz or .mat with "
                        "one square matrix and labels")  # fmt: skip
    parser.add_help_options()
    parser.add_argument("-o", "--out", type=Path, default=Path("npi-view.html"), metavar="HTML",
                        help="the page (default: npi-view.html)")  # fmt: skip
    parser.add_argument("--titles", nargs="+", default=[], metavar="TEXT",
                        help="name of each matrix (default: its file)")  # fmt: skip
    parser.add_argument("--rows", type=choice_type(("source", "target")), default="source",
                        metavar="{source,target}",
                        help="what rows are (default: source); many programs for BOLD and EEG "
                        "have targets in rows")  # fmt: skip
    parser.add_argument("--column", default="", metavar="NAME",
                        help="column of values of a list of pairs (default: the first with "
                        "numbers)")  # fmt: skip
    parser.add_argument("--regions", type=Path, metavar="TSV",
                        help="table of the regions (name, network, x, y, z) of all matrices "
                        "(default: that of the dataset of npi-bids)")  # fmt: skip
    return parser


def _main(argv: Sequence[str]) -> int:
    args = build_parser().read(argv)
    os.environ["NIPYPE_NO_ET"] = "1"
    if args.titles and len(args.titles) != len(args.matrices):
        raise SettingsError(
            f"--titles names {len(args.titles)} of {len(args.matrices)} matrices; give one title "
            "per matrix."
        )
    for path in (*args.matrices, *([args.regions] if args.regions else [])):
        if not path.is_file():
            raise InputDataError(f"<{path}> does not exist.")
    _write_page(args)
    sys.stdout.write(f"Written: {args.out}\n")
    return 0


def _write_page(args: Namespace) -> None:
    from npi_bids.io.files import write_text
    from npi_bids.reports.view import ViewPage, compare_matrices, describe_matrix, view_page

    files = [_read(path, args) for path in args.matrices]
    titles = args.titles or [path.name.removesuffix("_relmat.tsv") for path in args.matrices]
    sections = tuple(
        describe_matrix(title, file, position)
        for position, (title, file) in enumerate(zip(titles, files, strict=True), start=1)
    )
    agreement = compare_matrices(titles, [file.result for file in files])
    heading = titles[0] if len(titles) == 1 else f"{len(titles)} matrices of connectivity"
    write_text(args.out, view_page(ViewPage(__version__, heading, sections, agreement)))


def _read(path: Path, args: Namespace) -> MatrixFile:
    """Read a matrix, with the networks and centres of a table of its regions if there is one."""
    from npi_bids.bids.exporting import find_region_table
    from npi_bids.io.matrix_files import MatrixFile, read_matrix_file
    from npi_bids.io.region_tables import Regions

    file = read_matrix_file(path, rows=args.rows, column=args.column)
    table = args.regions or find_region_table(path)
    if table is None:
        return file
    regions = Regions(table, file.result.labels)
    centres = file.centres if regions.centres is None else regions.centres
    return MatrixFile(file.result, tuple(regions.network) or file.networks, centres)


if __name__ == "__main__":
    sys.exit(main())
