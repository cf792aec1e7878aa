from dataclasses import replace

from nipype.interfaces.base import isdefined

from npi_bids.analysis import AnalysisSettings, PreparedAtlas, Task
from npi_bids.bids.layout import QuerySettings, find_datasets, find_runs
from npi_bids.bids.runs import CombineSettings, group_runs
from npi_bids.bids.sidecars import KindDecision
from npi_bids.cli.participant import make_batches
from npi_bids.parcellation.parcellation import save_parcellation
from npi_bids.surrogates.choices import FitChoices, imposing_settings
from npi_bids.surrogates.settings import PriorSettings
from npi_bids.workflows.participant import init_participant_wf
from tests.conftest import tiny_parcellation


def tasks(tiny, tmp_path):
    save_parcellation(tiny_parcellation(), tmp_path / "atlas")
    runs = find_runs(find_datasets(tiny.root, {}), QuerySettings(participant_label=("01", "02")))
    atlas = PreparedAtlas({"atlas": "Tiny"}, tmp_path / "atlas", "atlas.tsv", 4)
    return [Task(unit, atlas, "simple") for unit in group_runs(runs, CombineSettings())]


def test_graph_has_a_branch_per_run_and_none_between_subjects(tiny, tmp_path):
    workflow = init_participant_wf(
        tasks=tasks(tiny, tmp_path),
        settings=AnalysisSettings(),
        out_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )
    graph = workflow._create_flat_graph()
    names = [node.name for node in graph.nodes]
    assert names.count("parcellate") == 4
    for step in ("train_surrogate", "perturb_surrogate", "assess_connectivity", "save_model"):
        assert names.count(step) == 2
    for one, other in graph.edges:
        assert str(one.fullname).split(".")[1] == str(other.fullname).split(".")[1]


def test_a_subject_of_one_run_takes_six_nodes(tiny, tmp_path):
    """Each node costs the scheduler 10 ms, which counts with a thousand subjects."""
    workflow = init_participant_wf(
        tasks=[replace(task, unit=replace(task.unit, runs=task.unit.runs[:1]))
               for task in tasks(tiny, tmp_path)[:1]],
        settings=AnalysisSettings(),
        out_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )  # fmt: skip
    names = [node.name for node in workflow._create_flat_graph().nodes]
    assert sorted(name for name in names if not name.endswith("putnode")) == [
        *("assess_connectivity", "parcellate", "perturb_surrogate", "save_model"),
        *("save_run_1", "train_surrogate"),
    ]


def test_a_kind_without_delays_is_fitted_without_the_map_of_delays(tiny, tmp_path):
    path = tmp_path / "delays.tsv"
    path.write_text("name\tdelay\n")
    decisions = [
        KindDecision(
            decided_by="dataset",
            kind="",
            own_kind="",
            subjects_of_kind={},
            own_choices=FitChoices("process"),
            settings=imposing_settings(choices),
        )
        for choices in (FitChoices("process", delays=True), FitChoices("process", gain=True))
    ]
    workflow = init_participant_wf(
        tasks=[
            replace(task, kind=kind)
            for task, kind in zip(tasks(tiny, tmp_path), decisions, strict=True)
        ],
        settings=AnalysisSettings(prior=PriorSettings(delay_map=str(path))),
        out_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )
    maps = {
        (node.inputs.train["delays"], isdefined(node.inputs.delay_map))
        for node in workflow._create_flat_graph().nodes
        if node.name == "train_surrogate"
    }
    assert maps == {("on", True), ("possible", False)}


def test_a_run_that_two_atlases_need_is_read_by_one_node(tiny, tmp_path):
    first = tasks(tiny, tmp_path)
    second = [replace(task, atlas=replace(task.atlas, entities={"atlas": "B"})) for task in first]
    workflow = init_participant_wf(
        tasks=[*first, *second],
        settings=AnalysisSettings(),
        out_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
    )
    graph = workflow._create_flat_graph()
    names = [node.name for node in graph.nodes]
    assert "parcellate" not in names
    assert names.count("denoise_1") == names.count("denoise_2") == 4
    readers = [node for node in graph.nodes if node.name.startswith("extract_")]
    assert {node.name for node in readers} == {
        name for task in first for name in task.extract_names
    }
    for reader in readers:
        assert len(reader.inputs.atlases) == graph.out_degree(reader) == 2


def test_models_that_share_runs_stay_in_one_batch(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("npi_bids.cli.participant.BATCH_SIZE", 3)
    first = tasks(tiny, tmp_path)
    second = [replace(task, atlas=replace(task.atlas, entities={"atlas": "B"})) for task in first]
    batches = make_batches([*first, *second])
    assert [[task.unit for task in batch] for batch in batches] == [
        [first[0].unit] * 2, [first[1].unit] * 2
    ]  # fmt: skip
    assert make_batches([]) == [[]]
