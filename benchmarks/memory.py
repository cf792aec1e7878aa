"""Peak memory and time of extracting a run at 2 mm, compared with the estimate for the scheduler.

usage: python -m benchmarks.memory [--quick]

Four runs: 1200 volumes of 16-bit integers, uncompressed and compressed; 600 and 1200 volumes of
32-bit floats, compressed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.table import save, show
from npi_bids.cli.execution import extraction_memory

SHAPE, AFFINE = (91, 109, 91), np.diag([2.0, 2, 2, 1])
_CHILD = """
import sys, time
from pathlib import Path
from npi_bids.parcellation.extraction import extract_run
from npi_bids.parcellation.run_files import RunFiles
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import read_parcellation
atlas = read_parcellation(Path(sys.argv[2]))
import nilearn.maskers, torch

def peak():
    # Unlike ru_maxrss, this does not include the memory of the parent process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6

before = peak()
started = time.perf_counter()
extract_run(RunFiles(Path(sys.argv[1]), tr=0.8), atlas, DenoiseSettings(denoise="none"),
            CoverageSettings())
print(time.perf_counter() - started, peak(), before)
"""


def make_run(path: Path, n_samples: int, dtype: type = np.int16) -> None:
    """Write a run of noise within a brain, as 16-bit integers or as 32-bit floats (fMRIPrep)."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices(SHAPE)
    brain = (x - 45) ** 2 / 33**2 + (y - 54) ** 2 / 42**2 + (z - 40) ** 2 / 33**2 < 1
    data = np.zeros((*SHAPE, n_samples), dtype=dtype, order="F")
    for volume in range(n_samples):
        noise = 20 * rng.standard_normal(brain.sum(), dtype=np.float32)
        data[..., volume][brain] = 1000 + noise
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_zooms((2, 2, 2, 0.8))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def make_atlas(folder: Path) -> None:
    """Save an atlas of 100 blocks."""
    from npi_bids.parcellation.parcellation import Parcellation, label_image, save_parcellation

    x, y, z = np.indices(SHAPE)
    values = 1 + (x // 19) * 20 + (y // 28) * 5 + z // 19
    inside = (x - 45) ** 2 / 33**2 + (y - 54) ** 2 / 42**2 + (z - 40) ** 2 / 33**2 < 1
    values = np.where(inside, values, 0)
    used_values, indices = np.unique(values, return_inverse=True)
    data = indices.reshape(SHAPE)
    labels = tuple(f"R{number}" for number in range(1, len(used_values)))
    image = label_image(data, AFFINE)
    parcellation = Parcellation("Blocks", labels, tuple(range(1, len(used_values))), "MNI", image)
    save_parcellation(parcellation, folder)


def main() -> int:
    """Run the benchmark."""
    lengths = (100,) if "--quick" in sys.argv else (600, 1200)
    cases = [(lengths[-1], np.int16, ".nii"), (lengths[-1], np.int16, ".nii.gz")]
    cases += [(n_samples, np.float32, ".nii.gz") for n_samples in lengths]
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_atlas(folder / "atlas")
        for n_samples, dtype, extension in cases:
            path = folder / f"sub-1_task-rest_desc-preproc_bold{extension}"
            make_run(path, n_samples, dtype)
            command = [sys.executable, "-c", _CHILD, str(path), str(folder / "atlas")]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            took, peak, before = map(float, text.split())
            told = extraction_memory([path])
            row = f"{n_samples} volumes, {dtype.__name__}, {extension}"
            rows[row] = (took, peak, before, told, told / peak)
            path.unlink()
    columns = ("seconds", "peak (GB)", "libraries (GB)", "estimate (GB)", "estimate / peak")
    show("Extraction at 2 mm", columns, rows)
    print(f"written to {save('memory', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
