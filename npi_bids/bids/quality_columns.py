"""Columns of ``logs/quality.tsv``: the figures of quality, and what each of them means."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.bids.sidecars import Column, TableSidecar


@dataclass(frozen=True, slots=True)
class QualityFigure:
    """One figure of quality.

    Attributes
    ----------
    name
        Field of :class:`npi_bids.records.Quality`, and name of the column.
    title
        Name on the page of a subject.
    note
        What it means.
    units
        Where it has some.
    shown
        Whether it stands on the page.
    meaning
        Sentence of the data dictionary; title and note where empty.
    """

    name: str
    title: str
    note: str
    units: str = ""
    shown: bool = True
    meaning: str = ""

    @property
    def column(self) -> Column:
        """What the data dictionary says of it."""
        return Column(self.meaning or f"{self.title}: {self.note}.", self.units)


FIGURES = (
    QualityFigure(
        "expected_r",
        "expected r with the truth",
        "that simulated maps of like quality reached; holds only if the haemodynamic delays of "
        "regions differ by less than about half a second, which the signals show in part only "
        "(below); n/a: nothing like it was simulated",
        meaning="Correlation with the truth that simulated maps of like quality reached. It holds "
        "only if the haemodynamic delays of regions differ by less than about half a second, "
        "which the signals show in part only (delay_share, delay_sd). n/a: nothing like it was "
        "simulated.",
    ),
    QualityFigure(
        "expected_r_lower",
        "from",
        "lower end of its 90 % interval",
        meaning="Lower end of the 90 % interval of the expected r.",
    ),
    QualityFigure(
        "expected_r_upper",
        "to",
        "upper end of its 90 % interval",
        meaning="Upper end of the 90 % interval of the expected r.",
    ),
    QualityFigure(
        "expected_r_antisymmetric", "expected r, antisymmetric", "of the part with direction"
    ),
    QualityFigure(
        "expected_r_antisymmetric_lower",
        "from",
        "lower end of its 90 % interval",
        meaning="Lower end of the 90 % interval of the expected r of the antisymmetric part.",
    ),
    QualityFigure(
        "expected_r_antisymmetric_upper",
        "to",
        "upper end of its 90 % interval",
        meaning="Upper end of the 90 % interval of the expected r of the antisymmetric part.",
    ),
    QualityFigure(
        "r2", "held-out R²", "one-step prediction of samples that did not train the surrogate"
    ),
    QualityFigure(
        "r2_own_history", "R² of each region's own past", "three samples; to be exceeded"
    ),
    QualityFigure("r2_ridge_var", "R² of a ridge VAR", "the plain linear model of one lag"),
    QualityFigure("r2_persistence", "R² of persistence", "the last sample repeated"),
    QualityFigure(
        "skill_own_history", "skill over own past", "share by which the squared error is lower"
    ),
    QualityFigure(
        "skill_ridge_var", "skill over ridge VAR", "share by which the squared error is lower"
    ),
    QualityFigure(
        "r_split", "r between halves", "maps of the first and the second half of the data"
    ),
    QualityFigure(
        "r_split_symmetric", "r between halves, symmetric", "of the part without direction"
    ),
    QualityFigure(
        "r_split_antisymmetric", "r between halves, antisymmetric", "of the part with direction"
    ),
    QualityFigure(
        "r_split_oriented", "r between halves, oriented", "of directions by skewness, on request"
    ),
    QualityFigure("r_seed", "r between seeds", "members of the ensemble; n/a: there is none"),
    QualityFigure(
        "direction_ratio", "direction ratio", "antisymmetric lagged covariance over chance"
    ),
    QualityFigure(
        "direction_p", "direction p", "against the data with stretches of time reversed at random"
    ),
    QualityFigure(
        "delay_share", "direction like delays", "share that fixed delays of regions would explain"
    ),
    QualityFigure(
        "delay_sd",
        "SD of these delays",
        "seconds, over regions; blood flow differs by about one",
        "s",
    ),
    QualityFigure(
        "antisymmetric_share", "antisymmetric share", "energy of the map that has a direction"
    ),
    QualityFigure(
        "model_fc_r", "model FC r", "free-running surrogate against data; n/a: it diverged"
    ),
    QualityFigure("model_fc_r_held_out", "model FC r, held out", "against held-out samples"),
    QualityFigure(
        "fc_r_held_out", "FC r, held out", "FC of the training samples against held-out ones"
    ),
    QualityFigure("fc_r", "r(EC, FC)", "how much of the map is functional connectivity"),
    QualityFigure("spectral_radius", "spectral radius", "stable below 1"),
    QualityFigure(
        "high_frequency_share", "power above 0.15 Hz", "share; n/a: sampled too slowly to tell"
    ),
    QualityFigure(
        "samples_per_parameter", "samples per parameter", "effective windows / (regions x lags)"
    ),
    QualityFigure("minutes", "minutes", "that the windows cover", "min"),
    QualityFigure(
        "n_windows",
        "windows",
        "training and held out; those that would share samples are left out",
    ),
    QualityFigure(
        "skill_persistence",
        "skill over persistence",
        "share by which the squared error is lower",
        shown=False,
    ),
    QualityFigure(
        "shrunk",
        "shrunk",
        "whether the map is shrunk towards that of a group; halves then agree by their "
        "deviations from it",
        shown=False,
    ),
    QualityFigure(
        "r_seed_symmetric",
        "r between seeds, symmetric",
        "of the part without direction",
        shown=False,
    ),
    QualityFigure(
        "r_seed_antisymmetric",
        "r between seeds, antisymmetric",
        "of the part with direction",
        shown=False,
    ),
    QualityFigure(
        "direction_supported",
        "direction supported",
        "whether the ratio and the p of direction both pass their thresholds",
        shown=False,
    ),
    QualityFigure("n_train", "windows for training", "that come first in time", shown=False),
    QualityFigure("n_valid", "windows held out", "that check the surrogate", shown=False),
    QualityFigure("n_regions", "regions", "in the model", shown=False),
    QualityFigure(
        "effective_windows",
        "effective windows",
        "that would carry the same information if the signals were white",
        shown=False,
    ),
)
_OTHERS = {
    "participant_id": Column("Label of the participant."),
    "model": Column("Entities of the model beside the participant."),
    "desc": Column("How the signals were cleaned, as in descriptions.tsv."),
    "status": Column("What became of the model: done, excluded or failed."),
    "reason": Column("Why there is no model; n/a where there is one."),
    "verdict": Column("How far the map can be trusted: pass, caution or fail."),
    "verdict_reasons": Column("Why, the gravest reason first."),
    "mean_fd": Column("Mean framewise displacement over all samples.", "mm"),
    "minutes_kept": Column("Time after dummy scans and censoring, all runs together.", "min"),
    "regions_in_model": Column("Regions that every run covers."),
}


def quality_sidecar() -> TableSidecar:
    """Return the data dictionary of the table of quality."""
    return TableSidecar(
        description="Figures of quality, one row per model; n/a where a figure cannot be had.",
        columns={**_OTHERS, **{figure.name: figure.column for figure in FIGURES}},
    )
