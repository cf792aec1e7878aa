"""Statistics over subjects, by label and never by position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from npi_bids.core.options import check_options, option
from npi_bids.core.records import Array, ECResult, GroupEC
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """How to put subjects together."""

    min_subjects: int = option(
        2, "edges that fewer subjects have are n/a in the group", above=0, metavar="N"
    )
    normalize: str = option(
        "max",
        "write the mean scaled to its strongest connection too (max), or not (none)",
        choices=("max", "none"),
    )
    weights: str = option(
        "none",
        "how subjects count in mean, SD and t: all alike (none), by the agreement of their halves "
        "(quality), or each connection by one over its squared standard error (precision)",
        choices=("none", "quality", "precision"),
    )
    trim: float = option(
        0.1, "share of the subjects that the trimmed mean leaves out on either side",
        at_least=0, below=0.5, metavar="X",
    )  # fmt: skip
    network_table: str = option(
        "",
        "TSV with a column name and further columns that put regions into networks, beside the "
        "networks that the atlas has",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What is tested over subjects."""

    model: str = option(
        "",
        "group: what explains the maps, such as 'group + age + sex'; columns of participants.tsv, "
        "and mean_fd, minutes, r_split of the results; 1 is the mean",
        metavar="FORMULA",
    )
    contrast: tuple[str, ...] = option(
        (),
        "group: what is tested of --model: a column, a factor, or levels such as "
        "'patient - control' (default: each column and factor)",
        metavar="CONTRAST",
    )
    paired: tuple[str, ...] = option(
        (),
        "group: two sessions; the maps of the second less those of the first are explained by "
        "--model (default 1)",
        metavar="SESSION",
    )
    motion_covariate: bool = option(
        True,
        "group: add mean_fd to a model that does not hold it",
        metavar="yes|no",
    )
    exchange_within: str = option(
        "",
        "group: column of participants.tsv; subjects are exchanged within its values alone",
        metavar="COLUMN",
    )
    harmonize: str = option(
        "",
        "group: column of participants.tsv with the site, which ComBat takes out of the maps "
        "before they are tested; what --model explains is kept",
        metavar="COLUMN",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.paired) not in (0, 2):
            raise SettingsError(
                f"--paired takes two sessions, first and second, not {len(self.paired)}: "
                f"{' '.join(self.paired)}."
            )
        needs = [
            f"--{name.replace('_', '-')}"
            for name in ("contrast", "exchange_within", "harmonize")
            if getattr(self, name) and not self.formula
        ]
        if needs:
            raise SettingsError(f"{', '.join(needs)} need(s) --model (or --paired).")

    @property
    def formula(self) -> str:
        """The model, or that of a plain mean where pairs are asked for; empty: no test."""
        return self.model or ("1" if self.paired else "")


def average(results: Iterable[ECResult], settings: GroupSettings) -> GroupEC:
    """Average the matrices of subjects, edge by edge, over the subjects that have the edge.

    Streams over the subjects (Welford's update), so memory does not grow with their number.

    Parameters
    ----------
    results
        One per subject; the order of the regions may differ, their names may not.
    settings
        How many subjects an edge needs.

    Returns
    -------
    GroupEC
        In the order of the first subject's regions.

    Raises
    ------
    InputDataError
        Subjects differ in their regions.
    NoUsableDataError
        There are no subjects, or fewer than wanted.
    """
    labels: tuple[str, ...] = ()
    count = mean = squares = np.zeros((0, 0))
    n_results = 0
    for result in results:
        if not n_results:
            labels = result.labels
            count, mean, squares = (np.zeros((len(labels),) * 2) for _ in range(3))
        matrix = align(result, labels).matrix
        has = np.isfinite(matrix)
        count = count + has
        step = np.where(has, matrix - mean, 0.0)
        mean = mean + step / np.maximum(count, 1)
        squares = squares + step * np.where(has, matrix - mean, 0.0)
        n_results += 1
    if n_results < settings.min_subjects:
        raise NoUsableDataError(
            f"{n_results} subject(s) for a group; --min-subjects asks for {settings.min_subjects}."
        )
    enough = count >= settings.min_subjects
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.where(count > 1, np.sqrt(squares / (count - 1)), np.nan)
    return GroupEC(
        mean=np.where(enough, mean, np.nan),
        sd=np.where(enough, sd, np.nan),
        n_subjects=count.astype(np.int64),
        labels=labels,
    )


def align(result: ECResult, labels: tuple[str, ...]) -> ECResult:
    """Return the matrix with its regions in the order of ``labels``.

    Raises
    ------
    InputDataError
        The regions are not the same set.
    """
    if result.labels == labels:
        return result
    if set(result.labels) != set(labels):
        differing = sorted(set(result.labels) ^ set(labels))
        raise InputDataError(
            f"Subjects differ in {len(differing)} region(s), first {differing[:5]}; results of "
            "different atlases cannot be averaged."
        )
    place = {label: position for position, label in enumerate(result.labels)}
    order = [place[label] for label in labels]
    return ECResult(result.matrix[np.ix_(order, order)], labels)


def scale_to_strongest(matrix: Array) -> Array:
    """Divide by the largest absolute value off the diagonal: the published form of group maps.

    >>> scale_to_strongest(np.array([[9.0, -4.0], [2.0, 9.0]]))
    array([[ 2.25, -1.  ],
           [ 0.5 ,  2.25]])
    """
    off = np.where(np.eye(len(matrix), dtype=bool), np.nan, np.abs(matrix))
    if not np.isfinite(off).any() or np.nanmax(off) == 0:
        return np.full_like(matrix, np.nan)
    scaled: Array = matrix / np.nanmax(off)
    return scaled
