"""Entry point of ``npi-perturb``: perturb a saved surrogate without refitting it."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from npi_bids.cli.arguments import CommandParser
from npi_bids.cli.entry import run_command
from npi_bids.cli.signals import interruptible
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.wording import count_noun, join_items, suggest_word

if TYPE_CHECKING:
    import pandas as pd

    from npi_bids.records import Array
    from npi_bids.surrogates.storage import StoredSurrogate

_RANGE = re.compile(r"(\d+)(?:\.\.(\d+))?")
_MOST_STEPS = 10_000
_EXAMPLE = """\
npi-perturb SURROGATE --source "lh V1" --strength 0.5 1 2 \\
  --steps-ahead 1..20 -o dose.tsv
npi-perturb SURROGATE --source "lh V1+rh V1" --sustained \\
  --steps-ahead 1..20 -o step.tsv
npi-perturb SURROGATE --list-regions"""


@interruptible("npi-perturb", "run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Perturb a surrogate, and write the responses with their sidecar and a figure."""
    return run_command("npi-perturb", _main, argv)


def _main(argv: Sequence[str]) -> int:
    return _run(build_parser().read(argv))


def build_parser() -> CommandParser:
    """Return the parser."""
    parser = CommandParser(
        "npi-perturb",
        "SURROGATE --source REGION ... -o OUT.tsv",
        "Responses of all regions to perturbations of one region or a set of regions of a fitted "
        "surrogate: at several strengths (dose-response), over several samples (impulse "
        "response), once or sustained (step response).",
        example=_EXAMPLE,
    )
    parser.add_argument("surrogate", type=Path, metavar="SURROGATE",
                        help="*_surrogate.safetensors in derivatives/surrogates of an output "
                        "dataset")  # fmt: skip
    essential = parser.add_argument_group("essential options")
    parser.add_help_options(essential)
    essential.add_argument("--source", nargs="+", default=[], metavar="A[+B]",
                           help="regions to perturb; names joined by + are perturbed together, "
                           "others one after the other")  # fmt: skip
    essential.add_argument("-o", "--out", type=Path, metavar="OUT.tsv",
                           help="table of responses; its sidecar (.json) and a figure (.svg) are "
                           "written beside it")  # fmt: skip
    essential.add_argument("--list-regions", action="store_true",
                           help="print the names of the regions and exit")  # fmt: skip
    group = parser.add_argument_group("perturbation")
    group.add_argument("--strength", nargs="+", type=float, default=[1.0], metavar="X",
                       help="change of the source, in standard deviations; negative values "
                       "decrease it (default: 1)")  # fmt: skip
    group.add_argument("--steps-ahead", nargs="+", default=["1"], metavar="N[..M]",
                       help="samples after the perturbation at which responses are read "
                       "(default: 1)")  # fmt: skip
    group.add_argument("--sustained", action="store_true",
                       help="perturb every sample until the response is read, instead of one"
                       )  # fmt: skip
    group.add_argument("--series", nargs="+", type=Path, default=[], metavar="TSV",
                       help="denoised series whose states are perturbed (default: those that the "
                       "surrogate was fitted to, found in its dataset)")  # fmt: skip
    return parser


@dataclass(frozen=True, slots=True)
class Request:
    """The checked request of the user.

    Attributes
    ----------
    sources
        Each source as the user wrote it.
    indices
        Indices of the regions of each source.
    strengths, steps
        Strengths of the perturbation (SD), and samples after it, sorted.
    """

    sources: tuple[str, ...]
    indices: tuple[tuple[int, ...], ...]
    strengths: tuple[float, ...]
    steps: tuple[int, ...]


def _run(args: Namespace) -> int:
    from npi_bids.surrogates.storage import read_surrogate
    from npi_bids.surrogates.training import threads

    stored = read_surrogate(args.surrogate)
    if args.list_regions:
        sys.stdout.write("".join(f"{label}\n" for label in stored.labels))
        return 0
    request = _check_request(args, stored.labels)
    history = _load_histories(args, stored)
    with threads(1):
        rows = _compute_responses(stored, history, request, sustained=args.sustained)
    _write_responses(args, stored, request, rows, n_states=len(history))
    return 0


def _check_request(args: Namespace, labels: Sequence[str]) -> Request:
    """Return the request; raise one SettingsError that names all its errors."""
    problems, indices, steps = [], [], set[int]()
    if args.out is None or args.out.suffix != ".tsv":
        defect = "is missing" if args.out is None else f"must end in .tsv, not {args.out.name}"
        problems.append(f"-o OUT.tsv {defect}.")
    if not args.source:
        problems.append("--source is missing: name a region, or several joined by +.")
    for text in args.source:
        regions, problem = _find_regions(text, labels)
        indices.append(regions)
        problems += [problem] if problem else []
    problems += [f"--strength must be a number other than 0, not {value:g}."
                 for value in args.strength if value == 0 or not abs(value) < float("inf")
                 ]  # fmt: skip
    for text in args.steps_ahead:
        try:
            steps |= _parse_steps(text)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError(" ".join(problems))
    strengths = tuple(dict.fromkeys(args.strength))
    return Request(tuple(args.source), tuple(indices), strengths, tuple(sorted(steps)))


def _find_regions(text: str, labels: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Return the indices of the named regions, and the error in the names, if any."""
    names = [text] if text in labels else [name.strip() for name in text.split("+")]
    unknown = [name for name in names if name not in labels]
    if not unknown:
        repeated = sorted({name for name in names if names.count(name) > 1})
        problem = f"--source {text}: {', '.join(repeated)} is named twice." if repeated else ""
        return tuple(labels.index(name) for name in names), problem
    hint = suggest_word(unknown[0], labels) or "."
    return (), (
        f"--source {text}: the surrogate has no region {join_items(unknown)}{hint} It has "
        f"{count_noun(len(labels), 'region')} ({join_items(labels, most=5)}); --list-regions "
        "prints all."
    )


def _parse_steps(text: str) -> set[int]:
    match = _RANGE.fullmatch(text.strip())
    first = int(match[1]) if match else 0
    last = int(match[2]) if match and match[2] else first
    if not 1 <= first <= last <= _MOST_STEPS:
        raise ValueError(
            f"--steps-ahead must be a number of samples from 1 to {_MOST_STEPS}, or a range such "
            f"as 1..20, not {text}."
        )
    return set(range(first, last + 1))


def _load_histories(args: Namespace, stored: StoredSurrogate) -> Array:
    """Return the histories to perturb; one of zeros where the response is the same in all."""
    import numpy as np

    from npi_bids.io.tables import read_series
    from npi_bids.records import RegionSeries
    from npi_bids.surrogates.windows import cut_windows

    model = stored.surrogate
    if model.linear_weights is not None:
        return np.zeros((1, model.n_lags, model.n_regions))
    runs = []
    for path in args.series or _find_series(args.surrogate):
        run = read_series(path, stored.tr)
        if missing := [label for label in stored.labels if label not in run.labels]:
            raise InputDataError(
                f"<{path}> lacks {len(missing)} of the {len(stored.labels)} regions of the "
                f"surrogate, such as {join_items(missing, most=5)}; give the series that it was "
                "fitted to."
            )
        columns = [run.labels.index(label) for label in stored.labels]
        runs.append(RegionSeries(run.data[:, columns], stored.labels, run.tr, run.keep))
    return cut_windows(runs, model.n_lags).history


def _find_series(surrogate: Path) -> list[Path]:
    """Return the series that a surrogate was fitted to, as named in its dataset."""
    from npi_bids.bids.derivatives import find_training_series

    try:
        return find_training_series(surrogate)
    except InputDataError as error:
        raise InputDataError(
            f"{error} The responses of this surrogate depend on the state and therefore need its "
            "series; name them with --series."
        ) from error


def _compute_responses(
    stored: StoredSurrogate, history: Array, request: Request, *, sustained: bool
) -> list[dict[str, object]]:
    """Return one row per source, strength, sample and region."""
    import numpy as np

    from npi_bids.connectivity.responses import response_course

    rows = []
    for source, indices in zip(request.sources, request.indices, strict=True):
        for strength in request.strengths:
            perturbation = np.zeros(stored.surrogate.n_regions)
            perturbation[list(indices)] = strength
            mean, sd = response_course(
                stored.surrogate,
                history,
                perturbation,
                steps=request.steps[-1],
                sustained=sustained,
            )
            rows += [
                {
                    "source": source,
                    "strength": strength,
                    "step": step,
                    "time": step * stored.tr,
                    "region": label,
                    "response": mean[step - 1, region_index],
                    "sd": sd[step - 1, region_index],
                }
                for step in request.steps
                for region_index, label in enumerate(stored.labels)
            ]
    return rows


def _write_responses(
    args: Namespace,
    stored: StoredSurrogate,
    request: Request,
    rows: list[dict[str, object]],
    *,
    n_states: int,
) -> None:
    import pandas as pd

    from npi_bids.bids.sidecars import responses_sidecar
    from npi_bids.io.files import write_text
    from npi_bids.io.tables import write_table
    from npi_bids.reports.figures_responses import draw_responses

    table = pd.DataFrame(rows)
    if not table["response"].map(lambda value: abs(value) < float("inf")).all():
        sys.stderr.write(
            "npi-perturb: the surrogate diverges, so that late responses are not finite; "
            "lower --steps-ahead.\n"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    linear = stored.surrogate.linear_weights is not None
    sidecar = responses_sidecar(
        surrogate=args.surrogate.name,
        family=stored.family,
        tr=stored.tr,
        sustained=args.sustained,
        n_states=None if linear else n_states,
    )
    write_table(table, args.out)
    sidecar.write(args.out.with_suffix(".json"))
    svg = draw_responses(table, perturbed=_perturbed_regions(request, stored))
    write_text(args.out.with_suffix(".svg"), svg)
    sys.stdout.write(_describe_strongest(table, _perturbed_regions(request, stored)))
    sys.stdout.write(f"Written: {args.out}, with its sidecar and {args.out.stem}.svg\n")


def _perturbed_regions(request: Request, stored: StoredSurrogate) -> dict[str, set[str]]:
    """Return the perturbed regions of each source."""
    return {
        source: {stored.labels[region_index] for region_index in indices}
        for source, indices in zip(request.sources, request.indices, strict=True)
    }


def _describe_strongest(table: pd.DataFrame, perturbed: dict[str, set[str]]) -> str:
    """Say which other region responds most to each source."""
    lines = []
    for source, regions in perturbed.items():
        rows = table[(table["source"] == source) & ~table["region"].isin(regions)]
        rows = rows[rows["response"].abs() < float("inf")]
        if rows.empty:
            continue
        top = rows.loc[cast("int", rows["response"].abs().idxmax())]
        lines.append(
            f"{source}: strongest response {top['response']:+.3f} SD in {top['region']}, "
            f"{top['time']:g} s after a perturbation of {top['strength']:g} SD\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
