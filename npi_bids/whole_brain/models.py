"""Whole-brain models of neurolib on a connectome, their BOLD signals and effective connectivity.

The models are neurolib's (Cakan, Jajcay and Obermayer 2021, doi:10.1007/s12559-021-09931-9), and
so is the haemodynamics (Balloon-Windkessel, Friston et al. 2003,
doi:10.1016/S1053-8119(03)00202-7). They are integrated chunk by chunk, each chunk with its own
noise, because neurolib restarts its generator from the same seed in every chunk.
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
from npi_bids.wording import join_items

_WARM_UP = 20.0  # s until a model and its BOLD have forgotten their initial state
_CHUNK_SECONDS = 2.0  # integrated at once, so that memory does not grow with the length of a run
_BOLD_DT = 1.0  # ms; activity is averaged over this time before the haemodynamics
_BALLOON_STATES = ("X_BOLD", "F_BOLD", "Q_BOLD", "V_BOLD")
_AFTER_STIMULUS = 1_000_000  # index of a chunk that no warm-up reaches


@dataclass(frozen=True, slots=True)
class NeurolibSpec:
    """Stimulus, default parameters and search ranges of one of neurolib's models.

    ``stimulus`` is the strength of the stimulus in units of the model; ``stimulated`` names the
    parameter that receives it over time, or (``stimulates_state``) the initial state to which it
    is added. ``gain`` converts the model's activity to Hz. ``defaults`` place the model, with
    noise, below its transition. ``ranges`` hold the parameters that are fitted to a subject:
    coupling and excitability first.
    """

    module: str
    name: str
    coupling: str
    stimulated: str
    stimulus: float
    stimulates_state: bool = False
    gain: float = 1.0
    defaults: Mapping[str, float] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


# aln: the parameters of neurolib's first example; the others lie just below their oscillations.
NEUROLIB_MODELS: dict[str, NeurolibSpec] = {
    "aln": NeurolibSpec(
        "aln", "ALNModel", "Ke_gl", "ext_exc_current", 0.5,
        defaults={"mue_ext_mean": 1.57, "mui_ext_mean": 1.6, "sigma_ou": 0.09, "b": 5.0},
        ranges={"Ke_gl": (150.0, 600.0), "mue_ext_mean": (1.4, 1.8), "mui_ext_mean": (1.4, 1.9),
                "sigma_ou": (0.03, 0.2), "signalV": (5.0, 80.0)},
    ),
    "hopf": NeurolibSpec(
        "hopf", "HopfModel", "K_gl", "x_ext", 0.05,
        defaults={"a": -0.01, "sigma_ou": 0.05, "K_gl": 0.6},
        ranges={"K_gl": (0.1, 3.0), "a": (-0.1, 0.05), "sigma_ou": (0.02, 0.3),
                "signalV": (5.0, 80.0)},
    ),
    "wc": NeurolibSpec(
        "wc", "WCModel", "K_gl", "exc_ext", 0.3,
        defaults={"exc_ext": 0.45, "sigma_ou": 0.02, "K_gl": 3.0},
        ranges={"K_gl": (0.5, 8.0), "exc_ext": (0.2, 1.0), "sigma_ou": (0.005, 0.1),
                "signalV": (5.0, 80.0)},
    ),
    "fhn": NeurolibSpec(
        "fhn", "FHNModel", "K_gl", "x_ext", 0.2,
        defaults={"x_ext": 0.3, "sigma_ou": 0.02, "K_gl": 0.6},
        ranges={"K_gl": (0.2, 3.0), "x_ext": (0.1, 0.8), "sigma_ou": (0.01, 0.1),
                "signalV": (5.0, 80.0)},
    ),
    "ww": NeurolibSpec(
        "ww", "WWModel", "K_gl", "ses_init", 0.1, stimulates_state=True, gain=1000.0,
        defaults={"sigma_ou": 0.01, "K_gl": 0.3},
        ranges={"K_gl": (0.05, 1.0), "exc_current": (0.3, 0.42), "sigma_ou": (0.002, 0.05),
                "signalV": (5.0, 80.0)},
    ),
}  # fmt: skip


class NeurolibModel(Protocol):
    """The parts of neurolib's models that are used here."""

    params: dict[str, Any]
    outputs: Mapping[str, ArrayLike]
    default_output: str
    output_vars: list[str]
    init_vars: list[str]
    startindt: int

    def initializeRun(self) -> None:  # noqa: N802 (as neurolib names it)
        """Prepare the integration."""

    def autochunk(self, *, chunksize: int) -> None:
        """Integrate chunk by chunk."""


def make_model(
    name: str, weights: Array, lengths: Array, parameters: Mapping[str, float], seed: int
) -> NeurolibModel:
    """Return a neurolib model on a connectome.

    Parameters
    ----------
    name
        Key of ``NEUROLIB_MODELS``.
    weights, lengths
        Shape (n_regions, n_regions), indexed ``[source, target]``; lengths in mm. Weights are
        scaled to a largest entry of 1, as neurolib's own are.
    parameters
        neurolib's parameters, where they differ from the defaults of the model.
    seed
        Seed of the initial state.

    Raises
    ------
    SettingsError
        neurolib is not installed, or has no such parameter.
    """
    spec = NEUROLIB_MODELS[name]
    try:
        module = import_module(f"neurolib.models.{spec.module}")
    except ImportError as error:
        raise SettingsError(
            "Whole-brain models need neurolib, which is not installed; "
            "pip install 'npi-bids[neurolib]'."
        ) from error
    # Rows are targets in neurolib.
    model: NeurolibModel = getattr(module, spec.name)(
        Cmat=weights.T / (weights.max() or 1.0), Dmat=lengths.T, seed=seed
    )
    for key, value in {**spec.defaults, **parameters}.items():
        if key not in model.params:
            names = sorted(k for k, v in model.params.items() if isinstance(v, float))
            raise SettingsError(
                f"The model {name} has no parameter {key!r}; it has {', '.join(names)}."
            )
        model.params[key] = value
    return model


@dataclass(frozen=True, slots=True, eq=False)
class BrainSystem:
    """A model on a connectome.

    Attributes
    ----------
    model_name
        ``aln``, ``hopf``, ``wc``, ``fhn`` or ``ww``.
    connectome
        Weights are scaled to a largest entry of 1, as neurolib's own are.
    tr
        Sampling period of BOLD (s); a multiple of 1 ms.
    parameters
        neurolib's parameters by name, where they differ from the defaults of the model.
    """

    model_name: str
    connectome: Connectome
    tr: float = 2.0
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_name not in NEUROLIB_MODELS:
            raise SettingsError(
                f"Unknown model {self.model_name!r}; choose one of {', '.join(NEUROLIB_MODELS)}."
            )
        if abs(self.tr * 1000 - round(self.tr * 1000)) > 1e-6 or self.tr < 0.01:
            raise SettingsError(
                f"The sampling period of {self.tr} s must be a multiple of 1 ms, at least 0.01 s."
            )

    @property
    def coupling(self) -> str:
        """Name of the global coupling in neurolib."""
        return NEUROLIB_MODELS[self.model_name].coupling

    def with_parameters(self, parameters: Mapping[str, float]) -> BrainSystem:
        """Return the system with other parameters."""
        merged = {**self.parameters, **parameters}
        return BrainSystem(self.model_name, self.connectome, self.tr, merged)

    def parameter(self, name: str) -> float:
        """Return the value of a parameter of this system."""
        value = {**NEUROLIB_MODELS[self.model_name].defaults, **self.parameters}.get(name)
        return float(self.model(1).params[name] if value is None else value)

    def model(self, seed: int) -> NeurolibModel:
        """Return neurolib's model, with the seed of its initial state."""
        connectome = self.connectome
        return make_model(
            self.model_name, connectome.weights, connectome.lengths, self.parameters, seed
        )


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
        Length of the run in samples, after a warm-up of 20 s.
    seed
        Seed of the initial state and the noise.
    on_sample
        Called with the number of samples so far, for progress.

    Returns
    -------
    Array
        Shape (n_samples, n_regions).

    Raises
    ------
    SettingsError
        neurolib is not installed, or has no such parameter.
    SurrogateError
        The model diverged.
    """
    with preserve_random_state():
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
    source stimulated; the effect is the difference in BOLD, averaged over RESPONSE_SECONDS.

    Parameters
    ----------
    system
        The model.
    seed
        Seed of states and noise.
    n_states
        Number of states to average over.
    on_region
        Called with the number of perturbed runs so far, for progress.

    Returns
    -------
    Array
        Shape (n_regions, n_regions), indexed ``[source, target]``, in units of BOLD; the diagonal
        is the response of the source itself.
    """
    n_regions = len(system.connectome.weights)
    effect = np.zeros((n_regions, n_regions))
    with preserve_random_state():
        for number in range(n_states):
            run = _Run(system, seed + number)
            run.advance(_WARM_UP)
            start = run.state()
            plain = run.mean_response(start, None)
            for source in range(n_regions):
                effect[source] += (run.mean_response(start, source) - plain) / n_states
                on_region(number * n_regions + source + 1)
    return effect


def simulate_activity(system: BrainSystem, *, seconds: float, seed: int) -> Array:
    """Return the activity that drives BOLD, sampled every 1 ms, shape (n_steps, n_regions)."""
    with preserve_random_state():
        run = _Run(system, seed)
        run.advance(2.0)
        return run.advance(seconds)


class _Run:
    """One run of a model, advanced chunk by chunk; each chunk has its own noise."""

    def __init__(self, system: BrainSystem, seed: int) -> None:
        from neurolib.models.bold import BOLDModel  # an optional extra, and slow to import

        self.system, self.seed, self.n_chunks = system, seed, 0
        self.model = system.model(chunk_seed(seed, 0))
        self.haemodynamics = BOLDModel(len(system.connectome.weights), _BOLD_DT)
        self.haemodynamics.samplingRate_NDt = 1
        self.model.initializeRun()

    def advance(self, seconds: float, stimulus: Array | None = None) -> Array:
        """Integrate, with a stimulus in the first chunk; return the activity every 1 ms.

        The haemodynamics follow; ``signal`` is their BOLD every 1 ms.
        """
        pieces = []
        remaining = seconds
        while remaining > 1e-9:
            pieces.append(self._integrate_chunk(min(remaining, _CHUNK_SECONDS), stimulus))
            remaining, stimulus = remaining - _CHUNK_SECONDS, None
        self.signal = np.concatenate([bold for _, bold in pieces])
        return np.concatenate([coarse for coarse, _ in pieces])

    def _integrate_chunk(self, seconds: float, stimulus: Array | None) -> tuple[Array, Array]:
        """Return activity and BOLD of one chunk, which has its own noise."""
        model, spec = self.model, NEUROLIB_MODELS[self.system.model_name]
        self.n_chunks += 1
        model.params["seed"] = chunk_seed(self.seed, self.n_chunks)
        unstimulated = model.params[spec.stimulated]
        if stimulus is not None:
            model.params[spec.stimulated] = _add_stimulus(
                unstimulated, stimulus, spec.stimulates_state
            )
        n_steps = round(1000 * seconds / model.params["dt"])
        model.autochunk(chunksize=n_steps)
        if not spec.stimulates_state:
            model.params[spec.stimulated] = unstimulated
        fine = np.asarray(model.outputs[model.default_output], dtype=float)[:, -n_steps:]
        if not np.isfinite(fine).all():
            raise SurrogateError(
                f"The model {self.system.model_name} diverged with the parameters "
                + join_items(f"{name} {value:g}" for name, value in self.system.parameters.items())
                + "; lower its coupling or noise."
            )
        n_averaged = round(_BOLD_DT / model.params["dt"])
        coarse = fine.reshape(len(fine), -1, n_averaged).mean(axis=2)
        transform = getattr(model, "boldInputTransform", None)
        self.haemodynamics.run(transform(coarse) if transform else spec.gain * coarse)
        return coarse.T, np.asarray(self.haemodynamics.BOLD_chunk, dtype=float).T

    def state(self) -> _State:
        """Return the state that determines the future, apart from noise."""
        return _State(
            {name: np.copy(self.model.params[name]) for name in self.model.init_vars},
            {name: np.copy(getattr(self.haemodynamics, name)) for name in _BALLOON_STATES},
        )

    def mean_response(self, start: _State, source: int | None) -> Array:
        """Return mean BOLD after a stimulus of one region (or none), from a state."""
        self.model.params.update({name: np.copy(value) for name, value in start.model.items()})
        for name, value in start.balloon.items():
            setattr(self.haemodynamics, name, np.copy(value))
        self.n_chunks = _AFTER_STIMULUS  # the same noise for all runs from this state
        stimulus = np.zeros(len(self.system.connectome.weights))
        if source is not None:
            stimulus[source] = NEUROLIB_MODELS[self.system.model_name].stimulus
        self.advance(STIMULUS_SECONDS, stimulus)
        self.advance(RESPONSE_SECONDS[0] - STIMULUS_SECONDS)
        self.advance(RESPONSE_SECONDS[1] - RESPONSE_SECONDS[0])
        mean: Array = self.signal.mean(axis=0)
        return mean


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """Initial values of a model and of its balloon model."""

    model: Mapping[str, Array]
    balloon: Mapping[str, Array]


def _add_stimulus(unstimulated: ArrayLike, stimulus: Array, is_state: bool) -> Array:
    """Add a stimulus to an input for the whole chunk, or to the latest sample of a state."""
    if not is_state:
        constant: Array = (np.asarray(unstimulated) + stimulus)[
            :, None
        ]  # a column is repeated in time
        return constant
    history = np.copy(unstimulated)
    history[:, -1] += stimulus
    return history


def chunk_seed(seed: int, chunk: int) -> int:
    """Return the seed of the noise of one chunk; that of the initial state is chunk 0."""
    return int(np.random.SeedSequence([seed, chunk]).generate_state(1)[0])


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore numpy's global generator, which neurolib seeds and uses."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
