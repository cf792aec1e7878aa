from __future__ import annotations

import json

import numpy as np
import pytest

from npi_bids.cli.ec import main
from npi_bids.io.tables import read_matrix, write_series
from tests.conftest import var_run


@pytest.fixture
def tables(tmp_path, weights):
    paths = []
    for number in (1, 2):
        paths.append(str(tmp_path / f"run-{number}.tsv"))
        write_series(var_run(weights, 300, seed=number), tmp_path / f"run-{number}.tsv")
    return paths


def test_tables_become_a_map_with_names_and_a_verdict(tables, tmp_path, capsys):
    out = tmp_path / "new" / "ec.tsv"
    words = [*tables, "--tr", "2", "-o", str(out), "--surrogate", "var", "--measures", "fc"]
    assert main(words) == 0
    found = read_matrix(out)
    assert found.labels == ("A", "B", "C", "D")
    assert found.matrix[0, 1] > 0.3 > abs(found.matrix[1, 0])
    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert sidecar["Verdict"] in ("pass", "caution", "fail")
    assert sidecar["Training"]["Surrogate"] == "var"
    printed = capsys.readouterr().out
    assert f"Verdict: {sidecar['Verdict']}" in printed
    assert "The surrogate is a VAR of 1 lag, fitted by ridge regression." in printed
    assert sidecar["Training"]["Passband"] == "n/a"
    fc = read_matrix(out.with_name("ec_pearsoncorrelation.tsv")).matrix
    np.testing.assert_allclose(fc, fc.T)


def test_all_wrong_options_are_named(tables, tmp_path, capsys):
    words = [*tables, "--tr", "0", "-o", str(tmp_path / "ec.csv"), "--strength", "-1"]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "--tr must be above 0" in err
    assert "must end in .tsv" in err
    assert "--strength must be above 0" in err
    assert not list(tmp_path.glob("ec*"))


@pytest.mark.parametrize("tr", ["2000", "100", "nan", "-1"])
def test_a_sampling_period_in_milliseconds_is_refused(tables, tmp_path, capsys, tr):
    assert main([*tables, "--tr", tr, "-o", str(tmp_path / "ec.tsv")]) == 2
    err = capsys.readouterr().err
    assert "npi-ec: --tr must be " in err
    assert ("in seconds, not milliseconds" in err) == (tr in ("2000", "100"))
    assert not list(tmp_path.glob("ec*"))


def test_tables_are_matched_by_name(tables, tmp_path):
    words = ["--tr", "2", "--surrogate", "var"]
    assert main([*tables, *words, "-o", str(tmp_path / "before.tsv")]) == 0
    rows = [line.split("\t") for line in (tmp_path / "run-2.tsv").read_text().splitlines()]
    text = "\n".join("\t".join(row[place] for place in (3, 1, 0, 2)) for row in rows) + "\n"
    (tmp_path / "run-2.tsv").write_text(text)
    assert main([*tables, *words, "-o", str(tmp_path / "after.tsv")]) == 0
    before, after = (read_matrix(tmp_path / f"{name}.tsv") for name in ("before", "after"))
    assert after.labels == before.labels
    np.testing.assert_array_equal(after.matrix, before.matrix)


def test_tables_that_do_not_belong_together_are_refused(tables, tmp_path, capsys):
    text = (tmp_path / "run-2.tsv").read_text().replace("A\tB", "Q\tB", 1)
    (tmp_path / "run-2.tsv").write_text(text)
    assert main([*tables, "--tr", "2", "-o", str(tmp_path / "ec.tsv")]) == 3
    assert "run-2.tsv> has other regions than the first table: A, Q" in capsys.readouterr().err
    assert main([str(tmp_path / "none.tsv"), "--tr", "2", "-o", str(tmp_path / "ec.tsv")]) == 3
    assert "none.tsv" in capsys.readouterr().err
