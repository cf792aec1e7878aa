"""Entry point of ``npi-bids-demo``: an analysis of a small dataset whose EC is known."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError

if TYPE_CHECKING:
    from npi_bids.records import ECResult

# Name and options of each run; both surrogates analyse the same data.
_RUNS = {"hybrid": (), "luo2025": ("--preset", "luo2025")}


@interruptible("npi-bids-demo", "run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Write the data, run both levels with two surrogates, and print the accuracy."""
    return run_command("npi-bids-demo", _main, argv)


def _main(argv: Sequence[str]) -> int:
    args = build_parser().read(argv)
    started = time.monotonic()
    code = run_demo(args.out, args.n_procs)
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
        example="npi-bids-demo demo",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for data and results")
    parser.add_help_options()
    parser.add_argument("--n-procs", default=None, metavar="N",
                        help="number of processes (default: all available CPUs)")  # fmt: skip
    return parser


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
        _say(f"  {name:<10} {s.r:>6.3f} {s.r_antisymmetric:>15.3f} {s.r_transposed:>18.3f}")
    _print_subjects(out / "hybrid", truth)
    best = scores["hybrid"]
    right = "right" if best.r > best.r_transposed and best.direction > 0.75 else "WRONG"
    _say(f"The direction is {right}: {best.direction:.0%} of the clearly directed pairs.")
    _say("\nReports (open in a browser):")
    for name in _RUNS:
        _say(f"  {(out / name / 'group.html').resolve()}")
    return 0 if right == "right" else 1


def _print_subjects(out: Path, truth: ECResult) -> None:
    """Print what each subject's map reaches, and what its report expected."""
    from npi_bids.bids.derivatives import find_models
    from npi_bids.io.tables import read_matrix
    from npi_bids.validate.scores import score

    _say("\nAgreement of each subject (hybrid), and what its report expected of such a map:")
    _say(f"  {'subject':<10} {'r':>6} {'expected':>9} {'90 % interval':>15}")
    for model in find_models(out):
        reached = score(read_matrix(model.path("npi")).matrix, truth.matrix).r
        quality = model.fit.quality
        interval = f"{quality.expected_r_lower:.2f} to {quality.expected_r_upper:.2f}"
        _say(
            f"  {model.entities['sub']:<10} {reached:>6.3f} {quality.expected_r:>9.3f} "
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
