"""What a surrogate is, which ones there are, and how they are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from npi_bids.errors import SettingsError
from npi_bids.records import Array, Observation, Windows
from npi_bids.settings import check_options, option
from npi_bids.surrogates.families import (
    DEFAULTS,
    WHOLE_BRAIN,
    default_words,
    family,
    surrogate_names,
    surrogate_words,
)
from npi_bids.wording import join_words

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


class Abilities:
    """What a surrogate may know beyond its prediction; each default says that it does not.

    A family overrides what it can do, and everything else is worked out from ``step`` where that
    is possible, or reported as unknown.
    """

    __slots__ = ()

    @property
    def members(self) -> Sequence[Surrogate]:
        """Surrogates of an ensemble whose mean this one is; none where it is no ensemble."""
        return ()

    @property
    def linear_weights(self) -> Array | None:
        """Weights by which a linear surrogate predicts, whatever the state.

        Shape (n_lags, source, target), the most recent sample last; None where the effect of a
        perturbation depends on the state.
        """
        return None

    @property
    def observation(self) -> Observation | None:
        """How the regions are taken to show the state; None where signals are taken for it."""
        return None

    @property
    def region_delays(self) -> tuple[Array, Array] | None:
        """Delay with which each region shows its state, and its standard error, in samples.

        None where the surrogate allows for none.
        """
        return None

    @property
    def free_lags(self) -> int | None:
        """Lags whose weights between regions are fitted; None where all lags are."""
        return None

    def perturbed_change(self, history: Array, strength: float) -> Array | None:  # noqa: ARG002
        """Return the mean change of the prediction, shape (source, target).

        None where nothing is faster than one pass per region
        (:func:`~npi_bids.connectivity.perturbation.perturb_each`, to which this must be equal).
        """
        return None

    def mean_jacobian(self, history: Array) -> Array | None:  # noqa: ARG002
        """Return the mean derivative by the most recent sample, shape (source, target).

        None where it is not known in closed form.
        """
        return None

    def weight_errors(self, windows: Windows) -> Array | None:  # noqa: ARG002
        """Return standard errors of the change per unit of perturbation, shape (source, target).

        None where there is no closed form; ``--n-bootstrap`` gives them then.
        """
        return None

    def compute_on(self, device: str) -> None:
        """Move what torch computes with to a device, as ``--device`` names it."""

    def noise_covariance(self) -> Array | None:
        """Return the covariance of what the prediction leaves, shape (n_regions, n_regions).

        None where the dynamics are modelled but not their noise.
        """
        return None


class Surrogate(Abilities, ABC):
    """A fitted one-step-ahead model of regional dynamics.

    Attributes
    ----------
    n_lags, n_regions
        Number of past samples the model reads, and of regions it predicts.
    """

    __slots__ = ()

    if TYPE_CHECKING:  # a property here would be taken for the default of a dataclass's field

        @property
        def n_lags(self) -> int: ...  # noqa: D102

        @property
        def n_regions(self) -> int: ...  # noqa: D102

    @abstractmethod
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

    @abstractmethod
    def tensors(self) -> dict[str, Array]:
        """Return the fitted numbers by name, for storage."""

    def facts(self) -> dict[str, object]:
        """Return what its family needs beside the tensors to load it; numbers, words, lists."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How to train a surrogate.

    ``None`` means what fits the surrogate; :func:`resolve` says what that is.
    """

    surrogate: str = option(
        "hybrid",
        surrogate_words,
        choices=surrogate_names,
    )
    n_lags: int | None = option(
        None,
        f"past samples that the surrogate reads (default: {default_words('n_lags')})",
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
        f"maximum number of passes over the training windows (default: {default_words('epochs')})",
        above=0,
        metavar="N",
    )
    batch_size: int = option(50, "windows per training step", above=0, metavar="N")
    learning_rate: float | None = option(
        None,
        f"learning rate of Adam (default: {default_words('learning_rate')})",
        above=0,
        metavar="X",
    )
    weight_decay: float = option(5e-5, "L2 penalty of Adam", at_least=0, metavar="X")
    n_seeds: int | None = option(
        None,
        f"networks with different seeds to average (default: {default_words('n_seeds')})",
        above=0,
        metavar="N",
    )
    patience: int | None = option(
        None,
        "stop training after this many epochs without a lower held-out error, and keep the best "
        f"epoch (default: {default_words('patience', zero='never')})",
        at_least=0,
        metavar="N",
    )
    skip: bool = option(
        False, "mlp, cnn, rnn: add a linear skip connection from input to prediction"
    )
    var_fit: str = option(
        "ridge",
        "var: fit by ridge regression (penalty by leave-one-out) or adam (as published, by "
        "default with 3 lags)",
        choices=("ridge", "adam"),
    )
    whitening: str = option(
        "auto",
        "mou: remove the autoregression that all regions share (haemodynamics) before the fit; "
        "auto: only where past samples of other regions do not improve prediction",
        choices=("auto", "on", "off"),
    )
    delays: str = option(
        "auto",
        "hybrid: let each region lag behind its state by a delay of its own (haemodynamics) "
        "where the data show it (auto), or never (none)",
        choices=("auto", "none"),
    )
    gain: str = option(
        "auto",
        "hybrid: let all regions share an unknown gain over frequency (haemodynamic response, "
        "filters), where the data show it (auto), or never (none)",
        choices=("auto", "none"),
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


def resolve(settings: TrainSettings) -> TrainSettings:
    """Return the settings with what fits the surrogate, where the user gave nothing.

    >>> resolve(TrainSettings(surrogate="mlp")).n_lags, resolve(TrainSettings()).n_lags
    (3, 4)
    """
    whole_brain = settings.surrogate == WHOLE_BRAIN
    fitting = DEFAULTS if whole_brain else family(settings.surrogate).defaults_of(settings)
    wanted: dict[str, Any] = {
        name: value for name, value in fitting.items() if getattr(settings, name) is None
    }
    return replace(settings, **wanted) if wanted else settings


def preset(name: str, **chosen: object) -> TrainSettings:
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
    fields: dict[str, Any] = {**PRESETS[name], **chosen}
    return TrainSettings(**fields)
