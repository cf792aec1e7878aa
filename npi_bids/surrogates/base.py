"""What a surrogate is, which ones there are, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from npi_bids.errors import (
    SettingsError,
)
from npi_bids.records import Array, Windows
from npi_bids.settings import check_options, option
from npi_bids.wording import join_words

# The one list of surrogates: surrogates/<name>.py holds fit_<name>. They are imported when they
# are asked for, because the command line reads this list and must not load torch.
SURROGATES = ("hybrid", "mou", "var", "mlp", "cnn", "rnn")
# A whole-brain model is no one-step predictor: it is fitted by npi_bids.simulate instead.
WHOLE_BRAIN = "wbm"
# The released settings of Luo et al. (2025): lags, epochs and step size differ between their
# simulations and their analysis of the Human Connectome Project.
_LUO2025: dict[str, Any] = {
    "n_lags": 3,
    "batch_size": 50,
    "weight_decay": 5e-5,
    "var_fit": "adam",
    "refit": False,
}
PRESETS: dict[str, dict[str, Any]] = {
    "luo2025": {"surrogate": "mlp", "epochs": 80, "learning_rate": 2e-4, **_LUO2025},
    "luo2025-hcp": {"surrogate": "mlp", "epochs": 100, "learning_rate": 1e-3, **_LUO2025},
}
# Where each surrogate is defined.
_MODULES = {
    "hybrid": "hybrid", "mou": "ou", "var": "var", "mlp": "networks", "cnn": "networks",
    "rnn": "networks",
}  # fmt: skip
# Past samples that a surrogate reads where the user does not say; three elsewhere, as published.
# The Ornstein-Uhlenbeck process uses the last one; the others serve whitening and own memory.
_N_LAGS = {"hybrid": 4, "mou": 4}


class Surrogate(Protocol):
    """A fitted one-step-ahead model of regional dynamics."""

    @property
    def n_lags(self) -> int:
        """Number of past samples the model reads."""

    @property
    def n_regions(self) -> int:
        """Number of regions the model predicts."""

    def step(self, history: Array) -> Array:
        """Predict the next sample.

        Parameters
        ----------
        history
            Shape (n_windows, n_lags, n_regions).

        Returns
        -------
        Array
            Shape (n_windows, n_regions). Each row depends on its own window alone.
        """

    def tensors(self) -> dict[str, Array]:
        """Return the fitted numbers by name, for storage."""


@runtime_checkable
class FastPerturbation(Protocol):
    """A surrogate that answers perturbations faster than one call of ``step`` per region."""

    def perturbed_change(self, history: Array, strength: float) -> Array:
        """Return the mean change of the prediction, shape (source, target)."""

    def mean_jacobian(self, history: Array) -> Array:
        """Return the mean derivative by the most recent sample, shape (source, target)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How to train a surrogate.

    ``None`` means what fits the surrogate; :func:`resolve` says what that is.
    """

    surrogate: str = option(
        "hybrid",
        "model of the dynamics: mou (Ornstein-Uhlenbeck), var (vector autoregression), mlp, cnn, "
        "rnn, hybrid (the better of mou and var, plus networks where they predict better), or "
        "wbm (whole-brain model on structural connectivity)",
        choices=(*SURROGATES, WHOLE_BRAIN),
    )
    n_lags: int | None = option(
        None,
        "past samples that the surrogate reads (default: 4 for hybrid and mou, 1 for var fitted "
        "by ridge, 3 otherwise)",
        above=0,
        flag="lags",
        metavar="N",
    )
    hidden: int | None = option(
        None,
        "units of the first hidden layer (default, as published: 2 per region for mlp, 3 for "
        "cnn, 2.5 for rnn)",
        above=0,
        metavar="N",
    )
    epochs: int | None = option(
        None,
        "maximum number of passes over the training windows (default: 200 for hybrid, 80 "
        "otherwise)",
        above=0,
        metavar="N",
    )
    batch_size: int = option(50, "windows per training step", above=0, metavar="N")
    learning_rate: float | None = option(
        None,
        "learning rate of Adam (default: 1e-3 for hybrid, 2e-4 otherwise)",
        above=0,
        metavar="X",
    )
    weight_decay: float = option(5e-5, "L2 penalty of Adam", at_least=0, metavar="X")
    n_seeds: int | None = option(
        None,
        "networks with different seeds to average (default: 4 for hybrid, 1 otherwise)",
        above=0,
        metavar="N",
    )
    patience: int | None = option(
        None,
        "stop training after this many epochs without a lower held-out error, and keep the best "
        "epoch (default: 10 for hybrid, never otherwise)",
        at_least=0,
        metavar="N",
    )
    skip: bool = option(
        False, "mlp, cnn, rnn: add a linear skip connection from input to prediction"
    )
    var_fit: str = option(
        "ridge",
        "var: fit by ridge regression (penalty by leave-one-out) or adam (as published)",
        choices=("ridge", "adam"),
    )
    whitening: str = option(
        "auto",
        "mou: remove the autoregression that all regions share (haemodynamics) before the fit; "
        "auto: only where past samples of other regions do not improve prediction",
        choices=("auto", "on", "off"),
    )
    train_fraction: float = option(
        0.8,
        "fraction of the windows, first in time, used for training",
        above=0,
        below=1,
        metavar="X",
    )
    refit: bool = option(
        True, "refit on all windows after validation on held-out windows", metavar="yes|no"
    )
    seed: int = option(
        0,
        "seed of initial weights, batches and free runs",
        at_least=0,
        flag="random-seed",
        metavar="N",
    )
    device: str = option(
        "auto", "device for PyTorch: auto, cpu, cuda, cuda:1, ...", metavar="NAME", result=False
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class TrainLog:
    """What training saw: mean squared errors per epoch, on training and held-out windows.

    ``details`` holds what else the fit decided, by name: the ridge penalty, for example;
    ``best_epoch``, counted from 1, is the one whose weights were kept.
    """

    train: tuple[float, ...]
    valid: tuple[float, ...]
    details: tuple[tuple[str, float], ...] = ()
    best_epoch: int = 1


def mean_log(logs: Sequence[TrainLog]) -> TrainLog:
    """Return the mean errors of several networks, as long as the shortest of their logs."""
    n_epochs = min(len(log.train) for log in logs)
    mean = [
        tuple(sum(side[epoch] for side in sides) / len(logs) for epoch in range(n_epochs))
        for sides in ([log.train for log in logs], [log.valid for log in logs])
    ]
    best = max(log.best_epoch for log in logs)
    return TrainLog(mean[0], mean[1], best_epoch=min(best, n_epochs))


# ``like``, the last one, is an earlier fit of the same subject (or None): what it chose from the
# data (penalties, orders, number of epochs) is kept, which makes fits of parts comparable.
FitSurrogate = Callable[
    [Windows, Windows, TrainSettings, Surrogate | None], tuple[Surrogate, TrainLog]
]


def surrogates() -> dict[str, FitSurrogate]:
    """Return the fit function of each surrogate, by name."""
    return {
        name: getattr(import_module(f"npi_bids.surrogates.{_MODULES[name]}"), f"fit_{name}")
        for name in SURROGATES
    }


def resolve(settings: TrainSettings) -> TrainSettings:
    """Return the settings with what fits the surrogate, where the user gave nothing.

    >>> resolve(TrainSettings(surrogate="mlp")).n_lags, resolve(TrainSettings()).n_lags
    (3, 4)
    """
    hybrid = settings.surrogate == "hybrid"
    ridge = settings.surrogate == "var" and settings.var_fit == "ridge"
    fitting: dict[str, Any] = {
        "n_lags": 1 if ridge else _N_LAGS.get(settings.surrogate, 3),
        "epochs": 200 if hybrid else 80,
        "learning_rate": 1e-3 if hybrid else 2e-4,
        "n_seeds": 4 if hybrid else 1,
        "patience": 10 if hybrid else 0,
    }
    wanted = {name: value for name, value in fitting.items() if getattr(settings, name) is None}
    return replace(settings, **wanted) if wanted else settings


def preset(name: str, **chosen: Any) -> TrainSettings:
    """Return the settings of a preset; explicit settings override it.

    >>> preset("luo2025", surrogate="rnn").learning_rate
    0.0002

    Raises
    ------
    SettingsError
        There is no preset of that name.
    """
    if name not in PRESETS:
        raise SettingsError(
            f"Unknown preset {name!r}; choose one of {join_words(sorted(PRESETS))}."
        )
    return TrainSettings(**{**PRESETS[name], **chosen})
