"""What a page shows, before it is a page."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with what it shows and how to read it.

    ``svg`` is the picture itself; ``name`` names its file; ``alt`` says it in words.
    """

    name: str
    title: str
    caption: str
    svg: str = field(repr=False)
    alt: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table of facts; ``note`` explains it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelSection:
    """One model on a page: its fate, verdict with reasons, facts, figures and files."""

    title: str
    status: str
    reason: str = ""
    crash: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    done: tuple[Row, ...] = ()
    quality: tuple[Row, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """The page of one subject."""

    subject: str
    version: str
    sections: tuple[ModelSection, ...]
    methods: str = ""


@dataclass(frozen=True, slots=True)
class GroupSection:
    """One group on the group's page."""

    title: str
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupPage:
    """The group's page: groups, and who is in or why not."""

    version: str
    sections: tuple[GroupSection, ...]
    members: tuple[tuple[str, ...], ...]
    methods: str = ""
