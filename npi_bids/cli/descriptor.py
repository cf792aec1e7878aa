"""The Boutiques descriptor of npi-bids, derived from the options of its settings."""

from __future__ import annotations

import json
from argparse import Action
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from npi_bids import __version__
from npi_bids.cli.parser import GROUPS, LEVELS, build_parser, flag, scalar_type
from npi_bids.errors import InputDataError, NoUsableDataError, SettingsError, find_exit_code
from npi_bids.settings import field_choices, field_types
from npi_bids.surrogates.base import PRESETS

_URL = "https://github.com/npi-bids/npi-bids"
_BOUNDS = {"at_least": ("minimum", False), "above": ("minimum", True),
           "at_most": ("maximum", False), "below": ("maximum", True)}  # fmt: skip


def boutiques_descriptor() -> dict[str, object]:
    """Return the descriptor, by the schema 0.5 of Boutiques.

    Every option of ``npi-bids`` is an input, with its type, choices and bounds. The positional
    arguments come first, because options of several values would take them.
    """
    inputs = [*_positionals(), *_options()]
    keys = " ".join(str(item["value-key"]) for item in inputs)
    parser = build_parser()
    return {
        "name": "npi-bids",
        "description": str(parser.description).partition("\n\nexample:")[0].replace("\n", " "),
        "author": "The npi-bids developers",
        "url": _URL,
        # Of the release: commits since then would change the file each time.
        "tool-version": __version__.partition(".dev")[0],
        "schema-version": "0.5",
        "command-line": f"npi-bids {keys}",
        "inputs": inputs,
        "output-files": [
            {
                "id": "dataset",
                "name": "Output dataset",
                "description": "BIDS derivatives with matrices, reports and logs.",
                "path-template": "[OUT_DIR]",
            }
        ],
        "error-codes": [
            {"code": 1, "description": "Some models failed; the others are complete."},
            *(
                {"code": find_exit_code(error.__name__), "description": text}
                for error, text in (
                    (SettingsError, "Options cannot be used."),
                    (InputDataError, "The input cannot be used."),
                    (NoUsableDataError, "No usable data remain after the thresholds."),
                )
            ),
            {"code": 5, "description": "The output dataset holds another configuration."},
            {"code": 6, "description": "Results are complete, but a report failed."},
        ],
        "tags": {"domain": ["neuroinformatics", "bids", "mri"]},
    }


def descriptor_text() -> str:
    """Return the descriptor as the file in ``descriptors/`` holds it."""
    return json.dumps(boutiques_descriptor(), indent=2, ensure_ascii=False) + "\n"


def _positionals() -> list[dict[str, object]]:
    helps = {action.dest: str(action.help) for action in build_parser()._actions}
    folders = (("bids_dir", "Input dataset", "File"), ("out_dir", "Output dataset", "String"))
    items: list[dict[str, object]] = [
        {"id": name, "name": title, "description": helps[name], "type": kind,
         "value-key": f"[{name.upper()}]"}
        for name, title, kind in folders
    ]  # fmt: skip
    items.append(
        {"id": "levels", "name": "Levels of analysis", "description": helps["levels"],
         "type": "String", "list": True, "value-choices": list(LEVELS), "value-key": "[LEVELS]"}
    )  # fmt: skip
    return items


def _options() -> list[dict[str, object]]:
    """Return an input for each option, those of the settings and ``--preset``."""
    actions = {
        name: action for action in build_parser()._actions for name in action.option_strings
    }
    items = [
        _describe_option(field, field_types(settings)[field.name], actions[flag(field)])
        for classes in GROUPS.values()
        for settings in classes
        for field in fields(settings)
    ]
    preset = actions["--preset"]
    items.append(
        {**_common(preset, "--preset"), "type": "String", "value-choices": sorted(PRESETS)}
    )
    return items


def _common(action: Action, name: str) -> dict[str, object]:
    key = name[2:].replace("-", "_")
    return {
        "id": key,
        "name": name[2:].replace("-", " ").capitalize(),
        "description": str(action.help).replace("%%", "%"),
        "value-key": f"[{key.upper()}]",
        "command-line-flag": name,
        "optional": True,
    }


def _describe_option(field: Field[Any], hint: object, action: Action) -> dict[str, object]:
    """Return the input of one option: its type, choices and bounds."""
    item = _common(action, flag(field))
    if action.nargs == 0:
        return {**item, "type": "Flag"}
    if action.nargs == "+":
        item["list"] = True
    choices = [str(choice) for choice in field_choices(field.metadata)]
    kind = scalar_type(hint)
    if kind in (int, float) and not choices:
        whole = {"integer": True} if kind is int else {}
        return {**item, "type": "Number", **whole, **_bounds(field.metadata)}
    return {**item, "type": "String", **({"value-choices": choices} if choices else {})}


def _bounds(metadata: Mapping[str, Any]) -> dict[str, object]:
    bounds: dict[str, object] = {}
    for name, (key, exclusive) in _BOUNDS.items():
        if metadata.get(name) is not None:
            bounds[key] = metadata[name]
            if exclusive:
                bounds[f"exclusive-{key}"] = True
    return bounds
