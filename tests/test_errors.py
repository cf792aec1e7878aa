from npi_bids.errors import find_exit_code


def test_every_class_of_error_is_known_by_its_name():
    assert [find_exit_code(name) for name in ("NPIError", "NoUsableDataError", "OSError", "")] == [
        *(1, 4, 1, 1)
    ]
