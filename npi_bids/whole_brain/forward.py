"""Forward simulation of any neural mass model: rates and BOLD over time, with stimuli.

The models are neurolib's (Cakan, Jajcay and Obermayer 2021, doi:10.1007/s12559-021-09931-9), all
of which are available here, with neurolib's own default parameters, and classes of the user with
the same interface. They are integrated chunk by chunk, each chunk with its own noise, because
neurolib restarts its generator from the same seed in every chunk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.records import Array
from npi_bids.settings import check_options, option
from npi_bids.whole_brain.connectome import Connectome
from npi_bids.whole_brain.models import (
    NEUROLIB_MODELS,
    NeurolibModel,
    chunk_seed,
    preserve_random_state,
)
from npi_bids.whole_brain.stimuli import Stimulus
from npi_bids.wording import join_items, suggest_word

# Module and class in neurolib by name; the thalamus is one node and has no BOLD of its own.
MODEL_CLASSES: dict[str, tuple[str, str]] = {
    **{name: (f"neurolib.models.{spec.module}", spec.name)
       for name, spec in NEUROLIB_MODELS.items()},
    "thalamus": ("neurolib.models.thalamus", "ThalamicMassModel"),
}  # fmt: skip
SINGLE_NODE = ("node",)
_GLOBAL_COUPLING = "K_gl"  # what neurolib calls it in all models but aln
# Parameters with an option of their own, or that follow from the connectome.
_RESERVED = ("duration", "seed", "N", "Cmat", "lengthMat", "Dmat", "bold", "sampling_dt")
_CHUNK_SECONDS = 2.0  # integrated at once, so that memory does not grow with the length of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardSettings:
    """Length and sampling of a forward simulation."""

    seconds: float = option(10.0, "length of the simulation in seconds", above=0, metavar="S")
    discard: float = option(
        0.0, "seconds at the start that are simulated but not kept", at_least=0, metavar="S"
    )
    sampling: float = option(
        1.0, "period in ms over which activity is averaged; 0 keeps every step", at_least=0,
        metavar="MS",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, eq=False)
class ForwardModel:
    """A model, its connectome and parameters.

    Attributes
    ----------
    name
        Key of ``MODEL_CLASSES``, or ``package.module:Class`` or ``file.py:Class`` of a class with
        the interface of neurolib's models.
    connectome
        Connections between regions; None for a single node.
    parameters
        Parameters by name, where they differ from the defaults of the model. ``K_gl`` is the
        global coupling of every model.
    """

    name: str
    connectome: Connectome | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the regions."""
        return SINGLE_NODE if self.connectome is None else self.connectome.labels

    def with_parameters(self, parameters: Mapping[str, float]) -> ForwardModel:
        """Return the model with some parameters replaced."""
        return ForwardModel(self.name, self.connectome, {**self.parameters, **parameters})

    def create(self, seed: int) -> NeurolibModel:
        """Return the model in the interface of neurolib.

        Parameters
        ----------
        seed
            Seed of the initial state.

        Raises
        ------
        SettingsError
            The class cannot be imported, has no such parameter, or is a single node although
            there is a connectome.
        """
        model_class = load_model_class(self.name)
        accepted = signature(model_class).parameters
        arguments: dict[str, Any] = {"seed": seed} if "seed" in accepted else {}
        if self.connectome is not None:
            if not {"Cmat", "Dmat"} <= set(accepted):
                raise SettingsError(
                    f"The model {self.name} is a single node; leave out the connectome "
                    "(--single-node)."
                )
            # Rows are targets in neurolib, and the largest weight is 1.
            weights, lengths = self.connectome.weights, self.connectome.lengths
            arguments |= {"Cmat": weights.T / (weights.max() or 1.0), "Dmat": lengths.T}
        model: NeurolibModel = model_class(**arguments)
        for name, value in self.parameters.items():
            key = _find_parameter(self.name, model, name)
            # A parameter that is a whole number, such as a switch, stays one.
            whole = isinstance(model.params[key], int) and float(value).is_integer()
            model.params[key] = int(value) if whole else float(value)
        return model


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """Simulated activity.

    Attributes
    ----------
    time
        Shape (n_samples,); end of each sample (s), from the start of the simulation.
    outputs
        By the name of the variable of the model: shape (n_samples, n_regions).
    default_output
        The variable that drives BOLD.
    bold_time, bold
        Times (s), and BOLD of shape (n_volumes, n_regions); empty where it was not requested.
    labels
        Names of the regions.
    """

    time: Array
    outputs: dict[str, Array]
    default_output: str
    bold_time: Array
    bold: Array
    labels: tuple[str, ...]

    @property
    def activity(self) -> Array:
        """The variable that drives BOLD, shape (n_samples, n_regions)."""
        return self.outputs[self.default_output]


def load_model_class(name: str) -> Callable[..., NeurolibModel]:
    """Return the class of a model.

    Parameters
    ----------
    name
        See :class:`ForwardModel`.

    Raises
    ------
    SettingsError
        There is no such model, or its module cannot be imported.
    """
    if ":" not in name and name not in MODEL_CLASSES:
        hint = suggest_word(name, tuple(MODEL_CLASSES)) or "."
        raise SettingsError(
            f"Unknown model {name!r}; choose one of {join_items(MODEL_CLASSES)}, or a class of "
            f"your own as package.module:Class or file.py:Class{hint}"
        )
    module_name, class_name = MODEL_CLASSES.get(name) or name.rsplit(":", 1)
    try:
        module = _import_file(Path(module_name)) if module_name.endswith(".py") else (
            import_module(module_name))  # fmt: skip
    except (ImportError, OSError, AttributeError) as error:
        advice = (
            "; whole-brain models need neurolib: pip install 'npi-bids[neurolib]'."
            if name in MODEL_CLASSES
            else "; give its path as file.py:Class, or install its package."
        )
        raise SettingsError(
            f"The model {name} cannot be imported ({type(error).__name__}: {error}){advice}"
        ) from error
    model_class: Callable[..., NeurolibModel] | None = getattr(module, class_name, None)
    if model_class is None:
        raise SettingsError(f"<{module_name}> has no class {class_name}.")
    return model_class


def simulate_model(
    model: ForwardModel,
    settings: ForwardSettings,
    *,
    seed: int,
    tr: float | None = None,
    stimulus: Stimulus | None = None,
    on_chunk: Callable[[float], None] = lambda _: None,
) -> Activity:
    """Simulate a model.

    Parameters
    ----------
    model
        The model, its connectome and parameters.
    settings
        Length and sampling.
    seed
        Seed of the initial state and of the noise.
    tr
        Sampling period of BOLD (s); None to simulate no BOLD.
    stimulus
        Input added to the input variable of the model, at times from the start of the simulation.
    on_chunk
        Called with the seconds that are simulated so far, for progress.

    Raises
    ------
    SettingsError
        The model cannot be made, or has no input over time; the sampling period is not a multiple
        of the step.
    SurrogateError
        The model diverged.
    """
    with preserve_random_state():
        run = _ForwardRun(model, settings, seed, tr)
        if stimulus is not None:
            run.check_stimulus()
            stimulus.values(np.zeros(1), model.labels)  # names of regions, before a long run
        total = settings.discard + settings.seconds
        for number in range(ceil(total / _CHUNK_SECONDS - 1e-9)):
            seconds = min(_CHUNK_SECONDS, total - number * _CHUNK_SECONDS)
            run.advance(number, seconds, stimulus)
            on_chunk(number * _CHUNK_SECONDS + seconds)
    return run.activity()


class _ForwardRun:
    """One simulation, advanced chunk by chunk."""

    def __init__(
        self, model: ForwardModel, settings: ForwardSettings, seed: int, tr: float | None
    ) -> None:
        self.source, self.settings, self.seed, self.tr = model, settings, seed, tr
        np.random.seed(chunk_seed(seed, 0))  # noqa: NPY002 (initial states of neurolib)
        self.model = model.create(chunk_seed(seed, 0))
        self.dt = float(self.model.params["dt"])  # ms
        self.model.initializeRun()
        self.n_averaged = self._count_steps(settings.sampling or self.dt, "--sampling")
        per_chunk = 1000 * _CHUNK_SECONDS / (settings.sampling or self.dt)
        if abs(per_chunk - round(per_chunk)) > 1e-6:
            raise SettingsError(
                f"--sampling, {settings.sampling:g} ms, must divide {_CHUNK_SECONDS:g} s, which "
                "are integrated at once; for example 0.5, 1, 10 or 100 ms."
            )
        self.pieces: list[dict[str, Array]] = []
        self.bold_pieces: list[Array] = []
        self.haemodynamics: Any = None
        if tr is not None:
            from neurolib.models.bold import BOLDModel  # an optional extra, and slow to import

            self._count_steps(1.0, "The step of the haemodynamics")
            if tr < 1e-3 or abs(1000 * tr - round(1000 * tr)) > 1e-6:
                raise SettingsError(f"--tr, {tr:g} s, must be a multiple of 1 ms.")
            self.haemodynamics = BOLDModel(len(model.labels), 1.0)
            self.haemodynamics.samplingRate_NDt = 1

    def _count_steps(self, milliseconds: float, name: str) -> int:
        n_steps = round(milliseconds / self.dt)
        if n_steps < 1 or abs(n_steps * self.dt - milliseconds) > 1e-6:
            raise SettingsError(
                f"{name}, {milliseconds:g} ms, must be a multiple of the integration step of "
                f"{self.dt:g} ms (parameter dt)."
            )
        return n_steps

    @property
    def input_variable(self) -> str:
        """Parameter of the model that takes input over time; empty if it has none."""
        if self.source.name in NEUROLIB_MODELS:
            spec = NEUROLIB_MODELS[self.source.name]
            return "" if spec.stimulates_state else spec.stimulated
        return str(getattr(self.model, "default_input", None) or "")

    def check_stimulus(self) -> None:
        if not self.input_variable:
            raise SettingsError(
                f"The model {self.source.name} has no input over time, so that it cannot be "
                "stimulated; leave out --stimulus or choose another model."
            )

    def advance(self, number: int, seconds: float, stimulus: Stimulus | None) -> None:
        """Integrate one chunk, with its own noise."""
        params, n_steps = self.model.params, round(1000 * seconds / self.dt)
        params["seed"] = chunk_seed(self.seed, number + 1)
        np.random.seed(params["seed"])  # noqa: NPY002 (models that draw noise with numpy)
        start = 1000 * _CHUNK_SECONDS * number
        unstimulated = params[self.input_variable] if stimulus is not None else None
        if stimulus is not None:
            time = (start + self.dt * (np.arange(n_steps) + 1)) / 1000
            values = stimulus.values(time - self.dt / 2000, self.source.labels)
            # neurolib counts its input from the start of the history that the delays need.
            history = np.repeat(values[:, :1], self.model.startindt, axis=1)
            base = np.asarray(unstimulated, dtype=float).reshape(-1, 1)
            params[self.input_variable] = base + np.concatenate([history, values], axis=1)
        self.model.autochunk(chunksize=n_steps)
        if stimulus is not None:
            params[self.input_variable] = unstimulated
        self._keep(start / 1000, n_steps)

    def _keep(self, start: float, n_steps: int) -> None:
        """Average and keep the outputs of the latest chunk, and simulate its BOLD."""
        fine = {
            name: np.atleast_2d(np.asarray(self.model.outputs[name], dtype=float))[:, -n_steps:]
            for name in self.model.output_vars
        }
        if not all(np.isfinite(values).all() for values in fine.values()):
            raise SurrogateError(
                f"The model {self.source.name} diverged "
                + (f"with {join_items(f'{k} {v:g}' for k, v in self.source.parameters.items())}"
                   if self.source.parameters else "with its default parameters")
                + "; lower its coupling, noise or integration step (dt)."
            )  # fmt: skip
        averaged = {name: _average(values, self.n_averaged) for name, values in fine.items()}
        n_kept = len(next(iter(averaged.values())))
        time = start + self.dt * self.n_averaged * (np.arange(n_kept) + 1) / 1000
        kept = time > self.settings.discard + 1e-9
        self.pieces.append({"time": time[kept], **{n: v[kept] for n, v in averaged.items()}})
        if self.haemodynamics is not None:
            coarse = _average(fine[self.model.default_output], round(1.0 / self.dt)).T
            spec = NEUROLIB_MODELS.get(self.source.name)
            transform = getattr(self.model, "boldInputTransform", None)
            gain = spec.gain if spec else 1.0
            self.haemodynamics.run(transform(coarse) if transform else gain * coarse)
            bold = np.asarray(self.haemodynamics.BOLD_chunk, dtype=float).T
            # neurolib omits the first of the samples, which are 1 ms apart.
            missing = len(coarse.T) - len(bold)
            self.bold_pieces.append(np.concatenate([bold[:missing], bold]))

    def activity(self) -> Activity:
        """Return what was kept."""
        joined = {name: np.concatenate([piece[name] for piece in self.pieces])
                  for name in self.pieces[0]}  # fmt: skip
        time = joined.pop("time")
        n_regions = len(self.source.labels)
        bold_time: Array = np.zeros(0)
        bold: Array = np.zeros((0, n_regions))
        if self.tr is not None:
            step = round(1000 * self.tr)
            volumes: Array = np.concatenate(self.bold_pieces)[step - 1 :: step]
            times: Array = np.arange(1, len(volumes) + 1, dtype=np.float64) * self.tr
            kept = times > self.settings.discard + 1e-9
            bold_time, bold = times[kept], volumes[kept]
        return Activity(time, joined, self.model.default_output, bold_time, bold,
                        self.source.labels)  # fmt: skip


def _average(values: Array, n_averaged: int) -> Array:
    """Return means over groups of samples, shape (n_groups, n_regions)."""
    n_groups = values.shape[1] // n_averaged
    grouped = values[:, : n_groups * n_averaged].reshape(len(values), n_groups, n_averaged)
    means: Array = grouped.mean(axis=2).T
    return means


def _find_parameter(model_name: str, model: NeurolibModel, name: str) -> str:
    """Return the name of a parameter in the model."""
    spec = NEUROLIB_MODELS.get(model_name)
    if name == _GLOBAL_COUPLING and name not in model.params and spec:
        return spec.coupling
    if name in _RESERVED:
        raise SettingsError(
            f"The parameter {name} follows from the connectome and the options of the simulation; "
            "use those."
        )
    numbers = sorted(
        key for key, value in model.params.items()
        if isinstance(value, int | float) and key not in _RESERVED
    )  # fmt: skip
    if name not in numbers:
        hint = suggest_word(name, numbers) or "."
        raise SettingsError(
            f"The model {model_name} has no parameter {name!r} that is a number; it has "
            f"{join_items(numbers)}{hint}"
        )
    return name


def _import_file(path: Path) -> Any:
    """Import a file of the user; workers import it again by its path."""
    path = path.resolve()
    key = f"npi_bids_user_model_{path.stem}"
    spec = spec_from_file_location(key, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"<{path}> is not a Python file")
    module = module_from_spec(spec)
    sys.modules[key] = module
    spec.loader.exec_module(module)
    return module
