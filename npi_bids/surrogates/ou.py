"""Multivariate Ornstein-Uhlenbeck process: linear dynamics in continuous time, sampled every TR.

The innovations of a process with independent noise are informative about its connections too,
because the noise of one region reaches the others before the next sample is taken; a VAR discards
this information.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, NotRequired, TypedDict

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate, TrainLog, TrainSettings
from npi_bids.surrogates.fixed_precision import FixedPrecision
from npi_bids.surrogates.ou_errors import transition_errors
from npi_bids.surrogates.ou_model_selection import Choices, ChoicesFields, choose_model, make_pairs
from npi_bids.surrogates.ou_process import FULL, OU, ROUGH, Effort, fit_ou, second_moments
from npi_bids.surrogates.stationary import filtered_correlation
from npi_bids.surrogates.var import VAR
from npi_bids.surrogates.windows import region_units, reverse_time, standardise


class MOUFields(TypedDict):
    """Fields that loading an :class:`MOU` requires besides the tensors."""

    form: Literal["mou"]
    penalty: float
    choices: ChoicesFields
    around_group: NotRequired[bool]


@dataclass(frozen=True, slots=True, eq=False)
class MOU(VAR):
    """A VAR whose weights come from an Ornstein-Uhlenbeck process.

    Attributes
    ----------
    process
        The process in z-scored units.
    choices
        Whitening, memory and precisions chosen from the data.
    scale
        Shape (n_regions,); standard deviation of each region.
    around_group
        Whether the prior is centred at the process of a group, self-connections included.
    """

    process: OU
    choices: Choices
    scale: Array
    around_group: bool = False

    def tensors(self) -> dict[str, Array]:
        """Return weights, drift and diffusion by name."""
        return {
            "weights": self.weights,
            "offset": self.offset,
            "drift": self.process.drift,
            "diffusion": self.process.diffusion,
            "scale": self.scale,
        }

    def fields(self) -> dict[str, object]:
        """Return penalty, choices, and where the prior is centred."""
        fields = {"form": "mou", "penalty": self.penalty, "choices": asdict(self.choices)}
        return fields | {"around_group": self.around_group}

    @property
    def free_lags(self) -> int:
        """Number of lags with fitted weights between regions."""
        return 1

    def noise_covariance(self) -> Array:
        """Return the covariance of the innovations, shape (n_regions, n_regions)."""
        covariance: Array = self.process.innovation * np.outer(self.scale, self.scale)
        return (covariance + covariance.T) / 2

    def stationary_correlation(self) -> Array | None:
        """Return the correlations of the signals, with whitening and memory put back."""
        correlation = filtered_correlation(
            self.process.transition,
            self.process.innovation,
            whitening=self.choices.whitening,
            memory=self.choices.memory,
        )
        return VAR.stationary_correlation(self) if correlation is None else correlation

    def with_precision(
        self, windows: Windows, precision: FixedPrecision, *, reverse: bool = False
    ) -> MOU:
        """Return the process fitted from scratch with a fixed prior, and the same choices."""
        fixed = precision.of_drift(len(windows))
        choices = replace(self.choices, precision=fixed, concentration=0.0)
        windows = reverse_time(windows) if reverse else windows
        return fit_with_choices(windows, choices, effort=ROUGH)

    def weight_errors(self, windows: Windows) -> Array:
        """Return the standard errors of the most recent weights, shape (source, target).

        Posterior standard deviations (:mod:`~npi_bids.surrogates.ou_errors`).
        """
        standardised = standardise(windows, (windows.target.mean(axis=0), self.scale))
        moments = second_moments(*make_pairs(standardised, self.choices))
        errors = transition_errors(
            self.process,
            moments,
            self.choices.precision,
            self.choices.pair_variances(moments),
            around_group=self.around_group,
            delay_doubt=self.choices.delay_doubt,
        )
        scaled: Array = errors * self.scale[None, :] / self.scale[:, None]
        return scaled


def load_mou(tensors: Mapping[str, Array], fields: MOUFields) -> MOU:
    """Restore a process fitted by :func:`fit_mou`."""
    return MOU(
        tensors["weights"],
        tensors["offset"],
        OU(tensors["drift"], tensors["diffusion"]),
        Choices.from_fields(fields["choices"]),
        tensors["scale"],
        around_group=fields.get("around_group", False),
        penalty=float(fields["penalty"]),
    )


def fit_mou(
    train: Windows, valid: Windows, settings: TrainSettings, like: Surrogate | None = None
) -> tuple[Surrogate, TrainLog]:
    """Fit by maximum a posteriori, with all choices made on held-out stretches of ``train``.

    The prior is Gaussian with two precisions. Their *ratio* is that of the lagged evidence for the
    two parts (:func:`~npi_bids.surrogates.lagged_evidence.lagged_evidence`), whose null does not
    depend on the residuals being white; their *size* is the one of lowest held-out error. The
    prior variance of a pair of regions follows its partial correlation if this lowers the held-out
    error (:mod:`~npi_bids.surrogates.pair_prior`). Where hardly anything of a sample is predicted,
    the *size* is that of highest held-out likelihood, and all pairs have the same variance. If
    neither part has any lagged evidence, interactions are instantaneous at this sampling rate;
    then the smooth autoregression common to all regions (haemodynamics) is removed first
    (``--whitening``). Otherwise regions may have a
    memory of their own earlier samples, if this lowers the held-out error.

    Parameters
    ----------
    train, valid
        Training windows, and held-out windows (may be empty), which only enter the log.
    settings
        ``n_lags - 1`` earlier samples serve whitening or memory; ``whitening`` is auto, on or off.
    like
        A fit of the same subject whose choices are kept; with more windows, only the start.

    Returns
    -------
    MOU
        The fit, with ``n_lags`` lags.
    TrainLog
        Errors, and the choices by name.
    """
    previous = like if isinstance(like, MOU) else None
    model, details = fit_process(train, settings.whitening, previous)
    return model, TrainLog((model.mse(train),), (model.mse(valid),), details)


def fit_process(
    windows: Windows, whitening: str, like: MOU | None = None
) -> tuple[MOU, tuple[tuple[str, float], ...]]:
    """Fit the process; also return the choices by name.

    Parameters
    ----------
    windows
        Windows to fit.
    whitening
        ``auto``, ``on`` or ``off``.
    like
        A fit whose choices are kept; with more windows than it had, precisions are chosen again.
    """
    reuse = like is not None and len(windows) <= like.choices.n_windows
    previous = like.choices if like else None
    choices = previous if previous and reuse else choose_process(windows, whitening, previous)
    # Parts of the data are fitted from scratch: an uninformative fit stays at its start, and parts
    # that start from the fit to all data would agree spuriously.
    start = like.process if like and not reuse else None
    return fit_with_choices(windows, choices, start), describe_choices(choices)


def choose_process(windows: Windows, whitening: str, previous: Choices | None = None) -> Choices:
    """Make the choices of a process, on z-scored signals.

    Parameters
    ----------
    windows
        Windows to fit.
    whitening
        ``auto``, ``on`` or ``off``.
    previous
        Choices made on part of the windows, if any.
    """
    return choose_model(standardise(windows), whitening, previous)


def describe_choices(choices: Choices) -> tuple[tuple[str, float], ...]:
    """Return the choices by name, for the training log."""
    return (
        ("precision_symmetric", choices.precision[0]),
        ("precision_antisymmetric", choices.precision[1]),
        ("prior_concentration", choices.concentration),
        ("held_out_error", choices.error),
        ("evidence_symmetric", choices.evidence.symmetric),
        ("evidence_antisymmetric", choices.evidence.antisymmetric),
        ("whitening_order", float(len(choices.whitening))),
        ("memory_order", float(len(choices.memory))),
    )


def fit_with_choices(
    windows: Windows, choices: Choices, start: OU | None = None, *, effort: Effort = FULL
) -> MOU:
    """Fit the process with choices that were made before.

    Parameters
    ----------
    windows
        Windows to fit.
    choices
        Whitening, memory and precisions.
    start
        Initial process, of z-scored signals; uncoupled regions by default.
    effort
        When the fit ends.
    """
    mean, scale = region_units(windows)
    past, future = make_pairs(standardise(windows, (mean, scale)), choices)
    moments = second_moments(past, future)
    process = fit_ou(
        moments,
        choices.precision,
        start,
        variances=choices.pair_variances(moments),
        effort=effort,
    )
    weights = unroll(process.transition, choices, windows.n_lags)
    weights = weights * scale[None, None, :] / scale[None, :, None]
    offset: Array = mean - np.einsum("s,lst->t", mean, weights)
    return MOU(weights, offset, process, choices, scale)


def unroll(transition: Array, choices: Choices, n_lags: int) -> Array:
    """Return the weights of all lags, shape (n_lags, source, target), most recent last."""
    n_regions = len(transition)
    weights = np.zeros((n_lags, n_regions, n_regions))
    weights[-1] = transition
    for lag, weight in enumerate(choices.whitening, start=1):
        weights[-lag] += weight * np.eye(n_regions)
        weights[-lag - 1] -= weight * transition
    for lag, weight in enumerate(choices.memory, start=2):
        weights[-lag] += weight * np.eye(n_regions)
    return weights
