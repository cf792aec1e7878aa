"""The catalogue of outputs: every kind of file that npi-bids writes, its name and its content.

File names, the texts of sidecars, the rows of ``descriptions.tsv``, the table in the
documentation, the titles on pages, and the patterns by which files are found again are all
derived from :data:`CATALOGUE`.

``timeseries`` (BEP012) and ``relmat`` (BEP017) are drafts of the BIDS standard; when they change,
only this file has to change. Coverage is a table of regions, which the standard calls
``dseg.tsv``; the outliers and the design matrix are time courses, which the draft calls
``timeseries.tsv``. BIDS has no name for fitted surrogates, for parameters of models and for the
long tables of a group; they are stored in separate folders below ``derivatives/``, whose content
the standard does not govern. So are images of regional measures, which drafts call ``boldmap``
(BEP012), and tables of one row per connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypedDict, Unpack

from npi_bids.bids.entities import ENTITY_ORDER
from npi_bids.errors import InputDataError
from npi_bids.surrogates.fixed_precision import PROPORTIONAL

SURROGATES = "derivatives/surrogates"
POSTERIORS = "derivatives/posteriors"
STATISTICS = "derivatives/statistics"
PRETRAINED = "derivatives/pretrained"
MAPS = "derivatives/maps"
WITHIN_GROUP = ("sub", "ses", "run")  # entities that differ within a group
UNITS = "logs/units"
QUALITY_TABLE = "logs/quality.tsv"
GROUP_TABLE = "logs/group.tsv"
GROUP_PAGE = "group.html"
KINDS_FILE = "logs/fit_kind.toml"  # options that decide one kind of fit for all subjects
CLAIM = "logs/configuration.json"
MADE = "logs/made.json"  # from what pages, texts, atlases and results of groups were made
CITATIONS = "logs/CITATION.md"
TEST = "Test"  # how the label of a contrast begins
_LONGEST_LABEL = 60
_LABEL = re.compile(r"[A-Za-z0-9]+")
_NO_LABEL = re.compile(r"[^A-Za-z0-9]")

Entities = Mapping[str, str]
Bounds = tuple[float | None, float | None]
RUN, MODEL, GROUP, CONTRAST, TABLE = "run", "model", "group", "test", "table of a group"
MEMBER = "subject of a group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One kind of file.

    Attributes
    ----------
    name
        Name of the output within the program.
    level
        What the file belongs to: a run, a model, a group, or a test over a group; a long table
        of one of the last two; or a subject, as the group level sees it.
    what
        Its content, in a phrase that begins a sentence.
    suffix, extension, variant, below
        Parts of the file name: suffix, extension, the ending added to ``desc``, and the folder of
        the dataset.
    measure
        Value of ``meas`` in the name of a matrix of one measure; empty where the entities have it.
    relation
        The measure in words, as the standard requires (``RelationshipMeasure``).
    method
        How it is computed, in sentences.
    units
        Units of the entries; those of the measure where empty.
    role
        ``p``, ``q``, ``standard error``, or empty.
    bounds
        Least and largest value that an entry can have; None where there is no bound.
    directed, diagonal
        Whether rows and columns play different roles, and whether the diagonal is meaningful.
    averaged
        Whether it is averaged over the subjects of a group.
    uncertainty_of
        Measure whose uncertainty it quantifies; empty for all other outputs.
    tested
        Whether it is based on a test or an interval, and is invalid where tests are.
    value
        Field of the record of results that holds the entries of a matrix of a group or a test.
    permuted
        Whether that record is the result of the permutations, not of the fit.
    label, title
        Short and full name on pages; empty where it is not displayed separately.
    """

    name: str
    level: str
    what: str
    suffix: str = "relmat"
    extension: str = ".tsv"
    variant: str = ""
    below: str = ""
    measure: str = ""
    relation: str = ""
    method: str = ""
    units: str = ""
    role: str = ""
    bounds: Bounds = (None, None)
    directed: bool = True
    diagonal: bool = True
    averaged: bool = False
    uncertainty_of: str = ""
    tested: bool = False
    value: str = ""
    permuted: bool = False
    label: str = ""
    title: str = ""

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix of pairs of regions or networks."""
        return self.suffix == "relmat"

    @property
    def signed(self) -> bool:
        """Whether entries can be negative."""
        return self.bounds[0] is None or self.bounds[0] < 0


_SD, _R, _P = "standard deviations of the target", (-1.0, 1.0), (0.0, 1.0)
_PER_SD = f"{_SD} per standard deviation of the source"
_PROBABILITY, _FDR = "probability", "false discovery rate"
_BH = "after the correction of Benjamini and Hochberg over all"


class _Fields(TypedDict, total=False):
    """Fields of an :class:`Output` that the entries of the catalogue set individually."""

    method: str
    units: str
    role: str
    bounds: Bounds
    directed: bool
    tested: bool
    value: str
    permuted: bool
    label: str
    title: str


class _ModelFields(_Fields, total=False):
    """Fields that the entry of a measure of a model can set in addition."""

    diagonal: bool


def _uncertainty_output(name: str, what: str, **fields: Unpack[_Fields]) -> Output:
    """Return the matrix of the uncertainty of each entry of the map."""
    relation = "effective connectivity"
    return Output(name=name, level=MODEL, what=what, measure=name, relation=relation,
                  uncertainty_of="npi", diagonal=False, **fields)  # fmt: skip


def _model_output(
    name: str, what: str, relation: str = "", **fields: Unpack[_ModelFields]
) -> Output:
    """Return a measure, for which every model and every group has a matrix."""
    return Output(name=name, level=MODEL, what=what, measure=name, averaged=True,
                  relation=relation or what[:1].lower() + what[1:], **fields)  # fmt: skip


def _group_output(name: str, what: str, **fields: Unpack[_Fields]) -> Output:
    """Return the matrix of one statistic of every connection of a group."""
    return Output(name=name, level=GROUP, what=what, variant=name.capitalize(), **fields)


def _test_output(name: str, what: str, **fields: Unpack[_Fields]) -> Output:
    """Return the matrix of one statistic of every connection in a test over subjects."""
    variant = name.removeprefix("model").capitalize()
    return Output(name=name, level=CONTRAST, what=what, variant=variant, **fields)


def _permutation_output(name: str, value: str, what: str, label: str) -> Output:
    return _test_output(name, f"p by permutation{what}", units=_PROBABILITY, role="p", bounds=_P,
                        tested=True, value=value, permuted=True, label=label)  # fmt: skip


_ALL = (
    Output(
        name="timeseries", level=RUN, suffix="timeseries",
        what="Regional signals, one column per region of the atlas",
        method="A row of n/a is a censored sample, a column of n/a a region that is not covered.",
    ),
    Output(
        name="coverage", level=RUN, suffix="dseg", variant="Coverage",
        what="Coverage of each region of the atlas in the run",
    ),
    Output(
        name="outliers", level=RUN, suffix="timeseries", variant="Outliers",
        what="1 for each sample that was left out: dummy scans and censored samples",
    ),
    Output(
        name="design", level=RUN, suffix="timeseries", variant="Design",
        what="The confounds that were regressed out of the regional signals, in one fit",
    ),
    Output(
        name="raw", level=RUN, suffix="timeseries", variant="Raw",
        what="Regional signals before denoising, in standard deviations, rounded to three "
        "digits, for visual inspection",
    ),
    Output(
        name="mean", level=RUN, suffix="boldref", extension=".nii.gz", variant="Mean",
        below=MAPS,
        what="Mean volume of the run in voxels of at least 3.5 mm, from 0 to 250, on which the "
        "outlines of the regions can be checked",
    ),
    _model_output(
        "npi", "Effective connectivity", units=_SD, diagonal=False,
        method="Mean change of the target one sample after the source was perturbed in the "
        "surrogate (neural perturbational inference, Luo et al. 2025, "
        "doi:10.1038/s41592-025-02654-x). Negative means a negative net effect in the surrogate. "
        "The diagonal is set to 0.",
        label="EC", title="effective connectivity by perturbation",
    ),
    _model_output(
        "jacobian", "Effective connectivity by small perturbations", "effective connectivity",
        units=_PER_SD,
        method="Mean derivative of the surrogate's prediction of the target by the most recent "
        "sample of the source: the limit of the perturbation for small strength, per unit.",
    ),
    _model_output(
        "pearsoncorrelation", "Functional connectivity", units="arbitrary", directed=False,
        bounds=_R, method="Pearson correlation over all retained samples of the runs.",
        label="FC", title="functional connectivity of the data",
    ),
    _model_output(
        "modelfc", "Functional connectivity of the surrogate", units="arbitrary", directed=False,
        bounds=_R,
        method="Pearson correlation of the free-running surrogate (1200 samples from zeros, noise "
        "of SD 0.1 on its input). Missing where the surrogate diverged.",
        label="model FC", title="functional connectivity of the free-running surrogate",
    ),
    _model_output(
        "partialcorrelation", "Partial correlation", units="arbitrary", directed=False, bounds=_R,
        method="Correlation of two regions with all others held constant, from a covariance "
        "matrix with the shrinkage of Ledoit and Wolf (2004).",
    ),
    _model_output(
        "laggedcorrelation", "Lagged correlation", units="arbitrary", bounds=_R,
        method="Correlation of the source with the target one sample later.",
    ),
    _model_output(
        "ridgevar", "Vector autoregression", units=_PER_SD,
        method="Weights of a VAR with one lag, by ridge regression with the penalty that "
        "minimizes the leave-one-out error.",
    ),
    _model_output(
        "oriented", "Oriented partial correlation", units="arbitrary", bounds=_R,
        method="Partial correlation, in the direction that the skewness of the signals indicates "
        "(Hyvarinen and Smith 2013); 0 in the other. Valid only where signals are skewed, and to "
        "be trusted only where it is replicated.",
    ),
    _uncertainty_output(
        "npistderr", "Standard error of effective connectivity", units=_SD, bounds=(0, None),
        role="standard error", method="Standard error of each entry of the map (meas-npi).",
    ),
    _uncertainty_output(
        "npilower", "Lower end of the 95 % interval of effective connectivity", units=_SD,
        method="The map (meas-npi) minus 1.96 standard errors.", label="lower",
    ),
    _uncertainty_output(
        "npiupper", "Upper end of the 95 % interval of effective connectivity", units=_SD,
        method="The map (meas-npi) plus 1.96 standard errors.", label="upper",
    ),
    _uncertainty_output(
        "npip", "p value of effective connectivity", units=_PROBABILITY, role="p", bounds=_P,
        method="Two-sided p of the entry (meas-npi) under the null hypothesis of 0, "
        "not corrected.",
    ),
    _uncertainty_output(
        "npiq", "q value of effective connectivity", units=_FDR, role="q", bounds=_P,
        method=f"p {_BH} entries of the map.", label="q",
    ),
    Output(
        name="npibold", level=MODEL, what="Peak responses of the signals to brief perturbations",
        measure="npibold", relation="response of the signals to perturbation", units="arbitrary",
        diagonal=False,
        method="Largest deviation, with its sign, of the signal of the target after the state of "
        "the source was raised for an instant, divided by the largest deviation of the source's "
        "own signal: the perturbation as BOLD would show it, through the gain that all regions "
        "share, with minimum phase. The file exists only if the map accounts for a gain or for "
        "delays. The diagonal is set to 0.",
    ),
    Output(
        name="npidelayshare", level=MODEL,
        what="Share of the posterior variance of each connection that is due to the delays",
        measure="npidelayshare", relation="share of the variance of effective connectivity",
        units="arbitrary", bounds=_P, diagonal=False,
        method="1 minus the posterior variance of the entry (meas-npi) with the delays held fixed "
        "divided by that with unknown delays. Where it is large, the connection can hardly be "
        "told from a delay. The file exists only if the map accounts for delays.",
    ),
    Output(
        name="npiundelayed", level=MODEL,
        what="Effective connectivity if no region had a delay of its own",
        measure="npiundelayed", relation="effective connectivity", units=_SD, diagonal=False,
        method="The map (meas-npi) of the same surrogate fitted without delays, to be compared "
        "with it where a hierarchy of regions cannot be told from delays. The file exists only if "
        "the map accounts for delays.",
    ),
    Output(
        name="npiunshrunk", level=MODEL, what="Effective connectivity without the prior",
        measure="npiunshrunk", relation="effective connectivity", units=_SD, diagonal=False,
        method="The map (meas-npi) of the same surrogate fitted with a prior that hardly matters "
        "and all other choices kept, without networks and without the prior of a group. It is "
        "noisier than the map, but not biased towards 0 or towards a group, and is what tests "
        "over subjects read where a mean is tested. The file exists only if the surrogate can be "
        "fitted so.",
    ),
    Output(
        name="npiproportional", level=MODEL,
        what="Effective connectivity with a prior in proportion to the number of windows",
        measure="npiproportional", relation="effective connectivity", units=_SD, diagonal=False,
        method="The map (meas-npi) of the same surrogate fitted with one fixed precision per "
        f"window ({PROPORTIONAL.drift:g} per squared drift per sample; VAR: a penalty of "
        f"{PROPORTIONAL.penalty:g} times the variance) and all other choices kept, without "
        "networks and without the prior of a group. Maps of long and short scans are shrunk by "
        "the same share, so that they can be compared; this is what tests of differences between "
        "subjects and sessions read. The file exists only if the surrogate can be fitted so.",
    ),
    Output(
        name="npireversed", level=MODEL,
        what="Effective connectivity of the signals with time reversed, without the prior",
        measure="npireversed", relation="effective connectivity", units=_SD, diagonal=False,
        method="The same as meas-npiunshrunk for the signals with time reversed. The "
        "antisymmetric parts of the two differ only if the dynamics have a direction; tests of "
        "the direction of a group read half the difference. The file exists only if "
        "meas-npiunshrunk does.",
    ),
    *(
        Output(
            name=f"npi{half}half", level=MODEL,
            what=f"Effective connectivity of the {half} half of the windows, without the prior",
            measure=f"npi{half}half", relation="effective connectivity", units=_SD,
            diagonal=False,
            method="The same as meas-npiunshrunk for half of the windows. The two halves share no "
            "samples, so that their covariance over subjects is the variance between subjects. "
            "The file exists only if meas-npiunshrunk does and both halves are long enough.",
        )
        for half in ("first", "second")
    ),
    Output(
        name="npiblup", level=MEMBER,
        what="Effective connectivity of a subject, shrunk towards the mean of its group",
        measure="npiblup", relation="effective connectivity", units=_SD, diagonal=False,
        method="The best linear unbiased predictor: the mean over subjects, the subject included, "
        "plus the deviation from it of the subject's map without prior (meas-npiunshrunk), times "
        "the weight of the subject's own data (OwnShare). Maps of one group are not independent, "
        "and not to be tested. The file exists only with --subject-maps blup.",
    ),
    Output(
        name="npinetworks", level=MODEL, what="Mean effective connectivity between networks",
        measure="npinetworks", relation="effective connectivity", units=_SD,
        method="Mean of the map (meas-npi) over the pairs of regions of two networks, without the "
        "diagonal; the networks are those of the table of regions.",
    ),
    Output(
        name="strengthmap", level=MODEL, suffix="boldmap", extension=".nii.gz",
        variant="Strength", below=MAPS,
        what="Out-strength, in-strength, net flow and hierarchy as images, on the atlas's grid",
        method="One volume or row per measure. Voxels outside of regions, and of regions that are "
        "not covered, are NaN. With an atlas of greyordinates, the file is a pscalar.nii.",
    ),
    Output(
        name="connections", level=MODEL, suffix="edges", extension=".tsv.gz", below=MAPS,
        what="One row per connection: source, target, value, standard error and q",
        method="The same numbers as in the matrices, with six digits; gzip-compressed.",
    ),
    Output(
        name="strength", level=MODEL, suffix="dseg", variant="Strength",
        what="Out-strength, in-strength, net flow, asymmetry and hierarchy of each region in the "
        "map of effective connectivity",
        method="Positive and negative entries are summed together and separately; n/a: not "
        "covered.",
    ),
    Output(
        name="delays", level=MODEL, suffix="dseg", variant="Delays",
        what="Delay between the state and the signal of each region",
        method="Estimated together with the drift, from the phases of all cross-spectra. The file "
        "exists only if the map accounts for delays.",
    ),
    Output(
        name="weights", level=MODEL, suffix="surrogate", extension=".safetensors",
        below=SURROGATES, what="The fitted surrogate",
    ),
    Output(
        name="training", level=MODEL, suffix="training", below=SURROGATES,
        what="Training and validation errors by epoch, or the search of a whole-brain model",
    ),
    Output(
        name="bifurcation", level=MODEL, suffix="bifurcation", below=SURROGATES,
        what="Activity of an isolated region of a whole-brain model, by its excitability",
    ),
    Output(
        name="parameters", level=MODEL, suffix="parameters", below=POSTERIORS,
        what="Posterior of the global parameters of a whole-brain model, one row per parameter",
        method="Neural posterior estimation from features of the signals; the sidecar says "
        "whether the subject lies inside what the model can produce. The file exists only with "
        "--infer.",
    ),
    Output(
        name="posterior", level=MODEL, suffix="posterior", below=POSTERIORS,
        what="Samples of the posterior of the parameters of a whole-brain model, one column per "
        "parameter",
    ),
    Output(
        name="predictedfc", level=MODEL,
        what="Functional connectivity of a whole-brain model with parameters of the posterior",
        measure="predictedfc", relation="functional connectivity of a whole-brain model",
        units="arbitrary", bounds=_R, directed=False,
        method="Mean Pearson correlation of simulations with parameters drawn from the posterior, "
        "observed like the subject (posterior predictive). The file exists only with --infer.",
        label="predicted FC",
    ),
    Output(
        name="calibration", level=MODEL, suffix="calibration", below=POSTERIORS,
        what="Calibration of the posteriors of a whole-brain model on simulated subjects",
    ),
    Output(
        name="ranks", level=MODEL, suffix="ranks", below=POSTERIORS,
        what="Ranks of the true parameters of simulated subjects in their posteriors",
    ),
    Output(
        name="responses", level=MODEL, suffix="responses", below=SURROGATES,
        what="Responses to perturbing several regions at once",
    ),
    _group_output(
        "groupmean", "Mean over subjects", value="mean",
        label="mean EC", title="mean effective connectivity",
    ),
    _group_output(
        "groupsd", "Sample standard deviation over subjects", bounds=(0, None), value="sd",
        label="SD", title="SD over subjects",
    ),
    _group_output(
        "groupn", "Number of subjects in which the edge is available", units="subjects",
        bounds=(0, None), value="n",
    ),
    _group_output(
        "groupmax", "Mean over subjects, scaled so that the strongest connection is 1",
        units="arbitrary",
    ),
    _group_output(
        "grouptested", "Mean over subjects of the maps that are tested, with the weights of the "
        "test", tested=True, value="tested_mean", label="tested mean",
    ),
    _group_output(
        "groupt", "t of the mean over subjects", units="t", tested=True, value="t",
        label="t", title="t of the mean",
    ),
    _group_output(
        "groupp", "Two-sided p of a mean of 0, not corrected", units=_PROBABILITY, role="p",
        bounds=_P, tested=True, value="p",
    ),
    _group_output(
        "groupq", f"p of a mean of 0 {_BH} edges", units=_FDR, role="q", bounds=_P, tested=True,
        value="q", label="q",
    ),
    _group_output(
        "grouplower", "Lower end of the 95 % interval of the mean over subjects", tested=True,
        value="lower", label="lower",
    ),
    _group_output(
        "groupupper", "Upper end of the 95 % interval of the mean over subjects", tested=True,
        value="upper", label="upper",
    ),
    _group_output(
        "groupsign", "Fraction of subjects whose tested entry has the sign of the tested mean",
        units="share", bounds=_P, tested=True, value="sign_consistency",
        label="sign", title="fraction of subjects with the sign of the mean",
    ),
    _group_output(
        "groupinfluence",
        "Largest change of the mean when one subject is left out, in standard errors",
        units="standard errors", bounds=(0, None), value="influence",
    ),
    _group_output("groupmedian", "Median over subjects", value="median"),
    _group_output("grouptrimmed", "Trimmed mean over subjects", value="trimmed"),
    _group_output(
        "groupicc", "ICC(2,1) over the visits of subjects (Shrout and Fleiss 1979)", units="ICC",
        bounds=(None, 1.0), label="ICC", title="ICC(2,1) over visits",
    ),
    _group_output(
        "groupmotion", "Correlation with mean framewise displacement over subjects (QC-EC)",
        units="r", bounds=_R, label="QC-EC", title="correlation with mean FD over subjects",
    ),
    _group_output(
        "groupdirection",
        "Mean over subjects of the antisymmetric part without prior minus that of the signals "
        "with time reversed, halved", tested=True,
        label="direction", title="direction: antisymmetric part against reversed time",
    ),
    _group_output(
        "groupdirectionq", f"p of the direction {_BH} edges", units=_FDR, role="q", bounds=_P,
        tested=True,
    ),
    _group_output(
        "groupdirectionfwe", "p of the direction, family-wise, by changes of sign",
        units=_PROBABILITY, role="p", bounds=_P, tested=True, label="p direction",
    ),
    _test_output("modeleffect", "Effect, by least squares over subjects", value="effect"),
    _test_output(
        "modelstatistic", "Statistic of the effect (t, or F of several columns)", units="t or F",
        tested=True, value="statistic",
    ),
    _test_output(
        "modelp", "Parametric p, two-sided, not corrected", units=_PROBABILITY, role="p",
        bounds=_P, tested=True, value="p", label="p",
    ),
    _test_output(
        "modelq", f"Parametric p {_BH} edges", units=_FDR, role="q", bounds=_P, tested=True,
        value="q", label="q",
    ),
    _permutation_output("modelpermuted", "p", " of each edge, not corrected", "p permuted"),
    _permutation_output("modelfwe", "p_fwe", ", family-wise, from the maximum statistic", "p FWE"),
    _permutation_output(
        "modelnbs", "p_nbs",
        ", family-wise, of the network of suprathreshold directed edges that contains the edge; 1 "
        "outside networks", "p NBS",
    ),
    _permutation_output(
        "modeltfnbs", "p_tfnbs",
        ", family-wise, of the threshold-free network score of the edge", "p TFNBS",
    ),
    *(
        Output(name=name, level=TABLE, suffix=name, below=STATISTICS, what=what)
        for name, what in (
            ("edges", "One row per connection"),
            ("regions", "One row per region and regional measure"),
            ("networks", "One row per pair of networks, for each grouping of regions"),
            ("subjects", "One row per subject of the group"),
            ("shrinkage", "Share of each subject's shrunken map (meas-npiblup) that is its own"),
            ("components",
             "One row per connection of every network of connections above the threshold"),
            ("parametertests",
             "Mean of each parameter of a whole-brain model over subjects, and tests of it"),
        )
    ),
)  # fmt: skip
CATALOGUE: Mapping[str, Output] = {output.name: output for output in _ALL}


def output_names(level: str, *, matrices: bool | None = None) -> tuple[str, ...]:
    """Return the names of the outputs of a level, in the order of the catalogue.

    Parameters
    ----------
    level
        RUN, MODEL, GROUP, CONTRAST, TABLE or MEMBER.
    matrices
        Whether to return only matrices (True), only other files (False), or all (None).
    """
    return tuple(
        output.name
        for output in CATALOGUE.values()
        if output.level == level and matrices in (None, output.is_matrix)
    )


RUN_TABLES = output_names(RUN)
# Uncertainty of each entry of the map; groups have measures of spread instead.
UNCERTAINTIES = tuple(output.name for output in _ALL if output.uncertainty_of)
MEASURES = tuple(output.name for output in _ALL if output.averaged)
# Statistics of every edge of a group, and of every edge of a linear model over subjects.
GROUP_OUTPUTS = output_names(GROUP)
CONTRAST_OUTPUTS = output_names(CONTRAST)
STATISTICS_TABLES = output_names(TABLE)
# Files whose names are not part of the standard yet.
BIDSIGNORE = (
    *(
        f"*_{suffix}.{extension}"
        for suffix in dict.fromkeys(
            output.suffix for output in _ALL if not output.below and output.suffix != "dseg"
        )
        for extension in ("tsv", "json")
    ),
    *("*.html", "figures", "derivatives", "logs"),
)


def catalogue_table() -> str:
    """Return the catalogue as a table in Markdown, as in the documentation."""
    folders = dict.fromkeys((RUN, MODEL, MEMBER), "sub-X/func")
    lines = ["| file | of a | what | units |", "|---|---|---|---|"]
    for output in CATALOGUE.values():
        folder_ = PurePosixPath(output.below, folders.get(output.level, "tpl-S/func"))
        meas = f"_meas-{output.measure or 'M'}" if output.is_matrix else ""
        test = f"{TEST}C" if output.level == CONTRAST else ""
        name = f"...{meas}_desc-D{test}{output.variant}_{output.suffix}{output.extension}"
        units = output.units or ("of the measure" if output.is_matrix else "")
        lines.append(f"| `{folder_}/{name}` | {output.level} | {output.what} | {units} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class BIDSName:
    """The parts of a file name: entities, suffix, and extension with its dot."""

    entities: dict[str, str]
    suffix: str
    extension: str


def parse_name(path: PurePosixPath | str) -> BIDSName:
    """Read a file name.

    >>> parse_name("sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz").entities
    {'sub': '01', 'task': 'rest', 'space': 'T1w', 'desc': 'preproc'}
    """
    stem, _, extension = str(path).rpartition("/")[2].partition(".")
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    return BIDSName(entities, suffix, f".{extension}" if extension else "")


def output_path(output_name: str, entities: Entities, desc: str) -> PurePosixPath:
    """Return the path of an output, relative to the output dataset.

    Parameters
    ----------
    output_name
        Key of :data:`CATALOGUE`. For outputs of groups and tests, ``entities["meas"]`` must be the
        measure.
    entities
        Entities of the run or the model, atlas included.
    desc
        The denoising strategy.

    >>> entities = {"sub": "01", "task": "rest", "atlas": "AAL"}
    >>> str(output_path("npi", entities, "simple"))
    'sub-01/func/sub-01_task-rest_atlas-AAL_meas-npi_desc-simple_relmat.tsv'
    """
    output = CATALOGUE[output_name]
    named = {**entities, "desc": desc + output.variant}
    if output.measure:
        named["meas"] = output.measure
    if output.suffix == "dseg":  # the standard has no density for a table of regions
        named.pop("den", None)
    return (
        PurePosixPath(output.below)
        / func_folder(named)
        / (join_entities(named) + f"_{output.suffix}{output.extension}")
    )


def output_pattern(
    output_name: str, *, subject: str = "*", measure: str = MEASURES[0], extension: str = ""
) -> str:
    """Return the glob pattern that matches all files of one output in an output dataset.

    Parameters
    ----------
    output_name
        Key of :data:`CATALOGUE`; an output of a run, model, group or test.
    subject
        Label of one subject, for files of runs and models.
    measure
        Measure of the matrices of a group or a test; ``*`` for any.
    extension
        Extension that replaces that of the output, such as ``.json`` for sidecars.

    >>> output_pattern("npi", extension=".json"), output_pattern("groupmean")
    ('sub-*/**/func/*_meas-npi_*_relmat.json', 'tpl-*/**/func/*_meas-npi_*Groupmean_relmat.tsv')
    """
    output = CATALOGUE[output_name]
    start = f"sub-{subject}" if output.level in (RUN, MODEL, MEMBER) else "tpl-*"
    meas = f"*_meas-{output.measure or measure}_" if output.is_matrix else ""
    name = f"{meas}*{output.variant}_{output.suffix}{extension or output.extension}"
    return str(PurePosixPath(output.below, start, "**", "func", name))


def pretrained_path(entities: Entities, desc: str) -> PurePosixPath:
    """Return the path of the pre-trained surrogate for the group that a model belongs to."""
    shared = {key: value for key, value in entities.items() if key not in WITHIN_GROUP}
    return PurePosixPath(
        PRETRAINED, join_entities({**shared, "desc": desc}) + "_surrogate.safetensors"
    )


def atlas_path(space: str, entities: Entities, suffix: str, extension: str) -> PurePosixPath:
    """Return the path of a file of an atlas: its table of regions or its image."""
    named = {"tpl": space, **entities}
    return PurePosixPath(f"tpl-{space}", "anat", f"{join_entities(named)}_{suffix}{extension}")


def make_label(contrast: str) -> str:
    """Return a label for a contrast, for use in ``desc``.

    >>> make_label("patient - control"), make_label("group[T.patient]")
    ('PatientMinusControl', 'GroupPatient')
    """
    spelled = contrast.replace("[T.", "[").replace("-", " minus ").replace("+", " plus ")
    parts = re.split(r"[^A-Za-z0-9]+", spelled.replace("*", " times "))
    return "".join(part[:1].upper() + part[1:] for part in parts)[:_LONGEST_LABEL]


def contrast_labels(contrasts: Sequence[str]) -> dict[str, str]:
    """Return the label of every contrast of a model, which begins the value of ``desc``.

    The resulting file names differ from each other, and from those of the group, in more than
    upper and lower case: a label that would repeat another one gets a number.

    >>> contrast_labels(["group[T.patient]", "age", "Age"])
    {'group[T.patient]': 'TestGroupPatient', 'age': 'TestAge', 'Age': 'TestAge2'}
    """
    used = {CATALOGUE[name].variant.lower() for name in GROUP_OUTPUTS}
    labels = {}
    for contrast in contrasts:
        first = label = f"{TEST}{make_label(contrast)}"
        number = 1
        while used & (names := _names_of_test(label)):
            number += 1
            label = f"{first}{number}"
        used |= names
        labels[contrast] = label
    return labels


def _names_of_test(label: str) -> set[str]:
    """Return all values of ``desc`` that the label of a contrast leads to, in lower case."""
    variants = (CATALOGUE[name].variant for name in CONTRAST_OUTPUTS)
    return {label.lower(), *((label + variant).lower() for variant in variants)}


def func_folder(entities: Entities) -> PurePosixPath:
    """Return the folder of a file with these entities."""
    parts = [
        f"{key}-{entities[key]}" for key in ("sub", "ses", "tpl", "cohort") if key in entities
    ]
    return PurePosixPath(*parts, "func")


def join_entities(entities: Entities) -> str:
    """Join entities in the order of the standard.

    Raises
    ------
    InputDataError
        If an entity is unknown, or a value contains characters other than letters and digits.
    """
    name = "_".join(f"{key}-{value}" for key, value in entities.items())
    if unknown := sorted(set(entities) - set(ENTITY_ORDER)):
        raise InputDataError(
            f"The name {name} has unknown entities: {', '.join(unknown)}; BIDS defines "
            f"{', '.join(ENTITY_ORDER)}."
        )
    for key, value in entities.items():
        if not is_label(value):
            raise InputDataError(
                f"In the name {name}, {key}-{value} is no BIDS label; only letters and digits are."
            )
    return "_".join(f"{key}-{entities[key]}" for key in ENTITY_ORDER if key in entities)


def is_label(value: str) -> bool:
    """Tell whether a value is a valid BIDS label: ASCII letters and digits.

    >>> is_label("01"), is_label("1.5"), is_label("Žofie")
    (True, False, False)
    """
    return _LABEL.fullmatch(value) is not None


def unit_name(entities: Entities) -> str:
    """Join entities like :func:`join_entities`, but accept invalid labels of refused inputs.

    Characters that are not allowed in a label are percent-encoded, so that the result is a valid
    and unique file name on every system.

    >>> unit_name({"task": "rest", "sub": "Žofie"})
    'sub-%C5%BDofie_task-rest'
    """

    def encoded(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    return "_".join(
        f"{key}-{_NO_LABEL.sub(encoded, entities[key])}" for key in ENTITY_ORDER if key in entities
    )


def printable(text: object) -> str:
    r"""Return a text for messages, with line breaks and other unprintable characters escaped.

    >>> printable("a\nb")
    'a\\nb'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown
    )
