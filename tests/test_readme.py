"""What the README shows is true."""

import re
from pathlib import Path

import numpy as np
import pytest

from npi_bids.cli import cluster, ec, export, infer, perturb, simulate, validate, view
from npi_bids.cli.parser import build_parser
from npi_bids.io.files import write_json
from npi_bids.io.tables import read_matrix, write_series
from tests.conftest import var_run

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_workflow_example_runs(tmp_path, monkeypatch, weights):
    _, code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        write_series(var_run(weights, 400, seed=number), tmp_path / f"run-{number}_timeseries.tsv")
        write_json(tmp_path / f"run-{number}.json", {"tr": 2.0})
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 (our own example)
    found = read_matrix(next((tmp_path / "work").rglob("npi.tsv"))).matrix
    assert found[0, 1] > 0.3 > abs(found[1, 0])
    assert np.isfinite(found).all()


def test_a_few_lines_of_python_are_enough(weights, capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    code, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"series": var_run(weights, 400, seed=1).data}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 (our own example)
    assert names["result"].ec[0, 1] > 0.3 > abs(names["result"].ec[1, 0])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_every_flag_that_is_named_exists():
    parsers = (
        build_parser(),
        ec.build_parser(),
        export.build_parser(),
        perturb.build_parser(),
        view.build_parser(),
        infer.build_parser(),
        cluster.build_parser(),
        simulate.build_parser()[0],
        validate.build_power_parser()[0],
    )
    known = set().union(*(parser._option_string_actions for parser in parsers))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named - known <= set()


def test_public_builders_can_be_imported():
    from npi_bids import workflows

    for name in workflows.__all__:
        assert getattr(workflows, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = workflows.nothing
