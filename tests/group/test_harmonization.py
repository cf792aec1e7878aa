from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
import pytest
from neuroCombat import neuroCombat

from npi_bids.errors import NoUsableDataError
from npi_bids.group import map_stack
from npi_bids.group.harmonization import harmonise

COHORT_RNG = np.random.default_rng(0)
SITES = ["b"] * 12 + ["a"] * 9


def two_sites():
    maps = COHORT_RNG.standard_normal((21, 60))
    maps[:12] = 1.8 * maps[:12] + 0.7 + 0.3 * COHORT_RNG.standard_normal(60)
    return maps, COHORT_RNG.standard_normal(21)


def test_sites_are_taken_out_as_neurocombat_does():
    maps, age = two_sites()
    table = pd.DataFrame({"batch": SITES, "age": age})
    with contextlib.redirect_stdout(io.StringIO()):
        expected = neuroCombat(maps.T, table, "batch", continuous_cols=["age"])["data"].T
    out = np.empty_like(maps)
    harmonise(maps, SITES, age[:, None], out)
    np.testing.assert_allclose(out, expected, atol=2e-4)


def test_harmonised_edges_do_not_depend_on_their_neighbours_in_memory(monkeypatch):
    maps, age = two_sites()
    one_block, small_blocks = np.empty_like(maps), np.empty_like(maps)
    harmonise(maps, SITES, age[:, None], one_block)
    monkeypatch.setattr(map_stack, "_NUMBERS_AT_ONCE", 100)
    harmonise(maps, SITES, age[:, None], small_blocks)
    np.testing.assert_allclose(small_blocks, one_block, atol=1e-9)


def test_what_some_subject_lacks_is_left_as_it_is():
    maps, age = two_sites()
    maps[2, 5], maps[:, 6] = np.nan, 0.0
    out = np.empty_like(maps)
    harmonise(maps, SITES, age[:, None], out)
    np.testing.assert_array_equal(out[:, 5:7], maps[:, 5:7])


def test_one_site_cannot_be_taken_out():
    with pytest.raises(NoUsableDataError, match=r"Sites have {'a': 21} subjects"):
        harmonise(two_sites()[0], ["a"] * 21, np.zeros((21, 0)), np.empty((21, 60)))
