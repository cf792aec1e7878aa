"""Contrasts of a model over subjects: parsed from text into weights of the design's columns.

Every contrast compares expected values of the model. A factor is compared at the mean of every
continuous column and averaged over the levels of all other factors with equal weights; a slope is
averaged in the same way. Thus no result depends on which level comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np

from npi_bids.errors import SettingsError
from npi_bids.group.formula import Formula, Term, quote_name
from npi_bids.group.glm import Contrast
from npi_bids.records import Array

_SIGN = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d+)?)\s*\*\s*)?")
_NEXT = re.compile(r"\s*(?=[+-]|$)")
_MOST_READINGS = 2


@dataclass(frozen=True, slots=True)
class Part:
    """A factor in a column of a design.

    ``level`` is the level that the column stands for, None where the factor is continuous;
    ``compared`` tells whether it is compared with the reference, or stands by itself.
    """

    factor: int
    level: int | None = None
    compared: bool = True


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a name in a contrast stands for: weights of columns, and the level, if it is one."""

    rows: tuple[tuple[float, ...], ...]
    factor: int = -1
    spelled: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of a design, each of them a product of factors.

    Attributes
    ----------
    formula
        The model.
    levels
        Levels of each factor, the reference first; empty for a continuous one.
    parts
        Factors whose product each column is; empty for the constant.
    """

    formula: Formula
    levels: tuple[tuple[str, ...], ...]
    parts: tuple[tuple[Part, ...], ...]
    _meanings: dict[str, list[_Meaning]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, meaning in self._names_and_meanings():
            meanings = self._meanings.setdefault(name, [])
            if meaning not in meanings:
                meanings.append(meaning)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, such as ``Intercept``, ``age`` or ``group[T.patient]``."""
        return tuple(":".join(map(self._part_name, parts)) or "Intercept" for parts in self.parts)

    def contrasts(self, texts: Sequence[str], *, untested: str = "") -> tuple[Contrast, ...]:
        """Return the contrasts to test, without duplicates.

        Parameters
        ----------
        texts
            Contrasts as text; if empty, every term except the constant, or the constant if the
            model has no other term.
        untested
            Name of a term that is not tested unless requested.

        Raises
        ------
        SettingsError
            A contrast cannot be read, is ambiguous, or does not test a difference.
        """
        terms = [self.formula.term_name(term) for term in self.formula.terms if term]
        default = [name for name in terms if name != untested] or ["Intercept"]
        contrasts = (self._contrast(text) for text in texts or default)
        return tuple({contrast.name: contrast for contrast in contrasts}.values())

    def _part_name(self, part: Part) -> str:
        name = self.formula.factors[part.factor].name
        if part.level is None:
            return name
        sign = "T." if part.compared else ""
        return f"{name}[{sign}{self.levels[part.factor][part.level]}]"

    def _expected(self, levels: Mapping[int, int], slopes: frozenset[int] = frozenset()) -> Array:
        """Return the weights of the expected value at some levels, or of its slopes.

        Other factors are averaged over their levels, other continuous ones are at their mean,
        which is 0 in the design.
        """
        row = np.zeros(len(self.parts))
        for column, parts in enumerate(self.parts):
            if {part.factor for part in parts if part.level is None} != slopes:
                continue
            row[column] = np.prod([
                float(levels[part.factor] == part.level) if part.factor in levels
                else 1 / len(self.levels[part.factor])
                for part in parts if part.level is not None
            ])  # fmt: skip
        return row

    def _term_rows(self, term: Term) -> dict[str, Array]:
        """Return what a term compares, by name: each level with the reference, and slopes."""
        factors = [factor for factor in term if self.levels[factor]]
        slopes = frozenset(factor for factor in term if not self.levels[factor])
        rows = {}
        for levels in product(*(range(1, len(self.levels[factor])) for factor in factors)):
            row = np.zeros(len(self.parts))
            for compared in product((True, False), repeat=len(factors)):
                combination = {
                    factor: level if inside else 0
                    for factor, level, inside in zip(factors, levels, compared, strict=True)
                }
                row += (-1.0) ** compared.count(False) * self._expected(combination, slopes)
            compared_levels = dict(zip(factors, levels, strict=True))
            name = ":".join(self._part_name(Part(f, compared_levels.get(f))) for f in term)
            rows[name] = row
        return rows

    def _names_and_meanings(self) -> Iterator[tuple[str, _Meaning]]:
        """Yield every name that a contrast may use, and what it means."""
        yield "Intercept", _Meaning((tuple(self._expected({})),))
        for term in self.formula.terms:
            rows = self._term_rows(term) if term else {}
            meaning = _Meaning(tuple(map(tuple, rows.values())))
            for order in permutations(term) if term else ():
                yield self.formula.term_name(order), meaning
                for name, row in self._term_rows(order).items():
                    yield name, _Meaning((tuple(row),))
            if len(term) == 1 and rows:
                yield from self._aliases(term[0], meaning)
        for factor, levels in enumerate(self.levels):
            for level, word in enumerate(levels):
                yield from self._level_names(factor, level, word)

    def _aliases(self, factor: int, meaning: _Meaning) -> Iterator[tuple[str, _Meaning]]:
        """Yield other names of a column: between backticks, and without ``C()``."""
        definition = self.formula.factors[factor]
        if not definition.plain:
            return
        column = definition.columns[0]
        yield f"`{column}`", meaning
        if quote_name(column) not in {other.name for other in self.formula.factors}:
            yield quote_name(column), meaning

    def _level_names(self, factor: int, level: int, name: str) -> Iterator[tuple[str, _Meaning]]:
        definition = self.formula.factors[factor]
        spelled = f"{definition.name}[{name}]"
        row = tuple(self._expected({factor: level}))
        meaning = _Meaning((row,), factor, spelled)
        yield spelled, meaning
        yield f"{definition.columns[0]}[{name}]", meaning
        yield name, meaning

    def _contrast(self, text: str) -> Contrast:
        """Return a contrast from its text."""
        pieces = self._read(text)
        if len(pieces) == 1 and pieces[0][0] == 1.0:
            meaning = self._meaning(pieces[0][1], text)
            if len(meaning.rows) > 1:
                return Contrast(text.strip(), np.array(meaning.rows))
            if meaning.factor < 0:
                return Contrast(self._single_name(meaning, text), np.array(meaning.rows))
        row, sums = np.zeros(len(self.parts)), dict.fromkeys(range(len(self.levels)), 0.0)
        for weight, name in pieces:
            meaning = self._meaning(name, text)
            if len(meaning.rows) > 1:
                raise SettingsError(
                    f"--contrast {text!r}: {name!r} stands for {len(meaning.rows)} comparisons, "
                    "which cannot be added to others; name it alone, or name levels."
                )
            row += weight * np.array(meaning.rows[0])
            if meaning.factor >= 0:
                sums[meaning.factor] += weight
        self._check_sums(sums, text)
        if not np.abs(row).max() > 1e-12:
            raise SettingsError(f"--contrast {text!r} tests nothing: all of its weights are 0.")
        return Contrast(text.strip(), row[None])

    def _single_name(self, meaning: _Meaning, text: str) -> str:
        """Return the name of one comparison: which level it compares with the reference."""
        for term in self.formula.terms:
            for name, row in (self._term_rows(term) if term else {}).items():
                if meaning.rows == (tuple(row),):
                    return name
        return text.strip()

    def _check_sums(self, sums: Mapping[int, float], text: str) -> None:
        for factor, total in sums.items():
            if abs(total) > 1e-9:
                name, levels = self.formula.factors[factor].name, self.levels[factor]
                raise SettingsError(
                    f"--contrast {text!r}: the weights of the levels of {name} sum to {total:g}; "
                    "they must sum to 0, or a mean is tested and not a difference. Write for "
                    f"example '{name}[{levels[1]}] - {name}[{levels[0]}]'."
                )

    def _meaning(self, name: str, text: str) -> _Meaning:
        meanings = self._meanings[name]
        if len(meanings) > 1:
            spelled = [m.spelled for m in meanings if m.spelled]
            column_name = [f"`{name}`"] if len(spelled) < len(meanings) else []
            raise SettingsError(
                f"--contrast {text!r}: {name!r} is ambiguous; write "
                f"{' or '.join([*spelled, *column_name])}."
            )
        return meanings[0]

    def _read(self, text: str) -> list[tuple[float, str]]:
        """Return weights and names of a contrast."""
        readings = list(self._readings(text.strip(), first=True)) or list(
            self._readings(_remove_inner_blanks(text), first=True)
        )
        if len(readings) == 1:
            return readings[0]
        if readings:
            raise SettingsError(
                f"--contrast {text!r} can be read in several ways, because names of levels hold "
                "+ or -; write the levels as factor[level]."
            )
        self._refuse_unknown_names(text)
        raise SettingsError(
            f"--contrast {text!r} cannot be read; expected a column, a factor, or levels with "
            "weights, such as 'patient - control' or '0.5*b + 0.5*c - a'."
        )

    def _readings(self, text: str, *, first: bool) -> Iterator[list[tuple[float, str]]]:
        """Yield the ways to read a contrast as signs, weights and known names (two at most)."""
        match = _SIGN.match(text)
        if not text or match is None or not (first or match[1]):
            return
        weight = float(match[2] or 1) * (-1 if match[1] == "-" else 1)
        remainder, count = text[match.end() :], 0
        for name in self._meanings:
            if not name or not remainder.startswith(name):
                continue
            end = _NEXT.match(remainder, len(name))
            if end is None:
                continue
            tail_text = remainder[end.end() :]
            tails: Iterator[list[tuple[float, str]]] = (
                self._readings(tail_text, first=False) if tail_text else iter([[]])
            )
            for tail in tails:
                yield [(weight, name), *tail]
                count += 1
                if count == _MOST_READINGS:
                    return

    def _refuse_unknown_names(self, text: str) -> None:
        for piece in re.split(r"\s[+-]\s|^\s*[+-]\s*", text):
            name = re.sub(r"^\d+(?:\.\d+)?\s*\*\s*", "", piece.strip())
            if name and name not in self._meanings:
                levels = {
                    self.formula.factors[index].name: ", ".join(names)
                    for index, names in enumerate(self.levels)
                    if names
                }
                listing = "; ".join(f"{factor}: {names}" for factor, names in levels.items())
                raise SettingsError(
                    f"--contrast {text!r}: {name!r} is no column ({', '.join(self.names)}) and no "
                    f"level ({listing or 'the model has no factor'})."
                )


def _remove_inner_blanks(text: str) -> str:
    """Return a contrast without blanks between parentheses: ``I(1 / age)`` is ``I(1/age)``."""
    return re.sub(r"\([^()]*\)", lambda match: match[0].replace(" ", ""), text.strip())
