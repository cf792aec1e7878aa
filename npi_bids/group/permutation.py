"""Family-wise inference on directed maps by permutation: max-T, and networks of edges.

Residuals of the nuisance part are exchanged (Freedman and Lane 1983; Winkler et al. 2014,
doi:10.1016/j.neuroimage.2014.01.060), or their signs are changed where the mean of the subjects is
tested. Rows are weighted first, and variances moderated over edges. Networks are components of
*directed* edges: an edge and its reverse are distinct. They are formed by a threshold
(network-based statistic) or without one (TFNBS).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from npi_bids.errors import (
    NoUsableDataError,
)
from npi_bids.group.glm import Contrast, Design, Pieces, depends_on_mean, split_design
from npi_bids.group.map_stack import split_edges
from npi_bids.group.moderation import moderate, prior_variance
from npi_bids.group.settings import PermuteSettings
from npi_bids.records import Array, Mask

# Exponents of extent and height, and the step of the height: Baggio et al. 2018
# (doi:10.1002/hbm.24007).
_EXTENT, _HEIGHT, _STEP = 0.4, 3.0, 0.1
_TOGETHER = 128  # permutations at once; each round reads all maps again


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """A network of edges above the threshold.

    Attributes
    ----------
    sign
        1 or -1: of the statistic of its edges.
    edges
        Shape (n_edges, 2): source and target of each.
    n_edges
        Number of edges.
    p
        Family-wise p of a network of that size.
    """

    sign: int
    edges: NDArray[np.int64]
    n_edges: int
    p: float


def components(edges: NDArray[np.int64], n_regions: int) -> list[NDArray[np.int64]]:
    """Return the networks that directed edges make up, each as pairs of source and target.

    Regions belong together where edges join them, regardless of direction; the edges stay
    directed.

    Parameters
    ----------
    edges
        Flat indices of a map of ``n_regions``.

    >>> [part.tolist() for part in components(np.array([1, 3, 11]), 4)]
    [[[0, 1], [0, 3], [2, 3]]]
    """
    if not edges.size:
        return []
    pairs = np.stack(np.divmod(edges, n_regions), axis=1)
    member = _members(edges, n_regions)
    order = np.argsort(member, kind="stable")
    cuts = np.flatnonzero(np.diff(member[order])) + 1
    return [pairs[part] for part in np.split(order, cuts)]


def _members(edges: NDArray[np.int64], n_regions: int) -> NDArray[np.int64]:
    """Return the number of the network of each edge."""
    sources, targets = np.divmod(edges, n_regions)
    graph = csr_array((np.ones(edges.size), (sources, targets)), shape=(n_regions, n_regions))
    _, region = connected_components(graph, directed=True, connection="weak")
    member: NDArray[np.int64] = region[sources]
    return member


def threshold_free(statistic: Array, edges: NDArray[np.int64], n_regions: int) -> Array:
    """Return the threshold-free score of each edge (Baggio et al. 2018, doi:10.1002/hbm.24007).

    The sum over heights h below the edge's statistic of ``extent^0.4 h^3 dh``, where the extent
    is the number of edges of its network above h.

    Parameters
    ----------
    statistic
        Shape (n_edges,); values below 0 score 0.
    edges
        Flat indices of a map of ``n_regions``.
    """
    n_heights = max(0, int(np.max(statistic, initial=0.0) / _STEP) + 1)
    heights = np.cumsum(np.full(n_heights, _STEP))
    # Number of heights that an edge reaches.
    reached = np.searchsorted(heights, statistic, side="right")
    inside = np.flatnonzero(reached)
    scores = np.zeros(statistic.size)
    if inside.size:
        extents = _extents(reached[inside], edges[inside], n_regions)
        steps = extents**_EXTENT * heights[: len(extents), None] ** _HEIGHT * _STEP
        sources = edges[inside] // n_regions
        scores[inside] = np.cumsum(steps, axis=0)[reached[inside] - 1, sources]
    return scores


def _extents(
    reached: NDArray[np.int64], edges: NDArray[np.int64], n_regions: int
) -> NDArray[np.int64]:
    """Return the number of edges of the network of each region, shape (n_heights, n_regions).

    Networks only merge from one height to the next lower one, and where they do is known from a
    maximum spanning tree, which is found once.
    """
    n_heights = int(reached.max())
    sources, targets = np.divmod(edges, n_regions)
    # An edge costs more, the lower it is; of two opposite ones the cheaper counts.
    graph = csr_array((n_heights + 1 - reached, (sources, targets)), shape=(n_regions, n_regions))
    tree = minimum_spanning_tree(graph).tocoo()
    merged_at = n_heights + 1 - tree.data.astype(np.int64)
    order = np.argsort(-merged_at, kind="stable")
    merges = zip(merged_at[order], tree.row[order], tree.col[order], strict=True)
    added = np.zeros((n_heights + 1, n_regions), dtype=np.int64)
    np.add.at(added, (reached, sources), 1)
    network = np.arange(n_regions)
    extents = np.empty((n_heights, n_regions), dtype=np.int64)
    within = np.zeros(n_regions, dtype=np.int64)  # edges that start in each region, so far
    merge = next(merges, None)
    for height in range(n_heights, 0, -1):
        within += added[height]
        while merge is not None and merge[0] == height:
            network[network == network[merge[1]]] = network[merge[2]]
            merge = next(merges, None)
        extents[height - 1] = np.bincount(network, within, n_regions)[network]
    return extents


@dataclass(frozen=True, slots=True, eq=False)
class Permuted:
    """Results of the permutations of one contrast; matrices are indexed ``[source, target]``.

    Attributes
    ----------
    p
        Uncorrected p of each edge, two-sided.
    p_fwe
        Family-wise p of each edge, by the largest statistic of each permutation.
    p_nbs, p_tfnbs
        Family-wise p of the network that the edge is in, and of its threshold-free score. NaN
        where it was not requested; 1 outside of networks.
    components
        Networks above the threshold, the largest first.
    n_permutations, n_tested
        Number of permutations; number of tested edges, which are those that all subjects have.
    """

    p: Array
    p_fwe: Array
    p_nbs: Array
    p_tfnbs: Array
    components: tuple[Component, ...] = field(default=())
    n_permutations: int = 0
    n_tested: int = 0


def permute(
    maps: Array,
    n_regions: int,
    design: Design,
    contrast: Contrast,
    settings: PermuteSettings,
    *,
    diagonal: bool = False,
) -> Permuted:
    """Test one contrast of all edges together.

    Edges that a subject lacks are not tested, and are NaN.

    Parameters
    ----------
    maps
        Shape (n_subjects, n_regions * n_regions), may be memory-mapped.
    n_regions
        Number of regions of the maps.
    design, contrast
        The explanatory variables, and the hypothesis to test.
    settings
        Number of permutations, and statistic of networks.
    diagonal
        Whether the diagonal is tested too, as it is in maps between networks.

    Raises
    ------
    NoUsableDataError
        No edge is present in all subjects.
    """
    tested = varying_edges(maps)
    if not diagonal:
        tested[np.arange(n_regions) * (n_regions + 1)] = False
    edges = np.flatnonzero(tested)
    if not edges.size:
        raise NoUsableDataError(
            "No edge is present in all subjects, so that none can be permuted."
        )
    run = _Run(maps, edges, n_regions, design, contrast)
    observed = run.statistics([_Shuffle(np.arange(len(maps)), np.ones(len(maps)))])[0]
    networks = _Networks(run, settings, observed)
    beyond, largest = np.ones(edges.size), []
    for statistics in run.permuted(settings):
        for statistic in statistics:
            beyond += np.abs(statistic) >= np.abs(observed) - 1e-12
            largest.append(float(np.max(np.abs(statistic))))
            networks.record(statistic)
    # Counted by search: a table of permutations and edges would take gigabytes.
    below = np.searchsorted(np.sort(largest), np.abs(observed) - 1e-12)
    n = len(largest) + 1
    above = n - below
    p_nbs, p_tfnbs, components = networks.results()
    spread = run.spread
    return Permuted(
        spread(beyond / n), spread(above / n), p_nbs, p_tfnbs, components, n - 1, edges.size
    )


def blank_result(n_regions: int) -> Permuted:
    """Return the result of a contrast that was not tested: NaN for every edge."""
    blank = np.full((n_regions, n_regions), np.nan)
    return Permuted(blank, blank, blank, blank)


def varying_edges(maps: Array) -> Mask:
    """Return which edges all subjects have, with values that vary over subjects."""
    varying = np.zeros(maps.shape[1], dtype=bool)
    for edges in split_edges(*maps.shape):
        block = np.asarray(maps[:, edges])
        with np.errstate(invalid="ignore"):
            varying[edges] = np.isfinite(block).all(axis=0) & (np.ptp(block, axis=0) > 0)
    return varying


@dataclass(frozen=True, slots=True, eq=False)
class _Shuffle:
    order: NDArray[np.int64]
    signs: Array


class _Run:
    """The statistics of one contrast for shuffled subjects, in blocks of edges."""

    def __init__(
        self,
        maps: Array,
        edges: NDArray[np.int64],
        n_regions: int,
        design: Design,
        contrast: Contrast,
    ) -> None:
        self.maps, self.edges, self.n_regions = maps, edges, n_regions
        self.design, self.contrast = design, contrast
        self.roots = design.root_weights[:, None]
        self.pieces: Pieces = split_design(self.roots * design.matrix, contrast)
        self.free = design.matrix.shape[0] - design.matrix.shape[1]
        self._squares = np.full(edges.size, np.nan)
        # The mean over subjects does not depend on their order, but it does depend on signs.
        self.flips = depends_on_mean(design, contrast)

    def spread(self, values: Array) -> Array:
        """Return a matrix with the values of the tested edges, NaN elsewhere."""
        matrix = np.full(self.n_regions**2, np.nan)
        matrix[self.edges] = values
        return matrix.reshape(self.n_regions, self.n_regions)

    def permuted(self, settings: PermuteSettings) -> Iterator[Array]:
        """Yield statistics, shape (n_permutations at once, n_edges)."""
        rng = np.random.default_rng(settings.group_seed)
        for start in range(0, settings.n_permutations, _TOGETHER):
            number = min(_TOGETHER, settings.n_permutations - start)
            yield self.statistics([self._shuffle(rng) for _ in range(number)])

    def _shuffle(self, rng: np.random.Generator) -> _Shuffle:
        n, m = self.design.n_subjects, self.design.n_components
        if self.flips:
            signs = np.repeat(rng.choice([-1.0, 1.0], size=n), m)
            return _Shuffle(np.arange(n * m), signs)
        order, blocks = np.arange(n), self.design.blocks[::m]
        for block in np.unique(blocks):
            subjects = np.flatnonzero(blocks == block)
            order[subjects] = rng.permutation(subjects)
        rows = (order[:, None] * m + np.arange(m)).ravel()
        return _Shuffle(rows, np.ones(n * m))

    def statistics(self, shuffles: list[_Shuffle]) -> Array:
        """Return t or F of every shuffle and edge.

        Variances are moderated in each shuffle anew, so that the statistic depends on the shuffled
        data alone, and not on how much the residuals vary.
        """
        numerators = np.empty((len(shuffles), self.edges.size))
        variances = np.empty_like(numerators)
        basis = self.pieces.basis.T
        shuffled_rows = np.concatenate([self._reorder_rows(basis, each) for each in shuffles])
        # The effect follows from what the design explains, so that one product gives both.
        weights = self.pieces.effect @ self.pieces.basis
        inverse = np.linalg.inv(self.pieces.spread)
        for start, block in self._residuals(len(shuffles)):
            columns = slice(start, start + block.shape[1])
            explained = (shuffled_rows @ block).reshape(len(shuffles), len(basis), -1)
            residual = self._sum_squares(block, columns)
            residual = residual - np.einsum("pce,pce->pe", explained, explained)
            variances[:, columns] = np.maximum(residual, 1e-300) / self.free
            if self.contrast.statistic == "t":
                effect = np.einsum("c,pce->pe", weights[0], explained)
                numerators[:, columns] = effect / np.sqrt(self.pieces.spread[0, 0])
            else:
                effects = np.einsum("ic,pce->pie", weights, explained)
                squares = np.einsum("pie,ij,pje->pe", effects, inverse, effects)
                numerators[:, columns] = squares / len(weights)
        for numerator, variance in zip(numerators, variances, strict=True):
            moderated, _ = moderate(variance, self.free, prior_variance(variance, self.free))
            numerator /= np.sqrt(moderated) if self.contrast.statistic == "t" else moderated
        return numerators

    def _sum_squares(self, block: Array, columns: slice) -> Array:
        """Return the sums of squares of a block of residuals, which shuffles do not change."""
        known = self._squares[columns]
        if np.isnan(known).any():
            known[:] = np.einsum("se,se->e", block, block)
        return known

    @staticmethod
    def _reorder_rows(rows: Array, shuffle: _Shuffle) -> Array:
        """Return rows whose product with the data is that of ``rows`` with shuffled data."""
        reordered = np.empty_like(rows)
        reordered[:, shuffle.order] = rows * shuffle.signs
        return reordered

    def _residuals(self, n_shuffles: int) -> Iterator[tuple[int, Array]]:
        """Yield the start of each block of edges, and its residuals after the nuisance."""
        nuisance = self.pieces.nuisance
        rows = len(self.maps) + n_shuffles * (nuisance.shape[1] + 3)
        is_weighted = bool((self.roots != 1).any())
        for part in split_edges(rows, self.edges.size):
            block = _columns(self.maps, self.edges[part])
            block = self.roots * block if is_weighted else block
            if nuisance.shape[1]:
                block = block - nuisance @ (nuisance.T @ block)
            yield part.start, block


def _columns(maps: Array, edges: NDArray[np.int64]) -> Array:
    """Return some edges; one contiguous stretch is read faster from disk than pieces."""
    stretch = np.asarray(maps[:, edges[0] : edges[-1] + 1], dtype=np.float64)
    chosen: Array = stretch if stretch.shape[1] == edges.size else stretch[:, edges - edges[0]]
    return chosen


class _Networks:
    """Counts how often networks of shuffled data are as large as the observed ones."""

    def __init__(self, run: _Run, settings: PermuteSettings, observed: Array) -> None:
        self.run, self.settings, self.observed = run, settings, observed
        statistic = settings.network_statistic
        self.nbs, self.tfnbs = statistic in ("nbs", "both"), statistic in ("tfnbs", "both")
        self.signs = (1, -1) if run.contrast.statistic == "t" else (1,)
        self.observed_components = [
            component for sign in self.signs for component in self._components(observed, sign)
        ] if self.nbs else []  # fmt: skip
        self.scores = self._scores(observed) if self.tfnbs else np.zeros(observed.size)
        self.largest: list[int] = []
        self.highest: list[float] = []

    def record(self, statistic: Array) -> None:
        """Record the networks of one shuffle."""
        if self.nbs:
            sizes = [c.n_edges for sign in self.signs for c in self._components(statistic, sign)]
            self.largest.append(max(sizes, default=0))
        if self.tfnbs:
            self.highest.append(float(self._scores(statistic).max()))

    def results(self) -> tuple[Array, Array, tuple[Component, ...]]:
        """Return p of networks and of scores by edge, and the networks."""
        n = self.run.n_regions
        p_nbs = np.full((n, n), np.nan)
        p_free = self.run.spread(np.full(self.observed.size, np.nan))
        tested = []
        if self.nbs:
            p_nbs = self.run.spread(np.ones(self.observed.size))
            for component in sorted(self.observed_components, key=lambda c: -c.n_edges):
                reached = 1 + sum(n_edges >= component.n_edges for n_edges in self.largest)
                p = reached / (1 + len(self.largest))
                p_nbs[tuple(component.edges.T)] = p
                tested.append(Component(component.sign, component.edges, component.n_edges, p))
        if self.tfnbs:
            below = np.searchsorted(np.sort(self.highest), self.scores - 1e-12)
            n_all = 1 + len(self.highest)
            p_free = self.run.spread((n_all - below) / n_all)
        return p_nbs, p_free, tuple(tested)

    def _components(self, statistic: Array, sign: int) -> list[Component]:
        strong = self.run.edges[sign * statistic > self.settings.nbs_threshold]
        return [
            Component(sign, edges, len(edges), float("nan"))
            for edges in components(strong, self.run.n_regions)
        ]

    def _scores(self, statistic: Array) -> Array:
        parts = [
            threshold_free(sign * statistic, self.run.edges, self.run.n_regions)
            for sign in self.signs
        ]
        scores: Array = np.max(parts, axis=0)
        return scores
