from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from npi_bids.wording import (
    count_noun,
    format_estimate,
    format_number,
    format_range,
    join_items,
    rounded,
    suggest_word,
)

ROOT = Path(__file__).parents[1]
SOURCES = [*ROOT.glob("npi_bids/**/*.py"), *ROOT.glob("workflows/**/*.py"),
           *ROOT.glob("npi_bids/**/*.j2")]  # fmt: skip
_COLLECTIONS = ("list", "tuple", "set", "sorted")
_PLURAL = re.compile(r"[a-z]\((?:s|es|ies)\)")


def test_one_is_singular_and_all_else_plural():
    assert [count_noun(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert count_noun(2, "process", "processes") == "2 processes"


def test_lists_are_joined_by_commas():
    assert join_items(["a", "b"]) == "a, b"
    assert join_items([], most=3) == ""
    assert join_items("abcd", most=2) == "a, b, ..."


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1 / 3, "1/3"), (0.93, "0.93"), (3.14159265, "3.14159")]
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (float("nan"), "n/a"), (3, "3"), (np.int64(3), "3"), (0.73049, "0.73"),
     (0.7, "0.70"), (0.0987, "0.099"), (-0.0987, "-0.099"), (12.345, "12.3"), (123.4, "123"),
     (-1e-9, "-1.0e-09"), (1e-13, "0")],
)  # fmt: skip
def test_results_have_two_decimals_or_two_digits(value, text):
    assert rounded(value) == text


def test_a_result_and_its_interval_have_the_same_decimals():
    assert format_estimate(0.887, 0.05, 0.961) == "0.89 (0.05 to 0.96)"
    assert format_range(-0.0004, 0.3) == "0.00 to 0.30"
    assert format_range(float("nan"), 0.3) == "n/a to 0.30"


def test_nothing_is_suggested_for_what_is_like_nothing():
    assert suggest_word("xyz", ["hybrid", "var"]) == ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_count_with_singular_and_plural(path):
    """No word for people ends in (s)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        assert not _PLURAL.search(text)
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not (found := _PLURAL.search(node.value)), f"line {node.lineno}: {found}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_show_no_python_list(path):
    """No formatted value is a list, tuple or set, which Python would write with quotes."""
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FormattedValue):
            continue
        value = node.value
        called = isinstance(value, ast.Call) and getattr(value.func, "id", "") in _COLLECTIONS
        literal = isinstance(value, ast.List | ast.Tuple | ast.Set | ast.ListComp)
        if called or literal:
            pytest.fail(f"line {value.lineno}: {ast.unparse(value)}")
