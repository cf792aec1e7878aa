"""The output dataset: where it may be written, and the files that describe it."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from npi_bids.bids.atlases import AtlasSpec, split_datasets
from npi_bids.bids.datasets import DATABASE
from npi_bids.bids.description import (
    atlas_files,
    dataset_files,
    descriptions,
    session_files,
)
from npi_bids.bids.layout import Dataset, find_datasets
from npi_bids.cli.parser import Request
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.files import read_json, write_text
from npi_bids.wording import count_noun, join_items

_logger = logging.getLogger(__name__)

_DESCRIPTION = "dataset_description.json"
_SUGGESTED = {"out_dir": "npi-bids", "--work-dir": "work"}


def check_folders(request: Request) -> None:
    """Refuse to write into an input dataset, or into a dataset of another tool.

    This is checked before anything is written, even for a dry run. An output dataset may lie in
    the folder ``derivatives`` of an input dataset, as in BIDS, or hold its input in
    ``sourcedata``; work folders lie outside of inputs, or in such an output dataset.

    Raises
    ------
    SettingsError
        ``out_dir`` or the work folder is a file, lies in an input dataset or holds one; or
        ``out_dir`` belongs to another tool.
    """
    out_dir, work_dir = (_resolve(path) for path in (request.out_dir, request.output.work_dir))
    input_roots = _find_inputs(request)
    group_alone = request.levels == ("group",)  # reads out_dir alone
    for option, folder in (("out_dir", out_dir), ("--work-dir", work_dir)):
        _check_folder(option, folder)
        nested = option != "out_dir" and _relative_parts(folder, out_dir)
        skipped = nested or (group_alone and (option == "out_dir" or out_dir in input_roots))
        for root in [] if skipped else sorted(input_roots, key=lambda root: root != folder):
            _check_separate(option, folder, root)
    _check_database(request, input_roots)
    _check_maker(out_dir)


def _check_database(request: Request, input_roots: Sequence[Path]) -> None:
    """Refuse to make a database of runs in an input dataset; one that is there may be read."""
    query = request.query
    if query.database is None:
        return
    folder, option = _resolve(query.database), "--bids-database-dir"
    _check_folder(option, folder)
    present = any((folder / DATABASE).is_file() for folder in (folder, *folder.glob("*/")))
    for root in input_roots if query.reset_database or not present else []:
        if _relative_parts(folder, root) is not None:
            raise SettingsError(
                f"{option} <{folder}> lies in the input dataset <{root}>, to which nothing is "
                "written; choose a folder outside of it."
            )


def _resolve(path: Path | str) -> Path:
    return Path(os.path.realpath(path))


def _find_inputs(request: Request) -> list[Path]:
    """Return the datasets that a request reads, and the targets of links in them."""
    query = request.query
    roots = list(query.datasets.values())
    if (request.bids_dir / _DESCRIPTION).is_file() or any(request.bids_dir.glob("sub-*")):
        roots.append(request.bids_dir)
    with suppress(InputDataError):  # reported when the runs are searched for
        named, _ = split_datasets(query.datasets, request.bids_dir)
        datasets = find_datasets(request.bids_dir, named, query.input_type)
        roots += [dataset.root for dataset in datasets]
    links = [path for root in roots for path in root.glob("sub-*") if path.is_symlink()]
    return list(dict.fromkeys(_resolve(path) for path in (*roots, *links)))


def _check_folder(option: str, folder: Path) -> None:
    """Refuse a path at or below something that is not a folder."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise SettingsError(f"{option} <{folder}>: <{existing}> is no folder; choose another.")


def _check_separate(option: str, folder: Path, root: Path) -> None:
    """Refuse a folder inside or around an input dataset, except where BIDS allows it."""
    inside, around = _relative_parts(folder, root), _relative_parts(root, folder)
    suggested = root / "derivatives" / "npi-bids"
    if inside == ():
        raise SettingsError(
            f"{option} <{folder}> is the input dataset, to which nothing is written; choose "
            "another folder" + (f", such as <{suggested}>." if option == "out_dir" else ".")
        )
    allowed = option == "out_dir" and inside and inside[0] == "derivatives" and len(inside) > 1
    if allowed and folder.is_dir() and not (folder / _DESCRIPTION).is_file():
        foreign = sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
        if set(foreign) - {"logs", "work"}:
            raise SettingsError(
                f"out_dir <{folder}> lies in the input dataset and holds files that are not of "
                f"npi-bids: {', '.join(foreign[:5])}; choose a new folder, such as <{suggested}>."
            )
    if inside and not allowed:
        raise SettingsError(
            f"{option} <{folder}> lies in the input dataset <{root}>, to which nothing is "
            "written; choose a folder outside of it"
            + (f", or <{suggested}>." if option == "out_dir" else ".")
        )
    if around and not (option == "out_dir" and around[0] == "sourcedata"):
        raise SettingsError(
            f"{option} <{folder}> holds the input dataset <{root}>, and results would lie "
            f"beside it; choose a separate folder, such as <{folder / _SUGGESTED[option]}>."
        )


def _relative_parts(folder: Path, root: Path) -> tuple[str, ...] | None:
    """Return the path from a root to a folder, part by part; None where it lies elsewhere.

    Folders are compared by their identity in the file system, so that case, links and mounts do
    not matter.
    """
    names: list[str] = []
    for parent in (folder, *folder.parents):
        if parent == root or (parent.exists() and root.exists() and parent.samefile(root)):
            return tuple(reversed(names))
        names.append(parent.name)
    return None


def _check_maker(out_dir: Path) -> None:
    path = out_dir / _DESCRIPTION
    if not path.is_file():
        return
    try:
        makers = Dataset(out_dir, "", read_json(path)).makers
    except InputDataError as error:
        raise SettingsError(
            f"out_dir <{out_dir}> holds a dataset of unknown origin: {error} "
            "Choose another folder."
        ) from error
    if "npi-bids" not in makers:
        names = " and ".join(map(str, makers)) or "a tool that its GeneratedBy does not name"
        raise SettingsError(
            f"out_dir <{out_dir}> holds a dataset made by {names}; choose another folder."
        )


def check_results(out_dir: Path) -> None:
    """Raise an InputDataError where there is no output dataset to read."""
    if not (out_dir / _DESCRIPTION).is_file():
        raise InputDataError(
            f"The group level reads <{out_dir}>, which holds no results of npi-bids; run the "
            "participant level first."
        )


def write_dataset(
    request: Request,
    datasets: Sequence[Dataset],
    atlases: Sequence[AtlasSpec],
    strategies: Mapping[str, str],
    subjects: Iterable[str] = (),
) -> None:
    """Write the files that describe the output dataset, where they are missing or differ.

    ``strategies`` explain each value of ``desc`` in words. ``participants.tsv`` and the tables of
    the sessions of ``subjects`` are copied from the inputs, or from ``bids_dir`` where those have
    none; a copy to which columns were added is kept. The folders of participants who are not
    requested are not read, if any are.
    """
    out_dir, roots = request.out_dir, table_roots(datasets, request.bids_dir)
    texts = dataset_files(out_dir, datasets, strategies, roots, request.query.labels("sub"))
    texts |= session_files(roots, subjects)
    for name in _find_extended(out_dir, texts):
        del texts[name], texts[name.replace(".tsv", ".json")]
    for spec in atlases:
        texts |= atlas_files(spec)
    for name, text in texts.items():
        path = out_dir / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def table_roots(datasets: Sequence[Dataset], bids_dir: Path) -> list[Path]:
    """Return the folders in which tables of participants and sessions are looked for, in order.

    Derivatives often lack these tables, which are in the dataset that they were made from.
    """
    return list(dict.fromkeys([*(dataset.root for dataset in datasets), bids_dir]))


def _find_extended(out_dir: Path, texts: Mapping[str, str]) -> list[str]:
    """Return the tables of the output dataset that have columns which those of the input lack."""
    extended = []
    for name, text in texts.items():
        path = out_dir / name
        if not name.endswith(("participants.tsv", "_sessions.tsv")) or not path.is_file():
            continue
        if added := added_columns(path, text):
            _logger.warning(
                "<%s> has %s that the table of the input lacks (%s), and is kept as it is; remove "
                "it to have that of the input.",
                path, count_noun(len(added), "column"), join_items(added, most=5),
            )  # fmt: skip
            extended.append(name)
    return extended


def added_columns(path: Path, of_input: str) -> list[str]:
    """Return the columns of a table of the output dataset that the text of the input's lacks."""
    kept = path.read_text(encoding="utf-8", errors="surrogateescape")
    columns = _first_line(kept).split("\t")
    return [column for column in columns if column not in _first_line(of_input).split("\t")]


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip("\r").removeprefix("\ufeff")


def update_descriptions(out_dir: Path, requested: Collection[str] = ()) -> None:
    """Make ``descriptions.tsv`` describe the files that exist.

    Without ``requested``, rows of files that no longer exist are removed; with it, only the
    folders of these participants are read, and every existing row stays.
    """
    path = out_dir / "descriptions.tsv"
    text = descriptions(out_dir, requested=requested)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
