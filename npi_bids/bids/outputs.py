"""Names of all files that npi-bids writes, and what each kind of matrix is.

``timeseries`` (BEP012) and ``relmat`` (BEP017) are drafts of the BIDS standard; when they change,
these tables change and nothing else does. Coverage is a table of regions, which the standard calls
``dseg.tsv``; outliers and design matrix are columns over time, which the draft calls
``timeseries.tsv``. Fitted surrogates have no name in BIDS and stand in a folder of their own
below ``derivatives/``, which the standard leaves alone; so do the long tables of a group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

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
BIDSIGNORE = (
    *("*_timeseries.tsv", "*_timeseries.json", "*_relmat.tsv", "*_relmat.json"),
    *("*.html", "figures", "derivatives", "logs"),
)
MEASURES = (
    *("npi", "jacobian", "pearsoncorrelation", "modelfc"),
    *("partialcorrelation", "laggedcorrelation", "ridgevar", "oriented"),
)
# How sure each entry of the map is; a group has spreads of its own instead.
UNCERTAINTIES = ("npistderr", "npilower", "npiupper", "npip", "npiq")
# What is known of every edge of a group, and of every edge of a model over subjects.
GROUP_KINDS = (
    *("groupmean", "groupsd", "groupn", "groupmax", "groupt", "groupp", "groupq", "grouplower"),
    *("groupupper", "groupsign", "groupinfluence", "groupmedian", "grouptrimmed", "groupicc"),
    "groupmotion",
)
MODEL_KINDS = (
    *("modeleffect", "modelstatistic", "modelp", "modelq", "modelpermuted", "modelfwe"),
    *("modelnbs", "modeltfnbs"),
)
STATISTICS_TABLES = ("edges", "regions", "networks", "subjects", "components")
TEST = "Test"  # how the label of a contrast begins
_LONGEST_LABEL = 60
_LABEL = re.compile(r"[A-Za-z0-9]+")
_NO_LABEL = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Measure:
    """What the entries of a matrix are."""

    name: str
    description: str
    units: str
    directed: bool = True
    diagonal: bool = True


_MEASURES = {
    "npi": Measure(
        "effective connectivity",
        "Mean change of the target one sample after the source was perturbed in the surrogate "
        "(neural perturbational inference, Luo et al. 2025, doi:10.1038/s41592-025-02654-x). "
        "Negative means a negative net effect in the surrogate. The diagonal is set to 0.",
        "standard deviations of the target",
        diagonal=False,
    ),
    "jacobian": Measure(
        "effective connectivity",
        "Mean derivative of the surrogate's prediction of the target by the most recent sample "
        "of the source: the limit of the perturbation for small strength, per unit.",
        "standard deviations of the target per standard deviation of the source",
    ),
    "pearsoncorrelation": Measure(
        "functional connectivity",
        "Pearson correlation over all kept samples of the runs.",
        "arbitrary",
        directed=False,
    ),
    "modelfc": Measure(
        "functional connectivity of the surrogate",
        "Pearson correlation of the free-running surrogate (1200 samples from zeros, noise of SD "
        "0.1 on its input).",
        "arbitrary",
        directed=False,
    ),
    "partialcorrelation": Measure(
        "partial correlation",
        "Correlation of a pair of regions with all others held fixed, from a covariance shrunk "
        "by the rule of Ledoit and Wolf (2004).",
        "arbitrary",
        directed=False,
    ),
    "laggedcorrelation": Measure(
        "lagged correlation",
        "Correlation of the source with the target one sample later.",
        "arbitrary",
    ),
    "ridgevar": Measure(
        "vector autoregression",
        "Weights of a VAR of one lag, by ridge regression with a penalty of least leave-one-out "
        "error.",
        "standard deviations of the target per standard deviation of the source",
    ),
    "oriented": Measure(
        "oriented partial correlation",
        "Partial correlation, in the direction that the skewness of the signals gives it "
        "(Hyvarinen and Smith 2013); 0 in the other. Holds only where regions are skewed, and is "
        "to be trusted only where it repeats.",
        "arbitrary",
    ),
    "npistderr": Measure(
        "standard error of effective connectivity",
        "Standard error of each entry of the map (meas-npi).",
        "standard deviations of the target",
        diagonal=False,
    ),
    "npilower": Measure(
        "lower end of the 95 % interval of effective connectivity",
        "The map (meas-npi) less 1.96 standard errors.",
        "standard deviations of the target",
        diagonal=False,
    ),
    "npiupper": Measure(
        "upper end of the 95 % interval of effective connectivity",
        "The map (meas-npi) plus 1.96 standard errors.",
        "standard deviations of the target",
        diagonal=False,
    ),
    "npip": Measure(
        "p value of effective connectivity",
        "Two-sided p of the entry (meas-npi) being 0, not corrected.",
        "arbitrary",
        diagonal=False,
    ),
    "npiq": Measure(
        "q value of effective connectivity",
        "p after the correction of Benjamini and Hochberg over all entries of the map.",
        "arbitrary",
        diagonal=False,
    ),
}


def measure_of(name: str) -> Measure:
    """Return what is known of a measure."""
    return _MEASURES[name]


Entities = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kind:
    suffix: str
    extension: str
    variant: str = ""  # appended to desc
    below: str = ""


_KINDS = {
    "timeseries": _Kind("timeseries", ".tsv"),
    "coverage": _Kind("dseg", ".tsv", "Coverage"),
    "outliers": _Kind("timeseries", ".tsv", "Outliers"),
    "design": _Kind("timeseries", ".tsv", "Design"),
    "raw": _Kind("timeseries", ".tsv", "Raw"),
    **{measure: _Kind("relmat", ".tsv") for measure in (*MEASURES, *UNCERTAINTIES)},
    "training": _Kind("training", ".tsv", below=SURROGATES),
    "bifurcation": _Kind("bifurcation", ".tsv", below=SURROGATES),
    "responses": _Kind("responses", ".tsv", below=SURROGATES),
    "weights": _Kind("surrogate", ".safetensors", below=SURROGATES),
    "strength": _Kind("dseg", ".tsv", "Strength"),
    "npinetworks": _Kind("relmat", ".tsv"),
    **{kind: _Kind("relmat", ".tsv", kind.capitalize()) for kind in GROUP_KINDS},
    **{
        kind: _Kind("relmat", ".tsv", kind.removeprefix("model").capitalize())
        for kind in MODEL_KINDS
    },
    **{table: _Kind(table, ".tsv", below=STATISTICS) for table in STATISTICS_TABLES},
}


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
        A measure or an uncertainty, or one of timeseries, coverage, outliers, design, raw,
        strength, npinetworks, training, bifurcation, responses, weights; and what is known of
        groups and models, which needs the measure in ``entities["meas"]``.
    entities
        Of the run or the model, atlas included.
    desc
        The denoising strategy.

    >>> entities = {"sub": "01", "task": "rest", "atlas": "AAL"}
    >>> str(output_path("npi", entities, "simple"))
    'sub-01/func/sub-01_task-rest_atlas-AAL_meas-npi_desc-simple_relmat.tsv'
    """
    known = _KINDS[kind]
    named = {**entities, "desc": desc + known.variant}
    if kind in (*MEASURES, *UNCERTAINTIES, "npinetworks"):
        named["meas"] = kind
    if kind in ("coverage", "strength"):  # the standard knows no density of a table of regions
        named.pop("den", None)
    return (
        PurePosixPath(known.below)
        / folder(named)
        / (stem(named) + f"_{known.suffix}{known.extension}")
    )


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
    used = {_KINDS[kind].variant.lower() for kind in GROUP_KINDS}
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
    return {label.lower(), *((label + _KINDS[kind].variant).lower() for kind in MODEL_KINDS)}


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
