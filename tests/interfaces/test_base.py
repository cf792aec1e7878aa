"""What all interfaces share."""

from npi_bids.interfaces.base import plain


def test_containers_of_traits_become_plain_ones():
    assert plain({"a": [(1, 2), {"b": 3}]}) == {"a": [[1, 2], {"b": 3}]}
