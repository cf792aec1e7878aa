"""Average the matrices of subjects and write the group's files under their BIDS names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from npi_bids.bids import sidecars
from npi_bids.bids.names import output_path
from npi_bids.core.group import GroupSettings, average, scale_to_strongest
from npi_bids.core.records import ECResult
from npi_bids.io.files import write_json
from npi_bids.io.tables import read_matrix, write_matrix


def save_group(
    matrices: Mapping[str, Sequence[Path]],
    out_dir: Path,
    named: tuple[dict[str, str], str, str],
    *,
    settings: GroupSettings,
    links: Mapping[str, Any],
) -> list[Path]:
    """Average one measure over subjects and write mean, SD, count and scaled mean.

    Parameters
    ----------
    matrices
        Files of each subject; several of one subject are averaged first, so that every subject
        counts once.
    out_dir
        Root of the output dataset.
    named
        Entities, ``desc`` and measure.
    settings
        How many subjects an edge needs.
    links
        NodeFiles, Sources and the like.

    Returns
    -------
    list of Path
        What was written.
    """
    entities, desc, measure = named
    group = average(_one_per_subject(matrices), settings)
    found = {
        "groupmean": group.mean,
        "groupsd": group.sd,
        "groupn": group.n_subjects.astype(float),
    }
    if settings.normalize == "max":
        found["groupmax"] = scale_to_strongest(group.mean)
    facts = {
        "Subjects": sorted(matrices),
        "NumberOfSubjects": len(matrices),
        "MinimumSubjects": settings.min_subjects,
        **sidecars.spatial_fields(entities),
    }
    space = entities.get("space", "individual")
    tpl = {"tpl": space, **{k: v for k, v in entities.items() if k != "space"}, "meas": measure}
    written = []
    for kind, matrix in found.items():
        path = out_dir / output_path(kind, tpl, desc)
        write_json(path.with_suffix(".json"), sidecars.group_sidecar(measure, kind, facts, links))
        write_matrix(ECResult(matrix, group.labels), path)
        written += [path.with_suffix(".json"), path]
    return written


def _one_per_subject(matrices: Mapping[str, Sequence[Path]]) -> Iterator[ECResult]:
    for _, paths in sorted(matrices.items()):
        results = [read_matrix(path) for path in paths]
        if len(results) == 1:
            yield results[0]
        else:
            within = average(results, GroupSettings(min_subjects=1))
            yield ECResult(within.mean, within.labels)
