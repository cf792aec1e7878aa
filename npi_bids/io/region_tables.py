"""Tables of the regions of an atlas, and of the networks they form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.tables import read_table
from npi_bids.records import Array
from npi_bids.wording import count_noun, join_items

_COORDINATES = ("x", "y", "z")


class Regions:
    """The table of an atlas's regions, in the order of a map.

    Attributes
    ----------
    path
        Path of the table.
    labels
        Names of the regions.
    centres
        Shape (n_regions, 3) in mm, or None where the atlas has none.
    networks
        Groupings of the regions: columns whose names begin with ``network``, and those of a
        table supplied by the user.
    """

    def __init__(self, path: Path, labels: Sequence[str], network_table: str = "") -> None:
        self.path = path
        table = read_table(path)
        table.index = pd.Index(table["name"].astype(str))
        if missing := [label for label in labels if label not in table.index]:
            raise InputDataError(
                f"The table of regions <{path}> lacks {join_items(missing, most=5)}."
            )
        table = table.loc[list(labels)]
        self.labels = tuple(labels)
        has_centres = all(axis in table for axis in _COORDINATES)
        self.centres: Array | None = (
            table[list(_COORDINATES)].to_numpy(dtype=np.float64) if has_centres else None
        )
        self.networks: dict[str, list[str]] = {
            str(name): table[name].fillna("none").astype(str).tolist()
            for name in table.columns
            if str(name).startswith("network")
        }
        if network_table:
            self.networks |= _read_networks(Path(network_table), self.labels)

    @property
    def network(self) -> list[str]:
        """Network of each region in the first grouping; empty if there is none."""
        return next(iter(self.networks.values()), [])


def _read_networks(path: Path, labels: Sequence[str]) -> dict[str, list[str]]:
    try:
        table = read_table(path)
    except InputDataError as error:
        raise SettingsError(f"--network-table: {error}") from error
    if "name" not in table or len(table.columns) < 2:
        raise SettingsError(
            f"--network-table <{path}> has the columns {join_items(table.columns)}; expected name "
            "and at least one more."
        )
    table.index = pd.Index(table["name"].astype(str))
    if missing := [label for label in labels if label not in table.index]:
        raise SettingsError(
            f"--network-table <{path}> lacks {count_noun(len(missing), 'region')}: "
            f"{join_items(missing, most=5)}."
        )
    chosen = table.loc[list(labels)].drop(columns=["name", "index"], errors="ignore")
    return {str(name): chosen[name].fillna("none").astype(str).tolist() for name in chosen}
