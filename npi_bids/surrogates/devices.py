"""Devices: where networks are trained and processes are fitted, and fallbacks for short memory.

Nine tenths of the time of the default is the likelihood of Ornstein-Uhlenbeck processes and its
gradient: products of matrices of all regions in double precision. These, and the networks, are
computed on a GPU. Everything else stays on the CPU: the search of L-BFGS, choices that are
made on few regions, standard errors in closed form, tests and measures, whose matrices are small
or few.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from npi_bids.errors import SettingsError, SurrogateError
from npi_bids.records import Array
from npi_bids.surrogates.base import MIN_GPU_REGIONS

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger(__name__)
_Result = TypeVar("_Result")

# Regions from which on fits begin in single precision (rough ones end in it); with smaller
# matrices, what goes beside their products takes as long.
_MIN_SINGLE_REGIONS = 60
_SINGLE = {"f": np.float32, "c": np.complex64}
_MOST_PARTS = 1024  # into which work is divided before memory is declared insufficient

_FIT_DEVICE: ContextVar[torch.device | None] = ContextVar("fit_device", default=None)


def find_device(name: str, n_regions: int) -> torch.device:
    """Return the device of a name for models of a number of regions.

    ``auto`` is the first GPU for models of at least ``MIN_GPU_REGIONS`` regions, and the CPU for
    smaller ones or without a GPU.

    Raises
    ------
    SettingsError
        If the device does not exist on this machine.
    """
    import torch

    if name == "auto":
        use_gpu = n_regions >= MIN_GPU_REGIONS and torch.cuda.is_available()
        return torch.device("cuda" if use_gpu else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"--device {name!r} is not a device; use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"--device {name}: torch {torch.__version__} sees no CUDA GPU here.")
    if device.type == "cuda" and (device.index or 0) >= (n_gpus := torch.cuda.device_count()):
        raise SettingsError(
            f"--device {name}: torch sees {n_gpus} CUDA GPU(s) here, numbered from 0."
        )
    return device


@contextmanager
def fits_on(device: torch.device | None) -> Iterator[None]:
    """Evaluate the likelihoods of large processes on a device within a context.

    Processes are refitted in many places, which know data and priors but no computing resources;
    so the device is set around them, like the number of threads.

    Parameters
    ----------
    device
        A device of torch; None for numpy on the CPU, which is faster there than torch.
    """
    token = _FIT_DEVICE.set(device)
    try:
        yield
    finally:
        _FIT_DEVICE.reset(token)


def fit_device(name: str, n_regions: int) -> torch.device | None:
    """Return the device for :func:`fits_on`: a GPU, or None for numpy on the CPU."""
    device = find_device(name, n_regions)
    return None if device.type == "cpu" else device


def array_module(array: Any) -> Any:
    """Return the module whose functions take an array: numpy, or torch for its tensors.

    The functions that are used exist in both under the same name.
    """
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


class Objective(Protocol):
    """A function to minimise, whose arrays can be those of numpy or torch."""

    def value_and_gradient(self, packed: Array) -> tuple[float, Array]:
        """Return the value and the gradient at a point."""


def objective_on_device(
    problem: Objective, arrays: Sequence[str], n_regions: int
) -> Callable[[Array], tuple[float, Array]]:
    """Return ``value_and_gradient`` of an objective, computed on the device of the context.

    Points and gradients are arrays of numpy, in double precision on every device. If the memory
    of the device does not suffice, the CPU takes over with the same point.

    Parameters
    ----------
    problem
        The objective. Left untouched.
    arrays
        Names of the attributes that are arrays; None is allowed as their value.
    n_regions
        Number of regions of the model.
    """
    device = _FIT_DEVICE.get()
    if device is None or n_regions < MIN_GPU_REGIONS:
        return problem.value_and_gradient
    return _DeviceObjective(problem, arrays, device)


def in_single_precision(
    problem: Objective, arrays: Sequence[str], n_regions: int
) -> Callable[[Array], tuple[float, Array]] | None:
    """Return ``value_and_gradient`` of a large objective in single precision.

    Products of large matrices take half the time in it. A fit that starts in single precision and
    ends in double precision has the same optimum.

    Parameters
    ----------
    problem, arrays, n_regions
        As in :func:`objective_on_device`.

    Returns
    -------
    Callable or None
        Takes and returns arrays in double precision. None for few regions, and on a GPU.
    """
    if n_regions < _MIN_SINGLE_REGIONS or _FIT_DEVICE.get() is not None:
        return None
    single = copy.copy(problem)
    for name in arrays:
        value = getattr(problem, name)
        if value is not None:
            setattr(single, name, value.astype(_SINGLE[value.dtype.kind]))

    def value_and_gradient(packed: Array) -> tuple[float, Array]:
        value, gradient = single.value_and_gradient(packed.astype(np.float32))
        return value, gradient.astype(np.float64)

    return value_and_gradient


class _DeviceObjective:
    """An objective with a copy on a device, which is used as long as its memory suffices."""

    def __init__(self, problem: Objective, arrays: Sequence[str], device: torch.device) -> None:
        self.problem, self.arrays, self.device = problem, arrays, device
        self.placed: Objective | None = None
        self.on_cpu = False

    def __call__(self, packed: Array) -> tuple[float, Array]:
        import torch

        if not self.on_cpu:
            try:
                return self._evaluate(packed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = _first_line(error)
            self.on_cpu, self.placed = True, None
            torch.cuda.empty_cache()
            _LOGGER.warning(
                "The memory of the GPU does not suffice for the fit of a process (%s). The fit "
                "continues on the CPU, with the same result within rounding. Fewer processes on "
                "the GPU (--n-gpu-procs) leave more memory for each.", reason,
            )  # fmt: skip
        return self.problem.value_and_gradient(packed)

    def _evaluate(self, packed: Array) -> tuple[float, Array]:
        import torch

        if self.placed is None:
            placed = copy.copy(self.problem)
            for name in self.arrays:
                value = getattr(self.problem, name)
                if value is not None:
                    setattr(placed, name, torch.as_tensor(value, device=self.device))
            self.placed = placed
        at: Any = torch.as_tensor(packed, device=self.device)
        value, gradient = self.placed.value_and_gradient(at)
        on_host: Any = gradient
        return value, on_host.cpu().numpy()


def in_smaller_parts(compute: Callable[[int], _Result], subject: str) -> _Result:
    """Compute in one part, or in ever smaller ones while the memory of the GPU does not suffice.

    Parameters
    ----------
    compute
        Called with the divisor of the usual size of a part: 1, then 2, 4, and so on.
    subject
        What is computed, for messages.

    Raises
    ------
    SurrogateError
        If the memory does not suffice for the smallest parts either.
    """
    divisor = 1
    while True:
        try:
            return compute(divisor)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if divisor >= _MOST_PARTS:
                raise out_of_memory(subject, error) from error
            reason = str(error)
        divisor *= 2
        warn_of_smaller_parts(subject, f"parts of 1/{divisor} of the usual size", reason)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch could not allocate memory of a GPU.

    Libraries of CUDA that find no memory for themselves raise no class of their own.
    """
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        not isinstance(error, SurrogateError)
        and any(words in str(error) for words in ("CUDA error: out of memory", "_ALLOC_FAILED"))
    )


def warn_of_smaller_parts(subject: str, parts: str, reason: str) -> None:
    """Release unused memory of the GPU, and say that computation continues in smaller parts."""
    import torch

    torch.cuda.empty_cache()
    _LOGGER.warning(
        "The memory of the GPU does not suffice for the %s (%s). It is repeated in %s, with the "
        "same result within rounding.",
        subject, _first_line(reason), parts,
    )  # fmt: skip


def out_of_memory(subject: str, error: BaseException) -> SurrogateError:
    """Return the error of a computation that no smaller parts make possible."""
    return SurrogateError(
        f"The memory of the GPU does not suffice for the {subject}, not even in the smallest "
        f"parts ({_first_line(error)}). Use fewer processes on the GPU (--n-gpu-procs), or "
        "--device cpu."
    )


def _first_line(error: BaseException | str) -> str:
    """Return the first sentence of an error of torch, which is followed by advice for programs."""
    return str(error).split("\n")[0].split(". ")[0].rstrip(".") or "no details"


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute convolutions on a GPU in single precision instead of TF32, torch's default.

    TF32 has ten bits of mantissa, which change a map by more than the tolerance between devices.
    """
    import torch

    if not torch.cuda.is_available():
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
