"""Several atlases as one, such as a cortical and a subcortical one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from npi_bids.errors import InputDataError
from npi_bids.images.parcellation import Parcellation, label_data, label_image
from npi_bids.images.resample import to_grid

_logger = logging.getLogger(__name__)


def combine(atlases: Sequence[Parcellation], name: str) -> Parcellation:
    """Put atlases of labels into one, in their order, on the grid of the first.

    Where two regions overlap, the first atlas keeps the voxels.

    Parameters
    ----------
    atlases
        Volumes of labels, drawn in the same space.
    name
        Of the whole.

    Returns
    -------
    Parcellation
        Regions are numbered from 1. Where an atlas names no networks, its name is that of a
        network of its own.

    Raises
    ------
    InputDataError
        An atlas is no volume of labels, spaces differ, names repeat, or a region is lost.
    """
    if len(atlases) == 1:
        return atlases[0]
    for atlas in atlases:
        if atlas.probabilistic or atlas.grey:
            kind = "maps of weights" if atlas.probabilistic else "a surface"
            raise InputDataError(
                f"Atlas {atlas.name} is {kind}; only volumes of labels can be combined with +."
            )
    spaces = {atlas.space for atlas in atlases} - {"unknown"}
    if len(spaces) > 1:
        raise InputDataError(
            f"--atlas: {', '.join(f'{a.name} is drawn in {a.space}' for a in atlases)}; expected "
            "atlases of one space."
        )
    first = atlases[0]
    grid = first.image
    whole = np.zeros(grid.shape[:3], dtype=np.int32)
    start, shared = 0, 0
    for atlas in atlases:
        data = label_data(grid if atlas is first else to_grid(atlas, grid), atlas.name)
        places = np.searchsorted(atlas.values, data) + 1 + start
        free = (data > 0) & (whole == 0)
        shared += int(np.count_nonzero((data > 0) & (whole > 0)))
        whole[free] = places[free]
        start += len(atlas.labels)
    labels = tuple(label for atlas in atlases for label in atlas.labels)
    if lost := [labels[v - 1] for v in sorted(set(range(1, start + 1)) - set(np.unique(whole)))]:
        raise InputDataError(
            f"Atlas {name}: {len(lost)} region(s) of the later atlases lie wholly under the first "
            f"or between its voxels, first {lost[:5]}; expected atlases of different structures."
        )
    if shared:
        _logger.warning("Atlas %s: %d voxels are in two atlases; the first has them", name, shared)
    return Parcellation(
        name=name,
        labels=labels,
        values=tuple(range(1, start + 1)),
        space=next(iter(spaces), "unknown"),
        image=label_image(whole, grid.affine),
        networks=tuple(
            network
            for atlas in atlases
            for network in atlas.networks or (atlas.name,) * len(atlas.labels)
        ),
    )
