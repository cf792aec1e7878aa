"""Design matrices and contrasts, from a table of participants and a formula."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from formulaic import Formula as ColumnFormula

from npi_bids.errors import NoUsableDataError, SettingsError
from npi_bids.group.contrasts import Columns, Part
from npi_bids.group.formula import CONSTANT, Factor, Formula, parse_formula
from npi_bids.group.glm import Design
from npi_bids.group.harmonization import check_sites
from npi_bids.group.settings import ModelSettings
from npi_bids.records import Array, Mask

MOTION = "mean_fd"
_CONSTANT = "Intercept"
_SUBJECT = "participant_id"
_NAME = re.compile(r"f(\d+)(?:\[(T\.)?(\d+)\])?")
_FULL_LEVERAGE = 1 - 1e-8  # leverage of a subject whose map the model fits exactly, whatever it is
# What programs write for a missing value, where BIDS has n/a.
_MISSING_VALUES = {"na", "nan", "n/a", "#n/a", "null", "none", ".", "-", "?"}


@dataclass(frozen=True, slots=True, eq=False)
class BuiltDesign:
    """A design and the subjects that it includes.

    Attributes
    ----------
    design
        Design of the included subjects.
    rows
        Shape (n_subjects of the table,); True for included subjects.
    reasons
        Why each other subject is left out, by its row in the table.
    formula
        The formula as fitted, with the terms that were added.
    columns
        How each column of the table is used, in words.
    terms
        The columns of the design as products of factors.
    factor_values
        Each factor over the included rows: centred numbers, or indices of levels.
    """

    design: Design
    rows: Mask
    reasons: dict[int, str]
    formula: str
    columns: tuple[str, ...] = ()
    terms: Columns | None = None
    factor_values: tuple[Array, ...] = ()

    @property
    def covariates(self) -> Array:
        """Columns of the design except the constant."""
        indices = [index for index, name in enumerate(self.design.columns) if name != _CONSTANT]
        matrix: Array = self.design.matrix[:, indices]
        return matrix


def subject_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return the table of subjects with numbers as numbers and ``n/a`` as missing.

    >>> subject_frame([{"age": "31", "sex": "F"}, {"age": "n/a", "sex": "M"}])["age"].tolist()
    [31.0, nan]
    """
    table = pd.DataFrame(list(rows)).replace({"n/a": None, "": None})
    for name in table:
        numbers = pd.to_numeric(table[name], errors="coerce")
        if (numbers.notna() == table[name].notna()).all():
            table[name] = numbers.astype(np.float64)
        else:
            table[name] = table[name].astype("str").where(table[name].notna())
    return table


def check_columns(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse columns of a model whose numbers and missing values are ambiguous.

    Parameters
    ----------
    table
        One row per subject, from :func:`subject_frame`.
    names
        Columns of the model, without those that the user declared factors (``C(site)``).

    Raises
    ------
    SettingsError
        A column holds words among numbers, or words that most likely stand for a missing value.
    """
    for name in names:
        column = table[name].dropna()
        if pd.api.types.is_numeric_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
            continue  # numbers, or what is known to be levels
        texts = column.astype("str")
        _check_spelling(name, list(dict.fromkeys(texts)))
        missing = sorted({text for text in texts if text.casefold() in _MISSING_VALUES})
        if missing:
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds "
                f"{', '.join(map(repr, missing))}; write n/a where a value is missing, or "
                f"C({name}) in the formula if it is a level."
            )
        numeric = pd.to_numeric(texts, errors="coerce").notna()
        if numeric.any():
            non_numeric = list(dict.fromkeys(texts[~numeric]))
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds {int(numeric.sum())} "
                f"numbers and {int((~numeric).sum())} words ({', '.join(non_numeric[:5])}); "
                "expected only numbers, with n/a where one is missing. If these are levels of a "
                f"factor, write C({name})."
            )


def _check_spelling(name: str, levels: Sequence[str]) -> None:
    """Refuse levels in quotation marks, and levels that differ only in capital letters."""
    quoted = [
        level for level in levels if len(level) > 1 and level[0] == level[-1] and level[0] in "\"'"
    ]
    if quoted:
        raise SettingsError(
            f"--model: the column {name} of participants.tsv holds {', '.join(quoted[:5])} in "
            "quotation marks, which are ordinary characters in a TSV; remove them."
        )
    folded: dict[str, str] = {}
    for level in levels:
        other = folded.setdefault(level.casefold(), level)
        if other != level:
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds {other!r} and {level!r}, "
                "which differ only in capital letters; use one spelling for the level."
            )


def describe_columns(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Describe how each column of a model is used, as a number or as a factor, and what it lacks.

    >>> describe_columns(subject_frame([{"age": "31", "sex": "F"}, {"age": "n/a", "sex": "M"}]),
    ...                  ["age", "sex"])
    ['age: numeric, 31 to 31, 1 missing', 'sex: factor with the levels F (1), M (1)']
    """
    texts = []
    for name in names:
        column = table[name].dropna()
        n_missing = len(table) - len(column)
        if pd.api.types.is_numeric_dtype(column):
            text = f"{name}: numeric, {column.min():g} to {column.max():g}"
        else:
            counts = column.astype("str").value_counts().sort_index()
            levels = ", ".join(f"{level} ({count})" for level, count in counts.items())
            text = f"{name}: factor with the levels {levels}"
        texts.append(text + (f", {n_missing} missing" if n_missing else ""))
    return texts


def select_maps(maps: Array, rows: Mask, path: Path) -> Array:
    """Return the maps of some subjects: a copy on disk, unless all are selected."""
    if rows.all():
        return maps
    chosen = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float64, shape=(int(rows.sum()), maps.shape[1])
    )
    for index, row in enumerate(np.flatnonzero(rows)):
        chosen[index] = maps[row]
    return chosen


def build_model(rows: Sequence[Mapping[str, object]], settings: ModelSettings) -> BuiltDesign:
    """Build the design of the requested model over the rows of the subjects.

    Raises
    ------
    SettingsError
        As :func:`build_design`.
    NoUsableDataError
        As :func:`build_design`, or the sites cannot be harmonised.
    """
    table = subject_frame(rows)
    check_formula(settings, list(map(str, table.columns)))
    built = build_design(
        table,
        settings.effective_formula,
        settings.contrast,
        motion=settings.motion_covariate,
        blocks=settings.exchange_within or settings.harmonize,
    )
    if settings.harmonize:
        sites = list_sites(rows, built, settings.harmonize)
        check_sites(sites)
        _check_sites_separable(built, sites, settings.harmonize)
    return built


def _check_sites_separable(built: BuiltDesign, sites: Sequence[str], column: str) -> None:
    """Refuse to remove sites whose effects cannot be separated from those of the model."""
    dummies = np.array([[float(site == name) for name in sorted(set(sites))] for site in sites])
    joined = np.column_stack([dummies, built.design.matrix])
    joined = joined / np.linalg.norm(joined, axis=0)
    if np.linalg.matrix_rank(joined, tol=1e-8) < joined.shape[1] - 1:
        raise SettingsError(
            f"--harmonize {column!r} removes effects that --model {built.formula!r} tests: the "
            f"values of {column} partly determine {', '.join(built.design.columns)}. Leave one of "
            "them out."
        )


def list_sites(rows: Sequence[Mapping[str, object]], built: BuiltDesign, column: str) -> list[str]:
    """Return the site of each subject of a design."""
    return [str(row[column]) for row, inside in zip(rows, built.rows, strict=True) if inside]


def formula_columns(settings: ModelSettings) -> tuple[str, ...]:
    """Return the columns that the formula of a model names.

    Raises
    ------
    SettingsError
        The formula cannot be read.
    """
    return tuple(parse_formula(settings.effective_formula).columns)


def check_formula(settings: ModelSettings, columns: Sequence[str]) -> None:
    """Check the formula of a model, and that the columns that it names exist.

    Raises
    ------
    SettingsError
        The formula cannot be read, or names a column that does not exist.
    """
    _check_terms(parse_formula(settings.effective_formula), columns)
    named = {"exchange-within": settings.exchange_within, "harmonize": settings.harmonize}
    for option, column in named.items():
        if column and column not in columns:
            raise SettingsError(
                f"--{option} {column!r}: no column {column}; {_list_available(columns)}."
            )


def build_design(
    table: pd.DataFrame,
    formula: str,
    contrasts: Sequence[str] = (),
    *,
    motion: bool = True,
    blocks: str = "",
) -> BuiltDesign:
    """Build the design of a model over subjects.

    Parameters
    ----------
    table
        One row per subject, with the columns that the formula names.
    formula
        The right-hand side, such as ``group + age + sex``, as
        :func:`~npi_bids.group.formula.parse_formula` reads it; ``1`` is the mean of all.
    contrasts
        What is tested, as :meth:`~npi_bids.group.contrasts.Columns.contrasts` reads it: a column,
        a factor (``group``), an interaction (``age:group``), or differences of levels
        (``patient - control``). If empty, every term except the constant, or the constant if
        there is no other term.
    motion
        Whether ``mean_fd`` is added to a model that does not contain it, as a covariate that is
        not tested by default; omitted if it is not known for every subject, or does not vary.
    blocks
        Column; subjects are exchanged only within its values, or freely if empty.

    Raises
    ------
    SettingsError
        The formula cannot be read, a column is missing or cannot be used, effects cannot be
        separated, or a contrast cannot be tested.
    NoUsableDataError
        No subject has all columns, or too few subjects have them.

    Notes
    -----
    Factors are evaluated on the data as they are (``I(1/age)`` is one over the age). The
    continuous factors of the design are centred: interactions are the products of centred columns,
    so that main effects are those at the mean of the factors that they interact with. Because
    every interaction must come with all of its main effects, this does not change the fit.
    """
    parsed = parse_formula(formula)
    _check_terms(parsed, list(map(str, table.columns)))
    if blocks and blocks not in table:
        available = _list_available(list(table.columns))
        raise SettingsError(f"--exchange-within or --harmonize: no column {blocks}; {available}.")
    added = motion and MOTION not in parsed.columns and _can_add_motion(table)
    if added:
        parsed = parse_formula(f"{formula} + {MOTION}")
    check_columns(table, _undeclared_columns(parsed))
    needed = list(dict.fromkeys([*parsed.columns, *filter(None, [blocks])]))
    rows, reasons = _complete_rows(table, needed)
    if not rows.any():
        raise NoUsableDataError(
            f"--model {parsed.text!r}: no subject has all of {', '.join(needed)}."
        )
    included = table.loc[rows].reset_index(drop=True)
    values = _evaluate(parsed, included)
    matrix, columns = _build_matrix(parsed, values, len(included))
    names = included[blocks].astype(str).to_numpy() if blocks else np.zeros(len(included))
    block = np.unique(names, return_inverse=True)[1].astype(np.float64)
    design = Design(matrix, columns.names, (), block)
    _check_fit(design, parsed, included)
    tested = columns.contrasts(contrasts, untested=MOTION if added else "")
    used = tuple(describe_columns(_with_levels(parsed, table, blocks), needed))
    numbers = tuple(
        factor.numbers if factor.levels else factor.numbers - factor.numbers.mean()
        for factor in values
    )
    return BuiltDesign(
        replace(design, contrasts=tested), rows, reasons, parsed.text, used, columns, numbers
    )


def _list_available(columns: Sequence[str]) -> str:
    return f"participants.tsv and the results have {', '.join(map(str, columns))}"


def _check_terms(parsed: Formula, columns: Sequence[str]) -> None:
    """Refuse columns that are missing or have the name of the constant, and missing terms."""
    if missing := [name for name in parsed.columns if name not in columns]:
        raise SettingsError(
            f"--model {parsed.text!r}: no column {', '.join(missing)}; {_list_available(columns)}."
        )
    if reserved := [name for name in parsed.columns if name.lower() == "intercept"]:
        raise SettingsError(
            f"--model {parsed.text!r}: a column cannot be called {reserved[0]!r}, which is the "
            "constant of the model; rename it in participants.tsv ('1' is the mean of all)."
        )
    terms = {frozenset(term) for term in parsed.terms}
    for term in parsed.terms:
        for left_out in term if len(term) > 1 else ():
            below = tuple(index for index in term if index != left_out)
            if frozenset(below) not in terms:
                factors = "*".join(parsed.factors[index].name for index in term)
                raise SettingsError(
                    f"--model {parsed.text!r} contains {parsed.term_name(term)} without "
                    f"{parsed.term_name(below)}, so that their effects cannot be separated; "
                    f"write {factors}, which contains both."
                )


def _undeclared_columns(parsed: Formula) -> list[str]:
    """Return the columns that the formula does not declare as factors by ``C()``."""
    used = {index for term in parsed.terms for index in term}
    factors = [factor for index, factor in enumerate(parsed.factors) if index in used]
    names = (name for factor in factors if not factor.categorical for name in factor.columns)
    return list(dict.fromkeys(names))


def _with_levels(parsed: Formula, table: pd.DataFrame, blocks: str) -> pd.DataFrame:
    """Return the table with text in place of numbers that are used as levels."""
    names = {factor.columns[0] for factor in parsed.factors if factor.categorical}
    texts = {
        name: table[name].map(_format_level, na_action="ignore")
        for name in (names | {blocks}) & set(table)
        if pd.api.types.is_numeric_dtype(table[name])
    }
    return table.assign(**texts)


def _can_add_motion(table: pd.DataFrame) -> bool:
    return MOTION in table and bool(table[MOTION].notna().all()) and table[MOTION].nunique() > 1


def _complete_rows(table: pd.DataFrame, needed: Sequence[str]) -> tuple[Mask, dict[int, str]]:
    if not needed:
        return np.ones(len(table), dtype=bool), {}
    missing = table[list(needed)].isna()
    reasons = {
        index: f"no {', '.join(row.index[row])} for --model"
        for index, (_, row) in enumerate(missing.iterrows())
        if row.any()
    }
    complete: Mask = np.logical_not(missing.to_numpy().any(axis=1))
    return complete, reasons


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """A factor over subjects: numbers, or indices of levels with their names."""

    numbers: Array
    levels: tuple[str, ...] = ()


def _evaluate(parsed: Formula, table: pd.DataFrame) -> list[_Values]:
    """Evaluate the factors of a formula on the data as they are."""
    used = {index for term in parsed.terms for index in term}
    if not any(term == CONSTANT for term in parsed.terms) and not any(
        _has_levels(parsed.factors[index], table) for index in used
    ):
        raise SettingsError(
            f"--model {parsed.text!r} has no constant, so that the mean of the maps would count "
            "as noise; leave out '0 +' or '- 1'."
        )
    values = []
    for index, factor in enumerate(parsed.factors):
        if index not in used:
            values.append(_Values(np.zeros(len(table))))
        elif _has_levels(factor, table):
            values.append(_levels(parsed, factor, table))
        else:
            values.append(_numbers(parsed, factor, table))
    return values


def _has_levels(factor: Factor, table: pd.DataFrame) -> bool:
    is_text = (
        not pd.api.types.is_numeric_dtype(table[factor.columns[0]]) if factor.plain else False
    )
    return factor.categorical or is_text


def _numbers(parsed: Formula, factor: Factor, table: pd.DataFrame) -> _Values:
    """Evaluate a continuous factor, and refuse what cannot be fitted."""
    for name in factor.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise SettingsError(
                f"--model {parsed.text!r}: {factor.name} needs numbers, and the column {name} "
                f"holds words, such as {table[name].iloc[0]!r}."
            )
        _refuse_infinite(parsed, name, table[name].to_numpy(dtype=np.float64), table)
    if not factor.columns:
        raise SettingsError(
            f"--model {parsed.text!r}: {factor.name} contains no column, and is the same for all."
        )
    data = {name: table[name].to_numpy(dtype=np.float64) for name in factor.columns}
    numbers = factor.expression.evaluate(data, len(table))
    _refuse_infinite(parsed, factor.name, numbers, table)
    # Relative to the numbers themselves: rounding error is not variation.
    if np.ptp(numbers) <= 1e-12 * np.abs(numbers).max():
        raise SettingsError(
            f"--model {parsed.text!r}: {factor.name} is {numbers[0]:g} for all {len(table)} "
            "subjects of the model, so that its effect cannot be estimated; leave it out."
        )
    return _Values(numbers)


def _refuse_infinite(parsed: Formula, name: str, numbers: Array, table: pd.DataFrame) -> None:
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        examples = ", ".join(f"{numbers[row]:g} of {_subject_name(table, row)}" for row in bad[:3])
        raise SettingsError(
            f"--model {parsed.text!r}: {name} is not finite for {bad.size} of {len(table)} "
            f"subjects ({examples}); correct participants.tsv, write n/a where it is not known, "
            "or choose another function."
        )


def _subject_name(table: pd.DataFrame, row: int) -> str:
    return str(table[_SUBJECT].iloc[row]) if _SUBJECT in table else f"subject {row + 1}"


def _levels(parsed: Formula, factor: Factor, table: pd.DataFrame) -> _Values:
    """Return the levels of a factor, the reference first; each needs two subjects."""
    name = factor.columns[0]
    column = table[name]
    if pd.api.types.is_numeric_dtype(column):
        _refuse_infinite(parsed, name, column.to_numpy(dtype=np.float64), table)
        numbers = sorted(column.unique())
        spellings = [_format_level(value) for value in column]
        levels = [_format_level(value) for value in numbers]
    else:
        spellings = [str(value) for value in column]
        levels = sorted(set(spellings))
    if len(levels) < 2:
        raise SettingsError(
            f"--model {parsed.text!r}: {name} has only one level, {levels[0]!r}, among the "
            f"{len(table)} subjects of the model; leave it out, or see who was left out."
        )
    single = [level for level in levels if spellings.count(level) == 1]
    if single:
        examples = ", ".join(
            f"{spelling!r}: {_subject_name(table, spellings.index(spelling))}"
            for spelling in single[:3]
        )
        raise SettingsError(
            f"--model {parsed.text!r}: {len(single)} of the {len(levels)} levels of {name} have a "
            f"single subject ({examples}), which the model would fit exactly; merge levels, or "
            "exclude these subjects."
        )
    if factor.reference is not None:
        if factor.reference not in levels:
            raise SettingsError(
                f"--model {parsed.text!r}: {name} has no level {factor.reference!r}; it has "
                f"{', '.join(levels)}."
            )
        levels = [factor.reference, *(level for level in levels if level != factor.reference)]
    indices = np.array([levels.index(spelling) for spelling in spellings], dtype=np.float64)
    return _Values(indices, tuple(levels))


def _format_level(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _build_matrix(
    parsed: Formula, values: Sequence[_Values], n_rows: int
) -> tuple[Array, Columns]:
    """Return the matrix of a design, and its columns as products of factors.

    Names of factors and levels are replaced by numbers, so that formulaic reads no text that a
    user wrote; it determines which columns factors and interactions need.
    """
    frame = {}
    for index, factor in enumerate(values):
        if factor.levels:
            names = [str(number) for number in range(len(factor.levels))]
            codes = [str(int(number)) for number in factor.numbers]
            frame[f"f{index}"] = pd.Categorical(codes, categories=names)
        else:
            frame[f"f{index}"] = factor.numbers - factor.numbers.mean()
    terms = [":".join(f"f{index}" for index in term) for term in parsed.terms if term]
    constant = "1" if CONSTANT in parsed.terms else "0"
    model = ColumnFormula(" + ".join([constant, *terms])).get_model_matrix(
        pd.DataFrame(frame, index=range(n_rows)), na_action="raise"
    )
    levels = tuple(factor.levels for factor in values)
    columns = Columns(parsed, levels, tuple(map(_parse_parts, model.columns)))
    return np.asarray(model, dtype=np.float64), columns


def _parse_parts(name: str) -> tuple[Part, ...]:
    """Parse the name of a column in formulaic's notation, such as ``f0[T.1]:f2``."""
    if name == "Intercept":
        return ()
    matches = [_NAME.fullmatch(part) for part in name.split(":")]
    return tuple(
        Part(int(match[1]), None if match[3] is None else int(match[3]), match[2] is not None)
        for match in matches
        if match is not None
    )


def _check_fit(design: Design, parsed: Formula, table: pd.DataFrame) -> None:
    """Refuse a design that fits some subject exactly, whatever its map is."""
    basis = np.linalg.qr(design.matrix)[0]
    exact = np.flatnonzero((basis**2).sum(axis=1) > _FULL_LEVERAGE)
    if exact.size:
        who = ", ".join(_subject_name(table, row) for row in exact[:3])
        raise SettingsError(
            f"--model {parsed.text!r} fits {exact.size} of {len(table)} subjects exactly ({who}), "
            "because nobody else has the same levels of its factors. Leave out an interaction, "
            "merge levels, or exclude these subjects."
        )
