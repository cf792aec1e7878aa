"""Confounds of one run, through nilearn, with every gap named before it can do harm.

nilearn's ``load_confounds`` finds the table by the name of an image, trips over a folder whose
name holds "tsv", and says nothing when the cosine columns are missing. So the table is read and
checked here, and handed over under a name of its own in a scratch folder.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from npi_bids.core.records import Array, Mask
from npi_bids.errors import InputDataError
from npi_bids.images.denoise import Strategy
from npi_bids.images.old_confounds import modern_confounds
from npi_bids.io.tables import read_numbers

_MOTION = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
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


@dataclass(frozen=True, slots=True, eq=False)
class Confounds:
    """What is regressed out of a run, and which samples stay.

    Attributes
    ----------
    regressors
        Shape (n_samples, n_regressors).
    keep
        Shape (n_samples,); False for dummy scans and censored samples.
    n_dummy
        Samples dropped at the start.
    framewise_displacement
        Shape (n_samples,), in mm; NaN where the table does not say.
    """

    regressors: pd.DataFrame
    keep: Mask
    n_dummy: int
    framewise_displacement: Array


def read_confounds(path: Path, n_samples: int) -> pd.DataFrame:
    """Read a confounds table and check that it belongs to the run.

    Raises
    ------
    InputDataError
        The file cannot be read as a table, or has another number of rows than the run samples.
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
        Columns are missing, cosine columns included.
    """
    needed = {
        "motion": [name + end for end in _SUFFIXES[strategy.motion] for name in _MOTION],
        "wm_csf": [name + end for end in _SUFFIXES[strategy.wm_csf] for name in _TISSUE],
        "global_signal": ["global_signal" + end for end in _SUFFIXES[strategy.global_signal]],
        "scrub": ["framewise_displacement"]
        + ["std_dvars"] * math.isfinite(strategy.std_dvars_threshold),
    }
    missing = [
        column
        for component in strategy.components
        for column in needed.get(component, ())
        if column not in table
    ]
    remedy = "choose another --denoise strategy, or run fMRIPrep with these confounds"
    columns = [str(column) for column in table.columns]
    cosines = any(column.startswith("cosine") for column in columns)
    if "high_pass" in strategy.components and not cosines:
        n_expected = math.floor(2 * len(table) * tr / _COSINE_PERIOD)
        if n_expected:
            missing += [f"cosine{number:02d}" for number in range(n_expected)]
            remedy += "; --high-pass 0.008 makes cosines here"
    if "compcor" in strategy.components and not any(c.startswith("a_comp_cor") for c in columns):
        missing.append("a_comp_cor_00")
    if missing:
        raise InputDataError(
            f"The confounds <{path}> lack {len(missing)} column(s) that the strategy "
            f"'{strategy.name}' needs: {', '.join(missing)}; {remedy}."
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
        Samples of the run.
    tr
        Sampling period (s).
    strategy
        What to take.
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
    if dummy_scans != "auto":
        table = table.drop(columns=[name for name in table.columns if _DUMMY in str(name)])
    flagged = table[[name for name in table.columns if _DUMMY in str(name)]].to_numpy(dtype=float)
    if strategy.components:
        try:
            regressors, keep = _ask_nilearn(table, path.with_suffix(".json"), strategy)
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
    displacement = table.get("framewise_displacement", absent)
    return Confounds(regressors, keep, n_dummy, displacement.to_numpy(dtype=np.float64))


def _without_table(n_samples: int, dummy_scans: str) -> Confounds:
    n_dummy = 0 if dummy_scans == "auto" else int(dummy_scans)
    keep = np.ones(n_samples, dtype=bool)
    keep[:n_dummy] = False
    nothing = pd.DataFrame(index=range(n_samples))
    return Confounds(nothing, keep, n_dummy, np.full(n_samples, np.nan))


def _ask_nilearn(
    table: pd.DataFrame, sidecar: Path, strategy: Strategy
) -> tuple[pd.DataFrame, Mask]:
    from nilearn.interfaces.fmriprep import load_confounds as nilearn_load

    keep = np.ones(len(table), dtype=bool)
    with tempfile.TemporaryDirectory(prefix="confounds_", dir=Path.cwd()) as folder:
        # A relative path: nilearn replaces "tsv" anywhere in the path to find the JSON.
        scratch = Path(os.path.relpath(folder))
        stem = "sub-1_desc-confounds_timeseries"
        table.to_csv(scratch / f"{stem}.tsv", sep="\t", na_rep="n/a", index=False)
        about = _read_sidecar(sidecar) if sidecar.is_file() else {}
        (scratch / f"{stem}.json").write_text(json.dumps(about))
        regressors, kept = nilearn_load(
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
    if kept is not None:
        keep[:] = False
        keep[kept] = True
    if regressors is None:
        regressors = pd.DataFrame(index=range(len(table)))
    return regressors, keep


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Read what fMRIPrep says of its confounds; an object of objects."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputDataError(f"The sidecar <{path}> cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputDataError(
            f"The sidecar <{path}> holds {type(content).__name__}; expected a JSON object."
        )
    return {name: about for name, about in content.items() if isinstance(about, dict)}


def _check_finite(regressors: pd.DataFrame, keep: Mask, path: Path) -> None:
    broken = ~np.isfinite(regressors.to_numpy(dtype=np.float64)[keep]).all(axis=0)
    if broken.any():
        raise InputDataError(
            f"The confounds <{path}> have values that are not numbers in samples that are kept, "
            f"columns {list(regressors.columns[broken])[:8]}; expected n/a in the first row at "
            "most."
        )
