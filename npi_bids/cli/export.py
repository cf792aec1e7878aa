"""Entry point of ``npi-export``: maps in the formats of other programs."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError

# Same as in npi_bids.bids.exporting; repeated so that --help imports nothing heavy.
_FORMATS = (
    *("graphml", "brainnet", "mat", "npz", "netcdf", "peb", "pconn"),
    *("nifti", "pscalar", "dscalar", "gifti"),
)
_ALWAYS = ("graphml", "mat", "npz")


@interruptible("npi-export", "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Write maps as GraphML, BrainNet Viewer, MATLAB (BCT), NumPy, MNE, SPM, CIFTI or images."""
    return run_command("npi-export", _main, argv)


def _main(argv: Sequence[str]) -> int:
    args = build_parser().read(argv)
    os.environ["NIPYPE_NO_ET"] = "1"
    return _export(args)


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-export",
        "MATRIX ... [--to FORMAT ...]",
        "Convert matrices of effective connectivity to formats of other programs. Rows are "
        "sources and columns are targets in all of them, except in the DCM of SPM (peb), where "
        "A(i,j) is from j to i.",
        example="npi-export /data/npi --to graphml mat -o exported",
    )
    parser.add_argument("maps", nargs="+", type=Path, metavar="MATRIX",
                        help="*_relmat.tsv, or out_dir of npi-bids for all its matrices meas-npi "
                        "of subjects and groups")  # fmt: skip
    parser.add_help_options()
    parser.add_argument("--to", nargs="+", type=choice_type(_FORMATS), default=list(_ALWAYS),
                        metavar="FORMAT",
                        help="graphml, brainnet (.node and .edge), mat (Brain Connectivity "
                        "Toolbox), npz, netcdf (mne-connectivity), peb (DCM for SPM's "
                        "spm_dcm_peb), pconn (greyordinates); regional out-strength, in-strength, "
                        "net flow and hierarchy as nifti, or as pscalar, dscalar or gifti "
                        "(greyordinates) "
                        f"(default: {' '.join(_ALWAYS)})")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, default=Path("npi-export"), metavar="DIR",
                        help="output folder (default: npi-export)")  # fmt: skip
    parser.add_argument("--regions", type=Path, metavar="TSV",
                        help="table of the regions (name, network, x, y, z), for matrices "
                        "outside a dataset of npi-bids")  # fmt: skip
    parser.add_argument("--atlas", type=Path, metavar="IMAGE",
                        help="pconn and maps of regions: the atlas, as .dlabel.nii or, for nifti, "
                        "as a volume")  # fmt: skip
    return parser


def _export(args: Namespace) -> int:
    from npi_bids.bids.exporting import export_matrix
    from npi_bids.io.files import replacing_folder

    for path in (args.regions, args.atlas):
        if path is not None and not path.is_file():
            raise InputDataError(f"<{path}> does not exist.")
    written: list[Path] = []
    with replacing_folder(args.out) as folder:
        for path in _find_maps(args.maps):
            files = export_matrix(path, args.to, folder, regions=args.regions, atlas=args.atlas)
            written += [args.out / file.name for file in files]
    sys.stdout.write("".join(f"Written: {path}\n" for path in written))
    return 0


def _find_maps(paths: Sequence[Path]) -> list[Path]:
    from npi_bids.bids.derivatives import find_group_maps
    from npi_bids.bids.outputs import output_pattern

    maps: list[Path] = []
    for path in paths:
        if path.is_dir():
            contained = [*sorted(path.glob(output_pattern("npi"))), *find_group_maps(path)]
            if not contained:
                raise InputDataError(f"<{path}> holds no map ({output_pattern('npi')}).")
            maps += contained
        elif path.is_file():
            maps.append(path)
        else:
            raise InputDataError(
                f"<{path}> does not exist; expected a *_relmat.tsv or an out_dir of npi-bids."
            )
    return maps


if __name__ == "__main__":
    sys.exit(main())
