"""From the signals of a subject to its effective connectivity, without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npi_bids.core.measures import functional_connectivity
from npi_bids.core.perturb import PerturbSettings, infer_ec, mean_jacobian
from npi_bids.core.quality import assess
from npi_bids.core.records import Array, ECResult, Mask, Quality, RegionSeries, Windows
from npi_bids.core.rollout import model_fc
from npi_bids.core.surrogate import Surrogate, TrainLog, TrainSettings, fit_surrogate, resolve
from npi_bids.core.windows import cut_windows, shared_regions, split_windows


@dataclass(frozen=True, slots=True, eq=False)
class SubjectEC:
    """All that one fit of one subject gives.

    Attributes
    ----------
    measures
        By name, over all regions of the atlas: ``npi`` (EC by perturbation, diagonal 0 as
        published), ``jacobian``, ``pearsoncorrelation`` and, where the free run stays bounded,
        ``modelfc``.
    quality
        What the result says about itself.
    log
        What training saw.
    surrogate
        The fitted model of the covered regions.
    covered
        Shape (n_regions of the atlas,); regions in the model.
    n_windows_per_run
        Windows that each run gave, in the order of the runs.
    settings
        The training settings with every choice resolved.
    """

    measures: dict[str, ECResult]
    quality: Quality
    log: TrainLog
    surrogate: Surrogate
    covered: Mask
    n_windows_per_run: tuple[int, ...]
    settings: TrainSettings


def ec_of_runs(
    runs: Sequence[RegionSeries], *, train: TrainSettings, perturb: PerturbSettings
) -> SubjectEC:
    """Train one surrogate on all runs of a subject and perturb it in every observed state.

    Regions that some run does not cover leave the model and come back as NaN.

    Parameters
    ----------
    runs
        Normalised series of one subject with the same regions and sampling period.
    train
        How to train.
    perturb
        How to perturb.

    Returns
    -------
    SubjectEC
        Matrices in the order and with all regions of the input, indexed ``[source, target]``.

    Raises
    ------
    InputDataError
        The runs do not belong together.
    NoUsableDataError
        Too few samples or regions are left.
    SurrogateError
        Training or perturbation diverged.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signals = rng.standard_normal((500, 2))
    >>> signals[1:, 1] += 0.8 * signals[:-1, 0]  # A drives B
    >>> run = RegionSeries(signals, ("A", "B"), tr=2.0, keep=np.ones(500, dtype=bool))
    >>> result = ec_of_runs([run], train=TrainSettings(), perturb=PerturbSettings())
    >>> result.measures["npi"].matrix.round(1) + 0.0
    array([[0. , 0.8],
           [0. , 0. ]])
    """
    settings = resolve(train)
    shared, covered = shared_regions(runs)
    windows = cut_windows(shared, settings.n_lags or 1)
    learn, check = split_windows(windows, settings.train_fraction)
    checked, log = fit_surrogate(learn, check, settings)
    surrogate = checked
    if settings.refit:
        surrogate, _ = fit_surrogate(windows, windows.take(slice(0, 0)), settings)
    matrix = infer_ec(surrogate, windows.history, perturb)
    np.fill_diagonal(matrix, 0.0)
    jacobian = mean_jacobian(surrogate, windows.history)
    fc = functional_connectivity(shared)
    simulated = model_fc(surrogate, np.random.default_rng(settings.seed))
    found = {"npi": matrix, "jacobian": jacobian, "pearsoncorrelation": fc}
    if simulated is not None:
        found["modelfc"] = simulated
    labels = runs[0].labels
    return SubjectEC(
        measures={name: ECResult(_all_regions(m, covered), labels) for name, m in found.items()},
        quality=assess(
            checked=checked,
            train=learn,
            valid=check,
            matrix=matrix,
            jacobian=jacobian,
            fc=fc,
            simulated_fc=simulated,
        ),
        log=log,
        surrogate=surrogate,
        covered=covered,
        n_windows_per_run=_count_windows(windows, shared),
        settings=settings,
    )


def _all_regions(matrix: Array, covered: Mask) -> Array:
    full = np.full((covered.size, covered.size), np.nan)
    full[np.ix_(covered, covered)] = matrix
    return full


def _count_windows(windows: Windows, runs: Sequence[RegionSeries]) -> tuple[int, ...]:
    ends = np.cumsum([0, *(len(run.keep) for run in runs)])
    return tuple(np.diff(np.searchsorted(windows.position, ends)).tolist())
