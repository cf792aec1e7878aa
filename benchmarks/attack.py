"""Attack the readers of npi-bids with hostile input, and count the outcomes.

usage: python -m benchmarks.attack [EXAMPLES]

There are generators of series tables, confounds, participants, exclusions, atlas tables, formulas,
contrasts, sidecars, file names, image headers and arrays, each with an oracle. The possible
outcomes are

right
    the result is that of the undamaged input (columns matched by name, values unchanged);
refused
    npi-bids raises an error of its own with a proper message;
said
    the result differs, and a hazard, a warning or a censored sample reports it.

A result that differs silently, or an unforeseen error, is a fault: the smallest input that
triggers it is printed, and the command ends with exit code 1. ``tests/test_attack.py`` runs the
same generators with fewer examples.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.table import save, show

RIGHT, REFUSED, SAID = "right", "refused", "said"
OUTCOMES = (RIGHT, REFUSED, SAID)
_LABELS = ("LH_Vis", "LH_Mot", "RH_Vis", "RH_Mot")


class SilentDifferenceError(AssertionError):
    """A result differs from that of the undamaged input, and nothing reports it."""


@dataclass(frozen=True)
class Attack:
    """Inputs of one type, the oracle of their results, and which must not be refused."""

    inputs: st.SearchStrategy[Any]
    judge: Callable[[Any, Path], str]
    sound: Callable[[Any], bool] = lambda _: False


def main() -> int:
    """Run all attacks and print the number of each outcome."""
    n_examples = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rows, faults = {}, []
    for name, attack in ATTACKS.items():
        counts, fault = run(attack, n_examples)
        rows[name] = [*(counts[outcome] for outcome in OUTCOMES), int(fault is not None)]
        if fault is not None:
            faults.append(f"{name}: {fault}")
    show("Outcomes of hostile input", [*OUTCOMES, "faults"], rows)
    print(f"written to {save('attack', rows)}")
    print("\n".join(faults))
    return 1 if faults else 0


def run(attack: Attack, n_examples: int) -> tuple[Counter[str], str | None]:
    """Judge many inputs of one type; return the outcomes, and the first fault or None."""
    from npi_bids.errors import NPIError

    counts: Counter[str] = Counter()

    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(attack.inputs)
    def judge_one(case: Any) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), _quiet():
            try:
                outcome = attack.judge(case, Path(folder))
            except NPIError as error:
                if attack.sound(case):
                    raise SilentDifferenceError(f"sound input is refused: {error}") from error
                outcome = REFUSED
                _check_message(error)
        counts[outcome] += 1

    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise):
            judge_one()
    except Exception as error:  # noqa: BLE001 (every unforeseen exception is a fault)
        return counts, "\n".join(_describe(error))
    return counts, None


def _describe(error: BaseException) -> Iterator[str]:
    """Describe the error and the input that caused it."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _describe(part)
        return
    yield f"{type(error).__name__}: {error}"
    yield from (note[-1500:] for note in getattr(error, "__notes__", []))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_message(error: Exception) -> None:
    """Require a readable sentence, without representations of Python objects."""
    text = str(error)
    leaks = [
        word for word in (" object at 0x", "Traceback", "np.float64(", "dtype(") if word in text
    ]
    if leaks or " " not in text:
        raise SilentDifferenceError(f"a message that is no sentence: {text!r}")


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect the warnings of npi-bids."""
    logger, messages = logging.getLogger("npi_bids"), []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Keep(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


# --- Tables -----------------------------------------------------------------------------------


@dataclass
class Grid:
    """A table under construction, and whether it may still be read."""

    names: list[str]
    rows: list[list[str]]
    ending: str = "\n"
    encoding: str = "utf-8"
    row_end: str = ""
    header_end: str = ""
    refuse: list[str] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        """Write the table."""
        lines = ["\t".join(self.names) + self.header_end]
        lines += ["\t".join(row) + self.row_end for row in self.rows]
        path.write_bytes((self.ending.join(lines) + self.ending).encode(self.encoding))
        return path

    def must_refuse(self, why: str) -> None:
        """Record that a reader must refuse the table."""
        self.refuse.append(why)


Change = Callable[[Grid, st.DataObject], None]


def _permute_columns(grid: Grid, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(grid.names))), "order of columns")
    grid.names = [grid.names[column] for column in order]
    grid.rows = [[row[column] for column in order] for row in grid.rows]


def _byte_order_mark(grid: Grid, _: st.DataObject) -> None:
    grid.encoding = "utf-8-sig"


def _line_ends(grid: Grid, data: st.DataObject) -> None:
    grid.ending = data.draw(st.sampled_from(["\r\n", "\r"]), "line ends")


def _tabs_at_row_ends(grid: Grid, _: st.DataObject) -> None:
    grid.row_end = "\t"
    if not grid.header_end:
        grid.must_refuse("rows longer than the header")


def _tabs_at_all_ends(grid: Grid, _: st.DataObject) -> None:
    if not grid.refuse:
        grid.row_end = grid.header_end = "\t"


def _blanks(grid: Grid, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(grid.rows) - 1), "row")
    grid.rows[row] = [f" {cell} " for cell in grid.rows[row]]


def _short_row(grid: Grid, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(grid.rows) - 1), "row")
    grid.rows[row] = grid.rows[row][:-1]
    grid.must_refuse("a short row")


def _long_row(grid: Grid, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(grid.rows) - 1), "row")
    grid.rows[row] = [*grid.rows[row], "1"]
    grid.must_refuse("a long row")


def _repeated_column(grid: Grid, _: st.DataObject) -> None:
    grid.names = [*grid.names, grid.names[0]]
    grid.rows = [[*row, row[-1]] for row in grid.rows]
    grid.must_refuse("a repeated column")


def _empty_line(grid: Grid, data: st.DataObject) -> None:
    grid.rows.insert(data.draw(st.integers(0, len(grid.rows) - 1), "row"), [""])
    grid.must_refuse("an empty line")


def _binary(grid: Grid, data: st.DataObject) -> None:
    grid.encoding = data.draw(st.sampled_from(["utf-16", "utf-32"]), "encoding")
    grid.must_refuse("a binary file")


_INFINITE = "an infinite number"


def _word(grid: Grid, data: st.DataObject) -> None:
    candidates = ["x", "nan", "NA", "NaN", "inf", "-inf", "1,5", "1e999", "--", '"', "#", "1 2"]
    row = data.draw(st.integers(0, len(grid.rows) - 1), "row")
    column = data.draw(st.integers(0, len(grid.rows[row]) - 1), "column")
    word = data.draw(st.sampled_from(candidates), "word")
    grid.rows[row][column] = word
    grid.must_refuse(_INFINITE if word in ("inf", "-inf", "1e999") else "a word among numbers")


def _counter(grid: Grid, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["", "index", "Unnamed: 0"]), "name")
    if name not in grid.names:
        grid.names = [name, *grid.names]
        grid.rows = [[str(number), *row] for number, row in enumerate(grid.rows)]


_SHAPES: tuple[Change, ...] = (
    _permute_columns, _byte_order_mark, _line_ends, _tabs_at_row_ends, _tabs_at_all_ends, _blanks,
    _short_row, _long_row, _repeated_column, _empty_line, _binary,
)  # fmt: skip


@st.composite
def _damaged(draw: st.DrawFn, make: Callable[[], Grid], changes: tuple[Change, ...]) -> Grid:
    grid = make()
    data = draw(st.data())
    indices = st.lists(st.integers(0, len(changes) - 1), min_size=1, max_size=3, unique=True)
    for change in [changes[index] for index in sorted(draw(indices))]:
        if not grid.refuse:
            change(grid, data)
    return grid


def _require(grid: Grid, same: bool, result: object) -> str:
    """Judge a table that was read."""
    if grid.refuse:
        raise SilentDifferenceError(f"read in spite of {grid.refuse}: {result}")
    if not same:
        raise SilentDifferenceError(f"{result}")
    return RIGHT


# --- Series of other programs -----------------------------------------------------------------

_SERIES = np.round(np.random.default_rng(1).standard_normal((12, 4)), 6)


def _series_grid() -> Grid:
    return Grid(list(_LABELS), [[f"{value:.6f}" for value in row] for row in _SERIES])


def _rename(grid: Grid, data: st.DataObject) -> None:
    column = data.draw(st.integers(0, len(grid.names) - 1), "column")
    grid.names[column] = data.draw(st.sampled_from(["Q", "lh_vis", "LH_Vis1"]), "name")
    grid.must_refuse("another region")


def _numbers_as_names(grid: Grid, data: st.DataObject) -> None:
    if sorted(grid.names) != sorted(_LABELS):
        return
    first = data.draw(st.sampled_from([0, 1, 7]), "first")
    grid.names = [str(first + _LABELS.index(name)) for name in grid.names]
    if first == 7:
        grid.must_refuse("numbers that are no index of the atlas")
    if grid.names != sorted(grid.names) and first == 0:
        grid.must_refuse("numbers that count in no order")


def _lost_header(grid: Grid, _: st.DataObject) -> None:
    grid.names, grid.rows = grid.rows[0], grid.rows[1:]
    grid.must_refuse("no header")


def _lost_column(grid: Grid, _: st.DataObject) -> None:
    grid.names, grid.rows = grid.names[:-1], [row[:-1] for row in grid.rows]
    grid.must_refuse("a missing region")


def _hole(grid: Grid, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(grid.rows) - 1), "row")
    grid.rows[row][-1] = data.draw(st.sampled_from(["n/a", ""]), "cell")
    grid.must_refuse("a hole")


def _judge_series(grid: Grid, folder: Path) -> str:
    from npi_bids.io.tables import SeriesRegions, read_supplied_series

    path = grid.write(folder / "x_timeseries.tsv")
    result = read_supplied_series(
        path, SeriesRegions(_LABELS, (1, 2, 3, 4)), 2.0, standardize=False
    )
    same = result.series.labels == _LABELS and np.allclose(result.series.data, _SERIES)
    return _require(grid, same, result.series.data.tolist())


# --- Confounds --------------------------------------------------------------------------------

_MOTION = [f"{movement}_{axis}" for movement in ("trans", "rot") for axis in "xyz"]
_NUISANCE = [*_MOTION, "csf", "white_matter", "framewise_displacement"]


def _confounds_grid() -> Grid:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((60, len(_NUISANCE)))
    values[:, -1] = np.abs(values[:, -1]) * 0.1
    values[7, -1] = 2.0
    rows = [[f"{value:.6f}" for value in row] for row in values]
    rows[0][-1] = "n/a"
    return Grid(list(_NUISANCE), rows)


def _confounds(path: Path) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    from npi_bids.parcellation.confounds import load_confounds
    from npi_bids.parcellation.denoising import Strategy

    strategy = Strategy(
        name="test", components=("motion", "wm_csf", "scrub"), motion="basic", fd_threshold=0.5
    )
    confounds = load_confounds(path, n_samples=60, tr=2.0, strategy=strategy, dummy_scans="auto")
    return confounds.regressors, confounds.keep


def _judge_confounds(grid: Grid, folder: Path) -> str:
    clean = _confounds(_confounds_grid().write(folder / "desc-confounds_timeseries.tsv"))
    result = _confounds(grid.write(folder / "desc-confounds_timeseries.tsv"))
    keep = clean[1]
    same = (
        sorted(clean[0].columns) == sorted(result[0].columns)
        and np.array_equal(result[1], keep)
        and np.allclose(result[0][list(clean[0].columns)][keep], clean[0][keep])
    )
    if same and grid.refuse == [_INFINITE]:
        return RIGHT  # it stands in a sample that is censored
    return _require(grid, same, (list(result[0].columns), int(result[1].sum())))


# --- Participants and exclusions --------------------------------------------------------------

_PEOPLE = {
    f"{number:02d}": ("patient" if number % 2 else "control", str(20 + 3 * number))
    for number in range(1, 9)
}


def _participants_grid() -> Grid:
    rows = [[f"sub-{label}", group, age, "none"] for label, (group, age) in _PEOPLE.items()]
    return Grid(["participant_id", "group", "age", "note"], rows)


def _no_prefix(grid: Grid, _: st.DataObject) -> None:
    column = grid.names.index("participant_id")
    for row in grid.rows:
        row[column] = row[column].strip().removeprefix("sub-")


def _permute_rows(grid: Grid, data: st.DataObject) -> None:
    grid.rows = data.draw(st.permutations(grid.rows), "order of rows")


def _repeated_row(grid: Grid, data: st.DataObject) -> None:
    row = list(data.draw(st.sampled_from(grid.rows), "row"))
    row[grid.names.index("age")] = "99"
    grid.rows.append(row)
    grid.must_refuse("two rows of a participant")


def _quote(grid: Grid, _: st.DataObject) -> None:
    column = grid.names.index("note")
    grid.rows[0][column], grid.rows[2][column] = '"left', 'ok"'


def _textual_age(grid: Grid, data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(["NA", "NaN", "N/A", "nan", "25y", "inf", "20,5", "None"]))
    grid.rows[data.draw(st.integers(0, len(grid.rows) - 1))][grid.names.index("age")] = word
    grid.must_refuse("a word among ages")


def _judge_participants(grid: Grid, folder: Path) -> str:
    from npi_bids.group.design import build_design, subject_frame
    from npi_bids.group.selection import read_participants

    grid.write(folder / "participants.tsv")
    rows = read_participants(folder)
    people = {label: (row["group"], row["age"]) for label, row in rows.items()}
    ordered = [{"participant_id": label, **rows[label]} for label in sorted(rows)]
    built = build_design(subject_frame(ordered), "group + age", motion=False)
    reference = [[1.0, float(group == "patient"), float(age)] for group, age in _PEOPLE.values()]
    same = people == _PEOPLE and _same_span(built.design.matrix, np.array(reference))
    return _require(grid, same, people)


@st.composite
def _exclusion_lists(draw: st.DrawFn) -> tuple[list[str], bool]:
    """Lines that exclude 01 and 03, and whether a label among them is wrong."""
    blanks = st.sampled_from(["", " ", "  "])
    lines = []
    for label in draw(st.permutations(["01", "03"])):
        prefix = draw(st.sampled_from(["", "sub-"]))
        reason = draw(st.sampled_from(["", "\tmotion", "\t moved, twice", "\t"]))
        lines.append(draw(blanks) + prefix + label + draw(blanks) + reason + draw(blanks))
    if draw(st.booleans()):
        lines.insert(0, "participant_id\treason")
    if draw(st.booleans()):
        lines.insert(1, draw(st.sampled_from(["", "# a comment"])))
    wrong = draw(st.sampled_from(["", "", "sub-99", "4", "sub-04,motion", "sub-04 motion", "O4"]))
    return [*lines, *filter(None, [wrong])], bool(wrong)


def _judge_exclusions(case: tuple[list[str], bool], folder: Path) -> str:
    from npi_bids.bids.derivatives import Model
    from npi_bids.group.selection import SelectionSettings, select_models
    from tests.sidecars import model_sidecar

    lines, wrong = case
    path = folder / "exclude.tsv"
    path.write_text("\n".join(lines) + "\n")
    models = [Model(folder, {"sub": f"0{n}"}, "x", model_sidecar()) for n in range(1, 6)]
    with _heard() as warned:
        members = select_models(models, folder, SelectionSettings(exclude_file=str(path)))
    out = {member.model.entities["sub"] for member in members if member.reason}
    if out != {"01", "03"} or (wrong and not warned):
        raise SilentDifferenceError(f"excluded {sorted(out)}, warned of {warned}")
    return SAID if wrong else RIGHT


# --- Tables of atlases ------------------------------------------------------------------------

_NAMES = ("Frontal Pole", "Area 44", "V1", "n")
_VALUES = ((2, 5, 9, 11), (1, 2, 3, 4))  # with gaps, and as most atlases count


@dataclass(frozen=True)
class AtlasCase:
    """A table of regions, the values of its image, and whether it may be read."""

    file: str
    text: str
    values: tuple[int, ...]
    good: bool

    @property
    def names(self) -> dict[int, str]:
        """Name of each value of the image."""
        return dict(zip(self.values, _NAMES, strict=True))


def _damage_pairs(pairs: list[tuple[str, str]], damage: str) -> list[tuple[str, str]]:
    """Return index and name of each region, with one defect."""
    wrong: dict[str, list[tuple[str, str]]] = {
        "missing": pairs[:-1],
        "twice": [(pairs[0][0], pairs[1][1]), *pairs[1:]],
        "named n/a": [pairs[0], (pairs[1][0], "n/a"), *pairs[2:]],
        "fraction": [pairs[0], ("5.5", pairs[1][1]), *pairs[2:]],
        "renumbered": [(str(number), name) for number, (_, name) in enumerate(pairs, start=1)],
    }
    return wrong.get(damage, pairs)


@st.composite
def _atlas_tables(draw: st.DrawFn) -> AtlasCase:
    """Return a table of regions in one of the formats, with at most one defect."""
    file_format = draw(st.sampled_from(["tsv", "csv", "lut", "txt", "list"]))
    values = draw(st.sampled_from(_VALUES))
    pairs = [(str(value), name) for value, name in zip(values, _NAMES, strict=True)]
    damage = draw(
        st.sampled_from(
            ["none", "none", "missing", "twice", "named n/a", "fraction", "renumbered"]
        )
    )
    pairs = _damage_pairs(pairs, damage)
    if draw(st.booleans()):
        pairs = [("0", "Background"), *pairs]
    pairs = draw(st.permutations(pairs)) if file_format != "list" else pairs
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    if file_format in ("tsv", "csv"):
        sep = "\t" if file_format == "tsv" else ","
        lines = [sep.join(("index", "name")), *(sep.join(pair) for pair in pairs)]
    elif file_format == "list":  # whose lines count from 1
        lines = [name for _, name in pairs]
    else:
        colour = draw(st.sampled_from([" 10 20 30 0", " 1 2 3", ""]))
        lines = [f"{value} {name}{colour}" for value, name in pairs]
    counted = values == (1, 2, 3, 4)
    good = damage == "none" or (counted and damage == "renumbered")
    if file_format == "list":  # without indices, so that only the number of lines can be wrong
        good = counted and damage in ("none", "fraction", "renumbered")
    file = f"atlas-X_dseg.{'txt' if file_format == 'list' else file_format}"
    return AtlasCase(file, ending.join(lines) + ending, values, good)


def _judge_atlas(case: AtlasCase, folder: Path) -> str:
    from npi_bids.parcellation.atlases import AtlasRequest, load_file

    data = np.zeros((4, 4, 4), dtype=np.int16)
    data.ravel()[: len(case.values)] = case.values
    path = folder / "atlas-X_dseg.nii.gz"
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    (folder / case.file).write_bytes(case.text.encode())
    atlas = load_file(path, AtlasRequest("X", path=str(path)))
    names = dict(zip(atlas.values, atlas.labels, strict=True))
    if not case.good or names != case.names:
        raise SilentDifferenceError(f"{names}")
    return RIGHT


# --- Formulas ---------------------------------------------------------------------------------

_NUMERIC, _FACTORS = ("age", "iq"), ("group", "site")
_HOSTILE = (
    "{np.testing.runstring('1', {})}", "np.asarray(age).tofile('x')", "__import__('os')",
    "age | C", "y ~ age", "lambda: 1", "group[0]", "age.mean()", "open('x', 'w')",
    "C(group, 'x')", "age if 1 else 2", "`age`", "'age'", "age ** 99", "Intercept", "nothing",
    "1/0", "%", "age +", "((age)", "log(group)", "I(open('x','w'))", "eval('1')", "exec('x=1')",
)  # fmt: skip


def _study() -> pd.DataFrame:
    from npi_bids.group.design import subject_frame

    rng = np.random.default_rng(3)
    return subject_frame(
        [
            {
                "participant_id": f"sub-{n:02d}",
                "age": f"{rng.uniform(20, 60):.3f}",
                "iq": f"{rng.uniform(80, 120):.3f}",
                "group": ("control", "patient")[n % 2],
                "site": "abc"[n % 3],
                "mean_fd": f"{rng.uniform(0.1, 0.3):.3f}",
            }
            for n in range(30)
        ]
    )


_TERMS = st.one_of(
    st.sampled_from([*_NUMERIC, *_FACTORS]),
    st.sampled_from(["C(site)", "I(age ** 2)", "I(1 / age)", "log(iq)", "age:iq", "group:age"]),
)
_FORMULAS = st.one_of(
    st.lists(_TERMS, min_size=1, max_size=4, unique=True).map(" + ".join),
    st.tuples(
        _TERMS, st.sampled_from([" + ", ":", "*", " - ", " | "]), st.sampled_from(_HOSTILE)
    ).map("".join),
    st.text("age+iq*:()group01 C{}[]'\"|~", min_size=1, max_size=20),
)


def _judge_formula(formula: str, folder: Path) -> str:
    from npi_bids.group.design import build_design

    table = _study()
    built = build_design(table, formula, motion=False)
    if list(folder.iterdir()):
        raise SilentDifferenceError(f"{formula!r} wrote a file")
    terms = [term.strip() for term in formula.split("+")]
    if not all(term in _REFERENCE for term in terms):
        return RIGHT  # a formula of allowed operators for which there is no reference
    if not _is_valid_formula(formula):
        raise SilentDifferenceError(f"{formula!r} is accepted: {built.design.columns}")
    columns = [np.ones(len(table)), *(c for term in terms for c in _REFERENCE[term](table))]
    if not _same_span(built.design.matrix, np.column_stack(columns)):
        raise SilentDifferenceError(f"{formula!r} spans another space: {built.design.columns}")
    return RIGHT


def _indicators(name: str) -> Callable[[pd.DataFrame], list[Any]]:
    return lambda table: [table[name] == level for level in sorted(set(table[name]))]


_REFERENCE: dict[str, Callable[[pd.DataFrame], list[Any]]] = {
    "age": lambda t: [t["age"]],
    "iq": lambda t: [t["iq"]],
    "group": _indicators("group"),
    "site": _indicators("site"),
    "C(site)": _indicators("site"),
    "I(age ** 2)": lambda t: [t["age"] ** 2],
    "I(1 / age)": lambda t: [1 / t["age"]],
    "log(iq)": lambda t: [np.log(t["iq"])],
    "age:iq": lambda t: [t["age"] * t["iq"]],
    "group:age": lambda t: [t["age"] * (t["group"] == "patient")],
}
_MAIN_EFFECTS = {"age:iq": {"age", "iq"}, "group:age": {"group", "age"}}


def _is_valid_formula(formula: str) -> bool:
    terms = {term.strip() for term in formula.split("+")}
    # An interaction without its main effects is refused, and so is a factor that occurs twice,
    # because its columns are linearly dependent.
    alone = [term for term in terms if not _MAIN_EFFECTS.get(term, set()) <= terms]
    return terms <= set(_REFERENCE) and not {"site", "C(site)"} <= terms and not alone


def _same_span(a: Any, b: Any) -> bool:
    """Tell whether the columns of two matrices span the same space."""
    first, second = (np.linalg.qr(_basis(np.asarray(m, dtype=float)))[0] for m in (a, b))
    return first.shape == second.shape and np.allclose(
        first @ first.T, second @ second.T, atol=1e-6
    )


def _basis(matrix: Any) -> Any:
    scaled = matrix / np.linalg.norm(matrix, axis=0)
    basis, values, _ = np.linalg.svd(scaled, full_matrices=False)
    return basis[:, values > 1e-9 * values[0]]


# --- Contrasts --------------------------------------------------------------------------------

# What the model expects: the mean of each level, and the slope of the age.
_MEANS = {"group": {"control": 1.0, "patient": 4.0}, "site": {"a": 0.5, "b": -2.0, "c": 7.0}}
_SLOPE = 0.3
_WEIGHTS = ("", "2*", "0.5*", "1 * ", "0*")


@dataclass(frozen=True)
class ContrastCase:
    """A contrast as text, and its value; None if it must be refused."""

    text: str
    value: float | None


@st.composite
def _sums_of_levels(draw: st.DrawFn) -> ContrastCase:
    pieces, value = "", 0.0
    sums = dict.fromkeys(_MEANS, 0.0)
    chosen = st.lists(
        st.sampled_from([(name, level) for name, levels in _MEANS.items() for level in levels]),
        min_size=1, max_size=4, unique=True,
    )  # fmt: skip
    for name, level in draw(chosen):
        sign, weight = draw(st.sampled_from("+-")), draw(st.sampled_from(_WEIGHTS))
        spelled = draw(st.sampled_from([level, f"{name}[{level}]"]))
        pieces += f" {sign} {weight}{spelled}" if pieces or sign == "-" else f"{weight}{spelled}"
        number = float(weight.replace("*", "") or 1) * (-1 if sign == "-" else 1)
        sums[name] += number
        value += number * _MEANS[name][level]
    if not any(sums.values()) and value:
        return ContrastCase(pieces, value)
    return ContrastCase(pieces, None)


@st.composite
def _differences(draw: st.DrawFn) -> ContrastCase:
    """Return a level against the mean of other levels of its factor, times a weight."""
    name = draw(st.sampled_from(list(_MEANS)))
    level, *reference_levels = draw(st.permutations(list(_MEANS[name])))
    reference_levels = reference_levels[: draw(st.integers(1, len(reference_levels)))]
    weight = draw(st.sampled_from([1, 2, 0.5]))
    spell = draw(st.sampled_from([str, f"{name}[{{}}]".format]))
    pieces = [
        f"{weight}*{spell(level)}",
        *(f"{weight / len(reference_levels)}*{spell(o)}" for o in reference_levels),
    ]
    value = _MEANS[name][level] - float(
        np.mean([_MEANS[name][other] for other in reference_levels])
    )
    return ContrastCase(" - ".join(pieces), weight * value)


_CONTRASTS = st.one_of(
    _sums_of_levels(),
    _differences(),
    _differences(),
    st.sampled_from(
        [
            ContrastCase("age", _SLOPE),
            ContrastCase("2*age", 2 * _SLOPE),
            ContrastCase("-age", -_SLOPE),
            ContrastCase("group", 3.0),
            ContrastCase("group[T.patient]", 3.0),
            ContrastCase("site[T.b]", -2.5),
            ContrastCase("patient", None),
            ContrastCase("age - age", None),
        ]
    ),
    st.text("age -+*02.patiencrol[]T(){}'", min_size=1, max_size=16).map(
        lambda text: ContrastCase(text, None)
    ),
)


def _judge_contrast(case: ContrastCase, folder: Path) -> str:
    from npi_bids.group.design import build_design

    del folder
    table = _study()
    built = build_design(table, "group + site + age", [case.text], motion=False)
    expected = _SLOPE * table["age"] + sum(
        table[name].map(means).astype(float) for name, means in _MEANS.items()
    )
    beta = np.linalg.lstsq(built.design.matrix, expected.to_numpy(), rcond=None)[0]
    (contrast,) = built.design.contrasts
    estimate = (contrast.matrix @ beta).ravel()
    if case.value is None and not _is_plain_slope(case.text):
        raise SilentDifferenceError(f"{case.text!r} is interpreted as {contrast.matrix.tolist()}")
    if case.value is not None and not np.allclose(estimate, case.value, atol=1e-8):
        raise SilentDifferenceError(f"{case.text!r} is {estimate}, not {case.value}")
    return RIGHT


def _is_plain_slope(text: str) -> bool:
    """Tell whether a random text happens to be a weight of the age."""
    return re.fullmatch(r"\s*[+-]?\s*(\d+(\.\d+)?\s*\*\s*)?age\s*", text) is not None


# --- Images -----------------------------------------------------------------------------------

_SHAPE, _N_VOLUMES = (6, 5, 4), 50
_TIMES = np.random.default_rng(4).standard_normal((_N_VOLUMES, 3)).cumsum(axis=0)
_AFFINE = np.diag([4.0, 4, 4, 1])


def _true_volumes() -> tuple[Any, Any]:
    labels = np.zeros(_SHAPE, dtype=np.int32)
    for region in range(3):
        labels[1 + region, 1:4, 1:3] = region + 1
    rng = np.random.default_rng(5)
    data = 500 + 5 * rng.standard_normal((*_SHAPE, _N_VOLUMES))
    for region in range(3):
        data[labels == region + 1] += 20 * _TIMES[:, region]
    return labels, data


@dataclass(frozen=True)
class ImageCase:
    """How an image is written, and its defect."""

    dtype: str
    offset: float
    flips: tuple[bool, bool, bool]
    order: tuple[int, int, int]
    big_endian: bool
    zipped: bool
    damage: str
    volume: int


_IMAGES = st.builds(
    ImageCase,
    st.sampled_from(["f4", "f8", "i2", "i4", "u2", "c8"]),
    st.sampled_from([0.0, 0.0, 1e5, 1e9]),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.permutations([0, 1, 2]).map(tuple),
    st.booleans(),
    st.booleans(),
    st.sampled_from(
        ["none", "none", "zeros", "nan", "spike", "tr in ms", "no tr", "lying shape", "cut off",
         "nan outside", "zero outside", "singular affine"]
    ),
    st.integers(1, _N_VOLUMES - 2),
)  # fmt: skip


def _write_image(case: ImageCase, data: Any, path: Path) -> None:
    axes = [*case.order, 3]
    reoriented = np.transpose(data, axes)
    affine = _AFFINE[:, [*case.order, 3]].copy()
    for axis, flipped in enumerate(case.flips):
        if flipped:
            affine[:3, 3] += affine[:3, axis] * (reoriented.shape[axis] - 1)
            affine[:3, axis] *= -1
            reoriented = np.flip(reoriented, axis)
    header = nib.Nifti1Header(endianness=">" if case.big_endian else "<")
    header.set_data_dtype(np.dtype(case.dtype).newbyteorder(">" if case.big_endian else "<"))
    image = nib.Nifti1Image(reoriented, affine, header)
    tr = {"tr in ms": 2000.0, "no tr": 0.0}.get(case.damage, 2.0)
    image.header["pixdim"][4] = tr
    image.header.set_xyzt_units("mm", "sec" if case.damage != "tr in ms" else "msec")
    nib.save(image, path)


_NEVER_READ = ("lying shape", "cut off", "singular affine", "no tr")
_LOST_VOLUME = ("zeros", "nan", "spike")


def _judge_image(case: ImageCase, folder: Path) -> str:
    labels, data = _true_volumes()
    offset = case.offset if case.dtype in ("f8", "i4") else 0.0  # others would round the signal
    data = _damage_volumes(case, labels, data + offset)
    if case.dtype[0] in "iu" and not np.isfinite(data).all():
        return RIGHT  # whole numbers hold no NaN
    path = folder / f"sub-1_task-x_bold.nii{'.gz' if case.zipped else ''}"
    _write_image(case, data.astype("c8") if case.dtype == "c8" else data, path)
    if case.damage == "lying shape":
        _change_header(path, "dim", slice(1, 5), 3000)
    if case.damage == "singular affine":
        _change_header(path, "srow_y", slice(0, 4), 0)
    if case.damage == "cut off":
        path.write_bytes(path.read_bytes()[:-500])
    with _heard() as warned:
        series = _extract(path, labels)
    if case.damage in _NEVER_READ or case.dtype == "c8":
        raise SilentDifferenceError(f"read in spite of {case.damage} and {case.dtype}")
    keep = series.keep
    same = abs(series.tr - 2.0) < 1e-6 and all(
        np.corrcoef(series.data[keep, region], _TIMES[keep, region])[0, 1] > 0.99
        for region in range(3)
    )
    left_out = [int(sample) for sample in np.flatnonzero(~keep)]
    expected = [case.volume] if case.damage in _LOST_VOLUME else []
    if not same or left_out != expected or (expected and not warned):
        raise SilentDifferenceError(f"same {same}, left out {left_out}, warned of {warned}")
    return SAID if expected else RIGHT


def _damage_volumes(case: ImageCase, labels: Any, data: Any) -> Any:
    value = {"zeros": 0.0, "nan": np.nan, "spike": data.mean() + 2000}.get(case.damage)
    if value is not None:
        data[..., case.volume] = value
    if case.damage in ("nan outside", "zero outside"):
        data[labels == 0] = np.nan if case.damage == "nan outside" else 0.0
    return data


def _extract(path: Path, labels: Any) -> Any:
    """Return the series of the three regions."""
    from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
    from npi_bids.parcellation.extraction import extract_run
    from npi_bids.parcellation.parcellation import Parcellation, label_image
    from npi_bids.parcellation.run_files import RunFiles

    atlas = Parcellation("X", tuple("ABC"), (1, 2, 3), "unknown", label_image(labels, _AFFINE))
    denoise = DenoiseSettings(denoise="none", min_time=0)
    return extract_run(RunFiles(path), atlas, denoise, CoverageSettings()).series


def _change_header(path: Path, name: str, where: slice, value: float) -> None:
    """Write a value into the header of an image; the rest of the file is unchanged."""
    zipped = path.name.endswith(".gz")
    content = gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(content), check=False)
    header[name][where] = value
    stream = io.BytesIO()
    header.write_to(stream)
    content = stream.getvalue()[:348] + content[348:]
    path.write_bytes(gzip.compress(content, 1) if zipped else content)


# --- Sidecars and names -----------------------------------------------------------------------


def _two_runs(folder: Path) -> tuple[Path, Path]:
    """Write names of one run for each of two subjects; return the folder of the first's files."""
    from npi_bids.simulate.dataset import write_description

    root = folder / "data"
    write_description(root, "names")
    for subject in ("01", "02"):
        func = root / f"sub-{subject}" / "func"
        func.mkdir(parents=True)
        stem = func / f"sub-{subject}_task-rest_space-MNI152NLin6Asym"
        Path(f"{stem}_desc-preproc_bold.nii.gz").write_bytes(b"")
        Path(f"{stem}_desc-preproc_bold.json").write_text('{"RepetitionTime": 2.0}')
    return root, root / "sub-01" / "func"


def _runs(root: Path, subject: str) -> list[Any]:
    from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs

    runs = find_runs(find_datasets(root, {}), QuerySettings())
    return [run for run in runs if run.entities["sub"] == subject]


@dataclass(frozen=True)
class SidecarCase:
    """Content of a sidecar, and its repetition time; None if it has none."""

    content: bytes
    tr: float | None
    nearer: bool  # whether it lies beside the run, or at the root with 2 s beside the run


def _sidecar_values() -> st.SearchStrategy[tuple[str, float | None]]:
    times = st.one_of(st.floats(0.05, 20), st.integers(1, 20))
    wrong = st.sampled_from(
        ["0", "-2", "2000", "NaN", "Infinity", "-Infinity", "1e400", "null", "true", "[2]", "{}",
         '"2.0"', '"n/a"', '""', "1" + "0" * 400, "20.5"]
    )  # fmt: skip
    return st.one_of(
        times.map(lambda seconds: (json.dumps(seconds), float(seconds))),
        wrong.map(lambda text: (text, None)),
    )


@st.composite
def _sidecar_cases(draw: st.DrawFn) -> SidecarCase:
    value, tr = draw(_sidecar_values())
    extra_fields = draw(
        st.sampled_from(["", '"TaskName": "rest", ', '"Extra": {"a": [1, null]}, '])
    )
    text = "{" + extra_fields + f'"RepetitionTime": {value}' + "}"
    shape = draw(
        st.sampled_from(
            ["plain"] * 4 + ["bom", "utf-16", "cut off", "list", "twice", "comma", "text", "deep"]
        )
    )
    shapes: dict[str, tuple[bytes, float | None]] = {
        "bom": (text.encode("utf-8-sig"), tr),
        "utf-16": (text.encode("utf-16"), None),
        "cut off": (text[:-1].encode(), None),
        "list": (f"[{text}]".encode(), None),
        "twice": ((text[:-1] + ', "RepetitionTime": 3.5}').encode(), None),
        "comma": ((text[:-1] + ",}").encode(), None),
        "text": (b"RepetitionTime = 2", None),
        "deep": (b"[" * 100_000, None),
    }
    content, said = shapes.get(shape, (text.encode(), tr))
    return SidecarCase(content, said, draw(st.booleans()))


def _judge_sidecar(case: SidecarCase, folder: Path) -> str:
    from npi_bids.errors import InputDataError

    root, func = _two_runs(folder)
    beside = func / "sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.json"
    (beside if case.nearer else root / "task-rest_bold.json").write_bytes(case.content)
    (run,) = _runs(root, "01")
    (other,) = _runs(root, "02")
    if case.nearer and (other.problem or other.tr != 2.0):
        raise SilentDifferenceError(f"another subject suffers: {other.problem or other.tr}")
    if run.problem:
        raise InputDataError(run.problem)
    # The nearer sidecar takes precedence, but the one at the root must be readable.
    expected = case.tr if case.nearer else 2.0
    if case.nearer and run.tr is None and b": null" in case.content:
        return RIGHT  # no repetition time, so that the image header is used
    if expected is None or abs(run.tr - expected) > 1e-12:
        raise SilentDifferenceError(f"the repetition time is {run.tr}, not {expected}")
    return RIGHT


@dataclass(frozen=True)
class NameCase:
    """Name, folders and entities of a run; entities are None if it is misnamed."""

    name: str
    folders: str
    entities: dict[str, str] | None


_PARTS = {"ses": "A", "task": "rest", "acq": "mb", "run": "02", "space": "MNI152NLin6Asym"}


@st.composite
def _name_cases(draw: st.DrawFn) -> NameCase:
    keys = draw(st.sets(st.sampled_from(["ses", "acq", "run"])))
    entities = {"sub": "01", **{k: v for k, v in _PARTS.items() if k in keys | {"task", "space"}}}
    parts = [f"{key}-{label}" for key, label in entities.items()]
    folders = "sub-01/ses-A/func" if "ses" in keys else "sub-01/func"
    damage = draw(
        st.sampled_from(
            ["none"] * 3
            + ["order", "twice", "unknown", "blank", "dot", "umlaut", "empty", "no key"]
            + ["other subject", "other session", "dash", "control", "case"]
        )
    )  # fmt: skip
    part_index = draw(st.integers(1, len(parts) - 1))
    worse = {
        "twice": [*parts, parts[part_index]],
        "unknown": [*parts, "foo-bar"],
        "no key": [*parts, "foo"],
        "other subject": ["sub-02", *parts[1:]],
        "order": [parts[0], *draw(st.permutations(parts[1:]))],
    }
    ends = {"blank": " ", "dot": ".1", "umlaut": "\u00e9", "dash": "-2", "control": "\n"}
    if damage in ends:
        parts[part_index] += ends[damage]
    if damage == "empty":
        parts[part_index] = parts[part_index].partition("-")[0] + "-"
    if damage == "case":
        parts[part_index] = parts[part_index].capitalize()
    if damage == "other session":
        folders = "sub-01/func" if "ses" in keys else "sub-01/ses-B/func"
    name = "_".join([*worse.get(damage, parts), "desc-preproc_bold.nii.gz"])
    return NameCase(name, folders, entities if damage in ("none", "order") else None)


def _judge_name(case: NameCase, folder: Path) -> str:
    from npi_bids.errors import InputDataError

    root, func = _two_runs(folder)
    for path in func.iterdir():
        path.unlink()
    home = root / case.folders
    home.mkdir(parents=True, exist_ok=True)
    (home / case.name).write_bytes(b"")
    runs = _runs(root, "01")
    if len(runs) != 1:
        raise SilentDifferenceError(f"{len(runs)} runs are found for one file")
    (other,) = _runs(root, "02")
    if other.problem:
        raise SilentDifferenceError(f"another subject suffers: {other.problem}")
    if runs[0].problem:
        raise InputDataError(runs[0].problem)
    if case.entities is None or runs[0].entities != case.entities:
        raise SilentDifferenceError(f"{case.name!r} is read as {runs[0].entities}")
    return RIGHT


# --- Arrays -----------------------------------------------------------------------------------


def _system() -> Any:
    rng = np.random.default_rng(6)
    weights = 0.4 * np.eye(4)
    weights[0, 1], weights[1, 2], weights[3, 0] = 0.5, -0.4, 0.3
    data = np.zeros((400, 4))
    for now in range(1, 400):
        data[now] = data[now - 1] @ weights + rng.standard_normal(4)
    return data


_ARRAYS = st.tuples(
    st.sampled_from(
        ["none", "nan cell", "inf cell", "nan row", "nan column", "twin", "negated", "sum",
         "global signal", "two global signals", "twin in one run",
         "complex", "text", "transposed", "frames", "scaled", "float32", "object",
         "tr text", "tr ms", "tr zero", "tr nan", "one sample", "empty", "constant"]
    ),
    st.integers(0, 3),
    st.integers(1, 398),
    st.sampled_from([1e-40, 1e-12, 1e-3, 1e3, 1e12, 1e30]),
)  # fmt: skip


def _judge_array(case: tuple[str, int, int, float], folder: Path) -> str:
    import npi_bids

    del folder
    damage, region, sample, scale = case
    signals = _system()
    clean = npi_bids.ec(
        [signals[:200], signals[200:]] if damage == "frames" else signals, tr=2.0, surrogate="var"
    )
    data, tr = _damage_array(damage, region, sample, scale)
    labels = list("ABCD") if damage == "transposed" else None
    result = npi_bids.ec(data, tr, labels=labels, surrogate="var")
    expected = clean.ec.copy()
    if damage in ("nan column", "constant"):
        covered = np.arange(4) != region
        same = (
            np.isnan(result.ec[region]).all()
            and np.isfinite(result.ec[np.ix_(covered, covered)]).all()
        )
    else:
        atol = 0.1 if damage == "nan row" else 1e-4
        same = result.ec.shape == expected.shape and np.allclose(result.ec, expected, atol=atol)
    if same:
        return RIGHT
    dependent = ("same signal", "linearly dependent")
    if any(phrase in hazard for hazard in result.hazards for phrase in dependent):
        return SAID
    raise SilentDifferenceError(f"{case}: {result.ec.round(2).tolist()}")


def _damage_array(damage: str, region: int, sample: int, scale: float) -> tuple[Any, Any]:
    data = _system()
    other = (region + 1) % 4
    cells: dict[str, tuple[Any, float]] = {
        "nan cell": ((sample, region), np.nan),
        "inf cell": ((sample, region), np.inf),
        "nan row": ((sample, slice(None)), np.nan),
        "nan column": ((slice(None), region), np.nan),
        "constant": ((slice(None), region), 7.0),
    }
    if damage in cells:
        where, value = cells[damage]
        data[where] = value
    columns = {"twin": data[:, other], "negated": -data[:, other],
               "sum": data.sum(axis=1) - data[:, region]}  # fmt: skip
    if damage in columns:
        data[:, region] = columns[damage]
    if damage == "global signal":
        data = data - data.mean(axis=1, keepdims=True)
    variants: dict[str, Callable[[], Any]] = {
        "complex": lambda: data + 1j,
        "text": lambda: [["a"] * 4] * 400,
        "transposed": lambda: data.T,
        "frames": lambda: [_frame(data[:200]), _frame(data[200:])[list("DBCA")]],
        "scaled": lambda: data * scale + 3 * scale,
        "float32": lambda: data.astype(np.float32),
        "object": lambda: data.astype(object),
        "one sample": lambda: data[:1],
        "empty": lambda: data[:0],
    }
    trs: dict[str, Any] = {"tr text": "2", "tr ms": 2000, "tr zero": 0, "tr nan": np.nan}
    if damage == "two global signals":
        halves = data[:200], 3 * data[200:] * np.arange(1, 5)
        return [half - half.mean(axis=1, keepdims=True) for half in halves], 2.0
    if damage == "twin in one run":
        first = data[:200].copy()
        first[:, region] = first[:, other]
        return [first, data[200:]], 2.0
    if damage == "frames":
        return variants[damage](), 2.0
    return variants.get(damage, lambda: data)(), trs.get(damage, 2.0)


def _frame(data: Any) -> pd.DataFrame:
    return pd.DataFrame(data, columns=list("ABCD"))


_SOUND_ARRAYS = {
    "none",
    "nan row",
    "nan column",
    "frames",
    "scaled",
    "float32",
    "object",
    "constant",
}


def _is_sound(grid: Grid) -> bool:
    return not grid.refuse


ATTACKS: dict[str, Attack] = {
    "series": Attack(
        _damaged(
            _series_grid,
            (
                *_SHAPES,
                _word,
                _counter,
                _rename,
                _numbers_as_names,
                _lost_header,
                _lost_column,
                _hole,
            ),
        ),
        _judge_series,
        _is_sound,
    ),
    "confounds": Attack(_damaged(_confounds_grid, (*_SHAPES, _word)), _judge_confounds, _is_sound),
    "participants": Attack(
        _damaged(
            _participants_grid,
            (*_SHAPES, _no_prefix, _permute_rows, _repeated_row, _quote, _textual_age),
        ),
        _judge_participants,
        _is_sound,
    ),
    "exclusions": Attack(_exclusion_lists(), _judge_exclusions, lambda case: not case[1]),
    "atlases": Attack(_atlas_tables(), _judge_atlas, lambda case: case.good),
    "formulas": Attack(_FORMULAS, _judge_formula, _is_valid_formula),
    "contrasts": Attack(_CONTRASTS, _judge_contrast, lambda case: case.value is not None),
    "sidecars": Attack(_sidecar_cases(), _judge_sidecar, lambda case: case.tr is not None),
    "names": Attack(_name_cases(), _judge_name, lambda case: case.entities is not None),
    "images": Attack(
        _IMAGES,
        _judge_image,
        lambda case: case.damage == "none" and case.dtype != "c8" and not case.offset,
    ),
    "arrays": Attack(_ARRAYS, _judge_array, lambda case: case[0] in _SOUND_ARRAYS),
}


if __name__ == "__main__":
    sys.exit(main())
