"""Neural posterior estimation by an ensemble of masked autoregressive flows.

The flows are those of ``sbi`` (Tejero-Cantero et al. 2020, doi:10.21105/joss.02505; neural
posterior estimation: Papamakarios and Murray 2016; masked autoregressive flows: Papamakarios et
al. 2017), trained on parameters on the real line, so that no sample falls outside the prior.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.inverse.priors import from_real_line, to_real_line
from npi_bids.records import Array

if TYPE_CHECKING:
    import torch

_logger = logging.getLogger(__name__)
_LEARNING_RATE, _MOST_EPOCHS = 1e-3, 400
_STEPS_PER_EPOCH = 20  # about; small batches where there are few simulations
_BATCH_SIZES = (50, 100)
# A member is dropped if its loss is this much above that of the best (nats).
_WORST_LOSS = 1.0
_ESTIMATE_SCALE = 4.0  # of estimates, whose range is 1, beside normal scores
_N_COMPONENTS = 10  # of the normal scores; flows that are given all of them overfit
# Kernel ridge regression: width of the kernel, candidate penalties, quantiles of each feature.
_KERNEL, _N_KNOTS = 0.5, 401
_PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def check_sbi() -> None:
    """Refuse to go on without the optional packages.

    Raises
    ------
    SettingsError
        ``sbi`` cannot be imported.
    """
    from importlib.util import find_spec

    missing = [name for name in ("sbi", "six") if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"Inference of model parameters needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed; "
            "pip install 'npi-bids[inference]'."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Summaries:
    """What the flows are given: estimates by kernel ridge regression, and components of features.

    The posterior mean of the parameters is a good summary statistic (semi-automatic approximate
    Bayesian computation, Fearnhead and Prangle 2012), and kernel ridge regression finds it from
    fewer simulations than a flow needs.

    Attributes
    ----------
    knots
        Shape (n_knots, n_features); quantiles of each feature, by which it is mapped to normal
        scores, so that no outlier dominates a flow.
    support
        Shape (n_simulations, n_features); normal scores of the simulations.
    weights
        Shape (n_simulations, n_parameters); weights of the regression on positions minus .5.
    components
        Shape (n_features, n_components); leading principal axes of the normal scores.
    """

    knots: Array
    support: Array
    weights: Array
    components: Array

    def apply(self, features: Array) -> NDArray[np.float32]:
        """Return the summaries of features of shape (n, n_features)."""
        scores = self.normal_scores(features)
        return _join_summaries(
            _kernel(scores, self.support) @ self.weights, scores @ self.components
        )

    def estimate(self, features: Array) -> Array:
        """Return the estimated positions of features of shape (n, n_features)."""
        return self.read_estimates(self.apply(features))

    def read_estimates(self, summaries: NDArray[np.float32]) -> Array:
        """Return the estimated positions in summaries."""
        n_parameters = self.weights.shape[1]
        estimates: Array = summaries[:, :n_parameters].astype(np.float64) / _ESTIMATE_SCALE + 0.5
        return estimates

    def normal_scores(self, features: Array) -> Array:
        """Return the features as normal scores; those beyond all simulations get the largest."""
        return _normal_scores(features, self.knots)


def fit_summaries(positions: Array, features: Array) -> tuple[Summaries, NDArray[np.float32]]:
    """Fit the summaries to simulations, and return those of the simulations themselves.

    Every simulation is summarised by a regression that was fitted without it, as a subject is;
    the penalty of each parameter has the smallest error of these.

    Parameters
    ----------
    positions
        Shape (n_simulations, n_parameters); positions in the prior.
    features
        Shape (n_simulations, n_features).
    """
    levels = _normal_levels()
    knots: Array = np.quantile(features, levels, axis=0)
    scores = _normal_scores(features, knots)
    values, vectors = np.linalg.eigh(_kernel(scores, scores))
    target = positions - 0.5
    rotated = vectors.T @ target
    weights, estimates = np.zeros_like(target), np.zeros_like(target)
    least = np.full(target.shape[1], np.inf)
    for penalty in _PENALTIES:
        inverse = 1 / (np.maximum(values, 0) + penalty)
        candidate = vectors @ (inverse[:, None] * rotated)
        left_out = candidate / (vectors**2 @ inverse)[:, None]  # error without the simulation
        error = (left_out**2).mean(axis=0)
        better = error < least
        least[better] = error[better]
        weights[:, better] = candidate[:, better]
        estimates[:, better] = (target - left_out)[:, better]
    components = _principal_axes(scores)
    summaries = Summaries(knots, scores, weights, components)
    return summaries, _join_summaries(estimates, scores @ components)


def _principal_axes(scores: Array) -> Array:
    """Return the leading principal axes of normal scores, whose mean is 0."""
    _, axes = np.linalg.eigh(scores.T @ scores)
    leading: Array = axes[:, ::-1][:, :_N_COMPONENTS]
    return leading


def _kernel(one: Array, other: Array) -> Array:
    """Return a Gaussian kernel whose width grows with the number of features."""
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    kernel: Array = np.exp(-_KERNEL * np.maximum(squared, 0) / one.shape[1])
    return kernel


def _normal_levels() -> Array:
    return (np.arange(_N_KNOTS) + 0.5) / _N_KNOTS


def _normal_scores(features: Array, knots: Array) -> Array:
    normal = ndtri(_normal_levels())
    columns = [np.interp(f, k, normal) for f, k in zip(features.T, knots.T, strict=True)]
    return np.column_stack(columns)


def _join_summaries(estimates: Array, components: Array) -> NDArray[np.float32]:
    joined: NDArray[np.float32] = np.column_stack(
        [_ESTIMATE_SCALE * estimates, 0.5 * components]
    ).astype(np.float32)
    return joined


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """An ensemble of flows.

    Attributes
    ----------
    members
        Weights of the flows that are used, by name.
    losses
        Loss of every flow that was trained: minus its mean log density of the truth (nats).
    summaries
        What the flows are given.
    n_parameters
        Number of parameters.
    """

    members: tuple[Mapping[str, Array], ...]
    losses: tuple[float, ...]
    summaries: Summaries
    n_parameters: int

    def sample(self, features: Array, n_samples: int, seed: int) -> Array:
        """Draw from the posteriors of some subjects.

        Parameters
        ----------
        features
            Shape (n_subjects, n_features).
        n_samples
            Samples of each subject, divided among the members.
        seed
            Seed of the samples.

        Returns
        -------
        Array
            Positions in the prior, shape (n_samples, n_subjects, n_parameters).
        """
        import torch

        per_member = -(-n_samples // len(self.members))
        condition = torch.from_numpy(self.summaries.apply(features))
        parts = []
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for weights in self.members:
                flow = _load_flow(weights, self.n_parameters, condition.shape[1])
                parts.append(flow.sample((per_member,), condition=condition).numpy())
        # Members take turns, so that any part of the samples has its share of each.
        together = np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])[:n_samples]
        return from_real_line(together.astype(np.float64))

    def tensors(self) -> dict[str, Array]:
        """Return everything as arrays by name."""
        named = {
            f"member{number}.{key}": value
            for number, weights in enumerate(self.members)
            for key, value in weights.items()
        }
        return named | {
            "losses": np.array(self.losses),
            "knots": self.summaries.knots,
            "support": self.summaries.support,
            "weights": self.summaries.weights,
            "components": self.summaries.components,
            "n_parameters": np.array([self.n_parameters]),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> Ensemble:
        """Return the ensemble of the output of :meth:`tensors`."""
        members: dict[str, dict[str, Array]] = {}
        for key, value in tensors.items():
            owner, _, name = key.partition(".")
            if owner.startswith("member"):
                members.setdefault(owner, {})[name] = value
        ordered = sorted(members, key=lambda owner: int(owner.removeprefix("member")))
        return cls(
            tuple(members[owner] for owner in ordered),
            tuple(map(float, tensors["losses"])),
            Summaries(*(tensors[field.name] for field in fields(Summaries))),
            int(tensors["n_parameters"][0]),
        )


def train_ensemble(positions: Array, features: Array, *, n_members: int, seed: int) -> Ensemble:
    """Train an ensemble of flows on simulations.

    Parameters
    ----------
    positions
        Shape (n_simulations, n_parameters); positions in the prior.
    features
        Shape (n_simulations, n_features).
    n_members
        Number of flows. A flow whose loss is more than 1 nat above that of the best is dropped as
        failed.
    seed
        Seed of initial weights, of what is held out for validation, and of the order.

    Raises
    ------
    SettingsError
        ``sbi`` is not installed.
    SurrogateError
        All flows failed.
    """
    check_sbi()
    summaries, condition = fit_summaries(positions, features)
    target = to_real_line(positions).astype(np.float32)
    trained = [_train_flow(target, condition, seed + number) for number in range(n_members)]
    losses = np.array([loss for _, loss in trained])
    if not np.isfinite(losses).any():
        raise SurrogateError("All flows of the ensemble failed; check the features.")
    kept = losses <= np.nanmin(losses) + _WORST_LOSS
    if not kept.all():
        _logger.warning("%d of %d flows failed and are dropped", int((~kept).sum()), n_members)
    members = tuple(weights for (weights, _), keep in zip(trained, kept, strict=True) if keep)
    return Ensemble(members, tuple(map(float, losses)), summaries, positions.shape[1])


class _NoTracker:
    """Keeps sbi from writing logs of the training into the current folder."""

    log_dir = None

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Ignore a metric."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Ignore metrics."""

    def log_params(self, params: dict[str, Any]) -> None:
        """Ignore parameters."""

    def add_figure(self, name: str, figure: object, step: int | None = None) -> None:
        """Ignore a figure."""

    def flush(self) -> None:
        """Do nothing."""


def _train_flow(
    target: NDArray[np.float32], features: NDArray[np.float32], seed: int
) -> tuple[dict[str, Array], float]:
    """Return the weights of one flow and its loss: minus the mean log density of the truth.

    The loss is that of all simulations; validation losses of flows with other simulations held
    out cannot be compared.
    """
    import torch
    from sbi.inference import NPE

    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        redirect_stdout(StringIO()),  # sbi prints a line about the convergence
    ):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        trainer = NPE(
            None, density_estimator=_builder(), show_progress_bars=False, tracker=_NoTracker()
        )
        truth, condition = torch.from_numpy(target), torch.from_numpy(features)
        trainer.append_simulations(truth, condition)
        flow = trainer.train(
            training_batch_size=int(np.clip(len(target) // _STEPS_PER_EPOCH, *_BATCH_SIZES)),
            learning_rate=_LEARNING_RATE,
            max_num_epochs=_MOST_EPOCHS,
        )
        flow.eval()
        with torch.no_grad():
            loss = -float(flow.log_prob(truth[None], condition).mean())
    weights = {name: value.numpy().copy() for name, value in flow.state_dict().items()}
    return weights, loss


def _builder() -> Any:
    from sbi.neural_nets import posterior_nn

    return posterior_nn(model="maf", hidden_features=50, num_transforms=5)


def _load_flow(weights: Mapping[str, Array], n_parameters: int, n_features: int) -> Any:
    """Return a flow with some weights; those it is built with are replaced."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.random.fork_rng(devices=[]):
            flow = _builder()(torch.randn(10, n_parameters), torch.randn(10, n_features))
    tensors: dict[str, torch.Tensor] = {
        name: torch.from_numpy(np.array(value)) for name, value in weights.items()
    }
    flow.load_state_dict(tensors)
    flow.eval()
    return flow
