"""Fields of the JSON sidecars: the only list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from npi_bids.bids.measures import measure_fields
from npi_bids.bids.names import Entities

# Spaces of an individual; everything else is the name of a template.
_INDIVIDUAL = ("T1w", "T2w", "func", "boldref", "individual", "")

_MECHANISTIC = (
    "Mean change of the target's BOLD 3 to 6 s after the source was stimulated for 0.5 s in a "
    "whole-brain model that was fitted to the subject's functional connectivity, in standard "
    "deviations of the target's simulated BOLD. Directions come from the structural connectivity "
    "and the model. The diagonal is set to 0."
)


def relmat_sidecar(
    measure: str, facts: Mapping[str, Any], links: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the sidecar of one matrix of one model.

    Parameters
    ----------
    measure
        One of the measures of :mod:`npi_bids.bids.names`.
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
