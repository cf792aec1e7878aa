"""Group level: averages and tests over the subjects of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from npi_bids.analysis import GroupAnalysis
from npi_bids.bids.outputs import MEASURES
from npi_bids.bids.sidecars import GroupOrigin
from npi_bids.group.cohorts import Cohort, files_by_subject, paired_rows, subject_rows
from npi_bids.group.sessions import add_sessions, visit_rows
from npi_bids.group.subject_map_files import HALVES
from npi_bids.group.tested_measures import PROPORTIONAL, REVERSED, UNSHRUNK, pretrained_on
from npi_bids.interfaces.group import (
    AverageGroup,
    DescribeGroup,
    SaveGroups,
    ShrinkSubjects,
    TestGroup,
    TestParameters,
)

MAP = MEASURES[0]
PARAMETERS = "parameters"


def init_groups_wf(
    *,
    cohorts: list[Cohort],
    settings: GroupAnalysis,
    out_dir: Path,
    work_dir: Path,
    n_threads: int = 1,
    name: str = "group_wf",
) -> Any:
    """Build a workflow that analyses all groups of a dataset, and then saves them in one step.

    Workflow Graph
        One :func:`init_group_wf` per group -> files -> save_groups.

    Parameters
    ----------
    cohorts
        The groups, from :func:`npi_bids.group.cohorts.find_cohorts`.
    settings
        How to combine subjects, and what to test.
    out_dir
        Root of the output dataset.
    work_dir
        Folder for intermediate results.
    n_threads
        Number of threads of each test.
    name
        Name of the workflow.

    Inputs
    ------
    None; the groups name the files.

    Outputs
    -------
    None; everything is written into the output dataset once all groups are complete.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    files = pe.Node(niu.Merge(len(cohorts)), name="files", run_without_submitting=True)
    save_groups = pe.Node(SaveGroups(out_dir=str(out_dir)), name="save_groups", mem_gb=0.2)
    workflow.connect(files, "out", save_groups, "files")
    for number, cohort in enumerate(cohorts, start=1):
        matrices = {measure: _files(cohort, measure) for measure in (*MEASURES, PARAMETERS)}
        # The model FC of a surrogate that diverged is missing, and may leave too few subjects.
        averaged = [
            measure
            for measure in (*MEASURES[1:], PARAMETERS)
            if len(files_by_subject(matrices[measure])) >= settings.group.min_subjects
        ]
        group_wf = init_group_wf(
            cohort=cohort,
            measures=averaged,
            settings=settings,
            out_dir=out_dir,
            n_threads=n_threads,
            name=f"{cohort.name}_wf".replace("-", "_"),
        )
        inputs = group_wf.inputs.inputnode
        inputs.visits = visit_rows(cohort, out_dir, settings.model)
        inputs.rows = add_sessions(subject_rows(cohort, out_dir), inputs.visits)
        if settings.model.paired:
            inputs.visits = paired_rows(cohort, settings.model.paired)
        for measure in (MAP, *averaged):
            setattr(inputs, measure, [str(path) for path in matrices[measure]])
        for measure in _tested_measures(cohort, len(matrices[MAP])):
            setattr(inputs, measure, [str(path) for path in _files(cohort, measure)])
        for measure in HALVES if settings.group.subject_maps == "blup" else ():
            setattr(inputs, measure, [str(path) for path in _files(cohort, measure)])
        workflow.connect(group_wf, "outputnode.files", files, f"in{number}")
    return workflow


def init_group_wf(
    *,
    cohort: Cohort,
    settings: GroupAnalysis,
    out_dir: Path,
    measures: Sequence[str] = (),
    n_threads: int = 1,
    name: str = "group_wf",
) -> Any:
    """Build a workflow that describes one group, averages its measures, and tests its maps.

    Workflow Graph
        describe -> test (if a model is requested) and shrink (if maps of subjects are), and in
        parallel one node per additional measure, and test_parameters (if there are any); all of
        them -> files.

    Parameters
    ----------
    cohort
        The group, for the names of its files and the content of their sidecars.
    settings
        How to combine subjects, and what to test.
    out_dir
        Root of the dataset with the subjects' files and the table of the regions; nothing is
        written into it.
    measures
        Measures to average in addition to the map; ``parameters`` stands for those of a
        whole-brain model, which are averaged and tested with their uncertainty.
    n_threads
        Number of threads of the test.
    name
        Name of the workflow.

    Inputs
    ------
    npi
        Maps (``relmat.tsv``) of all subjects; the file names identify subject and session.
    npiunshrunk, npireversed
        Maps without prior of all subjects, forwards and in reversed time. If they are set, tests
        read them instead of the maps.
    npiproportional
        Maps with a prior in proportion to their windows, of all subjects. If they are set, tests
        of differences between subjects or sessions read them instead.
    npifirsthalf, npisecondhalf
        Maps without prior of the halves of scans; only if maps of subjects are requested.
    parameters
        Tables of the parameters of a whole-brain model; only if there are any.
    rows
        One row of variables per subject, in the order of their labels, from
        :func:`npi_bids.group.cohorts.subject_rows`.
    visits
        For a model over sessions, one row of variables per visit, from
        :func:`npi_bids.group.sessions.visit_rows`; for paired tests, from
        :func:`npi_bids.group.cohorts.paired_rows`; empty otherwise.
    jacobian, pearsoncorrelation, ...
        Files of each additional measure, one field for each of ``measures``.

    Outputs
    -------
    files
        Tables and matrices of the group with their sidecars, in a folder ``results`` with the
        structure of a dataset.
    """
    workflow = pe.Workflow(name=name)
    shrinks = settings.group.subject_maps == "blup"
    halves = HALVES if shrinks else ()
    fields = [MAP, UNSHRUNK, REVERSED, PROPORTIONAL, *halves, "rows", "visits", *measures]
    inputnode = pe.Node(niu.IdentityInterface(fields), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(["files"]), name="outputnode")
    describe = pe.Node(DescribeGroup(), name="describe", mem_gb=1.5)
    describe.inputs.settings = asdict(settings.group)
    nodes = {MAP: describe}
    for measure in measures:
        nodes[measure] = _init_measure_node(measure, settings)
    n_steps = len(nodes) + shrinks + bool(settings.model.effective_formula)
    files = pe.Node(niu.Merge(n_steps), name="files", run_without_submitting=True)
    for number, (measure, node) in enumerate(nodes.items(), start=1):
        workflow.connect([
            (inputnode, node, [(measure, "matrices")]),
            (node, files, [("files", f"in{number}")]),
        ])  # fmt: skip
    workflow.connect([
        (inputnode, describe, [
            ("rows", "rows"), (UNSHRUNK, "unshrunk"), (REVERSED, "reversed"),
        ]),
    ])  # fmt: skip
    if PARAMETERS in measures:
        workflow.connect(inputnode, "rows", nodes[PARAMETERS], "rows")
    if shrinks:
        nodes["shrink"] = shrink = pe.Node(ShrinkSubjects(), name="shrink", mem_gb=0.5)
        workflow.connect([
            (inputnode, shrink, [
                (MAP, "matrices"), (UNSHRUNK, "unshrunk"), ("rows", "rows"),
                (HALVES[0], "first_halves"), (HALVES[1], "second_halves"),
            ]),
            (describe, shrink, [("maps", "maps")]),
            (shrink, files, [("files", f"in{len(nodes)}")]),
        ])  # fmt: skip
    if settings.model.effective_formula:
        nodes["test"] = test = _init_test_node(settings, n_threads)
        workflow.connect([
            (inputnode, test, [
                (MAP, "matrices"), (UNSHRUNK, "unshrunk"), (PROPORTIONAL, "proportional"),
                ("rows", "rows"), ("visits", "visits"),
            ]),
            (test, files, [("files", f"in{n_steps}")]),
        ])  # fmt: skip
        if not settings.model.paired:
            workflow.connect(describe, "maps", test, "maps")
    for node in nodes.values():
        _set_target(node, cohort, out_dir, settings)
    workflow.connect(files, "out", outputnode, "files")
    return workflow


def _files(cohort: Cohort, output_name: str) -> list[Path]:
    """Return the files of one output of all subjects that have it."""
    paths = (model.path(output_name) for models in cohort.subjects.values() for model in models)
    return [path for path in paths if path.is_file()]


def _tested_measures(cohort: Cohort, n_maps: int) -> tuple[str, ...]:
    """Return the measures with a fixed prior that every map of a group has."""

    def exist(*measures: str) -> tuple[str, ...]:
        complete = all(len(_files(cohort, measure)) == n_maps for measure in measures)
        return measures if complete else ()

    return exist(UNSHRUNK, REVERSED) + exist(PROPORTIONAL)


def _init_measure_node(measure: str, settings: GroupAnalysis) -> Any:
    if measure == PARAMETERS:
        model = asdict(settings.model)
        return pe.Node(TestParameters(model=model), name="test_parameters", mem_gb=0.5)
    average = pe.Node(AverageGroup(measure=measure), name=measure, mem_gb=0.5)
    average.inputs.settings = asdict(settings.group)
    return average


def _init_test_node(settings: GroupAnalysis, n_threads: int) -> Any:
    test = pe.Node(TestGroup(n_threads=n_threads), name="test", mem_gb=1.5, n_procs=n_threads)
    test.inputs.model, test.inputs.permute = asdict(settings.model), asdict(settings.permute)
    test.inputs.network_table = settings.group.network_table
    return test


def _set_target(node: Any, cohort: Cohort, out_dir: Path, settings: GroupAnalysis) -> None:
    """Set the names of the files that a node writes, and their origin for the sidecars."""
    node.inputs.out_dir = str(out_dir)
    node.inputs.entities, node.inputs.desc = cohort.entities, cohort.desc
    sidecars = [model.sidecar for models in cohort.subjects.values() for model in models]
    first = sidecars[0]
    node.inputs.origin = GroupOrigin(
        links=first.links,
        repetition_time=first.fit.repetition_time,
        surrogate=first.fit.surrogate,
        pretrained_on=pretrained_on(sidecar.fit.pretrained for sidecar in sidecars),
        selection=settings.selection.sidecar_fields,
    ).to_json()
