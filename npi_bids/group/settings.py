"""Options of the group level; read by the command line, so nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """How to put subjects together."""

    min_subjects: int = option(
        2, "edges that fewer subjects have are n/a in the group", above=0, metavar="N"
    )
    normalize: str = option(
        "max",
        "write the mean scaled to its strongest connection too (max), or not (none)",
        choices=("max", "none"),
    )
    weights: str = option(
        "none",
        "how subjects count in mean, SD and t: all alike (none), by the agreement of their halves "
        "(quality), or each connection by one over its squared standard error (precision)",
        choices=("none", "quality", "precision"),
    )
    trim: float = option(
        0.1, "share of the subjects that the trimmed mean leaves out on either side",
        at_least=0, below=0.5, metavar="X",
    )  # fmt: skip
    network_table: str = option(
        "",
        "TSV with a column name and further columns that put regions into networks, beside the "
        "networks that the atlas has",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What is tested over subjects."""

    formula: str = option(
        "",
        "group: what explains the maps, such as 'group + age + sex' or 'age*group': columns of "
        "participants.tsv, and mean_fd, minutes, r_split of the results (between backticks where "
        "the name is not a plain word), with + - * : ( ) ** and 0 or 1 (the mean), C(column), "
        'C(column, Treatment("level")), I(arithmetic), and the functions log, log2, log10, exp, '
        "sqrt, abs, center, scale; continuous columns are centred after they are evaluated",
        flag="model",
        metavar="FORMULA",
    )
    contrast: tuple[str, ...] = option(
        (),
        "group: what is tested of --model: a column, a factor, an interaction such as age:group, "
        "or a difference of levels such as 'patient - control', whose weights sum to 0 (default: "
        "every term of the model)",
        metavar="CONTRAST",
    )
    paired: tuple[str, ...] = option(
        (),
        "group: two sessions; the maps of the second less those of the first are explained by "
        "--model (default 1)",
        metavar="SESSION",
    )
    motion_covariate: bool = option(
        True,
        "group: add mean_fd to a model that does not hold it",
        metavar="yes|no",
    )
    exchange_within: str = option(
        "",
        "group: column of participants.tsv; subjects are exchanged within its values alone",
        metavar="COLUMN",
    )
    harmonize: str = option(
        "",
        "group: column of participants.tsv with the site, which ComBat takes out of the maps "
        "before they are tested; what --model explains is kept",
        metavar="COLUMN",
    )

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.paired) not in (0, 2):
            raise SettingsError(
                f"--paired takes two sessions, first and second, not {len(self.paired)}: "
                f"{' '.join(self.paired)}."
            )
        needs = [
            f"--{name.replace('_', '-')}"
            for name in ("contrast", "exchange_within", "harmonize")
            if getattr(self, name) and not self.wanted
        ]
        if needs:
            raise SettingsError(f"{', '.join(needs)} need(s) --model (or --paired).")

    @property
    def wanted(self) -> str:
        """The model, or that of a plain mean where pairs are asked for; empty: no test."""
        return self.formula or ("1" if self.paired else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermuteSettings:
    """How tests over subjects are corrected for the number of edges."""

    n_permutations: int = option(
        1000,
        "group: permutations (or changes of sign) for tests that hold over the whole map; 0: none",
        at_least=0,
        metavar="N",
    )
    network_statistic: str = option(
        "nbs",
        "group: how connected edges are tested together: directed network-based statistic (nbs), "
        "threshold-free (tfnbs), both, or none",
        choices=("nbs", "tfnbs", "both", "none"),
    )
    nbs_threshold: float = option(
        3.1, "group: t above which edges make up a network", above=0, metavar="T"
    )
    group_seed: int = option(0, "group: seed of the permutations", at_least=0, metavar="N")

    def __post_init__(self) -> None:
        check_options(self)
