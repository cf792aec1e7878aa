"""Sidecars: one record per kind of file, which defines every key and its meaning.

Each record is written with ``write`` and read back with ``read``. A key is the name of its field
in CamelCase, as in BIDS; no other module spells a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from npi_bids import __version__
from npi_bids.assessment.grades import NOT_RATED, NOT_SUPPORTED
from npi_bids.assessment.settings import VerdictSettings
from npi_bids.bids.outputs import CATALOGUE, MEASURES, Entities
from npi_bids.connectivity.network_measures import OF_MAGNITUDE
from npi_bids.io.json_records import Record, entry, flat
from npi_bids.records import Grades, Quality
from npi_bids.surrogates.choices import FitChoices
from npi_bids.surrogates.families import WHOLE_BRAIN

if TYPE_CHECKING:
    from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
    from npi_bids.parcellation.extraction import RunSummary

    RunSettings = tuple[DenoiseSettings, CoverageSettings]

# Spaces of an individual; everything else is the name of a template.
_INDIVIDUAL = ("T1w", "T2w", "func", "boldref", "individual", "")
_MECHANISTIC = (
    "Mean change of the target's BOLD 3 to 6 s after the source was stimulated for 0.5 s in a "
    "whole-brain model that was fitted to the subject's functional connectivity, in standard "
    "deviations of the target's simulated BOLD. Directions come from the structural connectivity "
    "and the model. The diagonal is set to 0."
)
FEWEST_FOR_Q = 8  # subjects; with fewer q rests on the assumptions of the test alone
FEWEST_FOR_VARIANCE = 2  # subjects; their difference is all that is known of a variance
ENOUGH_SUBJECTS = 10  # tests over fewer subjects carry a caution
_COLUMNS = {
    "grouping": "Grouping of the regions into networks.",
    "figure": "Regional measure; a column of desc-*Strength_dseg.tsv.",
    "region": "Name of the region.",
    "network": "Network of the region.",
    "source": "Region or network that is perturbed.",
    "target": "Region or network that responds.",
    "n": "Number of subjects with a value.",
    "mean": "Mean over subjects.",
    "tested_mean": "Weighted mean of the maps that are tested.",
    "sd": "Sample standard deviation over subjects.",
    "standard_error": "Standard error of tested_mean or of the effect.",
    "lower": "Lower end of the 95 % interval of tested_mean.",
    "upper": "Upper end of the 95 % interval of tested_mean.",
    "t": "t of tested_mean, with a variance moderated over all rows of the same figure.",
    "effect": "Effect, by least squares over subjects; n/a for an F test.",
    "statistic": "t or F of the effect, with a variance moderated over all rows of the figure.",
    "p": "Two-sided p, not corrected.",
    "q": "p after the correction of Benjamini and Hochberg over all rows of the same figure.",
    "p_permuted": "p by permutation, not corrected.",
    "p_fwe": "p by permutation, family-wise.",
    "p_nbs": "p by permutation, family-wise, of the network that contains the connection.",
    "p_tfnbs": "p by permutation, family-wise, of its threshold-free network score.",
    "sign_consistency": "Fraction of subjects whose tested value has the sign of tested_mean.",
    "direction": "Antisymmetric part without prior, minus that of reversed time, halved; mean.",
    "direction_q": "q of the direction.",
    "direction_p_fwe": "Family-wise p of the direction, by changes of sign.",
    "median": "Median over subjects.",
    "trimmed": "Trimmed mean over subjects.",
    "influence": "Largest change of the mean when one subject is left out, in standard errors.",
    "most_influential": "The subject whose omission causes that change.",
    "n_maps": "Number of maps of the subject, which are averaged first.",
    "mean_fd": "Mean framewise displacement over all samples (mm).",
    "minutes": "Minutes after removal of dummy scans and censoring, over all runs.",
    "n_windows": "Number of windows of all maps.",
    "verdict": "Lowest verdict of the maps.",
    "r_split": "Correlation of the maps of the two halves of the data; mean over maps.",
    "expected_r": "Correlation with the truth in comparable simulations; mean over maps.",
    "fc_r": "Correlation of the map with functional connectivity; mean over maps.",
    "stripe_share": "Fraction of the map's variance that the means of sources or of targets "
    "explain, whichever explain more; mean over maps.",
    "direction_supported": "Fraction of the subject's maps whose signals support direction.",
    "kind": "Kind of the fit of the maps; maps of different kinds are on different scales.",
    "own_kind": "Kind that the subject's own data chose; the same unless the dataset decided.",
    "n_sessions": "Number of sessions of the subject in a model over sessions.",
    "not_tested_within": "Why the subject is left out of tests within subjects.",
    "own_share": "Weight of the subject's own data in its shrunken map.",
    "r_with_others": "Correlation of the subject's map with the mean of all others.",
    "outlier": "Whether r_with_others is so many robust standard deviations below the median as "
    "happens by chance in 5 % of groups.",
    "parameter": "Name of the parameter of the whole-brain model.",
    "contrast": "The mean over subjects, or the contrast that is tested.",
    "n_outside": "Subjects left out, as they are outside what the model can produce.",
    "n_identified": "Subjects in which the parameter is identified, at least weakly.",
    "sd_between": "SD between subjects that their posteriors and the model do not explain.",
    "component": "Number of the network of connections.",
    "sign": "Sign of the effect.",
    "n_edges": "Connections of the network.",
}


@dataclass(frozen=True, kw_only=True)
class SpatialGrid(Record):
    """Space and grid of the data."""

    spatial_reference: str = entry(
        "Template space of the data, as a URI, or orig for the space of the individual.",
        default="",
    )
    resolution: str = entry("Grid of the image.", default="", omit=True)
    density: str = entry("Density of the surface.", default="", omit=True)


def describe_grid(entities: Entities) -> SpatialGrid:
    """Return the space and the grid of an output from its entities."""
    space = entities.get("space", "")
    reference = (
        "orig" if space in _INDIVIDUAL else f"https://www.templateflow.org/browse/#tpl-{space}"
    )
    res, den = entities.get("res"), entities.get("den")
    return SpatialGrid(
        spatial_reference=reference,
        resolution=f"Resolution of the preprocessed run, res-{res}." if res else "",
        density=f"Density of the preprocessed run, den-{den}." if den else "",
    )


@dataclass(frozen=True, kw_only=True)
class Links(Record):
    """Files that an output is derived from, and the hash of its settings."""

    node_files: tuple[str, ...] = entry("BIDS URI of the table of regions.", default=())
    sources: tuple[str, ...] = entry("BIDS URIs of the files it was computed from.", default=())
    configuration_hash: str = entry(
        "Short hash of all settings that shape a result; an output dataset contains one.",
        default="", omit=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeriesSidecar(Record):
    """Sidecar of a table over time."""

    description: str = entry("Content of the file.", default="")
    sampling_frequency: float = entry("Samples per second (Hz).", default=float("nan"))
    start_time: float = entry("Time of the first sample (s).", default=0)
    repetition_time: float = entry("Sampling period (s).")
    grid: SpatialGrid = flat()
    links: Links = flat()


@dataclass(frozen=True, kw_only=True)
class RunSidecar(SeriesSidecar):
    """Sidecar of the regional signals of one run: extraction, denoising and excluded samples."""

    number_of_samples: int = entry("Samples of the run.")
    samples_kept: int = entry("Samples that are used.")
    dummy_scans: int = entry("Samples left out at the start.", default=0)
    samples_censored: int = entry("Samples left out later, for motion or damage.", default=0)
    samples_damaged: int = entry(
        "Censored samples at which the image is damaged: constant, not finite, or far from the "
        "samples around them.", default=0,
    )  # fmt: skip
    framewise_displacement_threshold: float | None = entry(
        "Framewise displacement (mm) above which a sample is censored; null: none.", default=None
    )
    mean_framewise_displacement: float | None = entry(
        "Mean framewise displacement (mm) over all samples; null: not known.", default=None
    )
    max_framewise_displacement: float | None = entry(
        "Largest framewise displacement (mm); null: not known.", default=None
    )
    denoising: str = entry("Name of the denoising strategy.", default="")
    denoising_description: str = entry("The denoising strategy in words.", default="")
    regressors: tuple[str, ...] = entry("Confounds that were regressed out.", default=())
    global_signal_regression: bool = entry(
        "Whether the global signal was regressed out.", default=False
    )
    high_pass: float | None = entry("Cut-off of the high-pass filter (Hz).", default=None)
    low_pass: float | None = entry("Cut-off of the low-pass filter (Hz).", default=None)
    smoothing_fwhm: float | None = entry(
        "Full width at half maximum of the smoothing kernel (mm).",
        default=None, key="SmoothingFWHM",
    )  # fmt: skip
    standardize: str = entry("How signals were scaled.", default="")
    minimum_coverage: float = entry(
        "Fraction of a region that must contain signal.", default=float("nan")
    )
    regions_not_covered: tuple[str, ...] = entry("Regions below that fraction.", default=())
    regions_lost: tuple[str, ...] = entry("Regions without any voxel in the run.", default=())
    atlas_space: str = entry("Template that the atlas is drawn in.", default="unknown")
    hazards: tuple[str, ...] = entry("Possible problems with the signals.", default=())
    excluded: str | None = entry(
        "Why no sample of the run is used; null: the run is used.", default=None
    )


@dataclass(frozen=True, slots=True)
class Column:
    """Description of one column of a table."""

    description: str
    units: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the entry of the column in a sidecar."""
        units = {"Units": self.units} if self.units else {}
        return {"Description": self.description, **units}


@dataclass(frozen=True, kw_only=True)
class OneSigned(Record):
    """Measures that are not tested against 0, and the reason."""

    figures: tuple[str, ...] = entry("Names of the measures.")
    reason: str = entry("Why they are not tested.")


# Entry in the sidecar of a table of regions about measures that are not tested against 0.
NOT_AGAINST_ZERO = OneSigned(
    figures=tuple(OF_MAGNITUDE),
    reason="These are made of absolute values. Some have the same sign for every map; the others "
    "differ from 0 because the errors of a region's connections to and from others are not "
    "equally large. Differences between subjects are tested.",
)


@dataclass(frozen=True, kw_only=True)
class TableSidecar(Record):
    """Sidecar of a table whose rows are not samples; its columns are keys beside the others."""

    description: str = entry("Content of the table.")
    grid: SpatialGrid | None = None
    links: Links | None = None
    subject_fields: SubjectFields | None = None
    not_tested_against_zero: OneSigned | None = None
    columns: Mapping[str, Column]

    def to_json(self) -> dict[str, object]:
        """Return the sidecar as a JSON object."""
        content: dict[str, object] = {"Description": self.description}
        for part in (self.grid, self.links, self.subject_fields):
            content |= part.to_json() if part else {}
        if self.links and not self.links.node_files:
            del content["NodeFiles"]
        if self.not_tested_against_zero:
            content["NotTestedAgainstZero"] = self.not_tested_against_zero.to_json()
        return content | {name: column.to_json() for name, column in self.columns.items()}


@dataclass(frozen=True, kw_only=True)
class AtlasSidecar(Record):
    """Sidecar of the image of an atlas."""

    description: str = entry("Content of the image.")
    grid: SpatialGrid = flat()
    manual: bool = entry("Whether the regions were drawn by hand.", default=False)
    label_map: tuple[str, ...] = entry("Names of the regions, in order.")


@dataclass(frozen=True, kw_only=True)
class Axis(Record):
    """One axis of a matrix."""

    name: str = entry("Name of the axis.")
    description: str = entry("What the axis represents.")


_AXES = (
    Axis(name="source", description="rows: the region that is perturbed"),
    Axis(name="target", description="columns: the region that responds"),
)
_PAIRS = (Axis(name="source", description="rows"), Axis(name="target", description="columns"))


@dataclass(frozen=True, kw_only=True)
class MatrixFields(Record):
    """Fields that describe the entries of every matrix (BEP017)."""

    description: str = entry("Content of the matrix.", default="")
    relationship_measure: str = entry(
        "Measure of the relationship between two regions.", default=""
    )
    measure_description: str = entry("How the measure is computed.", default="")
    measure_units: str = entry("Unit of the entries.", default="")
    minimum: float | None = entry("Least value of an entry.", default=None, omit=True)
    maximum: float | None = entry("Largest value of an entry.", default=None, omit=True)
    weighted: bool = entry("Whether the entries are weighted.", default=True)
    directed: bool = entry("Whether rows and columns play different roles.", default=True)
    valid_diagonal: bool = entry("Whether the diagonal is meaningful.", default=True)
    non_negative: bool = entry("Whether no entry can be negative.", default=False)
    storage_format: str = entry("Which part of the matrix is stored.", default="Full")
    software: str = entry("Software that computed the matrix.", default="npi-bids")
    axes: tuple[Axis, ...] = entry("What rows and columns are.", default=())


@dataclass(frozen=True, kw_only=True)
class MatrixSidecar(Record):
    """Sidecar of a matrix of a model beside the map."""

    matrix: MatrixFields = flat()
    grid: SpatialGrid = flat()
    links: Links = flat()
    model_sidecar: str = entry(
        "BIDS URI of the sidecar of the map, which describes the training, the quality and the "
        "verdict of the model.",
        default="",
    )


@dataclass(frozen=True, kw_only=True)
class Perturbation(Record):
    """Perturbation of the model."""

    strength: float = entry("Strength of the perturbation.")
    unit: str = entry("Unit of the strength.", default="standard deviations of the source")
    sign: str = entry("Whether the source was raised, lowered, or both in turn.")
    kind: str = entry("Which regions were perturbed at once.", default="single")
    sustained: bool = entry("Whether the perturbation was sustained.", default=False)
    together: tuple[str, ...] = entry("Sets of regions that were perturbed at once.", default=())
    steps_ahead: int = entry("Number of samples after which the effect was measured.", default=1)
    lag_seconds: float = entry("The same in seconds.", default=float("nan"))


@dataclass(frozen=True, kw_only=True)
class PretrainedOrigin(Record):
    """The pre-trained surrogate that a model was shrunk towards."""

    file: str = entry("Name of its file.", default="")
    digest: str = entry("Short hash of the file.", default="")
    number_of_subjects: int = entry("Number of subjects that it was trained on.", default=0)
    subject_included: bool | None = entry(
        "Whether the subject of the model is one of them; null: not known.", default=None
    )
    subject_left_out: bool | None = entry(
        "Whether the subject was left out of the group that its map is shrunk towards, as in "
        "earlier versions.",
        default=None,
    )
    folds: int = entry(
        "Number of parts of the group that were left out in turn to measure prediction.", default=0
    )
    precision_symmetric: float = entry(
        "Precision of the prior on the symmetric part of the drift.", default=float("nan")
    )
    precision_antisymmetric: float = entry(
        "Precision of the prior on the antisymmetric part of the drift.", default=float("nan")
    )
    note: str = entry("Caveat.", default="")


@dataclass(frozen=True, kw_only=True)
class DelayMapOrigin(Record):
    """The map of delays that was known for the regions of a model."""

    file: str = entry("Name of its file.", default="")
    digest: str = entry("Short hash of the file.", default="")
    columns: tuple[str, ...] = entry(
        "Its columns; Training.DelayMapUsed states whether the delays follow it.", default=()
    )


@dataclass(frozen=True, kw_only=True)
class ExpectedAccuracy(Record):
    """Accuracy of simulated maps with comparable quality metrics; null where there are none."""

    value: float = entry("Correlation with the truth.", default=float("nan"))
    interval_90: tuple[float, ...] = entry("Limits of its 90 % interval.", default=())


@dataclass(frozen=True, kw_only=True)
class UncertaintySource(Record):
    """Origin of the standard errors."""

    method: str = entry("posterior, bootstrap, or empty.", default="")
    resamples: int = entry("Number of bootstrap resamples.", default=0)


@dataclass(frozen=True, kw_only=True)
class KindDecision(Record):
    """Kind of fit that was decided for the dataset, where the subject had chosen another."""

    decided_by: str = entry("Who decided: the dataset, that is, most of its subjects.")
    kind: str = entry("Kind that was decided.")
    own_kind: str = entry("Kind that the data of this subject had chosen.")
    subjects_of_kind: Mapping[str, float] = entry(
        "Number of subjects that chose each kind; a subject with several models has one vote, "
        "which they share."
    )
    own_choices: FitChoices = entry("Choices of the data of this subject.")
    settings: Mapping[str, str] = entry(
        "Training settings that impose the decided kind.", block=True
    )


@dataclass(frozen=True, kw_only=True)
class FittedModel(Record):
    """Description of a fitted model: training, perturbation, quality and verdict."""

    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    training: Mapping[str, Any] = entry(
        "Settings of the training, and quantities determined by the fit.", block=True
    )
    perturbation: Perturbation = entry("How the surrogate was perturbed.")
    pretrained: PretrainedOrigin | None = entry(
        "The surrogate of a group that the model was shrunk towards.", default=None, omit=True
    )
    kind_decision: KindDecision | None = entry(
        "Kind of fit that was decided for the dataset; missing where it is the subject's own.",
        default=None, omit=True,
    )  # fmt: skip
    delay_map: DelayMapOrigin | None = entry(
        "What was known of the delays of regions.", default=None, omit=True
    )
    verdict: str = entry("How far the map can be trusted: pass, caution or fail.")
    verdict_reasons: tuple[str, ...] = entry("Reasons for the verdict, the most serious first.")
    verdict_thresholds: VerdictSettings = entry("Thresholds of the verdict.")
    grades: Grades = entry(
        "Which statements hold: Data (good, good as far as known, limited, poor; DataReasons says "
        "why), Connections and Direction (single connections, strengths and networks, group "
        "averages; else nothing, not supported, not rated).",
        default=Grades(NOT_RATED, NOT_RATED, NOT_SUPPORTED),
    )
    direction_supported: bool = entry(
        "Whether the signals differ from their time-reversed version.", default=False
    )
    expected_r: ExpectedAccuracy = entry(
        "Accuracy of simulated maps with comparable quality metrics.", default=ExpectedAccuracy()
    )
    expected_r_antisymmetric: ExpectedAccuracy = entry(
        "The same for the antisymmetric part.", default=ExpectedAccuracy()
    )
    hazards: tuple[str, ...] = entry("Possible problems with the map.", default=())
    uncertainty: UncertaintySource = entry(
        "Origin of the standard errors.", default=UncertaintySource()
    )
    quality: Quality = entry("Quality metrics, as in logs/quality.tsv.")
    regions_in_model: int = entry("Number of regions covered in every run.")
    samples_per_run: tuple[int, ...] = entry("Samples of each run.", default=())
    samples_kept_per_run: tuple[int, ...] = entry("Samples of each run that are used.", default=())
    windows_per_run: tuple[int, ...] = entry("Training pairs from each run.", default=())
    seed: int = entry("Seed of all random numbers.")
    device: str = entry("Device on which the surrogate was trained.", default="")
    software_versions: Mapping[str, str] = entry("Versions of the software.")


@dataclass(frozen=True, kw_only=True)
class ModelSidecar(Record):
    """Sidecar of the map of a model: the matrix and the description of the model."""

    matrix: MatrixFields = flat()
    grid: SpatialGrid = flat()
    links: Links = flat()
    fit: FittedModel = flat()


@dataclass(frozen=True, kw_only=True)
class SurrogateSidecar(Record):
    """JSON beside the weights of a fitted surrogate, with all that is needed to load them."""

    labels: tuple[str, ...] = entry("Names of the regions, in order.")
    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    training: Mapping[str, Any] = entry(
        "Settings of the training, and quantities determined by the fit.", block=True
    )
    model_sidecar: str = entry("BIDS URI of the sidecar of the map.", default="")
    links: Links = flat()


@dataclass(frozen=True, kw_only=True)
class SeriesSummary(Record):
    """The part of the summary of a run that a model needs."""

    tr: float = entry("Sampling period (s).")
    regressors: tuple[str, ...] = entry("Confounds that were regressed out.", default=())
    hazards: tuple[str, ...] = entry("Possible problems with the signals.", default=())
    excluded: str = entry("Why no sample of the run is used.", default="")
    n_samples: int = entry("Samples of the run.", default=0)
    n_dummy: int = entry("Samples left out at the start.", default=0)
    n_censored: int = entry("Samples left out later.", default=0)
    mean_fd: float = entry("Mean framewise displacement (mm).", default=float("nan"))
    lowest_coverage: float = entry("Lowest coverage of a covered region.", default=float("nan"))


@dataclass(frozen=True, kw_only=True)
class PosteriorFields(Record):
    """How the posterior of the parameters of a whole-brain model was inferred."""

    model: str = entry("Whole-brain model.")
    model_description: str = entry("The model in words, with its source.", default="")
    observation: str = entry("How simulated signals are observed: white or regional.")
    position: str = entry(
        "Whether the subject lies inside or outside what the model can produce; the posterior of "
        "a subject outside is not to be read."
    )
    position_p: float = entry(
        "Share of simulated subjects that are at least as far from the others.", key="PositionP"
    )
    position_statistics: Mapping[str, float] = entry(
        "Mahalanobis distance of the features from all simulations, that of all and of structural "
        "features from simulations with similar parameters, log odds that the regions are in "
        "another order than those of the structure, and area under the ROC curve of the "
        "classifier two-sample test."
    )
    position_typical: Mapping[str, float] = entry(
        "95 % quantile of these statistics among simulated subjects."
    )
    extreme_features: Mapping[str, float] = entry(
        "Features that are furthest from the simulations, in standard deviations.", factory=dict
    )
    predicted_fc_r: float = entry(
        "Correlation of the subject's FC with that of simulations from the posterior."
    )
    best_fc_r: float = entry("Largest correlation of FC with a single simulation.")
    simulations_close_in_fc: int = entry(
        "Number of simulations whose correlation of FC is within .02 of the largest; FC alone "
        "does not tell them apart."
    )
    number_of_simulations: int = entry("Simulated subjects that the flows were trained on.")
    number_held_out: int = entry("Simulated subjects that calibration is measured on.")
    flows: int = entry("Flows of the ensemble that are used.")
    flows_dropped: int = entry("Flows that were dropped as failed.")
    tarp_p: float = entry("p of TARP: whether all parameters together are calibrated.")
    features: tuple[str, ...] = entry("Features of the signals.")
    structural_connectivity: str = entry("Table of the structural connectivity.", default="")
    simulation_hash: str = entry("Short hash of all that determines the simulations.")
    seed: int = entry("Seed of all random numbers.")
    software_versions: Mapping[str, str] = entry("Versions of the software.")


_PARAMETER_COLUMNS = {
    "name": Column("Name of the parameter."),
    "mean": Column("Posterior mean."),
    "sd": Column("Posterior standard deviation."),
    **{
        name: Column(f"{percent:g} % quantile of the posterior.")
        for name, percent in (
            *(("q025", 2.5), ("q25", 25), ("median", 50)),
            *(("q75", 75), ("q975", 97.5)),
        )
    },
    "identification": Column(
        "identified, weakly identified or not identified, by the contraction and by R2 on "
        "simulated subjects; the value of a parameter that is not identified is that of the prior."
    ),
    "contraction": Column(
        "1 minus the variance of the posterior over that of the prior, on the scale on which the "
        "prior is flat."
    ),
    "first_half": Column("Posterior median of the first half of every run."),
    "second_half": Column("Posterior median of the second half of every run."),
    "halves_agree": Column("1 if the 80 % intervals of the halves overlap, otherwise 0."),
    "best_fc": Column("Value of the simulation with the best correlation of FC."),
    "close_fc_low": Column("Least value of the simulations within .02 of that correlation."),
    "close_fc_high": Column("Largest value of the simulations within .02 of that correlation."),
    "prior_low": Column("Lower end of the prior."),
    "prior_high": Column("Upper end of the prior."),
    "units": Column("Units of all values of the row but contraction; n/a: none."),
    "meaning": Column("Meaning of the parameter."),
}


@dataclass(frozen=True, kw_only=True)
class PosteriorSidecar(Record):
    """Sidecar of the samples of the parameters of a whole-brain model."""

    description: str = entry("Content of the table.")
    links: Links = flat()
    inference: PosteriorFields = flat()


@dataclass(frozen=True, kw_only=True)
class ParametersSidecar(PosteriorSidecar):
    """Sidecar of the table of the parameters of a whole-brain model."""

    def to_json(self) -> dict[str, object]:
        """Return the sidecar as a JSON object, with the columns of the table."""
        columns: dict[str, object] = {
            name: column.to_json() for name, column in _PARAMETER_COLUMNS.items()
        }
        return super().to_json() | columns


@dataclass(frozen=True, kw_only=True)
class ModelOutcome(Record):
    """Outcome of fitting one model, passed from the fit to the output dataset."""

    reason: str = entry("Why there is no model; empty where there is one.", default="")
    labels: tuple[str, ...] = entry("Names of the regions, in order.", default=())
    fit: FittedModel | None = entry("Description of the fitted model.", default=None)

    def with_kind(self, decision: KindDecision) -> ModelOutcome:
        """Return the outcome with the decision on the kind of the fit, if there is a fit."""
        if self.fit is None:
            return self
        return replace(self, fit=replace(self.fit, kind_decision=decision))


@dataclass(frozen=True, kw_only=True)
class SplitHalf(Record):
    """Agreement of the mean maps of random halves of the subjects."""

    mean: float = entry("Mean correlation; null below four subjects.", default=float("nan"))
    sd: float = entry("Its standard deviation.", default=float("nan"), key="SD")


@dataclass(frozen=True, kw_only=True)
class MapReliability(Record):
    """Reliability of the mean map of a group: share of its variance that is no sampling error."""

    all: float = entry("Of all connections.")
    symmetric: float = entry("Of the symmetric part.")
    antisymmetric: float = entry("Of the antisymmetric part.")


@dataclass(frozen=True, kw_only=True)
class Heterogeneity(Record):
    """Differences between the subjects of a group, over the connections that all of them have."""

    relative_sd: float = entry(
        "SD between subjects, relative to the mean map (root mean squares over connections).",
        key="RelativeSD",
    )
    most_different: str = entry(
        "Label of the subject that differs most from the mean; empty below three subjects.",
        default="",
    )
    largest_share: float = entry(
        "Its share of all squared differences from the mean.", default=float("nan")
    )
    outliers: tuple[str, ...] = entry(
        "Labels of the subjects whose maps are outliers.", default=()
    )


@dataclass(frozen=True, kw_only=True)
class DirectionSummary(Record):
    """Test of the direction of a group, against its signals with time reversed."""

    p_together: float = entry("p of all pairs of regions together, by changes of sign.")
    pairs_significant: int = entry("Number of pairs with a family-wise p of at most 0.05.")
    pairs_tested: int = entry("Number of pairs.")
    sign_changes: int = entry("Number of changes of sign.")
    seed: int = entry("Their seed.")


@dataclass(frozen=True, kw_only=True)
class ReliabilitySummary(Record):
    """Agreement of the visits of the same subjects."""

    subjects: int = entry("Number of subjects with several visits.")
    visits: int = entry("Number of visits of each subject.")
    median_icc_21: float = entry("Median of ICC(2,1) over connections.", key="MedianICC21")
    median_icc_31: float = entry("Median of ICC(3,1) over connections.", key="MedianICC31")
    identification_rate: float = entry(
        "Fraction of maps that are most similar to another visit of the same subject."
    )
    mean_r_within: float = entry("Mean correlation of two visits of one subject.")
    mean_r_between: float = entry("Mean correlation of visits of two subjects.")


@dataclass(frozen=True, kw_only=True)
class MotionSummary(Record):
    """Relation between head motion and the maps of a group (QC-EC)."""

    subjects: int = entry("Number of subjects whose motion is known.")
    median_absolute_r: float = entry("Median |r| with mean framewise displacement.")
    share_significant: float = entry(
        "Fraction of connections with q < 0.05.", key="ShareOfEdgesWithQBelow05"
    )
    spearman_with_distance: float = entry("Rank correlation of r with distance.")


@dataclass(frozen=True, kw_only=True)
class SubjectFields(Record):
    """Subjects of a group-level result, and the validity of its tests."""

    subjects: tuple[str, ...] = entry("Labels of the subjects.")
    number_of_subjects: int = entry("Number of these subjects.")
    not_tested: str = entry("Why no test is valid.", default="", omit=True)
    few_subjects: str = entry("Caution about tests over few subjects.", default="", omit=True)
    tested_measure: str = entry(
        "Measure of the subjects' maps that tests and intervals read.", default="", omit=True
    )
    tested_as_they_are: str = entry(
        "What it means that the maps were tested with their prior.", default="", omit=True
    )
    window_power: float | None = entry(
        "Power of the number of windows by which tests weight subjects, from the residuals.",
        default=None, omit=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GroupFields(SubjectFields):
    """How the subjects of a group were combined, and how reliable the result is."""

    minimum_subjects: int = entry("Minimum number of subjects for a connection.", default=0)
    weights: str = entry("How subjects were weighted in mean and SD.", default="none")
    trimmed_share: float = entry(
        "Fraction that the trimmed mean leaves out.", default=float("nan")
    )
    kinds_of_fit: Mapping[str, int] = entry(
        "Number of subjects of each kind of fit.", factory=dict, omit=True
    )
    own_kinds_of_fit: Mapping[str, int] = entry(
        "Number of subjects whose own data chose each kind; missing where nothing was decided for "
        "the dataset.",
        factory=dict,
        omit=True,
    )
    mixed_kinds: str = entry(
        "Caution about a group of several kinds of fit.", default="", omit=True
    )
    group_verdict: str = entry(
        "What the mean map can be trusted for, in words.", default="", omit=True
    )
    connections_tested: int = entry(
        "Number of connections whose mean has a q.", default=0, omit=True
    )
    connections_significant: int = entry(
        "Number of these with q below 0.05.", default=0, omit=True
    )
    heterogeneity: Heterogeneity | None = entry(
        "Differences between the subjects.", default=None, omit=True
    )
    map_reliability: MapReliability | None = entry(
        "Reliability of the mean map.", default=None, omit=True
    )
    expected_r: float = entry(
        "Expected correlation of the mean map with the true connectivity: mean expected accuracy "
        "of the subjects' maps, corrected for attenuation.",
        default=float("nan"),
    )
    direction: DirectionSummary | None = entry(
        "Test of the direction of the group.", default=None, omit=True
    )
    subjects_with_direction: int | None = entry(
        "Number of subjects whose own signals support direction, in all of their maps; null where "
        "that is not known of all.",
        default=None,
    )
    split_half_of_subjects: SplitHalf | None = entry(
        "Agreement between halves of the subjects.", default=None, omit=True
    )
    reliability: ReliabilitySummary | None = entry(
        "Agreement of the visits of the same subjects.", default=None, omit=True
    )
    motion_effect: MotionSummary | None = entry(
        "Relation between head motion and the maps.", default=None, omit=True
    )


@dataclass(frozen=True, kw_only=True)
class ContrastFields(SubjectFields):
    """What was tested over subjects, and how."""

    model: str = entry("Formula of the model.")
    columns: tuple[str, ...] = entry("Columns of the design matrix.")
    left_out: Mapping[str, str] = entry("Subjects that are left out, with the reason.")
    paired: tuple[str, ...] | None = entry("Sessions whose difference is tested.", default=None)
    error_term: str | None = entry(
        "Whether visits of the same subjects are compared (within subjects), or means of subjects "
        "(between subjects); missing where the model is not over sessions.",
        default=None,
        omit=True,
    )
    number_of_visits: int | None = entry("Number of visits.", default=None, omit=True)
    components_per_subject: int | None = entry(
        "Number of comparisons of visits per subject that are tested together.",
        default=None,
        omit=True,
    )
    varying_within: tuple[str, ...] = entry(
        "Variables of the model that vary within subjects.", default=(), omit=True
    )
    varying_within_and_between: tuple[str, ...] = entry(
        "Those among them whose mean differs between subjects. Their effects are tested within "
        "subjects; their means are covariates of tests between subjects.",
        default=(),
        omit=True,
    )
    box_epsilon: float | None = entry(
        "Factor of the degrees of freedom of parametric p of an F test within subjects.",
        default=None,
        omit=True,
    )
    kind_association: float | None = entry(
        "p of an association of the kind of fit with the contrast, by permutation; missing where "
        "there is one kind.",
        default=None,
        omit=True,
    )
    kind_caution: str = entry("Caution about an associated kind of fit.", default="", omit=True)
    harmonized_over: str | None = entry("Column whose effect ComBat removed.", default=None)
    exchanged_within: str | None = entry(
        "Column that defines the blocks within which residuals are exchanged.", default=None
    )
    network_statistic: str = entry("How networks of connections are tested.")
    network_threshold: float = entry("Statistic above which connections form networks.")
    seed: int = entry("Seed of the permutations.")
    contrast: str = entry("What is tested.", default="")
    contrast_weights: tuple[tuple[float, ...], ...] = entry(
        "Weights of the columns, one row per degree of freedom.", default=()
    )
    statistic: str = entry("t, or F of several columns.", default="t")
    permutations: int = entry("Number of permutations.", default=0)
    permuted_by: str | None = entry("What was permuted.", default=None)
    edges_permuted: int | None = entry("Number of connections that were permuted.", default=None)
    correlation_with_windows: float | None = entry(
        "Absolute correlation of what is tested with the number of windows of the subjects.",
        default=None, omit=True,
    )  # fmt: skip
    length_caution: str = entry(
        "Caution about a test that goes along with the length of the scans.",
        default="", omit=True,
    )  # fmt: skip

    @property
    def title(self) -> str:
        """What is tested, for headings and sentences.

        The intercept of a model is the mean of the maps, with equal weights for levels of factors.
        """
        if self.contrast != "Intercept":
            return self.contrast
        if self.paired:
            return "mean change from session {} to session {}".format(*self.paired)
        return "mean over subjects"


@dataclass(frozen=True, kw_only=True)
class SelectionFields(Record):
    """Criteria by which subjects were selected for a group."""

    grouped_by: str | None = entry(
        "Column of participants.tsv whose values define the groups.", default=None
    )
    exclusions_from: str | None = entry("File that lists the subjects left out.", default=None)
    minimum_verdict: str = entry("Lowest verdict of the maps that are included.", default="fail")
    maximum_mean_framewise_displacement: float | None = entry(
        "Mean framewise displacement (mm) above which maps are left out.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class GroupOrigin(Record):
    """Origin of a group-level result."""

    links: Links = flat()
    repetition_time: float = entry("Sampling period (s).", default=float("nan"))
    surrogate: str = entry("Family of the surrogates.", default="")
    pretrained_on: str = entry(
        "Subjects on whom the surrogates were pre-trained; missing where they were not.",
        default="",
        omit=True,
    )
    selection: SelectionFields = flat()


@dataclass(frozen=True, kw_only=True)
class GroupSidecar(Record):
    """Sidecar of a matrix of a group."""

    matrix: MatrixFields = flat()
    grid: SpatialGrid = flat()
    origin: GroupOrigin = flat()
    group: GroupFields = flat()


@dataclass(frozen=True, kw_only=True)
class ContrastSidecar(Record):
    """Sidecar of a matrix of a test over subjects."""

    matrix: MatrixFields = flat()
    grid: SpatialGrid = flat()
    origin: GroupOrigin = flat()
    test: ContrastFields = flat()


@dataclass(frozen=True, kw_only=True)
class SubjectMapFields(Record):
    """How the map of a subject was shrunk towards its group."""

    number_of_subjects: int = entry("Number of subjects of the group.")
    cohort: str | None = entry("Group of the subject; null where there is only one.")
    own_share: float = entry(
        "Weight of the subject's own data in the map; the rest is the mean of the group."
    )
    variance_between_subjects: float = entry("Variance between subjects, mean over connections.")
    variance_from: str = entry("What was compared to estimate it: halves of scans, or visits.")
    note: str = entry("Caveat.")


@dataclass(frozen=True, kw_only=True)
class SubjectMapSidecar(Record):
    """Sidecar of the map of a subject that the group level shrank towards its group."""

    matrix: MatrixFields = flat()
    grid: SpatialGrid = flat()
    links: Links = flat()
    shrinkage: SubjectMapFields = flat()


BLUP_NOTE = (
    "The maps of a group are shrunk towards their common mean and are not independent of each "
    "other: not to be tested, averaged or combined with other groups. Tests read meas-npiunshrunk."
)


@dataclass(frozen=True, kw_only=True)
class ArrayModelSidecar(Record):
    """JSON beside the map of one table of series that is not part of a dataset."""

    description: str = entry("Content of the matrix.")
    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    verdict: str = entry("How far the map can be trusted: pass, caution or fail.")
    verdict_reasons: tuple[str, ...] = entry("Reasons for the verdict, the most serious first.")
    hazards: tuple[str, ...] = entry("Possible problems with the map.")
    quality: Quality = entry("Quality metrics.")
    training: Mapping[str, Any] = entry(
        "Settings of the training, and quantities determined by the fit.", block=True
    )
    perturbation: Mapping[str, Any] = entry("How the surrogate was perturbed.", block=True)
    version: str = entry("Version of npi-bids.")


@dataclass(frozen=True, kw_only=True)
class TruthSidecar(Record):
    """Sidecar of a true map, as simulations write it."""

    units: str = entry("Unit of the entries.", default="")


def describe_output(output_name: str) -> str:
    """Return the description of an output, in sentences."""
    output = CATALOGUE[output_name]
    return f"{output.what}. {output.method}".strip()


def matrix_fields(measure: str, *, mechanistic: bool = False) -> MatrixFields:
    """Return the fields that describe every matrix of a measure.

    Parameters
    ----------
    measure
        Measure of a model, as its name in :data:`npi_bids.bids.outputs.CATALOGUE`.
    mechanistic
        Whether the map is that of a whole-brain model.
    """
    output = CATALOGUE[measure]
    low, high = output.bounds
    return MatrixFields(
        description=f"{output.what}.",
        relationship_measure=output.relation,
        measure_description=_MECHANISTIC
        if mechanistic and measure == MEASURES[0]
        else output.method,
        measure_units=output.units,
        minimum=low,
        maximum=high,
        directed=output.directed,
        valid_diagonal=output.diagonal,
        non_negative=not output.signed,
        axes=_AXES if output.directed else _PAIRS,
    )


@dataclass(frozen=True, slots=True)
class ModelSidecars:
    """The sidecars of all files of one model.

    Attributes
    ----------
    fit
        Description of the model, which only the sidecar of the map contains.
    labels
        Names of the regions.
    grid, links
        Space and grid of the data, and files that the model is derived from.
    uri
        BIDS URI of the sidecar of the map, to which the others refer.
    """

    fit: FittedModel
    labels: tuple[str, ...]
    grid: SpatialGrid
    links: Links
    uri: str

    def describe_matrix(self, measure: str) -> ModelSidecar | MatrixSidecar:
        """Return the sidecar of a measure or of an uncertainty of the map."""
        mechanistic = self.fit.surrogate == WHOLE_BRAIN
        matrix = matrix_fields(measure, mechanistic=mechanistic)
        if measure == MEASURES[0]:
            return ModelSidecar(matrix=matrix, grid=self.grid, links=self.links, fit=self.fit)
        return self._beside(matrix)

    def describe_networks(self) -> MatrixSidecar:
        """Return the sidecar of the map between networks."""
        return self._beside(matrix_fields("npinetworks"))

    def describe_weights(self) -> SurrogateSidecar:
        """Return the JSON beside the weights."""
        return SurrogateSidecar(
            labels=self.labels,
            repetition_time=self.fit.repetition_time,
            surrogate=self.fit.surrogate,
            training=self.fit.training,
            model_sidecar=self.uri,
            links=self.links,
        )

    def describe_strength(self) -> TableSidecar:
        """Return the sidecar of the table of regional measures of the map."""
        return strength_sidecar(self.grid, self.links)

    def describe_region_maps(self, space: str, maps: Sequence[str]) -> TableSidecar:
        """Return the sidecar of the images of regional measures, on the grid of the atlas."""
        return region_maps_sidecar(space, self.links, maps)

    def describe_connections(self) -> TableSidecar:
        """Return the sidecar of the long table of connections."""
        return connections_sidecar(self.links, self.uri)

    def describe_delays(self) -> TableSidecar:
        """Return the sidecar of the table of the regions' delays."""
        return TableSidecar(
            description=describe_output("delays"),
            grid=self.grid,
            links=self.links,
            columns={
                "delay": Column(
                    "By how much the signal of the region lags behind its state, minus the median "
                    "over regions; n/a: not covered.", "s",
                ),
                "standard_error": Column("Its standard error.", "s"),
            },
        )  # fmt: skip

    def describe_posterior(self, output_name: str, fields_: PosteriorFields) -> PosteriorSidecar:
        """Return the sidecar of the parameters of a whole-brain model, or of their samples."""
        return posterior_sidecar(output_name, self.links, fields_)

    def _beside(self, matrix: MatrixFields) -> MatrixSidecar:
        return MatrixSidecar(
            matrix=matrix, grid=self.grid, links=self.links, model_sidecar=self.uri
        )


def posterior_sidecar(
    output_name: str, links: Links, fields_: PosteriorFields
) -> PosteriorSidecar:
    """Return the sidecar of ``parameters`` or ``posterior``."""
    kind = ParametersSidecar if output_name == "parameters" else PosteriorSidecar
    return kind(description=describe_output(output_name), links=links, inference=fields_)


def run_sidecar(
    output_name: str, summary: RunSummary, settings: RunSettings, grid: SpatialGrid, links: Links
) -> SeriesSidecar:
    """Return the sidecar of a table over time.

    Parameters
    ----------
    output_name
        timeseries, outliers, design or raw.
    summary
        Summary of the extraction and the denoising of the run.
    settings
        Settings of its denoising and of coverage.
    grid, links
        Space and grid of the run, and files that the table is derived from.
    """
    denoise, coverage = settings
    shared: dict[str, Any] = {
        "description": describe_output(output_name),
        "sampling_frequency": 1 / summary.tr,
        "repetition_time": summary.tr,
        "grid": grid,
        "links": links,
    }
    if output_name != "timeseries":
        return SeriesSidecar(**shared)
    return RunSidecar(
        **shared,
        number_of_samples=summary.n_samples,
        samples_kept=summary.n_kept,
        dummy_scans=summary.n_dummy,
        samples_censored=summary.n_censored,
        samples_damaged=summary.n_damaged,
        framewise_displacement_threshold=denoise.fd_thresh,
        mean_framewise_displacement=summary.mean_fd,
        max_framewise_displacement=summary.max_fd,
        denoising=summary.strategy,
        denoising_description=summary.strategy_description,
        regressors=summary.regressors,
        global_signal_regression=denoise.gsr,
        high_pass=denoise.high_pass,
        low_pass=denoise.low_pass,
        smoothing_fwhm=denoise.smoothing,
        standardize=denoise.standardize,
        minimum_coverage=coverage.min_coverage,
        regions_not_covered=summary.regions_uncovered,
        regions_lost=summary.regions_lost,
        atlas_space=summary.atlas_space,
        hazards=summary.hazards,
        excluded=summary.excluded or None,
    )


def coverage_sidecar(grid: SpatialGrid, links: Links) -> TableSidecar:
    """Return the sidecar of a coverage table, with a description of its columns."""
    return TableSidecar(
        description=describe_output("coverage"),
        grid=grid,
        links=links,
        columns={
            "n_voxels": Column("Voxels (or summed weights) of the region on the run's grid."),
            "coverage": Column("Fraction of them that lie in the brain mask and contain signal."),
            "covered": Column("True where the coverage reaches the threshold."),
        },
    )


def mean_sidecar(grid: SpatialGrid, links: Links) -> TableSidecar:
    """Return the sidecar of the mean volume of a run."""
    return TableSidecar(description=describe_output("mean"), grid=grid, links=links, columns={})


def strength_sidecar(grid: SpatialGrid, links: Links) -> TableSidecar:
    """Return the sidecar of a table of the regional measures of a map."""
    units = "sum of the entries of the map"
    return TableSidecar(
        description=describe_output("strength"),
        grid=grid,
        links=links,
        columns={
            "network": Column("Network that the region belongs to."),
            "out_strength": Column("Sum of the outgoing connections of the region.", units),
            "in_strength": Column("Sum of the incoming connections of the region.", units),
            **{
                f"{way}_{sign}": Column(f"The same for {sign} entries only.", units)
                for way in ("out", "in")
                for sign in ("positive", "negative")
            },
            "net_flow": Column("Sum of absolute outgoing minus absolute incoming entries.", units),
            "asymmetry": Column(
                "0: connections are equal in both directions; 1: one direction only."
            ),
            "hierarchy": Column(
                "Trophic level: sources low, targets high (MacKay, Johnson and Sansom 2020, "
                "doi:10.1098/rsos.201138)."
            ),
        },
    )


def region_maps_sidecar(space: str, links: Links, maps: Sequence[str]) -> TableSidecar:
    """Return the sidecar of images of regional measures; ``maps`` names them in their order."""
    columns = strength_sidecar(SpatialGrid(), links).columns
    return TableSidecar(
        description=f"{describe_output('strengthmap')} In this order: {', '.join(maps)}.",
        grid=describe_grid({"space": space}),
        links=links,
        columns={name: columns[name] for name in maps},
    )


def connections_sidecar(links: Links, uri: str) -> TableSidecar:
    """Return the sidecar of the long table of a map; ``uri`` names the sidecar of the map."""
    units = CATALOGUE[MEASURES[0]].units
    return TableSidecar(
        description=f"{describe_output('connections')} The map is described in {uri}.",
        links=links,
        columns={
            "source": Column("Region that the connection comes from."),
            "target": Column("Region that it leads to."),
            "value": Column("Effective connectivity (meas-npi); n/a: not covered.", units),
            "error": Column("Its standard error.", units),
            "q": Column("False discovery rate of the connection (meas-npiq)."),
        },
    )


def region_names_sidecar(space: str) -> TableSidecar:
    """Return the sidecar of a table of regions for which only the names are known."""
    return TableSidecar(
        description="Regions of the supplied series, in the order of all matrices.",
        grid=describe_grid({"space": space}),
        columns={},
    )


def atlas_table_sidecar(space: str) -> TableSidecar:
    """Return the sidecar of an atlas's table of regions."""
    return TableSidecar(
        description="Regions of the atlas, in the order of all matrices.",
        grid=describe_grid({"space": space}),
        columns={
            "network": Column("Network that the region belongs to."),
            **{axis: Column(f"{axis} of the region's centre", "mm") for axis in "xyz"},
        },
    )


def grey_atlas_sidecar(space: str, n_grey: int, labels: Sequence[str]) -> AtlasSidecar:
    """Return the sidecar of an atlas of greyordinates."""
    return AtlasSidecar(
        description="The atlas as it was used: the region of each greyordinate.",
        grid=replace(describe_grid({"space": space}), density=f"{n_grey} greyordinates"),
        label_map=tuple(labels),
    )


def atlas_image_sidecar(
    space: str, voxel_size: Sequence[float], labels: Sequence[str]
) -> AtlasSidecar:
    """Return the sidecar of an atlas image; ``voxel_size`` is in mm."""
    voxels = " x ".join(f"{length:g}" for length in voxel_size)
    return AtlasSidecar(
        description="The atlas as it was used, before it was resampled to each run's grid.",
        grid=replace(
            describe_grid({"space": space}), resolution=f"{voxels} mm, the atlas's own grid"
        ),
        label_map=tuple(labels),
    )


FieldsT = TypeVar("FieldsT", bound=SubjectFields)


def subject_map_sidecar(
    measure: str, grid: SpatialGrid, links: Links, fields_: SubjectMapFields
) -> SubjectMapSidecar:
    """Return the sidecar of the map of a subject that is shrunk towards its group."""
    return SubjectMapSidecar(
        matrix=matrix_fields(measure), grid=grid, links=links, shrinkage=fields_
    )


def group_sidecar(
    measure: str,
    variant: str,
    grid: SpatialGrid,
    origin: GroupOrigin,
    subject_fields: GroupFields | ContrastFields,
) -> GroupSidecar | ContrastSidecar:
    """Return the sidecar of a matrix of a group, or of a test over its subjects.

    Parameters
    ----------
    measure
        Measure of the subjects' matrices.
    variant
        Name of the output of the group or the test.
    grid, origin
        Space and grid of the maps, and their origin.
    subject_fields
        Subjects and methods; ContrastFields lead to the sidecar of a test.
    """
    fields_, output = matrix_fields(measure), CATALOGUE[variant]
    low, high = output.bounds
    matrix = replace(
        fields_,
        description=f"{output.what}: {fields_.relationship_measure}.",
        measure_units=output.units or fields_.measure_units,
        minimum=low,
        maximum=high,
        non_negative=not output.signed,
    )
    subject_fields = qualify_tests(subject_fields, tested=output.tested)
    if isinstance(subject_fields, ContrastFields):
        return ContrastSidecar(matrix=matrix, grid=grid, origin=origin, test=subject_fields)
    return GroupSidecar(matrix=matrix, grid=grid, origin=origin, group=subject_fields)


def qualify_tests(subject_fields: FieldsT, *, tested: bool) -> FieldsT:
    """Return the fields with cautions about tests where the output is based on tests."""
    is_small = (
        subject_fields.number_of_subjects < ENOUGH_SUBJECTS and not subject_fields.not_tested
    )
    return replace(
        subject_fields,
        not_tested=subject_fields.not_tested if tested else "",
        few_subjects=describe_small_sample(subject_fields.number_of_subjects)
        if tested and is_small
        else "",
    )


def describe_small_sample(n_subjects: int) -> str:
    """Return the caution about tests over few subjects."""
    no_q = (
        f" Below {FEWEST_FOR_Q} subjects there is no q value." if n_subjects < FEWEST_FOR_Q else ""
    )
    pooled = (
        " The two subjects say next to nothing about the variance of a single connection, so that "
        "it is taken from all connections together: where one varies more than others, its p is "
        "too low."
        if n_subjects == FEWEST_FOR_VARIANCE
        else ""
    )
    return (
        f"n = {n_subjects}: p values and intervals are based on few subjects (fewer than "
        f"{ENOUGH_SUBJECTS}). They assume normally distributed effects, which cannot be "
        "verified with so few subjects; a single subject can determine them, and only large "
        f"effects can be detected. Treat them as exploratory.{pooled}{no_q}"
    )


def table_sidecar(
    table: str,
    columns: Iterable[str],
    links: Links,
    subject_fields: SubjectFields,
    untested: OneSigned | None = None,
) -> TableSidecar:
    """Return the sidecar of a long table of a group.

    Parameters
    ----------
    table
        Name of the table: edges, regions, networks, subjects or components.
    columns
        Names of its columns.
    links
        Files that it is derived from.
    subject_fields
        Subjects and methods.
    untested
        Regional measures that are not tested against 0.
    """
    names = [name for name in columns if name in _COLUMNS]
    return TableSidecar(
        description=describe_output(table),
        links=links,
        subject_fields=qualify_tests(
            subject_fields, tested=bool({"p", "p_fwe", "lower"} & set(names))
        ),
        not_tested_against_zero=untested,
        columns={name: Column(_COLUMNS[name]) for name in names},
    )


_SD = "SD of the region"
_RESPONSE_COLUMNS = {
    "source": Column("Perturbed region, or regions joined by +."),
    "strength": Column("Perturbation added to the source.", "SD of the source"),
    "step": Column("Samples after the perturbation."),
    "time": Column("The same in seconds.", "s"),
    "region": Column("Region that responds."),
    "response": Column("Its mean change.", _SD),
    "sd": Column("Standard deviation of the change over the states.", _SD),
}


@dataclass(frozen=True, kw_only=True)
class ResponsesSidecar(Record):
    """Sidecar of a table of responses to perturbations."""

    description: str = entry("Content of the table.")
    surrogate: str = entry("Name of the file of the surrogate.")
    surrogate_family: str = entry("Family of the surrogate.")
    repetition_time: float = entry("Sampling period (s).")
    sustained: bool = entry("Whether the perturbation was sustained.")
    number_of_states: int | None = entry(
        "Observed states that were perturbed; null where the response is the same in every state."
    )
    version: str = entry("Version of npi-bids.", default=__version__)

    def to_json(self) -> dict[str, object]:
        """Return the sidecar as a JSON object, with its columns."""
        columns: dict[str, object] = {
            name: column.to_json() for name, column in _RESPONSE_COLUMNS.items()
        }
        return super().to_json() | columns


def responses_sidecar(
    *, surrogate: str, family: str, tr: float, sustained: bool, n_states: int | None
) -> ResponsesSidecar:
    """Return the sidecar of a table of responses to perturbations.

    Parameters
    ----------
    surrogate, family
        File name and family of the surrogate.
    tr
        Sampling period (s).
    sustained
        Whether the perturbation was sustained.
    n_states
        States that were perturbed, or None where the response is the same in every state.
    """
    how = "to every sample until the response is read" if sustained else "to one sample"
    over = f"over {n_states} observed states" if n_states else "the same in every state"
    return ResponsesSidecar(
        description=f"Mean change of every region after a perturbation added {how}, {over}.",
        surrogate=surrogate,
        surrogate_family=family,
        repetition_time=tr,
        sustained=sustained,
        number_of_states=n_states,
    )
