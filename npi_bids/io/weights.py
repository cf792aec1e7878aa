"""Fitted surrogates on disk: safetensors for the numbers, never pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from npi_bids.core.records import Array
from npi_bids.errors import InputDataError
from npi_bids.io.files import replacing


def write_tensors(tensors: dict[str, Array], path: Path) -> None:
    """Write arrays by name as safetensors."""
    with replacing(path) as temporary:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary
        )


def read_tensors(path: Path) -> dict[str, Array]:
    """Read arrays written by :func:`write_tensors`.

    Raises
    ------
    InputDataError
        The file is not a safetensors file.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise InputDataError(f"<{path}> cannot be read as safetensors: {error}") from error
