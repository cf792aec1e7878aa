"""Opening of images, with their headers checked before any data are read."""

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

# NIfTI, or CIFTI: what can be opened without reading its data.
Image = SpatialImage | Cifti2Image

# Voxels of a volume: 100 million are 0.4 mm in a box of MNI152, finer than any BOLD or atlas.
MOST_VOXELS = 100_000_000
# Values that are read at once: 1024 maps at 2 mm are 0.92e9. Series are read part by part.
MOST_VALUES = 1_000_000_000
# Deflate stores at most 258 bytes in 2 bits: https://zlib.net/zlib_tech.html.
_DEFLATE = 1032
# Bytes that GIFTI may unpack to, at most, beside this many times those on disk. Series of 32-bit
# floats take about as many packed as unpacked.
_GIFTI_BYTES, _GIFTI_TIMES = 50_000_000, 20

READ_ERRORS = (
    *(OSError, EOFError, ValueError, OverflowError, zlib.error, ExpatError),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)

# What nibabel raises on damaged XML of CIFTI and GIFTI beside those.
CIFTI_ERRORS = (
    *(AttributeError, KeyError, TypeError, IndexError, AssertionError, NotImplementedError),
    Cifti2HeaderError,
)


def load_image(path: Path, *, keep_open: bool = False) -> Image:
    """Open an image, and check that its header can be true, without reading its data.

    Parameters
    ----------
    path
        NIfTI, or CIFTI.
    keep_open
        Whether the file stays open, for reading part by part.

    Raises
    ------
    InputDataError
        The file cannot be opened, is smaller than its header says, holds volumes of an
        impossible size, or holds values that are no real numbers.
    """
    try:
        image = cast("Image", nib.load(path, **({"keep_file_open": True} if keep_open else {})))
        shape, kind = image.shape, image.get_data_dtype()
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    if kind.kind not in "biuf":
        named = "complex numbers" if kind.kind == "c" else f"values of the type {kind}"
        raise InputDataError(
            f"<{path}> holds {named}; expected real numbers, such as the magnitude of the signal."
        )
    n_voxels = math.prod(shape[:3])
    if n_voxels > MOST_VOXELS and len(shape) > 2:
        raise InputDataError(
            f"<{path}> has {n_voxels:.3g} voxels per volume according to its header, shape "
            f"{shape}; expected at most {MOST_VOXELS:.3g}. Is the header damaged?"
        )
    _check_size(path, image)
    return image


def _check_size(path: Path, image: Image) -> None:
    """Raise an error where the file cannot hold what its header says."""
    offset = getattr(image.dataobj, "offset", 0)
    stated = offset + math.prod(image.shape) * image.get_data_dtype().itemsize
    size = path.stat().st_size
    if path.name.endswith(".nii.gz"):
        size *= _DEFLATE
    elif not path.name.endswith(".nii"):
        return
    if size < stated:
        most = "at most " if path.name.endswith(".gz") else ""
        raise unreadable(
            path,
            f"its header states {stated} bytes (shape {image.shape}) but it holds {most}{size}",
        )


def read_data(path: Path, image: Image) -> NDArray[np.number]:
    """Return all data of an image that was opened.

    Raises
    ------
    InputDataError
        The file is cut off, or holds more values than fit into memory.
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
        The file cannot be read, or has no two axes.
    """
    image = cast("Cifti2Image", load_image(path))
    try:
        first, second = (image.header.get_axis(place) for place in (0, 1))
        return first, second, np.asarray(image.dataobj)[0]
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, reason: Exception | str) -> InputDataError:
    """Return the error for a file that is no image, or is cut off."""
    return InputDataError(
        f"<{path}> cannot be read as an image: {reason}. Is it complete? In a DataLad dataset run "
        "`datalad get` on it."
    )


def is_wide(image: Image) -> bool:
    """Return whether an image holds numbers that 32-bit floats may round: scaled, or wider."""
    scaled = (getattr(image.dataobj, "slope", 1), getattr(image.dataobj, "inter", 0)) != (1, 0)
    kind = image.get_data_dtype()
    return scaled or not np.can_cast(kind, np.float32)


def read_gifti(path: Path) -> GiftiImage:
    """Read a GIFTI file; raises an InputDataError where it is none, or lies of its size."""
    check_gifti(path)
    try:
        image = cast("GiftiImage", nib.load(path))
        _ = image.darrays, image.labeltable
    except (*READ_ERRORS, *CIFTI_ERRORS) as error:
        raise unreadable(path, error) from error
    return image


def check_gifti(path: Path) -> None:
    """Check that a GIFTI file unpacks to what its header says, a little at a time.

    Raises
    ------
    InputDataError
        The file cannot be read, or unpacks to more than it says, or than is likely.
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
        self._total = 0  # bytes of all arrays up to here, as the header says
        self._left = 0  # bytes that the array being read may still unpack to
        self._zipped = False
        self._packed: Any = None
        self._base64 = ""

    def start(self, name: str, about: dict[str, str]) -> None:
        if name == "DataArray":
            sizes = [int(about[f"Dim{axis}"]) for axis in range(int(about["Dimensionality"]))]
            self._left = math.prod(sizes) * _gifti_type(about["DataType"]).itemsize
            self._total += self._left
            if self._total > self._limit:
                raise unreadable(
                    self._path, f"its arrays would unpack to more than {self._limit} bytes"
                )
            self._zipped = "GZip" in about.get("Encoding", "")
        elif name == "Data" and self._zipped:
            self._packed = zlib.decompressobj()

    def text(self, text: str) -> None:
        if self._packed is None:
            return
        joined = self._base64 + "".join(text.split())
        whole = len(joined) - len(joined) % 4
        self._base64 = joined[whole:]
        self._left -= len(
            self._packed.decompress(base64.b64decode(joined[:whole]), max(0, self._left) + 1)
        )
        if self._left < 0:
            raise unreadable(self._path, "an array unpacks to more bytes than its header states")

    def end(self, name: str) -> None:
        if name == "Data":
            self._packed, self._base64 = None, ""


def _gifti_type(name: str) -> np.dtype[np.number]:
    return cast("np.dtype[np.number]", nib.nifti1.data_type_codes.dtype[name])
