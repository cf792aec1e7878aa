"""Entry point of ``npi-infer``: posterior of the parameters of a whole-brain model."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import add_options, checked_settings, user_options
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.inverse.settings import INFERRED_MODELS, InferSettings
from npi_bids.settings import period_problem

if TYPE_CHECKING:
    from npi_bids.bids.sidecars import PosteriorFields
    from npi_bids.inverse.inference import Cleaning, SubjectPosterior
    from npi_bids.records import RegionSeries

_EXAMPLE = """\
npi-infer hopf out/sub-01/func/sub-01_task-rest_*_timeseries.tsv \\
  --sc sc.tsv -o posterior
npi-infer rww series.tsv --tr 2 --sc sc.tsv -o posterior --n-procs 8"""


@interruptible("npi-infer", "run the same command again; finished simulations are kept.")
def main(argv: Sequence[str] | None = None) -> int:
    """Infer the parameters of a whole-brain model from the series of one subject."""
    return run_command("npi-infer", _main, argv)


def _main(argv: Sequence[str]) -> int:
    return _run(build_parser().read(argv))


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-infer",
        "MODEL SERIES.tsv [SERIES.tsv ...] --sc SC.tsv -o FOLDER",
        "Posterior of the global parameters of a whole-brain model for one subject, from features "
        "of its regional signals (simulation-based inference), with calibration on simulated "
        "subjects, and whether the subject lies inside what the model can produce.",
        example=_EXAMPLE,
    )
    parser.add_argument("model", choices=INFERRED_MODELS, metavar="MODEL",
                        help="hopf (Hopf model of BOLD) or rww (reduced Wong-Wang)")  # fmt: skip
    parser.add_argument("series", type=Path, nargs="+", metavar="SERIES.tsv",
                        help="cleaned series of each run of the subject; those of an output "
                        "dataset know their sampling period, filters and confounds")  # fmt: skip
    essential = parser.add_argument_group("essential options")
    parser.add_help_options(essential)
    essential.add_argument("--sc", required=True, metavar="SC.tsv",
                           help="structural connectivity: TSV of [source, target] with region "
                           "names")  # fmt: skip
    essential.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER",
                           help="folder of the tables and figures")  # fmt: skip
    essential.add_argument("--tr", type=float, metavar="S",
                           help="sampling period in seconds; default: that of the sidecar beside "
                           "the series")  # fmt: skip
    essential.add_argument("--n-procs", type=int, default=1, metavar="N",
                           help="processes of the simulations (default: 1)")  # fmt: skip
    essential.add_argument("--seed", type=int, default=0, metavar="N",
                           help="seed of all random numbers (default: 0)")  # fmt: skip
    essential.add_argument("-w", "--work-dir", type=Path, default=Path("work"), metavar="DIR",
                           help="folder of simulations and flows, which other subjects with the "
                           "same observation use again (default: work)")  # fmt: skip
    add_options(parser.add_argument_group("inference"), InferSettings, without=("infer",))
    return parser


def _run(args: Namespace) -> int:
    from npi_bids.inverse.estimator import check_sbi
    from npi_bids.inverse.inference import infer_subject, plan_subject, prepare_inference
    from npi_bids.inverse.saving import describe_inference, write_posterior
    from npi_bids.io.tables import write_matrix
    from npi_bids.records import ECResult
    from npi_bids.surrogates.training import threads
    from npi_bids.surrogates.windows import expand_to_atlas
    from npi_bids.whole_brain.settings import BrainSettings

    settings = _read_settings(args)
    check_sbi()
    runs, cleaning = _read_runs(args)
    plan = plan_subject(runs, cleaning, settings, BrainSettings(sc=args.sc), args.seed)
    with threads(1):
        trained = prepare_inference(
            plan.experiment, settings, args.work_dir / "inverse",
            n_procs=args.n_procs, on_progress=_print_progress,
        )  # fmt: skip
        posterior = infer_subject(trained, plan.runs, settings)
    args.out.mkdir(parents=True, exist_ok=True)
    write_posterior(
        posterior, trained, args.out,
        labels=runs[0].labels, covered=plan.covered, sc=Path(args.sc).name,
    )  # fmt: skip
    fields = describe_inference(posterior, trained, Path(args.sc).name)
    fc = ECResult(expand_to_atlas(posterior.fc, plan.covered), runs[0].labels)
    write_matrix(fc, args.out / "pearsoncorrelation.tsv")
    _write_sidecars_and_figures(args.out, fields)
    sys.stdout.write(describe_posterior(posterior))
    sys.stdout.write(f"Written: {args.out}\n")
    return 0


def _read_settings(args: Namespace) -> InferSettings:
    problems: list[str] = []
    options = {**user_options(args, InferSettings, problems), "infer": args.model}
    if args.tr is not None and (problem := period_problem(args.tr)):
        problems.append(f"--tr {problem}")
    if args.n_procs < 1:
        problems.append(f"--n-procs must be above 0, not {args.n_procs}.")
    if args.seed < 0:
        problems.append(f"--seed must be at least 0, not {args.seed}.")
    return checked_settings({InferSettings: options}, problems)[InferSettings]


def _read_runs(args: Namespace) -> tuple[list[RegionSeries], Cleaning]:
    """Return the runs, and how the sidecars beside them say that they were cleaned."""
    from npi_bids.bids.derivatives import read_cleaning
    from npi_bids.inverse.inference import Cleaning
    from npi_bids.inverse.observation import Filters
    from npi_bids.io.tables import read_series, with_regions_of

    known = [read_cleaning(path) for path in args.series]
    periods = {args.tr} if args.tr is not None else {run.tr for run in known}
    tr = next(iter(periods))
    if tr is None or None in periods:
        raise SettingsError(
            "The sampling period is not known: there is no sidecar beside the series; give --tr."
        )
    if len(periods) > 1 or len({(run.high_pass, run.low_pass) for run in known}) > 1:
        raise InputDataError(
            "The runs differ in their sampling period or filters; expected runs that were "
            "acquired and cleaned alike."
        )
    runs = [read_series(path, tr) for path in args.series]
    runs = [
        with_regions_of(runs[0], run, path) for run, path in zip(runs, args.series, strict=True)
    ]
    regressors = tuple(
        cleaning.read_regressors(len(run.keep)) for cleaning, run in zip(known, runs, strict=True)
    )
    return runs, Cleaning(regressors, Filters(known[0].high_pass, known[0].low_pass))


def _print_progress(line: str) -> None:
    logging.getLogger("npi_bids").debug(line)
    sys.stderr.write(f"{line}\n")


def _write_sidecars_and_figures(folder: Path, fields: PosteriorFields) -> None:
    from npi_bids.bids.sidecars import Links, posterior_sidecar
    from npi_bids.io.files import write_text
    from npi_bids.reports.figures_posterior import draw_posterior_figures

    for name in ("parameters", "posterior"):
        posterior_sidecar(name, Links(), fields).write(folder / f"{name}.json")
    for figure in draw_posterior_figures(lambda name: folder / f"{name}.tsv", fields):
        write_text(folder / f"{figure.name}.svg", figure.svg)


def describe_posterior(posterior: SubjectPosterior) -> str:
    """Say where the subject lies and what is known of each parameter, line by line."""
    import numpy as np

    position = posterior.position
    lines = [f"The subject is {position.label} what the model can produce (p {position.p:.3f})."]
    if not posterior.readable:
        features = ", ".join(position.features) or "their combination"
        lines.append(f"Do not read its posterior; what differs most: {features}.")
    low, middle, high = np.quantile(posterior.samples, (0.025, 0.5, 0.975), axis=0)
    for k, parameter in enumerate(posterior.prior.parameters):
        units = f" {parameter.units}" if parameter.units else ""
        lines.append(
            f"  {parameter.label}: {middle[k]:.3g}{units} (95 %: {low[k]:.3g} to {high[k]:.3g}), "
            f"{posterior.identification[k]}"
        )
    lines.append(
        f"FC alone: {posterior.n_close_fc} simulations correlate within .02 of the best r, "
        f"{posterior.best_fc_r:.2f}; FC alone does not identify the parameters."
    )
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
