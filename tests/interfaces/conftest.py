"""The files of one subject, as the step before leaves them, and interfaces run in a folder."""

import pandas as pd
import pytest

from npi_bids.io.files import write_json


@pytest.fixture
def subject(run, tmp_path):
    """Return series and summary of one run in which A drives B and B inhibits C."""
    return write_run_files(run, tmp_path)


def write_run_files(run, folder, name="run1"):
    series, summary = folder / f"{name}.tsv", folder / f"{name}.json"
    table = pd.DataFrame(run.data, columns=run.labels)
    table.to_csv(series, sep="\t", index=False, na_rep="n/a")
    facts = {"tr": run.tr, "regressors": ["global_signal"], "hazards": ["much motion"]}
    write_json(summary, facts)
    return {"series": [str(series)], "summaries": [str(summary)]}


@pytest.fixture
def execute(tmp_path):
    """Run an interface in a folder of its own, as a node would, and return its outputs."""

    def run_in_folder(interface, name="node"):
        folder = tmp_path / name
        folder.mkdir()
        return interface.run(cwd=str(folder)).outputs

    return run_in_folder
