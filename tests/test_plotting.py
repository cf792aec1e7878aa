from npi_bids.plotting import network_order


def test_networks_keep_the_order_of_their_first_region():
    assert network_order(["b", "a", "b", "c", "a"]) == [0, 2, 1, 4, 3]
