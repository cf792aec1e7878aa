"""Columns of ``logs/quality.tsv``: the quality metrics and their meaning."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.assessment.settings import HIGH_FREQUENCY
from npi_bids.bids.sidecars import Column, TableSidecar


@dataclass(frozen=True, slots=True)
class QualityFigure:
    """One quality metric.

    Attributes
    ----------
    name
        Field of :class:`npi_bids.records.Quality`, and name of the column.
    title
        Name on the page of a subject.
    note
        Explanation of the metric.
    units
        Units; empty for a metric without any.
    displayed
        Whether it appears on the page.
    meaning
        Sentence of the data dictionary; title and note where empty.
    """

    name: str
    title: str
    note: str
    units: str = ""
    displayed: bool = True
    meaning: str = ""

    @property
    def column(self) -> Column:
        """Entry of the metric in the data dictionary."""
        return Column(self.meaning or f"{self.title}: {self.note}.", self.units)


SAMPLES_PER_PARAMETER = (
    "effective (uncorrelated) samples over the linear weights that predict one region (regions "
    "times lags)"
)

FIGURES = (
    QualityFigure(
        "expected_r",
        "expected accuracy (r)",
        "correlation with the truth in comparable simulations. Holds only if the haemodynamic "
        "delays of regions are modelled or differ by less than about half a second, which the "
        "signals show only in part (see below). n/a: no comparable simulation",
        meaning="Expected accuracy: correlation with the truth in comparable simulations. Holds "
        "only if the haemodynamic delays of regions are modelled or differ by less than about "
        "half a second, which the signals show only in part (delay_share, delay_sd, "
        "removed_delay_sd). n/a: no comparable simulation.",
    ),
    QualityFigure(
        "expected_r_lower",
        "lower limit",
        "of its 90 % interval",
        meaning="Lower limit of the 90 % interval of the expected accuracy.",
    ),
    QualityFigure(
        "expected_r_upper",
        "upper limit",
        "of its 90 % interval",
        meaning="Upper limit of the 90 % interval of the expected accuracy.",
    ),
    QualityFigure(
        "expected_r_antisymmetric",
        "expected accuracy, antisymmetric",
        "of the directional part",
    ),
    QualityFigure(
        "expected_r_antisymmetric_lower",
        "lower limit",
        "of its 90 % interval",
        meaning="Lower limit of the 90 % interval of the expected accuracy of the antisymmetric "
        "part.",
    ),
    QualityFigure(
        "expected_r_antisymmetric_upper",
        "upper limit",
        "of its 90 % interval",
        meaning="Upper limit of the 90 % interval of the expected accuracy of the antisymmetric "
        "part.",
    ),
    QualityFigure("r2", "held-out R²", "one-step prediction of samples not used for training"),
    QualityFigure(
        "r2_own_history", "R² of each region's own past", "its last three samples; a baseline"
    ),
    QualityFigure("r2_ridge_var", "R² of a ridge VAR", "linear model of one lag; a baseline"),
    QualityFigure("r2_persistence", "R² of persistence", "last sample repeated; a baseline"),
    QualityFigure(
        "skill_own_history", "skill over own past", "fraction by which the squared error is lower"
    ),
    QualityFigure(
        "skill_ridge_var", "skill over ridge VAR", "fraction by which the squared error is lower"
    ),
    QualityFigure(
        "r_split", "split-half r", "correlation of the maps of the two halves of the data"
    ),
    QualityFigure("r_split_symmetric", "split-half r, symmetric", "of the undirected part"),
    QualityFigure(
        "r_split_antisymmetric", "split-half r, antisymmetric", "of the directional part"
    ),
    QualityFigure(
        "r_split_oriented",
        "split-half r, oriented",
        "of the directions by skewness (--measures oriented)",
    ),
    QualityFigure("r_seed", "r between seeds", "of the members of the ensemble; n/a: no ensemble"),
    QualityFigure(
        "direction_ratio",
        "direction ratio",
        "energy of the antisymmetric lagged covariance relative to chance",
    ),
    QualityFigure(
        "direction_p", "direction p", "time-reversal test with randomly reversed blocks"
    ),
    QualityFigure(
        "delay_share",
        "direction explained by delays",
        "fraction that fixed regional delays explain",
    ),
    QualityFigure(
        "delay_sd",
        "SD of these delays",
        "seconds, over regions; haemodynamic delays differ by about 1 s",
        "s",
    ),
    QualityFigure(
        "removed_delay_sd",
        "SD of delays allowed for",
        "seconds, over regions; 0: no delays; n/a: not estimated by the surrogate",
        "s",
    ),
    QualityFigure(
        "delay_evidence",
        "evidence for delays",
        "nats; log evidence for regional delays, whether the map allows for them or not; n/a: not "
        "looked for",
    ),
    QualityFigure(
        "delay_benefit",
        "benefit of delays",
        "nats; log likelihood of held-out stretches with these delays over that without; n/a: too "
        "little evidence",
    ),
    QualityFigure(
        "expected_delay_evidence",
        "evidence expected for delays",
        "nats; what delays of SD 0.5 s would be expected to have: near 0 where they could not "
        "have been found; n/a: not looked for",
    ),
    QualityFigure(
        "r_split_delays",
        "split-half r, delays",
        "correlation of the delays of regions that the two halves show; delays that do not repeat "
        "are no delays; n/a: the map allows for none, or for those of a group",
    ),
    QualityFigure(
        "r_undelayed_antisymmetric",
        "r with the map without delays",
        "of the antisymmetric parts; low: which region leads depends on the delays; n/a: the map "
        "allows for none",
    ),
    QualityFigure(
        "r_unshrunk",
        "r with the map without prior",
        "low: the prior takes most of what the data say for noise; n/a: there is no such map",
    ),
    QualityFigure(
        "r_unshrunk_antisymmetric",
        "r with the map without prior, antisymmetric",
        "of the antisymmetric parts",
    ),
    QualityFigure(
        "antisymmetric_share_unshrunk",
        "antisymmetric share without prior",
        "share of the energy of the map without prior, off the diagonal; n/a: there is no such "
        "map",
    ),
    QualityFigure(
        "free_run_diverged",
        "free run diverged",
        "whether the free-running surrogate grew without bound, so that there is no model FC",
        displayed=False,
    ),
    QualityFigure(
        "common_gain",
        "common gain allowed for",
        "whether the map allows for a filter or haemodynamic response that all regions share",
        displayed=False,
    ),
    QualityFigure("antisymmetric_share", "antisymmetric fraction", "of the map's variance"),
    QualityFigure(
        "model_fc_r", "model FC r", "free-running surrogate and data; n/a: the free run diverged"
    ),
    QualityFigure(
        "model_fc_r_held_out",
        "model FC r, held out",
        "free-running surrogate and held-out samples",
    ),
    QualityFigure("fc_r_held_out", "FC r, held out", "FC of training and held-out samples"),
    QualityFigure(
        "model_fc_ratio",
        "model FC / FC",
        "SD over pairs; 1: FC of the free-running surrogate is as strong as that of the data",
    ),
    QualityFigure("fc_r", "r(EC, FC)", "similarity of the map to functional connectivity"),
    QualityFigure(
        "stripe_share",
        "stripes",
        "fraction of the map's variance explained by the means of sources or of targets",
    ),
    QualityFigure("spectral_radius", "spectral radius", "stable below 1"),
    QualityFigure(
        "high_frequency_share",
        f"power above {HIGH_FREQUENCY:g} Hz",
        "fraction of the total; n/a: the TR is too long",
    ),
    QualityFigure(
        "own_share",
        "the subject's own share",
        "weight of the subject's own data in a map that is shrunk towards that of a group; the "
        "rest is the mean of the group. n/a: not shrunk, or no map without prior",
        displayed=False,
    ),
    QualityFigure(
        "own_share_symmetric",
        "the subject's own share, symmetric",
        "of the undirected part",
        displayed=False,
    ),
    QualityFigure(
        "own_share_antisymmetric",
        "the subject's own share, antisymmetric",
        "of the directional part",
        displayed=False,
    ),
    QualityFigure(
        "r_others",
        "r with the other subjects",
        "of the map without prior and the map of the group without the subject. n/a: not shrunk, "
        "or no map without prior",
    ),
    QualityFigure(
        "r_others_antisymmetric",
        "r with the other subjects, antisymmetric",
        "of the directional parts of these two maps",
        displayed=False,
    ),
    QualityFigure(
        "r_group",
        "r of the map with the other subjects",
        "of the map and that of the group without the subject. n/a: not shrunk",
        displayed=False,
    ),
    QualityFigure(
        "r_group_antisymmetric",
        "r of the map with the other subjects, antisymmetric",
        "of the directional parts of these two maps",
        displayed=False,
    ),
    QualityFigure(
        "r_halves",
        "r of the halves without prior",
        "of the maps without prior of both halves of the data. n/a: there are none",
        displayed=False,
    ),
    QualityFigure(
        "r_halves_antisymmetric",
        "r of the halves without prior, antisymmetric",
        "of the directional parts of these two maps",
        displayed=False,
    ),
    QualityFigure(
        "samples_per_parameter",
        "samples per parameter",
        SAMPLES_PER_PARAMETER,
        meaning="Samples per parameter: effective windows (effective_windows) over the linear "
        "weights that predict one region, which are the regions times the lags with weights "
        "between regions. The same as the effective samples of all regions over all weights. "
        "Weights of networks are not counted.",
    ),
    QualityFigure("minutes", "minutes", "covered by the windows", "min"),
    QualityFigure(
        "minutes_kept",
        "minutes kept",
        "after removal of dummy scans and censoring, over all runs",
        "min",
    ),
    QualityFigure(
        "mean_fd",
        "mean FD",
        "mm, mean over all samples and runs; n/a: not known",
        "mm",
        meaning="Mean framewise displacement over all samples, including censored ones; n/a: not "
        "known.",
    ),
    QualityFigure("censored_share", "censored fraction", "of the samples, without dummy scans"),
    QualityFigure("covered_share", "covered fraction", "of the regions, in every run"),
    QualityFigure(
        "lowest_coverage",
        "lowest coverage",
        "fraction of the voxels with signal in the least covered region of the model; n/a: not "
        "known",
    ),
    QualityFigure(
        "band_share",
        "frequencies left",
        "fraction of those up to the Nyquist frequency that the map is fitted to",
    ),
    QualityFigure(
        "n_windows",
        "windows",
        "training and held out, without those that would share samples",
    ),
    QualityFigure(
        "skill_persistence",
        "skill over persistence",
        "fraction by which the squared error is lower",
        displayed=False,
    ),
    QualityFigure(
        "shrunk",
        "shrunk",
        "whether the map is shrunk towards that of a group; the split-half r is then that of the "
        "deviations from it",
        displayed=False,
    ),
    QualityFigure(
        "r_seed_symmetric",
        "r between seeds, symmetric",
        "of the undirected part",
        displayed=False,
    ),
    QualityFigure(
        "r_seed_antisymmetric",
        "r between seeds, antisymmetric",
        "of the directional part",
        displayed=False,
    ),
    QualityFigure(
        "direction_supported",
        "direction supported",
        "whether the ratio and the p of direction both pass their thresholds",
        displayed=False,
    ),
    QualityFigure("n_train", "windows for training", "first in time", displayed=False),
    QualityFigure("n_valid", "windows held out", "for validation", displayed=False),
    QualityFigure("n_regions", "regions", "in the model", displayed=False),
    QualityFigure(
        "effective_windows",
        "effective windows",
        "that would carry the same information if the signals were white: windows divided by the "
        "correlation time of the signals (1 + 2 sum of squared autocorrelations)",
        displayed=False,
    ),
)
_MODEL_COLUMNS = {
    "participant_id": Column("Label of the participant."),
    "model": Column("Entities of the model beside the participant."),
    "desc": Column("Denoising strategy, as in descriptions.tsv."),
    "status": Column("Status of the model: done, excluded or failed."),
    "reason": Column("Reason why there is no model; n/a where there is one."),
    "kind": Column(
        "Kind of model that was fitted: process or VAR; whitened, or observed with delays, gain, "
        "noise; correction: a linear one; networks: added ones. Otherwise the family."
    ),
    "own_kind": Column(
        "Kind that the data of this model chose; the same unless decided otherwise."
    ),
    "kind_decided_by": Column(
        "Who decided the kind: subject (its own data), or dataset (most subjects, --fit-kind)."
    ),
    "verdict": Column("Verdict on the map: pass, caution or fail."),
    "verdict_reasons": Column("Reasons for the verdict, the most serious first."),
    "grade_data": Column(
        "Grade of the data: good, good as far as known, limited or poor; the lowest of length, "
        "motion, coverage and spectrum."
    ),
    "grade_data_reasons": Column(
        "What lowers the grade of the data, and what of it is not known; n/a: nothing."
    ),
    "grade_connections": Column(
        "What may be read of the map: single connections, strengths and networks, group averages "
        "or nothing; not rated: nothing comparable was simulated."
    ),
    "grade_direction": Column("The same for which region influences which; or not supported."),
    "regions_in_model": Column("Regions covered in every run."),
}


def quality_sidecar() -> TableSidecar:
    """Return the data dictionary of the table of quality."""
    return TableSidecar(
        description="Quality metrics, one row per model; n/a where a metric is not available.",
        columns={**_MODEL_COLUMNS, **{figure.name: figure.column for figure in FIGURES}},
    )
