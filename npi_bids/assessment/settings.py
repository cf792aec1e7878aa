"""Settings of the measures beyond the map, and thresholds of the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from npi_bids.connectivity.settings import MeasureSettings
from npi_bids.settings import check_options, option

# Hz; low-pass filters of resting-state pipelines (0.08 to 0.1 Hz) remove what lies above. The
# threshold on its share of the power was chosen with benchmarks/calibration.py, where maps of
# signals filtered at 0.1 Hz were no better than functional connectivity.
HIGH_FREQUENCY = 0.15
# Directed share of the variance of a map below which it is practically undirected.
UNDIRECTED_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSettings:
    """Thresholds of the verdict; the defaults are calibrated on systems with known EC."""

    direction_p: float = option(
        0.01,
        "direction is supported if p of the time-reversal test is lower",
        above=0,
        below=1,
        metavar="X",
    )
    direction_ratio: float = option(
        1.2,
        "... and if the antisymmetric lagged covariance exceeds this many times its energy by "
        "chance",
        at_least=1,
        metavar="X",
    )
    min_skill: float = option(
        -0.001, "fail if the skill over each region's own past is lower", metavar="X"
    )
    good_skill: float = option(
        0.01, "caution if the skill over each region's own past is lower", metavar="X"
    )
    min_split: float = option(
        0.2,
        "fail if the split-half correlation of the map is lower, or, for a map that is shrunk "
        "towards a group, the correlation of the map without prior with that of the others",
        metavar="X",
    )
    good_split: float = option(
        0.6, "caution if the split-half correlation of the map is lower", metavar="X"
    )
    good_direction_split: float = option(
        0.4,
        "caution if the split-half correlation of the antisymmetric part is lower",
        metavar="X",
    )
    max_delay_share: float = option(
        1 / 3,
        "caution if fixed regional delays explain a larger fraction of the direction in the "
        "signals, and their SD exceeds --max-delay-sd",
        above=0,
        below=1,
        metavar="X",
    )
    max_delay_sd: float = option(0.5, "see --max-delay-share", above=0, metavar="SECONDS")
    good_model_fc: float = option(
        0.5, "caution if the correlation of model FC and FC is lower", metavar="X"
    )
    min_high_frequency: float = option(
        0.02,
        f"fail as low-passed if a smaller fraction of the power lies above {HIGH_FREQUENCY:g} Hz",
        at_least=0,
        metavar="X",
    )
    max_fc_r: float = option(
        0.85,
        "caution if the map correlates more with functional connectivity, and less than "
        f"{100 * UNDIRECTED_SHARE:g} % of its variance is directed",
        at_least=0,
        metavar="X",
    )
    max_stripes: float = option(
        0.5,
        "caution if the means of sources or of targets explain a larger fraction of the map's "
        "variance",
        above=0,
        metavar="X",
    )
    good_samples: float = option(
        2.0,
        "caution if there are fewer effective samples per parameter (linear weight that predicts "
        "a region)",
        at_least=0,
        metavar="X",
    )
    min_expected: float = option(
        0.4,
        "fail if the expected accuracy (r with the truth in comparable simulations) is lower",
        metavar="X",
    )
    good_expected: float = option(
        0.93,
        "caution if the expected accuracy is lower",
        metavar="X",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssessSettings:
    """Settings of the measures beyond the map, and of the verdict.

    Attributes
    ----------
    measures
        Matrices to write, and estimation of their uncertainty.
    verdict
        Thresholds of the verdict.
    """

    measures: MeasureSettings = field(default_factory=MeasureSettings)
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
