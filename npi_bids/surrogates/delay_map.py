"""Prior knowledge of the delays of regions: published maps, and regional covariates.

The delays d of a subject have the prior

    d ~ N(m + X b, diag(s^2) + v^2 I),   b ~ N(0, u^2 I),

where m and s are the delays of the map and their standard deviations, and the columns of X are
covariates such as vein density, standardised over regions. The spread v of the delays about the
map and the size u of the coefficients are those of highest evidence for the estimated delays,
whose errors have the covariance ``H^-1``; the coefficients follow from them (Bishop 2006, Pattern
Recognition and Machine Learning, section 3.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npi_bids.errors import InputDataError, SettingsError
from npi_bids.io.files import digest
from npi_bids.io.tables import read_column_names, read_numbers
from npi_bids.records import Array, DelayPrior, Mask
from npi_bids.surrogates.base import KEPT_RESIDUALS, OBSERVED_FAMILY, WITHOUT_DELAYS, TrainSettings
from npi_bids.wording import count_noun, join_items

_DELAY, _SD = "delay", ("delay_sd", "standard_error")
_NOT_USED = ("index", "name", *_SD, _DELAY)
_REGIONS_PER_COVARIATE = 4
# Values of v, and of u (s) with covariates, between which the evidence chooses; the least v stands
# for delays as in the map.
_LEAST_SD = 0.02
_SPREADS = np.array([_LEAST_SD, *np.geomspace(0.05, 2, 20)])
_COEFFICIENT_SDS = np.geomspace(0.05, 1.5, 10)
_SHOWN = 5  # regions named in a message


@dataclass(frozen=True, slots=True, eq=False)
class DelayMap:
    """Prior knowledge of the delays of regions, in seconds.

    Attributes
    ----------
    mean, sd
        Shape (n_regions,); delay of each region, 0 where the table has none, and its standard
        deviation, 0 where it is not stated.
    covariates
        Shape (n_regions, n_covariates); standardised over all regions of the atlas.
    names
        Names of the covariates.
    """

    mean: Array
    sd: Array
    covariates: Array
    names: tuple[str, ...] = ()

    def take(self, regions: Mask | NDArray[np.int64]) -> DelayMap:
        """Restrict the map to some regions, by a mask or by their indices."""
        return replace(
            self,
            mean=self.mean[regions],
            sd=self.sd[regions],
            covariates=self.covariates[regions],
        )

    def apply(self, weighed: WeighedMap, tr: float) -> DelayPrior:
        """Return the prior of the delays in samples, with known spread and coefficients."""
        mean = self.mean + self.covariates @ np.array(weighed.coefficients)
        sd = np.hypot(self.sd, weighed.spread)
        return DelayPrior(tuple((mean / tr).tolist()), tuple((sd / tr).tolist()))


@dataclass(frozen=True, slots=True)
class WeighedMap:
    """Agreement of estimated delays with a map.

    Attributes
    ----------
    spread
        Standard deviation of the delays about the map (s).
    coefficients
        Change of the delay (s) with one standard deviation of each covariate.
    evidence
        Log evidence over that of no delays (nats).
    """

    spread: float
    coefficients: tuple[float, ...]
    evidence: float


def weigh_delay_map(
    delay_map: DelayMap, delays: Array, information: Array, tr: float
) -> WeighedMap:
    """Compare estimated delays with a map.

    Parameters
    ----------
    delay_map
        The map, over the same regions.
    delays
        Shape (n_regions,); estimated delays, in samples.
    information
        Shape (n_regions, n_regions); their information, per squared sample.
    tr
        Sampling period (s).
    """
    values, vectors = np.linalg.eigh(information / tr**2)
    determined = values > 1e-6 * values.max()
    errors, basis = np.diag(1 / values[determined]), vectors[:, determined]
    observed = basis.T @ (tr * delays)
    deviation, design = observed - basis.T @ delay_map.mean, basis.T @ delay_map.covariates
    stated = (basis.T * delay_map.sd**2) @ basis + errors
    none = _log_density(observed, errors)
    best = (-np.inf, _LEAST_SD, 0.0)
    for spread in _SPREADS:
        covariance = stated + spread**2 * np.eye(len(errors))
        for size in _COEFFICIENT_SDS if delay_map.names else (0.0,):
            density = _log_density(deviation, covariance + size**2 * design @ design.T)
            best = max(best, (density, float(spread), float(size)))
    density, spread, size = best
    covariance = stated + spread**2 * np.eye(len(errors)) + size**2 * design @ design.T
    coefficients = size**2 * design.T @ np.linalg.solve(covariance, deviation)
    return WeighedMap(spread, tuple(coefficients.tolist()), density - none)


def _log_density(values: Array, covariance: Array) -> float:
    """Return the log density of a normal distribution of mean 0, less a constant."""
    log_determinant = np.linalg.slogdet(covariance)[1]
    return float(-0.5 * (log_determinant + values @ np.linalg.solve(covariance, values)))


def check_delay_map(settings: TrainSettings, *, pretrained: bool = False) -> None:
    """Refuse settings with which a map of delays would not be read.

    Raises
    ------
    SettingsError
        If the surrogate has no delays, or is shrunk towards a group, which has delays of its own.
    """
    if settings.surrogate != OBSERVED_FAMILY:
        raise SettingsError(
            f"--delay-map is read by --surrogate {OBSERVED_FAMILY} alone, not by "
            f"{settings.surrogate}. Omit it."
        )
    if option := _find_exclusion(settings):
        raise SettingsError(f"--delay-map is not read with {option}; omit one of the two.")
    if pretrained:
        raise SettingsError(
            "--delay-map is not read with pretrain and --pretrained: subjects of a group share "
            "the delays that are estimated from all of them. Omit one of the two."
        )


def allows_delays(settings: TrainSettings) -> bool:
    """Return whether fits with these settings may have delays, which may follow a map."""
    return settings.surrogate == OBSERVED_FAMILY and not _find_exclusion(settings)


def _find_exclusion(settings: TrainSettings) -> str:
    """Return the option that excludes delays, as it was given; empty if there is none."""
    if settings.delays in WITHOUT_DELAYS:
        return f"--delays {settings.delays}"
    if settings.linear_part == "var":
        return "--linear-part var"
    return f"--residual {settings.residual}" if settings.residual in KEPT_RESIDUALS else ""


def read_delay_map(path: Path, labels: Sequence[str]) -> DelayMap:
    """Read a table of delays and covariates of regions.

    Parameters
    ----------
    path
        TSV with a row per region: ``name``; optionally ``delay`` (s) and ``delay_sd`` (s; or
        ``standard_error``); every other column is a covariate.
    labels
        Regions of the atlas.

    Raises
    ------
    InputDataError
        If regions are missing, unknown or repeated, if a value is missing or not a number, or if
        no column states anything about delays.
    """
    table = read_numbers(path, _numeric_columns(path))
    rows = _match_rows(path, table["name"].tolist(), labels)
    names = tuple(column for column in table.columns if column not in _NOT_USED)
    columns = {
        column: _read_column(path, column, table[column].to_numpy(dtype=np.float64)[rows], labels)
        for column in table.columns
        if column in names or column in (_DELAY, *_SD)
    }
    _check_columns(path, columns, names, len(labels))
    zero = np.zeros(len(labels))
    sd = next((columns[column] for column in _SD if column in columns), zero)
    covariates = np.stack([columns[name] for name in names], axis=1) if names else zero[:, None]
    covariates = covariates[:, : len(names)]
    covariates = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
    return DelayMap(columns.get(_DELAY, zero), sd, covariates, names)


def describe_source(path: Path) -> dict[str, object]:
    """Return the sidecar fields that describe the map of delays of a result."""
    columns = [column for column in read_column_names(path) if column not in ("index", "name")]
    return {"file": path.name, "digest": digest(path), "columns": tuple(columns)}


def _numeric_columns(path: Path) -> list[str]:
    columns = read_column_names(path)
    if "name" not in columns:
        raise InputDataError(
            f"--delay-map <{path}> has no column name (found: {', '.join(columns)}); expected a "
            "row per region of the atlas, with its name, its delay in seconds, and covariates."
        )
    return [column for column in columns if column != "name"]


def _match_rows(path: Path, names: Sequence[object], labels: Sequence[str]) -> list[int]:
    """Return the row of each region of the atlas."""
    listed = [str(name) for name in names]
    for problem, regions in (
        ("names regions that the atlas does not have", sorted(set(listed) - set(labels))),
        ("lacks regions of the atlas", [label for label in labels if label not in listed]),
        ("repeats regions", sorted({name for name in listed if listed.count(name) > 1})),
    ):
        if regions:
            raise InputDataError(
                f"--delay-map <{path}> {problem}: {join_items(regions, most=_SHOWN)}. Expected "
                f"one row for each of the {count_noun(len(labels), 'region')} of the atlas."
            )
    return [listed.index(label) for label in labels]


def _read_column(path: Path, column: str, values: Array, labels: Sequence[str]) -> Array:
    if (missing := np.isnan(values)).any():
        regions = [label for label, lacks in zip(labels, missing, strict=True) if lacks]
        raise InputDataError(
            f"--delay-map <{path}> has no value of {column} for "
            f"{join_items(regions, most=_SHOWN)}; expected a number for every region of the "
            "atlas. Fill them in, or leave the column out."
        )
    if column in _SD and values.min() < 0:
        raise InputDataError(
            f"--delay-map <{path}> has a negative {column}; a standard deviation is 0 or more."
        )
    return values


def _check_columns(
    path: Path, columns: dict[str, Array], names: Sequence[str], n_regions: int
) -> None:
    if _DELAY not in columns and not names:
        raise InputDataError(
            f"--delay-map <{path}> states nothing about delays; expected a column delay (s), "
            "columns of covariates, or both."
        )
    constant = [name for name in names if np.ptp(columns[name]) == 0]
    if constant:
        raise InputDataError(
            f"--delay-map <{path}>: {join_items(constant)} has the same value in every region, "
            "which tells no regions apart; leave it out."
        )
    if len(names) > n_regions // _REGIONS_PER_COVARIATE:
        raise InputDataError(
            f"--delay-map <{path}> has {count_noun(len(names), 'covariate')} "
            f"({join_items(names, most=_SHOWN)}) for {count_noun(n_regions, 'region')}; expected "
            f"at least {_REGIONS_PER_COVARIATE} regions per covariate."
        )
