"""Page of a demonstration of the method: maps against what is known of the system."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npi_bids.matrices import off_diagonal
from npi_bids.records import Array
from npi_bids.reports.components import Figure
from npi_bids.reports.figures_signals import draw_matrix
from npi_bids.reports.validation import ValidationPage, draw_recovery, validation_page
from npi_bids.validate.demonstrations import (
    Agreement,
    Demonstration,
    DemonstrationResult,
    compare_with_known,
)
from npi_bids.wording import count_noun, rounded

COLUMNS = (
    "surrogate", "r with the true EC", "r of antisymmetric parts", "r of the transposed map",
    "r with the SC", "r of model FC with FC",
)  # fmt: skip
_NOTES = (
    "r: Pearson's correlation over all pairs of different regions. The map is directed: the "
    "transposed map should agree less with the truth than the map itself.",
    "Structural connectivity (SC) is not the truth of effective connectivity (EC): an effect may "
    "pass over several connections, and depends on the state of its target.",
    "The functional connectivity (FC) of a surrogate is that of its free run; n/a where the free "
    "run diverges.",
)


def tabulate_agreement(
    demonstration: Demonstration, results: Sequence[DemonstrationResult]
) -> tuple[tuple[str, ...], ...]:
    """Return one row per surrogate, with the columns of the page."""
    rows = []
    for result in results:
        a: Agreement = compare_with_known(demonstration, result)
        values = (a.truth, a.truth_antisymmetric, a.truth_transposed, a.structure, a.fc)
        rows.append((result.surrogate, *(rounded(value) for value in values)))
    return tuple(rows)


def demonstration_page(
    version: str, demonstration: Demonstration, results: Sequence[DemonstrationResult]
) -> str:
    """Return the page: one file, no network.

    Parameters
    ----------
    version
        Version of npi-bids.
    demonstration
        The signals and what is known.
    results
        Maps of the surrogates.
    """
    minutes = sum(len(run) for run in demonstration.runs) * demonstration.tr / 60
    intro = (
        f"{demonstration.source}. {count_noun(len(demonstration.labels), 'region')}, "
        f"{count_noun(len(demonstration.runs), 'run')}, {minutes:.0f} minutes in all, one sample "
        f"every {demonstration.tr:g} s."
    )
    verdicts = tuple(f"Verdict on {r.surrogate}: {r.verdict}." for r in results)
    return validation_page(
        ValidationPage(
            version, demonstration.title, intro, COLUMNS,
            tabulate_agreement(demonstration, results),
            tuple(_draw(demonstration, results)), (*verdicts, *_NOTES),
        )
    )  # fmt: skip


def _draw(demonstration: Demonstration, results: Sequence[DemonstrationResult]) -> list[Figure]:
    figures = []
    maps = {result.surrogate: result.ec for result in results}
    if demonstration.truth is not None:
        svg = _scatter(maps, demonstration.truth, ("true EC", "EC"))
        figures.append(Figure("truth", "EC against the true EC",
                              "One point per directed pair.", svg, wide=True))  # fmt: skip
    if demonstration.structure is not None:
        svg = _scatter(maps, demonstration.structure, ("SC", "EC"))
        figures.append(Figure("structure", "EC against structural connectivity",
                              "One point per directed pair.", svg, wide=True))  # fmt: skip
    free = {r.surrogate: r.model_fc for r in results if r.model_fc is not None}
    if free:
        svg = _scatter(free, results[0].fc, ("FC of the signals", "FC of the surrogate"))
        figures.append(Figure("fc", "FC of the surrogate against FC",
                              "One point per pair, twice.", svg, wide=True))  # fmt: skip
    figures += [
        Figure(f"ec-{name}", f"EC of {name}", "Rows are sources, columns targets.",
               draw_matrix(matrix, (), title=f"EC, {name}"))
        for name, matrix in maps.items()
    ]  # fmt: skip
    if demonstration.truth is not None:
        figures.append(Figure("true-ec", "True EC", "Rows are sources, columns targets.",
                              draw_matrix(demonstration.truth, (), title="true EC")))  # fmt: skip
    return figures


def _scatter(maps: dict[str, Array], known: Array, names: tuple[str, str]) -> str:
    pairs = {}
    for name, matrix in maps.items():
        estimate, other = off_diagonal(matrix), off_diagonal(known)
        joint = np.isfinite(estimate) & np.isfinite(other)
        pairs[name] = (estimate[joint], other[joint])
    return draw_recovery(pairs, "", names)
