"""Sidecars: a record per kind, with every key and what it means; nobody else spells a key.

Each record is written with ``write`` and read back with ``read``. A key is the name of its field
in CamelCase, as BIDS has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from npi_bids import __version__
from npi_bids.assessment.verdict import VerdictSettings
from npi_bids.bids.outputs import CATALOGUE, MEASURES, Entities
from npi_bids.connectivity.network_measures import ONE_SIGNED
from npi_bids.io.json_records import Record, entry, flat
from npi_bids.records import Quality
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
ENOUGH_SUBJECTS = 10  # below, tests are marked
_COLUMNS = {
    "grouping": "How regions are put together.",
    "figure": "What the maps say of the region; columns of desc-*Strength_dseg.tsv.",
    "region": "Name of the region.",
    "network": "Network of the region.",
    "source": "Region or network that is perturbed.",
    "target": "Region or network that responds.",
    "n": "Subjects that have the value.",
    "mean": "Mean over subjects.",
    "sd": "Sample standard deviation over subjects.",
    "standard_error": "Standard error of the mean or of the effect.",
    "lower": "Lower end of the 95 % interval of the mean.",
    "upper": "Upper end of the 95 % interval of the mean.",
    "t": "t of the mean.",
    "effect": "Effect, by least squares over subjects; n/a for an F test.",
    "statistic": "t or F of the effect.",
    "p": "Two-sided p, not corrected.",
    "q": "p after the correction of Benjamini and Hochberg over all rows of the same figure.",
    "p_permuted": "p by permutation, not corrected.",
    "p_fwe": "p by permutation, family-wise.",
    "p_nbs": "p by permutation, family-wise, of the network of connections it is in.",
    "p_tfnbs": "p by permutation, family-wise, of its threshold-free network score.",
    "sign_consistency": "Fraction of subjects whose value has the sign of the mean.",
    "median": "Median over subjects.",
    "trimmed": "Trimmed mean over subjects.",
    "influence": "Largest change of the mean when one subject is left out, in standard errors.",
    "most_influential": "That subject.",
    "r_with_others": "Correlation of the subject's map with the mean of all others.",
    "outlier": "Whether that is three robust standard deviations lower than usual.",
    "component": "Number of the network of connections.",
    "sign": "Sign of the effect.",
    "n_edges": "Connections of the network.",
}


@dataclass(frozen=True, kw_only=True)
class Place(Record):
    """Space and grid of the data."""

    spatial_reference: str = entry(
        "Template that the data lie in, as a URI, or orig for an individual's space.", default=""
    )
    resolution: str = entry("Grid of the image.", default="", omit=True)
    density: str = entry("Density of the surface.", default="", omit=True)


def place_of(entities: Entities) -> Place:
    """Return space and grid of an output, by its entities."""
    space = entities.get("space", "")
    reference = (
        "orig" if space in _INDIVIDUAL else f"https://www.templateflow.org/browse/#tpl-{space}"
    )
    res, den = entities.get("res"), entities.get("den")
    return Place(
        spatial_reference=reference,
        resolution=f"Resolution of the preprocessed run, res-{res}." if res else "",
        density=f"Density of the preprocessed run, den-{den}." if den else "",
    )


@dataclass(frozen=True, kw_only=True)
class Links(Record):
    """Files that an output comes from, and the settings behind it."""

    node_files: tuple[str, ...] = entry("BIDS URI of the table of regions.", default=())
    sources: tuple[str, ...] = entry("BIDS URIs of the files it was computed from.", default=())
    configuration_hash: str = entry(
        "Short hash of all settings that shape a result; an output dataset holds one.",
        default="", omit=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeriesSidecar(Record):
    """Sidecar of a table over time."""

    description: str = entry("What the file holds.", default="")
    sampling_frequency: float = entry("Samples per second (Hz).", default=float("nan"))
    start_time: float = entry("Time of the first sample (s).", default=0)
    repetition_time: float = entry("Sampling period (s).")
    place: Place = flat()
    links: Links = flat()


@dataclass(frozen=True, kw_only=True)
class RunSidecar(SeriesSidecar):
    """Sidecar of the regional signals of one run: how they were made, and what was left out."""

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
        "Share of a region that must hold signal.", default=float("nan")
    )
    regions_not_covered: tuple[str, ...] = entry("Regions below that share.", default=())
    regions_lost: tuple[str, ...] = entry("Regions without any voxel in the run.", default=())
    atlas_space: str = entry("Template that the atlas is drawn in.", default="unknown")
    hazards: tuple[str, ...] = entry("What may have spoilt the signals.", default=())
    excluded: str | None = entry("Why no sample of the run is used; null: some are.", default=None)


@dataclass(frozen=True, slots=True)
class Column:
    """What one column of a table holds."""

    description: str
    units: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the entry of the column in a sidecar."""
        units = {"Units": self.units} if self.units else {}
        return {"Description": self.description, **units}


@dataclass(frozen=True, kw_only=True)
class OneSigned(Record):
    """Figures that are not tested against 0, and why."""

    figures: tuple[str, ...] = entry("Names of the figures.")
    reason: str = entry("Why they are not tested.")


# What the sidecar of a table of regions says of figures that are not tested against 0.
NOT_AGAINST_ZERO = OneSigned(
    figures=tuple(ONE_SIGNED),
    reason="These have one sign whatever the map is, so that their mean always differs from 0; "
    "differences between subjects are tested.",
)


@dataclass(frozen=True, kw_only=True)
class TableSidecar(Record):
    """Sidecar of a table whose rows are not samples; its columns stand beside the other keys."""

    description: str = entry("What the table holds.")
    place: Place | None = None
    links: Links | None = None
    facts: SubjectFacts | None = None
    not_tested_against_zero: OneSigned | None = None
    columns: Mapping[str, Column]

    def to_json(self) -> dict[str, object]:
        """Return the sidecar as a JSON object."""
        content: dict[str, object] = {"Description": self.description}
        for part in (self.place, self.links, self.facts):
            content |= part.to_json() if part else {}
        if self.links and not self.links.node_files:
            del content["NodeFiles"]
        if self.not_tested_against_zero:
            content["NotTestedAgainstZero"] = self.not_tested_against_zero.to_json()
        return content | {name: column.to_json() for name, column in self.columns.items()}


@dataclass(frozen=True, kw_only=True)
class AtlasSidecar(Record):
    """Sidecar of the image of an atlas."""

    description: str = entry("What the image holds.")
    place: Place = flat()
    manual: bool = entry("Whether the regions were drawn by hand.", default=False)
    label_map: tuple[str, ...] = entry("Names of the regions, in order.")


@dataclass(frozen=True, kw_only=True)
class Axis(Record):
    """One axis of a matrix."""

    name: str = entry("Name of the axis.")
    description: str = entry("What lies along it.")


_AXES = (
    Axis(name="source", description="rows: the region that is perturbed"),
    Axis(name="target", description="columns: the region that responds"),
)
_PAIRS = (Axis(name="source", description="rows"), Axis(name="target", description="columns"))


@dataclass(frozen=True, kw_only=True)
class MatrixFields(Record):
    """What every matrix says of its entries (BEP017)."""

    description: str = entry("What the matrix holds.", default="")
    relationship_measure: str = entry("Measure of the relation of two regions.", default="")
    measure_description: str = entry("How the measure is computed.", default="")
    measure_units: str = entry("Unit of the entries.", default="")
    minimum: float | None = entry("Least value of an entry.", default=None, omit=True)
    maximum: float | None = entry("Largest value of an entry.", default=None, omit=True)
    weighted: bool = entry("Whether entries have a size.", default=True)
    directed: bool = entry("Whether rows and columns play different parts.", default=True)
    valid_diagonal: bool = entry("Whether the diagonal has a meaning.", default=True)
    non_negative: bool = entry("Whether no entry can be negative.", default=False)
    storage_format: str = entry("Which part of the matrix is stored.", default="Full")
    software: str = entry("What computed it.", default="npi-bids")
    axes: tuple[Axis, ...] = entry("What rows and columns are.", default=())


@dataclass(frozen=True, kw_only=True)
class MatrixSidecar(Record):
    """Sidecar of a matrix of a model beside the map."""

    matrix: MatrixFields = flat()
    place: Place = flat()
    links: Links = flat()
    model_sidecar: str = entry(
        "BIDS URI of the sidecar of the map, which says how the model was trained, how good it "
        "is, and how far it can be trusted.",
        default="",
    )


@dataclass(frozen=True, kw_only=True)
class Perturbation(Record):
    """How the model was perturbed."""

    strength: float = entry("Size of the perturbation.")
    unit: str = entry("Unit of the size.", default="standard deviations of the source")
    sign: str = entry("Whether the source was raised, lowered, or both in turn.")
    kind: str = entry("Which regions were perturbed at once.", default="single")
    sustained: bool = entry("Whether the perturbation was held on.", default=False)
    together: tuple[str, ...] = entry("Sets of regions that were perturbed at once.", default=())
    steps_ahead: int = entry("Samples after which the effect was read.", default=1)
    lag_seconds: float = entry("The same in seconds.", default=float("nan"))


@dataclass(frozen=True, kw_only=True)
class PretrainedOrigin(Record):
    """The pre-trained surrogate that a model was shrunk towards."""

    file: str = entry("Name of its file.", default="")
    digest: str = entry("Short hash of the file.", default="")
    number_of_subjects: int = entry("Subjects that it was trained on.", default=0)
    subject_included: bool | None = entry(
        "Whether the subject of the model is one of them; null: not known.", default=None
    )
    subject_left_out: bool | None = entry(
        "Whether the subject's own part was taken out.", default=None
    )
    folds: int = entry("Parts of the group that were left out in turn.", default=0)
    precision_symmetric: float = entry(
        "Precision of the prior on the symmetric part of the drift.", default=float("nan")
    )
    precision_antisymmetric: float = entry(
        "Precision of the prior on the antisymmetric part of the drift.", default=float("nan")
    )
    note: str = entry("What to bear in mind.", default="")


@dataclass(frozen=True, kw_only=True)
class ExpectedAccuracy(Record):
    """Accuracy of simulated maps with comparable quality metrics; null where there are none."""

    value: float = entry("Correlation with the truth.", default=float("nan"))
    interval_90: tuple[float, ...] = entry("Ends of its 90 % interval.", default=())


@dataclass(frozen=True, kw_only=True)
class UncertaintySource(Record):
    """Where the standard errors come from."""

    method: str = entry("posterior, bootstrap, or nothing.", default="")
    resamples: int = entry("Resamples of the bootstrap.", default=0)


@dataclass(frozen=True, kw_only=True)
class FittedModel(Record):
    """What a fitted model says of itself."""

    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    training: Mapping[str, Any] = entry(
        "Settings of the training, and what the fit decided.", block=True
    )
    perturbation: Perturbation = entry("How the surrogate was perturbed.")
    pretrained: PretrainedOrigin | None = entry(
        "The surrogate of a group that the model was shrunk towards.", default=None, omit=True
    )
    verdict: str = entry("How far the map can be trusted: pass, caution or fail.")
    verdict_reasons: tuple[str, ...] = entry("Why, the gravest reason first.")
    verdict_thresholds: VerdictSettings = entry("Thresholds of the verdict.")
    direction_supported: bool = entry(
        "Whether the signals differ from themselves with time reversed.", default=False
    )
    expected_r: ExpectedAccuracy = entry(
        "Accuracy of simulated maps with comparable quality metrics.", default=ExpectedAccuracy()
    )
    expected_r_antisymmetric: ExpectedAccuracy = entry(
        "The same for the antisymmetric part.", default=ExpectedAccuracy()
    )
    hazards: tuple[str, ...] = entry("What may have spoilt the map.", default=())
    uncertainty: UncertaintySource = entry(
        "Where the standard errors come from.", default=UncertaintySource()
    )
    quality: Quality = entry("Figures of quality, as in logs/quality.tsv.")
    regions_in_model: int = entry("Regions that every run covers.")
    samples_per_run: tuple[int, ...] = entry("Samples of each run.", default=())
    samples_kept_per_run: tuple[int, ...] = entry("Samples of each run that are used.", default=())
    windows_per_run: tuple[int, ...] = entry("Training pairs that each run gave.", default=())
    seed: int = entry("Seed of all random numbers.")
    device: str = entry("What the surrogate was trained on.", default="")
    software_versions: Mapping[str, str] = entry("Versions of the programs behind the result.")


@dataclass(frozen=True, kw_only=True)
class ModelSidecar(Record):
    """Sidecar of the map of a model: the matrix, and all that the model says of itself."""

    matrix: MatrixFields = flat()
    place: Place = flat()
    links: Links = flat()
    fit: FittedModel = flat()


@dataclass(frozen=True, kw_only=True)
class SurrogateSidecar(Record):
    """JSON beside the weights of a fitted surrogate: what it takes to load them."""

    labels: tuple[str, ...] = entry("Names of the regions, in order.")
    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    training: Mapping[str, Any] = entry(
        "Settings of the training, and what the fit decided.", block=True
    )
    model_sidecar: str = entry("BIDS URI of the sidecar of the map.", default="")
    links: Links = flat()


@dataclass(frozen=True, kw_only=True)
class SeriesSummary(Record):
    """What a model needs to know of a run: a part of what its extraction says."""

    tr: float = entry("Sampling period (s).")
    regressors: tuple[str, ...] = entry("Confounds that were regressed out.", default=())
    hazards: tuple[str, ...] = entry("What may have spoilt the signals.", default=())
    excluded: str = entry("Why no sample of the run is used.", default="")


@dataclass(frozen=True, kw_only=True)
class ModelOutcome(Record):
    """What came of fitting one model, as it goes from the fit to the output dataset."""

    reason: str = entry("Why there is no model; empty where there is one.", default="")
    labels: tuple[str, ...] = entry("Names of the regions, in order.", default=())
    fit: FittedModel | None = entry("What the model says of itself.", default=None)


@dataclass(frozen=True, kw_only=True)
class SplitHalf(Record):
    """Agreement of the mean maps of random halves of the subjects."""

    mean: float = entry("Mean correlation; null below four subjects.", default=float("nan"))
    sd: float = entry("Its standard deviation.", default=float("nan"), key="SD")


@dataclass(frozen=True, kw_only=True)
class ReliabilitySummary(Record):
    """Agreement of the visits of the same subjects."""

    subjects: int = entry("Subjects with several visits.")
    visits: int = entry("Visits of each.")
    median_icc_21: float = entry("Median of ICC(2,1) over connections.", key="MedianICC21")
    median_icc_31: float = entry("Median of ICC(3,1) over connections.", key="MedianICC31")
    identification_rate: float = entry(
        "Share of the maps that are most like another visit of the same subject."
    )
    mean_r_within: float = entry("Mean correlation of two visits of one subject.")
    mean_r_between: float = entry("Mean correlation of visits of two subjects.")


@dataclass(frozen=True, kw_only=True)
class MotionSummary(Record):
    """How far head motion shows in the maps of a group (QC-EC)."""

    subjects: int = entry("Subjects whose motion is known.")
    median_absolute_r: float = entry("Median |r| with mean framewise displacement.")
    share_significant: float = entry(
        "Share of the connections with q < 0.05.", key="ShareOfEdgesWithQBelow05"
    )
    spearman_with_distance: float = entry("Rank correlation of r with distance.")


@dataclass(frozen=True, kw_only=True)
class SubjectFacts(Record):
    """Who is in a result over subjects, and how far its tests can be trusted."""

    subjects: tuple[str, ...] = entry("Labels of the subjects.")
    number_of_subjects: int = entry("How many these are.")
    not_tested: str = entry("Why no test holds.", default="", omit=True)
    few_subjects: str = entry(
        "What to bear in mind of tests over few subjects.", default="", omit=True
    )


@dataclass(frozen=True, kw_only=True)
class GroupFacts(SubjectFacts):
    """How the subjects of a group were put together, and how well the group repeats."""

    minimum_subjects: int = entry("Subjects that a connection needs.", default=0)
    weights: str = entry("How subjects were weighted.", default="none")
    trimmed_share: float = entry("Share that the trimmed mean leaves out.", default=float("nan"))
    split_half_of_subjects: SplitHalf | None = entry(
        "Agreement of halves of the subjects.", default=None, omit=True
    )
    reliability: ReliabilitySummary | None = entry(
        "Agreement of the visits of the same subjects.", default=None, omit=True
    )
    motion_effect: MotionSummary | None = entry(
        "How far head motion shows in the maps.", default=None, omit=True
    )


@dataclass(frozen=True, kw_only=True)
class ContrastFacts(SubjectFacts):
    """What was tested over subjects, and how."""

    model: str = entry("Formula of the model.")
    columns: tuple[str, ...] = entry("Columns of the design matrix.")
    left_out: Mapping[str, str] = entry("Subjects that are left out, with the reason.")
    paired: tuple[str, ...] | None = entry("Sessions whose difference is tested.", default=None)
    harmonized_over: str | None = entry("Column whose effect ComBat took out.", default=None)
    exchanged_within: str | None = entry(
        "Column within whose values residuals are exchanged.", default=None
    )
    network_statistic: str = entry("How networks of connections are tested.")
    network_threshold: float = entry("Statistic above which connections form networks.")
    seed: int = entry("Seed of the permutations.")
    contrast: str = entry("What is tested.", default="")
    contrast_weights: tuple[tuple[float, ...], ...] = entry(
        "Weights of the columns, one row per degree of freedom.", default=()
    )
    statistic: str = entry("t, or F of several columns.", default="t")
    permutations: int = entry("Permutations that were drawn.", default=0)
    permuted_by: str | None = entry("What was permuted.", default=None)
    edges_permuted: int | None = entry("Connections that were permuted.", default=None)


@dataclass(frozen=True, kw_only=True)
class SelectionFacts(Record):
    """Who was selected for a group."""

    grouped_by: str | None = entry(
        "Column of participants.tsv whose values make the groups.", default=None
    )
    exclusions_from: str | None = entry("File of the subjects left out.", default=None)
    minimum_verdict: str = entry("Maps of lower verdicts are left out.", default="fail")
    maximum_mean_framewise_displacement: float | None = entry(
        "Maps whose runs moved more (mm) are left out.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class GroupOrigin(Record):
    """What the results over subjects come from."""

    links: Links = flat()
    repetition_time: float = entry("Sampling period (s).", default=float("nan"))
    surrogate: str = entry("Family of the surrogates.", default="")
    pretrained_on: str = entry(
        "On whom the surrogates were pre-trained; missing: they were not.", default="", omit=True
    )
    selection: SelectionFacts = flat()


@dataclass(frozen=True, kw_only=True)
class GroupSidecar(Record):
    """Sidecar of a matrix of a group."""

    matrix: MatrixFields = flat()
    place: Place = flat()
    origin: GroupOrigin = flat()
    group: GroupFacts = flat()


@dataclass(frozen=True, kw_only=True)
class ContrastSidecar(Record):
    """Sidecar of a matrix of a test over subjects."""

    matrix: MatrixFields = flat()
    place: Place = flat()
    origin: GroupOrigin = flat()
    test: ContrastFacts = flat()


@dataclass(frozen=True, kw_only=True)
class ArrayModelSidecar(Record):
    """JSON beside the map of one table of series, which belongs to no dataset."""

    description: str = entry("What the matrix holds.")
    repetition_time: float = entry("Sampling period (s).")
    surrogate: str = entry("Family of the surrogate.")
    verdict: str = entry("How far the map can be trusted: pass, caution or fail.")
    verdict_reasons: tuple[str, ...] = entry("Why, the gravest reason first.")
    hazards: tuple[str, ...] = entry("What may have spoilt the map.")
    quality: Quality = entry("Figures of quality.")
    training: Mapping[str, Any] = entry(
        "Settings of the training, and what the fit decided.", block=True
    )
    perturbation: Mapping[str, Any] = entry("How the surrogate was perturbed.", block=True)
    version: str = entry("Version of npi-bids.")


@dataclass(frozen=True, kw_only=True)
class TruthSidecar(Record):
    """Sidecar of a true map, as simulations write it."""

    units: str = entry("Unit of the entries.", default="")


def description_of(kind: str) -> str:
    """Return what a file holds, in sentences."""
    known = CATALOGUE[kind]
    return f"{known.what}. {known.method}".strip()


def matrix_fields(measure: str, *, mechanistic: bool = False) -> MatrixFields:
    """Return what every matrix of a measure says of itself.

    Parameters
    ----------
    measure
        A matrix of a model, by its kind in :data:`npi_bids.bids.outputs.CATALOGUE`.
    mechanistic
        Whether the map is that of a whole-brain model.
    """
    known = CATALOGUE[measure]
    low, high = known.bounds
    return MatrixFields(
        description=f"{known.what}.",
        relationship_measure=known.relation,
        measure_description=_MECHANISTIC
        if mechanistic and measure == MEASURES[0]
        else known.method,
        measure_units=known.units,
        minimum=low,
        maximum=high,
        directed=known.directed,
        valid_diagonal=known.diagonal,
        non_negative=not known.signed,
        axes=_AXES if known.directed else _PAIRS,
    )


@dataclass(frozen=True, slots=True)
class ModelSidecars:
    """The sidecars of all files of one model.

    Attributes
    ----------
    fit
        What the model says of itself; it stands in the sidecar of the map alone.
    labels
        Names of the regions.
    place, links
        Space of the data, and files that the model comes from.
    uri
        BIDS URI of the sidecar of the map, to which the others refer.
    """

    fit: FittedModel
    labels: tuple[str, ...]
    place: Place
    links: Links
    uri: str

    def of_matrix(self, measure: str) -> ModelSidecar | MatrixSidecar:
        """Return the sidecar of a measure or of an uncertainty of the map."""
        mechanistic = self.fit.surrogate == WHOLE_BRAIN
        matrix = matrix_fields(measure, mechanistic=mechanistic)
        if measure == MEASURES[0]:
            return ModelSidecar(matrix=matrix, place=self.place, links=self.links, fit=self.fit)
        return self._beside(matrix)

    def of_networks(self) -> MatrixSidecar:
        """Return the sidecar of the map between networks."""
        return self._beside(matrix_fields("npinetworks"))

    def of_weights(self) -> SurrogateSidecar:
        """Return the JSON beside the weights."""
        return SurrogateSidecar(
            labels=self.labels,
            repetition_time=self.fit.repetition_time,
            surrogate=self.fit.surrogate,
            training=self.fit.training,
            model_sidecar=self.uri,
            links=self.links,
        )

    def of_strength(self) -> TableSidecar:
        """Return the sidecar of the table of what the map says of its regions."""
        return strength_sidecar(self.place, self.links)

    def of_delays(self) -> TableSidecar:
        """Return the sidecar of the table of the regions' delays."""
        return TableSidecar(
            description=description_of("delays"),
            place=self.place,
            links=self.links,
            columns={
                "delay": Column(
                    "By how much the signal of the region lags behind its state, less the median "
                    "over regions; n/a: not covered.", "s",
                ),
                "standard_error": Column("Its standard error.", "s"),
            },
        )  # fmt: skip

    def _beside(self, matrix: MatrixFields) -> MatrixSidecar:
        return MatrixSidecar(
            matrix=matrix, place=self.place, links=self.links, model_sidecar=self.uri
        )


def run_sidecar(
    kind: str, summary: RunSummary, settings: RunSettings, place: Place, links: Links
) -> SeriesSidecar:
    """Return the sidecar of a table over time.

    Parameters
    ----------
    kind
        timeseries, outliers, design or raw.
    summary
        What happened to the run.
    settings
        How it was cleaned, and which regions count.
    place, links
        Space of the run, and files that the table comes from.
    """
    denoise, coverage = settings
    shared: dict[str, Any] = {
        "description": description_of(kind),
        "sampling_frequency": 1 / summary.tr,
        "repetition_time": summary.tr,
        "place": place,
        "links": links,
    }
    if kind != "timeseries":
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


def coverage_sidecar(place: Place, links: Links) -> TableSidecar:
    """Return the sidecar of a coverage table, with its columns described."""
    return TableSidecar(
        description=description_of("coverage"),
        place=place,
        links=links,
        columns={
            "n_voxels": Column("Voxels (or summed weights) of the region on the run's grid."),
            "coverage": Column("Share of them that lie in the brain mask and hold signal."),
            "covered": Column("True where the coverage reaches the threshold."),
        },
    )


def strength_sidecar(place: Place, links: Links) -> TableSidecar:
    """Return the sidecar of a table of what a map says of its regions."""
    units = "sum of the entries of the map"
    return TableSidecar(
        description=description_of("strength"),
        place=place,
        links=links,
        columns={
            "network": Column("Network that the region belongs to."),
            "out_strength": Column("Sum of what the region sends.", units),
            "in_strength": Column("Sum of what the region receives.", units),
            **{
                f"{way}_{sign}": Column(f"The same of {sign} entries alone.", units)
                for way in ("out", "in")
                for sign in ("positive", "negative")
            },
            "net_flow": Column("Absolute entries sent less those received.", units),
            "asymmetry": Column("0: both ways are alike with all others; 1: one-way only."),
            "hierarchy": Column(
                "Trophic level: sources low, targets high (MacKay, Johnson and Sansom 2020, "
                "doi:10.1098/rsos.201138)."
            ),
        },
    )


def region_names_sidecar(space: str) -> TableSidecar:
    """Return the sidecar of a table of regions of which only the names are known."""
    return TableSidecar(
        description="Regions of the series that were given, in the order of all matrices.",
        place=place_of({"space": space}),
        columns={},
    )


def atlas_table_sidecar(space: str) -> TableSidecar:
    """Return the sidecar of an atlas's table of regions."""
    return TableSidecar(
        description="Regions of the atlas, in the order of all matrices.",
        place=place_of({"space": space}),
        columns={
            "network": Column("Network that the region belongs to."),
            **{axis: Column(f"{axis} of the region's centre", "mm") for axis in "xyz"},
        },
    )


def grey_atlas_sidecar(space: str, n_grey: int, labels: Sequence[str]) -> AtlasSidecar:
    """Return the sidecar of an atlas of greyordinates."""
    return AtlasSidecar(
        description="The atlas as it was used: the region of each greyordinate.",
        place=replace(place_of({"space": space}), density=f"{n_grey} greyordinates"),
        label_map=tuple(labels),
    )


def atlas_image_sidecar(space: str, size: Sequence[float], labels: Sequence[str]) -> AtlasSidecar:
    """Return the sidecar of an atlas's image; ``size`` of its voxels in mm."""
    grid = " x ".join(f"{length:g}" for length in size)
    return AtlasSidecar(
        description="The atlas as it was used, before it was resampled to each run's grid.",
        place=replace(place_of({"space": space}), resolution=f"{grid} mm, the atlas's own grid"),
        label_map=tuple(labels),
    )


FactsT = TypeVar("FactsT", bound=SubjectFacts)


def group_sidecar(
    measure: str,
    variant: str,
    place: Place,
    origin: GroupOrigin,
    facts: GroupFacts | ContrastFacts,
) -> GroupSidecar | ContrastSidecar:
    """Return the sidecar of a matrix of a group, or of a test over its subjects.

    Parameters
    ----------
    measure
        What the subjects' matrices are.
    variant
        What is known of the group's or the model's edges.
    place, origin
        Space of the maps, and what they come from.
    facts
        Who is in, and what was done: ContrastFacts make the sidecar of a test.
    """
    fields_, known = matrix_fields(measure), CATALOGUE[variant]
    low, high = known.bounds
    matrix = replace(
        fields_,
        description=f"{known.what}: {fields_.relationship_measure}.",
        measure_units=known.units or fields_.measure_units,
        minimum=low,
        maximum=high,
        non_negative=not known.signed,
    )
    facts = with_trust(facts, tested=known.tested)
    if isinstance(facts, ContrastFacts):
        return ContrastSidecar(matrix=matrix, place=place, origin=origin, test=facts)
    return GroupSidecar(matrix=matrix, place=place, origin=origin, group=facts)


def with_trust(facts: FactsT, *, tested: bool) -> FactsT:
    """Return facts with how far tests can be trusted, where the output rests on tests."""
    few = facts.number_of_subjects < ENOUGH_SUBJECTS and not facts.not_tested
    return replace(
        facts,
        not_tested=facts.not_tested if tested else "",
        few_subjects=few_subjects(facts.number_of_subjects) if tested and few else "",
    )


def few_subjects(n_subjects: int) -> str:
    """Return what to bear in mind of tests over few subjects."""
    return (
        f"n = {n_subjects}: p values and intervals rest on few subjects (fewer than "
        f"{ENOUGH_SUBJECTS}). They assume normally distributed effects, which so few subjects "
        "cannot show; a single subject can decide them, and only large effects can be found. "
        "Treat them as exploratory."
    )


def table_sidecar(
    table: str,
    columns: Iterable[str],
    links: Links,
    facts: SubjectFacts,
    untested: OneSigned | None = None,
) -> TableSidecar:
    """Return the sidecar of a long table of a group.

    Parameters
    ----------
    table
        What is in its rows: edges, regions, networks, subjects or components.
    columns
        Of the table.
    links
        Files that it comes from.
    facts
        Who is in, and what was done.
    untested
        Figures of regions that are not tested against 0.
    """
    names = [name for name in columns if name in _COLUMNS]
    return TableSidecar(
        description=description_of(table),
        links=links,
        facts=with_trust(facts, tested=bool({"p", "p_fwe", "lower"} & set(names))),
        not_tested_against_zero=untested,
        columns={name: Column(_COLUMNS[name]) for name in names},
    )


_SD = "SD of the region"
_RESPONSE_COLUMNS = {
    "source": Column("Perturbed region, or regions joined by +."),
    "strength": Column("What was added to the source.", "SD of the source"),
    "step": Column("Samples after the perturbation."),
    "time": Column("The same in seconds.", "s"),
    "region": Column("Region that responds."),
    "response": Column("Its mean change.", _SD),
    "sd": Column("Standard deviation of the change over the states.", _SD),
}


@dataclass(frozen=True, kw_only=True)
class ResponsesSidecar(Record):
    """Sidecar of a table of responses to perturbations."""

    description: str = entry("What the table holds.")
    surrogate: str = entry("Name of the file of the surrogate.")
    surrogate_family: str = entry("Its family.")
    repetition_time: float = entry("Sampling period (s).")
    sustained: bool = entry("Whether the perturbation was held on.")
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
        Name of the file of the surrogate, and its family.
    tr
        Sampling period (s).
    sustained
        Whether the perturbation was held on.
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
