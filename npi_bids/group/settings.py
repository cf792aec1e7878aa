"""Options of the group level; read by the command line, so nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option
from npi_bids.wording import join_items


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """How to combine subjects."""

    min_subjects: int = option(
        2, "minimum number of subjects per edge; edges below it are n/a", above=0, metavar="N"
    )
    normalize: str = option(
        "max",
        "also write the mean divided by its largest absolute entry (max), or do not (none)",
        choices=("max", "none"),
    )
    weights: str = option(
        "none",
        "weights of subjects in the mean and SD that are shown: equal (none) or split-half "
        "agreement (quality); tests weight subjects by their number of windows to a power that "
        "the data choose",
        choices=("none", "quality"),
    )
    trim: float = option(
        0.1, "fraction of subjects trimmed on either side for the trimmed mean",
        at_least=0, below=0.5, metavar="X",
    )  # fmt: skip
    subject_maps: str = option(
        "none",
        "also write the map of each subject, shrunk towards the mean of its group by the variance "
        "between subjects (blup: best linear unbiased predictor), or do not (none)",
        choices=("none", "blup"),
    )
    network_table: str = option(
        "",
        "TSV with a column name and one column per additional assignment of regions to networks",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        if self.weights == "precision":
            raise SettingsError(
                "--weights precision is no longer available: standard errors of maps with a prior "
                "are smallest where the prior is strongest, so that most weight went to the "
                "subjects that say least. Tests weight subjects by their number of windows, "
                "without an option; use --weights none or quality for the mean that is shown."
            )
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What to test over subjects."""

    formula: str = option(
        "",
        "model of the maps, such as 'group + age' or 'age*group', with columns of "
        "participants.tsv and mean_fd, minutes, r_split of the results (in backticks if not a "
        "plain word). Syntax: + - * : ( ) **, 0 or 1 (the mean), C(column), "
        'C(column, Treatment("level")), I(arithmetic), log, log2, log10, exp, sqrt, abs, center, '
        "scale. Continuous columns are centred. With session, or a column of "
        "sub-*_sessions.tsv, it is a model over any number of sessions, whose effects are tested "
        "within subjects",
        flag="model",
        metavar="FORMULA",
    )
    contrast: tuple[str, ...] = option(
        (),
        "tests of --model: a column, a factor, an interaction (age:group), or a difference of "
        "levels whose weights sum to 0 ('patient - control') (default: every term)",
        metavar="CONTRAST",
    )
    paired: tuple[str, ...] = option(
        (),
        "two sessions; the difference of their maps (second minus first) is modelled by --model "
        "(then 1 by default)",
        metavar="SESSION",
    )
    motion_covariate: bool = option(
        True,
        "add mean_fd to models that do not contain it",
        metavar="yes|no",
    )
    exchange_within: str = option(
        "",
        "participants.tsv column; subjects are permuted only within its values",
        metavar="COLUMN",
    )
    harmonize: str = option(
        "",
        "participants.tsv column with the site, whose effect ComBat removes from the maps before "
        "they are tested; effects of --model are preserved",
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
            if getattr(self, name) and not self.effective_formula
        ]
        if needs:
            verb = "needs" if len(needs) == 1 else "need"
            raise SettingsError(f"{join_items(needs)} {verb} --model (or --paired).")

    @property
    def effective_formula(self) -> str:
        """The formula, or that of the mean for pairs of sessions; empty if nothing is tested."""
        return self.formula or ("1" if self.paired else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermuteSettings:
    """How tests over subjects are corrected for the number of edges."""

    n_permutations: int = option(
        1000,
        "permutations (or sign flips) for family-wise tests over the whole map; 0: none",
        at_least=0,
        metavar="N",
    )
    network_statistic: str = option(
        "nbs",
        "statistic of connected edges: directed network-based statistic (nbs), threshold-free "
        "(tfnbs), both, or none",
        choices=("nbs", "tfnbs", "both", "none"),
    )
    nbs_threshold: float = option(
        3.1, "nbs: t threshold of the edges that form a component", above=0, metavar="T"
    )
    group_seed: int = option(0, "seed of the permutations", at_least=0, metavar="N")

    def __post_init__(self) -> None:
        check_options(self)
