"""Which kinds of surrogate there are, and what holds for each: the one list of them.

Nothing heavy is imported here, because the command line reads the list; what fits, loads or builds
a surrogate is named as ``module:function`` and imported when it is needed. A package outside this
one adds families of its own through the entry point group ``npi_bids.surrogates``, whose members
are :class:`SurrogateFamily` objects.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from npi_bids.errors import SettingsError
from npi_bids.surrogates.selection_criteria import NETWORKS_GAIN
from npi_bids.wording import count_noun, join_words

ENTRY_POINTS = "npi_bids.surrogates"
# A whole-brain model is no one-step predictor: npi_bids.whole_brain fits it instead.
WHOLE_BRAIN = "wbm"
# Where a family says nothing else: past samples as in Luo et al. (2025), and their training.
DEFAULTS: dict[str, float] = {
    "n_lags": 3,
    "epochs": 80,
    "learning_rate": 2e-4,
    "n_seeds": 1,
    "patience": 0,
}

# A function, or where to find it: ``module:function``.
Lazy = str | Callable[..., Any]
# What the fits of several subjects said of themselves: the field Training of their sidecars.
Trainings = Sequence[Mapping[str, Any]]


class Effort(Protocol):
    """What of the training settings decides how long a fit takes; None where not stated."""

    @property
    def epochs(self) -> int | None:
        """Passes over the training windows."""

    @property
    def n_seeds(self) -> int | None:
        """Networks to average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSupport:
    """How a family is shrunk towards a group (:mod:`npi_bids.surrogates.group_prior`).

    Attributes
    ----------
    linear
        Its linear part: ``process``, ``var``, ``better`` (of the two, by held-out error), or
        nothing.
    network
        What makes the network that is fine-tuned from the group's, on what the linear part leaves
        where there is one; or nothing.
    """

    linear: str = ""
    network: Lazy = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateFamily:
    """A kind of surrogate.

    Attributes
    ----------
    name
        As ``--surrogate`` takes it.
    summary
        What it is, in a few words, for the help.
    fit
        Called with windows to train on, held-out windows (may be empty), resolved
        :class:`~npi_bids.surrogates.base.TrainSettings`, and an earlier fit of the same subject
        (or None) whose choices it keeps (penalties, orders, number of epochs), which makes fits of
        parts comparable. Returns a :class:`~npi_bids.surrogates.base.Surrogate` and a
        :class:`~npi_bids.surrogates.base.TrainLog`.
    load
        Called with the tensors and the facts that a fitted surrogate of the family stored; returns
        a surrogate that predicts the same to the last bit.
    describe
        One sentence or more for the methods text, without the last full stop, from what the fits
        said.
    defaults
        Of ``n_lags``, ``epochs``, ``learning_rate``, ``n_seeds`` and ``patience``, as far as they
        differ from those of the published networks; or a function of the settings.
    by_gradient
        Whether epochs train it, as opposed to one solution in closed form.
    prior
        How it is shrunk towards a group; None where it cannot be.
    calibrated
        Whether the table of expected accuracy was made with it.
    n_weights
        Weights between regions that are fitted, from the numbers of regions and lags; None where
        the count says little, as for networks.
    seconds
        About how long one fit and its verdict take on one core, from samples, regions and the
        settings; None where nobody measured it.
    """

    name: str
    summary: str
    fit: Lazy
    load: Lazy
    describe: Callable[[Trainings], str]
    defaults: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] = field(default_factory=dict)
    by_gradient: bool = False
    prior: PriorSupport | None = None
    calibrated: bool = False
    n_weights: Callable[[int, int], int] | None = None
    seconds: Callable[[int, int, Effort], float] | None = None

    def defaults_of(self, settings: object) -> dict[str, float]:
        """Return what the family takes where the user says nothing."""
        own = self.defaults(settings) if callable(self.defaults) else self.defaults
        return {**DEFAULTS, **own}


def imported(place: Lazy) -> Callable[..., Any]:
    """Return a function that may be named as ``module:function``."""
    if callable(place):
        return place
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def families() -> dict[str, SurrogateFamily]:
    """Return all families by name: those of this package, of other packages, and registered ones.

    >>> list(families())[:3]
    ['hybrid', 'mou', 'var']
    """
    return {family.name: family for family in (*BUILT_IN, *_from_packages(), *_registered)}


def family(name: str) -> SurrogateFamily:
    """Return a family.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    known = families()
    if name not in known:
        raise SettingsError(f"--surrogate must be one of {join_words(known)}, not {name}.")
    return known[name]


def prior_support(surrogate: str) -> PriorSupport:
    """Return how a surrogate is shrunk towards a group.

    Raises
    ------
    SettingsError
        It cannot be.
    """
    support = None if surrogate == WHOLE_BRAIN else family(surrogate).prior
    if support is None:
        able = [known.name for known in families().values() if known.prior is not None]
        raise SettingsError(
            f"--surrogate {surrogate} cannot be pre-trained on a group or shrunk towards one; "
            f"use one of {join_words(able)}, or leave pretrain and --pretrained out."
        )
    return support


def surrogate_names() -> tuple[str, ...]:
    """Return what ``--surrogate`` takes: every family, and whole-brain models."""
    return (*families(), WHOLE_BRAIN)


def surrogate_words() -> str:
    """Say in the help what ``--surrogate`` takes."""
    known = ", ".join(f"{known.name} ({known.summary})" for known in families().values())
    return (
        f"model of the dynamics: {known}, or {WHOLE_BRAIN} (whole-brain model on structural "
        "connectivity)"
    )


def register(new: SurrogateFamily) -> None:
    """Add a family for this process; one of the same name that was registered is replaced.

    Worker processes do not see it: a family for the command line comes with its package, through
    the entry point group ``npi_bids.surrogates``.

    Raises
    ------
    SettingsError
        The name is that of a family of this package.
    """
    if new.name in {known.name for known in BUILT_IN} | {WHOLE_BRAIN}:
        raise SettingsError(f"A surrogate called {new.name} is part of npi-bids; choose another.")
    _registered[:] = [known for known in _registered if known.name != new.name] + [new]


_registered: list[SurrogateFamily] = []


@functools.cache
def _from_packages() -> tuple[SurrogateFamily, ...]:
    """Return the families of other packages, sorted by the name of their entry points."""
    found: list[SurrogateFamily] = []
    taken = {known.name for known in BUILT_IN} | {WHOLE_BRAIN}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        made = point.load()
        if not isinstance(made, SurrogateFamily):
            raise SettingsError(
                f"The entry point {point.value} of {ENTRY_POINTS} is {type(made).__name__}; "
                "expected a SurrogateFamily. Correct or remove the package that brings it."
            )
        if made.name in taken:
            raise SettingsError(
                f"The entry point {point.value} brings a surrogate {made.name}, which is there "
                "already; rename it, or remove the package."
            )
        taken.add(made.name)
        found.append(made)
    return tuple(found)


def default_words(name: str, zero: str = "0") -> str:
    """Say which families of this package take which default of an option.

    >>> default_words("n_seeds")
    '4 for hybrid, 1 otherwise'
    >>> default_words("patience", zero="never")
    '10 for hybrid, never otherwise'
    """
    by_value: dict[float, list[str]] = {}
    for known in BUILT_IN:
        by_value.setdefault(known.defaults_of(None)[name], []).append(known.name)
    most = max(by_value, key=lambda value: len(by_value[value]))
    words = {value: f"{value:g}" if value else zero for value in by_value}
    others = [f"{words[v]} for {' and '.join(n)}" for v, n in by_value.items() if v != most]
    return ", ".join([*others, f"{words[most]} otherwise"])


# --- What the methods text says ---------------------------------------------------------------


def _describe_var(trainings: Trainings) -> str:
    if trainings[0].get("var_fit") == "adam":
        return _describe_network("vector autoregression (one linear layer)", trainings)
    return (
        "It was a vector autoregression, fitted by ridge regression with the penalty of least "
        "leave-one-out error"
    )


def _linear_words(trainings: Trainings) -> str:
    """Say which linear model was chosen, by cases, and how the process was fitted."""
    n_models = len(trainings)
    n_var = sum(bool(found.get("linear_is_var")) for found in trainings)
    process, var = "an Ornstein-Uhlenbeck process", "a ridge VAR with one lag"
    chosen = f"{var}, which predicted held-out data better than {process}"
    if n_var == n_models:
        return f"Its linear part was {chosen}{', in all models' if n_models > 1 else ''}"
    if n_var:
        linear = (
            f"Its linear part was {process} in {count_noun(n_models - n_var, 'model')} and "
            f"{chosen}, in {n_var}"
        )
    else:
        linear = f"Its linear part was {process}{' in all models' if n_models > 1 else ''}"
    return f"{linear}. {_PROCESS_WORDS}{_observation_words(trainings)}"


def _observation_words(trainings: Trainings) -> str:
    """Say in how many models the signals were not taken for the state itself."""
    seen = [found for found in trainings if "common_gain" in found]
    if not seen:
        return ""
    n_gain = sum(bool(found["common_gain"]) for found in seen)
    delays = [found["delay_sd"] for found in seen if found["delay_sd"] > 0]
    parts = []
    if delays:
        spread = f"{min(delays):.1f}" + (f" to {max(delays):.1f}" if len(delays) > 1 else "")
        parts.append(
            f"a delay of each region (standard deviation over regions {spread} s) in "
            f"{count_noun(len(delays), 'model')}"
        )
    if n_gain:
        parts.append(
            f"a gain over frequency that all regions share in {count_noun(n_gain, 'model')}"
        )
    return (
        ". Where this predicted held-out data better, the observation was part of the likelihood "
        f"(Whittle): {', and '.join(parts)}; the prior precisions are those of highest evidence "
        "there"
    )


_PROCESS_WORDS = (
    "The process was fitted by maximum a posteriori to the second moments of the samples, "
    "including the innovations; the ratio of the prior precisions of the symmetric and "
    "antisymmetric parts of the drift was derived from their lagged evidence with block sampling "
    "errors, and their size from held-out prediction"
)


def _describe_process(trainings: Trainings) -> str:
    del trainings
    return f"It was an Ornstein-Uhlenbeck process. {_PROCESS_WORDS}"


def _describe_hybrid(trainings: Trainings) -> str:
    return (
        f"{_linear_words(trainings)}. Networks with two hidden layers were trained on the "
        f"residuals (Adam, at most {trainings[0].get('epochs')} epochs, early stopping) and added "
        f"only if they lowered the held-out error by more than {100 * NETWORKS_GAIN:.2g} %"
        f"{_networks_words(trainings)}"
    )


def _networks_words(trainings: Trainings) -> str:
    """Say in how many models networks were added, by cases."""
    n_models = len(trainings)
    n_networks = sum(found.get("residual_networks", 0) > 0 for found in trainings)
    if n_networks == n_models:
        return ", which they did" + (" in all models" if n_models > 1 else "")
    if n_networks == 0:
        return ", which they did not" + (" in any model" if n_models > 1 else "")
    return f", which they did in {n_networks} of {n_models} models"


def _describe_network(kind: str, trainings: Trainings) -> str:
    first = trainings[0]
    return (
        f"It was a {kind}, trained with Adam on the mean squared error for {first.get('epochs')} "
        f"epochs (batch size {first.get('batch_size')}, learning rate "
        f"{first.get('learning_rate')}, weight decay {first.get('weight_decay')})"
    )


# --- What a fit costs: seconds on one core, fitted to runs of 20 to 1000 regions --------------
# (python -m benchmarks.speed)

_PROCESS = (1.5, 0.013, 4.2e-7)  # per model, region, and region cubed
_LINEAR = 2.3e-6  # per sample and region
_EPOCH = (5.6e-6, 2e-9)  # per sample, and per sample and region squared


def _process_seconds(samples: int, n_regions: int, settings: Effort) -> float:
    del samples, settings
    base, each, cubed = _PROCESS
    return base + each * n_regions + cubed * n_regions**3


def _linear_seconds(samples: int, n_regions: int, settings: Effort) -> float:
    del settings
    return _LINEAR * samples * n_regions


def _network_seconds(samples: int, n_regions: int, settings: Effort) -> float:
    epoch = samples * (_EPOCH[0] + _EPOCH[1] * n_regions**2)
    n_epochs = int(settings.epochs or DEFAULTS["epochs"])
    return epoch * n_epochs * int(settings.n_seeds or 1)


def _of_one_matrix(n_regions: int, n_lags: int) -> int:
    del n_lags  # the moments of all lags come from one matrix
    return n_regions**2


def _of_all_lags(n_regions: int, n_lags: int) -> int:
    return n_regions**2 * n_lags


def _network(name: str, kind: str) -> SurrogateFamily:
    module = "npi_bids.surrogates.networks"
    return SurrogateFamily(
        name=name,
        summary=kind,
        fit=f"{module}:fit_{name}",
        load=f"{module}:load_network",
        describe=functools.partial(_describe_network, kind),
        by_gradient=True,
        prior=PriorSupport(network=f"{module}:{name.upper()}"),
        seconds=_network_seconds,
    )


BUILT_IN = (
    SurrogateFamily(
        name="hybrid",
        summary="the better of mou and var, plus networks where they predict better",
        fit="npi_bids.surrogates.hybrid:fit_hybrid",
        load="npi_bids.surrogates.hybrid:load_hybrid",
        describe=_describe_hybrid,
        # The process reads the last sample; the others serve whitening and own memory.
        defaults={"n_lags": 4, "epochs": 200, "learning_rate": 1e-3, "n_seeds": 4, "patience": 10},
        prior=PriorSupport(linear="better", network="npi_bids.surrogates.hybrid:zero_mlp"),
        calibrated=True,
        n_weights=_of_one_matrix,
        seconds=_process_seconds,
    ),
    SurrogateFamily(
        name="mou",
        summary="Ornstein-Uhlenbeck process",
        fit="npi_bids.surrogates.ou:fit_mou",
        load="npi_bids.surrogates.ou:load_mou",
        describe=_describe_process,
        defaults={"n_lags": 4},
        prior=PriorSupport(linear="process"),
        calibrated=True,
        n_weights=_of_one_matrix,
        seconds=_process_seconds,
    ),
    SurrogateFamily(
        name="var",
        summary="vector autoregression",
        fit="npi_bids.surrogates.var:fit_var",
        load="npi_bids.surrogates.var:load_var",
        describe=_describe_var,
        defaults=lambda settings: (
            {} if getattr(settings, "var_fit", "ridge") == "adam" else {"n_lags": 1}
        ),
        prior=PriorSupport(linear="var"),
        calibrated=True,
        n_weights=_of_all_lags,
        seconds=_linear_seconds,
    ),
    _network("mlp", "multilayer perceptron"),
    _network("cnn", "convolutional network"),
    _network("rnn", "recurrent network"),
)
