import pytest

from npi_bids.errors import InputDataError
from npi_bids.io.files import check_case


@pytest.mark.parametrize("name", ["func/desc-GroupP_relmat.tsv", "FUNC/other.tsv"])
def test_a_name_that_differs_in_capital_letters_alone_is_refused(tmp_path, name):
    (tmp_path / "func").mkdir()
    (tmp_path / "func" / "desc-Groupp_relmat.tsv").touch()
    with pytest.raises(InputDataError, match="only in capital letters"):
        check_case(tmp_path / name, tmp_path)


def test_the_same_name_and_new_ones_are_allowed(tmp_path):
    (tmp_path / "func").mkdir()
    (tmp_path / "func" / "a.tsv").touch()
    for name in ("func/a.tsv", "func/b.tsv", "anat/a.tsv"):
        check_case(tmp_path / name, tmp_path)
