"""Entry point of ``npi-bids-fetch``: fill the atlas cache for machines without network."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, NPIError


@interruptible("npi-bids-fetch", "run the same command again to go on.")
def main(argv: Sequence[str] | None = None) -> int:
    """Download atlases to the caches of nilearn and TemplateFlow."""
    return run_command("npi-bids-fetch", _main, argv)


def _main(argv: Sequence[str]) -> int:
    args = build_parser().read(argv)
    os.environ["NIPYPE_NO_ET"] = "1"
    code = 0
    with tempfile.TemporaryDirectory(prefix="npi-bids-fetch-") as scratch:
        os.environ["NIPYPE_CONFIG_DIR"] = scratch
        for atlas in args.atlases:
            try:
                sys.stdout.write(f"{atlas}: {_fetch(atlas, Path(scratch), args.offline)}\n")
            except NPIError as error:
                sys.stderr.write(f"{atlas}: {error}\n")
                code = error.exit_code
    return code


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-bids-fetch",
        "ATLAS ...",
        "Download atlases to the cache of nilearn ($NILEARN_DATA or ~/nilearn_data) and, for "
        "other templates, of TemplateFlow ($TEMPLATEFLOW_HOME or ~/.cache/templateflow), for "
        "computers without network access. ATLAS:tpl-T also downloads the transform to template "
        "T.",
        example="npi-bids-fetch Schaefer2018:scale-100 AAL\n"
        "npi-bids-fetch Dosenbach2010:tpl-MNI152NLin2009cAsym",
    )
    parser.add_argument("atlases", nargs="+", metavar="ATLAS", help="as for npi-bids --atlas")
    parser.add_help_options()
    parser.add_argument("--offline", action="store_true",
                        help="only check whether the atlases are in the cache")  # fmt: skip
    return parser


def _fetch(atlas: str, scratch: Path, offline: bool) -> str:
    """Download an atlas, and say in which templates it is ready."""
    from npi_bids.bids.atlases import find_templates, parse_atlas, wanted_transform
    from npi_bids.cli.atlases import prepare_atlas
    from npi_bids.parcellation.template_archive import fetch_template_file

    if not offline and (transform := wanted_transform(atlas)):
        fetch_template_file(*transform)
    spec = parse_atlas(atlas)
    prepare_atlas(spec, scratch, offline=offline)
    ready, missing = [spec.space], ""
    for template in find_templates(spec):
        try:
            prepare_atlas(parse_atlas(f"{atlas}:tpl-{template}"), scratch, offline=offline)
        except InputDataError as error:
            missing += f"; not in {template}: {error.__cause__ or error}"
        else:
            ready.append(template)
    return f"ready in {' and '.join(ready)}{missing}"


if __name__ == "__main__":
    sys.exit(main())
