"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import npi_bids

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(npi_bids.__path__, "npi_bids.")
    if "__main__" not in module.name
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    extra = {"np": importlib.import_module("numpy")} if hasattr(module, "np") else {}
    assert doctest.testmod(module, extraglobs=extra).failed == 0
