"""A group of maps as a whole: its edges, regions, networks, and how well visits repeat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npi_bids.core.describe import TESTS_OF_ZERO, Description, describe, without
from npi_bids.core.flow import ONE_SIGNED, flow_stack, groupings, network_stack
from npi_bids.core.records import Array
from npi_bids.core.reliability import Reliability, reliability, split_half_of_group

# What of a description is written as a matrix, by the kind of the file.
_KINDS = {
    "groupmean": "mean", "groupsd": "sd", "groupn": "n", "groupt": "t", "groupp": "p",
    "groupq": "q", "grouplower": "lower", "groupupper": "upper",
    "groupsign": "sign_consistency", "groupinfluence": "influence", "groupmedian": "median",
    "grouptrimmed": "trimmed",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """How subjects count.

    Attributes
    ----------
    quality
        Shape (n_subjects,), from 0 to 1; alike where None. Unknown counts as the mean.
    errors
        Standard errors of the entries, shape of the maps, or None.
    trim, min_subjects
        As :func:`~npi_bids.core.describe.describe` has them.
    """

    quality: Array | None
    errors: Array | None
    trim: float
    min_subjects: int

    @property
    def weights(self) -> Array | None:
        """Weights of the subjects, a hundredth at least."""
        if self.quality is None:
            return None
        known = np.clip(self.quality, 0.01, 1.0)
        mean = float(np.nanmean(known)) if np.isfinite(known).any() else 1.0
        weights: Array = np.where(np.isfinite(known), known, mean)
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class MapDescription(Description):
    """A description of maps."""

    def kinds(self) -> dict[str, Array]:
        """Return what is written as a matrix, by the kind of its file."""
        return {kind: getattr(self, name) for kind, name in _KINDS.items()}


def describe_maps(maps: Array, weighing: Weighing) -> MapDescription:
    """Describe the edges of a group; the diagonal, which is no connection, is not tested."""
    found = describe(
        maps,
        weights=weighing.weights,
        errors=weighing.errors,
        trim=weighing.trim,
        min_subjects=weighing.min_subjects,
    )
    return MapDescription(*(getattr(found, name) for name in Description.__dataclass_fields__))


def describe_regions(maps: Array, n_regions: int, weighing: Weighing) -> dict[str, Description]:
    """Describe what the maps say of regions; by figure, over subjects.

    Figures that have one sign whatever the map is are not tested against 0.
    """
    described = {
        figure: describe(
            values,
            weights=weighing.weights,
            trim=weighing.trim,
            min_subjects=weighing.min_subjects,
        )
        for figure, values in flow_stack(maps, n_regions).items()
    }
    return {
        figure: without(description, TESTS_OF_ZERO) if figure in ONE_SIGNED else description
        for figure, description in described.items()
    }


def describe_networks(
    maps: Array,
    labels: tuple[str, ...],
    columns: Mapping[str, Sequence[str]],
    weighing: Weighing,
) -> Iterator[tuple[str, tuple[str, ...], Description]]:
    """Yield each way to put regions together, its networks, and their pairs over subjects."""
    for grouping, networks in groupings(labels, columns).items():
        pairs, names = network_stack(maps, labels, networks)
        yield (
            grouping,
            names,
            describe(
                pairs,
                weights=weighing.weights,
                trim=weighing.trim,
                min_subjects=weighing.min_subjects,
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Repeated:
    """How well a group repeats: over visits of its subjects, and over halves of them."""

    visits: Reliability | None
    halves: tuple[float, float]

    @property
    def facts(self) -> dict[str, Any]:
        """What a sidecar says of it."""
        found: dict[str, Any] = {
            "SplitHalfOfSubjects": {"Mean": self.halves[0], "SD": self.halves[1]}
        }
        if self.visits is not None:
            found["Reliability"] = {
                "Subjects": self.visits.n_subjects,
                "Visits": self.visits.n_visits,
                "MedianICC21": _median(self.visits.icc_agreement),
                "MedianICC31": _median(self.visits.icc_consistency),
                "IdentificationRate": self.visits.identification,
                "MeanRWithin": self.visits.r_within,
                "MeanRBetween": self.visits.r_between,
            }
        return found

    def kinds(self) -> dict[str, Array]:
        """Return what is written as a matrix, by the kind of its file."""
        return {} if self.visits is None else {"groupicc": self.visits.icc_agreement}


def repeated(maps: Array, visits: Array, owner: NDArray[np.int64]) -> Repeated:
    """Measure how well a group repeats.

    Parameters
    ----------
    maps
        One per subject, shape (n_subjects, n_edges).
    visits, owner
        All maps, and the number of the subject of each.
    """
    found = reliability(visits, owner) if len(visits) > len(maps) else None
    return Repeated(found, split_half_of_group(maps, np.random.default_rng(0)))


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
