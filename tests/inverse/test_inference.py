"""From the series of a subject to its posterior."""

from dataclasses import replace

import numpy as np
import pytest

from npi_bids.errors import InputDataError, NoUsableDataError
from npi_bids.inverse import estimator
from npi_bids.inverse.domain import OUTSIDE
from npi_bids.inverse.inference import (
    Cleaning,
    infer_subject,
    plan_subject,
    prepare_inference,
    summarise_posterior,
)
from npi_bids.inverse.observation import scale_run
from npi_bids.inverse.saving import write_posterior
from npi_bids.inverse.settings import InferSettings
from npi_bids.io.tables import read_matrix, read_table, write_matrix
from npi_bids.records import ECResult, RegionSeries
from npi_bids.whole_brain.settings import BrainSettings
from tests.inverse.small import N_REGIONS, N_SAMPLES, TR, connectome, experiment

LABELS = tuple(f"r{k}" for k in range(N_REGIONS))
SETTINGS = InferSettings(
    infer="hopf", observation="white", n_simulations=100, n_held_out=50, n_members=1,
    n_samples=100,
)  # fmt: skip


@pytest.fixture
def sc(tmp_path):
    """Write the connectome with its regions in another order, and one region more."""
    order = [*np.random.default_rng(0).permutation(N_REGIONS), N_REGIONS]
    bigger = np.zeros((N_REGIONS + 1,) * 2)
    bigger[:N_REGIONS, :N_REGIONS] = connectome()
    names = (*LABELS, "another")
    matrix = ECResult(bigger[np.ix_(order, order)], tuple(names[k] for k in order))
    write_matrix(matrix, tmp_path / "sc.tsv")
    return BrainSettings(sc=str(tmp_path / "sc.tsv"))


def series(keep=None, labels=LABELS):
    model = experiment()
    runs = model.simulate(np.full((1, len(model.prior)), 0.5), np.random.default_rng(5))[0]
    keep = np.ones(N_SAMPLES, bool) if keep is None else keep
    return RegionSeries(runs[0].data, labels, TR, keep)


def no_cleaning(n_runs=1):
    return Cleaning((np.zeros((N_SAMPLES, 0)),) * n_runs)


def test_structural_connectivity_is_matched_by_name_and_not_transposed(sc):
    plan = plan_subject([series()], no_cleaning(), SETTINGS, sc, seed=0)
    assert plan.experiment.connectome == pytest.approx(connectome())
    assert not np.allclose(plan.experiment.connectome, connectome().T)


def test_missing_structural_connectivity_is_asked_for():
    with pytest.raises(InputDataError, match="--sc PATH"):
        plan_subject([series()], no_cleaning(), SETTINGS, BrainSettings(), seed=0)


def test_regions_that_are_not_covered_are_left_out(sc):
    run = series()
    run.data[:, 2] = np.nan
    plan = plan_subject([run], no_cleaning(), SETTINGS, sc, seed=0)
    rest = [k for k in range(N_REGIONS) if k != 2]
    assert list(np.flatnonzero(~plan.covered)) == [2]
    assert plan.experiment.connectome == pytest.approx(connectome()[np.ix_(rest, rest)])
    assert plan.runs[0].data.shape == (N_SAMPLES, N_REGIONS - 1)


def test_runs_that_are_too_short_are_left_out_unless_all_are(sc):
    few = np.arange(N_SAMPLES) < 30
    plan = plan_subject([series(), series(few)], no_cleaning(2), SETTINGS, sc, seed=0)
    assert len(plan.runs) == 1
    with pytest.raises(NoUsableDataError, match="No run has 40 uncensored samples"):
        plan_subject([series(few)], no_cleaning(), SETTINGS, sc, seed=0)


def check_files(posterior, trained, covered, tmp_path):
    written = write_posterior(
        posterior, trained, tmp_path, labels=LABELS, covered=covered, sc="sc.tsv"
    )
    assert {path.stem for path in written} == {
        "parameters", "posterior", "predictedfc", "calibration", "ranks",
    }  # fmt: skip
    predicted = read_matrix(tmp_path / "predictedfc.tsv").matrix
    assert np.isnan(predicted[2]).all()
    assert np.isfinite(predicted[0, 1])
    assert len(read_table(tmp_path / "ranks.tsv")) == SETTINGS.n_held_out


@pytest.mark.slow
def test_a_subject_has_a_posterior_and_a_place(sc, tmp_path, monkeypatch):
    pytest.importorskip("sbi")
    monkeypatch.setattr(estimator, "_MOST_EPOCHS", 2)
    run = series()
    run.data[:, 2] = np.nan
    plan = plan_subject([run], no_cleaning(), SETTINGS, sc, seed=0)
    lines = []
    trained = prepare_inference(
        plan.experiment, SETTINGS, tmp_path / "cache", on_progress=lines.append
    )
    assert lines[-1] == "calibrated on held-out subjects"
    posterior = infer_subject(trained, plan.runs, SETTINGS)
    again = infer_subject(trained, plan.runs, SETTINGS)
    assert np.array_equal(posterior.samples, again.samples)
    for k, parameter in enumerate(posterior.prior.parameters):
        assert parameter.low <= posterior.samples[:, k].min()
        assert posterior.samples[:, k].max() <= parameter.high
    assert len(posterior.halves_agree) == len(posterior.prior)
    assert posterior.n_close_fc >= 1
    table = summarise_posterior(posterior)
    assert table["name"][0] == "coupling"
    check_files(posterior, trained, plan.covered, tmp_path)
    fast = 10 * np.sin(np.arange(N_SAMPLES))[:, None]
    noise = np.random.default_rng(0).standard_normal((N_SAMPLES, N_REGIONS - 1))
    elsewhere = infer_subject(trained, [scale_run(noise + fast, np.arange(N_SAMPLES))], SETTINGS)
    assert elsewhere.position.label == OUTSIDE
    assert not elsewhere.readable
    silent = [replace(plan.runs[0], data=plan.runs[0].data * np.nan)]
    with pytest.raises(NoUsableDataError, match="features of the subject are not defined"):
        infer_subject(trained, silent, SETTINGS)
