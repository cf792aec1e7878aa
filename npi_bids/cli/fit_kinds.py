"""The kind of fit, decided once for all subjects of a dataset.

Each subject is fitted on its own first. Then the kind that most subjects chose is that of all of
them, and those that chose another are fitted again; unless the user asks for it, delays, a gain or
noise that the data of a subject show are not taken away from it. What every subject chose stands
in its sidecar, so that the decision depends neither on the order of the fits nor on earlier
decisions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from npi_bids.analysis import Task
from npi_bids.bids.derivatives import DONE, Model, UnitStatus, find_models
from npi_bids.bids.layout import Dataset, list_subjects
from npi_bids.bids.outputs import WITHIN_GROUP, join_entities
from npi_bids.bids.sidecars import KindDecision
from npi_bids.cli.parser import Request
from npi_bids.errors import SettingsError
from npi_bids.surrogates.choices import FitChoices, imposing_settings, most_frequent
from npi_bids.wording import count_noun, join_items

_logger = logging.getLogger(__name__)
_OBSERVATION = ("delays", "gain", "noise")  # parts that correct for how the signals are observed
SUBJECT, DATASET, CAREFUL, UNDECIDED = "subject", "dataset", "careful", "undecided"


def who_decides(request: Request, datasets: Sequence[Dataset]) -> str:
    """Return who decides the kind of fit: ``subject``, ``dataset``, ``careful`` or ``undecided``.

    By default it is the dataset if all of its subjects are run, carefully: subjects keep delays, a
    gain and noise that most others do not have, since maps without them can be wrong. With some of
    them alone nothing is decided, so that jobs of one subject each neither see nor change other
    results.
    """
    requested = request.analysis.kinds.fit_kind
    if requested != "auto":
        return requested
    labels = {label.removeprefix("sub-") for label in request.query.participant_label}
    present = {label for dataset in datasets for label in list_subjects(dataset.root)}
    return CAREFUL if not labels or present <= labels else UNDECIDED


def find_decisions(request: Request, decider: str) -> dict[str, KindDecision | None]:
    """Return the models of the output dataset that are of another kind than the decided one.

    Parameters
    ----------
    request
        The request.
    decider
        As :func:`who_decides` returns it.

    Returns
    -------
    dict
        The decision on each of them by its name; None where its own data decide.
    """
    if decider == UNDECIDED:
        return {}
    groups = _group_models(request, decider).values()
    return _find_other_kinds([_decide(models, request, decider) for models in groups])


def find_refits(
    tasks: Sequence[Task], statuses: Sequence[UnitStatus], request: Request, decider: str
) -> list[Task]:
    """Return the tasks that have to be fitted again, so that all are of the decided kind.

    Parameters
    ----------
    tasks
        All models of the request that can be fitted.
    statuses
        Their status; only those that are done are fitted again.
    request
        The request.
    decider
        As :func:`who_decides` returns it.

    Returns
    -------
    list of Task
        With the decision on their kind, or without one if their own data chose that kind.
    """
    done = {status.name for status in statuses if status.status == DONE}
    by_name = {task.name: task for task in tasks if task.name in done}
    decided: list[_Decided] = []
    for name, models in _group_models(request, decider).items():
        if decider == UNDECIDED:
            _mention_mixture(name, models)
            continue
        decided.append(_decide(models, request, decider))
        _log_decision(name, decided[-1])
    refits = [
        replace(by_name[name], kind=kind)
        for name, kind in _find_other_kinds(decided).items()
        if name in by_name
    ]
    if refits:
        _logger.info(
            "Fitting %d of %s again: %s", len(refits), count_noun(len(by_name), "model"),
            join_items(task.name for task in refits),
        )  # fmt: skip
    return refits


def find_unchanged(refits: Sequence[Task], request: Request) -> list[Task]:
    """Return the tasks whose second fit has not replaced the first one."""
    subjects = {task.entities["sub"] for task in refits}
    models = find_models(request.out_dir, *subjects, skip_damaged=True)
    by_name = {model.name: model for model in models}
    return [
        task
        for task in refits
        if task.name in by_name and not _is_decided(by_name[task.name], task.kind)
    ]


def describe_failed_refit(task: Task, reason: str) -> str:
    """Return why a model kept its kind though another one was decided."""
    kind = task.kind.kind if task.kind else "chosen by the subject"
    return (
        f"the fit of the kind {kind} failed, and the earlier fit is kept ({reason.rstrip('.')}); "
        "use --fit-kind subject to keep every subject's own kind"
    )


def _is_decided(model: Model, decision: KindDecision | None) -> bool:
    """Return whether a model was fitted with a decision, or by its own data where there is none.

    The settings count, not the kind of the fit: they may not have been possible.
    """
    current = model.fit.kind_decision
    return (current.settings if current else None) == (decision.settings if decision else None)


def _group_models(request: Request, decider: str) -> dict[str, list[Model]]:
    """Return the models of this configuration by the group that they are averaged into.

    Those of participants that are not requested are read only where a dataset decides.
    """
    groups: dict[str, list[Model]] = {}
    subjects = () if decider in (DATASET, CAREFUL) else request.query.labels("sub")
    for model in find_models(request.out_dir, *subjects, skip_damaged=True):
        if model.configuration == request.analysis.configuration:
            shared = {k: v for k, v in model.entities.items() if k not in WITHIN_GROUP}
            groups.setdefault(join_entities({**shared, "desc": model.desc}), []).append(model)
    return groups


def _mention_mixture(name: str, models: Sequence[Model]) -> None:
    """Say how to decide the kind, where subjects differ in it and this run does not decide."""
    if len({model.own_choices for model in models}) > 1:
        _logger.info(
            "%s: kinds of fit differ among the participants of this run (%s). It has some "
            "participants alone and decides nothing; once all have been fitted, run participant "
            "without --participant-label, or with --fit-kind dataset, to fit those of other kinds "
            "again",
            name, describe_counts(_count_kinds(models)),
        )  # fmt: skip


def _by_subject(models: Sequence[Model]) -> dict[str, list[Model]]:
    subjects: dict[str, list[Model]] = {}
    for model in models:
        subjects.setdefault(model.entities["sub"], []).append(model)
    return subjects


def _count_kinds(models: Sequence[Model]) -> dict[str, float]:
    """Return the number of subjects that chose each kind, the most frequent first."""
    shares: dict[str, Fraction] = {}
    for members in _by_subject(models).values():
        for model in members:
            shares[model.own_kind] = shares.get(model.own_kind, Fraction(0)) + Fraction(
                1, len(members)
            )
    return {
        kind: round(float(share), 3)
        for kind, share in sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    }


def describe_counts(counts: Mapping[str, float]) -> str:
    """Return kinds with the number of subjects of each.

    >>> describe_counts({"process": 6.0, "VAR": 1.5})
    'process: 6; VAR: 1.5'
    """
    return "; ".join(f"{kind}: {count:g}" for kind, count in counts.items())


@dataclass(frozen=True, slots=True, eq=False)
class _Decided:
    """What was decided on the kind of the models of a group.

    ``own_kind`` and ``own_choices`` of the decision are those of the decided kind; it is None if
    there is nothing to decide, or the options do not allow the kind, which ``problem`` tells. The
    models ``kept`` are excluded from it.
    """

    models: Sequence[Model]
    decision: KindDecision | None = None
    problem: str = ""
    kept: Sequence[str] = ()


def _decide(models: Sequence[Model], request: Request, decider: str) -> _Decided:
    """Decide on the kind of a group."""
    subjects = _by_subject(models)
    if decider == SUBJECT or len(subjects) < 2:
        return _Decided(models)
    chosen: dict[str, list[FitChoices]] = {
        subject: [model.own_choices for model in members] for subject, members in subjects.items()
    }
    choices = most_frequent(chosen)
    excludes_delays = request.analysis.train.delays == "none"
    settings = imposing_settings(choices, excludes_delays=excludes_delays)
    if not settings or {choices} == {choice for fits in chosen.values() for choice in fits}:
        return _Decided(models)
    kind = next(model.own_kind for model in models if model.own_choices == choices)
    counts = _count_kinds(models)
    try:
        request.analysis.train.with_kind(settings)
    except SettingsError as error:
        return _Decided(models, problem=(
            f"kinds of fit differ ({describe_counts(counts)}), but {kind} cannot be imposed with "
            f"these options: {error}"
        ))  # fmt: skip
    decision = KindDecision(
        decided_by=DATASET,
        kind=kind,
        own_kind=kind,
        subjects_of_kind=counts,
        own_choices=choices,
        settings=settings,
    )
    return _Decided(models, decision, kept=_find_kept(models, choices, decider))


def _find_kept(models: Sequence[Model], decided: FitChoices, decider: str) -> list[str]:
    """Return the models from which parts of the observation model must not be taken away."""
    if decider != CAREFUL:
        return []
    return [
        model.name
        for model in models
        if any(getattr(model.own_choices, part) > getattr(decided, part) for part in _OBSERVATION)
    ]


def _find_other_kinds(groups: Sequence[_Decided]) -> dict[str, KindDecision | None]:
    """Return the models that are of another kind than the decided one, with the decision."""
    decisions: dict[str, KindDecision | None] = {}
    for group in groups:
        for model in group.models:
            is_kept = model.name in group.kept
            kind = None if is_kept else _decision_for(model, group.decision)
            if not _is_decided(model, kind):
                decisions[model.name] = kind
    return decisions


def _log_decision(name: str, decided: _Decided) -> None:
    """Tell what was decided on a group, and for which of its models not."""
    if decided.problem:
        _logger.warning("%s: %s", name, decided.problem)
    if decided.decision is None:
        return
    _logger.info(
        "%s: kinds of fit differ between %s (%s); %s is that of the dataset", name,
        count_noun(len(_by_subject(decided.models)), "subject"),
        describe_counts(decided.decision.subjects_of_kind), decided.decision.kind,
    )  # fmt: skip
    if decided.kept:
        _logger.info(
            "Delays, gain or noise that most subjects do not show are kept in %s: %s. "
            "--fit-kind dataset takes them away; the group level tells the kinds apart",
            count_noun(len(decided.kept), "model"), join_items(decided.kept, most=5),
        )  # fmt: skip


def _decision_for(model: Model, decision: KindDecision | None) -> KindDecision | None:
    """Return the decision for one model; None if its own data chose that kind."""
    if decision is None or model.own_choices == decision.own_choices:
        return None
    return replace(decision, own_kind=model.own_kind, own_choices=model.own_choices)
