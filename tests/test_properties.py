"""What must hold for any input, tried on many that nobody thought of."""

import math
import string
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npi_bids.bids.layout import detect_input_format, modern_name, split_entities
from npi_bids.bids.outputs import ENTITY_ORDER, join_entities, output_path, parse_name
from npi_bids.errors import NPIError
from npi_bids.group.selection import read_exclusions
from npi_bids.io.tables import (
    read_matrix,
    read_series,
    shared_regions_of_tables,
    write_matrix,
    write_series,
)
from npi_bids.records import ECResult, RegionSeries
from npi_bids.surrogates.windows import cut_windows, split_windows

settings.register_profile(
    "here", deadline=None, derandomize=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("here")

LABEL = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
ENTITIES = st.dictionaries(st.sampled_from(ENTITY_ORDER), LABEL, min_size=1)
# Names of regions: any text that a cell of a TSV can hold, but what stands for missing.
REGION = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters='"\x85'),
    min_size=1, max_size=12,
).filter(lambda name: name == name.strip() and name != "n/a" and not _is_number(name))  # fmt: skip
NUMBER = st.floats(-1e6, 1e6, allow_subnormal=False) | st.just(math.nan)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(ENTITIES)
def test_a_name_says_the_entities_that_it_was_made_from(entities):
    name = f"{join_entities(entities)}_bold.nii.gz"
    read = parse_name(name)
    assert (read.entities, read.suffix, read.extension) == (entities, "bold", ".nii.gz")


@given(st.text(max_size=60))
def test_any_name_is_a_kind_of_input_or_none_or_refused(name):
    for text in (name, f"sub-{name}", f"sub-1_{name}_desc-preproc_bold.nii.gz"):
        try:
            kind = detect_input_format(text)
        except NPIError:
            continue
        assert kind in (None, "nifti", "cifti", "gifti", "timeseries")
        assert modern_name(modern_name(text)) == modern_name(text)


@given(ENTITIES, st.text(max_size=8))
def test_no_label_leads_out_of_the_output(entities, label):
    named = {**entities, "sub": label}
    try:
        path = output_path("npi", named, "simple")
    except NPIError:
        return
    assert ".." not in path.parts
    assert not path.is_absolute()
    assert path.parts[0].startswith("sub-")


@given(ENTITIES)
def test_entities_of_series_are_parted_without_loss(entities):
    own, regions = split_entities(Path(f"{join_entities(entities)}_timeseries.tsv"), "timeseries")
    known = {k: v for k, v in entities.items() if k in ENTITY_ORDER}
    renamed = {**own, **regions}
    assert set(renamed.values()) >= set(known.values())
    assert "atlas" in regions


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 4))
def test_no_window_crosses_a_gap_and_no_sample_is_in_both_parts(keep, n_lags):
    keep = np.array(keep)
    # Every sample holds its own time, so that a window tells where it came from.
    data = np.where(keep[:, None], np.arange(len(keep))[:, None] + 1.0, np.nan) * [1.0, 1.0]
    run = RegionSeries(data, ("A", "B"), 2.0, keep)
    try:
        windows = cut_windows([run], n_lags)
    except NPIError:
        stretches = "".join("x" if kept else " " for kept in keep).split()
        assert max(map(len, stretches), default=0) <= n_lags
        return
    times = np.concatenate([windows.history[:, :, 0], windows.target[:, :1]], axis=1)
    assert np.isfinite(times).all()
    assert (np.diff(times, axis=1) == 1).all()
    n_expected = sum(
        max(0, len(stretch) - n_lags)
        for stretch in "".join("x" if kept else " " for kept in keep).split()
    )
    assert len(windows) == n_expected
    try:
        parts = split_windows(windows, 0.5)
    except NPIError:
        return
    seen = [
        set(np.concatenate([part.history[:, :, 0], part.target[:, :1]], axis=1).ravel())
        for part in parts
    ]
    assert not seen[0] & seen[1]


@given(st.lists(REGION, min_size=2, max_size=5, unique=True), st.data())
def test_a_matrix_is_read_back_as_it_was_written(labels, data):
    n_regions = len(labels)
    matrix = data.draw(hnp.arrays(np.float64, (n_regions, n_regions), elements=NUMBER))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x_relmat.tsv"
        write_matrix(ECResult(matrix, tuple(labels)), path)
        again = read_matrix(path)
    assert again.labels == tuple(labels)
    np.testing.assert_allclose(again.matrix, matrix, rtol=1e-8)


@given(
    st.lists(REGION, min_size=2, max_size=4, unique=True),
    st.lists(st.booleans(), min_size=2, max_size=12).filter(any),
    st.data(),
)
def test_series_are_read_back_as_they_were_written(labels, keep, data):
    shape = (len(keep), len(labels))
    values = data.draw(hnp.arrays(np.float64, shape, elements=st.floats(-1e6, 1e6)))
    run = RegionSeries(values, tuple(labels), 2.0, np.array(keep))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x_timeseries.tsv"
        write_series(run, path)
        again = read_series(path, 2.0)
        names = shared_regions_of_tables([path]).labels
    assert again.labels == tuple(labels)
    assert names == tuple(labels)
    np.testing.assert_array_equal(again.keep, run.keep)
    np.testing.assert_allclose(again.data[run.keep], run.data[run.keep], rtol=1e-8, atol=1e-300)


@given(st.binary(max_size=200))
def test_any_file_of_exclusions_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exclude.tsv"
        path.write_bytes(content)
        try:
            found = read_exclusions(path)
        except NPIError:
            return
    assert all(reason for reason in found.values())


@given(st.binary(max_size=300))
def test_any_table_of_series_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x_timeseries.tsv"
        path.write_bytes(content)
        try:
            names = shared_regions_of_tables([path]).labels
        except NPIError:
            return
    assert len(names) > 1
