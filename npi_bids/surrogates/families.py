"""Registry of surrogate families and their properties.

Nothing heavy is imported here, because the command line reads the registry; functions that fit,
load or build a surrogate are named as ``module:function`` and imported when they are needed. Other
packages add families through the entry point group ``npi_bids.surrogates``, whose members are
:class:`SurrogateFamily` objects.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from npi_bids.errors import SettingsError
from npi_bids.surrogates.kinds import (
    DELAYS,
    GAIN,
    NARROW_VAR,
    NOISE,
    PROCESS,
    WIDTHS,
    describe_hybrid_kind,
    describe_network_kind,
    describe_process_kind,
    describe_var_kind,
    name_hybrid_kind,
    named_passband,
)
from npi_bids.surrogates.selection_criteria import NETWORKS_GAIN
from npi_bids.wording import count_noun, join_items

ENTRY_POINTS = "npi_bids.surrogates"
# A whole-brain model is not a one-step predictor; npi_bids.whole_brain fits it.
WHOLE_BRAIN = "wbm"
# Unless a family states otherwise: past samples and training as in Luo et al. (2025).
DEFAULTS: dict[str, float] = {
    "n_lags": 3,
    "epochs": 80,
    "learning_rate": 2e-4,
    "n_seeds": 1,
    "patience": 0,
}

# A function, or its location as ``module:function``.
Lazy = str | Callable[..., Any]
# Field Training of the sidecars of several fits.
Trainings = Sequence[Mapping[str, Any]]


class Effort(Protocol):
    """Training settings that determine how long a fit takes; None if not set."""

    @property
    def epochs(self) -> int | None:
        """Passes over the training windows."""

    @property
    def n_seeds(self) -> int | None:
        """Networks to average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSupport:
    """Support of a family for shrinkage towards a group (:mod:`~npi_bids.surrogates.group_prior`).

    Attributes
    ----------
    linear
        Its linear part: ``process``, ``var`` or ``better`` (of the two, by held-out error); or
        empty.
    network
        Function that builds the network to be fine-tuned from the group's, on the residuals of the
        linear part if there is one; or empty.
    """

    linear: str = ""
    network: Lazy = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateFamily:
    """A family of surrogates.

    Attributes
    ----------
    name
        Value of ``--surrogate``.
    summary
        Short description for the help.
    fit
        Called with windows to train on, held-out windows (may be empty), resolved
        :class:`~npi_bids.surrogates.base.TrainSettings`, and an earlier fit of the same subject
        (or None) whose choices it keeps (penalties, orders, number of epochs), which makes fits to
        parts of the data comparable. Returns a :class:`~npi_bids.surrogates.base.Surrogate` and a
        :class:`~npi_bids.surrogates.base.TrainLog`.
    load
        Called with the tensors and the fields that a fitted surrogate of the family stored;
        returns a surrogate with bitwise identical predictions.
    describe
        Returns one or more sentences for the methods text, without the last full stop, from the
        trainings of the fits.
    kind, kind_name
        Return the kind of model that one fit chose from its training, as one sentence without the
        full stop and in a few words; None if the family has one kind.
    defaults
        Defaults of ``n_lags``, ``epochs``, ``learning_rate``, ``n_seeds`` and ``patience`` that
        differ from those of the published networks; or a function of the settings.
    by_gradient
        Whether it is trained over epochs, as opposed to a solution in closed form.
    on_gpu
        Whether its fit is computed on a GPU if there is one; the others use the CPU alone.
    prior
        How it is shrunk towards a group; None if it cannot be.
    calibrated
        Whether the table of expected accuracy covers it.
    n_weights
        Number of fitted weights between regions, from the numbers of regions and lags; None if the
        count is not informative, as for networks.
    seconds
        Approximate time of one fit and its verdict on one core, from samples, regions and the
        settings; None if it has not been measured.
    """

    name: str
    summary: str
    fit: Lazy
    load: Lazy
    describe: Callable[[Trainings], str]
    kind: Callable[[Mapping[str, Any]], str] | None = None
    kind_name: Callable[[Mapping[str, Any]], str] | None = None
    defaults: Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] = field(default_factory=dict)
    by_gradient: bool = False
    on_gpu: bool = False
    prior: PriorSupport | None = None
    calibrated: bool = False
    n_weights: Callable[[int, int], int] | None = None
    seconds: Callable[[int, int, Effort], float] | None = None

    def resolve_defaults(self, settings: object) -> dict[str, float]:
        """Return the default settings of the family."""
        family_defaults = self.defaults(settings) if callable(self.defaults) else self.defaults
        return {**DEFAULTS, **family_defaults}


def import_function(reference: Lazy) -> Callable[..., Any]:
    """Return a function, importing it if it is named as ``module:function``."""
    if callable(reference):
        return reference
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def families() -> dict[str, SurrogateFamily]:
    """Return all families by name: those of this package, of other packages, and registered ones.

    >>> list(families())[:3]
    ['hybrid', 'mou', 'var']
    """
    return {family.name: family for family in (*BUILT_IN, *_from_packages(), *_registered)}


def family(name: str) -> SurrogateFamily:
    """Return the family of a name.

    Raises
    ------
    SettingsError
        If there is no family of that name.
    """
    by_name = families()
    if name not in by_name:
        raise SettingsError(f"--surrogate must be one of {join_items(by_name)}, not {name}.")
    return by_name[name]


def prior_support(surrogate: str) -> PriorSupport:
    """Return how a surrogate is shrunk towards a group.

    Raises
    ------
    SettingsError
        If it cannot be.
    """
    support = None if surrogate == WHOLE_BRAIN else family(surrogate).prior
    if support is None:
        names = [member.name for member in families().values() if member.prior is not None]
        raise SettingsError(
            f"--surrogate {surrogate} cannot be pre-trained on a group or shrunk towards one; "
            f"use one of {join_items(names)}, or omit pretrain and --pretrained."
        )
    return support


def surrogate_names() -> tuple[str, ...]:
    """Return the values of ``--surrogate``: every family, and whole-brain models."""
    return (*families(), WHOLE_BRAIN)


def describe_surrogates() -> str:
    """Return the help text of ``--surrogate``."""
    listed = ", ".join(f"{member.name} ({member.summary})" for member in families().values())
    return (
        f"model of the dynamics: {listed}, or {WHOLE_BRAIN} (whole-brain model on structural "
        "connectivity)"
    )


def describe_kind(surrogate: str, training: Mapping[str, Any], *, shrunk: bool = False) -> str:
    """Return one sentence on the kind of model that was fitted to a subject.

    Parameters
    ----------
    surrogate
        Name of the family; it may be one that is not installed.
    training
        Field ``Training`` of the sidecar.
    shrunk
        Whether the model is shrunk towards that of a group.

    Examples
    --------
    >>> describe_kind("mou", {"whitening_order": 0.0}, shrunk=True)
    'The surrogate is an Ornstein-Uhlenbeck process; it is shrunk towards that of a group.'
    """
    if surrogate == WHOLE_BRAIN:
        return (
            f"The model is the whole-brain model {training['model']} of neurolib, fitted to "
            "functional connectivity."
        )
    member = families().get(surrogate)
    if member is not None and member.kind is not None:
        text = member.kind(training)
    else:
        summary = f" ({member.summary})" if member is not None else ""
        text = f"The surrogate is of the family {surrogate}{summary}"
    return text + ("; it is shrunk towards that of a group." if shrunk else ".")


def name_kind(surrogate: str, training: Mapping[str, Any]) -> str:
    """Return the kind of model that was fitted in a few words, without numbers.

    Maps of different kinds are on different scales. For the name of a family that has one kind,
    see ``SurrogateFamily.kind_name``.
    """
    member = families().get(surrogate)
    named = member.kind_name(training) if member is not None and member.kind_name else surrogate
    return f"{surrogate} {training['model']}" if surrogate == WHOLE_BRAIN else named


def register(new: SurrogateFamily) -> None:
    """Register a family in this process, replacing one registered under the same name.

    Worker processes do not see it; a family for the command line must be provided by its package
    through the entry point group ``npi_bids.surrogates``.

    Raises
    ------
    SettingsError
        If this package has a family of that name.
    """
    if new.name in {member.name for member in BUILT_IN} | {WHOLE_BRAIN}:
        raise SettingsError(f"A surrogate called {new.name} is part of npi-bids; choose another.")
    _registered[:] = [member for member in _registered if member.name != new.name] + [new]


_registered: list[SurrogateFamily] = []


@functools.cache
def _from_packages() -> tuple[SurrogateFamily, ...]:
    """Return the families of other packages, sorted by the name of their entry points."""
    loaded: list[SurrogateFamily] = []
    used_names = {member.name for member in BUILT_IN} | {WHOLE_BRAIN}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        candidate = point.load()
        if not isinstance(candidate, SurrogateFamily):
            raise SettingsError(
                f"The entry point {point.value} of {ENTRY_POINTS} is {type(candidate).__name__}; "
                "expected a SurrogateFamily. Correct or remove the package that provides it."
            )
        if candidate.name in used_names:
            raise SettingsError(
                f"The entry point {point.value} provides a surrogate {candidate.name}, but that "
                "name is already in use; rename it, or remove the package."
            )
        used_names.add(candidate.name)
        loaded.append(candidate)
    return tuple(loaded)


def describe_default(name: str, zero: str = "0") -> str:
    """Describe the defaults of an option by family of this package.

    >>> describe_default("n_seeds")
    '4 for hybrid, 1 otherwise'
    >>> describe_default("patience", zero="never")
    '10 for hybrid, never otherwise'
    """
    by_value: dict[float, list[str]] = {}
    for member in BUILT_IN:
        by_value.setdefault(member.resolve_defaults(None)[name], []).append(member.name)
    commonest = max(by_value, key=lambda value: len(by_value[value]))
    texts = {value: f"{value:g}" if value else zero for value in by_value}
    exceptions = [
        f"{texts[v]} for {' and '.join(n)}" for v, n in by_value.items() if v != commonest
    ]
    return ", ".join([*exceptions, f"{texts[commonest]} otherwise"])


# --- Sentences of the methods text ---------------------------------------------------------------


def _describe_var(trainings: Trainings) -> str:
    if trainings[0].get("var_fit") == "adam":
        return _describe_network("vector autoregression (one linear layer)", trainings)
    return (
        "It was a vector autoregression fitted by ridge regression, with the penalty chosen by "
        "leave-one-out cross-validation"
    )


def _describe_linear(trainings: Trainings) -> str:
    """State which linear model was chosen and how the process was fitted."""
    n_models = len(trainings)
    n_var = sum(bool(training.get("linear_is_var")) for training in trainings)
    chosen = f"{NARROW_VAR}, which predicted held-out data better than {PROCESS}"
    if n_var == n_models:
        return f"Its linear part was {chosen}{', in all models' if n_models > 1 else ''}"
    if n_var:
        linear = (
            f"Its linear part was {PROCESS} in {count_noun(n_models - n_var, 'model')} and "
            f"{chosen}, in {n_var}"
        )
    else:
        linear = f"Its linear part was {PROCESS}{' in all models' if n_models > 1 else ''}"
    pairs, observation = _describe_pair_prior(trainings), _describe_observation(trainings)
    return f"{linear}. {_PROCESS_FIT}{pairs}{observation}"


def _describe_pair_prior(trainings: Trainings) -> str:
    """State in how many models pairs of regions had different prior variances."""
    shares = [
        training["prior_concentration"]
        for training in trainings
        if training.get("prior_concentration", 0) > 0
        and not training.get("linear_is_var")
        and "common_gain" not in training
    ]
    if not shares:
        return ""
    several = "" if len(trainings) == 1 else f" in {count_noun(len(shares), 'model')}"
    low, high = (f"{100 * share:.0f}" for share in (min(shares), max(shares)))
    return (
        f". Of the prior variance{several}, {low if low == high else f'{low} to {high}'} % was "
        "distributed over pairs of regions in proportion to their squared partial correlations, "
        "which lowered the held-out error"
    )


def _describe_observation(trainings: Trainings) -> str:
    """State in how many models delays or a gain were part of the observation model."""
    observed = [training for training in trainings if "common_gain" in training]
    if not observed:
        return ""
    n_gain = sum(bool(training["common_gain"]) for training in observed)
    delays = [training["delay_sd"] for training in observed if training["delay_sd"] > 0]
    parts = []
    if delays:
        sd_text = f"{min(delays):.1f}" + (f" to {max(delays):.1f}" if len(delays) > 1 else "")
        parts.append(
            f"{DELAYS} (standard deviation over regions {sd_text} s) in "
            f"{count_noun(len(delays), 'model')}"
        )
    if n_gain:
        parts.append(f"{GAIN} (in {count_noun(n_gain, 'model')})")
    noise = [training["measurement_noise"] for training in observed]
    noise = [share for share in noise if share > 0]
    if noise:
        parts.append(
            f"{NOISE} (on average {100 * sum(noise) / len(noise):.2g} % of the "
            f"variance) in {count_noun(len(noise), 'model')}"
        )
    widths = [training.get("response_width_sd", 0) for training in observed]
    widths = [sd for sd in widths if sd > 0]
    if widths:
        parts.append(
            f"{WIDTHS} (standard deviation over regions on average "
            f"{100 * sum(widths) / len(widths):.0f} %) in {count_noun(len(widths), 'model')}"
        )
    bands = {band for training in observed if (band := named_passband(training)) is not None}
    parts += [f"frequencies from {low:g} to {high:g} Hz alone" for low, high in sorted(bands)]
    if any("prior_penalty" in training for training in observed):  # shrunk towards a group
        return (
            ". The delays of regions that all subjects share were estimated from the spectra of "
            f"the group (standard deviation over regions {delays[0]:.1f} s)"
        )
    return (
        f". {_condition(observed)}, an observation model was part of the likelihood (Whittle): "
        f"{', and '.join(parts)}; the prior precisions then maximised the evidence"
    )


def _condition(observed: Trainings) -> str:
    """State what made an observation model part of fits."""
    if any(named_passband(training) is not None for training in observed):
        return "As requested"
    options = {training.get(name) for training in observed for name in ("delays", "gain", "noise")}
    if "on" not in options:
        return "Where held-out data supported it"
    return "Where it was imposed" + (" or held-out data supported it" if "auto" in options else "")


_PROCESS_FIT = (
    "The process was fitted by maximum a posteriori estimation to the second moments of the "
    "samples, including the innovations; the ratio of the prior precisions of the symmetric and "
    "antisymmetric parts of the drift was derived from their lagged evidence, with block sampling "
    "errors, and their magnitude was chosen by held-out prediction"
)


def _describe_process(trainings: Trainings) -> str:
    return f"It was {PROCESS}. {_PROCESS_FIT}{_describe_pair_prior(trainings)}"


def _describe_hybrid(trainings: Trainings) -> str:
    tried = [
        training
        for training in trainings
        if "residual_gain" in training or training.get("residual_networks")
    ]
    linear, corrections = _describe_linear(trainings), _describe_corrections(trainings)
    if not tried:  # beside an observation model, or where a kind of fit without them is imposed
        return f"{linear}{corrections}"
    extent = "" if len(tried) == len(trainings) else f" of {count_noun(len(tried), 'model')}"
    return (
        f"{linear}. Networks with two hidden layers were trained on the "
        f"residuals{extent} (Adam, at most {tried[0].get('epochs')} epochs, early stopping) and "
        "retained only if they lowered the held-out error by more than "
        f"{100 * NETWORKS_GAIN:.2g} % and improved cross-validated prediction beyond a linear "
        f"correction{_describe_added_networks(tried)}{corrections}"
    )


def _describe_added_networks(trainings: Trainings) -> str:
    """State in how many models networks were added."""
    n_models = len(trainings)
    n_networks = sum(training.get("residual_networks", 0) > 0 for training in trainings)
    if n_networks == n_models:
        return ", which they did" + (" in all models" if n_models > 1 else "")
    if n_networks == 0:
        return ", which was not the case" + (" in any model" if n_models > 1 else "")
    return f", which was the case in {n_networks} of {n_models} models"


def _describe_corrections(trainings: Trainings) -> str:
    """State in how many models the linear part was corrected."""
    n_models = len(trainings)
    n_corrected = sum(bool(training.get("linear_correction")) for training in trainings)
    if not n_corrected:
        return ""
    extent = "" if n_models == 1 else f" in {n_corrected} of {n_models} models"
    return (
        ". An early-stopped linear map of the residuals, which improved the prediction in "
        f"cross-validation, was added to the linear part{extent}"
    )


def _describe_network(summary: str, trainings: Trainings) -> str:
    first = trainings[0]
    return (
        f"It was a {summary}, trained with Adam on the mean squared error for "
        f"{first.get('epochs')} epochs (batch size {first.get('batch_size')}, learning rate "
        f"{first.get('learning_rate')}, weight decay {first.get('weight_decay')})"
    )


def _describe_rdcm(trainings: Trainings) -> str:
    density = trainings[0].get("rdcm_density", 1.0)
    sparse = (
        f" and a prior probability of {density:g} that a connection exists [@fraessle2018]"
        if density < 1
        else ""
    )
    return (
        "It was a regression dynamic causal model of resting-state signals (rDCM) [@fraessle2017; "
        "@fraessle2021], which regresses forward differences of the signals on the signals by "
        f"variational Bayes, with the priors of the published toolbox{sparse}; of it, the step "
        "over one sample was perturbed"
    )


# --- Duration of a fit: CPU seconds, fitted to signals with haemodynamics ----------------------
# (20 to 1000 regions, 600 samples, 24 frequency bins; python -m benchmarks.estimates)

_PROCESS = (2.0, 2.5e-4, 1.6e-7)  # per model, and per region squared and cubed
_BINS = 24
_LINEAR = 2.3e-6  # per sample and region
_EPOCH = (5.6e-6, 2e-9)  # per sample, and per sample and region squared


def _process_seconds(samples: int, n_regions: int, settings: Effort) -> float:
    from npi_bids.surrogates.cross_spectra import choose_n_bins

    del settings
    base, squared, cubed = _PROCESS
    bins = choose_n_bins(samples, n_regions) / _BINS
    return base + bins * (squared * n_regions**2 + cubed * n_regions**3)


def _linear_seconds(samples: int, n_regions: int, settings: Effort) -> float:
    del settings
    return _LINEAR * samples * n_regions


def _network_seconds(samples: int, n_regions: int, settings: Effort) -> float:
    epoch = samples * (_EPOCH[0] + _EPOCH[1] * n_regions**2)
    n_epochs = int(settings.epochs or DEFAULTS["epochs"])
    return epoch * n_epochs * int(settings.n_seeds or 1)


def _count_one_matrix(n_regions: int, n_lags: int) -> int:
    del n_lags  # the moments of all lags come from one matrix
    return n_regions**2


def _count_all_lags(n_regions: int, n_lags: int) -> int:
    return n_regions**2 * n_lags


def _network(name: str, summary: str) -> SurrogateFamily:
    module = "npi_bids.surrogates.networks"
    return SurrogateFamily(
        name=name,
        summary=summary,
        fit=f"{module}:fit_{name}",
        load=f"{module}:load_network",
        describe=functools.partial(_describe_network, summary),
        kind=functools.partial(describe_network_kind, summary),
        by_gradient=True,
        on_gpu=True,
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
        kind=describe_hybrid_kind,
        kind_name=name_hybrid_kind,
        # The process reads the last sample; earlier ones serve whitening and memory.
        defaults={"n_lags": 4, "epochs": 200, "learning_rate": 1e-3, "n_seeds": 4, "patience": 10},
        on_gpu=True,
        prior=PriorSupport(
            linear="better", network="npi_bids.surrogates.residual_networks:zero_mlp"
        ),
        calibrated=True,
        n_weights=_count_one_matrix,
        seconds=_process_seconds,
    ),
    SurrogateFamily(
        name="mou",
        summary="Ornstein-Uhlenbeck process",
        fit="npi_bids.surrogates.ou:fit_mou",
        load="npi_bids.surrogates.ou:load_mou",
        describe=_describe_process,
        kind=describe_process_kind,
        kind_name=name_hybrid_kind,
        defaults={"n_lags": 4},
        on_gpu=True,
        prior=PriorSupport(linear="process"),
        calibrated=True,
        n_weights=_count_one_matrix,
        seconds=_process_seconds,
    ),
    SurrogateFamily(
        name="var",
        summary="vector autoregression",
        fit="npi_bids.surrogates.var:fit_var",
        load="npi_bids.surrogates.var:load_var",
        describe=_describe_var,
        kind=describe_var_kind,
        defaults=lambda settings: (
            {} if getattr(settings, "var_fit", "ridge") == "adam" else {"n_lags": 1}
        ),
        prior=PriorSupport(linear="var"),
        calibrated=True,
        n_weights=_count_all_lags,
        seconds=_linear_seconds,
    ),
    SurrogateFamily(
        name="rdcm",
        summary="regression dynamic causal modelling",
        fit="npi_bids.surrogates.rdcm:fit_rdcm",
        load="npi_bids.surrogates.rdcm:load_rdcm",
        describe=_describe_rdcm,
        defaults={"n_lags": 1},
        n_weights=_count_one_matrix,
        seconds=_linear_seconds,
    ),
    _network("mlp", "multilayer perceptron"),
    _network("cnn", "convolutional network"),
    _network("rnn", "recurrent network"),
)
