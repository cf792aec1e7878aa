"""Perturb several regions at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npi_bids.core.perturb import PerturbSettings
from npi_bids.core.records import Array
from npi_bids.core.response import respond
from npi_bids.core.subject import Table
from npi_bids.core.surrogate import Surrogate
from npi_bids.errors import InputDataError

_SIGNS = {"positive": (1.0,), "negative": (-1.0,), "both": (1.0, -1.0)}


def responses_together(
    surrogate: Surrogate,
    history: Array,
    settings: PerturbSettings,
    labels: Sequence[str],
    covered: Sequence[bool],
) -> Table:
    """Perturb sets of regions and tell the response of every region.

    All regions of a set are moved by the same strength in the same sample (Luo et al. 2025, who
    stimulate regions together); where the surrogate is linear, the response is the sum of those to
    each alone.

    Parameters
    ----------
    surrogate
        Fitted model of the covered regions.
    history
        Shape (n_windows, n_lags, n_covered); states to perturb.
    settings
        Size, sign, steps, and the sets (``together``), names joined by ``+``.
    labels
        Names of all regions of the atlas.
    covered
        Which of them are in the model.

    Returns
    -------
    Table
        A row for each set: ``sources``, and the response of each region of the atlas, in the unit
        of the signals; NaN for regions that are not covered, and for sets with such a region.

    Raises
    ------
    InputDataError
        The atlas has no region of that name.
    """
    inside = np.flatnonzero(covered)
    place = {labels[int(region)]: number for number, region in enumerate(inside)}
    rows = []
    for words in settings.together:
        names = [name.strip() for name in words.split("+")]
        if unknown := sorted(set(names) - set(labels)):
            raise InputDataError(
                f"--together {words}: the atlas has no region {unknown}; its regions are "
                f"{', '.join(labels[:5])}, ... ({len(labels)})."
            )
        row = np.full(len(labels), np.nan)
        if all(name in place for name in names):
            push = np.zeros(len(inside))
            push[[place[name] for name in names]] = settings.strength
            changes = [
                sign
                * respond(
                    surrogate,
                    history,
                    sign * push,
                    steps=settings.steps_ahead,
                    sustained=settings.sustained,
                )
                for sign in _SIGNS[settings.sign]
            ]
            row[inside] = np.mean(changes, axis=0)
        rows.append(row)
    columns = np.array(rows)
    return {
        "sources": list(settings.together),
        **{label: columns[:, region].tolist() for region, label in enumerate(labels)},
    }
