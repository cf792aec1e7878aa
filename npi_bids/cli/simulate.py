"""Entry point of ``npi-simulate``: a dataset whose effective connectivity is known."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, HelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids import __version__
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import add_options, make_settings, with_dashes
from npi_bids.cli.signals import interruptible

if TYPE_CHECKING:
    from npi_bids.simulate.dataset import CohortSettings
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SystemSettings

_ABOUT = """
systems:
  rnn         noisy recurrent network, the benchmark of Luo et al. (2025)
  wbm         reduced Wong-Wang regions on a connectome seen as BOLD, their second benchmark
  neuromatch  sigmoid network of the Neuromatch lessons
  var, ou     linear: vector autoregression, Ornstein-Uhlenbeck process; EC in closed form
  aln, hopf, wc, fhn, ww
              whole-brain models of neurolib on a connectome, seen through a balloon model
"""


@interruptible("npi-simulate", "nothing was written; run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, write, and say what to do next."""
    return run_command("npi-simulate", _main, argv)


def _main(words: Sequence[str]) -> int:
    parser, classes = build_parser()
    args = parser.parse_args([with_dashes(word) for word in words])
    made = make_settings(args, classes)
    return _write(args.system, args.out, *(made[cls] for cls in classes))


def build_parser() -> tuple[ArgumentParser, tuple[type, ...]]:
    """Return the parser, and the settings classes whose fields are its options."""
    from npi_bids.simulate.dataset import CohortSettings
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SYSTEMS, SystemSettings

    parser = ArgumentParser(
        "npi-simulate",
        description="Write a dataset that looks like fMRIPrep's output, from a system whose "
        "effective connectivity is known, with the truth beside it.",
        epilog=_ABOUT,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("system", choices=sorted(SYSTEMS), metavar="SYSTEM", help="see below")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    parser.add_argument("--version", action="version", version=f"npi-bids {__version__}")
    classes = SystemSettings, ObserveSettings, CohortSettings
    titles = "the system", "what is recorded of it", "of whom"
    for title, settings in zip(titles, classes, strict=True):
        add_options(parser.add_argument_group(title), settings)
    return parser, classes


class _Formatter(HelpFormatter):
    """Wide help whose epilog keeps its lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return text.strip("\n")
        return super()._fill_text(text, width, indent)


def _write(
    system: str, out: Path, settings: SystemSettings, seen: ObserveSettings, cohort: CohortSettings
) -> int:
    from npi_bids.simulate.dataset import find_cohort, write_cohort

    written = find_cohort(out, system, settings, seen, cohort)
    if written is not None:
        sys.stdout.write("This simulation is complete already; nothing was written.\n")
    else:
        sys.stdout.write(f"Simulating {system} ...\n")
        sys.stdout.flush()
        for written in write_cohort(out, system, settings, seen, cohort):
            if written.n_done:
                sys.stdout.write(f"  run {written.n_done} of {written.n_runs} written\n")
                sys.stdout.flush()
    if written is None:
        return 1
    sys.stdout.write(f"Dataset: {written.dataset}\nAtlas:   {written.atlas}\n")
    sys.stdout.write(f"Truth:   {written.truth}\n\nNext:\n")
    results = out / "results"
    # Tables of series come in one parcellation, which needs no name.
    atlas = "" if cohort.series_only else f" --atlas {written.atlas}"
    sys.stdout.write(
        f"  npi-bids {written.dataset} {results} participant group{atlas}\n"
        f"  npi-validate {results} {written.truth}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
