"""A folder shaped like TemplateFlow's, with placeholders of files that are not downloaded."""

from __future__ import annotations

import h5py
import nibabel as nib
import numpy as np

ADULT, LINEAR = "MNI152NLin2009cAsym", "MNI152NLin6Asym"
SCHAEFER = "atlas-Schaefer2018_desc-100Parcels7Networks_dseg"


def add_file(home, template, name):
    path = home / f"tpl-{template}" / f"tpl-{template}_{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def add_schaefer(home, template=ADULT, shift=0):
    """Write the Schaefer atlas of 100 regions, each of one voxel; return the image."""
    data = np.zeros((10, 12, 10), dtype=np.int16)
    data.flat[np.arange(1, 101) * 11] = np.arange(1, 101)
    image = nib.Nifti1Image(np.roll(data, shift, axis=0), np.diag([8.0, 8, 8, 1]))
    nib.save(image, add_file(home, template, f"res-01_{SCHAEFER}.nii.gz"))
    networks = ("Vis", "SomMot")
    rows = [
        f"{n}\t7Networks_{'LR'[n > 50]}H_{networks[n % 2]}_{n}\t#000000" for n in range(1, 101)
    ]
    table = add_file(home, template, f"{SCHAEFER}.tsv")
    table.write_text("index\tname\tcolor\n" + "\n".join(rows) + "\n")
    return image


def add_transform(home, source, target, *, matrix=None, offset=(0, 0, 0), field=(0, 0, 0)):
    """Write an ITK composite: a displacement (mm, LPS) and then an affine (LPS)."""
    path = add_file(home, target, f"from-{source}_mode-image_xfm.h5")
    shape, zooms, origin = (41, 41, 41), 10.0, -200.0
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup")
        group.create_group("0")["TransformType"] = np.array([b"CompositeTransform_double_3_3"])
        affine = group.create_group("1")
        affine["TransformType"] = np.array([b"AffineTransform_double_3_3"])
        affine["TransformParameters"] = np.concatenate(
            [np.ravel(np.eye(3) if matrix is None else matrix), offset]
        ).astype(float)
        affine["TransformFixedParameters"] = np.zeros(3)
        warp = group.create_group("2")
        warp["TransformType"] = np.array([b"DisplacementFieldTransform_float_3_3"])
        warp["TransformFixedParameters"] = np.array(
            [*shape, *(origin,) * 3, *(zooms,) * 3, *np.eye(3).ravel()]
        )
        warp["TransformParameters"] = np.tile(np.asarray(field, dtype=np.float32), 41**3)
    return path
