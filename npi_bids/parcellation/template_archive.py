"""Files of TemplateFlow: atlases in several templates, and transforms between templates.

Files that are in the archive on this computer (``$TEMPLATEFLOW_HOME``) are found by their names,
without the package ``templateflow``, which only downloads those that are missing.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from npi_bids.errors import InputDataError

INSTALL_COMMAND = "pip install 'npi-bids[templateflow]'"


def template_home() -> Path:
    """Return the folder of the archive: ``$TEMPLATEFLOW_HOME``, or TemplateFlow's default."""
    default = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or default)
    return Path(os.environ.get("TEMPLATEFLOW_HOME") or cache / "templateflow").absolute()


def find_template_file(template: str, name: str) -> Path | None:
    """Return a file of a template, or None where it is absent or an empty placeholder.

    The archive names all its files beforehand: those that are not downloaded yet are empty, or
    links of DataLad to nowhere.

    Parameters
    ----------
    template
        The template, such as ``MNI152NLin2009cAsym``.
    name
        The name of the file after ``tpl-<template>_``.
    """
    path = template_home() / f"tpl-{template}" / f"tpl-{template}_{name}"
    return path if path.is_file() and path.stat().st_size else None


def transform_name(source: str) -> str:
    """Return the name, within a template, of the transform of images from another template."""
    return f"from-{source}_mode-image_xfm.h5"


def find_transform(source: str, target: str) -> Path | None:
    """Return the transform that resamples images from a template into another, if it is here."""
    return find_template_file(target, transform_name(source))


def can_download() -> bool:
    """Tell whether the package that downloads files of TemplateFlow is installed."""
    return find_spec("templateflow") is not None


def fetch_template_file(template: str, name: str) -> Path:
    """Return a file of a template; download it where it is missing.

    Raises
    ------
    InputDataError
        The package ``templateflow`` is not installed, or it cannot provide the file.
    """
    if (present := find_template_file(template, name)) is not None:
        return present
    try:
        # On import, the package creates the archive on this computer, without any download.
        from templateflow import api

        api.get(template, **_query(name))
    except ImportError as error:
        raise InputDataError(
            f"TemplateFlow's tpl-{template}_{name} is not in <{template_home()}>, and the package "
            f"that downloads it is not installed; run {INSTALL_COMMAND}."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise InputDataError(
            f"TemplateFlow cannot provide tpl-{template}_{name} ({error})."
        ) from error
    if (fetched := find_template_file(template, name)) is None:
        raise InputDataError(
            f"TemplateFlow provided no tpl-{template}_{name} in <{template_home()}>."
        )
    return fetched


def _query(name: str) -> dict[str, str | int]:
    """Return the arguments of ``templateflow.api.get`` that select one file.

    >>> _query("res-01_atlas-A_dseg.nii.gz")
    {'atlas': 'A', 'suffix': 'dseg', 'extension': '.nii.gz', 'resolution': 1}
    """
    stem, _, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    entities = {key: value for key, _, value in (pair.partition("-") for pair in pairs)}
    resolution = entities.pop("res", "")
    query: dict[str, str | int] = {**entities, "suffix": suffix, "extension": f".{extension}"}
    return {**query, "resolution": int(resolution)} if resolution else query
