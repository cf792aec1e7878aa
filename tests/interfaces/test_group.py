"""Groups: lists of files in, files below ``results`` out; the dataset changes in the last step."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from npi_bids.bids.derivatives import find_models, sibling
from npi_bids.bids.sidecars import ContrastSidecar
from npi_bids.connectivity.network_measures import compute_flow
from npi_bids.errors import InputDataError
from npi_bids.group.cohorts import files_by_subject
from npi_bids.group.map_stack import write_stack
from npi_bids.group.saving import remove_groups
from npi_bids.group.settings import GroupSettings, ModelSettings, PermuteSettings
from npi_bids.interfaces import group
from npi_bids.interfaces.group import AverageGroup, DescribeGroup, SaveGroups
from npi_bids.io.files import read_json
from npi_bids.io.tables import read_matrix, read_table, write_matrix
from npi_bids.records import ECResult
from tests.interfaces.conftest import group_inputs, group_rows

GROUP = asdict(GroupSettings(min_subjects=2))


def by_kind(outputs, ending="relmat.tsv"):
    paths = (Path(path) for path in outputs.files)
    found = {path.name.split("desc-simple")[1].removesuffix(f"_{ending}"): path
             for path in paths if path.name.endswith(ending)}  # fmt: skip
    assert all("results" in path.parts for path in found.values())
    return found


def test_the_mean_keeps_the_direction_and_names_its_sources(dataset, execute):
    before = sorted(dataset.rglob("*"))
    node = AverageGroup(measure="npi", settings=GROUP, **group_inputs(dataset))
    found = by_kind(execute(node))
    mean = read_matrix(found["Groupmean"]).matrix
    assert mean[0, 1] == pytest.approx(0.5)
    assert mean[1, 0] == 0
    assert mean[2, 0] == pytest.approx(-0.2)
    sidecar = read_json(found["Groupmean"].with_suffix(".json"))
    assert len(sidecar["Sources"]) == 3
    assert sidecar["Sources"][0].startswith("bids::sub-01/sub-01_ses-1")
    assert sorted(dataset.rglob("*")) == before  # nothing was written into the dataset


def test_two_files_of_a_subject_count_once(dataset, execute):
    inputs = group_inputs(dataset)
    inputs["matrices"] += [path.replace("ses-1", "ses-2") for path in inputs["matrices"][:1]]
    found = by_kind(execute(AverageGroup(measure="npi", settings=GROUP, **inputs)))
    assert read_matrix(found["Groupn"]).matrix[0, 1] == 3
    assert read_matrix(found["Groupmean"]).matrix[0, 1] == pytest.approx((0.25 + 0.4 + 0.9) / 3)


def test_a_name_without_a_subject_is_refused(dataset, execute, tmp_path):
    path = tmp_path / "map_relmat.tsv"
    path.write_text("source\tA\nA\t0\n")
    inputs = {**group_inputs(dataset), "matrices": [str(path)]}
    with pytest.raises(InputDataError, match="does not name its subject"):
        execute(AverageGroup(measure="npi", settings=GROUP, **inputs))


@pytest.fixture
def described(dataset, execute):
    node = DescribeGroup(settings=GROUP, rows=group_rows(), **group_inputs(dataset))
    return execute(node, "describe")


def test_a_description_has_matrices_and_tables_of_source_and_target(described):
    found = by_kind(described)
    assert read_matrix(found["Groupmean"]).matrix[0, 1] == pytest.approx(0.5)
    assert read_matrix(found["Groupt"]).matrix[1, 0] != read_matrix(found["Groupt"]).matrix[0, 1]
    edges = read_table(next(iter(by_kind(described, "edges.tsv").values())))
    row = edges[(edges["source"] == "A") & (edges["target"] == "B")]
    assert row["mean"].item() == pytest.approx(0.5)


def test_a_model_is_tested_on_the_array_of_maps(dataset, execute, described):
    model = asdict(ModelSettings(formula="age", motion_covariate=False))
    permute = asdict(PermuteSettings(n_permutations=0))
    node = group.TestGroup(maps=described.maps, rows=group_rows(), model=model, permute=permute,
                     **group_inputs(dataset))  # fmt: skip
    outputs = execute(node, "test")
    assert "age" in outputs.contrasts
    effect = read_matrix(by_kind(outputs)["TestAgeEffect"]).matrix
    assert effect[0, 1] == pytest.approx(np.polyfit([27, 34, 41], [0.2, 0.4, 0.9], 1)[0])
    assert effect[1, 0] == 0


@pytest.mark.parametrize(("formula", "factor"), [("age", 2.0), ("1", 1.0)])
def test_differences_are_tested_on_maps_with_a_proportional_prior_and_means_are_not(
    dataset, execute, described, formula, factor
):
    """Here those maps are twice the others."""
    inputs = group_inputs(dataset)
    proportional = []
    for path in map(Path, inputs["matrices"]):
        double = path.with_name(path.name.replace("meas-npi_", "meas-npiproportional_"))
        matrix = read_matrix(path)
        write_matrix(ECResult(2 * matrix.matrix, matrix.labels), double)
        proportional.append(str(double))
    model = asdict(ModelSettings(formula=formula, motion_covariate=False))
    permute = asdict(PermuteSettings(n_permutations=0))
    node = group.TestGroup(maps=described.maps, proportional=proportional, rows=group_rows(),
                     model=model, permute=permute, **inputs)  # fmt: skip
    found = by_kind(execute(node, "test"))
    label = "TestAge" if formula == "age" else "TestIntercept"
    values = np.array([0.2, 0.4, 0.9])
    expected = np.polyfit([27, 34, 41], values, 1)[0] if formula == "age" else values.mean()
    effect = read_matrix(found[f"{label}Effect"]).matrix
    assert effect[0, 1] == pytest.approx(factor * expected)
    assert effect[1, 0] == 0
    sidecar = read_json(found[f"{label}Effect"].with_suffix(".json"))
    measure = "npiproportional" if formula == "age" else "npi"
    assert sidecar["TestedMeasure"] == measure
    assert ("TestedAsTheyAre" in sidecar) == (formula == "1")


def test_pairs_are_the_second_session_less_the_first(dataset, execute):
    inputs = group_inputs(dataset, session="*")
    inputs["matrices"] = inputs["matrices"][:-1]  # the third subject has no second session
    model = asdict(ModelSettings(paired=("1", "2"), motion_covariate=False))
    permute = asdict(PermuteSettings(n_permutations=0))
    node = group.TestGroup(rows=group_rows(), model=model, permute=permute, **inputs)
    found = by_kind(execute(node))
    effect = read_matrix(found["TestInterceptEffect"]).matrix
    assert effect[0, 1] == pytest.approx((0.1 + 0.2) / 2)
    assert effect[1, 0] == 0
    # Net flow is that of the second session less that of the first, and not that of the change.
    regions = read_table(sibling(found["TestInterceptEffect"], "modeleffect", "regions"))
    flows = [
        [
            compute_flow(read_matrix(Path(path)).matrix).net_flow
            for path in inputs["matrices"][k::2]
        ]
        for k in (0, 1)
    ]
    of_flow = regions[regions["figure"] == "net_flow"]
    change = np.mean(flows[1], axis=0) - np.mean(flows[0][: len(flows[1])], axis=0)
    np.testing.assert_allclose(of_flow["effect"], change, atol=1e-9)


def test_visits_are_compared_within_the_subjects_that_have_them(dataset, execute):
    inputs = group_inputs(dataset, session="*")
    inputs["matrices"] = inputs["matrices"][:-1]  # the third subject has no second session
    visits = [
        {**row, "session": session, "n_windows": 100}
        for row in group_rows()
        for session in ("1", "2")
    ][:-1]
    model = asdict(ModelSettings(formula="session", motion_covariate=False))
    permute = asdict(PermuteSettings(n_permutations=19))
    node = group.TestGroup(
        rows=group_rows(), visits=visits, model=model, permute=permute, **inputs
    )
    outputs = execute(node)
    path = by_kind(outputs)["TestSession2Effect"]
    effect = read_matrix(path).matrix
    assert effect[0, 1] == pytest.approx((0.1 + 0.2) / 2)
    assert effect[1, 0] == 0
    test = ContrastSidecar.read(path.with_suffix(".json")).test
    assert not test.length_caution
    assert (test.error_term, test.number_of_visits) == ("within subjects", 4)
    assert list(test.left_out.values()) == [
        "one session only (1), which says nothing within the subject"
    ]


@pytest.mark.parametrize(("lengths", "correlation"), [((300, 150), 1.0), ((300, 299), None)])
def test_sessions_of_different_length_carry_a_caution(dataset, execute, lengths, correlation):
    inputs = group_inputs(dataset, session="*")
    visits = [
        {**row, "session": session, "n_windows": n_windows}
        for row in group_rows()
        for session, n_windows in zip(("1", "2"), lengths, strict=True)
    ]
    model = asdict(ModelSettings(formula="session", motion_covariate=False))
    permute = asdict(PermuteSettings(n_permutations=0))
    node = group.TestGroup(
        rows=group_rows(), visits=visits, model=model, permute=permute, **inputs
    )
    path = by_kind(execute(node))["TestSession2Effect"]
    test = ContrastSidecar.read(path.with_suffix(".json")).test
    assert test.correlation_with_windows == (correlation and pytest.approx(correlation))
    assert bool(test.length_caution) == bool(correlation)


@pytest.mark.parametrize(
    ("lengths", "kinds", "cautions"),
    [((300, 150), ("process", "process"), (True, False)),
     ((300, 299), ("process", "VAR"), (False, True)),
     ((300, 300), ("process", "process"), (False, False))],
)  # fmt: skip
def test_pairs_that_differ_in_length_or_kind_carry_a_caution(
    dataset, execute, lengths, kinds, cautions
):
    inputs = group_inputs(dataset, session="*")
    visits = [
        {**row, "session": session, "n_windows": n_windows, "kind": kind}
        for row in group_rows()
        for session, n_windows, kind in zip(("1", "2"), lengths, kinds, strict=True)
    ]
    model = asdict(ModelSettings(paired=("1", "2"), motion_covariate=False))
    permute = asdict(PermuteSettings(n_permutations=0))
    node = group.TestGroup(
        rows=group_rows(), visits=visits, model=model, permute=permute, **inputs
    )
    path = by_kind(execute(node))["TestInterceptEffect"]
    test = ContrastSidecar.read(path.with_suffix(".json")).test
    assert test.title == "mean change from session 1 to session 2"
    assert bool(test.length_caution) == cautions[0]
    # Of two or three subjects no change of all is beyond chance, but it is measured.
    assert (test.kind_association is not None) == cautions[1]


def write_maps_of_halves(dataset):
    """Write maps without prior of six subjects, and of halves; A drives B, each by its own."""
    rng = np.random.default_rng(5)
    for number in range(1, 7):
        true = np.zeros((3, 3))
        true[0, 1] = 0.2 * number
        folder = dataset / f"sub-0{number}"
        folder.mkdir(exist_ok=True)
        halves = [true + 0.02 * rng.standard_normal((3, 3)) for _ in range(2)]
        for measure, matrix in (
            ("npiunshrunk", np.mean(halves, axis=0)),
            ("npifirsthalf", halves[0]),
            ("npisecondhalf", halves[1]),
        ):
            name = f"sub-0{number}_task-rest_meas-{measure}_desc-simple_relmat.tsv"
            write_matrix(ECResult(matrix, tuple("ABC")), folder / name)
    return {
        measure: sorted(map(str, dataset.glob(f"sub-*/*_meas-{measure}_*.tsv")))
        for measure in ("npiunshrunk", "npifirsthalf", "npisecondhalf")
    }


def shrink_subjects(dataset, execute, files, **halves):
    rows = [{"participant_id": f"sub-0{n}", "n_windows": 100.0 * n} for n in range(1, 7)]
    write_stack(files_by_subject(map(Path, files["npiunshrunk"])), dataset.parent / "maps")
    inputs = {**group_inputs(dataset), "matrices": files["npiunshrunk"]}
    node = group.ShrinkSubjects(
        unshrunk=files["npiunshrunk"], maps=str(dataset.parent / "maps"), rows=rows, **halves,
        **inputs,
    )  # fmt: skip
    written = execute(node, "shrink").files
    return [Path(path) for path in written] if isdefined(written) else []


def test_maps_of_subjects_are_between_their_own_and_that_of_the_group(dataset, execute):
    files = write_maps_of_halves(dataset)
    halves = {"first_halves": files["npifirsthalf"], "second_halves": files["npisecondhalf"]}
    written = shrink_subjects(dataset, execute, files, **halves)
    maps = [path for path in written if path.name.endswith("meas-npiblup_desc-simple_relmat.tsv")]
    assert [path.parts[-3:-1] for path in maps] == [(f"sub-0{n}", "func") for n in range(1, 7)]
    entries = [read_matrix(path).matrix[0, 1] for path in maps]
    own = [read_matrix(Path(path)).matrix for path in files["npiunshrunk"]]
    assert own[0][0, 1] < entries[0] < entries[5] < own[5][0, 1]
    assert abs(read_matrix(maps[0]).matrix[1, 0]) < 0.1
    sidecars = [read_json(path.with_suffix(".json")) for path in maps]
    assert 0.5 < sidecars[0]["OwnShare"] < sidecars[5]["OwnShare"] < 1  # the longest scan
    assert sidecars[3]["VarianceFrom"] == "halves of scans"
    assert sidecars[3]["Sources"][0].startswith("bids::sub-04/")
    assert len(sidecars[3]["Sources"]) == 18
    assert "not to be tested" in sidecars[3]["Note"]
    shares = read_table(next(path for path in written if path.name.endswith("_shrinkage.tsv")))
    assert shares["own_share"].tolist() == pytest.approx([one["OwnShare"] for one in sidecars])


def test_no_maps_of_subjects_are_written_without_halves_or_visits(dataset, execute, caplog):
    assert shrink_subjects(dataset, execute, write_maps_of_halves(dataset)) == []
    assert "fewer than 3 subjects have maps of both halves" in caplog.text


def test_no_maps_of_subjects_are_written_where_halves_share_no_regions(dataset, execute, caplog):
    files = write_maps_of_halves(dataset)
    for path in files["npisecondhalf"]:
        write_matrix(ECResult(np.full((3, 3), np.nan), tuple("ABC")), Path(path))
    halves = {"first_halves": files["npifirsthalf"], "second_halves": files["npisecondhalf"]}
    assert shrink_subjects(dataset, execute, files, **halves) == []
    assert "no two subjects have both maps of the same pair of regions" in caplog.text


def test_saved_maps_of_subjects_are_no_models_and_are_replaced(dataset, execute):
    files = write_maps_of_halves(dataset)
    halves = {"first_halves": files["npifirsthalf"], "second_halves": files["npisecondhalf"]}
    written = shrink_subjects(dataset, execute, files, **halves)
    execute(SaveGroups(files=list(map(str, written)), out_dir=str(dataset)), "save")
    assert len(list(dataset.glob("sub-*/func/*_meas-npiblup_*.tsv"))) == 6
    assert list(find_models(dataset)) == []
    remaining = [str(path) for path in written if "sub-06" not in path.name]
    execute(SaveGroups(files=remaining, out_dir=str(dataset)), "again")
    assert len(list(dataset.glob("sub-*/func/*_meas-npiblup_*"))) == 10
    remove_groups(dataset)
    assert not list(dataset.glob("sub-*/func/*_meas-npiblup_*"))
    assert len(list(dataset.glob("sub-*/*_meas-npiunshrunk_*"))) == 6


def test_saving_puts_files_under_their_names_in_the_dataset(dataset, execute, described):
    saved = execute(SaveGroups(files=described.files, out_dir=str(dataset)), "save").files
    assert len(saved) == len(described.files)
    assert list(dataset.glob("tpl-T/func/*Groupmean_relmat.tsv"))
    assert list(dataset.glob("derivatives/statistics/tpl-T/func/*_edges.tsv"))


def test_maps_of_a_group_are_not_hashed(tmp_path, monkeypatch):
    """Its nodes always run, and hashes of thousands of maps took longer than reading them."""
    path = tmp_path / "map.tsv"
    path.write_text("source\tA\nA\t0\n")
    paths = [str(path)]
    interface = DescribeGroup(matrices=paths, unshrunk=paths, reversed=paths)
    monkeypatch.setattr("npi_bids.interfaces.base._hash_content", lambda *_: pytest.fail("hashed"))
    interface.inputs.get_hashval(hash_method="content")
    assert interface.always_run
