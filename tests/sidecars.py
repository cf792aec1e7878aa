"""Sidecars of models for tests, whole but for what a test is about."""

from npi_bids.bids.sidecars import ModelSidecar

FIELDS = {
    "NodeFiles": ["bids::tpl-X/anat/tpl-X_atlas-A_dseg.tsv"],
    "Sources": ["bids::sub-1/func/sub-1_task-x_atlas-A_desc-simple_timeseries.tsv"],
    "ConfigurationHash": "abc",
    "RepetitionTime": 2.0,
    "Surrogate": "var",
    "Training": {"NLags": 1},
    "Perturbation": {"Strength": 1.0, "Sign": "positive"},
    "Verdict": "pass",
    "VerdictReasons": [],
    "VerdictThresholds": {},
    "Quality": {
        "DirectionSupported": True, "NWindows": 300, "NTrain": 240, "NValid": 60, "NRegions": 4,
    },
    "RegionsInModel": 4,
    "Seed": 0,
    "SoftwareVersions": {"npi-bids": "0"},
}  # fmt: skip

# What the sidecar of every matrix of a model held before it referred to that of the map.
OLD = {
    **FIELDS,
    "Training": {"n_lags": 4, "linear_is_var": 1.0},
    "Quality": {
        "r2": 0.1, "r2_own_history": 0.05, "r_seed": None, "direction_supported": True,
        "shrunk": None, "n_windows": 490, "n_train": 395, "n_valid": 95, "n_regions": 4,
    },
    "VerdictThresholds": {"direction_p": 0.05, "min_split": 0.3},
}  # fmt: skip


def model_sidecar(**changes):
    """Return the sidecar of a map, with some fields of the JSON changed."""
    return ModelSidecar.from_json({**FIELDS, **changes})
