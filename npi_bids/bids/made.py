"""Files of an output dataset that are not made again while what they show is unchanged."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from npi_bids import __version__
from npi_bids.bids.derivatives import find_map_sidecars, list_units
from npi_bids.bids.outputs import (
    CITATIONS,
    GROUP_PAGE,
    GROUP_TABLE,
    MADE,
    QUALITY_TABLE,
    STATISTICS,
    UNITS,
    unit_name,
)
from npi_bids.errors import InputDataError
from npi_bids.io.claim import locked_folder
from npi_bids.io.files import read_json, write_text

# What pages and texts show of the whole dataset, beside the sidecars of its subjects.
_SHARED = ("dataset_description.json", "tpl-*/**/*", "atlas-*", GROUP_TABLE)


class MadeFiles:
    """What the files of a dataset were made from, as recorded in the dataset.

    Parameters
    ----------
    out_dir
        Root of the output dataset.
    """

    def __init__(self, out_dir: Path) -> None:
        self._root = out_dir
        self._records = self._read()
        self._new: dict[str, object] = {}

    def _read(self) -> dict[str, object]:
        try:
            return read_json(self._root / MADE)
        except InputDataError:  # missing or damaged: everything is made again
            return {}

    def is_current(self, name: str, digest: str) -> bool:
        """Return whether something was made from the same sources, and all its files are left."""
        record = self._records.get(name)
        if not isinstance(record, dict) or record.get("sources") != digest:
            return False
        files = record.get("files")
        return isinstance(files, dict) and bool(files) and files == self._measure(files)

    def record(self, name: str, digest: str, files: Iterable[Path]) -> None:
        """Record the files that were made, and the digest of their sources."""
        names = (path.relative_to(self._root).as_posix() for path in files)
        self._new[name] = {"sources": digest, "files": self._measure(names)}
        self._records[name] = self._new[name]

    def save(self) -> None:
        """Write the record, with what other processes have recorded meanwhile."""
        path = self._root / MADE
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked_folder(path.parent):
            self._records = {**self._read(), **self._new}
            write_text(path, json.dumps(self._records, indent=1, sort_keys=True) + "\n")

    def _measure(self, names: Iterable[str]) -> dict[str, list[int]]:
        measured = {}
        for name in sorted(names):
            path = self._root / name
            if path.is_file():
                status = path.stat()
                measured[name] = [status.st_size, status.st_mtime_ns]
        return measured


def digest_subjects(out_dir: Path, subjects: Iterable[str], *shown: str) -> dict[str, str]:
    """Return digests of what the pages of subjects show, by their labels.

    Parameters
    ----------
    out_dir
        Root of the output dataset.
    subjects
        Labels of the subjects.
    shown
        Texts on the pages that are not in the files of the dataset.
    """
    # What all pages show is read once: of a subject, this must not take longer with more of them.
    shared = _find_files(out_dir, _SHARED)
    if (first := next(find_map_sidecars(out_dir), None)) is not None:
        shared.append(first)  # for its versions
    units = list_units(out_dir)
    texts = [*shown, *units, _read(out_dir / CITATIONS)]
    digests = {}
    for subject in subjects:
        label, start = f"sub-{glob.escape(subject)}", unit_name({"sub": subject})
        own = _find_files(out_dir, (f"{label}/**/*", f"derivatives/*/{label}/**/*"))
        paths = (out_dir / UNITS / name for name in units if name.partition("_")[0] == start)
        states = {path: path.read_bytes() for path in paths}
        digests[subject] = _digest(out_dir, [*own, *shared], states, texts)
    return digests


def _find_files(out_dir: Path, patterns: Iterable[str]) -> list[Path]:
    """Return what matches patterns, except figures, which are made from the rest."""
    return [
        path
        for pattern in patterns
        for path in out_dir.glob(pattern)
        if path.parent.name != "figures"
    ]


def digest_dataset(out_dir: Path, *shown: str) -> str:
    """Return a digest of what the texts and the index of a dataset show."""
    patterns = ("sub-*/**/*.json", "derivatives/*/sub-*/**/*.json", *_SHARED)
    paths = [path for pattern in patterns for path in out_dir.glob(pattern)]
    states = {path: path.read_bytes() for path in (out_dir / UNITS).glob("*.json")}
    return _digest(out_dir, paths, states, shown)


def digest_groups(out_dir: Path, results: Collection[Path], *settings: str) -> str:
    """Return a digest of what the results of groups are computed from.

    Parameters
    ----------
    out_dir
        Root of the output dataset.
    results
        Files of groups, which are not among their sources.
    settings
        Texts on which the results depend beside the files of the dataset.
    """
    patterns = [f"{folder}sub-*/**/*.{end}" for folder in ("", "derivatives/*/")
                for end in ("json", "tsv")]  # fmt: skip
    patterns += ["tpl-*/anat/*", "atlas-*"]
    paths = {path for pattern in patterns for path in out_dir.glob(pattern)}
    # Written anew by each run of the participant level, mostly with the same content.
    tables = (out_dir / "participants.tsv", *out_dir.glob("sub-*/sub-*_sessions.tsv"))
    contents = {path: path.read_bytes() for path in tables if path.is_file()}
    return _digest(out_dir, paths - set(results) - set(contents), contents, settings)


def digest_group_page(out_dir: Path, *shown: str) -> str:
    """Return a digest of what the page of the groups shows."""
    paths = (path for path in (out_dir / STATISTICS).rglob("*"))
    results = _digest(out_dir, paths, {}, ())
    return _digest(out_dir, (), {}, (digest_dataset(out_dir, *shown), results))


def group_page_files(out_dir: Path) -> list[Path]:
    """Return the page of the groups and its figures."""
    return [out_dir / GROUP_PAGE, *sorted(out_dir.glob("tpl-*/**/figures/*"))]


def page_files(out_dir: Path, subject: str) -> list[Path]:
    """Return the page of a subject and its figures."""
    label = f"sub-{glob.escape(subject)}"
    figures = sorted(out_dir.glob(f"{label}/**/figures/*"))
    return [out_dir / f"sub-{subject}.html", *figures]


def text_files(out_dir: Path) -> list[Path]:
    """Return the texts and the index of a dataset."""
    formats = [Path(CITATIONS).with_suffix(f".{end}") for end in ("bib", "html", "tex")]
    names = (QUALITY_TABLE, CITATIONS, *map(str, formats), "index.html")
    return [path for name in names if (path := out_dir / name).is_file()]


def _digest(
    root: Path, paths: Iterable[Path], contents: Mapping[Path, bytes], texts: Iterable[str]
) -> str:
    """Return a digest of files by size and time, of others by content, and of texts."""
    found = hashlib.sha256(__version__.encode())
    for path in sorted(set(paths)):
        if path.is_file():
            status = path.stat()
            name = path.relative_to(root).as_posix()
            found.update(
                f"{name}\t{status.st_size}\t{status.st_mtime_ns}\n".encode(errors="replace")
            )
    for path, content in sorted(contents.items()):
        found.update(path.name.encode(errors="replace") + b"\0" + content + b"\0")
    for text in texts:
        found.update(text.encode(errors="replace") + b"\0")
    return found.hexdigest()[:16]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
