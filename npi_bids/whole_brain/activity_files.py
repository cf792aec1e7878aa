"""Files of simulated activity: tables, and NetCDF through xarray."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npi_bids.errors import SettingsError
from npi_bids.io.files import replacing
from npi_bids.io.tables import write_table
from npi_bids.records import Array
from npi_bids.whole_brain.forward import Activity

# What may be saved, and in which formats.
SAVED = ("rates", "bold", "all")
FORMATS = ("tsv", "netcdf", "both")


def write_activity(activity: Activity, folder: Path, saved: str, file_format: str) -> list[Path]:
    """Write simulated activity; return the files.

    Parameters
    ----------
    activity
        The simulation.
    folder
        Output folder. Tables have a column ``time`` (s) and one column per region, and the name
        of their variable; ``activity.nc`` holds all variables.
    saved
        One of ``SAVED``: the variables of the model, its BOLD, or all.
    file_format
        One of ``FORMATS``.

    Raises
    ------
    SettingsError
        NetCDF is requested, and xarray or h5netcdf is not installed.
    """
    if file_format != "tsv":
        check_netcdf()
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    if saved != "bold":
        tables = {name: (activity.time, values) for name, values in activity.outputs.items()}
    if saved != "rates":
        tables["bold"] = (activity.bold_time, activity.bold)
    paths = []
    if file_format != "netcdf":
        for name, (time, values) in tables.items():
            paths.append(folder / f"{name}.tsv")
            _write_table(time, values, activity.labels, paths[-1])
    if file_format != "tsv":
        paths.append(folder / "activity.nc")
        _write_netcdf(tables, activity.labels, paths[-1])
    return paths


def check_netcdf() -> None:
    """Raise an error in words if NetCDF cannot be written."""
    try:
        import h5netcdf  # noqa: F401 (what xarray writes with)
        import xarray  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"NetCDF needs xarray and h5netcdf ({error}); pip install 'npi-bids[netcdf]', or use "
            "--save-format tsv."
        ) from error


def _write_table(time: Array, values: Array, labels: tuple[str, ...], path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame(values, columns=list(labels))
    table.insert(0, "time", np.round(time, 9))
    write_table(table, path)


def _write_netcdf(
    tables: dict[str, tuple[Array, Array]], labels: tuple[str, ...], path: Path
) -> None:
    import xarray as xr

    arrays = {}
    for name, (time, values) in tables.items():
        dimension = "bold_time" if name == "bold" else "time"
        coordinate = xr.DataArray(time, dims=dimension, attrs={"units": "s"})
        arrays[name] = xr.DataArray(
            values, dims=(dimension, "region"),
            coords={dimension: coordinate, "region": list(labels)},
        )  # fmt: skip
    with replacing(path) as temporary:
        xr.Dataset(arrays).to_netcdf(temporary, engine="h5netcdf")
