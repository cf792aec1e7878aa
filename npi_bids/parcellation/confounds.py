"""Confounds of one run, checked for gaps and then loaded with nilearn.

nilearn's ``load_confounds`` finds the table by the name of an image, fails in a folder whose name
contains "tsv", and does not report missing cosine columns. The table is therefore read and checked
here, and passed to nilearn under a fixed name in a scratch folder.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from npi_bids.errors import InputDataError
from npi_bids.io.tables import read_numbers
from npi_bids.parcellation.denoising import Strategy
from npi_bids.records import Array, Mask
from npi_bids.wording import count_noun, join_items

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
_NUMBERED_NAME = re.compile(rf"({'|'.join(_NUMBERED)})(\d+)")
_TISSUE = ("csf", "white_matter")
_SUFFIXES = {
    "basic": ("",),
    "derivatives": ("", "_derivative1"),
    "power2": ("", "_power2"),
    "full": ("", "_derivative1", "_power2", "_derivative1_power2"),
}
_DUMMY = "non_steady_state"
# fMRIPrep's cosines have a cut-off of 128 s: a run this many seconds long has none.
_COSINE_PERIOD = 128.0
# Correlation of the table's global signal with the image's below which their runs differ.
_SAME_RUN, _FEWEST_CHANGES = 0.5, 64

# Signals that later versions of fMRIPrep expand; 1.0 and 1.1 left that to their users.
_EXPANDED = ("csf", "white_matter", "global_signal", *(f"{movement}_{axis}" for movement in
             ("trans", "rot") for axis in "xyz"))  # fmt: skip


def modern_confounds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of fMRIPrep 1.2 and later; one that has them is unchanged.

    Derivatives (backward differences, the first missing) and squares, which the old tables lack,
    are computed as the later versions do.

    >>> old = pd.DataFrame({"RotX": [0.0, 1.0, 3.0], "aCompCor00": [1.0, 2.0, 3.0]})
    >>> list(modern_confounds(old).columns)[:4]
    ['rot_x', 'a_comp_cor_00', 'rot_x_derivative1', 'rot_x_power2']
    """
    names = {column: _modern_name(str(column)) for column in table.columns}
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


def _modern_name(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    numbered = _NUMBERED_NAME.fullmatch(name)
    return f"{_NUMBERED[numbered[1]]}{numbered[2]}" if numbered else name


_MOTION = tuple(f"{movement}_{axis}" for movement in ("trans", "rot") for axis in "xyz")


@dataclass(frozen=True, slots=True, eq=False)
class Confounds:
    """Regressors of a run, and the samples that are retained.

    Attributes
    ----------
    regressors
        Shape (n_samples, n_regressors).
    keep
        Shape (n_samples,); False for dummy scans and censored samples.
    n_dummy
        Samples dropped at the start.
    framewise_displacement
        Shape (n_samples,), in mm; NaN where the table lacks it.
    global_signal
        Shape (n_samples,), in the unit of the image; NaN where the table lacks it.
    """

    regressors: pd.DataFrame
    keep: Mask
    n_dummy: int
    framewise_displacement: Array
    global_signal: Array


def read_confounds(path: Path, n_samples: int) -> pd.DataFrame:
    """Read a confounds table and check that it belongs to the run.

    Raises
    ------
    InputDataError
        The file cannot be read as a table, or has more or fewer rows than the run has samples.
    """
    table = modern_confounds(read_numbers(path, finite=False))
    if len(table) != n_samples:
        raise InputDataError(
            f"The confounds <{path}> have {len(table)} rows but the run has {n_samples} samples; "
            "expected one row per sample. Was the image cut, or is it the table of another run?"
        )
    return table


def check_columns(table: pd.DataFrame, strategy: Strategy, tr: float, path: Path) -> None:
    """Raise an error that names every column the strategy needs and the table lacks.

    Raises
    ------
    InputDataError
        Columns are missing, cosine columns included, or hold no numbers.
    """
    columns = [str(column) for column in table.columns]
    missing = [
        column
        for names in _needed_columns(strategy).values()
        for column in names
        if column not in table
    ]
    remedy = "choose another --denoise strategy, or run fMRIPrep with these confounds"
    cosines = any(column.startswith("cosine") for column in columns)
    if "high_pass" in strategy.components and not cosines:
        n_expected = math.floor(2 * len(table) * tr / _COSINE_PERIOD)
        if n_expected:
            missing += [f"cosine{number:02d}" for number in range(n_expected)]
            remedy += "; --high-pass 0.008 computes the cosines here"
    if "compcor" in strategy.components and not any(map(_is_compcor, columns)):
        missing.append("a_comp_cor_00")
    if missing:
        raise InputDataError(
            f"The confounds file <{path}> lacks {count_noun(len(missing), 'column')} that the "
            f"strategy '{strategy.name}' needs: {join_items(missing)}; {remedy}."
        )


def check_variation(table: pd.DataFrame, strategy: Strategy, path: Path) -> None:
    """Raise an error where all confounds of one component of the strategy are constant.

    A constant regressor removes nothing. A single constant column may be real (a tissue that the
    field of view lacks); six motion parameters, or both tissues, that never change are not. The
    framewise displacement is compared with a threshold: it is refused only if it is always zero.

    Raises
    ------
    InputDataError
        All columns of a component are constant; the message names them.
    """
    used = _needed_columns(strategy)
    if "compcor" in strategy.components:
        used["compcor"] = [name for name in table.columns if _is_compcor(str(name))]
    used = used | {"scrub": used["scrub"][:1]} if "scrub" in used else used
    for component, names in used.items():
        values = table[names].to_numpy(dtype=np.float64)
        observed = values[:, np.isfinite(values).any(axis=0)]
        constant = (
            observed.size and (np.nanmin(observed, axis=0) == np.nanmax(observed, axis=0)).all()
        )
        if constant and (component != "scrub" or not np.nanmax(observed)):
            raise InputDataError(
                f"The confounds <{path}> are constant in every column of the component "
                f"'{component}' that the strategy '{strategy.name}' needs: "
                f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''}; expected values that "
                "change over the run, since constant ones remove nothing. Was the table filled "
                "with zeros? Choose another --denoise strategy to go without."
            )


def _needed_columns(strategy: Strategy) -> dict[str, list[str]]:
    """Return the columns with fixed names, by component of the strategy."""
    columns = {
        "motion": [name + end for end in _SUFFIXES[strategy.motion] for name in _MOTION],
        "wm_csf": [name + end for end in _SUFFIXES[strategy.wm_csf] for name in _TISSUE],
        "global_signal": ["global_signal" + end for end in _SUFFIXES[strategy.global_signal]],
        "scrub": ["framewise_displacement"]
        + ["std_dvars"] * math.isfinite(strategy.std_dvars_threshold),
    }
    return {name: columns[name] for name in columns if name in strategy.components}


def _is_compcor(name: str) -> bool:
    return name.startswith("a_comp_cor")


def global_signal_problem(confounds: Confounds, brain_mean: Array) -> str:
    """Describe how the global signal of the table differs from the image's; empty if it does not.

    The global signal of fMRIPrep is the mean of the preprocessed image within its brain mask, so
    that its changes from sample to sample are nearly those of the image, also after resampling to
    another space. Changes of two runs are unrelated: with 64 of them, the fewest that are
    tested, r exceeds 0.5 by chance in less than 1 of 1000 runs. The signals themselves are no
    test, since all scans drift similarly.

    Parameters
    ----------
    confounds
        Confounds of the run, with the samples that are retained.
    brain_mean
        Shape (n_samples,); mean of the image within its mask, NaN where it is not known.
    """
    usable = confounds.keep & np.isfinite(confounds.global_signal) & np.isfinite(brain_mean)
    pairs = usable[1:] & usable[:-1]
    stated, measured = np.diff(confounds.global_signal)[pairs], np.diff(brain_mean)[pairs]
    if pairs.sum() < _FEWEST_CHANGES or not (np.ptp(stated) > 0 and np.ptp(measured) > 0):
        return ""
    r = float(np.corrcoef(stated, measured)[0, 1])
    if r >= _SAME_RUN:
        return ""
    return (
        f"The global signal of the confounds correlates with the mean of the image in its mask by "
        f"r = {r:.2f} (changes from sample to sample); expected nearly 1. Are they the confounds "
        "of another run, or was the image processed further?"
    )


def load_confounds(
    path: Path | None, *, n_samples: int, tr: float, strategy: Strategy, dummy_scans: str
) -> Confounds:
    """Load the confounds of one run.

    Parameters
    ----------
    path
        ``desc-confounds_timeseries.tsv``; may be None where the strategy needs none.
    n_samples
        Number of samples of the run.
    tr
        Sampling period (s).
    strategy
        The confounds to load.
    dummy_scans
        ``auto`` drops what the table flags as non-steady state; a number drops that many.

    Raises
    ------
    InputDataError
        The table is missing, does not fit the run, or lacks columns.
    """
    if path is None:
        if strategy.components:
            raise InputDataError(
                f"There is no confounds table for this run, but the strategy '{strategy.name}' "
                f"needs {', '.join(strategy.components)}; use --denoise none to go without."
            )
        return _without_table(n_samples, dummy_scans)
    table = read_confounds(path, n_samples)
    check_columns(table, strategy, tr, path)
    check_variation(table, strategy, path)
    if dummy_scans != "auto":
        table = table.drop(columns=[name for name in table.columns if _DUMMY in str(name)])
    flagged = table[[name for name in table.columns if _DUMMY in str(name)]].to_numpy(dtype=float)
    if strategy.components:
        try:
            regressors, keep = _load_with_nilearn(table, path.with_suffix(".json"), strategy)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputDataError(
                f"The confounds <{path}> cannot be used with the strategy '{strategy.name}': "
                f"{error}"
            ) from error
    else:
        regressors, keep = pd.DataFrame(index=range(n_samples)), flagged.sum(axis=1) == 0
    n_dummy = int(flagged.any(axis=1).sum()) if dummy_scans == "auto" else int(dummy_scans)
    if dummy_scans != "auto":
        keep[:n_dummy] = False
    _check_finite(regressors, keep, path)
    absent = pd.Series(np.full(n_samples, np.nan))
    displacement, signal = (
        table.get(name, absent).to_numpy(dtype=np.float64)
        for name in ("framewise_displacement", "global_signal")
    )
    return Confounds(regressors, keep, n_dummy, displacement, signal)


def _without_table(n_samples: int, dummy_scans: str) -> Confounds:
    n_dummy = 0 if dummy_scans == "auto" else int(dummy_scans)
    keep = np.ones(n_samples, dtype=bool)
    keep[:n_dummy] = False
    no_regressors, not_available = pd.DataFrame(index=range(n_samples)), np.full(n_samples, np.nan)
    return Confounds(no_regressors, keep, n_dummy, not_available, not_available)


def _load_with_nilearn(
    table: pd.DataFrame, sidecar: Path, strategy: Strategy
) -> tuple[pd.DataFrame, Mask]:
    from nilearn.interfaces.fmriprep import load_confounds as nilearn_load

    keep = np.ones(len(table), dtype=bool)
    if "std_dvars" not in table:  # nilearn reads it even where it censors nothing
        table = table.assign(std_dvars=0.0)
    with (
        tempfile.TemporaryDirectory(prefix="confounds_", dir=Path.cwd()) as folder,
        warnings.catch_warnings(),
    ):
        # A relative path: nilearn replaces "tsv" anywhere in the path to find the JSON.
        scratch = Path(os.path.relpath(folder))
        stem = "sub-1_desc-confounds_timeseries"
        table.to_csv(scratch / f"{stem}.tsv", sep="\t", na_rep="n/a", index=False)
        metadata = _read_sidecar(sidecar) if sidecar.is_file() else {}
        (scratch / f"{stem}.json").write_text(json.dumps(metadata))
        # A run without any retained sample is excluded later, with a message that explains why.
        warnings.filterwarnings("ignore", message="All volumes were marked", module=".*")
        regressors, sample_mask = nilearn_load(
            str(scratch / "sub-1_desc-preproc_bold.nii.gz"),
            strategy=strategy.components,
            motion=strategy.motion,
            wm_csf=strategy.wm_csf,
            global_signal=strategy.global_signal,
            compcor=strategy.compcor,
            n_compcor=strategy.n_compcor or "all",
            scrub=strategy.scrub,
            fd_threshold=strategy.fd_threshold,
            std_dvars_threshold=strategy.std_dvars_threshold,
            demean=False,
        )
    if sample_mask is not None:
        keep[:] = False
        keep[sample_mask] = True
    if regressors is None:
        regressors = pd.DataFrame(index=range(len(table)))
    return regressors, keep


def _read_sidecar(path: Path) -> dict[str, dict[str, object]]:
    """Read fMRIPrep's description of its confounds: an object of objects."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputDataError(f"The sidecar <{path}> cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputDataError(
            f"The sidecar <{path}> holds {type(content).__name__}; expected a JSON object."
        )
    return {name: metadata for name, metadata in content.items() if isinstance(metadata, dict)}


def _check_finite(regressors: pd.DataFrame, keep: Mask, path: Path) -> None:
    broken = ~np.isfinite(regressors.to_numpy(dtype=np.float64)[keep]).all(axis=0)
    if broken.any():
        raise InputDataError(
            f"The confounds file <{path}> has non-finite values in uncensored samples of "
            f"{join_items(regressors.columns[broken], most=8)}; expected n/a only in the first "
            "row."
        )
