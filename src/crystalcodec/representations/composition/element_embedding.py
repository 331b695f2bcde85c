"""Vectors of elements, pooled over a composition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.composition.missing import (
    MissingEntries,
    check_missing,
    filler,
)
from crystalcodec.representations.composition.pooling import checked_pooling, element_parts, pool
from crystalcodec.representations.element_tables import ELEMENT_TABLES, ElementTable, element_table
from crystalcodec.representations.parameters import misfit

__all__ = ["ElementEmbedding"]


@dataclass(frozen=True)
class ElementEmbedding(Representation):
    """The rows of a table of elements, pooled over the composition of a crystal.

    Poolings are joined in their order, each as long as a row of the table. With ``x_e`` the row
    of element e and ``f_e`` its fraction of the sites: ``mean`` is the sum of ``f_e x_e``;
    ``sum`` takes the amounts of the reduced formula for ``f_e``; ``standard_deviation`` is the
    root of the ``f_e``-weighted mean of squared deviations from the mean, and
    ``mean_absolute_deviation`` the same of absolute ones; ``minimum``, ``maximum`` and ``range``
    do not look at amounts; ``mode`` takes the element that there is most of, and number by number
    the smallest where several are equally many.

    Parameters
    ----------
    table
        Name in :data:`~crystalcodec.representations.element_tables.ELEMENT_TABLES`.
    pooling
        One or several of :data:`~crystalcodec.representations.composition.POOLINGS`.
    missing
        What happens to a crystal of an element that the table lacks: ``error``, it is a failure;
        ``zero``, zeros stand in; ``mean``, the mean of each column over the elements of the
        table. :meth:`missing_elements` counts them.

    Raises
    ------
    RepresentationError
        An unknown table, pooling or policy.
    MissingExtraError
        On encoding, where the package ElementEmbeddings is not installed.

    References
    ----------
    Each table's own: ``element_table(name).doi``.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> embedding = ElementEmbedding("magpie", ("mean", "range"))
    >>> embedding.feature_names()[7], embedding.encode(salt)["element_embedding"][0, 7].round(3)
    ('mean Electronegativity', np.float32(2.045))
    """

    name: ClassVar[str] = "element_embedding"
    lost: ClassVar[str] = "the cell, all positions, and of the elements all but the pooled vector"
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "constant"

    table: str = "magpie"
    pooling: tuple[str, ...] = ("mean",)
    missing: str = "error"

    def __post_init__(self) -> None:
        if isinstance(self.pooling, str):
            object.__setattr__(self, "pooling", (self.pooling,))
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        if self.table not in ELEMENT_TABLES:
            raise RepresentationError(
                f"no table {self.table!r}{did_you_mean(self.table, [*ELEMENT_TABLES])}"
            )
        object.__setattr__(self, "pooling", checked_pooling(self.pooling))
        check_missing(self.missing)

    @property
    def _table(self) -> ElementTable:
        return element_table(self.table)

    @cached_property
    def _values(self) -> npt.NDArray[np.float64]:
        """(119, d) the table, filled by the policy."""
        values = self._table.values
        return np.where(np.isnan(values), filler(values, self.missing), values)

    @property
    def fields(self) -> tuple[Field, ...]:
        """A field for each pooling."""
        d = ELEMENT_TABLES[self.table].dimension
        return tuple(
            Field(pooling, "continuous", self.name, (d,), (slice(i * d, (i + 1) * d),))
            for i, pooling in enumerate(self.pooling)
        )

    def feature_names(self) -> tuple[str, ...]:
        """Pooling and column of the table: ``"mean Electronegativity"``."""
        columns = self._table.feature_names
        return tuple(f"{pooling} {column}" for pooling in self.pooling for column in columns)

    def _lacking(self, crystals: Crystals) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Crystal and atomic number of each element that the table lacks."""
        sites = np.flatnonzero(~self._table.has[crystals.numbers])
        keys = crystals.crystal_indices[sites] * len(SYMBOLS) + crystals.numbers[sites]
        owners, numbers = np.divmod(np.unique(keys), len(SYMBOLS))
        return owners, numbers

    def missing_elements(self, crystals: Crystals) -> MissingEntries:
        """How many of these crystals hold an element that the table lacks, and which.

        Examples
        --------
        >>> helium = Crystals.single([[3, 0, 0], [0, 3, 0], [0, 0, 3]], [[0, 0, 0]], [2])
        >>> print(ElementEmbedding("skipatom", missing="mean").missing_elements(helium))
        1 of 1 crystals hold what 'skipatom' lacks: He in 1
        """
        owners, numbers = self._lacking(crystals)
        symbols = [SYMBOLS[z] for z in numbers.tolist()]
        return MissingEntries.of(self.table, len(crystals), owners.tolist(), symbols)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements that the table lacks, where that is an error."""
        if self.missing != "error":
            return []
        owners, numbers = self._lacking(crystals)
        notes = FailureNotes()
        found = np.zeros(len(crystals), bool)
        found[owners] = True

        def detail(i: int) -> str:
            of_crystal = slice(*np.searchsorted(owners, [i, i + 1]))
            symbols = ", ".join(SYMBOLS[z] for z in numbers[of_crystal].tolist())
            return (
                f"{symbols}: the table {self.table!r} has {len(self._table.elements)} elements; "
                "use missing='zero' or 'mean', or another table"
            )

        notes.add(found, "element not in the table", detail)
        return notes.in_order()

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        values = self._values
        array = np.empty((len(crystals), len(self.pooling), values.shape[1]), np.float32)
        pool(element_parts(crystals), values, self.pooling, array)
        return {self.name: array.reshape(len(crystals), array.shape[1] * array.shape[2])}
