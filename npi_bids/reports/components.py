"""Components of pages: records of what a page shows, and descriptions of quality metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from npi_bids.reports.cortex import CortexView
from npi_bids.reports.figures_connectivity import MatrixView
from npi_bids.reports.network_blocks import BlockTable

ALPHA = 0.05  # q and p below which pages call a connection significant


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with what it shows and how to read it.

    ``svg`` is the picture itself, ``name`` the name of its file, ``alt`` its description in words,
    and ``file`` the path of a copy for use elsewhere; a ``wide`` one spans the page. One that is
    ``linked`` is too large for the page, which names its file alone.
    """

    name: str
    title: str
    caption: str
    svg: str = field(repr=False)
    alt: str = ""
    file: str = ""
    wide: bool = False
    linked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table of properties; ``note`` explains it."""

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
        ``good``, ``caution``, ``bad`` or ``unknown``; shown by a word as well as a colour.
    """

    name: str
    value: str
    target: str
    note: str
    state: str


@dataclass(frozen=True, slots=True)
class SortedTable:
    """A table to sort and filter; ``links`` of the first column may be empty.

    A ``folded`` table is shown once it is opened.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    links: tuple[str, ...] = ()
    caption: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """One subject of a distribution: its position (0 to 100), and its page.

    Without a link it is a point without a name, as there are too many.
    """

    label: str
    value: str
    position: float
    state: str
    link: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The distribution of one metric over subjects, with its range and threshold."""

    title: str
    dots: tuple[Dot, ...]
    low: str
    high: str
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class ModelSection:
    """One model on a page: its status, verdict with reasons, tables, figures and files.

    ``facts`` are the summary box, ``kind`` says in one sentence which kind of model was fitted,
    and ``advice`` what to do next. ``map_figures`` stand beside the matrix, ``place_figures`` are
    those on the brain, and ``figures`` those of fit and data; ``registration`` says what is shown
    of the place of the regions in the images, and why no more.
    """

    title: str
    status: str
    reason: str = ""
    crash: str = ""
    kind: str = ""
    verdict: str = ""
    reasons: tuple[str, ...] = ()
    grades: tuple[tuple[str, str, str], ...] = ()
    key: tuple[KeyFigure, ...] = ()
    summary: tuple[str, ...] = ()
    view: MatrixView | None = None
    tables: tuple[SortedTable, ...] = ()
    map_figures: tuple[Figure, ...] = ()
    facts: tuple[Row, ...] = ()
    advice: tuple[str, ...] = ()
    blocks: tuple[BlockTable, ...] = ()
    cortex: CortexView | None = None
    place_figures: tuple[Figure, ...] = ()
    processing: tuple[Row, ...] = ()
    quality: tuple[Row, ...] = ()
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    files: tuple[str, ...] = ()
    registration: str = ""

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Anchors and titles of its parts, for the list of contents."""
        found = (
            ("summary", "Summary", bool(self.facts)),
            ("conclusions", "What may be concluded", True),
            ("connectivity", "Connectivity", self.view is not None),
            ("brain", "Where", self.cortex is not None or bool(self.place_figures)),
            ("data", "Fit and data", bool(self.key or self.figures)),
            ("files", "Files", bool(self.files)),
        )
        return tuple((anchor, title) for anchor, title, is_there in found if is_there)


@dataclass(frozen=True, slots=True)
class Methods:
    """The methods text in Markdown, HTML and LaTeX; empty where there is none yet."""

    text: str = ""
    html: str = ""
    latex: str = ""


@dataclass(frozen=True, slots=True)
class PageContext:
    """The context of a page: its neighbours, and the provenance of the dataset."""

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
    methods: Methods = field(default_factory=Methods)
    context: PageContext = field(default_factory=PageContext)


@dataclass(frozen=True, slots=True)
class TestSection:
    """One test over subjects: its model and its results.

    ``not_tested`` says why the test is not valid, ``caution`` what limits its interpretation, and
    ``summary`` what it shows.
    """

    title: str
    rows: tuple[Row, ...]
    view: MatrixView
    tables: tuple[SortedTable, ...]
    not_tested: str = ""
    caution: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """What the mean map of a group can be trusted for, which a page says first.

    Attributes
    ----------
    kinds
        How many subjects have each kind of fit.
    warnings
        What limits all statements on the group.
    statements
        Topic, finding in a few words, and finding in full.
    figures
        Reliability of mean maps of more subjects, where it is known.
    """

    kinds: str = ""
    warnings: tuple[str, ...] = ()
    statements: tuple[tuple[str, str, str], ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupSection:
    """One group on the group's page; ``not_tested`` and ``caution`` apply to its mean.

    ``summary`` says in a few sentences what its mean map shows.
    """

    title: str
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...]
    files: tuple[str, ...]
    view: MatrixView | None = None
    tables: tuple[SortedTable, ...] = ()
    tests: tuple[TestSection, ...] = ()
    not_tested: str = ""
    caution: str = ""
    verdict: GroupVerdict = field(default_factory=GroupVerdict)
    summary: tuple[str, ...] = ()
    blocks: tuple[BlockTable, ...] = ()
    cortex: CortexView | None = None


@dataclass(frozen=True, slots=True)
class GroupPage:
    """The page of the groups: results, distributions, and who is included or why not."""

    version: str
    sections: tuple[GroupSection, ...]
    members: SortedTable
    strips: tuple[Strip, ...] = ()
    methods: Methods = field(default_factory=Methods)
    context: PageContext = field(default_factory=PageContext)


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The list of all subjects, with their quality metrics and flags."""

    version: str
    counts: tuple[tuple[str, int], ...]
    models: SortedTable
    context: PageContext = field(default_factory=PageContext)
