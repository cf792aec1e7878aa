"""Tables of the documentation on intervals and tests over subjects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.site_table import Cell, Results, SiteTable, full_cells

_COVERAGE = {"hybrid, posterior": "`hybrid`, posterior", "var, posterior": "`var`, posterior"}
_INFERENCE_NULL = {
    "two groups, age": "two groups, age as covariate (residuals exchanged)",
    "mean (signs)": "mean (sign flipping)",
}
_INFERENCE_POWER = {f"effect {effect} SD": effect for effect in ("0.8", "1.2", "1.6")}
_GROUP_NULL = {
    "no connection, n = 8": "no connection: mean of 8",
    "no connection, n = 24": "no connection: mean of 24",
    "two groups, 12 + 12": "same network: groups of 12 and 12",
    "covariate beside sites, n = 24": "same network: covariate of 24, at three sites",
    "two sessions, n = 12": "same network: two sessions of 12",
}
_SESSION_POWER = {
    "two sessions": "two sessions, `--model session`",
    "two sessions, as if of different subjects": "the same maps, as if of different subjects",
    "three sessions, F": "three sessions (half of the change at the second), F",
    "three sessions, 03 - 01": 'three sessions, `--contrast "03 - 01"`',
    "group:session, two sessions": "`group * session`, where every other subject changes",
}
_N_POWER_SETS = 100
_CONTRASTS = {
    "T 150 | 400, 12 + 12": "150 against 400 samples, 12 + 12",
    "T 150 (6) | 400 (18)": "150 (6) against 400 (18)",
    "T 150 (18) | 400 (6)": "150 (18) against 400 (6)",
    "labels random, 4 + 4": "labels at random, 4 + 4",
    "labels random, 12 + 12": "labels at random, 12 + 12",
    "unrelated covariate, 8": "unrelated covariate, 8",
    "unrelated covariate, 24": "unrelated covariate, 24",
    "paired 150 | 400, 12": "sessions of 150 and 400 samples, 12 pairs",
}
_CONTRAST_POWER = {name: f"{name} subjects" for name in ("4 + 4", "12 + 12")}
_N_CONTRAST_SETS = 100


def _session_cells(results: Results, design: str) -> Iterator[Cell]:
    is_complete = results.get("n_sets", 0) >= _N_POWER_SETS
    for n_subjects in (8, 12, 20):
        found = results.get(f"{design}, n = {n_subjects}") if is_complete else None
        yield found[:2] if found else None


def _contrast_power_cells(results: Results, groups: str) -> Iterator[Cell]:
    """Yield the share of the true differences found, and of false ones among what is found."""
    if results.get("n_sets", 0) < _N_CONTRAST_SETS:
        return
    found, false = (results.get(part, {}).get(groups, ()) for part in ("power", "false"))
    yield from (list(pair) for pair in zip(found, false, strict=True))


TABLES = {
    "coverage": SiteTable(
        "python -m benchmarks.coverage",
        ("", "400 samples", "1600", "8000", "p < .05, no connections"), _COVERAGE,
        partial(full_cells, sizes={"n_seeds": 20}), best="", digits=(3, 3, 3, 3),
        files=("coverage",),
    ),
    "inference_null": SiteTable(
        "python -m benchmarks.inference",
        ("", "largest t", "NBS", "TFNBS", "FDR", "pairs of networks"), _INFERENCE_NULL,
        partial(full_cells, sizes={"n_null": 500}, section="null"), best="",
        digits=(3, 3, 3, 3, 3), files=("inference",),
    ),
    "inference_power": SiteTable(
        "python -m benchmarks.inference",
        ("effect (SD)", "any, largest t", "any, NBS", "any, TFNBS", "edges, largest t",
         "edges, NBS", "edges, TFNBS", "reversed edges, NBS"), _INFERENCE_POWER,
        partial(full_cells, sizes={"n_power": 100}, section="power", n_cells=7), best="",
        digits=(2, 2, 2, 2, 2, 2, 3), files=("inference",),
    ),
    **{
        name: SiteTable(
            f"python -m benchmarks.group_null {options}",
            ("null, test", "max-T", "NBS", "TFNBS", "q", "networks, max-T",
             "out-strength of regions, q"), _GROUP_NULL,
            partial(full_cells, sizes={"n_sets": n_sets}), best="", digits=(2, 2, 2, 2, 2, 2),
            files=(name,),
        )
        for name, n_sets, options in (
            ("group_null", 504, "--n-sets 504 --n-pools 12"),
            ("group_null_pretrained", 504, "--pretrained --n-sets 504 --n-pools 6"),
        )
    },
    "inference_contrasts": SiteTable(
        "python -m benchmarks.inference",
        ("design", "maps, q", "largest t", "without prior, q", "largest t", "in proportion, q",
         "largest t"), _CONTRASTS,
        partial(full_cells, sizes={"n_sets": 100}, section="null"), best="",
        digits=(2, 2, 2, 2, 2, 2), files=("inference_contrasts",),
    ),
    "session_power": SiteTable(
        "python -m benchmarks.session_power", ("design", "8 subjects", "12", "20"),
        _SESSION_POWER, _session_cells, best="", digits=(2, 2, 2), files=("session_power",),
    ),
    "contrast_power": SiteTable(
        "python -m benchmarks.inference",
        ("groups", "maps, q", "largest t", "without prior, q", "largest t", "in proportion, q",
         "largest t"), _CONTRAST_POWER, _contrast_power_cells, best="", digits=(2,) * 6,
        files=("inference_contrasts",), seeds="10200",
    ),
}  # fmt: skip
