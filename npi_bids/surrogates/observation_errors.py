"""What delays and widths of responses take away from the certainty of connections.

Laplace's approximation of the posterior of the process and its observation model. A parameter of
the response of region i multiplies row i of the expected cross-spectra ``S`` by a factor whose
logarithm has the derivative ``g_i(w)``, so that ``dS = g_i E_i S + h.c.``: ``iw`` for a delay, and
the conjugate slope of :func:`~npi_bids.surrogates.response_width.width_ratio` for a log width.
A sample informs two such parameters by half the trace of ``S^-1 dS_i S^-1 dS_j``, from which the
gain takes what all regions share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from npi_bids.records import Array
from npi_bids.surrogates.cross_spectra import Complex, adjoint
from npi_bids.surrogates.fitted_process import FittedModel
from npi_bids.surrogates.ou_errors import closed_form_variances
from npi_bids.surrogates.ou_process import OU

# Regions above which what delays and connections share is kept in single precision, and how many
# rows of it are worked on at a time: it has as many numbers as there are regions, to the third.
_LARGE_ATLAS, _BLOCK = 400, 16


def delay_slopes(model: FittedModel) -> Complex:
    """Return the derivatives of the log responses by the delays, in samples.

    Shape (1, n_bins, n_regions), as :func:`response_information` takes them.
    """
    slopes = np.repeat(1j * model.frequency[:, None], len(model.drift), axis=1)
    return slopes[None]


def response_information(
    model: FittedModel, precision: tuple[float, float], slopes: Complex
) -> Array:
    """Return the expected information on parameters of the responses, the drift profiled out.

    The Schur complement of the expected information on W under the prior, in the eigenbases of
    covariance and innovations.

    Parameters
    ----------
    model
        The fit.
    precision
        Precisions of the symmetric and the antisymmetric part of the relative drift.
    slopes
        Shape (n_kinds, n_bins, n_regions); derivative of the log response of each region by each
        of its parameters.

    Returns
    -------
    Array
        Shape (n_kinds * n_regions, n_kinds * n_regions); kind by kind. As if noise had been
        subtracted without error.
    """
    n_kinds, _, n = slopes.shape
    shared = _shared_information(model, slopes)
    mixed, by_transition, _ = _mixed_information(model, precision, slopes)
    information = shared.transpose(0, 2, 1, 3).reshape(n_kinds * n, n_kinds * n)
    for rows in _blocks(n):
        block = mixed[:, rows].reshape(n_kinds * n, -1)
        information = information - (block / by_transition[rows].ravel()) @ block.T
    curvature = information * model.n_samples
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    positive: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return positive


def _shared_information(model: FittedModel, slopes: Complex) -> Array:
    """Return the information per sample, shape (n_kinds, n_kinds, n_regions, n_regions)."""
    u, n = model.share, len(model.drift)
    inverse = model.filter @ np.linalg.inv(model.innovation) @ adjoint(model.filter)
    coupled = u[:, None, None] * model.power * inverse.transpose(0, 2, 1)
    information = np.empty((len(slopes), len(slopes), n, n))
    for a, first in enumerate(slopes):
        for b, second in enumerate(slopes):
            information[a, b] = np.einsum("ki,kij,kj->ij", first, coupled, second.conj()).real
            information[a, b] += np.diag((u[:, None] * (first * second).real).sum(axis=0))
            information[a, b] -= 2 / n * (u[:, None] * first.real).T @ second.real
    return information


def _blocks(n: int) -> list[slice]:
    """Return slices over ``n`` rows, few enough at a time to fit into memory."""
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]


def _mixed_information(
    model: FittedModel, precision: tuple[float, float], slopes: Complex
) -> tuple[Array, Array, tuple[Array, Array]]:
    """Return the information between parameters and W, and on W, in the eigenbases of W's sides.

    Returns
    -------
    mixed
        Shape (n_kinds * n_regions, n_regions, n_regions): parameter, and both sides of W; per
        sample.
    by_transition
        Shape (n_regions, n_regions); information on W under the prior, per sample.
    bases
        Eigenbases of the sources and of the targets.
    """
    covariance = np.einsum("k,kij->ij", model.share, model.power.real)
    variances, to_source = np.linalg.eigh(covariance)
    noise_variances, to_target = np.linalg.eigh(model.innovation)
    n_kinds, _, n = slopes.shape
    dtype = np.float64 if n_kinds * n <= _LARGE_ATLAS else np.float32
    mixed = np.empty((n_kinds * n, n, n), dtype=dtype)
    bases = (to_source, to_target)
    for row, part in enumerate(_mixed_parts(model, slopes, bases)):
        mixed[row] = part
    rate = -float(np.diag(model.drift).mean())
    prior = math.sqrt(precision[0] * precision[1]) / model.n_samples
    prior = prior / math.exp(-2 * rate) / rate**2
    by_transition: Array = variances[:, None] / noise_variances + prior
    return mixed, by_transition, bases


def _mixed_parts(
    model: FittedModel, slopes: Complex, bases: tuple[Array, Array]
) -> Iterator[Array]:
    """Yield the information between each parameter and W, shape (n_regions, n_regions)."""
    to_source, to_target = bases
    n = len(to_source)
    # Both factors go into the eigenbases before their product, which has many more entries.
    source = model.power @ to_source
    target = np.conj(model.filter) @ np.linalg.inv(model.innovation) @ to_target
    for slope in slopes:
        weighted = model.share[:, None] * slope
        to_self = np.einsum("ki,kbi->ib", weighted.conj(), model.inverse).real @ to_target
        to_all = None  # what the gain takes
        if slope.real.any():
            to_all = np.einsum("ki,kba->iab", weighted.real, model.inverse.real)
        for i in range(n):
            scaled = weighted[:, i, None] * source[:, i]
            left = np.concatenate([scaled.real, -scaled.imag])
            right = np.concatenate([target[:, i].real, target[:, i].imag])
            part: Array = left.T @ right + np.outer(to_source[i], to_self[i])
            if to_all is not None:
                part -= 2 / n * to_source.T @ to_all[i] @ to_target
            yield part


def transition_errors(
    model: FittedModel,
    precision: tuple[float, float],
    slopes: Complex,
    covariance: Array,
) -> Array:
    """Return the standard errors of the transition.

    Lagged products and innovations inform each pair of entries, the prior adds its precision (as
    for the process without an observation model), and the uncertainty of the responses is added:
    to first order W changes with their parameters p by ``-H_WW^-1 H_Wp``.

    Parameters
    ----------
    model
        The fit.
    precision
        Precisions of the symmetric and the antisymmetric part of the relative drift.
    slopes
        As in :func:`response_information`; no kinds where the responses are known.
    covariance
        Shape (n_kinds * n_regions, n_kinds * n_regions); posterior covariance of the parameters.
    """
    variance = _variance_of_known_responses(model, precision)
    if covariance.any():
        mixed, by_transition, (to_source, to_target) = _mixed_information(model, precision, slopes)
        values, vectors = np.linalg.eigh(covariance)
        components = (vectors * np.sqrt(np.maximum(values, 0))).astype(mixed.dtype)
        for columns in _blocks(len(components)):
            shifts = np.tensordot(components[:, columns].T, mixed, axes=1) / by_transition
            variance = variance + ((to_source @ shifts @ to_target.T) ** 2).sum(axis=0)
    errors: Array = np.sqrt(variance)
    return errors


def _variance_of_known_responses(model: FittedModel, precision: tuple[float, float]) -> Array:
    scale = np.outer(np.diag(model.drift), np.diag(model.drift))
    even, odd = precision
    return closed_form_variances(
        OU(model.drift, model.diffusion),
        model.conditional_precision,
        np.diag(model.innovation),
        model.n_informative,
        (even / scale, odd / scale),
    )
