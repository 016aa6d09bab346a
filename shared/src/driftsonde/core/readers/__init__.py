"""Reading objects as record batches, in blocks: memory is bounded by these modules, not by the object."""

from __future__ import annotations

from driftsonde.core.readers.limits import Limits
from driftsonde.core.readers.source import LocalSource, Source, StoreSource
from driftsonde.core.readers.table import Format, TableReader, open_table

__all__ = ["Format", "Limits", "LocalSource", "Source", "StoreSource", "TableReader", "open_table"]
