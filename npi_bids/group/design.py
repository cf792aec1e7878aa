"""From a table of participants and a formula to a design matrix and what is tested."""

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
_FITTED = 1 - 1e-8  # leverage of a subject that the model fits whatever its map is
# What programs write for a missing value, where BIDS has n/a.
_MISSING_WORDS = {"na", "nan", "n/a", "#n/a", "null", "none", ".", "-", "?"}


@dataclass(frozen=True, slots=True, eq=False)
class BuiltDesign:
    """A design, and who is in it.

    Attributes
    ----------
    design
        Of the subjects that are in.
    rows
        Shape (n_subjects of the table,); True for those.
    reasons
        Of each subject that is left out, by its place in the table.
    formula
        As it was used, with what was added.
    columns
        How each column of the table is used, in words.
    """

    design: Design
    rows: Mask
    reasons: dict[int, str]
    formula: str
    columns: tuple[str, ...] = ()

    @property
    def covariates(self) -> Array:
        """Columns of the design but the constant."""
        kept = [place for place, name in enumerate(self.design.columns) if name != _CONSTANT]
        matrix: Array = self.design.matrix[:, kept]
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
    """Refuse columns of a model in which it is not clear what is a number and what is missing.

    Parameters
    ----------
    table
        One row per subject, from :func:`subject_frame`.
    names
        Columns of the model; those that the user declared factors (``C(site)``) left out.

    Raises
    ------
    SettingsError
        A column holds words among numbers, or words that most likely stand for a missing value.
    """
    for name in names:
        column = table[name].dropna()
        if pd.api.types.is_numeric_dtype(column):
            continue
        words = column.astype("str")
        _check_spelling(name, list(dict.fromkeys(words)))
        missing = sorted({word for word in words if word.casefold() in _MISSING_WORDS})
        if missing:
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds "
                f"{', '.join(map(repr, missing))}; write n/a where a value is missing, or "
                f"C({name}) in the formula if it is a level."
            )
        numeric = pd.to_numeric(words, errors="coerce").notna()
        if numeric.any():
            others = list(dict.fromkeys(words[~numeric]))
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds {int(numeric.sum())} "
                f"numbers and {int((~numeric).sum())} words ({', '.join(others[:5])}); expected "
                f"numbers alone, with n/a where one is missing. If these are levels of a factor, "
                f"write C({name})."
            )


def _check_spelling(name: str, words: Sequence[str]) -> None:
    """Refuse levels in quotation marks, and levels that differ only in capital letters."""
    quoted = [word for word in words if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'"]
    if quoted:
        raise SettingsError(
            f"--model: the column {name} of participants.tsv holds {', '.join(quoted[:5])} in "
            "quotation marks, which are characters like others in a TSV; remove them."
        )
    folded: dict[str, str] = {}
    for word in words:
        other = folded.setdefault(word.casefold(), word)
        if other != word:
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds {other!r} and {word!r}, "
                "which differ only in capital letters; spell the level in one way."
            )


def describe_columns(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Say of each column of a model how it is used: as a number or as a factor, and what it lacks.

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


def rows_of(maps: Array, rows: Mask, path: Path) -> Array:
    """Return the maps of some subjects; a copy on disk where they are not all of them."""
    if rows.all():
        return maps
    chosen = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float64, shape=(int(rows.sum()), maps.shape[1])
    )
    for place, row in enumerate(np.flatnonzero(rows)):
        chosen[place] = maps[row]
    return chosen


def build_model(rows: Sequence[Mapping[str, object]], settings: ModelSettings) -> BuiltDesign:
    """Build the design of the model that was asked for, over the rows of the subjects.

    Raises
    ------
    SettingsError
        As :func:`build_design`.
    NoUsableDataError
        As :func:`build_design`; or sites that cannot be harmonised.
    """
    table = subject_frame(rows)
    check_formula(settings, list(map(str, table.columns)))
    built = build_design(
        table,
        settings.wanted,
        settings.contrast,
        motion=settings.motion_covariate,
        blocks=settings.exchange_within or settings.harmonize,
    )
    if settings.harmonize:
        sites = sites_of(rows, built, settings.harmonize)
        check_sites(sites)
        _check_sites_apart(built, sites, settings.harmonize)
    return built


def _check_sites_apart(built: BuiltDesign, sites: Sequence[str], column: str) -> None:
    """Refuse to take out sites that explain the same as the model does."""
    dummies = np.array([[float(site == name) for name in sorted(set(sites))] for site in sites])
    both = np.column_stack([dummies, built.design.matrix])
    both = both / np.linalg.norm(both, axis=0)
    if np.linalg.matrix_rank(both, tol=1e-8) < both.shape[1] - 1:
        raise SettingsError(
            f"--harmonize {column!r} takes out what --model {built.formula!r} is to explain: the "
            f"values of {column} tell those of {', '.join(built.design.columns)} in part. Leave "
            "one of them out."
        )


def sites_of(rows: Sequence[Mapping[str, object]], built: BuiltDesign, column: str) -> list[str]:
    """Return the site of each subject of a design."""
    return [str(row[column]) for row, inside in zip(rows, built.rows, strict=True) if inside]


def formula_columns(settings: ModelSettings) -> tuple[str, ...]:
    """Return the columns that the formula of a model names.

    Raises
    ------
    SettingsError
        The formula cannot be read.
    """
    return tuple(parse_formula(settings.wanted).columns)


def check_formula(settings: ModelSettings, columns: Sequence[str]) -> None:
    """Check the formula of a model, and that the columns that it names are known.

    Raises
    ------
    SettingsError
        The formula cannot be read, or names a column that is not there.
    """
    _check_known(parse_formula(settings.wanted), columns)
    named = {"exchange-within": settings.exchange_within, "harmonize": settings.harmonize}
    for option, column in named.items():
        if column and column not in columns:
            raise SettingsError(
                f"--{option} {column!r}: no column {column}; {_there_are(columns)}."
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
        (``patient - control``). Every term but the constant where empty, or the constant where
        nothing else is there.
    motion
        Whether ``mean_fd`` is added to a model that does not hold it, as a covariate that is not
        tested by default; left out where it is not known for everybody, or does not vary.
    blocks
        Column within whose values alone subjects are exchanged; anywhere where empty.

    Raises
    ------
    SettingsError
        The formula cannot be read, a column is missing or cannot be used, what it holds cannot be
        told apart, or a contrast cannot be tested.
    NoUsableDataError
        Nobody has all columns, or too few subjects have.

    Notes
    -----
    Factors are evaluated on the data as they are (``I(1/age)`` is one over the age). What is
    centred are the continuous factors of the design: interactions are the products of centred
    columns, so that main effects are those at the mean of what they interact with. Where an
    interaction has all of its main effects, which is asked for, this leaves the fit as it is.
    """
    parsed = parse_formula(formula)
    _check_known(parsed, list(map(str, table.columns)))
    if blocks and blocks not in table:
        there = _there_are(list(table.columns))
        raise SettingsError(f"--exchange-within or --harmonize: no column {blocks}; {there}.")
    added = motion and MOTION not in parsed.columns and _can_add(table)
    if added:
        parsed = parse_formula(f"{formula} + {MOTION}")
    check_columns(table, _not_declared(parsed))
    needed = list(dict.fromkeys([*parsed.columns, *filter(None, [blocks])]))
    rows, reasons = _complete(table, needed)
    if not rows.any():
        raise NoUsableDataError(
            f"--model {parsed.text!r}: no subject has all of {', '.join(needed)}."
        )
    inside = table.loc[rows].reset_index(drop=True)
    values = _evaluate(parsed, inside)
    matrix, columns = _matrix(parsed, values, len(inside))
    names = inside[blocks].astype(str).to_numpy() if blocks else np.zeros(len(inside))
    block = np.unique(names, return_inverse=True)[1].astype(np.float64)
    design = Design(matrix, columns.names, (), block)
    _check_fit(design, parsed, inside)
    tested = columns.contrasts(contrasts, untested=MOTION if added else "")
    used = tuple(describe_columns(_with_levels(parsed, table, blocks), needed))
    return BuiltDesign(replace(design, contrasts=tested), rows, reasons, parsed.text, used)


def _there_are(columns: Sequence[str]) -> str:
    return f"participants.tsv and the results have {', '.join(map(str, columns))}"


def _check_known(parsed: Formula, columns: Sequence[str]) -> None:
    """Refuse columns that are missing or have the name of the constant, and missing terms."""
    if missing := [name for name in parsed.columns if name not in columns]:
        raise SettingsError(
            f"--model {parsed.text!r}: no column {', '.join(missing)}; {_there_are(columns)}."
        )
    if reserved := [name for name in parsed.columns if name.lower() == "intercept"]:
        raise SettingsError(
            f"--model {parsed.text!r}: a column cannot be called {reserved[0]!r}, which is the "
            "constant of the model; rename it in participants.tsv ('1' is the mean of all)."
        )
    terms = {frozenset(term) for term in parsed.terms}
    for term in parsed.terms:
        for left_out in term if len(term) > 1 else ():
            below = tuple(place for place in term if place != left_out)
            if frozenset(below) not in terms:
                factors = "*".join(parsed.factors[place].name for place in term)
                raise SettingsError(
                    f"--model {parsed.text!r} holds {parsed.term_name(term)} without "
                    f"{parsed.term_name(below)}, so that the interaction could not be told from "
                    f"it; write {factors}, which holds both."
                )


def _not_declared(parsed: Formula) -> list[str]:
    """Return the columns of which the formula does not say, by C(), that they hold levels."""
    used = {place for term in parsed.terms for place in term}
    factors = [factor for place, factor in enumerate(parsed.factors) if place in used]
    names = (name for factor in factors if not factor.categorical for name in factor.columns)
    return list(dict.fromkeys(names))


def _with_levels(parsed: Formula, table: pd.DataFrame, blocks: str) -> pd.DataFrame:
    """Return the table with words in place of numbers that are used as levels."""
    names = {factor.columns[0] for factor in parsed.factors if factor.categorical}
    words = {
        name: table[name].map(_number_word, na_action="ignore")
        for name in (names | {blocks}) & set(table)
        if pd.api.types.is_numeric_dtype(table[name])
    }
    return table.assign(**words)


def _can_add(table: pd.DataFrame) -> bool:
    return MOTION in table and bool(table[MOTION].notna().all()) and table[MOTION].nunique() > 1


def _complete(table: pd.DataFrame, needed: Sequence[str]) -> tuple[Mask, dict[int, str]]:
    if not needed:
        return np.ones(len(table), dtype=bool), {}
    missing = table[list(needed)].isna()
    reasons = {
        place: f"no {', '.join(row.index[row])} for --model"
        for place, (_, row) in enumerate(missing.iterrows())
        if row.any()
    }
    whole: Mask = np.logical_not(missing.to_numpy().any(axis=1))
    return whole, reasons


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """A factor over subjects: numbers, or numbers of levels with their names."""

    numbers: Array
    levels: tuple[str, ...] = ()


def _evaluate(parsed: Formula, table: pd.DataFrame) -> list[_Values]:
    """Evaluate the factors of a formula on the data as they are."""
    used = {place for term in parsed.terms for place in term}
    if not any(term == CONSTANT for term in parsed.terms) and not any(
        _has_levels(parsed.factors[place], table) for place in used
    ):
        raise SettingsError(
            f"--model {parsed.text!r} has no constant, so that the mean of the maps would count "
            "as noise; leave out '0 +' or '- 1'."
        )
    values = []
    for place, factor in enumerate(parsed.factors):
        if place not in used:
            values.append(_Values(np.zeros(len(table))))
        elif _has_levels(factor, table):
            values.append(_levels(parsed, factor, table))
        else:
            values.append(_numbers(parsed, factor, table))
    return values


def _has_levels(factor: Factor, table: pd.DataFrame) -> bool:
    words = not pd.api.types.is_numeric_dtype(table[factor.columns[0]]) if factor.plain else False
    return factor.categorical or words


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
            f"--model {parsed.text!r}: {factor.name} names no column, and is the same for all."
        )
    data = {name: table[name].to_numpy(dtype=np.float64) for name in factor.columns}
    numbers = factor.expression.evaluate(data, len(table))
    _refuse_infinite(parsed, factor.name, numbers, table)
    # Sizes of the numbers themselves: what is left after rounding is no variation.
    if np.ptp(numbers) <= 1e-12 * np.abs(numbers).max():
        raise SettingsError(
            f"--model {parsed.text!r}: {factor.name} is {numbers[0]:g} for all {len(table)} "
            "subjects of the model, so that nothing can be said of it; leave it out."
        )
    return _Values(numbers)


def _refuse_infinite(parsed: Formula, name: str, numbers: Array, table: pd.DataFrame) -> None:
    bad = np.flatnonzero(~np.isfinite(numbers))
    if bad.size:
        shown = ", ".join(f"{numbers[row]:g} of {_who(table, row)}" for row in bad[:3])
        raise SettingsError(
            f"--model {parsed.text!r}: {name} is not finite for {bad.size} of {len(table)} "
            f"subjects ({shown}); correct participants.tsv, write n/a where it is not known, or "
            "choose another function."
        )


def _who(table: pd.DataFrame, row: int) -> str:
    return str(table[_SUBJECT].iloc[row]) if _SUBJECT in table else f"subject {row + 1}"


def _levels(parsed: Formula, factor: Factor, table: pd.DataFrame) -> _Values:
    """Return the levels of a factor, the reference first; each needs two subjects."""
    name = factor.columns[0]
    column = table[name]
    if pd.api.types.is_numeric_dtype(column):
        _refuse_infinite(parsed, name, column.to_numpy(dtype=np.float64), table)
        numbers = sorted(column.unique())
        words = [_number_word(value) for value in column]
        levels = [_number_word(value) for value in numbers]
    else:
        words = [str(value) for value in column]
        levels = sorted(set(words))
    if len(levels) < 2:
        raise SettingsError(
            f"--model {parsed.text!r}: {name} has one level alone, {levels[0]!r}, among the "
            f"{len(table)} subjects of the model; leave it out, or see who was left out."
        )
    single = [level for level in levels if words.count(level) == 1]
    if single:
        who = ", ".join(f"{word!r}: {_who(table, words.index(word))}" for word in single[:3])
        raise SettingsError(
            f"--model {parsed.text!r}: {len(single)} of the {len(levels)} levels of {name} have a "
            f"single subject ({who}), which the model would fit exactly; merge levels, or exclude "
            "these subjects."
        )
    if factor.reference is not None:
        if factor.reference not in levels:
            raise SettingsError(
                f"--model {parsed.text!r}: {name} has no level {factor.reference!r}; it has "
                f"{', '.join(levels)}."
            )
        levels = [factor.reference, *(level for level in levels if level != factor.reference)]
    numbers_ = np.array([levels.index(word) for word in words], dtype=np.float64)
    return _Values(numbers_, tuple(levels))


def _number_word(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _matrix(parsed: Formula, values: Sequence[_Values], n_rows: int) -> tuple[Array, Columns]:
    """Return the matrix of a design, and what its columns are made of.

    Names of factors and levels are replaced by numbers, so that nothing of what a user wrote is
    left for formulaic to read; it works out which columns factors and interactions need.
    """
    frame = {}
    for place, factor in enumerate(values):
        if factor.levels:
            names = [str(number) for number in range(len(factor.levels))]
            words = [str(int(number)) for number in factor.numbers]
            frame[f"f{place}"] = pd.Categorical(words, categories=names)
        else:
            frame[f"f{place}"] = factor.numbers - factor.numbers.mean()
    terms = [":".join(f"f{place}" for place in term) for term in parsed.terms if term]
    constant = "1" if CONSTANT in parsed.terms else "0"
    model = ColumnFormula(" + ".join([constant, *terms])).get_model_matrix(
        pd.DataFrame(frame, index=range(n_rows)), na_action="raise"
    )
    levels = tuple(factor.levels for factor in values)
    columns = Columns(parsed, levels, tuple(map(_parts, model.columns)))
    return np.asarray(model, dtype=np.float64), columns


def _parts(name: str) -> tuple[Part, ...]:
    """Read the name of a column as formulaic has it, such as ``f0[T.1]:f2``."""
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
    exact = np.flatnonzero((basis**2).sum(axis=1) > _FITTED)
    if exact.size:
        who = ", ".join(_who(table, row) for row in exact[:3])
        raise SettingsError(
            f"--model {parsed.text!r} fits {exact.size} of {len(table)} subjects exactly ({who}), "
            "because nobody else has the same levels of its factors. Leave out an interaction, "
            "merge levels, or exclude these subjects."
        )
