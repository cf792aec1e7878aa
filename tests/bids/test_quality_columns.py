from __future__ import annotations

from dataclasses import fields

from npi_bids.bids.quality_columns import quality_sidecar
from npi_bids.records import Quality


def test_every_figure_of_quality_is_described():
    described = quality_sidecar().to_json()
    assert {field.name for field in fields(Quality)} <= set(described)
    assert all(text["Description"].endswith(".") for text in list(described.values())[1:])
