"""Groups of maps of different kinds of fit, which are on different scales."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.bids.outputs import KINDS_FILE
from npi_bids.group.glm import Contrast, Design, depends_on_mean
from npi_bids.group.permutation import permute, varying_edges
from npi_bids.group.settings import PermuteSettings
from npi_bids.records import Array
from npi_bids.wording import count_noun, rounded

KIND, OWN_KIND = "kind", "own_kind"  # columns of the subjects' table
ALPHA = 0.05
_PERMUTATIONS = 999


def count_kinds(rows: Sequence[Mapping[str, object]], column: str = KIND) -> dict[str, int]:
    """Return the number of subjects (or visits) of each kind, the most frequent first.

    With ``column="own_kind"``, of each kind that their own data chose.

    >>> count_kinds([{"kind": "process"}, {"kind": "VAR"}, {"kind": "process"}])
    {'process': 2, 'VAR': 1}
    """
    counts = Counter(str(row[column]) for row in rows if row.get(column))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def count_own_kinds(rows: Sequence[Mapping[str, object]]) -> dict[str, int]:
    """Return the same for what their own data chose; empty where no other kind was decided."""
    own = count_kinds(rows, OWN_KIND)
    return {} if own == count_kinds(rows) else own


def describe_mixture(counts: Mapping[str, int]) -> str:
    """Return the caution about a group of several kinds; empty for one kind."""
    if len(counts) < 2:
        return ""
    listing = "; ".join(f"{kind}: {count}" for kind, count in counts.items())
    return (
        f"The maps of this group are of {count_noun(len(counts), 'kind')} of fit ({listing}), "
        "which are on different scales: a difference between subjects may be one of their fits. "
        f"Run participant again with --fit-kind dataset (or --config-file {KINDS_FILE}), which "
        "fits again those that are not of the most frequent kind, or add kind to --model."
    )


@dataclass(frozen=True, slots=True)
class KindsOfRows:
    """Kinds of fit of the subjects (or visits) in a model.

    Attributes
    ----------
    rows
        Their rows, with the column ``kind``.
    earlier
        Kinds of the first of two sessions, if differences between sessions are tested; the rows
        then have those of the second.
    """

    rows: Sequence[Mapping[str, object]]
    earlier: tuple[str, ...] = ()

    def indicators(self) -> tuple[Array, int]:
        """Return indicators of the kinds as square maps, or their changes between sessions.

        Returns
        -------
        Array
            Shape (n_rows, size * size); entries without a kind are 0.
        int
            Number of rows and columns of each map.
        """
        current = [str(row.get(KIND)) for row in self.rows]
        kinds = sorted({*current, *self.earlier})
        size = int(np.ceil(np.sqrt(len(kinds))))
        indicators = np.zeros((len(current), size**2))
        for column, kind in enumerate(kinds):
            indicators[:, column] = [float(name == kind) for name in current]
            if self.earlier:
                indicators[:, column] -= [float(name == kind) for name in self.earlier]
        return indicators, size


def kind_association(
    kinds: KindsOfRows,
    design: Design,
    contrast: Contrast,
    seed: int,
    estimate_rows: Callable[[Array], tuple[Array, Design | None]],
) -> float | None:
    """Test whether the kind of fit is associated with a contrast.

    Indicators of the kinds take the place of the maps in the model, with the same covariates.

    Parameters
    ----------
    kinds
        Kinds of the subjects (or visits) in the model.
    design, contrast
        What is tested; not the mean of all maps, with which nothing can be associated, but the
        mean of differences between sessions can.
    seed
        Seed of the permutations.
    estimate_rows
        Returns the rows of the design from values of subjects (or visits).

    Returns
    -------
    float or None
        Family-wise p over the kinds, by permutation; None if there is one kind, or if kinds do
        not vary over what is compared.
    """
    indicators, size = kinds.indicators()
    values, _ = estimate_rows(indicators)
    constant = (values == values[:1]).all(axis=0) & (values[0] != 0)
    if kinds.earlier and depends_on_mean(design, contrast) and constant.any():
        # All subjects change alike, which of all changes of sign only two do.
        return 2.0 ** (1 - len(values))
    if not varying_edges(values).any():
        return None
    settings = PermuteSettings(
        n_permutations=_PERMUTATIONS, network_statistic="none", group_seed=seed
    )
    plain = Design(design.matrix, design.columns, (), design.blocks,
                   n_components=design.n_components)  # fmt: skip
    result = permute(values, size, plain, contrast, settings, diagonal=True)
    return float(np.nanmin(result.p_fwe))


def describe_association(p: float | None) -> str:
    """Return the caution about a contrast with which the kind of fit is associated."""
    if p is None or p > ALPHA:
        return ""
    return (
        f"The kind of fit is associated with this contrast (family-wise p = {rounded(p)}): the "
        "maps that are compared differ in how they were fitted, and an effect cannot be told "
        "from a difference of their scales. Run participant again with --fit-kind dataset, or "
        "add kind to --model."
    )
