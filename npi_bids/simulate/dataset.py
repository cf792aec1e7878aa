"""Write simulated regional signals as a dataset that looks like fMRIPrep's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from npi_bids import __version__
from npi_bids.core.records import Array, Mask
from npi_bids.images.parcellation import Parcellation, label_data
from npi_bids.io.files import write_json

_BASELINE, _SIGNAL, _NOISE = 1000.0, 20.0, 20.0  # image units; the signal is 2 % of the baseline
_COSINE_PERIOD = 128.0
_AXES = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRun:
    """One run to write.

    Attributes
    ----------
    entities
        ``sub``, ``task``, ``run`` and so on.
    signals
        Shape (n_samples, n_regions), in the order of the atlas.
    tr
        Sampling period (s).
    moved
        Shape (n_samples,); True where the head moves.
    """

    entities: Mapping[str, str]
    signals: Array
    tr: float
    moved: Mask


def write_description(root: Path, name: str) -> None:
    """Write ``dataset_description.json``, README and ``.bidsignore`` of a simulated dataset."""
    root.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": name,
        "BIDSVersion": "1.11.1",
        "DatasetType": "derivative",
        "License": "CC0",
        "Authors": ["npi-bids", "simulation"],
        "Acknowledgements": "Simulated; nobody was scanned.",
        "HowToAcknowledge": "Cite npi-bids.",
        "Funding": ["none"],
        "EthicsApprovals": ["not needed: simulated"],
        "ReferencesAndLinks": ["https://github.com/npi-bids/npi-bids"],
        "Keywords": ["simulation", "effective connectivity"],
        "GeneratedBy": [
            {
                "Name": "npi-bids simulation",
                "Version": __version__,
                "Description": "Not a scan.",
                "CodeURL": "https://github.com/npi-bids/npi-bids",
            }
        ],
    }
    write_json(root / "dataset_description.json", content)
    (root / "README.md").write_text(_README.format(name=name))
    # The table of regional series is a draft of the standard (BEP012).
    (root / ".bidsignore").write_text("*_timeseries.tsv\n*_timeseries.json\n")


_README = """# {name}

Simulated by npi-bids: signals of a system whose effective connectivity is known, written as
fMRIPrep writes its output. Nobody was scanned. The truth lies beside this dataset.
"""


def write_run(
    root: Path, run: SimulatedRun, atlas: Parcellation, rng: np.random.Generator
) -> Path:
    """Write image, mask, confounds and sidecar of one run.

    Every voxel of a region carries its signal plus noise of its own; the rest of the mask (a rim
    around the regions) holds noise alone. Motion leaks into all voxels a little.

    Parameters
    ----------
    root
        Of the dataset.
    run
        What to write.
    atlas
        Regions on the grid of the image.
    rng
        Source of noise and motion.

    Returns
    -------
    Path
        The image.
    """
    stem = "_".join(f"{key}-{value}" for key, value in run.entities.items())
    func = root / f"sub-{run.entities['sub']}"
    if "ses" in run.entities:
        func /= f"ses-{run.entities['ses']}"
    func /= "func"
    func.mkdir(parents=True, exist_ok=True)
    space = f"{stem}_space-{atlas.space}_res-4"
    motion = _motion(len(run.signals), run.moved, rng)
    regions = label_data(atlas.image, atlas.name)
    mask = _rim(regions > 0)
    data = _paint(run, atlas, (regions, mask), motion, rng)
    image = nib.Nifti1Image(data, atlas.image.affine)
    image.header.set_zooms((*image.header.get_zooms()[:3], run.tr))
    image.header.set_xyzt_units("mm", "sec")
    path = func / f"{space}_desc-preproc_bold.nii.gz"
    nib.save(image, path)
    brain = nib.Nifti1Image(mask.astype(np.uint8), atlas.image.affine)
    brain.header.set_xyzt_units("mm", "sec")
    nib.save(brain, func / f"{space}_desc-brain_mask.nii.gz")
    _describe_images(root, path, run, atlas.space)
    table = func / f"{stem}_desc-confounds_timeseries.tsv"
    confounds = _confounds(motion, run.tr, data[mask].mean(axis=0, dtype=np.float64), rng)
    confounds.to_csv(table, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    about = {"Description": "Simulated confounds.", "SamplingFrequency": 1 / run.tr}
    write_json(table.with_suffix(".json"), about | {"StartTime": 0, "Sources": []})
    return path


def _describe_images(root: Path, path: Path, run: SimulatedRun, space: str) -> None:
    """Write the sidecars of an image and of its mask."""
    place = {
        "SpatialReference": f"https://www.templateflow.org/browse/#tpl-{space}",
        "Resolution": "4 mm",
    }
    image = {
        "Description": "Simulated BOLD.",
        "RepetitionTime": run.tr,
        "TaskName": run.entities["task"],
        "SkullStripped": False,
        "Sources": [],
    }
    mask = {
        "Description": "Where there is signal.",
        "Type": "Brain",
        "Sources": [f"bids::{path.relative_to(root).as_posix()}"],
    }
    stem = path.name.removesuffix("_desc-preproc_bold.nii.gz")
    write_json(path.with_name(f"{stem}_desc-preproc_bold.json"), image | place)
    write_json(path.with_name(f"{stem}_desc-brain_mask.json"), mask | place)


def _paint(
    run: SimulatedRun,
    atlas: Parcellation,
    space: tuple[np.ndarray, np.ndarray],
    motion: Array,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the 4D image as 16-bit integers."""
    regions, mask = space
    n_samples = len(run.signals)
    scaled = (run.signals - run.signals.mean(axis=0)) / run.signals.std(axis=0)
    place = np.searchsorted(atlas.values, regions[mask])
    carries = regions[mask] > 0
    voxels = _NOISE * rng.standard_normal((len(place), n_samples), dtype=np.float32)
    voxels[carries] += _SIGNAL * scaled[:, place[carries]].T
    voxels += _BASELINE + 10 * motion.sum(axis=1)
    image = np.zeros((*regions.shape, n_samples), dtype=np.int16)
    image[mask] = np.rint(voxels)
    return image


def _rim(inside: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    grown: np.ndarray = binary_dilation(inside, iterations=1)
    return grown


def _motion(n_samples: int, moved: Mask, rng: np.random.Generator) -> Array:
    """Return six motion parameters: a slow drift, and stretches of real movement."""
    drift = np.cumsum(0.01 * rng.standard_normal((n_samples, 6)), axis=0)
    drift[:, 3:] /= 50  # radians on a sphere of 50 mm
    drift[moved, :3] += 0.8 * rng.standard_normal((int(moved.sum()), 3))
    return drift


def _confounds(
    motion: Array, tr: float, global_signal: Array, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the columns of fMRIPrep that the common strategies need."""
    n_samples = len(motion)
    columns: dict[str, Array] = dict(zip(_AXES, motion.T, strict=True))
    for name in ("csf", "white_matter", "global_signal"):
        columns[name] = _BASELINE + np.convolve(
            rng.standard_normal(n_samples + 4), np.ones(5), "valid"
        )
    columns["global_signal"] = global_signal
    full: dict[str, Array] = {}
    for name, values in columns.items():
        slope = np.r_[np.nan, np.diff(values)]
        full |= {
            name: values,
            f"{name}_derivative1": slope,
            f"{name}_power2": values**2,
            f"{name}_derivative1_power2": slope**2,
        }
    step = np.abs(np.diff(motion, axis=0))
    displacement = step[:, :3].sum(axis=1) + 50 * step[:, 3:].sum(axis=1)
    full["framewise_displacement"] = np.r_[np.nan, displacement]
    full["std_dvars"] = np.r_[np.nan, 1 + displacement / 2]
    centre = np.arange(n_samples) + 0.5
    for order in range(1, int(2 * n_samples * tr / _COSINE_PERIOD) + 1):
        full[f"cosine{order - 1:02d}"] = np.cos(np.pi * order * centre / n_samples)
    return pd.DataFrame(full)
