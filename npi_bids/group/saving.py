"""Saving of the results of groups in the output dataset, where they replace earlier ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from npi_bids.bids.outputs import CATALOGUE, GROUP_PAGE, STATISTICS, output_pattern
from npi_bids.bids.sidecars import Links
from npi_bids.errors import InputDataError
from npi_bids.io.files import check_case, copy_file

# Folder in which a step writes its results, under the names that they have in the dataset.
RESULTS = "results"


def replace_groups(files: Sequence[Path], out_dir: Path) -> list[Path]:
    """Save the results of all groups, and remove those of earlier runs that are not among them.

    Parameters
    ----------
    files
        All new results, each below a folder ``results`` that mirrors the dataset.
    out_dir
        Root of the output dataset.

    Returns
    -------
    list of Path
        Paths of the saved files.

    Raises
    ------
    InputDataError
        Two names differ only in capital letters. Nothing has changed then, except that earlier
        results whose names differ from new ones only in this way have been removed.
    """
    targets = {out_dir / _dataset_path(path): path for path in files}
    _check_case_within(list(targets))
    spelled = {str(target).lower() for target in targets}
    for path in list_results(out_dir):
        if path not in targets and str(path).lower() in spelled:
            path.unlink()
    _remove_empty(out_dir)
    for target in targets:
        check_case(target, out_dir)
    # A sidecar is copied before its file, so that every existing file has one.
    for target in sorted(targets, key=lambda target: target.suffix != ".json"):
        copy_file(targets[target], target)
    for path in list_results(out_dir):
        if path not in targets:
            path.unlink()
    (out_dir / GROUP_PAGE).unlink(missing_ok=True)  # it described the earlier results
    _remove_empty(out_dir)
    return list(targets)


def remove_groups(out_dir: Path, configuration: str = "") -> None:
    """Remove the results of groups, whose members may have changed.

    Parameters
    ----------
    out_dir
        Root of the output dataset.
    configuration
        Configuration of results to keep: all are kept if all of them have it, otherwise none.
    """
    sidecars = out_dir.glob(_matrices(".json"))
    if configuration and all(_has_configuration(path, configuration) for path in sidecars):
        return
    for path in list_results(out_dir):
        path.unlink()
    shutil.rmtree(out_dir / STATISTICS, ignore_errors=True)
    (out_dir / GROUP_PAGE).unlink(missing_ok=True)
    _remove_empty(out_dir)


def _dataset_path(path: Path) -> Path:
    """Return the path of a result, relative to the output dataset."""
    depth = path.parts[::-1].index(RESULTS)
    return Path(*path.parts[len(path.parts) - depth :])


def _check_case_within(targets: Sequence[Path]) -> None:
    spelled: dict[str, Path] = {}
    for target in targets:
        for path in (target, *target.parents):
            other = spelled.setdefault(str(path).lower(), path)
            if other != path:
                raise InputDataError(
                    f"<{path}> differs from <{other}> only in capital letters, which not every "
                    "file system distinguishes; change the label that they are named after."
                )


def _matrices(extension: str) -> str:
    """Return the pattern of the matrices of groups, below an output dataset."""
    folder = PurePath(output_pattern("groupmean")).parent
    return f"{folder}/*_{CATALOGUE['groupmean'].suffix}{extension}"


def list_results(out_dir: Path) -> Iterator[Path]:
    """Yield the files of all groups of a dataset, without their page and its figures."""
    paths = [
        *out_dir.glob(_matrices(".*")),
        *out_dir.glob(output_pattern("npiblup", extension=".*")),
        *(out_dir / STATISTICS).rglob("*"),
    ]
    return (path for path in paths if path.is_file())


def _remove_empty(out_dir: Path) -> None:
    """Remove empty folders of groups."""
    below = out_dir / STATISTICS
    folders = [*out_dir.glob("tpl-*/cohort-*/func"), *out_dir.glob("tpl-*/cohort-*")]
    folders += [below, *(path for path in below.rglob("*") if path.is_dir())]
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _has_configuration(sidecar: Path, configuration: str) -> bool:
    try:
        return Links.read(sidecar).configuration_hash == configuration
    except InputDataError:  # cut off by a power cut
        return False
