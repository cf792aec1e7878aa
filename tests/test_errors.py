from npi_bids.errors import exit_code_of


def test_every_class_of_error_is_known_by_its_name():
    assert [exit_code_of(name) for name in ("NPIError", "NoUsableDataError", "OSError", "")] == [
        *(1, 4, 1, 1)
    ]
