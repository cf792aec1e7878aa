"""Settings of earlier runs, from their logs, and how they differ from those of this one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npi_bids.analysis import AnalysisSettings
from npi_bids.cli.logs import SETTINGS_FILE, to_toml
from npi_bids.cli.parser import flag
from npi_bids.surrogates.families import WHOLE_BRAIN
from npi_bids.whole_brain.settings import BrainSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Options that do not enter the configuration themselves, but whose content does.
_BY_CONTENT = ("denoise", "pretrained")
# Options that impose a kind of fit.
_KIND_FLAGS = {
    *("--linear-part", "--whitening", "--delays", "--gain", "--noise", "--residual"),
}
_MOST_LISTED = 5

Settings = Mapping[str, Any]


def read_stored_settings(out_dir: Path, configuration: str) -> Settings | None:
    """Return the settings of the latest run with a configuration, as in its TOML file.

    Parameters
    ----------
    out_dir
        Output dataset.
    configuration
        Hash of the settings that shape results.

    Returns
    -------
    dict or None
        Settings of the analysis; None if no log holds them.
    """
    for path in sorted((out_dir / "logs").glob(f"*/{SETTINGS_FILE}"), reverse=True):
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # of a run that was killed
            continue
        if content.get("npi_bids", {}).get("configuration") == configuration:
            stored: Settings = content.get("analysis", {})
            return stored
    return None


def find_differences(
    stored: Settings, settings: DataclassInstance
) -> Iterator[tuple[str, str, str]]:
    """Yield the options that differ from stored ones and shape the result.

    Parameters
    ----------
    stored
        Settings of an earlier run.
    settings
        Settings of this run, or one of the classes in them.

    Yields
    ------
    tuple
        Flag, stored value and value of this run; ``default`` where none was set.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, BrainSettings) and not _is_whole_brain(settings):
            continue
        if is_dataclass(value) and not isinstance(value, type):
            yield from find_differences(stored.get(field.name, {}), value)
        elif field.metadata and (field.metadata.get("result", True) or field.name in _BY_CONTENT):
            earlier = stored.get(field.name, to_toml(field.default))
            if earlier != to_toml(value):
                yield flag(field), _format(earlier), _format(value)


def _is_whole_brain(settings: DataclassInstance) -> bool:
    return isinstance(settings, AnalysisSettings) and settings.train.surrogate == WHOLE_BRAIN


def _format(value: object) -> str:
    """Return the value of an option as on the command line."""
    if value is None or value == "":
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def describe_difference(out_dir: Path, existing: str, analysis: AnalysisSettings) -> str:
    """Return how the results of a dataset differ from those of this run, as a sentence.

    Parameters
    ----------
    out_dir
        Output dataset.
    existing
        Configuration of its results.
    analysis
        Settings of this run.
    """
    stored = read_stored_settings(out_dir, existing)
    if stored is None:
        return (
            f"Their settings ({existing}; those of this run are {analysis.configuration}) are not "
            "in its logs."
        )
    differences = list(find_differences(stored, analysis))
    if not differences:
        return (
            "The options are the same, but a file that they name, or the version of npi-bids, has "
            f"changed ({existing}; now {analysis.configuration})."
        )
    listed = [f"{name} {earlier} (now {current})" for name, earlier, current in differences]
    more = len(listed) - _MOST_LISTED
    text = "They were made with " + "; ".join(listed[:_MOST_LISTED])
    text += f"; and {more} more." if more > 0 else "."
    if {name for name, *_ in differences} <= _KIND_FLAGS:
        text += (
            " To give all subjects of the dataset one kind of fit, use --fit-kind dataset without "
            "these options."
        )
    return text
