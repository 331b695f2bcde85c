"""Datasets of crystals on disk: import, filter, split, describe, export.

A dataset is one Parquet file. Its columns ``id`` (string), ``lattice`` (nine numbers: rows a, b,
c, Å), ``frac_coords`` (three numbers a site, in [0, 1)) and ``numbers`` (atomic numbers) are the
crystals; every other column is a property, null where it is missing. Units, source, licence and a
content hash are in the schema metadata under ``crystalcodec``, as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crystalcodec.registry import lazy_attributes

if TYPE_CHECKING:
    from crystalcodec.data.columns import DatasetError
    from crystalcodec.data.dataset import Dataset, DatasetHash, DatasetMetadata, prototypes
    from crystalcodec.data.duplicates import find_duplicates
    from crystalcodec.data.exporting import export_dataset
    from crystalcodec.data.filtering import Filter, FilterReport, filter_dataset
    from crystalcodec.data.importing import ImportReport, import_dataset
    from crystalcodec.data.splitting import Split, split_dataset
    from crystalcodec.data.statistics import Description, describe, draw_histograms
    from crystalcodec.data.storage import DatasetWriter, iter_dataset
    from crystalcodec.data.symmetry import prototype_labels

__all__ = [
    "Dataset",
    "DatasetError",
    "DatasetHash",
    "DatasetMetadata",
    "DatasetWriter",
    "Description",
    "Filter",
    "FilterReport",
    "ImportReport",
    "Split",
    "describe",
    "draw_histograms",
    "export_dataset",
    "filter_dataset",
    "find_duplicates",
    "import_dataset",
    "iter_dataset",
    "prototype_labels",
    "prototypes",
    "split_dataset",
]

# Imported when first asked for: pyarrow is heavy.
_HOMES: Final = {
    "Dataset": "dataset",
    "DatasetError": "columns",
    "DatasetHash": "dataset",
    "DatasetMetadata": "dataset",
    "DatasetWriter": "storage",
    "Description": "statistics",
    "Filter": "filtering",
    "FilterReport": "filtering",
    "ImportReport": "importing",
    "Split": "splitting",
    "describe": "statistics",
    "draw_histograms": "statistics",
    "export_dataset": "exporting",
    "filter_dataset": "filtering",
    "find_duplicates": "duplicates",
    "import_dataset": "importing",
    "iter_dataset": "storage",
    "prototype_labels": "symmetry",
    "prototypes": "dataset",
    "split_dataset": "splitting",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
