from __future__ import annotations

import pytest

from npi_bids.errors import SettingsError
from npi_bids.group.formula import FUNCTIONS, parse_formula


def names(text):
    parsed = parse_formula(text)
    return [parsed.term_name(term) for term in parsed.terms]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("1", ["Intercept"]),
        ("group + age", ["Intercept", "group", "age"]),
        ("0 + group", ["group"]),
        ("group - 1", ["group"]),
        ("-1 + group", ["group"]),
        ("a*b", ["Intercept", "a", "b", "a:b"]),
        ("a*b*c - a:b:c", ["Intercept", "a", "b", "c", "a:b", "a:c", "b:c"]),
        ("(a + b + c)**2", ["Intercept", "a", "b", "c", "a:b", "a:c", "b:c"]),
        ("a:(b + c)", ["Intercept", "a:b", "a:c"]),
        ("a + b:a + a:b + a", ["Intercept", "a", "b:a"]),
        ("a + (b - b) + 1", ["Intercept", "a"]),
        ("`age at scan`:b", ["Intercept", "`age at scan`:b"]),
        ("C(site) + I(1 / age ** 2)", ["Intercept", "C(site)", "I(1/(age**2))"]),
        ("log(age + 1)", ["Intercept", "log(age+1)"]),
    ],
)
def test_formulas_are_read_as_wilkinson_and_rogers_have_them(text, terms):
    assert names(text) == terms


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_known_and_told_in_the_help(name):
    from dataclasses import fields

    from npi_bids.group.settings import ModelSettings

    assert names(f"{name}(age)") == ["Intercept", f"{name}(age)"]
    assert name in fields(ModelSettings)[0].metadata["help"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{age}", "'{'"),
        ("{np.testing.runstring('x = 1', {}) or age}", "'{'"),
        ("np.asarray(age).tofile('x')", "'.'"),
        ("age.values", "'.'"),
        ("open('x')", "open"),
        ("__import__('os')", "__import__"),
        ("eval(age)", "eval"),
        ("I(open('x'))", "open"),
        ("I(age.values)", "'.'"),
        ("log(np.log(age))", "'.'"),
        ("I(age if age else 1)", "'if'"),
        ("I(lambda: 1)", "':'"),
        ("I([1])", "levels are chosen"),
        ("I(age := 1)", "':'"),
        ("I(age, 2)", "','"),
        ("I('x')", "quotes"),
        ("C(age, Sum)", "Treatment"),
        ("C(age, Treatment(age))", "Treatment"),
        ("C(1)", "'1'"),
        ("age | group", "no random or grouped effects"),
        ("map ~ age", "right-hand side"),
        ("age / group", "I(a / b)"),
        ("age ^ 2", "'^'"),
        ("age %in% group", "'%'"),
        ("age**2", "I(... ** 2)"),
        ("(a + b)**9", "from 1 to 5"),
        ("(a + b)**a", "from 1 to 5"),
        ("age + 2", "0 and 1"),
        ("age + .", "'.'"),
        ("age age", "expected an operator"),
        ("age + (", "ends too early"),
        ("`age", "'`'"),
        ("", "ends too early"),
        ("age; age", "';'"),
        ("age @ age", "'@'"),
        ("age - group", "removes a term that is not in the model"),
        ("0", "the model has no terms"),
        ("(" * 30 + "age" + ")" * 30, "levels of parentheses"),
        ("I(" + "-" * 300 + "age)", "levels of parentheses"),
        ("a + " * 400 + "a", "characters"),
        ("*".join("abcdefghij"), "terms"),
    ],
)
def test_everything_else_is_refused_and_the_part_is_named(text, part):
    with pytest.raises(SettingsError, match="--model") as error:
        parse_formula(text)
    assert part in str(error.value)


@pytest.mark.parametrize("text", ["9**9**9**9**9", "exp(exp(exp(age)))", "1/0*age", "(-age)**0.5"])
def test_arithmetic_of_any_size_is_only_not_finite(text):
    import numpy as np

    expression = parse_formula(f"I({text})").factors[0].expression
    assert not np.isfinite(expression.evaluate({"age": np.array([50.0, 60.0])}, 2)).any()
