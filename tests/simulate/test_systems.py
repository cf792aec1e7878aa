import numpy as np
import pytest

from npi_bids.errors import SettingsError
from npi_bids.io.tables import write_matrix
from npi_bids.matrices import antisymmetric, pearson
from npi_bids.records import ECResult
from npi_bids.simulate.systems import SYSTEMS, SystemSettings, simulate

FAST = ("rnn", "neuromatch", "var", "ou")


@pytest.mark.parametrize("system", FAST)
def test_truth_is_what_a_perturbation_does_in_standard_deviations(system):
    """A VAR on z-scored signals has the truth as its weights, in size and direction."""
    made = simulate(system, SystemSettings(n_regions=8, seed=3), 4, 8000)
    z = (made.series - made.series.mean(axis=(0, 1))) / made.series.std(axis=(0, 1))
    past, future = z[:, :-1].reshape(-1, 8), z[:, 1:].reshape(-1, 8)
    weights = np.linalg.solve(past.T @ past, past.T @ future)
    assert pearson(weights, made.truth) > 0.97
    assert pearson(antisymmetric(weights), antisymmetric(made.truth)) > 0.95
    off = ~np.eye(8, dtype=bool)
    assert np.polyfit(made.truth[off], weights[off], 1)[0] == pytest.approx(1, abs=0.1)
    assert (np.diag(made.truth) == 0).all()


@pytest.mark.parametrize("system", FAST)
def test_network_hangs_on_the_seed_and_not_on_the_length(system):
    short, long, other = (
        simulate(system, SystemSettings(n_regions=8, seed=seed), n_runs, n_samples)
        for seed, n_runs, n_samples in ((1, 1, 4000), (1, 2, 5000), (2, 1, 4000))
    )
    assert pearson(short.truth, long.truth) > 0.99
    assert pearson(short.truth, other.truth) < 0.9
    again = simulate(system, SystemSettings(n_regions=8, seed=1), 1, 4000)
    np.testing.assert_array_equal(short.series, again.series)
    np.testing.assert_array_equal(short.truth, again.truth)


@pytest.mark.parametrize("system", FAST)
def test_without_coupling_nothing_reaches_another_region(system):
    made = simulate(system, SystemSettings(n_regions=6, coupling=0.0), 1, 500)
    assert np.abs(made.truth).max() == 0
    off = ~np.eye(6, dtype=bool)
    assert np.abs(np.corrcoef(made.series[0].T)[off]).max() < 0.3


def test_whole_brain_system_has_the_names_of_its_connectome(tmp_path):
    weights = np.array([[0, 1.0, 0], [0.2, 0, 0.5], [0.3, 0, 0]])
    path = tmp_path / "sc.tsv"
    write_matrix(ECResult(weights, ("A", "B", "C")), path)
    settings = SystemSettings(sc=str(path), coupling=0.3, tr=1.0)
    made = simulate("wbm", settings, 1, 5)
    assert made.labels == ("A", "B", "C")
    assert made.series.shape == (1, 5, 3)
    assert made.truth[0, 1] > 2 * made.truth[1, 0] > 0
    assert made.truth[2, 0] > made.truth[2, 1] > 0  # only by way of A


def test_unknown_system_is_refused_with_the_list():
    with pytest.raises(SettingsError, match=", ".join(list(SYSTEMS)[:3])):
        simulate("brain", SystemSettings(), 1, 10)
