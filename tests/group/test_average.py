from __future__ import annotations

import numpy as np
import pytest

from npi_bids.errors import InputDataError, NoUsableDataError
from npi_bids.group.average import align, average, scale_to_strongest
from npi_bids.group.settings import GroupSettings
from npi_bids.records import ECResult

RNG = np.random.default_rng(0)
MATRICES = RNG.standard_normal((5, 3, 3))
LABELS = ("A", "B", "C")


def results(matrices=MATRICES):
    return [ECResult(matrix, LABELS) for matrix in matrices]


def test_mean_and_sd_are_numpys():
    group = average(results(), GroupSettings())
    np.testing.assert_allclose(group.mean, MATRICES.mean(axis=0))
    np.testing.assert_allclose(group.sd, MATRICES.std(axis=0, ddof=1))
    assert (group.n_subjects == 5).all()


def test_missing_edges_count_the_subjects_that_have_them():
    matrices = MATRICES.copy()
    matrices[:3, 0, 1] = np.nan
    matrices[:4, 1, 0] = np.nan
    group = average(results(matrices), GroupSettings(min_subjects=2))
    assert group.mean[0, 1] == pytest.approx(MATRICES[3:, 0, 1].mean())
    assert group.n_subjects[0, 1] == 2
    assert np.isnan(group.mean[1, 0])
    assert group.n_subjects[1, 0] == 1


def test_subjects_are_aligned_by_label():
    turned = ECResult(MATRICES[1][::-1, ::-1], LABELS[::-1])
    group = average([results()[0], turned], GroupSettings())
    np.testing.assert_allclose(group.mean, MATRICES[:2].mean(axis=0))


def test_alignment_keeps_rows_as_sources():
    matrix = np.array([[0.0, 1], [2, 0]])
    aligned = align(ECResult(matrix, ("A", "B")), ("B", "A")).matrix
    np.testing.assert_array_equal(aligned, [[0, 2], [1, 0]])


def test_other_regions_are_refused():
    other = ECResult(MATRICES[0], ("A", "B", "D"))
    with pytest.raises(InputDataError, match=r"2 regions \(C, D\)"):
        average([*results(), other], GroupSettings())


def test_too_few_subjects_are_named():
    with pytest.raises(NoUsableDataError, match=r"1 subject.*requires 2"):
        average(results()[:1], GroupSettings())


def test_strongest_connection_becomes_one():
    matrix = np.array([[9.0, -4], [2, 9]])
    assert np.abs(scale_to_strongest(matrix)[0, 1]) == 1
    assert np.isnan(scale_to_strongest(np.full((2, 2), np.nan))).all()
