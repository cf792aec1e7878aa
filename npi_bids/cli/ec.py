"""Entry point of ``npi-ec``: effective connectivity of a table of regional series."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids import __version__
from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import add_options, add_preset, checked_settings, user_options
from npi_bids.cli.signals import interruptible
from npi_bids.errors import SettingsError

if TYPE_CHECKING:
    from npi_bids.assessment.settings import VerdictSettings
    from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
    from npi_bids.inference import SubjectEC
    from npi_bids.surrogates.base import TrainSettings


@interruptible("npi-ec", "run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Read tables, infer, write a matrix with a sidecar, and print its verdict."""
    return run_command("npi-ec", _main, argv)


def _main(argv: Sequence[str]) -> int:
    return _run(build_parser().read(argv))


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-ec",
        "TABLE ... --tr X -o OUT.tsv",
        "Effective connectivity of regional time series, without BIDS. Each table is one run: a "
        "named column per region, a row per sample. A row of n/a is a censored sample, a column "
        "of n/a a region that is not covered.",
        example="npi-ec run-1.tsv run-2.tsv --tr 2 -o ec.tsv",
    )
    parser.add_argument("series", nargs="+", type=Path, metavar="TABLE", help="TSV of one run")
    essential = parser.add_argument_group("essential options")
    parser.add_help_options(essential)
    essential.add_argument("--tr", type=float, required=True, metavar="X",
                           help="sampling period in seconds")  # fmt: skip
    essential.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.tsv",
                           help="matrix [source, target]; its sidecar and the matrices of "
                           "--measures are written beside it")  # fmt: skip
    add_preset(essential)
    for title, cls in zip(("surrogate", "perturbation", "measures and uncertainty", "verdict"),
                          _settings_classes(), strict=True):  # fmt: skip
        add_options(parser.add_argument_group(title), cls)
    return parser


def _settings_classes() -> tuple[type, ...]:
    """Return the settings classes whose fields are options."""
    from npi_bids.assessment.settings import VerdictSettings
    from npi_bids.connectivity.settings import MeasureSettings, PerturbSettings
    from npi_bids.surrogates.base import TrainSettings

    return TrainSettings, PerturbSettings, MeasureSettings, VerdictSettings


def _run(args: Namespace) -> int:
    from npi_bids.assessment.settings import AssessSettings
    from npi_bids.cli.logs import show_elapsed_time
    from npi_bids.inference import ec, period_problem
    from npi_bids.io.tables import read_series, with_regions_of
    from npi_bids.surrogates.families import WHOLE_BRAIN

    problem = period_problem(args.tr)
    problems = [f"--tr {problem}"] if problem else []
    if args.out.suffix != ".tsv":
        problems.append(f"--out must end in .tsv, not {args.out.name}.")
    options: dict[type, dict[str, object]] = {
        cls: user_options(args, cls, problems) for cls in _settings_classes()
    }
    settings = checked_settings(options, problems)
    train: TrainSettings
    perturb: PerturbSettings
    measures: MeasureSettings
    verdict: VerdictSettings
    train, perturb, measures, verdict = (settings[cls] for cls in _settings_classes())
    if train.surrogate == WHOLE_BRAIN:
        raise SettingsError(
            f"--surrogate {WHOLE_BRAIN} needs an atlas and structural connectivity; use npi-bids."
        )
    runs = [read_series(path, args.tr) for path in args.series]
    runs = [
        with_regions_of(runs[0], run, path) for run, path in zip(runs, args.series, strict=True)
    ]
    with show_elapsed_time("fitting and assessing"):
        result = ec(
            [run.data for run in runs],
            args.tr,
            labels=runs[0].labels,
            preset=getattr(args, "preset", None),
            perturb=perturb,
            assess=AssessSettings(measures=measures, verdict=verdict),
            **options[type(train)],
        )
    _write_result(result, args.out, args.tr, perturb)
    return 0


def _write_result(result: SubjectEC, out: Path, tr: float, perturb: PerturbSettings) -> None:
    """Write the matrices and the sidecar of a result, and print its kind and its verdict."""
    from npi_bids.bids.sidecars import ArrayModelSidecar
    from npi_bids.io.tables import write_matrix
    from npi_bids.surrogates.base import describe_training
    from npi_bids.surrogates.families import describe_kind

    out.parent.mkdir(parents=True, exist_ok=True)
    for name, matrix in result.measures.items():
        path = out if name == "npi" else out.with_name(f"{out.stem}_{name}.tsv")
        write_matrix(matrix, path)
    training = describe_training(result.settings, result.log)
    ArrayModelSidecar(
        description="Effective connectivity; rows are sources, columns are targets.",
        repetition_time=tr,
        surrogate=result.settings.surrogate,
        verdict=result.verdict.label,
        verdict_reasons=result.verdict.reasons,
        hazards=result.hazards,
        quality=result.quality,
        training=training,
        perturbation=asdict(perturb),
        version=__version__,
    ).write(out.with_suffix(".json"))
    sys.stdout.write(f"{describe_kind(result.settings.surrogate, training)}\n")
    sys.stdout.write(f"Verdict: {result.verdict.label}\n")
    sys.stdout.write("".join(f"  - {reason}\n" for reason in result.verdict.reasons))
    sys.stdout.write("".join(f"  ! {hazard}\n" for hazard in result.hazards))
    sys.stdout.write(f"Written: {out}\n")


if __name__ == "__main__":
    sys.exit(main())
