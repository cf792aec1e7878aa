"""A linear surrogate with a linear correction, which its prior had taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from npi_bids.records import Array, Windows
from npi_bids.surrogates.base import Surrogate
from npi_bids.surrogates.fixed_precision import FixedPrecision
from npi_bids.surrogates.ou import MOUFields
from npi_bids.surrogates.residual_networks import GradientFlow, subtract_prediction
from npi_bids.surrogates.var import VAR, VARFields

_CORRECTED = "corrected_weights"  # name of the tensor


class CorrectedFields(TypedDict):
    """Fields that loading a :class:`Corrected` requires besides the tensors."""

    form: Literal["corrected"]
    linear: MOUFields | VARFields
    time: float


@dataclass(frozen=True, slots=True, eq=False)
class Corrected(VAR):
    """A linear surrogate and an early-stopped linear map of its residual, added.

    ``weights`` are those of both.

    Attributes
    ----------
    base
        The linear surrogate, an Ornstein-Uhlenbeck process or a VAR.
    time
        Time at which the gradient flow of the correction was stopped.
    """

    base: VAR
    time: float

    @property
    def correction(self) -> Array:
        """Weights of the most recent sample beyond those of the base, shape (source, target)."""
        correction: Array = self.weights[-1] - self.base.weights[-1]
        return correction

    @property
    def free_lags(self) -> int:
        """Number of lags with fitted weights between regions."""
        return self.base.free_lags

    def tensors(self) -> dict[str, Array]:
        """Return all fitted numbers by name: those of the base, and the corrected weights."""
        return self.base.tensors() | {_CORRECTED: self.weights[-1]}

    def fields(self) -> dict[str, object]:
        """Return the fields of the base, and the time of the correction."""
        return {"form": "corrected", "linear": self.base.fields(), "time": self.time}

    def noise_covariance(self) -> Array | None:
        """Return the covariance of the prediction errors of the base."""
        return self.base.noise_covariance()

    def weight_errors(self, windows: Windows) -> Array:
        """Return the standard errors of the most recent weights, shape (source, target).

        Those of the base, and the sampling errors of the correction, as if independent.
        """
        errors = GradientFlow(subtract_prediction(self.base, windows)).errors(self.time)
        total: Array = np.sqrt(self.base.weight_errors(windows) ** 2 + errors**2)
        return total

    def with_precision(
        self, windows: Windows, precision: FixedPrecision, *, reverse: bool = False
    ) -> VAR:
        """Return the base fitted with a fixed prior; the correction is one of its prior."""
        return self.base.with_precision(windows, precision, reverse=reverse)


def fit_corrected(base: VAR, windows: Windows, time: float) -> Corrected:
    """Fit the correction of a linear surrogate to its residual, stopped at a time."""
    twin = GradientFlow(subtract_prediction(base, windows)).at(time)
    weights = base.weights.copy()
    weights[-1] += twin.weights
    return Corrected(weights, base.offset, base, time, penalty=base.penalty)


def load_corrected(
    tensors: Mapping[str, Array],
    fields: CorrectedFields,
    load_linear: Callable[[Mapping[str, Array], MOUFields | VARFields], Surrogate],
) -> Corrected:
    """Restore a surrogate made by :func:`fit_corrected`."""
    base = load_linear(tensors, fields["linear"])
    if not isinstance(base, VAR):
        raise TypeError(f"The base of a correction is a {type(base).__name__}, not a VAR.")
    weights = base.weights.copy()
    weights[-1] = tensors[_CORRECTED]
    return Corrected(weights, base.offset, base, float(fields["time"]), penalty=base.penalty)
