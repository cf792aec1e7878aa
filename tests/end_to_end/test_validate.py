import json
import re
import shutil

import numpy as np
import pytest

from npi_bids.bids.derivatives import find_models
from npi_bids.cli.validate import main
from npi_bids.io.tables import read_table, write_matrix, write_rows
from npi_bids.records import ECResult
from npi_bids.validate.power import needed_minutes

LABELS = tuple("ABCDEF")


@pytest.fixture
def truth(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((6, 6))
    np.fill_diagonal(matrix, 0)
    write_matrix(ECResult(matrix, LABELS), tmp_path / "truth.tsv")
    return matrix


def compare(tmp_path, matrix, labels=LABELS):
    write_matrix(ECResult(matrix, labels), tmp_path / "map.tsv")
    out = tmp_path / "v"
    code = main([str(tmp_path / "map.tsv"), str(tmp_path / "truth.tsv"), "-o", str(out)])
    if code:
        return code, []
    return code, json.loads((out / "validation.json").read_text())["Maps"]


def test_regions_are_matched_by_name_in_any_order(tmp_path, truth):
    order = [3, 1, 5, 0, 2, 4]
    code, found = compare(tmp_path, truth[np.ix_(order, order)], tuple(LABELS[k] for k in order))
    assert code == 0
    assert found[0]["r"] == pytest.approx(1)
    table = read_table(tmp_path / "v" / "validation.tsv")
    assert table["direction"][0] == 1
    page = (tmp_path / "v" / "validation.html").read_text()
    assert "<svg" in page
    assert "1.000" in page


def test_a_transposed_map_is_seen(tmp_path, truth, capsys):
    _, found = compare(tmp_path, truth.T)
    assert found[0]["r_transposed"] == pytest.approx(1)
    assert found[0]["r_antisymmetric"] == pytest.approx(-1)
    assert found[0]["direction"] == 0
    printed = capsys.readouterr().out
    assert "0.000" in printed
    assert (
        max(map(len, printed.splitlines()[:2])) <= 80
    )  # columns of which no map has a value are left out
    assert printed.splitlines()[0].split()[:2] == ["map", "r"]


def test_regions_may_be_missing_but_not_unknown(tmp_path, truth, capsys):
    inside = np.ix_(range(5), range(5))
    code, found = compare(tmp_path, truth[inside], LABELS[:5])
    assert code == 0
    assert found[0]["n_entries"] == 20
    code, _ = compare(tmp_path, truth, (*LABELS[:5], "Z"))
    assert code == 3
    assert "1 region that the truth lacks (Z)" in capsys.readouterr().err


def test_results_of_the_app_are_found_with_their_intervals_and_verdicts(results, tiny, tmp_path):
    labels = tuple("ABCD")
    write_matrix(ECResult(tiny.weights, labels), tmp_path / "truth.tsv")
    (tmp_path / "truth.json").write_text(
        json.dumps({"Units": "standard deviations of the target per ..."})
    )
    code = main([str(results), str(tmp_path / "truth.tsv"), "-o", str(tmp_path / "v")])
    assert code == 3  # the fifth region of the atlas has no truth
    five = np.zeros((5, 5))
    five[:4, :4] = tiny.weights
    write_matrix(ECResult(five, (*labels, "E")), tmp_path / "truth.tsv")
    assert main([str(results), str(tmp_path / "truth.tsv"), "-o", str(tmp_path / "v")]) == 0
    rows = json.loads((tmp_path / "v" / "validation.json").read_text())["Maps"]
    assert [row["kind"] for row in rows] == ["subject"] * 3 + ["group"]
    for row in rows[:3]:
        assert row["verdict"] in ("pass", "caution", "fail")
        assert 0 <= row["intervals_hold"] <= 1
        assert 0 <= row["false_positives"] <= 1
    assert rows[3]["r"] > 0.8


def with_delays(results, folder):
    """Copy the results, give the first model a table of delays, and take all others away."""
    copy = folder / "copy"
    shutil.copytree(results, copy)
    for path in copy.rglob("*Delays_dseg.tsv"):
        path.unlink()
    labels = tuple("ABCDE")
    delays = [0.5, -0.2, 1.1, -0.9, float("nan")]
    model = next(iter(find_models(copy)))
    rows = zip(labels, delays, strict=True)
    write_rows([{"name": name, "delay": delay} for name, delay in rows], model.path("delays"))
    write_matrix(ECResult(np.arange(25.0).reshape(5, 5), labels), folder / "desc-truth_relmat.tsv")
    return copy, dict(zip(labels, delays, strict=True))


@pytest.mark.parametrize(("sign", "r"), [(1, 1), (-1, -1)])
def test_delays_are_compared_with_the_truth_beside_the_true_map(
    results, tmp_path, capsys, sign, r
):
    copy, delays = with_delays(results, tmp_path)
    rows = [{"name": name, "delay": 2 + sign * delays[name]} for name in "DBCA"]
    write_rows(rows, tmp_path / "desc-truthDelays_dseg.tsv")
    out = tmp_path / "v"
    assert main([str(copy), str(tmp_path / "desc-truth_relmat.tsv"), "-o", str(out)]) == 0
    first, *others = json.loads((out / "validation.json").read_text())["Maps"]
    assert first["n_delays"] == 4
    assert first["delay_r"] == pytest.approx(r)
    assert (first["delay_rmse"] < 1e-9) == (sign == 1)
    for row in others:
        assert (row["delay_r"], row["delay_rmse"], row["n_delays"]) == (None, None, 0)
    table = read_table(out / "validation.tsv")
    assert table["delay_r"].notna().tolist() == [True, False, False, False]
    printed = capsys.readouterr().out
    assert "delay RMSE" in " ".join(printed.split())
    assert f"{r:.3f}" in printed
    assert f"<td>{r:.3f}" in (out / "validation.html").read_text().replace(" ", "")


def test_without_true_delays_there_is_no_score_of_them(results, tmp_path):
    copy, _ = with_delays(results, tmp_path)
    truth = tmp_path / "desc-truth_relmat.tsv"
    assert main([str(copy), str(truth), "-o", str(tmp_path / "v")]) == 0
    rows = json.loads((tmp_path / "v" / "validation.json").read_text())["Maps"]
    assert all(row["delay_r"] is None and row["n_delays"] == 0 for row in rows)


def test_a_table_of_delays_without_its_column_is_named(results, tmp_path, capsys):
    copy, _ = with_delays(results, tmp_path)
    write_rows([{"name": "A", "lag": 1.0}], tmp_path / "desc-truthDelays_dseg.tsv")
    assert main([str(copy), str(tmp_path / "desc-truth_relmat.tsv")]) == 3
    assert "lacks the column delay" in capsys.readouterr().err


def test_paths_that_lead_nowhere_are_named(tmp_path, truth, capsys):
    assert main([str(tmp_path), str(tmp_path / "nothing.tsv")]) == 3
    assert "no truth at" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "truth.tsv")]) == 3
    assert "no results at" in capsys.readouterr().err
    assert main([str(tmp_path), str(tmp_path / "truth.tsv")]) == 3
    assert "holds no map" in capsys.readouterr().err


def power(tmp_path, *words):
    return main(["power", "--n-regions", "6", "--minutes", "3", "9", "--n-subjects", "2",
                 "--methods", "var", "fc", "-o", str(tmp_path), *words])  # fmt: skip


def test_power_grows_with_minutes_and_is_read_from_the_cache(tmp_path, capsys):
    assert power(tmp_path / "one") == 0
    first = capsys.readouterr().out
    facts = json.loads((tmp_path / "one" / "power.json").read_text())
    r = {(row["method"], row["minutes"]): row["r"] for row in facts["Summaries"]}
    assert r["var", 9.0] > r["var", 3.0] > r["fc", 9.0]
    direction = {row["method"]: row["direction"] for row in facts["Summaries"]}
    assert direction["fc"] == 0.5
    assert direction["var"] > 0.8
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "one" / "cache").glob("*.npz")}
    assert len(kept) == 2
    assert power(tmp_path / "one") == 0
    assert capsys.readouterr().out == first
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    page = (tmp_path / "one" / "power.html").read_text()
    assert "minutes per subject" in page
    drawn = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert drawn.count("<svg") == 2


def test_power_is_lower_where_signals_are_recorded_behind_haemodynamics(tmp_path):
    r = {}
    for name, words in (("state", ()), ("bold", ("--hrf", "spm", "--hrf-delay-sd", "0.8"))):
        assert power(tmp_path / name, *words) == 0
        content = json.loads((tmp_path / name / "power.json").read_text())
        rows = {(row["method"], row["minutes"]): row["r"] for row in content["Summaries"]}
        r[name] = rows["var", 9.0]
    assert r["bold"] < r["state"] - 0.2
    page = (tmp_path / "bold" / "power.html").read_text()
    assert "hrf spm, hrf_delay_sd 0.8" in " ".join(page.split())


@pytest.mark.slow
def test_power_does_not_hang_on_the_number_of_processes(tmp_path):
    assert power(tmp_path / "one") == 0
    assert power(tmp_path / "two", "--n-procs", "2") == 0
    one, two = ((tmp_path / name / "power.tsv").read_bytes() for name in ("one", "two"))
    assert one == two


def test_power_takes_the_study_from_results(results, tmp_path):
    code = main(["power", "--like", str(results), "--minutes", "3", "--n-subjects", "1",
                 "--methods", "fc", "-o", str(tmp_path / "out")])  # fmt: skip
    assert code == 0
    facts = json.loads((tmp_path / "out" / "power.json").read_text())
    assert facts["System"]["n_regions"] == 4
    assert facts["Power"]["trs"] == [2.0]
    assert facts["Power"]["minutes"] == [3.0]


def test_too_few_samples_are_no_crash_and_wrong_options_are_named(tmp_path, capsys):
    assert main(["power", "--n-regions", "5", "--minutes", "0.05", "--n-subjects", "1",
                 "--methods", "var", "-o", str(tmp_path)]) == 0  # fmt: skip
    assert "too few samples" in (tmp_path / "power.tsv").read_text()
    assert power(tmp_path, "--wanted", "2", "--system", "brain") == 2
    err = capsys.readouterr().err
    assert "--wanted must be below 1" in err
    assert "--system must be one of rnn" in err


def test_needed_minutes_are_between_the_lengths_around():
    assert needed_minutes([5, 10], [0.5, 0.9], 0.3) == 5
    assert needed_minutes([5, 10], [0.5, 0.7], 0.9) == float("inf")
    assert 5 < needed_minutes([5, 10], [0.5, 0.9], 0.7) < 10
