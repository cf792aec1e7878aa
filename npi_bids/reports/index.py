"""Where a page stands among the others, and what made all of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from npi_bids import __version__
from npi_bids.bids.derivatives import find_group_maps, find_models
from npi_bids.bids.description import input_programs
from npi_bids.reports.components import Place, Row

_CITATION = (
    "npi-bids {version}: directed, signed effective connectivity of the whole brain. "
    "https://github.com/npi-bids/npi-bids\n"
    "Luo, Z. et al. (2025). Mapping effective connectivity by virtually perturbing a surrogate "
    "brain. Nature Methods. https://doi.org/10.1038/s41592-025-02654-x"
)


def read_methods(out_dir: Path) -> str:
    """Return the methods text, or nothing where there is none yet."""
    path = out_dir / "logs" / "CITATION.md"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def title_of(entities: Mapping[str, str]) -> str:
    """Return the entities of a model in words, without the subject."""
    return " ".join(f"{key}-{value}" for key, value in entities.items() if key != "sub")


def place_of(out_dir: Path, pages: Sequence[str], own: str) -> Place:
    """Return what stands before and after a page, and what made the dataset.

    Parameters
    ----------
    out_dir
        Root of the output dataset.
    pages
        Names of the subjects' pages, in order.
    own
        Name of the page.
    """
    at = pages.index(own) if own in pages else -1
    return Place(
        before=pages[at - 1] if at > 0 else "",
        after=pages[at + 1] if 0 <= at < len(pages) - 1 else "",
        group=bool(find_group_maps(out_dir)),
        provenance=_provenance(out_dir),
        citation=_CITATION.format(version=__version__),
    )


def _provenance(out_dir: Path) -> tuple[Row, ...]:
    """Return command, versions and configuration of the last run and of the first model."""
    rows = [Row("npi-bids", __version__)]
    settings = sorted(out_dir.glob("logs/*/settings.toml"))
    if settings:
        about = tomllib.loads(settings[-1].read_text(encoding="utf-8")).get("npi_bids", {})
        if "command" in about:
            rows.append(Row("last command", str(about["command"])))
        rows.append(
            Row("its settings", settings[-1].relative_to(out_dir).as_posix(), "--config-file")
        )
    model = next(iter(find_models(out_dir)), None)
    if model is not None:
        rows.append(Row("configuration", model.configuration))
        versions = model.fit.software_versions
        rows.append(
            Row("versions", ", ".join(f"{key} {value}" for key, value in versions.items()))
        )
    if made := input_programs(out_dir):
        rows.append(Row("input made by", ", ".join(made)))
    return tuple(rows)
