"""Images, whose headers are checked before any data are read."""

from __future__ import annotations

import base64
import math
import zlib
from pathlib import Path
from typing import Any, cast
from xml.parsers.expat import ExpatError, ParserCreate

import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2HeaderError, Cifti2Image
from nibabel.cifti2.cifti2_axes import Axis
from nibabel.gifti.gifti import GiftiImage
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from npi_bids.errors import InputDataError

# NIfTI or CIFTI, which can be opened without reading their data.
Image = SpatialImage | Cifti2Image

# Voxels of a volume: 100 million are 0.4 mm in a box of MNI152, finer than any BOLD or atlas.
MOST_VOXELS = 100_000_000
# Values read at once: 1024 maps at 2 mm are 0.92e9. Series are read in chunks.
MOST_VALUES = 1_000_000_000
# Deflate stores at most 258 bytes in 2 bits: https://zlib.net/zlib_tech.html.
_DEFLATE = 1032
# A GIFTI file may unpack to the larger of this many bytes and this multiple of its size on disk.
# Series of 32-bit floats are hardly compressible.
_GIFTI_BYTES, _GIFTI_TIMES = 50_000_000, 20

READ_ERRORS = (
    *(OSError, EOFError, ValueError, OverflowError, zlib.error, ExpatError),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)

# Further errors that nibabel raises on damaged XML of CIFTI and GIFTI.
CIFTI_ERRORS = (
    *(AttributeError, KeyError, TypeError, IndexError, AssertionError, NotImplementedError),
    Cifti2HeaderError,
)


def load_image(path: Path, *, keep_open: bool = False) -> Image:
    """Open an image and check that its header is plausible, without reading its data.

    Parameters
    ----------
    path
        NIfTI or CIFTI file.
    keep_open
        Whether the file stays open, for reading in chunks.

    Raises
    ------
    InputDataError
        The file cannot be opened, is smaller than its header states, contains volumes of an
        impossible size, or values that are not real numbers.
    """
    try:
        image = cast("Image", nib.load(path, **({"keep_file_open": True} if keep_open else {})))
        shape, dtype = image.shape, image.get_data_dtype()
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    if dtype.kind not in "biuf":
        values = "complex numbers" if dtype.kind == "c" else f"values of the type {dtype}"
        raise InputDataError(
            f"<{path}> holds {values}; expected real numbers, such as the magnitude of the signal."
        )
    n_voxels = math.prod(shape[:3])
    if n_voxels > MOST_VOXELS and len(shape) > 2:
        raise InputDataError(
            f"<{path}> has {n_voxels:.3g} voxels per volume according to its header, shape "
            f"{shape}; expected at most {MOST_VOXELS:.3g}. Is the header damaged?"
        )
    _check_n_bytes(path, image)
    return image


def _check_n_bytes(path: Path, image: Image) -> None:
    """Raise an error if the file is too small for the data that its header states."""
    offset = getattr(image.dataobj, "offset", 0)
    stated = offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    n_bytes = path.stat().st_size
    if path.name.endswith(".nii.gz"):
        n_bytes *= _DEFLATE
    elif not path.name.endswith(".nii"):
        return
    if n_bytes < stated:
        most = "at most " if path.name.endswith(".gz") else ""
        raise unreadable(
            path,
            f"its header states {stated} bytes (shape {image.shape}) but it holds {most}{n_bytes}",
        )


def read_data(path: Path, image: Image) -> NDArray[np.number]:
    """Return all data of an opened image.

    Raises
    ------
    InputDataError
        The file is truncated, or contains more values than fit into memory.
    """
    n_values = math.prod(image.shape)
    if n_values > MOST_VALUES:
        raise InputDataError(
            f"<{path}> holds {n_values:.3g} values, shape {image.shape}; expected at most "
            f"{MOST_VALUES:.3g} in a mask or an atlas. Resample it to larger voxels."
        )
    try:
        return np.asanyarray(image.dataobj)
    except READ_ERRORS as error:
        raise unreadable(path, error) from error


def read_dlabel(path: Path) -> tuple[Axis, Axis, NDArray[np.number]]:
    """Return both axes of a CIFTI file, and its first row.

    Raises
    ------
    InputDataError
        The file cannot be read, or does not have two axes.
    """
    image = cast("Cifti2Image", load_image(path))
    try:
        first, second = (image.header.get_axis(dimension) for dimension in (0, 1))
        return first, second, np.asarray(image.dataobj)[0]
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, reason: Exception | str) -> InputDataError:
    """Return the error for a file that is not an image, or is truncated."""
    return InputDataError(
        f"<{path}> cannot be read as an image: {reason}. Is it complete? In a DataLad dataset run "
        "`datalad get` on it."
    )


def is_wide(image: Image) -> bool:
    """Return whether 32-bit floats may round the values: they are scaled, or of a wider type."""
    scaled = (getattr(image.dataobj, "slope", 1), getattr(image.dataobj, "inter", 0)) != (1, 0)
    return scaled or not np.can_cast(image.get_data_dtype(), np.float32)


def read_gifti(path: Path) -> GiftiImage:
    """Read a GIFTI file; raise an InputDataError if it is invalid or misstates its size."""
    check_gifti(path)
    try:
        image = cast("GiftiImage", nib.load(path))
        _ = image.darrays, image.labeltable
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    return image


def check_gifti(path: Path) -> None:
    """Check in small steps that a GIFTI file unpacks to the size that its header states.

    Raises
    ------
    InputDataError
        The file cannot be read, or unpacks to more than it states or than is plausible.
    """
    counter = _GiftiCounter(path)
    parser = ParserCreate()
    parser.buffer_text, parser.buffer_size = True, 1 << 20
    parser.StartElementHandler = counter.start
    parser.EndElementHandler = counter.end
    parser.CharacterDataHandler = counter.text
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except InputDataError:
        raise
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error


class _GiftiCounter:
    """Counts the bytes of the arrays of a GIFTI file while it is parsed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = max(_GIFTI_BYTES, _GIFTI_TIMES * path.stat().st_size)
        self._total = 0  # bytes of all arrays so far, as the header states
        self._remaining = 0  # bytes that the array being read may still unpack to
        self._zipped = False
        self._packed: Any = None
        self._base64 = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "DataArray":
            n_axes = int(attributes["Dimensionality"])
            shape = [int(attributes[f"Dim{axis}"]) for axis in range(n_axes)]
            self._remaining = math.prod(shape) * _gifti_type(attributes["DataType"]).itemsize
            self._total += self._remaining
            if self._total > self._limit:
                raise unreadable(
                    self._path, f"its arrays would unpack to more than {self._limit} bytes"
                )
            self._zipped = "GZip" in attributes.get("Encoding", "")
        elif name == "Data" and self._zipped:
            self._packed = zlib.decompressobj()

    def text(self, text: str) -> None:
        if self._packed is None:
            return
        joined = self._base64 + "".join(text.split())
        end = len(joined) - len(joined) % 4  # base64 encodes three bytes in four characters
        self._base64 = joined[end:]
        packed = base64.b64decode(joined[:end])
        self._remaining -= len(self._packed.decompress(packed, max(0, self._remaining) + 1))
        if self._remaining < 0:
            raise unreadable(self._path, "an array unpacks to more bytes than its header states")

    def end(self, name: str) -> None:
        if name == "Data":
            self._packed, self._base64 = None, ""


def _gifti_type(name: str) -> np.dtype[np.number]:
    return cast("np.dtype[np.number]", nib.nifti1.data_type_codes.dtype[name])
