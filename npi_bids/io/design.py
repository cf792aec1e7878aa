"""From a table of participants and a formula to a design matrix and what is tested."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula
from formulaic.errors import FormulaicError

from npi_bids.core.glm import Contrast, Design
from npi_bids.core.records import Array, Mask
from npi_bids.errors import NoUsableDataError, SettingsError

MOTION = "mean_fd"
_CONSTANT = "Intercept"
# What programs write for a missing value, where BIDS has n/a.
_MISSING_WORDS = {"na", "nan", "n/a", "#n/a", "null", "none", ".", "-", "?"}
_TERM = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?([^+\-\s][^+\-]*?)\s*(?=[+-]|$)")
_LEVEL = re.compile(r"(?P<factor>.+)\[(?:T\.)?(?P<level>.+)\]")


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
    table
        The columns of the formula, as they were used.
    """

    design: Design
    rows: Mask
    reasons: dict[int, str]
    formula: str
    table: pd.DataFrame

    @property
    def covariates(self) -> Array:
        """Columns of the design but the constant."""
        kept = [place for place, name in enumerate(self.design.columns) if name != _CONSTANT]
        matrix: Array = self.design.matrix[:, kept]
        return matrix


def subject_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
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
        missing = sorted({word for word in words if word.casefold() in _MISSING_WORDS})
        if missing:
            raise SettingsError(
                f"--model: the column {name} of participants.tsv holds {', '.join(missing)}; "
                "write n/a where a value is missing."
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
        The right-hand side, such as ``group + age + sex``; ``1`` is the mean of all.
    contrasts
        What is tested: a column or factor (``group``), a level (``group[patient]``) or sums and
        differences of levels and columns (``patient - control``). Everything but the constant
        where empty, or the constant where nothing else is there.
    motion
        Whether ``mean_fd`` is added to a model that does not hold it, as a covariate that is not
        tested by default; left out where it is not known for everybody, or does not vary.
    blocks
        Column within whose values alone subjects are exchanged; anywhere where empty.

    Raises
    ------
    SettingsError
        The formula cannot be read, a column is missing, or a contrast names nothing.
    NoUsableDataError
        Nobody has all columns.
    """
    parsed = _parse(formula)
    needed = sorted({str(name) for name in parsed.required_variables}, key=formula.index)
    if missing := [name for name in (*needed, *filter(None, [blocks])) if name not in table]:
        raise SettingsError(
            f"--model {formula!r}: no column {', '.join(missing)}; participants.tsv and the "
            f"results have {', '.join(map(str, table.columns))}."
        )
    added = motion and MOTION not in needed and _can_add(table)
    if added:
        formula, needed = f"{formula} + {MOTION}", [*needed, MOTION]
        parsed = _parse(formula)
    rows, reasons = _complete(table, [*needed, *filter(None, [blocks])])
    used = table.loc[rows, needed].copy()
    if not len(used):
        raise NoUsableDataError(f"--model {formula!r}: no subject has all of {', '.join(needed)}.")
    for name in used.select_dtypes("number"):
        # Centred, so that the constant is the mean subject and not the one without age.
        used[name] = used[name] - used[name].mean()
    model = parsed.get_model_matrix(used, na_action="raise")
    columns = tuple(map(str, model.columns))
    plain = np.asarray(model, dtype=np.float64)
    default = [name for name in needed if not (added and name == MOTION)] or [_CONSTANT]
    made = [_contrast(text, columns, used) for text in contrasts or default]
    names = table.loc[rows, blocks].astype(str).to_numpy() if blocks else np.zeros(len(plain))
    block = np.unique(names, return_inverse=True)[1].astype(np.float64)
    return BuiltDesign(Design(plain, columns, tuple(made), block), rows, reasons, formula, used)


def _parse(formula: str) -> Formula:
    try:
        return Formula(formula)
    except (FormulaicError, SyntaxError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise SettingsError(
            f"--model {formula!r} cannot be read ({first}); expected columns joined by +, such as "
            "'group + age + sex'."
        ) from error


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


def _contrast(text: str, columns: tuple[str, ...], used: pd.DataFrame) -> Contrast:
    if text in used and not pd.api.types.is_numeric_dtype(used[text]):
        own = [name for name in columns if re.fullmatch(rf"{re.escape(text)}\[.+\]", name)]
        return Contrast(own[0] if len(own) == 1 else text, _rows(own, columns))
    rest, row = text.strip(), np.zeros(len(columns))
    matches = list(_TERM.finditer(rest))
    if "".join(match[0] for match in matches).strip() != rest:
        raise SettingsError(f"--contrast {text!r} cannot be read; see --help.")
    for match in matches:
        sign, factor, name = match.groups()
        weight = float(factor or 1) * (-1 if sign == "-" else 1)
        row += weight * _column(name.strip(), columns, used, text)
    if not row.any():
        raise SettingsError(f"--contrast {text!r} tests nothing: all of its weights are 0.")
    return Contrast(text, row[None])


def _rows(names: Sequence[str], columns: tuple[str, ...]) -> Array:
    rows: Array = np.array([[float(column == name) for column in columns] for name in names])
    return rows


def _column(name: str, columns: tuple[str, ...], used: pd.DataFrame, text: str) -> Array:
    """Return the weights of one name: a column, or the level of a factor (0 for the first)."""
    if name in columns:
        return np.array(_rows([name], columns)[0])
    match = _LEVEL.fullmatch(name)
    factor, level = (match["factor"], match["level"]) if match else ("", name)
    for known in used.select_dtypes(exclude="number"):
        levels = set(used[known].astype(str))
        if factor in ("", known) and level in levels:
            own = f"{known}[T.{level}]"
            return np.array(_rows([own], columns)[0] if own in columns else [0.0] * len(columns))
    levels_ = {known: sorted(set(used[known].astype(str)))
               for known in used.select_dtypes(exclude="number")}  # fmt: skip
    raise SettingsError(
        f"--contrast {text!r}: {name!r} is no column ({', '.join(columns)}) and no level "
        f"({levels_})."
    )
