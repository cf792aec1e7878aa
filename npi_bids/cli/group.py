"""The group level, which reads the output dataset alone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from npi_bids.bids.atlases import split_datasets
from npi_bids.bids.derivatives import find_models
from npi_bids.bids.layout import find_datasets, list_subjects
from npi_bids.bids.outputs import CLAIM, GROUP_TABLE, KINDS_FILE
from npi_bids.cli.dataset import added_columns, table_roots, update_descriptions
from npi_bids.cli.execution import choose_plugin, read_crashes, run_workflow
from npi_bids.cli.parser import Request
from npi_bids.errors import (
    ConfigurationError,
    NoUsableDataError,
    NPIError,
)
from npi_bids.group.cohorts import (
    RESULT_COLUMNS,
    SESSION,
    Cohort,
    find_cohorts,
    paired_models,
    participant_columns,
    subject_rows,
    tested_rows,
)
from npi_bids.group.design import MOTION, build_model, check_formula, formula_columns
from npi_bids.group.kinds import count_kinds, describe_mixture
from npi_bids.group.selection import (
    Membership,
    check_exclusions,
    read_exclusions,
    read_participants,
)
from npi_bids.group.sessions import (
    build_visit_model,
    check_options_of_visits,
    left_out_visits,
    session_columns,
    varies_over_visits,
    visit_rows,
)
from npi_bids.group.settings import ModelSettings
from npi_bids.io.claim import claim_dataset
from npi_bids.io.files import write_text
from npi_bids.io.tables import write_rows
from npi_bids.surrogates.choices import imposing_settings, most_frequent
from npi_bids.wording import count_noun, join_items
from npi_bids.workflows.group import init_groups_wf

_logger = logging.getLogger(__name__)


def check_model(request: Request) -> None:
    """Check the formula of a model and its columns before any subject is fitted.

    Columns are those of the ``participants.tsv`` that the output dataset will have.

    Raises
    ------
    SettingsError
        The list of exclusions cannot be used; the formula cannot be read or names a column that
        does not exist; or, where it needs no results, a contrast cannot be tested with the
        participants of the datasets.
    """
    exclusions = request.group.selection.exclude_file
    if not request.group.model.effective_formula and not exclusions:
        return
    query = request.query
    named, _ = split_datasets(query.datasets, request.bids_dir)
    datasets = find_datasets(request.bids_dir, named, query.input_type)
    present = {label for dataset in datasets for label in list_subjects(dataset.root)}
    if exclusions:
        check_exclusions(read_exclusions(Path(exclusions)), present, warn=False)
    if not request.group.model.effective_formula:
        return
    roots = [*table_roots(datasets, request.bids_dir), request.out_dir]
    people = _find_people(request, roots)
    columns = [*RESULT_COLUMNS, *participant_columns(next(iter(people.values()), {}))]
    of_sessions = [name for root in roots for name in session_columns(root, present, columns)]
    check_formula(request.group.model, [*columns, SESSION, *of_sessions])
    if varies_over_visits(request.group.model, of_sessions):
        check_options_of_visits(request.group.model)
    _check_contrasts(request, people, present)


def _find_people(request: Request, roots: Sequence[Path]) -> Mapping[str, Mapping[str, str]]:
    """Return the rows of the ``participants.tsv`` that the output dataset will have."""
    name = "participants.tsv"
    found = [root for root in roots if (root / name).is_file()]
    own = request.out_dir / name
    if own.is_file() and "participant" in request.levels and found[0] != request.out_dir:
        text = (found[0] / name).read_text(encoding="utf-8", errors="surrogateescape")
        is_replaced = not added_columns(own, text)
    else:
        is_replaced = not own.is_file()
    if not is_replaced:
        return read_participants(request.out_dir)
    return read_participants(found[0]) if found else {}


def _check_contrasts(
    request: Request, people: Mapping[str, Mapping[str, str]], present: Collection[str]
) -> None:
    """Build the design of the participants in the datasets, unless it needs results."""
    model = request.group.model
    requested = {label.removeprefix("sub-") for label in request.query.participant_label}
    labels = sorted(set(people) & set(present) & (requested or set(present)))
    rows = [{"participant_id": f"sub-{label}", **people[label]} for label in labels]
    groupings = (*model.paired, model.harmonize, model.exchange_within)
    tests_motion = any(MOTION in contrast for contrast in model.contrast)
    if (
        not rows
        or any(groupings)
        or tests_motion
        or not set(formula_columns(model)) <= set(rows[0])
    ):
        return
    with suppress(NoUsableDataError):  # the members of a group are known only with results
        build_model(rows, replace(model, motion_covariate=False))


def plan_group(request: Request) -> tuple[list[Cohort], list[Membership]]:
    """Return the groups and their members, and check that their models can be tested.

    Raises
    ------
    NPIError
        There are no results, too few subjects, results that must not be mixed, or a model that
        cannot be tested.
    """
    cohorts, members = find_cohorts(
        request.out_dir, request.group.selection, request.group.group.min_subjects
    )
    _warn_of_renamed_columns(request.out_dir)
    for cohort in cohorts if request.group.model.effective_formula else ():
        try:
            _check_design(cohort, request)
        except NPIError as error:
            if len(cohorts) == 1:
                raise
            raise type(error)(f"Group {cohort.name}: {error}") from error
    return cohorts, members


def _warn_of_renamed_columns(out_dir: Path) -> None:
    """Warn of columns of participants.tsv that have the name of a column of the results."""
    first = next(iter(read_participants(out_dir).values()), {})
    for name, column in participant_columns(first).items():
        if name != column:
            _logger.warning(
                "participants.tsv has a column %s, and so do the results; the former is called %s "
                "here",
                column, name,
            )  # fmt: skip


def _check_design(cohort: Cohort, request: Request) -> None:
    """Build the design of a group as its test will, and log it."""
    model = request.group.model
    visits = visit_rows(cohort, request.out_dir, model)
    if visits:
        _check_visit_model(cohort, visits, model)
        return
    rows = tested_rows(cohort, subject_rows(cohort, request.out_dir), model.paired)
    built = build_model(rows, model)
    _logger.info(
        "Model of %s: %s, over %d of %d subjects; columns: %s; tested: %s",
        cohort.name, built.formula, int(built.rows.sum()), len(rows),
        ", ".join(built.design.columns), ", ".join(c.name for c in built.design.contrasts),
    )  # fmt: skip
    for column in built.columns:
        _logger.info("Column %s", column)
    for row, reason in built.reasons.items():
        _logger.info("Left out of the test: %s, %s", rows[row]["participant_id"], reason)


def _check_visit_model(
    cohort: Cohort, rows: list[dict[str, object]], settings: ModelSettings
) -> None:
    """Build the tests of a model over sessions, and log them and who is left out of each."""
    model = build_visit_model(rows, settings)
    _logger.info(
        "Model of %s: %s, over %s of %s; within subjects vary %s",
        cohort.name, model.built.formula, count_noun(len(model.participants), "visit"),
        count_noun(len(model.subjects), "subject"), join_items(model.varying_names),
    )  # fmt: skip
    for visit, reason in left_out_visits(model, rows).items():
        _logger.info("Left out of the model: %s, %s", visit, reason)
    if mixed := model.mixed_names:
        _logger.warning(
            "%s: %s within subjects, and the mean differs between them. The effect is tested "
            "within subjects; the mean of a subject is a covariate of tests between subjects",
            join_items(mixed), "varies" if len(mixed) == 1 else "vary",
        )  # fmt: skip
    for contrast in model.built.design.contrasts:
        tested = model.test(contrast)
        _logger.info(
            "Test %s: %s, over %s of %s", contrast.name, tested.stratum,
            count_noun(tested.n_visits, "visit"), count_noun(len(tested.subjects), "subject"),
        )  # fmt: skip
        for subject, reason in tested.left_out.items():
            _logger.info("Left out of the test %s: %s, %s", contrast.name, subject, reason)


def describe_plan(request: Request) -> str:
    """Describe what the group level would do with the existing results.

    Raises
    ------
    NPIError
        As :func:`plan_group`.
    """
    cohorts, members = plan_group(request)
    left_out = sum(bool(member.reason) for member in members)
    groups, maps = count_noun(len(cohorts), "group"), count_noun(left_out, "map")
    lines = [f"{groups}; {maps} excluded:"]
    lines += [
        f"  {cohort.name} ({count_noun(len(cohort.subjects), 'subject')})" for cohort in cohorts
    ]
    model = request.group.model.effective_formula
    return "\n".join([*lines, f"Model '{model}' can be tested" if model else "No model to test"])


def run_group(request: Request, work_dir: Path, run_dir: Path) -> int:
    """Average all subjects and return the exit code.

    Raises
    ------
    NPIError
        As :func:`plan_group`, before anything is computed or removed.
    """
    cohorts, members = plan_group(request)
    _log_excluded(members)
    for cohort in cohorts:
        subjects = count_noun(len(cohort.subjects), "subject")
        _logger.info("Averaging %s: %s", subjects, cohort.name)
        if mixture := describe_mixture(count_kinds(subject_rows(cohort, request.out_dir))):
            _logger.warning("%s: %s", cohort.name, mixture)
    for cohort in cohorts if request.group.model.paired else ():
        for subject, reason in paired_models(cohort, request.group.model.paired)[1].items():
            _logger.info("Left out of the test: sub-%s, %s", subject, reason)
    workflow = init_groups_wf(
        cohorts=cohorts,
        settings=request.group,
        out_dir=request.out_dir,
        work_dir=work_dir,
        n_threads=request.resources.omp_nthreads,
    )
    _logger.debug("Groups to write: %s", [cohort.name for cohort in cohorts])
    configuration = _shared_configuration(cohorts)
    check = partial(_check_unchanged, request.out_dir, configuration)
    with claim_dataset(request.out_dir / CLAIM, configuration, check, sole=True):
        succeeded = run_workflow(
            workflow, choose_plugin(request.resources), run_dir, lambda *_: None
        )
        if not succeeded:
            return _log_failures(run_dir)
        _write_members(members, request.out_dir)
        _write_kinds(cohorts, request.out_dir)
        update_descriptions(request.out_dir)
    return 0


def _write_kinds(cohorts: Sequence[Cohort], out_dir: Path) -> None:
    """Write options for ``--config-file`` that decide the kind of fit, where subjects differ.

    Comments hold the settings that impose the most frequent kind on another dataset.
    """
    path = out_dir / KINDS_FILE
    mixed = [
        cohort
        for cohort in cohorts
        if len({model.kind for models in cohort.subjects.values() for model in models}) > 1
    ]
    if not mixed:
        path.unlink(missing_ok=True)
        return
    lines = [
        "# Kinds of fit differ. With this option the level participant fits those subjects again",
        "# that are not of the most frequent kind, into the same out_dir.",
        'fit_kind = "dataset"',
    ]
    for cohort in mixed:
        choices = most_frequent(
            {
                subject: [model.own_choices for model in models]
                for subject, models in cohort.subjects.items()
            }
        )
        lines += ["", "# Options that impose the most frequent kind on another dataset, from",
                  f"# {cohort.name}:"]  # fmt: skip
        lines += [f'# {name} = "{value}"' for name, value in imposing_settings(choices).items()]
    write_text(path, "\n".join(lines) + "\n")
    _logger.info("To decide one kind of fit for the dataset, run participant with --config-file "
                 "<%s>", path)  # fmt: skip


def _shared_configuration(cohorts: Sequence[Cohort]) -> str:
    """Return the configuration that the models of all groups share."""
    configurations = {
        model.configuration
        for cohort in cohorts
        for models in cohort.subjects.values()
        for model in models
    }
    if len(configurations) != 1:
        raise ConfigurationError(
            f"The groups hold models of several configurations "
            f"({', '.join(sorted(configurations))}); "
            "run the participant level again with --overwrite for all subjects and atlases."
        )
    return configurations.pop()


def _check_unchanged(out_dir: Path, configuration: str) -> None:
    """Refuse maps that another run has replaced since the groups were formed."""
    current = {model.configuration for model in find_models(out_dir)}
    if current != {configuration}:
        raise ConfigurationError(
            f"<{out_dir}> holds models of {', '.join(sorted(current))}; the groups were "
            f"formed with {configuration}. Another run has replaced models meanwhile; run the "
            "group level again when it has ended."
        )


def _log_failures(run_dir: Path) -> int:
    """Log the failures of the group level, and return its exit code."""
    crashes = [crash for crash in read_crashes(run_dir) if "group_wf" in crash.node]
    for crash in crashes:
        if crash.failure.on_purpose:
            _logger.error("Group level: %s", crash.failure.message)
        else:
            _logger.error("Group level: an unexpected error (%s); see <%s>, and please "
                          "report it.", crash.failure.error or "unknown", crash.path)  # fmt: skip
    return max((crash.failure.exit_code for crash in crashes), default=1)


def _log_excluded(members: Sequence[Membership]) -> None:
    for member in members:
        if member.reason:
            _logger.info("Left out of the group: %s, %s", member.model.name, member.reason)


def _write_members(members: Sequence[Membership], out_dir: Path) -> None:
    """Write the table of group members, and of excluded maps with the reasons."""
    rows = [
        {
            "participant_id": f"sub-{member.model.entities['sub']}",
            "model": member.model.name,
            "cohort": member.cohort or float("nan"),
            "included": not member.reason,
            "reason": member.reason or float("nan"),
        }
        for member in members
    ]
    write_rows(rows, out_dir / GROUP_TABLE)
