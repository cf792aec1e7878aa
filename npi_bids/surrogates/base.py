"""Surrogate interface, training settings and presets."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from npi_bids.errors import SettingsError
from npi_bids.settings import check_options, option
from npi_bids.surrogates.families import (
    DEFAULTS,
    WHOLE_BRAIN,
    describe_default,
    describe_surrogates,
    family,
    prior_support,
    surrogate_names,
)
from npi_bids.surrogates.fixed_precision import WEAK, FixedPrecision
from npi_bids.surrogates.kinds import NOT_NAMED
from npi_bids.wording import join_items

if TYPE_CHECKING:  # the command line needs the settings, and shows help without loading numpy
    from npi_bids.records import Array, Observation, Windows

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


# Regions from which on a GPU is faster than one core (``python -m benchmarks.gpu``). Smaller
# matrices do not fill it, and the start of each operation takes longer than the operation.
MIN_GPU_REGIONS = 200
# The family that fits an observation model, whose frequencies --passband selects.
OBSERVED_FAMILY = "hybrid"
# Values of --residual that keep networks or a linear correction whatever they improve; neither can
# be combined with an observation model.
KEPT_RESIDUALS = ("networks", "correction")
POSSIBLE = "possible"  # value of --delays: not part of the model, but allowed for in intervals
WITHOUT_DELAYS = ("none", POSSIBLE)


class Abilities:
    """Optional properties of a surrogate beyond its prediction; by default none is available.

    A family overrides those that it provides; the others are derived from ``step`` if possible, or
    reported as unknown.
    """

    __slots__ = ()

    @property
    def members(self) -> Sequence[Surrogate]:
        """Members of the ensemble whose mean this surrogate is; empty without an ensemble."""
        return ()

    @property
    def linear_weights(self) -> Array | None:
        """Weights of a linear surrogate, which do not depend on the state.

        Shape (n_lags, source, target), the most recent sample last; None if the effect of a
        perturbation depends on the state.
        """
        return None

    @property
    def observation(self) -> Observation | None:
        """The observation model; None if the signals are assumed to be the state itself."""
        return None

    @property
    def region_delays(self) -> tuple[Array, Array] | None:
        """Observation delay of each region and its standard error, in samples.

        None if the surrogate has no delays.
        """
        return None

    @property
    def delay_share(self) -> Array | None:
        """Share of the variance of each connection that is due to the delays.

        Shape (source, target), 0 to 1; None if the surrogate has no delays.
        """
        return None

    @property
    def signal_peaks(self) -> Array | None:
        """Peak responses of the signals to a brief perturbation of the state, (source, target).

        None if the signals are assumed to be the state itself.
        """
        return None

    def estimate_delays(self, windows: Windows) -> Array | None:  # noqa: ARG002
        """Return the delays of regions that other windows of the subject show, in samples.

        None if the surrogate has no delays.
        """
        return None

    def without_delays(self, windows: Windows) -> Surrogate | None:  # noqa: ARG002
        """Return the same surrogate fitted without delays; None if it has none."""
        return None

    def with_precision(
        self,
        windows: Windows,  # noqa: ARG002
        precision: FixedPrecision,  # noqa: ARG002
        *,
        reverse: bool = False,  # noqa: ARG002
    ) -> Surrogate | None:
        """Return the surrogate fitted with a prior of a fixed precision; None if it cannot be.

        All other choices are kept, and neither networks nor the prior of a group enter. Groups of
        subjects are tested on such maps, because those that are shrunk, each by a prior of its
        own, are neither unbiased nor independent. With ``reverse`` it is fitted to the signals
        with time reversed.
        """
        return None

    def without_prior(self, windows: Windows, *, reverse: bool = False) -> Surrogate | None:
        """Return the same surrogate fitted with a prior that hardly matters."""
        return self.with_precision(windows, WEAK, reverse=reverse)

    @property
    def free_lags(self) -> int | None:
        """Number of lags with fitted weights between regions; None if all lags are fitted."""
        return None

    def perturbed_change(self, history: Array, strength: float) -> Array | None:  # noqa: ARG002
        """Return the mean change of the prediction, shape (source, target).

        None if nothing is faster than one pass per region
        (:func:`~npi_bids.connectivity.perturbation.perturb_each`, whose result this must equal).
        """
        return None

    def mean_jacobian(self, history: Array) -> Array | None:  # noqa: ARG002
        """Return the mean derivative by the most recent sample, shape (source, target).

        None if there is no closed form.
        """
        return None

    def weight_errors(self, windows: Windows) -> Array | None:  # noqa: ARG002
        """Return standard errors of the change per unit of perturbation, shape (source, target).

        None if there is no closed form; ``--n-bootstrap`` provides them in that case.
        """
        return None

    def compute_on(self, device: str) -> None:
        """Move all torch parameters to a device, named as for ``--device``."""

    def stationary_correlation(self) -> Array | None:
        """Return the correlations of the free-running surrogate in closed form.

        Shape (n_regions, n_regions); None if it has to be run.
        """
        return None

    def noise_covariance(self) -> Array | None:
        """Return the covariance of the prediction errors, shape (n_regions, n_regions).

        None if the dynamics are modelled but not their noise.
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

    if TYPE_CHECKING:  # a property would act as the default of a dataclass field

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
            Shape (n_windows, n_regions). Each row depends only on its own window.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Array]:
        """Return the fitted numbers by name, for storage."""

    def fields(self) -> dict[str, object]:
        """Return what loading requires besides the tensors: numbers, strings and lists."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How to train a surrogate.

    ``None`` means the default of the surrogate, which :func:`resolve` fills in.
    """

    surrogate: str = option(
        "hybrid",
        describe_surrogates,
        choices=surrogate_names,
    )
    n_lags: int | None = option(
        None,
        f"past samples that the surrogate reads (default: {describe_default('n_lags')})",
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
        "maximum number of passes over the training windows (default: "
        f"{describe_default('epochs')})",
        above=0,
        metavar="N",
    )
    batch_size: int = option(50, "windows per training step", above=0, metavar="N")
    learning_rate: float | None = option(
        None,
        f"learning rate of Adam (default: {describe_default('learning_rate')})",
        above=0,
        metavar="X",
    )
    weight_decay: float = option(5e-5, "L2 penalty of Adam", at_least=0, metavar="X")
    n_seeds: int | None = option(
        None,
        f"networks with different seeds to average (default: {describe_default('n_seeds')})",
        above=0,
        metavar="N",
    )
    patience: int | None = option(
        None,
        "stop training after this many epochs without a lower held-out error, and keep the best "
        f"epoch (default: {describe_default('patience', zero='never')})",
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
    rdcm_density: float = option(
        1.0,
        "rdcm: prior probability that a connection between two regions exists; below 1, "
        "connections that the data do not support are switched off (sparse rDCM)",
        above=0,
        at_most=1,
        metavar="X",
    )
    whitening: str = option(
        "auto",
        "mou: remove the autoregression that all regions share (haemodynamics) before the fit; "
        "auto: only where past samples of other regions do not improve prediction",
        choices=("auto", "on", "off"),
    )
    delays: str = option(
        "auto",
        "hybrid: allow an observation delay in each region (haemodynamics) if the data support it "
        "(auto), always (on) or never (none); or never, but with intervals that allow for delays "
        "that the data do not exclude (possible)",
        choices=("auto", "on", *WITHOUT_DELAYS),
    )
    gain: str = option(
        "auto",
        "hybrid: allow an unknown gain over frequency that all regions share (haemodynamic "
        "response, filters) if the data support it (auto), always (on) or never (none)",
        choices=("auto", "on", "none"),
    )
    noise: str = option(
        "auto",
        "hybrid: with a gain, allow white measurement noise if the data support it (auto), always "
        "(on) or never (none)",
        choices=("auto", "on", "none"),
    )
    linear_part: str = option(
        "auto",
        "hybrid: linear part; the one that predicts held-out data better (auto), always the "
        "Ornstein-Uhlenbeck process (process) or the vector autoregression without an observation "
        "model (var)",
        choices=("auto", "process", "var"),
    )
    residual: str = option(
        "auto",
        "hybrid: keep networks or a linear correction of the residuals if they pay (auto); always "
        "keep the networks or the correction, without delays and gain (networks, correction); or "
        "neither (none)",
        choices=("auto", *KEPT_RESIDUALS, "none"),
    )
    passband: tuple[str, ...] = option(
        ("auto",),
        "hybrid: fit these frequencies alone, from lowest to highest (Hz); auto: all frequencies "
        "with power, which is best for filtered signals too, because a named band leaves out what "
        "a filter passes beyond its edges",
        metavar="auto|HZ",
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
        "auto",
        "cpu, cuda, cuda:1, ...; auto: a GPU, where there is one, for models of at least "
        f"{MIN_GPU_REGIONS} regions",
        metavar="NAME",
        result=False,
    )

    def __post_init__(self) -> None:
        check_options(self)
        self._check_imposed()
        if parse_passband(self.passband) is not None:
            self._check_passband()

    def with_kind(self, settings: Mapping[str, str]) -> TrainSettings:
        """Return the settings with those that impose a kind of fit.

        Raises
        ------
        SettingsError
            If the other settings exclude it.
        """
        return replace(self, **cast("dict[str, Any]", settings))

    def _check_imposed(self) -> None:
        """Refuse parts of a model that are imposed together but exclude each other."""
        observed = [name for name in ("delays", "gain", "noise") if getattr(self, name) == "on"]
        linear = [
            f"--{name.replace('_', '-')} {value}"
            for name, value in (("linear_part", self.linear_part), ("residual", self.residual))
            if value in ("var", *KEPT_RESIDUALS)
        ]
        if observed and linear:
            raise SettingsError(
                f"--{observed[0]} on needs the process with an observation model, which "
                f"{join_items(linear)} excludes. Leave one of them out."
            )
        if self.noise == "on" and self.gain == "none":
            raise SettingsError(
                "--noise on is measurement noise beside a gain, which --gain none excludes. Leave "
                "one of them out."
            )

    def _check_passband(self) -> None:
        """Refuse a named passband that no fit with these settings would read."""
        named = f"--passband {' '.join(map(str, self.passband))}"
        if self.surrogate != OBSERVED_FAMILY:
            raise SettingsError(
                f"{named} is read by --surrogate {OBSERVED_FAMILY} alone, not by "
                f"{self.surrogate}. Omit it, or filter the signals with --low-pass and "
                "--high-pass."
            )
        if self.delays in WITHOUT_DELAYS and self.gain == "none":
            raise SettingsError(
                f"{named} selects the frequencies from which delays and gain are estimated; with "
                f"--delays {self.delays} and --gain none it would not be used. Omit it, or leave "
                "one of them at auto."
            )
        if self.linear_part == "var":
            raise SettingsError(
                f"{named} selects frequencies of the process; --linear-part var fits all of them. "
                "Leave one of them out."
            )
        if self.residual in KEPT_RESIDUALS:
            raise SettingsError(
                f"{named} selects the frequencies from which delays and gain are estimated; "
                f"--residual {self.residual} excludes both. Leave one of them out."
            )


def parse_passband(values: Sequence[str]) -> tuple[float, float] | None:
    """Return the lowest and the highest frequency of ``--passband`` in Hz; None for auto.

    Raises
    ------
    SettingsError
        If the values are neither ``auto`` nor two ascending numbers.

    Examples
    --------
    >>> parse_passband(("0.01", "0.1"))
    (0.01, 0.1)
    """
    if tuple(values) == ("auto",):
        return None
    try:
        low, high = map(float, values)
    except ValueError:
        low = high = math.nan
    if not 0 <= low < high < math.inf:
        raise SettingsError(
            "--passband must be auto, or a lower and a higher frequency in Hz (such as 0.01 0.1), "
            f"not {' '.join(map(str, values))}."
        )
    return low, high


def describe_training(settings: TrainSettings, log: TrainLog) -> dict[str, Any]:
    """Return settings and results of a fit as stored in sidecars.

    The passband is two numbers (Hz), or ``n/a`` where none was named.
    """
    passband = parse_passband(settings.passband)
    named = {"passband": NOT_NAMED if passband is None else list(passband)}
    return {**asdict(settings), **named, **dict(log.details)}


def check_prior(settings: TrainSettings) -> None:
    """Refuse settings that a fit shrunk towards a group would not read.

    Raises
    ------
    SettingsError
        If the surrogate cannot be shrunk, or a passband or a part of an observation model is
        requested.
    """
    prior_support(settings.surrogate)
    if parse_passband(settings.passband) is not None:
        raise SettingsError(
            f"--passband {' '.join(map(str, settings.passband))} is not read by surrogates that "
            "are pre-trained on a group or shrunk towards one: all frequencies "
            "are fitted. Omit it, or omit pretrain and --pretrained."
        )
    imposed = [f"--{name} on" for name in ("delays", "gain", "noise")
               if getattr(settings, name) == "on"]  # fmt: skip
    imposed += ["--residual correction"] if settings.residual == "correction" else []
    if imposed:
        raise SettingsError(
            f"{join_items(imposed)}: no part of an observation model and no linear correction can "
            "be imposed on surrogates that are pre-trained on a group or shrunk towards one; "
            "pretrain decides whether the subjects share delays. Omit the option, or omit "
            "pretrain and --pretrained."
        )


@dataclass(frozen=True, slots=True)
class TrainLog:
    """Training history: mean squared errors per epoch, on training and held-out windows.

    ``details`` holds further results of the fit by name, such as the ridge penalty;
    ``best_epoch``, counted from 1, is the epoch whose weights were kept.
    """

    train: tuple[float, ...]
    valid: tuple[float, ...]
    details: tuple[tuple[str, float], ...] = ()
    best_epoch: int = 1


def known_details(**details: float) -> tuple[tuple[str, float], ...]:
    """Return the results of a fit that are known, by name, for the training log.

    >>> known_details(nonlinearity=0.5, var_likelihood=float("nan"))
    (('nonlinearity', 0.5),)
    """
    return tuple((name, value) for name, value in details.items() if not math.isnan(value))


def mean_log(logs: Sequence[TrainLog]) -> TrainLog:
    """Return the mean errors of several networks, up to the length of the shortest log."""
    n_epochs = min(len(log.train) for log in logs)
    mean = [
        tuple(sum(side[epoch] for side in sides) / len(logs) for epoch in range(n_epochs))
        for sides in ([log.train for log in logs], [log.valid for log in logs])
    ]
    best = max(log.best_epoch for log in logs)
    return TrainLog(mean[0], mean[1], best_epoch=min(best, n_epochs))


def resolve(settings: TrainSettings) -> TrainSettings:
    """Fill settings that the user left open with the defaults of the surrogate.

    >>> resolve(TrainSettings(surrogate="mlp")).n_lags, resolve(TrainSettings()).n_lags
    (3, 4)
    """
    whole_brain = settings.surrogate == WHOLE_BRAIN
    defaults = DEFAULTS if whole_brain else family(settings.surrogate).resolve_defaults(settings)
    missing: dict[str, Any] = {
        name: value for name, value in defaults.items() if getattr(settings, name) is None
    }
    return replace(settings, **missing) if missing else settings


def preset(name: str, **chosen: object) -> TrainSettings:
    """Return the settings of a preset, overridden by explicit settings.

    >>> preset("luo2025", surrogate="rnn").learning_rate
    0.0002

    Raises
    ------
    SettingsError
        If there is no preset of that name.
    """
    if name not in PRESETS:
        raise SettingsError(
            f"Unknown preset {name!r}; choose one of {join_items(sorted(PRESETS))}."
        )
    fields: dict[str, Any] = {**PRESETS[name], **chosen}
    return TrainSettings(**fields)
