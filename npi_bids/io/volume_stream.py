"""Volumes of a NIfTI file one after the other, decompressed once and never held together."""

from __future__ import annotations

import gzip
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from npi_bids.io.images import READ_ERRORS, unreadable


class VolumeStream:
    """The volumes of a 4D image, in the order of the file.

    Attributes
    ----------
    shape
        Shape of a volume, shape (3,).
    n_volumes
        Number of volumes that the header states.
    dtype
        Type of the values as stored, in the byte order of this machine.
    slope, intercept
        The signal is ``slope * stored + intercept``.
    """

    def __init__(self, path: Path, image: nib.Nifti1Image) -> None:
        self._path, self._image = path, image
        self.shape: tuple[int, ...] = image.shape[:3]
        self.n_volumes = int(image.shape[3])
        # The header of an opened image no longer holds these, which its proxy keeps.
        proxy: Any = image.dataobj
        self._offset = int(getattr(proxy, "offset", 0))
        self._stored = np.dtype(getattr(proxy, "dtype", np.float64))
        self._is_stream = _is_stream(path, proxy)
        self.dtype = self._stored.newbyteorder("=") if self._is_stream else np.dtype(np.float64)
        scaled = self._is_stream
        self.slope = float(proxy.slope) if scaled else 1.0
        self.intercept = float(proxy.inter) if scaled else 0.0

    def __iter__(self) -> Iterator[NDArray[np.number]]:
        """Yield each volume, flat in Fortran order, as stored; the memory may be used again.

        Raises
        ------
        InputDataError
            The file is truncated or damaged.
        """
        try:
            yield from self._read_stream() if self._is_stream else self._read_slices()
        except READ_ERRORS as error:
            raise unreadable(self._path, error) from error

    def _read_stream(self) -> Iterator[NDArray[np.number]]:
        n_bytes = math.prod(self.shape) * self._stored.itemsize
        with open_decompressed(self._path) as file:
            _skip(file, self._offset)
            for number in range(self.n_volumes):
                # What is decompressed is copied once more where it goes into a buffer.
                content = file.read(n_bytes)
                while 0 < len(content) < n_bytes and (more := file.read(n_bytes - len(content))):
                    content += more
                if len(content) < n_bytes:
                    raise EOFError(f"it ends in volume {number} of {self.n_volumes}")
                values = np.frombuffer(content, dtype=self._stored)
                yield values if self._stored.isnative else values.astype(self.dtype)
            # The checksum of a compressed file is compared at its end. Damaged files can unpack to
            # somewhat more than they should; that others hold more volumes is no error.
            _drain(file, max(n_bytes, 1 << 20))

    def _read_slices(self) -> Iterator[NDArray[np.number]]:
        for number in range(self.n_volumes):
            volume = np.asarray(self._image.dataobj[..., number], dtype=np.float64)
            yield volume.ravel(order="F")


def open_decompressed(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed where its name ends in ``.gz``.

    ISA-L decompresses twice to three times as fast as zlib, which replaces it where it is not
    installed.
    """
    if not path.name.endswith(".gz"):
        return path.open("rb", buffering=0)
    try:
        module = importlib.import_module("isal.igzip")
    except ImportError:  # there is no build for this machine
        return cast("BinaryIO", gzip.open(path, "rb"))
    return cast("BinaryIO", module.open(path, "rb"))


def _is_stream(path: Path, proxy: Any) -> bool:
    """Return whether the data follow each other in one file whose format is known here."""
    known = path.name.endswith((".nii", ".nii.gz"))
    return known and all(hasattr(proxy, name) for name in ("offset", "slope", "inter", "dtype"))


def _skip(file: BinaryIO, n_bytes: int) -> None:
    while n_bytes > 0:
        block = file.read(min(n_bytes, 1 << 20))
        if not block:
            raise EOFError("it ends before its data begin")
        n_bytes -= len(block)


def _drain(file: BinaryIO, n_bytes: int) -> None:
    while n_bytes > 0 and (block := file.read(min(n_bytes, 1 << 16))):
        n_bytes -= len(block)
