"""Confounds of fMRIPrep 1.0 and 1.1, in the words of later versions."""

from __future__ import annotations

import re

import pandas as pd

_NAMES = {
    "CSF": "csf",
    "WhiteMatter": "white_matter",
    "GlobalSignal": "global_signal",
    "stdDVARS": "std_dvars",
    "non-stdDVARS": "dvars",
    "FramewiseDisplacement": "framewise_displacement",
    "X": "trans_x",
    "Y": "trans_y",
    "Z": "trans_z",
    "RotX": "rot_x",
    "RotY": "rot_y",
    "RotZ": "rot_z",
}
_NUMBERED = {
    "aCompCor": "a_comp_cor_",
    "tCompCor": "t_comp_cor_",
    "Cosine": "cosine",
    "NonSteadyStateOutlier": "non_steady_state_outlier",
    "AROMAAggrComp": "aroma_motion_",
}
_COUNTED = re.compile(rf"({'|'.join(_NUMBERED)})(\d+)")
# Signals that later versions expand; 1.0 and 1.1 left that to their users.
_EXPANDED = ("csf", "white_matter", "global_signal", *(f"{kind}_{axis}" for kind in
             ("trans", "rot") for axis in "xyz"))  # fmt: skip


def modern_confounds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of fMRIPrep 1.2 and later; one that has them stays as it is.

    Derivatives (backward differences, the first missing) and squares, which the old tables lack,
    are computed as the later versions do.

    >>> old = pd.DataFrame({"RotX": [0.0, 1.0, 3.0], "aCompCor00": [1.0, 2.0, 3.0]})
    >>> list(modern_confounds(old).columns)[:4]
    ['rot_x', 'a_comp_cor_00', 'rot_x_derivative1', 'rot_x_power2']
    """
    names = {column: _modern(str(column)) for column in table.columns}
    if all(old == new for old, new in names.items()):
        return table
    renamed = table.rename(columns=names)
    added = {}
    for name in _EXPANDED:
        if name in renamed and pd.api.types.is_numeric_dtype(renamed[name]):
            change = renamed[name].diff()
            added[f"{name}_derivative1"] = change
            added[f"{name}_power2"] = renamed[name] ** 2
            added[f"{name}_derivative1_power2"] = change**2
    missing = {name: column for name, column in added.items() if name not in renamed}
    return pd.concat([renamed, pd.DataFrame(missing)], axis=1)


def _modern(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    counted = _COUNTED.fullmatch(name)
    return f"{_NUMBERED[counted[1]]}{counted[2]}" if counted else name
