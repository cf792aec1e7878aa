"""What one fit of one subject gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from npi_bids.core.records import Array, ECResult, Mask, Quality, Verdict
from npi_bids.core.surrogate import TrainLog, TrainSettings

# Columns of a table by name.
Table = Mapping[str, Sequence[Any]]


class Stored(Protocol):
    """A fitted model whose numbers can be stored."""

    def tensors(self) -> dict[str, Array]:
        """Return the fitted numbers by name."""


@dataclass(frozen=True, slots=True, eq=False)
class SubjectEC:
    """All that one fit of one subject gives.

    Attributes
    ----------
    measures
        By name, over all regions of the atlas: ``npi`` (EC by perturbation, diagonal 0 as
        published) and what else was asked for; ``modelfc`` only where the free run stays bounded.
        Standard errors, ends of the 95 % intervals, p and q of the map are ``npistderr``,
        ``npilower``, ``npiupper``, ``npip``, ``npiq``, where they are known.
    quality, verdict
        What the result says about itself, and whether it can be trusted.
    hazards
        What is known to spoil maps and was seen in the signals, in words.
    uncertainty
        Where the standard errors come from: ``posterior``, ``bootstrap`` or nothing.
    log
        What training saw.
    surrogate
        The fitted model of the covered regions.
    covered
        Shape (n_regions of the atlas,); regions in the model.
    n_windows_per_run
        Windows that each run gave, in the order of the runs.
    settings
        The training settings with every choice resolved.
    tables, account
        What a model that is no surrogate writes beside its map, by the name of the file, and says
        of itself instead of training and perturbation.
    """

    measures: dict[str, ECResult]
    quality: Quality
    verdict: Verdict
    hazards: tuple[str, ...]
    uncertainty: str
    log: TrainLog
    surrogate: Stored
    covered: Mask
    n_windows_per_run: tuple[int, ...]
    settings: TrainSettings
    tables: Mapping[str, Table] = field(default_factory=dict)
    account: Mapping[str, object] = field(default_factory=dict)

    @property
    def ec(self) -> Array:
        """The map, shape (n_regions, n_regions), indexed ``[source, target]``."""
        return self.measures["npi"].matrix
