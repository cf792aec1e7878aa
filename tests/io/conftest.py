"""A map on disk, with the table of its regions."""

import numpy as np
import pandas as pd
import pytest

from npi_bids.io.tables import write_matrix
from npi_bids.records import ECResult

LABELS = ("A", "B", "C")
MATRIX = np.array([[0.0, 0.5, np.nan], [-0.25, 0.0, 1.5], [np.nan, 0.0, 0.0]])


@pytest.fixture
def map_file(tmp_path):
    path = tmp_path / "map_relmat.tsv"
    write_matrix(ECResult(MATRIX, LABELS), path)
    table = pd.DataFrame({"name": LABELS, "network": ["x", "y", "y"]})
    table[["x", "y", "z"]] = np.arange(9.0).reshape(3, 3)
    table.to_csv(tmp_path / "regions.tsv", sep="\t", index=False)
    return path
