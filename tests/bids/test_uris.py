from __future__ import annotations

import pytest

from npi_bids.bids.uris import regions_file, resolve_uri
from npi_bids.errors import InputDataError


@pytest.mark.parametrize(
    "uri",
    ["bids::../../x", "/etc/x", "bids::/etc/x", "bids:other:x", "file:///x", "bids::a/../../x",
     "", "bids::", None, 3, [], "bids::a\0b"],
)  # fmt: skip
def test_no_reference_leaves_its_dataset(tmp_path, uri):
    with pytest.raises(InputDataError, match=r"expected a URI such as bids::"):
        resolve_uri(uri, tmp_path)


def test_references_within_the_dataset_are_followed(tmp_path):
    assert resolve_uri("bids::sub-1/x.tsv", tmp_path) == tmp_path / "sub-1" / "x.tsv"
    assert resolve_uri("sub-1/..x.tsv", tmp_path) == tmp_path / "sub-1" / "..x.tsv"
    assert regions_file(["bids::a.tsv"], tmp_path) == tmp_path / "a.tsv"
