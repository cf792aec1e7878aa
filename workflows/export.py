"""Maps in the formats of other programs."""

from __future__ import annotations

from npi_bids.interfaces.export import FORMATS, export_matrix, table_of

__all__ = ["FORMATS", "export_matrix", "table_of"]
