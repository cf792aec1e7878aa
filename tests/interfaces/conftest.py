"""The files of one subject, as the step before leaves them, and interfaces run in a folder."""

import numpy as np
import pandas as pd
import pytest

from npi_bids.io.files import write_json
from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult

NODES = "tpl-T/anat/tpl-T_atlas-Tiny_dseg.tsv"


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
        while folder.exists():
            folder = folder.with_name(f"{folder.name}_")
        folder.mkdir()
        return interface.run(cwd=str(folder)).outputs

    return run_in_folder


@pytest.fixture
def dataset(tmp_path):
    """Return an output dataset with the maps of three subjects; A drives B, never back."""
    return write_dataset(tmp_path / "out")


def write_dataset(root):
    table = pd.DataFrame({"index": [1, 2, 3], "name": list("ABC"), "network": ["x", "x", "y"]})
    (root / "tpl-T" / "anat").mkdir(parents=True)
    table.to_csv(root / NODES, sep="\t", index=False)
    for subject, strength in enumerate((0.2, 0.4, 0.9), start=1):
        for session, share in (("1", 1.0), ("2", 1.5)):
            matrix = np.zeros((3, 3))
            matrix[0, 1] = strength * share
            matrix[2, 0] = -0.1 * subject
            name = f"sub-0{subject}_ses-{session}_task-rest_meas-npi_desc-simple_relmat.tsv"
            write_matrix(ECResult(matrix, tuple("ABC")), root / f"sub-0{subject}" / name)
    return root


def group_inputs(dataset, session="1"):
    """Return the inputs that all interfaces of a group share."""
    return {
        "matrices": [str(path) for path in sorted(dataset.glob(f"sub-*/*ses-{session}_*.tsv"))],
        "out_dir": str(dataset),
        "entities": {"task": "rest", "space": "T", "atlas": "Tiny"},
        "desc": "simple",
        "origin": {"NodeFiles": [f"bids::{NODES}"], "ConfigurationHash": "x", "RepetitionTime": 2},
    }


def group_rows():
    """Return what is known of the three subjects."""
    return [
        {"participant_id": f"sub-0{n}", "n_maps": 1, "mean_fd": 0.1 * n, "minutes": 10.0,
         "verdict": "pass", "r_split": 0.8, "expected_r": 0.9, "age": str(20 + 7 * n)}
        for n in (1, 2, 3)
    ]  # fmt: skip
