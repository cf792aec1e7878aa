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
    "~": "the maps are the left-hand side of every model; write only the right-hand side",
    "|": "there are no random or grouped effects",
    "{": "Python code is not evaluated",
    "}": "Python code is not evaluated",
    ".": "attributes are not read; put a column whose name has a dot between backticks (`a.b`)",
    "/": "nesting is not supported; write a + a:b, or I(a / b) for a division",
    "^": "write ** for a power",
    "%": "nesting is not supported; write a + a:b",
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

    ``node_type`` is ``number``, ``column``, ``call``, ``-`` (of one operand) or an operator;
    ``value`` is the number, or the name of the column or function.
    """

    node_type: str
    value: str = ""
    operands: tuple[Expression, ...] = ()

    def __str__(self) -> str:
        texts = [str(operand) for operand in self.operands]
        if self.node_type == "column":
            return quote_name(self.value)
        if self.node_type == "number":
            return self.value
        if self.node_type == "call":
            return f"{self.value}({_strip_parentheses(self.operands[0])})"
        if len(texts) == 1:
            return f"(-{texts[0]})"
        return f"({texts[0]}{self.node_type}{texts[1]})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, in their order."""
        direct = (self.value,) if self.node_type == "column" else ()
        return (*direct, *(name for operand in self.operands for name in operand.columns))

    def evaluate(self, data: Mapping[str, Array], n_rows: int) -> Array:
        """Return the value for each row; not finite where it is not defined."""
        if self.node_type == "number":
            return np.full(n_rows, float(self.value))
        if self.node_type == "column":
            return data[self.value]
        operands = [operand.evaluate(data, n_rows) for operand in self.operands]
        with np.errstate(all="ignore"):
            if self.node_type == "call":
                return FUNCTIONS[self.value](operands[0])
            if len(operands) == 1:
                return -operands[0]
            return _ARITHMETIC[self.node_type](*operands)


@dataclass(frozen=True, slots=True)
class Factor:
    """One variable of a model.

    Attributes
    ----------
    name
        Name as displayed, such as ``age``, ``C(site)`` or ``I(1/age)``.
    expression
        The expression to evaluate; a single column for a factor with levels.
    categorical
        Whether ``C()`` declares the values of the column to be levels.
    reference
        Level that the others are compared with; the first in alphabetical order where None.
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
        """Whether the factor is an untransformed column."""
        return self.expression.node_type == "column"


@dataclass(frozen=True, slots=True)
class Formula:
    """A parsed formula.

    Attributes
    ----------
    text
        The formula as it was written.
    factors
        Its variables.
    terms
        Indices of the factors of each term: first the constant (``()``), if there is one, then
        the terms by their number of factors.
    """

    text: str
    factors: tuple[Factor, ...]
    terms: tuple[Term, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read, each once, in their order."""
        used = {factor for term in self.terms for factor in term}
        names = (name for index in sorted(used) for name in self.factors[index].columns)
        return tuple(dict.fromkeys(names))

    def term_name(self, term: Term) -> str:
        """Return the name of a term, such as ``age:group``."""
        return ":".join(self.factors[index].name for index in term) or "Intercept"


def quote_name(column: str) -> str:
    """Return the name of a column as it is written in a formula.

    >>> quote_name("age"), quote_name("age at scan")
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
        The formula contains anything else.

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
    position: int = 0
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
            self._fail("the model has no terms; '1' is the mean of all subjects")
        return Formula(self.text, tuple(self.factors), tuple(ordered))

    # The algebra of terms.

    def _sum(self, *, top: bool = False) -> list[Term]:
        terms: list[Term] = [CONSTANT] if top else []
        sign = self._take("+", "-") or "+"
        while True:
            if top and self._next == ("number", "0"):
                self.position += 1
                if sign == "-":
                    self._fail("'- 0' is not supported; '0 +' or '- 1' leave out the constant")
                terms = [term for term in terms if term != CONSTANT]
            else:
                terms = self._combine_terms(terms, self._product(), sign)
            taken = self._take("+", "-")
            if not taken:
                return terms
            sign = taken

    def _combine_terms(self, terms: list[Term], operand: list[Term], sign: str) -> list[Term]:
        if sign == "+":
            return self._unique_terms([*terms, *operand])
        if missing := [term for term in operand if term not in terms and term != CONSTANT]:
            names = [":".join(self.factors[index].name for index in term) for term in missing]
            self._fail(f"'- {names[0]}' removes a term that is not in the model")
        return [term for term in terms if term not in operand]

    def _product(self) -> list[Term]:
        terms = self._interaction()
        while self._take("*"):
            operand = self._interaction()
            terms = self._unique_terms([*terms, *operand, *self._cross_terms(terms, operand)])
        return terms

    def _interaction(self) -> list[Term]:
        terms = self._power()
        while self._take(":"):
            terms = self._cross_terms(terms, self._power())
        return terms

    def _power(self) -> list[Term]:
        terms = base = self._atom()
        if not self._take("**"):
            return terms
        category, word = self._next
        if category != "number" or not word.isdigit() or not 1 <= int(word) <= _HIGHEST_POWER:
            self._refuse(
                f"the power of terms must be a whole number from 1 to {_HIGHEST_POWER}; write "
                "I(age**2) for the power of a column"
            )
        if len(base) == 1:
            self._refuse(
                f"a term crossed with itself is itself; write I(... ** {word}) for a power"
            )
        self.position += 1
        for _ in range(int(word) - 1):
            terms = self._unique_terms([*terms, *self._cross_terms(terms, base)])
        return terms

    def _cross_terms(self, one: Sequence[Term], other: Sequence[Term]) -> list[Term]:
        return self._unique_terms([tuple(dict.fromkeys((*a, *b))) for a in one for b in other])

    def _unique_terms(self, terms: Iterable[Term]) -> list[Term]:
        unique = {frozenset(term): term for term in reversed(list(terms))}
        if len(unique) > _MOST_TERMS:
            self._fail(f"the model has more than {_MOST_TERMS} terms; use fewer")
        return list(reversed(unique.values()))

    def _atom(self) -> list[Term]:
        category, word = self._next
        if self._take("("):
            terms = self._parse_nested(self._sum)
            self._expect(")")
            return terms
        if category == "number":
            if word != "1":
                self._refuse("only the numbers 0 and 1 are terms; write I() around arithmetic")
            self.position += 1
            return [CONSTANT]
        factor = self._factor()
        if factor not in self.factors:
            self.factors.append(factor)
        return [(self.factors.index(factor),)]

    def _factor(self) -> Factor:
        category, word = self._next
        if category == "name" and self._after == ("sign", "("):
            if word == "C":
                return self._levels()
            if word == "I":
                self.position += 2
                inside = self._parse_nested(self._arithmetic)
                self._expect(")")
                return Factor(f"I({_strip_parentheses(inside)})", inside)
            call = self._call()
            return Factor(str(call), call)
        name = self._column()
        return Factor(quote_name(name), Expression("column", name))

    def _levels(self) -> Factor:
        self.position += 2
        name, reference = self._column(), None
        if self._take(","):
            if self._next != ("name", "Treatment"):
                self._refuse('the second part of C() must be Treatment("level")')
            self.position += 1
            self._expect("(")
            if self._next == ("name", "reference"):
                self.position += 1
                self._expect("=")
            category, word = self._next
            if category not in ("string", "number"):
                self._refuse('Treatment() takes the name of a level, as in Treatment("control")')
            self.position += 1
            reference = word.strip("'\"") if category == "string" else word
            self._expect(")")
        self._expect(")")
        return Factor(f"C({quote_name(name)})", Expression("column", name), True, reference)

    # Arithmetic, inside I() and functions.

    def _arithmetic(self) -> Expression:
        return self._operator_chain(
            ("+", "-"), lambda: self._operator_chain(("*", "/"), self._signed)
        )

    def _operator_chain(
        self, operators: Sequence[str], operand: Callable[[], Expression]
    ) -> Expression:
        result = operand()
        while sign := self._take(*operators):
            result = Expression(sign, operands=(result, operand()))
        return result

    def _signed(self) -> Expression:
        if self._take("-"):
            return Expression("-", operands=(self._parse_nested(self._signed),))
        base = self._value()
        if self._take("**"):
            return Expression("**", operands=(base, self._parse_nested(self._signed)))
        return base

    def _value(self) -> Expression:
        category, word = self._next
        if self._take("("):
            inside = self._parse_nested(self._arithmetic)
            self._expect(")")
            return inside
        if category == "number":
            self.position += 1
            return Expression("number", word)
        if category == "name" and self._after == ("sign", "("):
            return self._call()
        return Expression("column", self._column())

    def _call(self) -> Expression:
        name = self._next[1]
        if name not in FUNCTIONS:
            self._refuse(
                f"{name}() is not a function of formulas; choose from {_list_functions()}"
            )
        self.position += 2
        inside = self._parse_nested(self._arithmetic)
        self._expect(")")
        return Expression("call", name, (inside,))

    # Tokens.

    @property
    def _next(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("", "")

    @property
    def _after(self) -> tuple[str, str]:
        return self.tokens[self.position + 1] if self.position + 1 < len(self.tokens) else ("", "")

    def _take(self, *signs: str) -> str:
        category, word = self._next
        if category == "sign" and word in signs:
            self.position += 1
            return word
        return ""

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._refuse(f"expected {sign!r}")

    def _column(self) -> str:
        category, word = self._next
        if category not in ("name", "quoted"):
            self._refuse("expected a column")
        self.position += 1
        if self._next == ("sign", "."):
            self._refuse("expected an operator")
        return word.strip("`")

    def _parse_nested(self, rule: Callable[[], _T]) -> _T:
        self.depth += 1
        if self.depth > _DEEPEST:
            self._fail(f"more than {_DEEPEST} levels of parentheses or signs; simplify it")
        result = rule()
        self.depth -= 1
        return result

    def _refuse(self, why: str) -> NoReturn:
        """Refuse the current token."""
        category, word = self._next
        if category == "sign":
            why = _REFUSED.get(word, why)
        elif category == "string":
            why = 'text in quotes is allowed only in C(column, Treatment("level"))'
        self._fail(f"at {word!r}: {why}" if category else f"it ends too early; {why}")

    def _fail(self, why: str) -> NoReturn:
        raise SettingsError(
            f"--model {self.text!r} cannot be read: {why}. Expected columns and + - * : ( ), C(), "
            "I() and functions, such as 'group + age + sex'."
        )


def _strip_parentheses(expression: Expression) -> str:
    """Write arithmetic without its outer parentheses."""
    text = str(expression)
    return text[1:-1] if expression.operands and expression.node_type != "call" else text


def _list_functions() -> str:
    return ", ".join(["C", "I", *FUNCTIONS])
