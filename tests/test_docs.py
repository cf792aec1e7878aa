"""The documentation names what exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

API = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
NAMES = [
    *re.findall(r"auto(?:function|class):: (\S+)", API),
    *(
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"automodule:: (\S+)\n +:members:(.*)", API)
        for name in names.split(",")
        if name.strip()
    ),
]


def test_the_interface_documents_dozens_of_names():
    assert len(NAMES) > 100


@pytest.mark.parametrize("name", NAMES)
def test_a_documented_name_exists_and_says_what_it_is(name):
    module, attribute = name.rsplit(".", 1)
    assert getattr(importlib.import_module(module), attribute).__doc__
