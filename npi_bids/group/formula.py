"""Formulas of models over subjects: a small language of columns, operators and functions.

A formula is parsed into factors and terms before anything is evaluated; whatever is not part of
the language is refused. Factors are evaluated by this module, on the data as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import numpy as np

from npi_bids.errors import SettingsError
from npi_bids.records import Array

Term = tuple[int, ...]  # numbers of factors; () is the constant
CONSTANT: Term = ()
_LONGEST = 400  # characters; what is longer could be nested too deeply to be evaluated
_DEEPEST = 20  # parentheses within each other
_HIGHEST_POWER = 5
_MOST_TERMS = 200
_TOKEN = re.compile(
    r"(?P<quoted>`[^`]+`)|(?P<string>'[^']*'|\"[^\"]*\")"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<sign>\*\*|\S)"
)
_PLAIN = re.compile(r"[^\W\d]\w*")
_REFUSED = {
    "~": "the maps stand on the left of every model, so that only its right-hand side is given",
    "|": "there are no random or grouped effects",
    "{": "Python code is not evaluated",
    "}": "Python code is not evaluated",
    ".": "attributes are not read; put a column whose name has a dot between backticks (`a.b`)",
    "/": "nesting is not known here; write a + a:b, or I(a / b) for a division",
    "^": "write ** for a power",
    "%": "nesting is not known here; write a + a:b",
    "[": "levels are chosen with --contrast",
    "]": "levels are chosen with --contrast",
}
_ARITHMETIC: Mapping[str, Callable[[Array, Array], Array]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power,
}  # fmt: skip

_T = TypeVar("_T")


def _centre(x: Array) -> Array:
    centred: Array = x - np.mean(x)
    return centred


def _scale(x: Array) -> Array:
    scaled: Array = _centre(x) / np.std(x, ddof=1)
    return scaled


FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "log": np.log, "log2": np.log2, "log10": np.log10, "exp": np.exp, "sqrt": np.sqrt,
    "abs": np.abs, "center": _centre, "scale": _scale,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """Arithmetic of columns and numbers.

    ``kind`` is ``number``, ``column``, ``call``, ``-`` (of one operand) or an operator; ``value``
    is the number, or the name of the column or function.
    """

    kind: str
    value: str = ""
    operands: tuple[Expression, ...] = ()

    def __str__(self) -> str:
        texts = [str(operand) for operand in self.operands]
        if self.kind == "column":
            return quoted(self.value)
        if self.kind == "number":
            return self.value
        if self.kind == "call":
            return f"{self.value}({_bare(self.operands[0])})"
        if len(texts) == 1:
            return f"(-{texts[0]})"
        return f"({texts[0]}{self.kind}{texts[1]})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, in their order."""
        own = (self.value,) if self.kind == "column" else ()
        return (*own, *(name for operand in self.operands for name in operand.columns))

    def evaluate(self, data: Mapping[str, Array], n_rows: int) -> Array:
        """Return the value for each row; not finite where it is not defined."""
        if self.kind == "number":
            return np.full(n_rows, float(self.value))
        if self.kind == "column":
            return data[self.value]
        operands = [operand.evaluate(data, n_rows) for operand in self.operands]
        with np.errstate(all="ignore"):
            if self.kind == "call":
                return FUNCTIONS[self.value](operands[0])
            if len(operands) == 1:
                return -operands[0]
            return _ARITHMETIC[self.kind](*operands)


@dataclass(frozen=True, slots=True)
class Factor:
    """One variable of a model.

    Attributes
    ----------
    name
        As it is shown, such as ``age``, ``C(site)`` or ``I(1/age)``.
    expression
        What is evaluated; a single column for a factor of levels.
    categorical
        Whether ``C()`` makes levels of the column, whatever it holds.
    reference
        Level that others are compared with; the first in the order of the alphabet where None.
    """

    name: str
    expression: Expression
    categorical: bool = False
    reference: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        return self.expression.columns

    @property
    def plain(self) -> bool:
        """Whether it is a column as it is."""
        return self.expression.kind == "column"


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula.

    Attributes
    ----------
    text
        As it was given.
    factors
        Its variables.
    terms
        Numbers of the factors of each term, the constant (``()``) first where there is one; then
        by their number of factors.
    """

    text: str
    factors: tuple[Factor, ...]
    terms: tuple[Term, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, each once, in their order."""
        used = {factor for term in self.terms for factor in term}
        names = (name for place in sorted(used) for name in self.factors[place].columns)
        return tuple(dict.fromkeys(names))

    def term_name(self, term: Term) -> str:
        """Return the name of a term, such as ``age:group``."""
        return ":".join(self.factors[place].name for place in term) or "Intercept"


def quoted(column: str) -> str:
    """Return the name of a column as a formula has it.

    >>> quoted("age"), quoted("age at scan")
    ('age', '`age at scan`')
    """
    return column if _PLAIN.fullmatch(column) else f"`{column}`"


def parse_formula(text: str) -> Formula:
    """Parse the right-hand side of a model.

    Parameters
    ----------
    text
        Columns (between backticks where their names are not plain), ``0`` and ``1``, the operators
        ``+ - * : ( )`` and ``**`` with a small whole number, ``C(column)``,
        ``C(column, Treatment("level"))``, ``I()`` of arithmetic, and ``FUNCTIONS``.

    Raises
    ------
    SettingsError
        Anything else stands there; says what.

    Examples
    --------
    >>> parsed = parse_formula("group*age + log(weight)")
    >>> [parsed.term_name(term) for term in parsed.terms]
    ['Intercept', 'group', 'age', 'log(weight)', 'group:age']
    """
    if len(text) > _LONGEST:
        raise SettingsError(
            f"--model has {len(text)} characters; at most {_LONGEST} are read. Use fewer columns."
        )
    return _Parser(text).formula()


@dataclass(slots=True)
class _Parser:
    """Reads a formula from left to right; one method for each rule of the language."""

    text: str
    tokens: list[tuple[str, str]] = field(init=False)
    place: int = 0
    depth: int = 0
    factors: list[Factor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = [
            (str(match.lastgroup), match[0])
            for match in _TOKEN.finditer(self.text)
            if match.lastgroup
        ]

    def formula(self) -> Formula:
        terms = self._sum(top=True)
        if self._next[0]:
            self._refuse("expected an operator before it")
        ordered = sorted(terms, key=len)
        if not ordered:
            self._stop("nothing is left of the model; '1' is the mean of all subjects")
        return Formula(self.text, tuple(self.factors), tuple(ordered))

    # The algebra of terms.

    def _sum(self, *, top: bool = False) -> list[Term]:
        terms: list[Term] = [CONSTANT] if top else []
        sign = self._take("+", "-") or "+"
        while True:
            if top and self._next == ("number", "0"):
                self.place += 1
                if sign == "-":
                    self._stop("'- 0' is not known; '0 +' or '- 1' leave out the constant")
                terms = [term for term in terms if term != CONSTANT]
            else:
                terms = self._joined(terms, self._product(), sign)
            taken = self._take("+", "-")
            if not taken:
                return terms
            sign = taken

    def _joined(self, terms: list[Term], further: list[Term], sign: str) -> list[Term]:
        if sign == "+":
            return self._few([*terms, *further])
        if missing := [term for term in further if term not in terms and term != CONSTANT]:
            names = [":".join(self.factors[place].name for place in term) for term in missing]
            self._stop(f"'- {names[0]}' takes out a term that is not there")
        return [term for term in terms if term not in further]

    def _product(self) -> list[Term]:
        terms = self._interaction()
        while self._take("*"):
            further = self._interaction()
            terms = self._few([*terms, *further, *self._crossed(terms, further)])
        return terms

    def _interaction(self) -> list[Term]:
        terms = self._power()
        while self._take(":"):
            terms = self._crossed(terms, self._power())
        return terms

    def _power(self) -> list[Term]:
        terms = base = self._atom()
        if not self._take("**"):
            return terms
        kind, word = self._next
        if kind != "number" or not word.isdigit() or not 1 <= int(word) <= _HIGHEST_POWER:
            self._refuse(
                f"the power of terms must be a whole number from 1 to {_HIGHEST_POWER}; write "
                "I(age**2) for the power of a column"
            )
        if len(base) == 1:
            self._refuse(
                f"a term crossed with itself is itself; write I(... ** {word}) for a power"
            )
        self.place += 1
        for _ in range(int(word) - 1):
            terms = self._few([*terms, *self._crossed(terms, base)])
        return terms

    def _crossed(self, one: Sequence[Term], other: Sequence[Term]) -> list[Term]:
        return self._few([tuple(dict.fromkeys((*a, *b))) for a in one for b in other])

    def _few(self, terms: Iterable[Term]) -> list[Term]:
        unlike = {frozenset(term): term for term in reversed(list(terms))}
        if len(unlike) > _MOST_TERMS:
            self._stop(f"the model has more than {_MOST_TERMS} terms; use fewer")
        return list(reversed(unlike.values()))

    def _atom(self) -> list[Term]:
        kind, word = self._next
        if self._take("("):
            terms = self._within(self._sum)
            self._expect(")")
            return terms
        if kind == "number":
            if word != "1":
                self._refuse("only the numbers 0 and 1 are terms; write I() around arithmetic")
            self.place += 1
            return [CONSTANT]
        factor = self._factor()
        if factor not in self.factors:
            self.factors.append(factor)
        return [(self.factors.index(factor),)]

    def _factor(self) -> Factor:
        kind, word = self._next
        if kind == "name" and self._after == ("sign", "("):
            if word == "C":
                return self._levels()
            if word == "I":
                self.place += 2
                inside = self._within(self._arithmetic)
                self._expect(")")
                return Factor(f"I({_bare(inside)})", inside)
            call = self._call()
            return Factor(str(call), call)
        name = self._column()
        return Factor(quoted(name), Expression("column", name))

    def _levels(self) -> Factor:
        self.place += 2
        name, reference = self._column(), None
        if self._take(","):
            if self._next != ("name", "Treatment"):
                self._refuse('the second part of C() must be Treatment("level")')
            self.place += 1
            self._expect("(")
            if self._next == ("name", "reference"):
                self.place += 1
                self._expect("=")
            kind, word = self._next
            if kind not in ("string", "number"):
                self._refuse('Treatment() takes the name of a level, as in Treatment("control")')
            self.place += 1
            reference = word.strip("'\"") if kind == "string" else word
            self._expect(")")
        self._expect(")")
        return Factor(f"C({quoted(name)})", Expression("column", name), True, reference)

    # Arithmetic, inside I() and functions.

    def _arithmetic(self) -> Expression:
        return self._left(("+", "-"), lambda: self._left(("*", "/"), self._signed))

    def _left(self, operators: Sequence[str], operand: Callable[[], Expression]) -> Expression:
        result = operand()
        while sign := self._take(*operators):
            result = Expression(sign, operands=(result, operand()))
        return result

    def _signed(self) -> Expression:
        if self._take("-"):
            return Expression("-", operands=(self._within(self._signed),))
        base = self._value()
        if self._take("**"):
            return Expression("**", operands=(base, self._within(self._signed)))
        return base

    def _value(self) -> Expression:
        kind, word = self._next
        if self._take("("):
            inside = self._within(self._arithmetic)
            self._expect(")")
            return inside
        if kind == "number":
            self.place += 1
            return Expression("number", word)
        if kind == "name" and self._after == ("sign", "("):
            return self._call()
        return Expression("column", self._column())

    def _call(self) -> Expression:
        name = self._next[1]
        if name not in FUNCTIONS:
            self._refuse(f"{name}() is no function of formulas; known are {_function_words()}")
        self.place += 2
        inside = self._within(self._arithmetic)
        self._expect(")")
        return Expression("call", name, (inside,))

    # Tokens.

    @property
    def _next(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("", "")

    @property
    def _after(self) -> tuple[str, str]:
        return self.tokens[self.place + 1] if self.place + 1 < len(self.tokens) else ("", "")

    def _take(self, *signs: str) -> str:
        kind, word = self._next
        if kind == "sign" and word in signs:
            self.place += 1
            return word
        return ""

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._refuse(f"expected {sign!r}")

    def _column(self) -> str:
        kind, word = self._next
        if kind not in ("name", "quoted"):
            self._refuse("expected a column")
        self.place += 1
        if self._next == ("sign", "."):
            self._refuse("expected an operator")
        return word.strip("`")

    def _within(self, rule: Callable[[], _T]) -> _T:
        self.depth += 1
        if self.depth > _DEEPEST:
            self._stop(f"more than {_DEEPEST} levels of parentheses or signs; simplify it")
        result = rule()
        self.depth -= 1
        return result

    def _refuse(self, why: str) -> NoReturn:
        """Refuse the token that stands here."""
        kind, word = self._next
        if kind == "sign":
            why = _REFUSED.get(word, why)
        elif kind == "string":
            why = 'words between quotes stand in C(column, Treatment("level")) alone'
        self._stop(f"at {word!r}: {why}" if kind else f"it ends too early; {why}")

    def _stop(self, why: str) -> NoReturn:
        raise SettingsError(
            f"--model {self.text!r} cannot be read: {why}. Expected columns and + - * : ( ), C(), "
            "I() and functions, such as 'group + age + sex'."
        )


def _bare(expression: Expression) -> str:
    """Write arithmetic without the parentheses around the whole."""
    text = str(expression)
    return text[1:-1] if expression.operands and expression.kind != "call" else text


def _function_words() -> str:
    return ", ".join(["C", "I", *FUNCTIONS])
