"""Whole-brain models of neurolib on a connectome, their BOLD signals and effective connectivity.

The models are neurolib's (Cakan, Jajcay and Obermayer 2021, doi:10.1007/s12559-021-09931-9), and
so is the haemodynamics (Balloon-Windkessel, Friston et al. 2003,
doi:10.1016/S1053-8119(03)00202-7). They are integrated chunk by chunk, each chunk with noise of
its own: neurolib starts its generator anew from the same seed in every chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.records import Array
from npi_bids.whole_brain.connectome import Connectome
from npi_bids.whole_brain.settings import RESPONSE_SECONDS, STIMULUS_SECONDS
from npi_bids.wording import join_words

_WARM_UP = 20.0  # s until a model and its BOLD have forgotten where they started
_STRETCH = 2.0  # s integrated at once, so that memory does not grow with the length of a run
_BOLD_DT = 1.0  # ms; activity is averaged over this time before the haemodynamics
_VESSELS = ("X_BOLD", "F_BOLD", "Q_BOLD", "V_BOLD")
_AFTER_PUSH = 1_000_000  # number of a stretch that no warm-up reaches


@dataclass(frozen=True, slots=True)
class BrainKind:
    """What sets one of neurolib's models apart.

    ``push`` is the size of the stimulus in the model's own units; ``pushed`` the parameter that
    takes it over time, or the starting state that it is added to. ``gain`` makes Hz of the model's
    activity. ``own`` are the parameters that put the model below its transition, with noise.
    ``ranges`` are those that are fitted to a subject: coupling and excitability first.
    """

    module: str
    name: str
    coupling: str
    pushed: str
    push: float
    state_push: bool = False
    gain: float = 1.0
    own: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


# aln: the parameters of neurolib's first example; the others lie just below their oscillations.
KINDS: dict[str, BrainKind] = {
    "aln": BrainKind(
        "aln", "ALNModel", "Ke_gl", "ext_exc_current", 0.5,
        own={"mue_ext_mean": 1.57, "mui_ext_mean": 1.6, "sigma_ou": 0.09, "b": 5.0},
        ranges={"Ke_gl": (150.0, 600.0), "mue_ext_mean": (1.4, 1.8), "mui_ext_mean": (1.4, 1.9),
                "sigma_ou": (0.03, 0.2), "signalV": (5.0, 80.0)},
    ),
    "hopf": BrainKind(
        "hopf", "HopfModel", "K_gl", "x_ext", 0.05,
        own={"a": -0.01, "sigma_ou": 0.05, "K_gl": 0.6},
        ranges={"K_gl": (0.1, 3.0), "a": (-0.1, 0.05), "sigma_ou": (0.02, 0.3),
                "signalV": (5.0, 80.0)},
    ),
    "wc": BrainKind(
        "wc", "WCModel", "K_gl", "exc_ext", 0.3,
        own={"exc_ext": 0.45, "sigma_ou": 0.02, "K_gl": 3.0},
        ranges={"K_gl": (0.5, 8.0), "exc_ext": (0.2, 1.0), "sigma_ou": (0.005, 0.1),
                "signalV": (5.0, 80.0)},
    ),
    "fhn": BrainKind(
        "fhn", "FHNModel", "K_gl", "x_ext", 0.2,
        own={"x_ext": 0.3, "sigma_ou": 0.02, "K_gl": 0.6},
        ranges={"K_gl": (0.2, 3.0), "x_ext": (0.1, 0.8), "sigma_ou": (0.01, 0.1),
                "signalV": (5.0, 80.0)},
    ),
    "ww": BrainKind(
        "ww", "WWModel", "K_gl", "ses_init", 0.1, state_push=True, gain=1000.0,
        own={"sigma_ou": 0.01, "K_gl": 0.3},
        ranges={"K_gl": (0.05, 1.0), "exc_current": (0.3, 0.42), "sigma_ou": (0.002, 0.05),
                "signalV": (5.0, 80.0)},
    ),
}  # fmt: skip


class NeurolibModel(Protocol):
    """What is used of a model of neurolib."""

    params: dict[str, Any]
    outputs: Mapping[str, ArrayLike]
    default_output: str
    init_vars: list[str]

    def initializeRun(self) -> None:  # noqa: N802 (as neurolib names it)
        """Prepare the integration."""

    def autochunk(self, *, chunksize: int) -> None:
        """Integrate part by part."""


def make_model(
    name: str, weights: Array, lengths: Array, parameters: Mapping[str, float], seed: int
) -> NeurolibModel:
    """Return a neurolib model on a connectome.

    Parameters
    ----------
    name
        Key of ``KINDS``.
    weights, lengths
        Shape (n_regions, n_regions), indexed ``[source, target]``; lengths in mm. Weights are
        scaled to a largest entry of 1, as neurolib's own are.
    parameters
        neurolib's parameters, where they differ from those of the kind.
    seed
        Of the starting state.

    Raises
    ------
    SettingsError
        neurolib is not installed, or does not know a parameter.
    """
    kind = KINDS[name]
    try:
        module = import_module(f"neurolib.models.{kind.module}")
    except ImportError as error:
        raise SettingsError(
            "Whole-brain models need neurolib, which is not installed; "
            "pip install 'npi-bids[neurolib]'."
        ) from error
    # Rows are targets in neurolib.
    model: NeurolibModel = getattr(module, kind.name)(
        Cmat=weights.T / (weights.max() or 1.0), Dmat=lengths.T, seed=seed
    )
    for key, value in {**kind.own, **parameters}.items():
        if key not in model.params:
            known = sorted(k for k, v in model.params.items() if isinstance(v, float))
            raise SettingsError(
                f"The model {name} has no parameter {key!r}; it has {', '.join(known)}."
            )
        model.params[key] = value
    return model


@dataclass(frozen=True, slots=True, eq=False)
class BrainSystem:
    """A model on a connectome.

    Attributes
    ----------
    kind
        ``aln``, ``hopf``, ``wc``, ``fhn`` or ``ww``.
    connectome
        Weights are scaled to a largest entry of 1, as neurolib's own are.
    tr
        Sampling period of BOLD (s); a multiple of 1 ms.
    parameters
        neurolib's parameters by name, where they differ from the model's own here.
    """

    kind: str
    connectome: Connectome
    tr: float = 2.0
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingsError(f"Unknown model {self.kind!r}; choose one of {', '.join(KINDS)}.")
        if abs(self.tr * 1000 - round(self.tr * 1000)) > 1e-6 or self.tr < 0.01:
            raise SettingsError(
                f"The sampling period of {self.tr} s must be a multiple of 1 ms, at least 0.01 s."
            )

    @property
    def coupling(self) -> str:
        """Name of the global coupling in neurolib."""
        return KINDS[self.kind].coupling

    def with_parameters(self, parameters: Mapping[str, float]) -> BrainSystem:
        """Return the system with other parameters."""
        merged = {**self.parameters, **parameters}
        return BrainSystem(self.kind, self.connectome, self.tr, merged)

    def parameter(self, name: str) -> float:
        """Return the value of a parameter of this system."""
        value = {**KINDS[self.kind].own, **self.parameters}.get(name)
        return float(self.model(1).params[name] if value is None else value)

    def model(self, seed: int) -> NeurolibModel:
        """Return neurolib's model; the seed is that of its starting state."""
        connectome = self.connectome
        return make_model(self.kind, connectome.weights, connectome.lengths, self.parameters, seed)


def simulate_brain(
    system: BrainSystem,
    *,
    n_samples: int,
    seed: int,
    on_sample: Callable[[int], None] = lambda _: None,
) -> Array:
    """Simulate BOLD of one run.

    Parameters
    ----------
    system
        The model.
    n_samples
        How long, after a warm-up of 20 s.
    seed
        Of starting state and noise.
    on_sample
        Called with the number of samples so far, for progress.

    Returns
    -------
    Array
        Shape (n_samples, n_regions).

    Raises
    ------
    SettingsError
        neurolib is not installed, or it does not know a parameter.
    SurrogateError
        The model diverged.
    """
    with _own_randomness():
        run = _Run(system, seed)
        run.advance(_WARM_UP)
        bold = []
        for sample in range(n_samples):
            run.advance(system.tr)
            bold.append(run.signal[-1])
            on_sample(sample + 1)
    return np.array(bold)


def true_ec(
    system: BrainSystem,
    *,
    seed: int,
    n_states: int = 4,
    on_region: Callable[[int], None] = lambda _: None,
) -> Array:
    """Return the effective connectivity by direct perturbation of the model.

    From independent states the model runs twice under the same noise, the second time with the
    source stimulated; the difference of BOLD, averaged over RESPONSE_SECONDS, is the
    effect.

    Parameters
    ----------
    system
        The model.
    seed
        Of states and noise.
    n_states
        States to average over.
    on_region
        Called with the number of perturbed runs so far, for progress.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``, in units of BOLD; the diagonal
        is the answer of the source itself.
    """
    n_regions = len(system.connectome.weights)
    effect = np.zeros((n_regions, n_regions))
    with _own_randomness():
        for number in range(n_states):
            run = _Run(system, seed + number)
            run.advance(_WARM_UP)
            start = run.state()
            plain = run.answer(start, None)
            for source in range(n_regions):
                effect[source] += (run.answer(start, source) - plain) / n_states
                on_region(number * n_regions + source + 1)
    return effect


def activity(system: BrainSystem, *, seconds: float, seed: int) -> Array:
    """Return the activity that drives BOLD, at 1 ms, shape (n_steps, n_regions)."""
    with _own_randomness():
        run = _Run(system, seed)
        run.advance(2.0)
        return run.advance(seconds)


class _Run:
    """One run of a model, advanced stretch by stretch; each with noise of its own."""

    def __init__(self, system: BrainSystem, seed: int) -> None:
        from neurolib.models.bold import BOLDModel  # an optional extra, and slow to import

        self.system, self.seed, self.n_stretches = system, seed, 0
        self.model = system.model(_seed(seed, 0))
        self.haemodynamics = BOLDModel(len(system.connectome.weights), _BOLD_DT)
        self.haemodynamics.samplingRate_NDt = 1
        self.model.initializeRun()

    def advance(self, seconds: float, stimulus: Array | None = None) -> Array:
        """Integrate, with a stimulus for the first stretch; return the activity at 1 ms.

        The haemodynamics follow; ``signal`` is their BOLD at 1 ms.
        """
        pieces = []
        left = seconds
        while left > 1e-9:
            pieces.append(self._stretch(min(left, _STRETCH), stimulus))
            left, stimulus = left - _STRETCH, None
        self.signal = np.concatenate([bold for _, bold in pieces])
        return np.concatenate([coarse for coarse, _ in pieces])

    def _stretch(self, seconds: float, stimulus: Array | None) -> tuple[Array, Array]:
        """Return activity and BOLD of one stretch, which has noise of its own."""
        model, kind = self.model, KINDS[self.system.kind]
        self.n_stretches += 1
        model.params["seed"] = _seed(self.seed, self.n_stretches)
        before = model.params[kind.pushed]
        if stimulus is not None:
            model.params[kind.pushed] = _pushed(before, stimulus, kind.state_push)
        n_steps = round(1000 * seconds / model.params["dt"])
        model.autochunk(chunksize=n_steps)
        if not kind.state_push:
            model.params[kind.pushed] = before
        fine = np.asarray(model.outputs[model.default_output], dtype=float)[:, -n_steps:]
        if not np.isfinite(fine).all():
            raise SurrogateError(
                f"The model {self.system.kind} diverged with the parameters "
                + join_words(f"{name} {value:g}" for name, value in self.system.parameters.items())
                + "; lower its coupling or noise."
            )
        together = round(_BOLD_DT / model.params["dt"])
        coarse = fine.reshape(len(fine), -1, together).mean(axis=2)
        transform = getattr(model, "boldInputTransform", None)
        self.haemodynamics.run(transform(coarse) if transform else kind.gain * coarse)
        return coarse.T, np.asarray(self.haemodynamics.BOLD_chunk, dtype=float).T

    def state(self) -> _State:
        """Return all that the future depends on, apart from noise."""
        return _State(
            {name: np.copy(self.model.params[name]) for name in self.model.init_vars},
            {name: np.copy(getattr(self.haemodynamics, name)) for name in _VESSELS},
        )

    def answer(self, start: _State, source: int | None) -> Array:
        """Return mean BOLD after a stimulus of one region (or none), from a state."""
        self.model.params.update({name: np.copy(value) for name, value in start.model.items()})
        for name, value in start.vessels.items():
            setattr(self.haemodynamics, name, np.copy(value))
        self.n_stretches = _AFTER_PUSH  # the same noise for all that start here
        stimulus = np.zeros(len(self.system.connectome.weights))
        if source is not None:
            stimulus[source] = KINDS[self.system.kind].push
        self.advance(STIMULUS_SECONDS, stimulus)
        self.advance(RESPONSE_SECONDS[0] - STIMULUS_SECONDS)
        self.advance(RESPONSE_SECONDS[1] - RESPONSE_SECONDS[0])
        mean: Array = self.signal.mean(axis=0)
        return mean


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """Starting values of a model, and of the haemodynamics."""

    model: Mapping[str, Array]
    vessels: Mapping[str, Array]


def _pushed(before: ArrayLike, stimulus: Array, at_once: bool) -> Array:
    """Return an input that is higher for the whole stretch, or a state that is higher now."""
    if not at_once:
        constant: Array = (np.asarray(before) + stimulus)[:, None]  # a column is repeated in time
        return constant
    history = np.copy(before)
    history[:, -1] += stimulus
    return history


def _seed(seed: int, stretch: int) -> int:
    return int(np.random.SeedSequence([seed, stretch]).generate_state(1)[0])


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leave numpy's global generator, which neurolib seeds and uses, as it was."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
