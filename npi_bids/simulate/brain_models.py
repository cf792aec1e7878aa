"""The models of neurolib that are offered, and what sets them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from npi_bids.core.records import Array
from npi_bids.errors import SettingsError


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


def make_model(
    name: str, weights: Array, lengths: Array, parameters: Mapping[str, float], seed: int
) -> Any:
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
    model = getattr(module, kind.name)(
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
