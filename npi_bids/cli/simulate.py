"""Entry point of ``npi-simulate``: a dataset whose effective connectivity is known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import add_options, make_settings
from npi_bids.cli.signals import interruptible

if TYPE_CHECKING:
    from npi_bids.simulate.dataset import CohortSettings
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SystemSettings

_SYSTEMS = """\
systems:
  rnn         noisy recurrent network, the first benchmark of Luo et al. (2025)
  wbm         reduced Wong-Wang model on a connectome with BOLD signals, their
              second benchmark
  neuromatch  sigmoid network of the Neuromatch Academy tutorials
  var, ou     linear systems (vector autoregression, Ornstein-Uhlenbeck process)
              whose effective connectivity has a closed form
  aln, hopf, wc, fhn, ww
              whole-brain models of neurolib on a connectome, observed through a
              balloon model

npi-simulate lif OUT simulates a spiking network and its EEG instead, and
infers its input; see npi-simulate lif --help.
"""


@interruptible("npi-simulate", "nothing was written; run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and write a dataset, and print the commands that analyse it."""
    return run_command("npi-simulate", _main, argv)


def _main(argv: Sequence[str]) -> int:
    if argv[:1] == ["lif"]:
        from npi_bids.cli.lif import run_lif

        return run_lif(argv[1:])
    parser, classes = build_parser()
    args = parser.read(argv)
    settings = make_settings(args, classes)
    return _write_dataset(args.system, args.out, *(settings[cls] for cls in classes))


def build_parser() -> tuple[CommandParser, tuple[type, ...]]:
    """Return the parser, and the settings classes whose fields are its options."""
    from npi_bids.simulate.dataset import CohortSettings
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SYSTEMS, SystemSettings

    parser = CommandParser(
        "npi-simulate",
        "SYSTEM OUT",
        "Simulate a dataset in the format of fMRIPrep, from a system whose effective connectivity "
        "is known, and write the true matrix and the true delays of the regions beside it.",
        example="npi-simulate rnn simulated --n-subjects 5 --minutes 20",
        epilog=_SYSTEMS,
    )
    parser.add_argument("system", type=choice_type(sorted(SYSTEMS)), metavar="SYSTEM",
                        help="see systems below")  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    parser.add_help_options()
    classes = SystemSettings, ObserveSettings, CohortSettings
    groups = {title: parser.add_argument_group(title)
              for title in ("dataset", "system", "observation")}  # fmt: skip
    for title, settings in zip(("system", "observation", "dataset"), classes, strict=True):
        add_options(groups[title], settings)
    return parser, classes


def _write_dataset(
    system: str,
    out: Path,
    settings: SystemSettings,
    observe: ObserveSettings,
    cohort: CohortSettings,
) -> int:
    from npi_bids.simulate.dataset import find_cohort, write_cohort

    written = find_cohort(out, system, settings, observe, cohort)
    if written is not None:
        sys.stdout.write("This simulation is already complete; nothing was written.\n")
    else:
        sys.stdout.write(f"Simulating {system} ...\n")
        sys.stdout.flush()
        for written in write_cohort(out, system, settings, observe, cohort):
            if written.n_done:
                sys.stdout.write(f"  run {written.n_done} of {written.n_runs} written\n")
                sys.stdout.flush()
    if written is None:
        return 1
    sys.stdout.write(f"Dataset: {written.dataset}\nAtlas:   {written.atlas}\n")
    sys.stdout.write(f"Truth:   {written.truth}\nDelays:  {written.delays}\n\nNext:\n")
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
