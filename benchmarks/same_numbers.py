"""Run the program on many types of input, and compare all numbers with those of another version.

usage: python -m benchmarks.same_numbers record RESULTS.json [WORK]
       python -m benchmarks.same_numbers compare BEFORE.json AFTER.json

``record`` runs the demo, four atlases on images with real confounds, greyordinates, regional
series with groups, pre-training, a whole-brain model and the validation, and stores a digest of
every table, image and tensor, and the numbers of every JSON. ``compare`` lists the files that
differ. A renamed file is recognised by its digest; fields of a JSON may be renamed or omitted,
which is listed, but must not contain other numbers. Real data are taken from ``../shared/data``;
runs that need them are skipped if it does not exist.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

_SHARED = Path(__file__).parents[2] / "shared" / "data"
# Folders and fields that differ from run to run, or describe who ran it.
_NO_RESULT = ("logs", "work", "figures")
_NO_NUMBER = ("Version", "SoftwareVersions", "ConfigurationHash", "GeneratedBy", "Seconds")
_STRATEGY = 'components = ["motion"]\nmotion = "basic"\n'
_QUICK_BRAIN = (
    *("--surrogate", "wbm", "--wbm-model", "hopf", "--wbm-grid", "2", "--wbm-minutes", "2.5"),
    *("--wbm-population", "5", "--wbm-generations", "1", "--wbm-states", "1", "--wbm-step", "0.2"),
)


def main() -> int:
    """Record the numbers of this version, or compare two records."""
    if len(sys.argv) > 2 and sys.argv[1] == "record":
        return record(Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    if len(sys.argv) == 4 and sys.argv[1] == "compare":
        return compare(*(json.loads(Path(path).read_text()) for path in sys.argv[2:]))
    print(__doc__)
    return 2


def record(path: Path, work: Path | None) -> int:
    """Run everything and store the digests."""
    digests: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = (work or Path(scratch)).resolve()
        root.mkdir(parents=True, exist_ok=True)
        for step in STEPS:
            print(step.__name__.strip("_"), flush=True)
            step(root)
        for file in sorted(root.rglob("*")):
            name = file.relative_to(root)
            counts = file.is_file() and not set(name.parts) & set(_NO_RESULT)
            if counts and (digest := _digest(file)) is not None:
                digests[str(name)] = digest
    path.write_text(json.dumps(digests, indent=1) + "\n")
    print(f"{len(digests)} files with numbers, written to {path}")
    return 0


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print the differences; return 0 if all numbers are the same."""
    unlike = [name for name in before if name in after and before[name] != after[name]]
    fewer = [name for name in unlike if _fewer(before[name], after[name])]
    changed = sorted(set(unlike) - set(fewer))
    gone = {name: before[name] for name in before if name not in after}
    new = {name: after[name] for name in after if name not in before}
    renamed = {}
    for name, digest in gone.items():
        match = next(
            (other for other, other_digest in new.items() if other_digest == digest), None
        )
        if match is not None:
            renamed[name] = match
            del new[match]
    lost = sorted(set(gone) - set(renamed))
    listed = {"changed": changed, "lost": lost, "new": sorted(new), "fields fewer": sorted(fewer)}
    for title, names in listed.items():
        print(f"{title}: {len(names)}")
        print("".join(f"  {name}\n" for name in names), end="")
    print(f"renamed: {len(renamed)}")
    print("".join(f"  {name} -> {other}\n" for name, other in renamed.items()), end="")
    n_same = sum(before[name] == after.get(name) for name in before) + len(renamed)
    print(f"the same: {n_same} of {len(before)}")
    return 1 if changed or lost else 0


def _fewer(before: object, after: object) -> bool:
    """Tell whether two JSON differ only in omitted fields."""
    if not isinstance(before, list) or not isinstance(after, list):
        return False
    return set(map(float, after)) <= set(map(float, before))


def _digest(path: Path) -> str | list[float] | None:
    """Return a digest of a file, the numbers of a JSON, or None if there are no numbers."""
    if path.suffix == ".json":
        numbers = sorted(_numbers(json.loads(path.read_text(encoding="utf-8"))))
        return numbers or None
    if path.name.endswith(".nii.gz"):
        return _sha(gzip.decompress(path.read_bytes()))
    if path.suffix == ".safetensors":  # without metadata, which are not results
        tensors = load_file(path)
        return _sha(b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors)))
    if path.suffix in (".tsv", ".nii", ".npz", ".npy"):
        return _sha(path.read_bytes())
    return None


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers of a JSON, except those that describe the version."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in _NO_NUMBER:
                yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield float(value)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _run(root: Path, name: str, *arguments: object, codes: tuple[int, ...] = (0,)) -> None:
    """Run a command of npi-bids; ``name`` is the name of its module."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "NILEARN_DATA": str(_SHARED / "nilearn_data"),
    }
    command = [sys.executable, "-m", name, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def _npi_bids(root: Path, *arguments: object, codes: tuple[int, ...] = (0,)) -> None:
    _run(root, "npi_bids", *arguments, "-w", root / "work", "--offline", codes=codes)


def _demo(root: Path) -> None:
    _run(root, "npi_bids.cli.demo", root / "demo")


def _images(root: Path) -> None:
    if not _SHARED.is_dir():
        return
    (root / "motion.toml").write_text(_STRATEGY)
    atlases = ("Schaefer2018:scale-100", "AAL", "MSDL", "Dosenbach2010")
    _npi_bids(
        root, _SHARED / "composite_fmriprep_bold", root / "images", "participant", "group",
        "--atlas", *atlases, "--denoise", root / "motion.toml", "--high-pass", "0.008",
        "--model", "1", "--motion-covariate", "no", "--n-permutations", "20",
    )  # fmt: skip


def _greyordinates(root: Path) -> None:
    if not _SHARED.is_dir():
        return
    data = root / "grey_data"
    func = data / "sub-03" / "func"
    func.mkdir(parents=True, exist_ok=True)
    for path in (_SHARED / "composite_dtseries").glob("sub-03*"):
        shutil.copyfile(path, func / path.name)
    description = {"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    (data / "dataset_description.json").write_text(json.dumps(description))
    atlas = "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1.dlabel.nii"
    _npi_bids(
        root, data, root / "grey", "participant", "--atlas", _SHARED / "cifti_atlases" / atlas,
        "--denoise", "none", "--min-time", "0", "--surrogate", "var",
    )  # fmt: skip


def _study(root: Path) -> None:
    """Map regional series with all surrogates, test groups, pre-train and validate."""
    _run(
        root, "npi_bids.cli.simulate", "rnn", root / "study", "--series-only", "--n-subjects",
        "6", "--n-runs", "1", "--minutes", "5", "--tr", "1", "--n-regions", "8",
    )  # fmt: skip
    data = root / "study" / "dataset"
    rows = [f"sub-{n:02d}\t{20 + n * n}\t{'ab'[n % 2]}" for n in range(1, 7)]
    (data / "participants.tsv").write_text("\n".join(["participant_id\tage\tgroup", *rows]) + "\n")
    test = ("--model", "group + age", "--n-permutations", "50")
    measures = ("--measures", "npi", "jacobian", "fc", "modelfc", "partial", "var")
    _npi_bids(root, data, root / "plain", "participant", "group", *test, *measures)
    _npi_bids(root, data, root / "shrunk", "pretrain", "participant", "group")
    for surrogate in ("mou", "var", "mlp", "cnn", "rnn"):
        options = ("--epochs", "3") if surrogate in ("mlp", "cnn", "rnn") else ()
        _npi_bids(
            root, data, root / surrogate, "participant", "--surrogate", surrogate,
            "--participant-label", "01", *options,
        )  # fmt: skip
    truth = root / "study" / "desc-truth_relmat.tsv"
    _run(root, "npi_bids.cli.validate", root / "plain", truth, "-o", root / "validation",
         codes=(0, 1, 2))  # fmt: skip


def _whole_brain(root: Path) -> None:
    from npi_bids.io.tables import read_table

    data = root / "study" / "dataset"
    table = next(data.glob("sub-01/func/*_timeseries.tsv"))
    names = list(read_table(table).columns)
    lines = ["\t".join(["source", *names])]
    for row, name in enumerate(names):
        cells = [str(int((row + 1) % len(names) == column)) for column in range(len(names))]
        lines.append("\t".join([name, *cells]))
    (root / "sc.tsv").write_text("\n".join(lines) + "\n")
    _npi_bids(
        root, data, root / "wbm", "participant", "--participant-label", "01", "--sc",
        root / "sc.tsv", *_QUICK_BRAIN,
    )  # fmt: skip


STEPS: tuple[Callable[[Path], None], ...] = (_demo, _images, _greyordinates, _study, _whole_brain)


if __name__ == "__main__":
    sys.exit(main())
