"""The catalogue of outputs: every kind of file that npi-bids writes, its name, and what it is.

Names, texts of sidecars, rows of ``descriptions.tsv``, the table in the documentation, titles on
pages, and the patterns by which files are found again follow from :data:`CATALOGUE`.

``timeseries`` (BEP012) and ``relmat`` (BEP017) are drafts of the BIDS standard; when they change,
this file changes and nothing else does. Coverage is a table of regions, which the standard calls
``dseg.tsv``; outliers and design matrix are columns over time, which the draft calls
``timeseries.tsv``. Fitted surrogates have no name in BIDS and stand in a folder of their own
below ``derivatives/``, which the standard leaves alone; so do the long tables of a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypedDict, Unpack

from npi_bids.errors import InputDataError

# BIDS 1.11, with `meas` of BEP017 before `desc`.
ENTITY_ORDER = (
    *("sub", "ses", "tpl", "cohort", "task", "acq", "ce", "rec", "dir", "run", "echo", "part"),
    *("chunk", "space", "hemi", "atlas", "seg", "scale", "res", "den", "label", "meas", "desc"),
)
SURROGATES = "derivatives/surrogates"
STATISTICS = "derivatives/statistics"
PRETRAINED = "derivatives/pretrained"
WITHIN_GROUP = ("sub", "ses", "run")  # entities that differ within a group
UNITS = "logs/units"
QUALITY_TABLE = "logs/quality.tsv"
GROUP_TABLE = "logs/group.tsv"
CLAIM = "logs/configuration.json"
TEST = "Test"  # how the label of a contrast begins
_LONGEST_LABEL = 60
_LABEL = re.compile(r"[A-Za-z0-9]+")
_NO_LABEL = re.compile(r"[^A-Za-z0-9]")

Entities = Mapping[str, str]
Bounds = tuple[float | None, float | None]
RUN, MODEL, GROUP, CONTRAST, TABLE = "run", "model", "group", "test", "table of a group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One kind of file.

    Attributes
    ----------
    kind
        What the program calls it.
    level
        Of what there is one: a run, a model, a group, a test over a group; or a long table of
        either of the last two.
    what
        What it holds, in a phrase that begins a sentence.
    suffix, extension, variant, below
        Of its name: suffix, extension, what is added to ``desc``, and the folder of the dataset.
    measure
        Value of ``meas`` in the name of a matrix of one measure; empty where the entities have it.
    relation
        The measure in words, as the standard asks for (``RelationshipMeasure``).
    method
        How it is computed, in sentences.
    units
        Of the entries; those of the measure where empty.
    role
        ``p``, ``q``, ``standard error``, or nothing of these.
    bounds
        Least and largest value that an entry can have; None where there is no bound.
    directed, diagonal
        Whether rows and columns play different parts, and whether the diagonal has a meaning.
    averaged
        Whether groups average it.
    about
        Measure of whose entries it says how sure they are.
    tested
        Whether it rests on a test or an interval, which do not hold where tests do not.
    value
        Field of the record of results that holds the entries of a matrix of a group or a test.
    label, title
        Short and full name on pages; empty where it is not shown by itself.
    """

    kind: str
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
    about: str = ""
    tested: bool = False
    value: str = ""
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
    """Fields of an :class:`Output` that its entries state one by one."""

    method: str
    units: str
    role: str
    bounds: Bounds
    directed: bool
    tested: bool
    value: str
    label: str
    title: str


class _ModelFields(_Fields, total=False):
    """The same for a measure of a model."""

    diagonal: bool


def _of_map(kind: str, what: str, **fields: Unpack[_Fields]) -> Output:
    """Return how sure each entry of the map is, as a matrix."""
    relation = "effective connectivity"
    return Output(kind=kind, level=MODEL, what=what, measure=kind, relation=relation, about="npi",
                  diagonal=False, **fields)  # fmt: skip


def _of_model(kind: str, what: str, relation: str = "", **fields: Unpack[_ModelFields]) -> Output:
    """Return a measure, of which every model and every group has a matrix."""
    return Output(kind=kind, level=MODEL, what=what, measure=kind, averaged=True,
                  relation=relation or what[:1].lower() + what[1:], **fields)  # fmt: skip


def _of_group(kind: str, what: str, **fields: Unpack[_Fields]) -> Output:
    """Return what is known of every connection of a group, as a matrix."""
    return Output(kind=kind, level=GROUP, what=what, variant=kind.capitalize(), **fields)


def _of_test(kind: str, what: str, **fields: Unpack[_Fields]) -> Output:
    """Return what is known of every connection of a test over subjects, as a matrix."""
    variant = kind.removeprefix("model").capitalize()
    return Output(kind=kind, level=CONTRAST, what=what, variant=variant, **fields)


def _by_permutation(kind: str, what: str, label: str) -> Output:
    return _of_test(kind, f"p by permutation{what}", units=_PROBABILITY, role="p", bounds=_P,
                    tested=True, label=label)  # fmt: skip


_ALL = (
    Output(
        kind="timeseries", level=RUN, suffix="timeseries",
        what="Regional signals, one column per region of the atlas",
        method="A row of n/a is a censored sample, a column of n/a a region that is not covered.",
    ),
    Output(
        kind="coverage", level=RUN, suffix="dseg", variant="Coverage",
        what="How much of each region of the atlas the run covers",
    ),
    Output(
        kind="outliers", level=RUN, suffix="timeseries", variant="Outliers",
        what="1 for each sample that was left out: dummy scans and censored samples",
    ),
    Output(
        kind="design", level=RUN, suffix="timeseries", variant="Design",
        what="The confounds that were regressed out of the regional signals, in one fit",
    ),
    Output(
        kind="raw", level=RUN, suffix="timeseries", variant="Raw",
        what="Regional signals before they were cleaned, in standard deviations, with three "
        "digits, for people to look at",
    ),
    _of_model(
        "npi", "Effective connectivity", units=_SD, diagonal=False,
        method="Mean change of the target one sample after the source was perturbed in the "
        "surrogate (neural perturbational inference, Luo et al. 2025, "
        "doi:10.1038/s41592-025-02654-x). Negative means a negative net effect in the surrogate. "
        "The diagonal is set to 0.",
        label="EC", title="effective connectivity by perturbation",
    ),
    _of_model(
        "jacobian", "Effective connectivity by small perturbations", "effective connectivity",
        units=_PER_SD,
        method="Mean derivative of the surrogate's prediction of the target by the most recent "
        "sample of the source: the limit of the perturbation for small strength, per unit.",
    ),
    _of_model(
        "pearsoncorrelation", "Functional connectivity", units="arbitrary", directed=False,
        bounds=_R, method="Pearson correlation over all kept samples of the runs.",
        label="FC", title="functional connectivity of the data",
    ),
    _of_model(
        "modelfc", "Functional connectivity of the surrogate", units="arbitrary", directed=False,
        bounds=_R,
        method="Pearson correlation of the free-running surrogate (1200 samples from zeros, noise "
        "of SD 0.1 on its input). Missing where the surrogate diverged.",
        label="model FC", title="functional connectivity of the free-running surrogate",
    ),
    _of_model(
        "partialcorrelation", "Partial correlation", units="arbitrary", directed=False, bounds=_R,
        method="Correlation of a pair of regions with all others held fixed, from a covariance "
        "shrunk by the rule of Ledoit and Wolf (2004).",
    ),
    _of_model(
        "laggedcorrelation", "Lagged correlation", units="arbitrary", bounds=_R,
        method="Correlation of the source with the target one sample later.",
    ),
    _of_model(
        "ridgevar", "Vector autoregression", units=_PER_SD,
        method="Weights of a VAR of one lag, by ridge regression with a penalty of least "
        "leave-one-out error.",
    ),
    _of_model(
        "oriented", "Oriented partial correlation", units="arbitrary", bounds=_R,
        method="Partial correlation, in the direction that the skewness of the signals gives it "
        "(Hyvarinen and Smith 2013); 0 in the other. Holds only where regions are skewed, and is "
        "to be trusted only where it repeats.",
    ),
    _of_map(
        "npistderr", "Standard error of effective connectivity", units=_SD, bounds=(0, None),
        role="standard error", method="Standard error of each entry of the map (meas-npi).",
    ),
    _of_map(
        "npilower", "Lower end of the 95 % interval of effective connectivity", units=_SD,
        method="The map (meas-npi) less 1.96 standard errors.", label="lower",
    ),
    _of_map(
        "npiupper", "Upper end of the 95 % interval of effective connectivity", units=_SD,
        method="The map (meas-npi) plus 1.96 standard errors.", label="upper",
    ),
    _of_map(
        "npip", "p value of effective connectivity", units=_PROBABILITY, role="p", bounds=_P,
        method="Two-sided p of the entry (meas-npi) being 0, not corrected.",
    ),
    _of_map(
        "npiq", "q value of effective connectivity", units=_FDR, role="q", bounds=_P,
        method=f"p {_BH} entries of the map.", label="q",
    ),
    Output(
        kind="npinetworks", level=MODEL, what="Mean effective connectivity between networks",
        measure="npinetworks", relation="effective connectivity", units=_SD,
        method="Mean of the map (meas-npi) over the pairs of regions of two networks, regions "
        "with themselves left out; the networks are those of the table of regions.",
    ),
    Output(
        kind="strength", level=MODEL, suffix="dseg", variant="Strength",
        what="Out-strength, in-strength, net flow, asymmetry and hierarchy of each region in the "
        "map of effective connectivity",
        method="Positive and negative entries are summed together and apart; n/a: not covered.",
    ),
    Output(
        kind="delays", level=MODEL, suffix="dseg", variant="Delays",
        what="Delay with which each region shows its state",
        method="Estimated together with the drift, from the phases of all cross-spectra. The file "
        "is there where the map allows for delays.",
    ),
    Output(
        kind="weights", level=MODEL, suffix="surrogate", extension=".safetensors",
        below=SURROGATES, what="The fitted surrogate",
    ),
    Output(
        kind="training", level=MODEL, suffix="training", below=SURROGATES,
        what="Errors of the training by epoch, or the search of a whole-brain model",
    ),
    Output(
        kind="bifurcation", level=MODEL, suffix="bifurcation", below=SURROGATES,
        what="Activity of one region of a whole-brain model alone, by its excitability",
    ),
    Output(
        kind="responses", level=MODEL, suffix="responses", below=SURROGATES,
        what="Responses to perturbing several regions at once",
    ),
    _of_group(
        "groupmean", "Mean over subjects", value="mean",
        label="mean EC", title="mean effective connectivity",
    ),
    _of_group(
        "groupsd", "Sample standard deviation over subjects", bounds=(0, None), value="sd",
        label="SD", title="SD over subjects",
    ),
    _of_group(
        "groupn", "Number of subjects that have the edge", units="subjects", bounds=(0, None),
        value="n",
    ),
    _of_group(
        "groupmax", "Mean over subjects, scaled so that the strongest connection is 1",
        units="arbitrary",
    ),
    _of_group(
        "groupt", "t of the mean over subjects", units="t", tested=True, value="t",
        label="t", title="t of the mean",
    ),
    _of_group(
        "groupp", "Two-sided p of a mean of 0, not corrected", units=_PROBABILITY, role="p",
        bounds=_P, tested=True, value="p",
    ),
    _of_group(
        "groupq", f"p of a mean of 0 {_BH} edges", units=_FDR, role="q", bounds=_P, tested=True,
        value="q", label="q",
    ),
    _of_group(
        "grouplower", "Lower end of the 95 % interval of the mean over subjects", tested=True,
        value="lower", label="lower",
    ),
    _of_group(
        "groupupper", "Upper end of the 95 % interval of the mean over subjects", tested=True,
        value="upper", label="upper",
    ),
    _of_group(
        "groupsign", "Fraction of subjects whose entry has the sign of the mean", units="share",
        bounds=_P, tested=True, value="sign_consistency",
        label="sign", title="fraction of subjects with the sign of the mean",
    ),
    _of_group(
        "groupinfluence",
        "Largest change of the mean when one subject is left out, in standard errors",
        units="standard errors", bounds=(0, None), value="influence",
    ),
    _of_group("groupmedian", "Median over subjects", value="median"),
    _of_group("grouptrimmed", "Trimmed mean over subjects", value="trimmed"),
    _of_group(
        "groupicc", "ICC(2,1) over the visits of subjects (Shrout and Fleiss 1979)", units="ICC",
        bounds=(None, 1.0), label="ICC", title="ICC(2,1) over visits",
    ),
    _of_group(
        "groupmotion", "Correlation with mean framewise displacement over subjects (QC-EC)",
        units="r", bounds=_R, label="QC-EC", title="correlation with mean FD over subjects",
    ),
    _of_test("modeleffect", "Effect, by least squares over subjects", value="effect"),
    _of_test(
        "modelstatistic", "Statistic of the effect (t, or F of several columns)", units="t or F",
        tested=True, value="statistic",
    ),
    _of_test(
        "modelp", "Parametric p, two-sided, not corrected", units=_PROBABILITY, role="p",
        bounds=_P, tested=True, value="p", label="p",
    ),
    _of_test(
        "modelq", f"Parametric p {_BH} edges", units=_FDR, role="q", bounds=_P, tested=True,
        value="q", label="q",
    ),
    _by_permutation("modelpermuted", " of each edge, not corrected", "p permuted"),
    _by_permutation("modelfwe", ", family-wise by the largest statistic of each", "p FWE"),
    _by_permutation(
        "modelnbs", ", family-wise, of the network of directed edges above the threshold that the "
        "edge is in; 1 outside of networks", "p NBS",
    ),
    _by_permutation(
        "modeltfnbs", ", family-wise, of the threshold-free network score of the edge", "p TFNBS",
    ),
    *(
        Output(kind=kind, level=TABLE, suffix=kind, below=STATISTICS, what=what)
        for kind, what in (
            ("edges", "One row per connection"),
            ("regions", "One row per region and figure of what the maps say of regions"),
            ("networks", "One row per pair of networks, by how regions are put together"),
            ("subjects", "One row per subject of the group"),
            ("components",
             "One row per connection of every network of connections above the threshold"),
        )
    ),
)  # fmt: skip
CATALOGUE: Mapping[str, Output] = {output.kind: output for output in _ALL}


def kinds_of(level: str, *, matrices: bool | None = None) -> tuple[str, ...]:
    """Return the kinds of files of a level, in the order of the catalogue.

    Parameters
    ----------
    level
        RUN, MODEL, GROUP, CONTRAST or TABLE.
    matrices
        Whether matrices alone are returned, or what is none alone; all where None.
    """
    return tuple(
        output.kind
        for output in CATALOGUE.values()
        if output.level == level and matrices in (None, output.is_matrix)
    )


RUN_TABLES = kinds_of(RUN)
# How sure each entry of the map is; a group has spreads of its own instead.
UNCERTAINTIES = tuple(output.kind for output in _ALL if output.about)
MEASURES = tuple(output.kind for output in _ALL if output.averaged)
# What is known of every edge of a group, and of every edge of a model over subjects.
GROUP_KINDS = kinds_of(GROUP)
MODEL_KINDS = kinds_of(CONTRAST)
STATISTICS_TABLES = kinds_of(TABLE)
# What is no name of the standard yet.
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
    """Return the catalogue as a table in Markdown, as the documentation shows it."""
    folders = {RUN: "sub-X/func", MODEL: "sub-X/func", GROUP: "tpl-S/func", CONTRAST: "tpl-S/func"}
    lines = ["| file | of a | what | units |", "|---|---|---|---|"]
    for known in CATALOGUE.values():
        folder_ = PurePosixPath(known.below, folders.get(known.level, "tpl-S/func"))
        meas = f"_meas-{known.measure or 'M'}" if known.is_matrix else ""
        test = f"{TEST}C" if known.level == CONTRAST else ""
        name = f"...{meas}_desc-D{test}{known.variant}_{known.suffix}{known.extension}"
        units = known.units or ("of the measure" if known.is_matrix else "")
        lines.append(f"| `{folder_}/{name}` | {known.level} | {known.what} | {units} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class BIDSName:
    """What a file name says: entities, suffix, and extension with its dot."""

    entities: dict[str, str]
    suffix: str
    extension: str


def parse_name(path: PurePosixPath | str) -> BIDSName:
    """Read a file name.

    >>> parse_name("sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz").entities
    {'sub': '01', 'task': 'rest', 'space': 'T1w', 'desc': 'preproc'}
    """
    stem, _, extension = PurePosixPath(path).name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if "-" in pair)
    return BIDSName(entities, suffix, f".{extension}" if extension else "")


def output_path(kind: str, entities: Entities, desc: str) -> PurePosixPath:
    """Return where an output lies, relative to the output dataset.

    Parameters
    ----------
    kind
        Of :data:`CATALOGUE`; what is known of groups and tests needs the measure in
        ``entities["meas"]``.
    entities
        Of the run or the model, atlas included.
    desc
        The denoising strategy.

    >>> entities = {"sub": "01", "task": "rest", "atlas": "AAL"}
    >>> str(output_path("npi", entities, "simple"))
    'sub-01/func/sub-01_task-rest_atlas-AAL_meas-npi_desc-simple_relmat.tsv'
    """
    known = CATALOGUE[kind]
    named = {**entities, "desc": desc + known.variant}
    if known.measure:
        named["meas"] = known.measure
    if known.suffix == "dseg":  # the standard knows no density of a table of regions
        named.pop("den", None)
    return (
        PurePosixPath(known.below)
        / folder(named)
        / (stem(named) + f"_{known.suffix}{known.extension}")
    )


def pattern_of(
    kind: str, *, subject: str = "*", measure: str = MEASURES[0], extension: str = ""
) -> str:
    """Return the pattern by which all files of a kind are found in an output dataset.

    Parameters
    ----------
    kind
        Of :data:`CATALOGUE`, of a run, model, group or test.
    subject
        Label of one subject, for files of runs and models.
    measure
        What the matrices of a group or a test are; ``*`` for any.
    extension
        Of the files, where it is another: ``.json`` for their sidecars.

    >>> pattern_of("npi", extension=".json"), pattern_of("groupmean")
    ('sub-*/**/func/*_meas-npi_*_relmat.json', 'tpl-*/**/func/*_meas-npi_*Groupmean_relmat.tsv')
    """
    known = CATALOGUE[kind]
    start = f"sub-{subject}" if known.level in (RUN, MODEL) else "tpl-*"
    meas = f"*_meas-{known.measure or measure}_" if known.is_matrix else ""
    name = f"{meas}*{known.variant}_{known.suffix}{extension or known.extension}"
    return str(PurePosixPath(known.below, start, "**", "func", name))


def pretrained_path(entities: Entities, desc: str) -> PurePosixPath:
    """Return where the pre-trained surrogate of the group of a model lies."""
    shared = {key: value for key, value in entities.items() if key not in WITHIN_GROUP}
    return PurePosixPath(PRETRAINED, stem({**shared, "desc": desc}) + "_surrogate.safetensors")


def atlas_path(space: str, entities: Entities, suffix: str, extension: str) -> PurePosixPath:
    """Return where a file of an atlas lies: its table of regions, its image."""
    named = {"tpl": space, **entities}
    return PurePosixPath(f"tpl-{space}", "anat", f"{stem(named)}_{suffix}{extension}")


def label_of(words: str) -> str:
    """Return a label for what is tested, for use in ``desc``.

    >>> label_of("patient - control"), label_of("group[T.patient]")
    ('PatientMinusControl', 'GroupPatient')
    """
    spelled = words.replace("[T.", "[").replace("-", " minus ").replace("+", " plus ")
    parts = re.split(r"[^A-Za-z0-9]+", spelled.replace("*", " times "))
    return "".join(part[:1].upper() + part[1:] for part in parts)[:_LONGEST_LABEL]


def contrast_labels(contrasts: Sequence[str]) -> dict[str, str]:
    """Return the label of every contrast of a model, as it stands in ``desc`` before the kind.

    No two names that follow from them differ in case alone, nor from those of the group: what is
    spelled like another gets a number.

    >>> contrast_labels(["group[T.patient]", "age", "Age"])
    {'group[T.patient]': 'TestGroupPatient', 'age': 'TestAge', 'Age': 'TestAge2'}
    """
    used = {CATALOGUE[kind].variant.lower() for kind in GROUP_KINDS}
    labels = {}
    for contrast in contrasts:
        first = label = f"{TEST}{label_of(contrast)}"
        number = 1
        while used & (names := _names_of_test(label)):
            number += 1
            label = f"{first}{number}"
        used |= names
        labels[contrast] = label
    return labels


def _names_of_test(label: str) -> set[str]:
    """Return what follows from the label of a contrast, in small letters."""
    return {label.lower(), *((label + CATALOGUE[kind].variant).lower() for kind in MODEL_KINDS)}


def folder(entities: Entities) -> PurePosixPath:
    """Return the folder of a file with these entities."""
    parts = [
        f"{key}-{entities[key]}" for key in ("sub", "ses", "tpl", "cohort") if key in entities
    ]
    return PurePosixPath(*parts, "func")


def stem(entities: Entities) -> str:
    """Join entities in the order of the standard.

    Raises
    ------
    InputDataError
        An entity is unknown, or a value is not letters and digits.
    """
    name = "_".join(f"{key}-{value}" for key, value in entities.items())
    if unknown := sorted(set(entities) - set(ENTITY_ORDER)):
        raise InputDataError(
            f"The name {name} has unknown entities: {', '.join(unknown)}; expected some of "
            f"{', '.join(ENTITY_ORDER)}."
        )
    for key, value in entities.items():
        if not is_label(value):
            raise InputDataError(
                f"In the name {name}, {key}-{value} is no BIDS label; only letters and digits are."
            )
    return "_".join(f"{key}-{entities[key]}" for key in ENTITY_ORDER if key in entities)


def is_label(value: str) -> bool:
    """Tell whether a value can be a label of BIDS: letters of ASCII and digits.

    >>> is_label("01"), is_label("1.5"), is_label("Žofie")
    (True, False, False)
    """
    return _LABEL.fullmatch(value) is not None


def unit_name(entities: Entities) -> str:
    """Join entities as :func:`stem` does, also those of an input that is refused for its name.

    What no label may hold is percent-encoded: the result is the name of a file on every system,
    and never that of another label.

    >>> unit_name({"task": "rest", "sub": "Žofie"})
    'sub-%C5%BDofie_task-rest'
    """

    def encoded(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))

    return "_".join(
        f"{key}-{_NO_LABEL.sub(encoded, entities[key])}" for key in ENTITY_ORDER if key in entities
    )


def printable(text: object) -> str:
    r"""Return a text for messages; bytes that are no text, line ends and the like as escapes.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )
