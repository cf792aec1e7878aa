"""Features of regional signals from which the parameters of whole-brain models are inferred.

All features are computed from signals of mean 0 and SD 1, so that none depends on the units of
the signals. Those of FC, of FC against structural connectivity and of FC dynamics have no unit;
powers are shares of the total; autocorrelations are at lags of whole samples; frequencies are in
Hz. :data:`FEATURES` says what each one is. Those of :mod:`npi_bids.inverse.catch22` can be added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.signal import hilbert
from scipy.stats import skew

from npi_bids.inverse.catch22 import CATCH22, SHORTEST, compute_catch22
from npi_bids.inverse.observation import Index, ObservedRun
from npi_bids.matrices import correlation
from npi_bids.records import Array, Mask

_WINDOW = 60.0  # s of a window of FC dynamics (Hansen et al. 2015)
_BANDS = tuple(pairwise(
    (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25)
))  # fmt: skip
_GLOBAL_BANDS = tuple(pairwise((0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25)))
_QUANTILES = (5, 25, 50, 75, 95)
# Shares of the eigenvectors of the Laplacian, from the smoothest, that are taken together.
_SMOOTHNESS = (0.0, 0.011, 0.06, 0.15, 0.35, 0.65, 1.0)
_LEAKS = (0.03, 0.1, 0.3, 1.0, 3.0)  # of linear models, relative to the mean structural strength
_N_EIGENVALUES, _N_MODES, _N_LAGS = 5, 6, 3
_N_SECTIONS = 6  # of a recording, for the classifier two-sample test

FEATURES: Mapping[str, str] = {
    "fc_mean": "mean of FC over pairs of regions",
    "fc_sd": "SD of FC over pairs of regions",
    "fc_skew": "skewness of FC over pairs of regions",
    **{f"fc_q{q:02d}": f"{q} % quantile of FC over pairs of regions" for q in _QUANTILES},
    **{f"fc_eigenvalue{k}": f"eigenvalue {k} of FC, divided by the number of regions"
       for k in range(1, _N_EIGENVALUES + 1)},
    "fc_dimension": "participation ratio of the eigenvalues of FC, a number of dimensions",
    "fc_sc_r": "correlation of FC with the logarithm of structural connectivity",
    "fc_sc2_r": "correlation of FC with structural paths of two steps",
    "fc_sc_strong": "mean FC of the strongest 5 % of structural connections",
    "fc_sc_weak": "mean FC of the weakest half of structural connections",
    "strength_sc_r": "correlation over regions of mean FC with structural strength",
    **{f"sc_mode{k}": f"variance of the signals along eigenvector {k} of structural connectivity, "
       "relative to the mean over all" for k in range(1, _N_MODES + 1)},
    **{f"linear_r{k}": "correlation of FC with that of noise that diffuses along structural "
       f"connectivity and leaks at {leak:g} times its mean strength"
       for k, leak in enumerate(_LEAKS, 1)},
    "structural_r2": "share of the variance of FC over pairs of regions that structure explains: "
                     "connectivity, paths, strengths and linear models",
    "unstructured_sd": "SD of the remaining FC",
    **{f"unstructured_eigenvalue{k}": f"eigenvalue {k} of the remaining FC, divided by the number "
       "of regions" for k in (1, 2)},
    "unstructured_half_r": "correlation of the remaining FC of the two halves of the samples",
    "fc_half_r": "correlation of FC of the two halves of the samples",
    **{f"smooth{k}_power": f"mean variance of the signals along group {k} of the eigenvectors of "
       "the Laplacian of structural connectivity, from the smoothest"
       for k in range(1, len(_SMOOTHNESS))},
    **{f"smooth{k}_autocorrelation{lag}": f"autocorrelation of the signals along group {k} of "
       f"these eigenvectors at a lag of {lag} samples"
       for k in range(1, len(_SMOOTHNESS)) for lag in range(1, _N_LAGS + 1)},
    "fcd_mean": "mean of FC dynamics: correlation of FC between windows of 60 s",
    "fcd_sd": "SD of FC dynamics",
    "fcd_q05": "5 % quantile of FC dynamics",
    "fcd_q95": "95 % quantile of FC dynamics",
    **{f"power_{low:g}_{high:g}": f"share of the power from {low:g} to {high:g} Hz, mean over "
       "regions" for low, high in _BANDS},
    "centroid": "mean frequency of the power spectrum (Hz), mean over regions",
    "centroid_sd": "SD over regions of the mean frequency (Hz)",
    "bandwidth": "SD of the power spectrum around its mean frequency (Hz), mean over regions",
    **{f"autocorrelation{k}": f"autocorrelation at a lag of {k} samples, mean over regions"
       for k in range(1, _N_LAGS + 1)},
    **{f"autocorrelation{k}_sd": f"SD over regions of the autocorrelation at a lag of {k} samples"
       for k in range(1, _N_LAGS + 1)},
    "autocorrelation_strength_r": "correlation over regions of autocorrelation with mean FC",
    "lagged_mean": "mean correlation of a region with another one sample later",
    "lagged_asymmetry": "norm of the antisymmetric part of lagged correlation over its norm",
    "global_sd": "SD of the mean over regions",
    "global_autocorrelation": "autocorrelation of the mean over regions at a lag of 1 sample",
    **{f"global_power_{low:g}_{high:g}": f"share of the power of the mean over regions from "
       f"{low:g} to {high:g} Hz" for low, high in _GLOBAL_BANDS},
    "synchrony": "mean over time of the Kuramoto order parameter",
    "metastability": "SD over time of the Kuramoto order parameter",
    "envelope_cv": "coefficient of variation of the envelope, mean over regions",
    "kurtosis": "excess kurtosis of the signals, mean over regions",
    "kurtosis_sd": "SD over regions of the excess kurtosis",
}  # fmt: skip
_STRUCTURAL = (
    *("fc_mean", "fc_sd", "fc_eigenvalue", "fc_dimension", "fc_half_r", "fc_sc", "strength_sc"),
    *("sc_mode", "linear_r", "structural", "unstructured", "smooth"),
)
# Features of how FC and the decay of signals follow structural connectivity.
STRUCTURAL_FEATURES = tuple(name for name in FEATURES if name.startswith(_STRUCTURAL))
SECTION_FEATURES = (
    *("fc_mean", "fc_sd", "fc_sc_r", "autocorrelation1", "autocorrelation1_sd"),
    *("autocorrelation2", "global_sd", "kurtosis", "centroid", "bandwidth", "lagged_mean"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What the features need of structural connectivity; made once by :func:`describe_structure`.

    Attributes
    ----------
    pairs
        Row and column of each pair of regions.
    logarithm, two_steps
        Shape (n_pairs,); logarithm of the connectivity of both directions together, and that of
        paths of two steps.
    strong, weak
        Which pairs belong to the strongest 5 % and to the weakest half.
    strength
        Shape (n_regions,); sum over both directions.
    modes
        Shape (n_regions, n_modes); leading eigenvectors of the symmetric part.
    smooth
        Groups of eigenvectors of the Laplacian of the symmetric part, from the smoothest; each of
        shape (n_regions, n_group).
    linear
        Shape (n_leaks, n_pairs); correlations of linear models on this structure.
    explained
        Shape (n_pairs, n_predictors); orthonormal basis of what structure explains.
    """

    pairs: tuple[Index, Index]
    logarithm: Array
    two_steps: Array
    strong: Mask
    weak: Mask
    strength: Array
    modes: Array
    smooth: tuple[Array, ...]
    linear: Array
    explained: Array


def describe_structure(connectome: Array) -> Structure:
    """Return what the features need of a connectome, indexed ``[source, target]``."""
    both = connectome + connectome.T
    pairs = np.triu_indices(len(both), 1)
    weights = both[pairs]
    floor = weights[weights > 0].min()
    values, vectors = np.linalg.eigh(both)
    leading = np.argsort(-values)[: min(_N_MODES, len(values))]
    logarithm, two_steps = np.log(weights + floor), np.log((both @ both)[pairs] + floor**2)
    laplacian = np.diag(both.sum(axis=0)) - both
    linear = _linear_correlations(laplacian)[:, pairs[0], pairs[1]]
    strength = np.log(both.sum(axis=0) + floor)
    first, second = strength[pairs[0]], strength[pairs[1]]
    predictors = [*linear, logarithm, two_steps, first + second, first * second]
    return Structure(
        pairs,
        logarithm,
        two_steps,
        weights >= np.percentile(weights, 95),
        weights <= np.percentile(weights, 50),
        both.sum(axis=0),
        vectors[:, leading],
        _group_smooth(laplacian),
        linear,
        _orthonormal_basis(predictors),
    )


def _linear_correlations(laplacian: Array) -> Array:
    """Return correlations of noise that diffuses and leaks, (n_leaks, n_regions, n_regions).

    With a symmetric drift -(leak + L) the covariance is proportional to the inverse of leak + L.
    """
    unit = np.eye(len(laplacian))
    scale = np.diag(laplacian).mean()
    covariances = np.array([np.linalg.inv(leak * scale * unit + laplacian) for leak in _LEAKS])
    sd = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    correlations: Array = covariances / (sd[:, :, None] * sd[:, None, :])
    return correlations


def _group_smooth(laplacian: Array) -> tuple[Array, ...]:
    """Return groups of eigenvectors, from the smoothest; empty ones only below six regions."""
    _, vectors = np.linalg.eigh(laplacian)
    shares = np.round(np.array(_SMOOTHNESS) * len(laplacian)).astype(int)
    edges = np.minimum(np.maximum(shares, np.arange(len(shares))), len(laplacian)).tolist()
    return tuple(vectors[:, first:last] for first, last in pairwise(edges))


def _orthonormal_basis(predictors: Sequence[Array]) -> Array:
    """Return a basis of the constant and the predictors; empty if there are too few pairs."""
    table = np.column_stack(predictors)
    if len(table) < 2 * table.shape[1]:
        return np.zeros((len(table), 0))
    scaled = (table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-12)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(len(table)), scaled]))
    return np.asarray(basis, dtype=np.float64)


def feature_names(*, catch22: bool) -> tuple[str, ...]:
    """Return the names of all features, in order."""
    return (*FEATURES, *(_catch22_names() if catch22 else ()))


def compute_features(
    runs: Sequence[ObservedRun], structure: Structure, tr: float, *, catch22: bool = False
) -> Array:
    """Compute all features of a recording.

    Parameters
    ----------
    runs
        The runs of one subject.
    structure
        Structural connectivity of the regions.
    tr
        Sampling period (s).
    catch22
        Whether to add the mean and the SD over regions of catch22.

    Returns
    -------
    Array
        Shape (n_features,), in the order of :func:`feature_names`; NaN where the runs are too
        short for a feature.
    """
    n_regions = runs[0].data.shape[1]
    if any(not np.isfinite(run.data).all() for run in runs):
        return np.full(len(feature_names(catch22=catch22)), np.nan)
    values: dict[str, float] = {}
    samples = np.concatenate([run.data for run in runs])
    fc = correlation(samples)
    values |= _fc_features(fc, structure)
    values |= _structural_features(fc, samples, structure)
    values |= _fc_dynamics_features(runs, structure, tr)
    parts = [
        _time_features(run, fc.mean(axis=0), tr) | _smooth_features(run, structure) for run in runs
    ]
    weights = np.array([len(run.data) for run in runs], dtype=np.float64)
    for name in parts[0]:
        values[name] = float(np.average([part[name] for part in parts], weights=weights))
    ordered = [values.get(name, np.nan) if n_regions > 1 else np.nan for name in FEATURES]
    if catch22:
        ordered += _catch22_features(runs)
    return np.array(ordered)


def compute_section_features(
    runs: Sequence[ObservedRun], structure: Structure, tr: float
) -> Array:
    """Compute a few features of six sections of a recording, of equal length.

    Returns
    -------
    Array
        Shape (6, n_section_features), in the order of ``SECTION_FEATURES``.
    """
    lengths = [int(run.position[-1]) + 1 for run in runs]
    per_run = np.maximum(1, np.round(_N_SECTIONS * np.array(lengths) / sum(lengths))).astype(int)
    rows = []
    for run, length, n_sections in zip(runs, lengths, per_run, strict=True):
        edges = np.linspace(0, length, n_sections + 1).astype(int)
        for first, last in pairwise(edges.tolist()):
            section = run.cut(first, last) if len(run.data) else run
            rows.append(_describe_section(section, structure, tr))
    return np.array(rows)


def _describe_section(section: ObservedRun, structure: Structure, tr: float) -> list[float]:
    if len(section.data) < 8 or not np.isfinite(section.data).all():
        return [np.nan] * len(SECTION_FEATURES)
    fc = correlation(section.data)
    pairs = fc[structure.pairs]
    values = {
        "fc_mean": float(pairs.mean()),
        "fc_sd": float(pairs.std()),
        "fc_sc_r": _r(pairs, structure.logarithm),
        "global_sd": float(section.data.mean(axis=1).std()),
        "kurtosis": float((section.data**4).mean()) - 3,
        **_spectral_features(_fill_gaps(section), tr),
        **_lagged_features(section, fc.mean(axis=0)),
    }
    return [values[name] for name in SECTION_FEATURES]


def _fc_features(fc: Array, structure: Structure) -> dict[str, float]:
    pairs = fc[structure.pairs]
    eigenvalues, _ = np.linalg.eigh(fc)
    shares = eigenvalues[::-1] / len(fc)
    along_modes = np.einsum("ik,ij,jk->k", structure.modes, fc, structure.modes)
    features = {
        "fc_mean": float(pairs.mean()),
        "fc_sd": float(pairs.std()),
        "fc_skew": float(skew(pairs)),
        "fc_dimension": float(1 / np.sum(shares**2)),
        "fc_sc_r": _r(pairs, structure.logarithm),
        "fc_sc2_r": _r(pairs, structure.two_steps),
        "fc_sc_strong": float(pairs[structure.strong].mean()),
        "fc_sc_weak": float(pairs[structure.weak].mean()),
        "strength_sc_r": _r(fc.mean(axis=0), structure.strength),
    }
    quantiles = np.percentile(pairs, _QUANTILES)
    features |= {f"fc_q{q:02d}": float(v) for q, v in zip(_QUANTILES, quantiles, strict=True)}
    features |= {f"fc_eigenvalue{k + 1}": float(v) for k, v in
                 enumerate(shares[:_N_EIGENVALUES])}  # fmt: skip
    return features | {f"sc_mode{k + 1}": float(v) for k, v in enumerate(along_modes)}


def _structural_features(fc: Array, samples: Array, structure: Structure) -> dict[str, float]:
    """Return how FC follows structure, and what of FC structure does not explain."""
    pairs, basis = fc[structure.pairs], structure.explained
    features = {f"linear_r{k}": _r(pairs, row) for k, row in enumerate(structure.linear, 1)}
    middle = len(samples) // 2
    halves = [correlation(half)[structure.pairs] for half in (samples[:middle], samples[middle:])]
    features["fc_half_r"] = _r(*halves)
    if not basis.shape[1]:
        return features
    rest, first, second = (row - basis @ (basis.T @ row) for row in (pairs, *halves))
    matrix = np.zeros_like(fc)
    matrix[structure.pairs] = rest
    eigenvalues = np.linalg.eigvalsh(matrix + matrix.T)[::-1] / len(fc)
    return features | {
        "structural_r2": float(1 - rest.var() / pairs.var()),
        "unstructured_sd": float(rest.std()),
        "unstructured_eigenvalue1": float(eigenvalues[0]),
        "unstructured_eigenvalue2": float(eigenvalues[1]),
        "unstructured_half_r": _r(first, second),
    }


def _smooth_features(run: ObservedRun, structure: Structure) -> dict[str, float]:
    """Return variance and autocorrelations along groups of eigenvectors of the Laplacian.

    In a linear model a mode of eigenvalue k decays at a rate of the leak plus G times k.
    """
    features = {}
    lagged = [(lag, *_lagged_pairs(run.position, lag)) for lag in range(1, _N_LAGS + 1)]
    for number, vectors in enumerate(structure.smooth, 1):
        if not vectors.shape[1]:
            continue
        along = run.data @ vectors
        power = float((along**2).mean())
        features[f"smooth{number}_power"] = power
        for lag, earlier, later in lagged:
            covariance = float((along[earlier] * along[later]).mean())
            features[f"smooth{number}_autocorrelation{lag}"] = covariance / power
    return features


def _fc_dynamics_features(
    runs: Sequence[ObservedRun], structure: Structure, tr: float
) -> dict[str, float]:
    """Return the features of FC dynamics, of windows that do not overlap within a run."""
    dynamics = np.concatenate([_fc_dynamics(run, structure, tr) for run in runs])
    if not dynamics.size:
        return {}
    low, high = np.percentile(dynamics, [5, 95])
    return {"fcd_mean": float(dynamics.mean()), "fcd_sd": float(dynamics.std()),
            "fcd_q05": float(low), "fcd_q95": float(high)}  # fmt: skip


def _fc_dynamics(run: ObservedRun, structure: Structure, tr: float) -> Array:
    length = round(_WINDOW / tr)
    starts = np.arange(0, int(run.position[-1]) + 2 - length, max(1, length // 2))
    windows, used = [], []
    for start in starts:
        inside = (run.position >= start) & (run.position < start + length)
        if inside.sum() > length / 2:
            windows.append(correlation(run.data[inside])[structure.pairs])
            used.append(start)
    if len(windows) < 2:
        return np.zeros(0)
    disjoint = np.triu(np.abs(np.subtract.outer(used, used)) >= length)
    correlations: Array = correlation(np.array(windows).T)[disjoint]
    return correlations[np.isfinite(correlations)]


def _time_features(run: ObservedRun, strength: Array, tr: float) -> dict[str, float]:
    """Return the features of the course of the signals; ``strength`` is mean FC by region."""
    series = _fill_gaps(run)
    features = _spectral_features(series, tr) | _lagged_features(run, strength)
    shared = run.data.mean(axis=1)
    analytic = hilbert(series, axis=0)
    envelope = np.abs(analytic)
    order = np.abs((analytic / np.maximum(envelope, 1e-12)).mean(axis=1))
    kurtosis = (run.data**4).mean(axis=0) - 3
    return features | {
        "global_sd": float(shared.std()),
        "global_autocorrelation": _lagged_r(shared, run.position),
        **_global_powers(series.mean(axis=1), tr),
        "synchrony": float(order.mean()),
        "metastability": float(order.std()),
        "envelope_cv": float((envelope.std(axis=0) / envelope.mean(axis=0)).mean()),
        "kurtosis": float(kurtosis.mean()),
        "kurtosis_sd": float(kurtosis.std()),
    }


def _spectral_features(series: Array, tr: float) -> dict[str, float]:
    power: Array = np.abs(np.fft.rfft(series, axis=0)[1:]) ** 2
    power /= power.sum(axis=0)
    frequency: Array = np.asarray(np.fft.rfftfreq(len(series), tr))[1:, None]
    centroid = (frequency * power).sum(axis=0)
    bandwidth = np.sqrt(((frequency - centroid) ** 2 * power).sum(axis=0))
    shares = _band_shares(power.mean(axis=1), frequency[:, 0], _BANDS)
    features = {f"power_{low:g}_{high:g}": share for (low, high), share in shares.items()}
    return features | {"centroid": float(centroid.mean()), "centroid_sd": float(centroid.std()),
                       "bandwidth": float(bandwidth.mean())}  # fmt: skip


def _global_powers(shared: Array, tr: float) -> dict[str, float]:
    power = np.abs(np.fft.rfft(shared)[1:]) ** 2
    frequency: Array = np.asarray(np.fft.rfftfreq(len(shared), tr))[1:]
    shares = _band_shares(power / power.sum(), frequency, _GLOBAL_BANDS)
    return {f"global_power_{low:g}_{high:g}": share for (low, high), share in shares.items()}


def _band_shares(
    power: Array, frequency: Array, bands: Sequence[tuple[float, float]]
) -> dict[tuple[float, float], float]:
    """Return the power in each band; 0 in those above the highest frequency."""
    return {
        (low, high): float(power[(frequency >= low) & (frequency < high)].sum())
        for low, high in bands
    }


def _lagged_features(run: ObservedRun, strength: Array) -> dict[str, float]:
    features = {}
    first = np.zeros(0)
    for lag in range(1, _N_LAGS + 1):
        earlier, later = _lagged_pairs(run.position, lag)
        autocorrelation = (run.data[earlier] * run.data[later]).mean(axis=0)
        first = autocorrelation if lag == 1 else first
        features[f"autocorrelation{lag}"] = float(autocorrelation.mean())
        features[f"autocorrelation{lag}_sd"] = float(autocorrelation.std())
    earlier, later = _lagged_pairs(run.position, 1)
    lagged = run.data[earlier].T @ run.data[later] / len(earlier)
    off = ~np.eye(len(lagged), dtype=bool)
    return features | {
        "autocorrelation_strength_r": _r(first, strength),
        "lagged_mean": float(lagged[off].mean()),
        "lagged_asymmetry": float(np.linalg.norm(lagged - lagged.T) / np.linalg.norm(lagged)),
    }


def _lagged_pairs(position: Index, lag: int) -> tuple[Index, Index]:
    """Return the indices of kept samples that are ``lag`` samples apart."""
    later = np.searchsorted(position, position + lag)
    earlier = np.flatnonzero(later < len(position))
    matched = earlier[position[later[earlier]] == position[earlier] + lag]
    return matched, later[matched]


def _lagged_r(series: Array, position: Index) -> float:
    earlier, later = _lagged_pairs(position, 1)
    return _r(series[earlier], series[later])


def _fill_gaps(run: ObservedRun) -> Array:
    """Return the signals at all samples from the first to the last, interpolated in gaps."""
    first, last = int(run.position[0]), int(run.position[-1])
    if last - first + 1 == len(run.position):
        return run.data
    samples = np.arange(first, last + 1)
    return np.column_stack([np.interp(samples, run.position, column) for column in run.data.T])


def _r(one: Array, other: Array) -> float:
    """Return Pearson's correlation; NaN where one does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _catch22_names() -> tuple[str, ...]:
    return tuple(f"catch22_{name}{part}" for name in CATCH22 for part in ("", "_sd"))


def _catch22_features(runs: Sequence[ObservedRun]) -> list[float]:
    """Return the mean and the SD over regions of the 22 features of the longest run."""
    longest = _fill_gaps(max(runs, key=lambda run: len(run.data)))
    if len(longest) < SHORTEST:
        return [float("nan")] * (2 * len(CATCH22))
    rows = compute_catch22(longest)
    return np.column_stack([rows.mean(axis=0), rows.std(axis=0)]).ravel().tolist()
