"""Images for tests whose headers lie or whose data are damaged."""

from __future__ import annotations

import base64
import gzip
import zlib

import nibabel as nib
import numpy as np

SQUARE = np.diag([4.0, 4, 4, 1])
HUGE = (3000, 3000, 3000, 3000)

ENTITIES = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]><GIFTI>&a11;</GIFTI>"
)


def lying(path, shape, dtype=np.int16, n_bytes=1000):
    """Write a header that promises much, and next to nothing behind it."""
    header = nib.Nifti2Header() if max(shape) > 32767 else nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_zooms((4.0,) * min(3, len(shape)) + (2.0,) * (len(shape) - 3))
    header.set_sform(SQUARE, 1)
    header["vox_offset"] = 352 if max(shape) <= 32767 else 544
    content = header.binaryblock + bytes(4) + bytes(n_bytes)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def array(data, dims, packed=True):
    raw = np.asarray(data, np.float32).tobytes()
    text = base64.b64encode(zlib.compress(raw) if packed else raw).decode()
    sizes = "".join(f' Dim{axis}="{n}"' for axis, n in enumerate(dims))
    return (
        f'<DataArray Intent="NIFTI_INTENT_TIME_SERIES" DataType="NIFTI_TYPE_FLOAT32" '
        f'ArrayIndexingOrder="RowMajorOrder" Dimensionality="{len(dims)}"{sizes} '
        f'Encoding="{"GZip" if packed else ""}Base64Binary" Endian="LittleEndian" '
        f'ExternalFileName="" ExternalFileOffset=""><MetaData><MD><Name>TimeStep</Name>'
        f"<Value>2000</Value></MD></MetaData><Data>{text}</Data></DataArray>"
    )


def gifti(*arrays):
    return (
        f'<?xml version="1.0"?><GIFTI Version="1.0" NumberOfDataArrays="{len(arrays)}">'
        f"<MetaData/><LabelTable/>{''.join(arrays)}</GIFTI>"
    )


SIDES = {
    "laughing entities": (ENTITIES, "cannot be read as an image"),
    "no XML": ("<GIFTI", "cannot be read as an image"),
    "no array": (gifti(), "has 0 data arrays"),
    "arrays of two sizes": (gifti(array(np.zeros(20), [20]), array(np.zeros(9), [9])),
                            "data arrays of the shapes"),
    "more than it says": (gifti(*[array(np.zeros(2_000_000), [20])] * 3),
                          "unpacks to more bytes than its header states"),
    "much more than the file": (gifti(*[array(np.zeros(20), [3_000_000_000])] * 3),
                                "would unpack to more than"),
    "less than it says": (gifti(*[array(np.zeros(20), [200])] * 3), "cannot be read as an image"),
    "unknown type": (gifti(array(np.zeros(20), [20]).replace("FLOAT32", "FLOAT31")),
                     "cannot be read as an image"),
    "a TimeStep in words": (gifti(*[array(np.zeros(20), [20]).replace("2000", "two")] * 3),
                            "states a TimeStep of two"),
}  # fmt: skip
