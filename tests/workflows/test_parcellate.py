from npi_bids.cli.execution import Plugin, run_workflow
from npi_bids.io.tables import read_series
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import save_parcellation
from npi_bids.workflows.parcellate import init_parcellate_wf
from tests.conftest import tiny_parcellation


def test_parcellation_workflow_gives_series(tiny, tmp_path):
    save_parcellation(tiny_parcellation(5), tmp_path / "atlas")
    workflow = init_parcellate_wf(
        denoise=DenoiseSettings(denoise="none"), coverage=CoverageSettings()
    )
    workflow.base_dir = str(tmp_path / "work")
    workflow.inputs.inputnode.bold = str(tiny.file("sub-01/func/*bold.nii.gz"))
    workflow.inputs.inputnode.atlas = str(tmp_path / "atlas")
    assert run_workflow(workflow, Plugin("Linear", {}), tmp_path, lambda *_: None)
    path = next((tmp_path / "work").rglob("timeseries.tsv"))
    series = read_series(path, 2.0)
    assert series.labels == ("A", "B", "C", "D", "E")
    assert not series.covered[4]
