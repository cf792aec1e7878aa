"""Fields of the JSON sidecars of runs, models and groups: the only list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npi_bids import __version__
from npi_bids.bids.outputs import Entities, measure_fields

# Spaces of an individual; everything else is the name of a template.
_INDIVIDUAL = ("T1w", "T2w", "func", "boldref", "individual", "")
_MECHANISTIC = (
    "Mean change of the target's BOLD 3 to 6 s after the source was stimulated for 0.5 s in a "
    "whole-brain model that was fitted to the subject's functional connectivity, in standard "
    "deviations of the target's simulated BOLD. Directions come from the structural connectivity "
    "and the model. The diagonal is set to 0."
)
ENOUGH_SUBJECTS = 10  # below, tests are marked
_TABLES = {
    "edges": "One row per connection",
    "regions": "One row per region and figure of what the maps say of regions",
    "networks": "One row per pair of networks, by how regions are put together",
    "subjects": "One row per subject of the group",
    "components": "One row per connection of every network of connections above the threshold",
}
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
    "sign_consistency": "Share of the subjects whose value has the sign of the mean.",
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


def relmat_sidecar(
    measure: str, facts: Mapping[str, Any], links: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sidecar of one matrix of one model.

    Parameters
    ----------
    measure
        One of the measures of :mod:`npi_bids.bids.outputs`.
    facts
        What the fit says of itself: Surrogate, Training, Perturbation, Quality, Seed, Device,
        SoftwareVersions, and more.
    links
        NodeFiles, Sources, SpatialReference, ConfigurationHash.
    """
    about = {"MeasureDescription": _MECHANISTIC} if measure == "npi" else {}
    about = about if facts.get("Surrogate") == "wbm" else {}
    return {**measure_fields(measure), **about, **links, **facts}


def timeseries_sidecar(
    kind: str, facts: Mapping[str, Any], links: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sidecar of a table over time: timeseries, outliers, design or raw."""
    what = {
        "timeseries": "Regional signals, one column per region of the atlas. A row of n/a is a "
        "censored sample, a column of n/a a region that is not covered.",
        "outliers": "1 for each sample that was left out: dummy scans and censored samples.",
        "raw": "Regional signals before they were cleaned, in standard deviations, with three "
        "digits, for people to look at.",
        "design": "The confounds that were regressed out of the regional signals, in one fit.",
    }
    about = facts if kind == "timeseries" else {}
    tr = facts["RepetitionTime"]
    return {
        "Description": what[kind],
        "SamplingFrequency": 1 / tr,
        "StartTime": 0,
        "RepetitionTime": tr,
        **links,
        **about,
    }


def coverage_sidecar(links: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sidecar of a coverage table, with its columns described."""
    return {
        "Description": "How much of each region of the atlas the run covers.",
        **links,
        "n_voxels": {"Description": "Voxels (or summed weights) of the region on the run's grid."},
        "coverage": {"Description": "Share of them that lie in the brain mask and hold signal."},
        "covered": {"Description": "True where the coverage reaches the threshold."},
    }


def strength_sidecar(links: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sidecar of a table of what a map says of its regions."""
    units = {"Units": "sum of the entries of the map"}
    return {
        "Description": "What the map of effective connectivity says of each region; n/a: not "
        "covered. Positive and negative entries are summed together and apart.",
        **links,
        "network": {"Description": "Network that the region belongs to."},
        "out_strength": {"Description": "Sum of what the region sends.", **units},
        "in_strength": {"Description": "Sum of what the region receives.", **units},
        **{
            f"{way}_{sign}": {"Description": f"The same of {sign} entries alone.", **units}
            for way in ("out", "in")
            for sign in ("positive", "negative")
        },
        "net_flow": {"Description": "Absolute entries sent less those received.", **units},
        "asymmetry": {"Description": "0: both ways are alike with all others; 1: one-way only."},
        "hierarchy": {
            "Description": "Trophic level: sources low, targets high (MacKay, Johnson and Sansom "
            "2020, doi:10.1098/rsos.201138)."
        },
    }


def networks_sidecar(facts: Mapping[str, Any], links: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sidecar of a map between networks."""
    about = relmat_sidecar("npi", facts, links)
    return {
        **about,
        "Description": "Relationship matrix: mean effective connectivity between networks.",
        "MeasureDescription": "Mean of the map (meas-npi) over the pairs of regions of two "
        "networks, regions with themselves left out; the networks are those of the table of "
        "regions.",
        "ValidDiagonal": True,
    }


def spatial_fields(entities: Entities) -> dict[str, Any]:
    """Return SpatialReference and, where the name has ``res``, Resolution."""
    space = entities.get("space", "")
    reference = (
        "orig" if space in _INDIVIDUAL else f"https://www.templateflow.org/browse/#tpl-{space}"
    )
    fields: dict[str, Any] = {"SpatialReference": reference}
    if "res" in entities:
        fields["Resolution"] = f"Resolution of the preprocessed run, res-{entities['res']}."
    if "den" in entities:
        fields["Density"] = f"Density of the preprocessed run, den-{entities['den']}."
    return fields


def run_facts(summary: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a timeseries sidecar says of its run, from the summary of the extraction.

    ``settings`` are the fields of the denoising and coverage options.
    """
    return {
        "RepetitionTime": summary["tr"],
        "NumberOfSamples": summary["n_samples"],
        "SamplesKept": summary["n_kept"],
        "DummyScans": summary["n_dummy"],
        "SamplesCensored": summary["n_censored"],
        "SamplesDamaged": summary["n_damaged"],
        "FramewiseDisplacementThreshold": settings["fd_thresh"],
        "MeanFramewiseDisplacement": summary["mean_fd"],
        "MaxFramewiseDisplacement": summary["max_fd"],
        "Denoising": summary["strategy"],
        "DenoisingDescription": summary["strategy_description"],
        "Regressors": summary["regressors"],
        "GlobalSignalRegression": settings["gsr"],
        "HighPass": settings["high_pass"],
        "LowPass": settings["low_pass"],
        "SmoothingFWHM": settings["smoothing"],
        "Standardize": settings["standardize"],
        "MinimumCoverage": settings["min_coverage"],
        "RegionsNotCovered": summary["regions_uncovered"],
        "RegionsLost": summary["regions_lost"],
        "AtlasSpace": summary["atlas_space"],
        "Hazards": summary["hazards"],
        "Excluded": summary["excluded"] or None,
    }


def model_facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a relmat sidecar says of its model, from the summary of the fit."""
    perturbation = summary["perturbation"]
    return {
        "RepetitionTime": summary["tr"],
        "Surrogate": summary["surrogate"],
        "Training": summary["training"],
        "Perturbation": {
            "Strength": perturbation["strength"],
            "Unit": perturbation.get("unit", "standard deviations of the source"),
            "Sign": perturbation["sign"],
            "Kind": perturbation["perturbation"],
            "Sustained": perturbation["sustained"],
            "Together": perturbation.get("together", ()),
            "StepsAhead": perturbation["steps_ahead"],
            "LagSeconds": perturbation.get(
                "lag_seconds", perturbation["steps_ahead"] * summary["tr"]
            ),
        },
        **({"Pretrained": summary["pretrained"]} if "pretrained" in summary else {}),
        "Verdict": summary["verdict"]["label"],
        "VerdictReasons": summary["verdict"]["reasons"],
        "VerdictThresholds": summary["thresholds"],
        "DirectionSupported": summary["quality"]["direction_supported"],
        "ExpectedR": _expected(summary["quality"], "expected_r"),
        "ExpectedRAntisymmetric": _expected(summary["quality"], "expected_r_antisymmetric"),
        "Hazards": summary["hazards"],
        "Uncertainty": summary["uncertainty"],
        "Quality": summary["quality"],
        "RegionsInModel": summary["regions_in_model"],
        "SamplesPerRun": summary["n_samples_per_run"],
        "SamplesKeptPerRun": summary["n_kept_per_run"],
        "WindowsPerRun": summary["n_windows_per_run"],
        "Seed": summary["seed"],
        "Device": summary["device"],
        "SoftwareVersions": summary["versions"],
    }


def _expected(quality: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an expected accuracy; None where nothing like the result was simulated."""
    return {
        "Value": quality[name],
        "Interval90": [quality[f"{name}_lower"], quality[f"{name}_upper"]],
    }


def region_names_sidecar(space: str) -> dict[str, Any]:
    """Return the sidecar of a table of regions of which only the names are known."""
    return {
        "Description": "Regions of the series that were given, in the order of all matrices.",
        **spatial_fields({"space": space}),
    }


def atlas_table_sidecar(space: str) -> dict[str, Any]:
    """Return the sidecar of an atlas's table of regions."""
    axes = {
        axis: {"Description": f"{axis} of the region's centre", "Units": "mm"} for axis in "xyz"
    }
    return {
        "Description": "Regions of the atlas, in the order of all matrices.",
        **spatial_fields({"space": space}),
        "network": {"Description": "Network that the region belongs to."},
        **axes,
    }


def grey_atlas_sidecar(space: str, n_grey: int, labels: Sequence[str]) -> dict[str, Any]:
    """Return the sidecar of an atlas of greyordinates."""
    return {
        "Description": "The atlas as it was used: the region of each greyordinate.",
        **spatial_fields({"space": space}),
        "Density": f"{n_grey} greyordinates",
        "Manual": False,
        "LabelMap": list(labels),
    }


def atlas_image_sidecar(space: str, size: list[float], labels: Sequence[str]) -> dict[str, Any]:
    """Return the sidecar of an atlas's image; ``size`` of its voxels in mm."""
    grid = " x ".join(f"{length:g}" for length in size)
    return {
        "Description": "The atlas as it was used, before it was resampled to each run's grid.",
        **spatial_fields({"space": space}),
        "Resolution": f"{grid} mm, the atlas's own grid",
        "Manual": False,
        "LabelMap": list(labels),
    }


@dataclass(frozen=True, slots=True)
class _Variant:
    what: str
    units: str = ""  # of the measure where empty
    negative: bool = True
    test: bool = False  # or an interval: what does not hold where tests do not


_VARIANTS = {
    "groupmean": _Variant("Mean over subjects"),
    "groupsd": _Variant("Sample standard deviation over subjects", negative=False),
    "groupn": _Variant("Number of subjects that have the edge", "subjects", negative=False),
    "groupmax": _Variant(
        "Mean over subjects, scaled so that the strongest connection is 1", "arbitrary"
    ),
    "groupt": _Variant("t of the mean over subjects", "t", test=True),
    "groupp": _Variant(
        "Two-sided p of a mean of 0, not corrected", "p", negative=False, test=True
    ),
    "groupq": _Variant(
        "p of a mean of 0 after the correction of Benjamini and Hochberg over all edges",
        "q",
        negative=False,
        test=True,
    ),
    "grouplower": _Variant("Lower end of the 95 % interval of the mean over subjects", test=True),
    "groupupper": _Variant("Upper end of the 95 % interval of the mean over subjects", test=True),
    "groupsign": _Variant(
        "Share of the subjects whose entry has the sign of the mean",
        "share",
        negative=False,
        test=True,
    ),
    "groupinfluence": _Variant(
        "Largest change of the mean when one subject is left out, in standard errors",
        "standard errors",
        negative=False,
    ),
    "groupmedian": _Variant("Median over subjects"),
    "grouptrimmed": _Variant("Trimmed mean over subjects"),
    "groupicc": _Variant("ICC(2,1) over the visits of subjects (Shrout and Fleiss 1979)", "ICC"),
    "groupmotion": _Variant(
        "Correlation with mean framewise displacement over subjects (QC-EC)", "r"
    ),
    "modeleffect": _Variant("Effect, by least squares over subjects"),
    "modelstatistic": _Variant(
        "Statistic of the effect (t, or F of several columns)", "t or F", test=True
    ),
    "modelp": _Variant("Parametric p, two-sided, not corrected", "p", negative=False, test=True),
    "modelq": _Variant(
        "Parametric p after the correction of Benjamini and Hochberg over all edges",
        "q",
        negative=False,
        test=True,
    ),
    "modelpermuted": _Variant(
        "p of each edge by permutation, not corrected", "p", negative=False, test=True
    ),
    "modelfwe": _Variant(
        "p by permutation, family-wise by the largest statistic of each",
        "p",
        negative=False,
        test=True,
    ),
    "modelnbs": _Variant(
        "p by permutation, family-wise, of the network of directed edges above the threshold that "
        "the edge is in; 1 outside of networks",
        "p",
        negative=False,
        test=True,
    ),
    "modeltfnbs": _Variant(
        "p by permutation, family-wise, of the threshold-free network score of the edge",
        "p",
        negative=False,
        test=True,
    ),
}


def group_sidecar(
    measure: str, variant: str, facts: Mapping[str, Any], links: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sidecar of a matrix of a group.

    Parameters
    ----------
    measure
        What the subjects' matrices are.
    variant
        What is known of the group's or the model's edges.
    facts, links
        Further fields.
    """
    fields = measure_fields(measure)
    known = _VARIANTS[variant]
    stated = {key: value for key, value in facts.items() if key != "NotTested"}
    return {
        **fields,
        "Description": f"{known.what}: {fields['RelationshipMeasure']}.",
        "MeasureUnits": known.units or fields["MeasureUnits"],
        "NonNegative": not known.negative,
        **links,
        **stated,
        **(trust_fields(facts) if known.test else {}),
    }


def trust_fields(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sidecar says of how far tests over subjects can be trusted.

    ``facts`` hold ``NumberOfSubjects``, and ``NotTested`` where there is a reason against tests.
    """
    if facts.get("NotTested"):
        return {"NotTested": facts["NotTested"]}
    n_subjects = int(facts["NumberOfSubjects"])
    return {"FewSubjects": few_subjects(n_subjects)} if n_subjects < ENOUGH_SUBJECTS else {}


def few_subjects(n_subjects: int) -> str:
    """Return what to bear in mind of tests over few subjects."""
    return (
        f"n = {n_subjects}: p values and intervals rest on few subjects (fewer than "
        f"{ENOUGH_SUBJECTS}). They assume normally distributed effects, which so few subjects "
        "cannot show; a single subject can decide them, and only large effects can be found. "
        "Treat them as exploratory."
    )


def table_sidecar(table: str, columns: Iterable[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sidecar of a long table of a group.

    Parameters
    ----------
    table
        What is in its rows: edges, regions, networks, subjects or components.
    columns
        Of the table.
    facts
        ``NumberOfSubjects`` and further fields, as :func:`group_sidecar` has them.
    """
    names = [name for name in columns if name in _COLUMNS]
    stated = {key: value for key, value in facts.items() if key != "NotTested"}
    tested = {"p", "p_fwe", "lower"} & set(names)
    return {
        "Description": f"{_TABLES[table]}.",
        **stated,
        **(trust_fields(facts) if tested else {}),
        **{name: {"Description": _COLUMNS[name]} for name in names},
    }


def variant_words() -> dict[str, str]:
    """Return what the end of ``desc`` means for every matrix of a group or a model."""
    return {
        kind.removeprefix("model").capitalize(): known.what for kind, known in _VARIANTS.items()
    }


def responses_sidecar(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sidecar of a table of responses to perturbations.

    Parameters
    ----------
    facts
        ``surrogate`` (name of its file), ``family``, ``tr`` (s), ``sustained``, and ``n_states``
        (None where the response is the same in every state).
    """
    once = "added to every sample until the response is read" if facts["sustained"] else (
        "added to one sample"
    )  # fmt: skip
    states = facts["n_states"]
    over = f"over {states} observed states" if states else "the same in every state"
    return {
        "Description": f"Mean change of every region after a perturbation {once}, {over}.",
        "Surrogate": facts["surrogate"],
        "SurrogateFamily": facts["family"],
        "RepetitionTime": facts["tr"],
        "Sustained": facts["sustained"],
        "NumberOfStates": "n/a" if states is None else states,
        "source": {"Description": "Perturbed region, or regions joined by +."},
        "strength": {"Description": "What was added to the source.", "Units": "SD of the source"},
        "step": {"Description": "Samples after the perturbation."},
        "time": {"Description": "The same in seconds.", "Units": "s"},
        "region": {"Description": "Region that responds."},
        "response": {"Description": "Its mean change.", "Units": "SD of the region"},
        "sd": {
            "Description": "Standard deviation of the change over the states.",
            "Units": "SD of the region",
        },
        "GeneratedBy": {"Name": "npi-bids", "Version": __version__},
    }
