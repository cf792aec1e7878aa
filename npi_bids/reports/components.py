"""Components of pages: records of what a page shows, and descriptions of quality metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from npi_bids.reports.figures_connectivity import MatrixView

_NOTHING = 1e-12  # what rounding leaves of a difference of equal numbers


def number(value: float | None) -> str:
    """Write a number with three digits, or n/a.

    >>> number(0.12345), number(1234), number(None), number(2e-16)
    ('0.123', '1234', 'n/a', '0')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, int):
        return str(value)
    return "0" if abs(float(value)) < _NOTHING else f"{float(value):.3g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with what it shows and how to read it.

    ``svg`` is the picture itself; ``name`` names its file; ``alt`` says it in words; ``file`` is
    where it lies beside the page, for use elsewhere.
    """

    name: str
    title: str
    caption: str
    svg: str = field(repr=False)
    alt: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table of facts; ``note`` explains it."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A quality metric that decides how far a map can be trusted.

    Attributes
    ----------
    name, value, target, note
        Its name, value, target and meaning, in one line each.
    state
        ``good``, ``caution``, ``bad`` or ``unknown``; told by a word as well as a colour.
    """

    name: str
    value: str
    target: str
    note: str
    state: str


@dataclass(frozen=True, slots=True)
class SortedTable:
    """A table that a reader sorts and filters; ``links`` of the first column may be empty."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    links: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Dot:
    """One subject among others: where it stands (0 to 100), and its page."""

    label: str
    value: str
    place: float
    state: str
    link: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The distribution of one figure over subjects, its ends, and where its threshold stands."""

    title: str
    dots: tuple[Dot, ...]
    low: str
    high: str
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class ModelSection:
    """One model on a page: its fate, verdict with reasons, facts, figures and files."""

    title: str
    status: str
    reason: str = ""
    crash: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    key: tuple[KeyFigure, ...] = ()
    summary: tuple[str, ...] = ()
    view: MatrixView | None = None
    tables: tuple[SortedTable, ...] = ()
    map_figures: tuple[Figure, ...] = ()
    done: tuple[Row, ...] = ()
    quality: tuple[Row, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page stands: the pages before and after it, and what made all of them."""

    before: str = ""
    after: str = ""
    group: bool = False
    provenance: tuple[Row, ...] = ()
    citation: str = ""


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """The page of one subject."""

    subject: str
    version: str
    sections: tuple[ModelSection, ...]
    methods: str = ""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, slots=True)
class TestSection:
    """One test over subjects: what it asked, and what it found.

    ``not_tested`` says why the test does not hold, ``caution`` what to bear in mind of it.
    """

    title: str
    rows: tuple[Row, ...]
    view: MatrixView
    tables: tuple[SortedTable, ...]
    not_tested: str = ""
    caution: str = ""


@dataclass(frozen=True, slots=True)
class GroupSection:
    """One group on the group's page; ``not_tested`` and ``caution`` are those of its mean."""

    title: str
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...]
    files: tuple[str, ...]
    view: MatrixView | None = None
    tables: tuple[SortedTable, ...] = ()
    tests: tuple[TestSection, ...] = ()
    not_tested: str = ""
    caution: str = ""


@dataclass(frozen=True, slots=True)
class GroupPage:
    """The group's page: groups, how subjects are spread, and who is in or why not."""

    version: str
    sections: tuple[GroupSection, ...]
    members: SortedTable
    strips: tuple[Strip, ...] = ()
    methods: str = ""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The list of all subjects, with their figures of quality and flags."""

    version: str
    counts: tuple[tuple[str, int], ...]
    models: SortedTable
    place: Place = field(default_factory=Place)
