"""The parameters of a whole-brain model on the page of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npi_bids.bids.derivatives import Model
from npi_bids.bids.sidecars import PosteriorFields
from npi_bids.group.tables import table_cells
from npi_bids.io.tables import read_table
from npi_bids.reports.components import SortedTable
from npi_bids.wording import count_noun, format_range, join_items, rounded

if TYPE_CHECKING:
    import pandas as pd

INSIDE, _NOT_IDENTIFIED = "inside", "not identified"


def read_position(model: Model) -> PosteriorFields | None:
    """Return how the posterior of a model was inferred; None if it was not."""
    path = model.path("parameters")
    return PosteriorFields.read(path.with_suffix(".json")) if path.is_file() else None


def warn_of_position(model: Model) -> tuple[str, ...]:
    """Warn of a subject whose posterior is not to be read; empty for all others."""
    fields = read_position(model)
    if fields is None or fields.position == INSIDE:
        return ()
    features = list(fields.extreme_features)
    differing = f" It differs most in {join_items(features)}." if features else ""
    return (
        f"Do not read the parameters of the {fields.model} model: the signals are outside what it "
        f"can produce (p = {rounded(fields.position_p)}; at most 4 % of simulated subjects are as "
        f"far).{differing}",
    )


def tabulate_group_parameters(table: pd.DataFrame, name: str) -> SortedTable:
    """Return the table of the parameters of a group, and of the tests of them.

    Parameters
    ----------
    table
        The long table of the group.
    name
        Name of the table on the page.
    """
    columns = ("parameter", "contrast", "n", "n_identified", "effect", "lower", "upper",
               "sd_between", "p")  # fmt: skip
    n_outside = int(table["n_outside"].max())
    left_out = (
        f" {count_noun(n_outside, 'subject')} outside what the model can produce "
        f"{'is' if n_outside == 1 else 'are'} left out."
        if n_outside
        else ""
    )
    caption = (
        "Means over subjects and tests, each subject with the uncertainty of its posterior; "
        "n_identified: subjects in which the parameter is identified, at least weakly. The others "
        f"pull effects towards 0.{left_out}"
    )
    return SortedTable(name, "Parameters of the whole-brain model", columns,
                       table_cells(table, columns), caption=caption)  # fmt: skip


def tabulate_parameters(model: Model, name: str) -> tuple[SortedTable, ...]:
    """Return the table of the parameters of a whole-brain model; empty if there is none.

    Parameters
    ----------
    model
        Files of the model.
    name
        Name of the table on the page.
    """
    fields = read_position(model)
    if fields is None:
        return ()
    rows = []
    for row in read_table(model.path("parameters")).to_dict("records"):
        value = rounded(row["median"])
        rows.append((
            str(row["name"]),
            value if row["identification"] != _NOT_IDENTIFIED else f"{value} (prior)",
            format_range(row["q025"], row["q975"]),
            str(row["identification"]),
            rounded(row["contraction"]),
            f"{rounded(row['first_half'])} / {rounded(row['second_half'])}",
            "yes" if row["halves_agree"] else "no",
            format_range(row["close_fc_low"], row["close_fc_high"]),
        ))  # fmt: skip
    caption = (
        f"Posterior of the {fields.model} model from {fields.number_of_simulations} simulations; "
        f"the subject is {fields.position} what the model can produce (p = "
        f"{rounded(fields.position_p)}). FC alone does not identify the parameters: the last "
        f"column is the range of the {fields.simulations_close_in_fc} simulations whose r of FC "
        f"is within .02 of the best ({rounded(fields.best_fc_r)})."
    )
    columns = ("parameter", "median", "95 % interval", "identification", "contraction",
               "halves", "halves agree", "range by FC")  # fmt: skip
    title = f"Parameters of the {fields.model} model"
    return (SortedTable(name, title, columns, tuple(rows), caption=caption),)
