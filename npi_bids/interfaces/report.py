"""Write the pages and texts of an output dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, OutputMultiObject, Str, TraitedSpec, traits

from npi_bids.interfaces.base import NPIInterface, VersionedInputSpec


class _ReportInputSpec(VersionedInputSpec):
    out_dir = Str(mandatory=True, desc="root of the output dataset")
    after = traits.Any(desc="any output of a node that must run first")


class _SubjectReportInputSpec(_ReportInputSpec):
    subject = Str(mandatory=True, desc="label of the subject")


class _ReportOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="files written")


class WriteTexts(NPIInterface):
    """Write the table of quality, the methods text and its references."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.reports.methods import write_texts

        written = write_texts(Path(self.inputs.out_dir))
        self._results["out_files"] = [str(path) for path in written]
        return runtime


class ReportSubject(NPIInterface):
    """Write the page of one subject."""

    modules = ("npi_bids.reports.subject",)
    input_spec = _SubjectReportInputSpec
    output_spec = _ReportOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.reports.subject import write_subject_report

        written = write_subject_report(Path(self.inputs.out_dir), self.inputs.subject)
        self._results["out_files"] = [str(written)]
        return runtime


class ReportIndex(NPIInterface):
    """Write the page that lists all subjects."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.reports.methods import write_index

        self._results["out_files"] = [str(write_index(Path(self.inputs.out_dir)))]
        return runtime


class ReportGroup(NPIInterface):
    """Write the group's page."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        from npi_bids.reports.group import write_group_report

        written = write_group_report(Path(self.inputs.out_dir))
        self._results["out_files"] = [str(written)]
        return runtime
