"""Delays that subjects of a group share: accuracy of maps alone, and with those of the group.

Prints for each simulated group the correlation with the truth of the maps of eight subjects with
400 samples each, and of their antisymmetric parts: fitted alone, pre-trained without and with
shared delays, and alone with the delays of the group as a map. Subjects share a network and the
delays of their regions; hierarchies have no delays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.observation import N_REGIONS, Condition, observe_regions
from benchmarks.table import save, show
from npi_bids.connectivity.settings import PerturbSettings
from npi_bids.inference import perturb_model, train_runs
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import Array, RegionSeries
from npi_bids.simulate.rnn import RNNSystem, random_network, simulate_rnn, true_ec
from npi_bids.surrogates.base import TrainSettings
from npi_bids.surrogates.delay_map import DelayMap
from npi_bids.surrogates.group_prior import GroupPrior
from npi_bids.surrogates.pretraining import pretrain

_N_SUBJECTS, _N_SAMPLES, _FINE, _WARM_UP = 8, 400, 0.1, 60.0
_OWN = 0.3  # weights of a subject's own, relative to those that all share
GROUPS = {
    "delays 0.5 s": Condition(delay_sd=0.5, n_samples=_N_SAMPLES),
    "delays 1 s": Condition(delay_sd=1.0, n_samples=_N_SAMPLES),
    "no delays": Condition(n_samples=_N_SAMPLES),
    "hierarchy": Condition(hierarchy=True, n_samples=_N_SAMPLES),
}
COLUMNS = ("r", "r antisymmetric", "with delays")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A subject's run and true map in standard deviations of the regions."""

    run: RegionSeries
    truth: Array


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[600, 601])
    args = parser.parse_args()
    rows = {}
    for name in args.groups:
        for seed in args.seeds:
            for method, scores in compare(draw_group(GROUPS[name], seed)):
                rows[f"{name}, seed {seed}, {method}"] = scores
                print(name, seed, method, " ".join(f"{score:.3f}" for score in scores), flush=True)
    show("Groups of eight subjects", COLUMNS, rows)
    save("shared_delays", rows)
    return 0


def draw_group(condition: Condition, seed: int) -> dict[str, Subject]:
    """Draw subjects that share most of a network, and the delays of their regions."""
    rng = np.random.default_rng([seed, 9])
    shared = random_network(N_REGIONS, rng).weights
    connected = np.ones_like(shared, dtype=bool)
    if condition.hierarchy:
        rank = rng.permutation(N_REGIONS)
        connected = (rng.random(shared.shape) < 0.4) & (rank[:, None] < rank[None, :])
        shared = 2 * np.abs(shared)
    delays = condition.delay_sd * rng.standard_normal(N_REGIONS)
    subjects = {}
    for number in range(_N_SUBJECTS):
        weights = shared + _OWN * random_network(N_REGIONS, rng).weights
        weights = np.where(connected, np.abs(weights) if condition.hierarchy else weights, 0.0)
        np.fill_diagonal(weights, 0.0)
        subjects[f"{number:02d}"] = _observe_subject(weights, delays, condition, rng)
    return subjects


def _observe_subject(
    weights: Array, delays: Array, condition: Condition, rng: np.random.Generator
) -> Subject:
    step, first = round(condition.tr / _FINE), round(_WARM_UP / _FINE)
    n_fine = first + step * condition.n_samples
    fine = RNNSystem(weights, tr=_FINE)
    state = simulate_rnn(fine, n_runs=1, n_samples=n_fine, rng=rng)[0]
    sampled = state[first::step]
    truth = true_ec(RNNSystem(weights, tr=condition.tr), sampled[None], rng)
    sd = sampled.std(axis=0)
    signals = np.stack(list(observe_regions(state, delays, condition, 0)), axis=1)[first::step]
    signals = (signals - signals.mean(axis=0)) / signals.std(axis=0)
    labels = tuple(f"R{region:02d}" for region in range(N_REGIONS))
    keep = np.ones(len(signals), dtype=bool)
    return Subject(RegionSeries(signals, labels, condition.tr, keep), truth * sd[:, None] / sd)


def compare(subjects: Mapping[str, Subject]) -> Iterator[tuple[str, list[float]]]:
    """Yield the mean scores of the subjects by each method."""
    train = TrainSettings(device="cpu", residual="none")
    without, group = (
        pretrain(
            lambda: ((label, [subject.run]) for label, subject in subjects.items()),
            replace(train, delays=delays),
        )
        for delays in ("none", "auto")
    )
    yield "alone", _score(subjects, train, dict.fromkeys(subjects))
    for method, pretrained in (("pre-trained without delays", without), ("pre-trained", group)):
        priors = {label: pretrained.build_prior(label) for label in subjects}
        yield method, _score(subjects, train, priors)
    if (delays := group.prior.delays) is not None:
        tr = next(iter(subjects.values())).run.tr
        known = DelayMap(tr * delays.mean, tr * delays.error, np.zeros((N_REGIONS, 0)))
        yield "alone, with the delays", _score(subjects, train, dict.fromkeys(subjects, known))


def _score(
    subjects: Mapping[str, Subject],
    train: TrainSettings,
    priors: Mapping[str, GroupPrior | DelayMap | None],
) -> list[float]:
    scores = []
    for label, subject in subjects.items():
        trained = train_runs([subject.run], train=train, prior=priors[label])
        ec = perturb_model([subject.run], trained, perturb=PerturbSettings()).matrix
        scores.append([
            pearson(ec, subject.truth),
            pearson(antisymmetric(ec), antisymmetric(subject.truth)),
            float(trained.surrogate.region_delays is not None),
        ])  # fmt: skip
    return np.mean(scores, axis=0).tolist()


if __name__ == "__main__":
    sys.exit(main())
