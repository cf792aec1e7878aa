"""Save the files of a model under their BIDS names, and last what became of its unit."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from npi_bids.bids.derivatives import find_statuses
from npi_bids.bids.outputs import CLAIM
from npi_bids.errors import ConfigurationError
from npi_bids.interfaces.assess import AssessConnectivity
from npi_bids.interfaces.parcellate import Parcellate
from npi_bids.interfaces.perturb import PerturbSurrogate
from npi_bids.interfaces.sink import RUN_TABLES, SaveModel, SaveRun
from npi_bids.interfaces.train import TrainSurrogate
from npi_bids.io.claim import claim_dataset
from npi_bids.io.files import read_json
from npi_bids.io.tables import read_matrix
from npi_bids.parcellation.denoising import CoverageSettings, DenoiseSettings
from npi_bids.parcellation.parcellation import save_parcellation
from tests.conftest import tiny_parcellation
from tests.interfaces.conftest import NODES

ENTITIES = {"sub": "01", "task": "rest", "space": "T", "atlas": "Tiny"}
LINKS = {"NodeFiles": [f"bids::{NODES}"], "Sources": ["bids::x"], "ConfigurationHash": "abc"}


@pytest.fixture
def out(tmp_path):
    """Return a dataset with the table of the regions."""
    root = tmp_path / "out"
    (root / NODES).parent.mkdir(parents=True)
    table = pd.DataFrame({"index": [1, 2, 3, 4], "name": list("ABCD")})
    table.to_csv(root / NODES, sep="\t", index=False)
    return root


def save(out, summary, files, execute, **links):
    node = SaveModel(files=files, summary=summary, out_dir=str(out), entities=ENTITIES,
                     desc="simple", links={**LINKS, **links})  # fmt: skip
    return execute(node, "save")


def fitted(subject, execute, **train):
    outputs = execute(TrainSurrogate(train={"surrogate": "var", **train}, **subject), "train")
    trained = {name: path for name, path in outputs.get().items() if isinstance(path, str)}
    outputs = execute(PerturbSurrogate(perturb={}, **trained, **subject), "perturb")
    found = {name: path for name, path in outputs.get().items() if isinstance(path, str)}
    return execute(AssessConnectivity(perturb={}, **found, **trained, **subject), "assess")


def test_the_saved_map_goes_from_source_to_target_and_is_described(subject, out, execute):
    outputs = fitted(subject, execute)
    saved = save(out, outputs.summary, outputs.files, execute)
    (path,) = out.glob("sub-01/func/*_meas-npi_desc-simple_relmat.tsv")
    matrix = read_matrix(path).matrix
    assert matrix[0, 1] > 0.3 > abs(matrix[1, 0])
    sidecar = read_json(path.with_suffix(".json"))
    assert sidecar["NodeFiles"] == LINKS["NodeFiles"]
    assert sidecar["Verdict"] in ("pass", "caution", "fail")
    assert all((out / name).is_file() for name in saved.names)
    (status,) = find_statuses(out)
    assert status.status == "done"
    assert np.isfinite(matrix).all()


def test_too_little_data_is_saved_as_a_status_alone(subject, out, execute):
    outputs = fitted(subject, execute, n_lags=1300)
    save(out, outputs.summary, [], execute)
    assert not (out / "sub-01").exists()
    (status,) = find_statuses(out)
    assert status.status == "excluded"
    assert status.error == "NoUsableDataError"


def test_a_dataset_of_another_configuration_is_left_alone(subject, out, execute):
    outputs = fitted(subject, execute)
    with claim_dataset(out / CLAIM, "other", lambda: None), pytest.raises(ConfigurationError):
        save(out, outputs.summary, outputs.files, execute)
    assert not (out / "sub-01").exists()


def test_the_tables_of_a_run_are_saved_with_sidecars(tiny, out, execute, tmp_path):
    save_parcellation(tiny_parcellation(), tmp_path / "atlas")
    denoise, coverage = asdict(DenoiseSettings(denoise="none")), asdict(CoverageSettings())
    node = Parcellate(bold=str(tiny.file("sub-01/func/*bold.nii.gz")), tr=2.0, denoise=denoise,
                      atlas=str(tmp_path / "atlas"), coverage=coverage)  # fmt: skip
    tables = execute(node, "parcellate").get()
    node = SaveRun(out_dir=str(out), entities=ENTITIES, desc="simple", links=LINKS,
                   denoise=denoise, minimum=coverage, **tables)  # fmt: skip
    saved = execute(node, "save")
    assert len(saved.names) == 2 * len(RUN_TABLES)
    assert all((out / name).is_file() for name in saved.names)
    (sidecar,) = out.glob("sub-01/func/*desc-simple_timeseries.json")
    assert read_json(sidecar)["RepetitionTime"] == 2.0
