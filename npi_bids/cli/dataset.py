"""The output dataset as a whole: what it says of itself, and that it is ours to write to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from npi_bids.bids.atlases import AtlasSpec
from npi_bids.bids.dataset import Dataset
from npi_bids.bids.description import atlas_files, dataset_files
from npi_bids.cli.settings import Request
from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.files import read_json, write_text


def check_out_dir(request: Request) -> None:
    """Refuse to write into an input, or into a dataset that is not ours.

    Raises
    ------
    SettingsError
        The output dataset is the input, or another tool's.
    """
    out_dir = request.out_dir.resolve()
    inputs = [request.bids_dir, *request.query.datasets.values()]
    if out_dir in [path.resolve() for path in inputs] and request.levels != ("group",):
        raise SettingsError(
            f"out_dir <{request.out_dir}> is the input dataset; choose another folder, such as "
            f"<{request.out_dir / 'derivatives' / 'npi-bids'}>."
        )
    path = out_dir / "dataset_description.json"
    if path.is_file():
        makers = [entry.get("Name") for entry in read_json(path).get("GeneratedBy", [])]
        if "npi-bids" not in makers:
            raise SettingsError(
                f"out_dir <{request.out_dir}> holds a dataset made by {makers}; choose another "
                "folder."
            )


def check_results(out_dir: Path) -> None:
    """Raise an InputDataError where there is no output dataset to read."""
    if not (out_dir / "dataset_description.json").is_file():
        raise InputDataError(
            f"The group level reads <{out_dir}>, which holds no results of npi-bids; run the "
            "participant level first."
        )


def write_dataset(
    out_dir: Path,
    datasets: Sequence[Dataset],
    atlases: Sequence[AtlasSpec],
    strategies: Mapping[str, str],
) -> None:
    """Write the files that describe the output dataset, where they are missing or differ.

    ``strategies`` say in words what each value of ``desc`` stands for.
    """
    texts = dataset_files(datasets, strategies)
    for spec in atlases:
        texts |= atlas_files(spec)
    for name, text in texts.items():
        path = out_dir / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
