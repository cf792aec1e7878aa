"""Pages and texts are written from what a dataset holds, one file or more per interface."""

import pytest

from npi_bids.interfaces import report


@pytest.mark.parametrize(
    ("interface", "function", "options"),
    [
        ("WriteTexts", "npi_bids.reports.methods.write_texts", {}),
        ("ReportSubject", "npi_bids.reports.subject.write_subject_report", {"subject": "01"}),
        ("ReportIndex", "npi_bids.reports.methods.write_index", {}),
        ("ReportGroup", "npi_bids.reports.group.write_group_report", {}),
    ],
)
def test_an_interface_calls_its_function_and_names_what_it_wrote(
    monkeypatch, execute, tmp_path, interface, function, options
):
    page = tmp_path / "page.html"
    called = []

    def write(*arguments):
        page.touch()
        called.append(arguments)
        return [page] if interface == "WriteTexts" else page

    monkeypatch.setattr(function, write)
    node = getattr(report, interface)(out_dir=str(tmp_path), after="anything", **options)
    written = execute(node).out_files
    assert (written if isinstance(written, str) else written[0]) == str(page)
    assert called == [(tmp_path, *options.values())]
