"""What the README shows is true."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from npi_bids.cli import cluster, ec, export, infer, simulate, validate, view
from npi_bids.cli.parser import build_parser
from tests.conftest import var_run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_ONE_SCREEN = 60  # lines


def test_the_readme_fits_on_one_screen():
    assert len(README.splitlines()) <= _ONE_SCREEN


def test_a_few_lines_of_python_are_enough(weights, capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"series": var_run(weights, 400, seed=1).data}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 (our own example)
    assert names["result"].ec[0, 1] > 0.3 > abs(names["result"].ec[1, 0])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_every_flag_that_is_named_exists():
    parsers = (
        build_parser(),
        ec.build_parser(),
        export.build_parser(),
        cluster.build_parser(),
        view.build_parser(),
        infer.build_parser(),
        cluster.build_parser(),
        simulate.build_parser()[0],
        validate.build_power_parser()[0],
    )
    known = set().union(*(parser._option_string_actions for parser in parsers))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named - known <= set()


def test_every_command_of_the_readme_is_accepted():
    """Commands that name an option of another command, or leave out a required one, would end."""
    parsers = {
        "npi-bids": build_parser(),
        "npi-ec": ec.build_parser(),
        "npi-bids-slurm": cluster.build_parser(),
        "npi-validate power": validate.build_power_parser()[0],
    }
    blocks = "".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
    lines = re.findall(r"^(npi-.*)$", blocks, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        name = max((name for name in parsers if line.startswith(name + " ")), key=len)
        arguments = line.partition("#")[0].removeprefix(name).replace("'", "").split()
        if "--model" in arguments:  # quoted: one argument
            start = arguments.index("--model")
            arguments[start + 1 :] = [" ".join(arguments[start + 1 :])]
        parsers[name].read(arguments)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_file_that_is_linked_exists(link):
    assert (ROOT / link).is_file()


def test_the_accuracy_that_is_stated_is_that_of_the_benchmark():
    rows = json.loads((ROOT / "docs" / "data" / "released.json").read_text())["rows"]
    columns = dict(zip(("400", "800", "1600", "3200", "8000"), range(5), strict=True))
    default, published = rows["`hybrid`, the default"], rows["`--preset luo2025`, `mlp`"]
    stated = re.search(
        r"is (\.\d+) for the default and\s+(\.\d+) for the published network at 8000 samples, "
        r"(\.\d+) and (\.\d+) at 400", README,
    )  # fmt: skip
    assert stated
    expected = [cells[columns[n]] for n in ("8000", "400") for cells in (default, published)]
    np.testing.assert_allclose([float(number) for number in stated.groups()], expected, atol=5e-4)


def test_public_builders_can_be_imported():
    from npi_bids import workflows

    for name in workflows.__all__:
        assert getattr(workflows, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = workflows.nothing
