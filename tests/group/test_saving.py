"""Results of groups take the place of earlier ones when all of them are whole."""

import pytest

from npi_bids.errors import InputDataError
from npi_bids.group.saving import RESULTS, remove_groups, replace_groups

MATRIX = "tpl-T/func/tpl-T_task-rest_meas-npi_desc-{}Groupmean_relmat"
TABLE = "derivatives/statistics/tpl-T/func/tpl-T_task-rest_desc-simple_edges.tsv"


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{root.name} {name}")
    return [root / name for name in names]


def list_files(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path):
    """Return a dataset with results of a group, and what belongs to no group."""
    write(tmp_path / "out", f"{MATRIX.format('old')}.tsv", f"{MATRIX.format('old')}.json", TABLE,
          "tpl-T/cohort-a/func/tpl-T_cohort-a_relmat.tsv", "group.html",
          "tpl-T/anat/tpl-T_atlas-Tiny_dseg.tsv", "sub-01/func/sub-01_relmat.tsv")  # fmt: skip
    return tmp_path / "out"


def test_new_results_are_there_and_old_ones_are_gone(out, tmp_path):
    new = [f"{MATRIX.format('new')}.tsv", f"{MATRIX.format('new')}.json", TABLE]
    files = write(tmp_path / "work" / RESULTS, *new[:2])
    files += write(tmp_path / "other" / RESULTS, new[2])
    assert set(replace_groups(files, out)) == {out / name for name in new}
    unrelated = {"tpl-T/anat/tpl-T_atlas-Tiny_dseg.tsv", "sub-01/func/sub-01_relmat.tsv"}
    assert list_files(out) == unrelated | set(new)
    assert not (out / "tpl-T/cohort-a").exists()
    assert (out / TABLE).read_text() == f"{RESULTS} {TABLE}"


def test_an_old_file_that_differs_in_case_alone_makes_way(out, tmp_path):
    files = write(tmp_path / "work" / RESULTS, f"{MATRIX.format('OLD')}.tsv")
    replace_groups(files, out)
    assert f"{MATRIX.format('OLD')}.tsv" in list_files(out)
    assert f"{MATRIX.format('old')}.tsv" not in list_files(out)


def test_names_that_differ_in_case_alone_change_nothing(out, tmp_path):
    before = list_files(out)
    names = [f"{MATRIX.format(name)}.tsv" for name in ("age", "Age")]
    files = [write(tmp_path / f"{n}" / RESULTS, name)[0] for n, name in enumerate(names)]
    with pytest.raises(InputDataError, match="only in capital letters"):
        replace_groups(files, out)
    assert list_files(out) == before


def test_a_folder_of_the_dataset_that_differs_in_case_alone_costs_no_old_result(out, tmp_path):
    before = list_files(out)
    files = write(tmp_path / "work" / RESULTS, "tpl-t/func/tpl-t_desc-xGroupmean_relmat.tsv")
    with pytest.raises(InputDataError, match="only in capital letters"):
        replace_groups(files, out)
    assert list_files(out) == before


def test_groups_can_be_removed_and_nothing_else(out):
    remove_groups(out)
    assert list_files(out) == {
        "tpl-T/anat/tpl-T_atlas-Tiny_dseg.tsv",
        "sub-01/func/sub-01_relmat.tsv",
    }
