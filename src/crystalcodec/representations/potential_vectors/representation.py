"""Vectors of an interatomic potential, for each crystal or each site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Encoded,
    Field,
    RaggedRepresentation,
    Representation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.potential_vectors.networks import (
    LENGTHS,
    IsolatedAtomsError,
    Layer,
    Model,
    load_network,
    one_thread,
)
from crystalcodec.representations.potentials import unknown_elements

__all__ = ["PotentialVectors", "SitePotentialVectors"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def _check(parameters: Representation) -> None:
    wrong = misfit(type(parameters), vars(parameters))
    if wrong:
        raise RepresentationError(wrong)


def _site_vectors(
    crystals: Crystals, model: Model, layer: Layer
) -> tuple[list[Floats], list[Failure]]:
    """(n_sites, length) of each crystal that the potential takes, and why not of the others.

    Crystals go through the network one at a time: in a batch its sums would be others in the
    last digits. On one thread batches of 16 would be faster by less than half.
    """
    network = load_network(model, layer)
    failures = {
        failure.index: failure for failure in unknown_elements(crystals, network.elements, model)
    }
    vectors = []
    with one_thread():
        for i, crystal in enumerate(crystals):
            if i in failures:
                continue
            try:
                found = network.vectors(crystal)
            except IsolatedAtomsError as error:
                failures[i] = Failure(i, "isolated atom", str(error))
                continue
            except (ValueError, RuntimeError) as error:
                failures[i] = Failure(i, "no graph", f"{model}: {error}")
                continue
            if np.isfinite(found).all():
                vectors.append(found)
            else:
                failures[i] = Failure(i, "vectors not finite", f"{model} gives no numbers")
    return vectors, [failures[i] for i in sorted(failures)]


@dataclass(frozen=True)
class PotentialVectors(Representation):
    """One vector for each crystal: the sites of a trained interatomic potential, pooled.

    The array ``potential_vectors`` (n, length) is the mean, or the sum, over all sites of what
    the network of the potential holds at them after a layer, before it turns that into an energy:
    64 numbers for CHGNet, 128 scalars for SevenNet. The numbers have neither names nor units.

    The potentials were trained on energies, forces and stresses of the Materials Project. Data
    sets of that database, such as MP-20 and the tasks ``mp_*`` of Matbench, hold crystals of their
    training set, so that errors measured there with these vectors are too good.

    Parameters
    ----------
    model
        ``"chgnet-0.3.0"`` and ``"chgnet-r2scan"`` need the extra ``mlip``,
        ``"sevennet-0-11jul2024"`` the extra ``sevennet``; the name tells the weights, which come
        with the packages.
    layer
        ``"last"``, after the last message passing, for CHGNet normalised as its read-out does; or
        ``"before_last"``, before that layer, where CHGNet reads magnetic moments.
    pooling
        ``"mean"`` or ``"sum"`` over the sites; a sum grows with the cell.

    Raises
    ------
    RepresentationError
        A parameter that is none of these.
    MissingExtraError
        When encoding, if the package is not installed.

    References
    ----------
    CHGNet: Deng et al., Nat. Mach. Intell. 5, 1031 (2023), 10.1038/s42256-023-00716-3.
    SevenNet: Park et al., J. Chem. Theory Comput. 20, 4857 (2024), 10.1021/acs.jctc.4c00190; the
    weights are newer than the paper.

    Examples
    --------
    >>> PotentialVectors().fields[0].shape, PotentialVectors(model="sevennet-0-11jul2024").length
    ((64,), 128)
    """

    name: ClassVar[str] = "potential_vectors"
    lost: ClassVar[str] = (
        "whatever the potential has no use for, and which site is which; two crystals can share a "
        "vector"
    )

    model: Model = "chgnet-0.3.0"
    layer: Layer = "last"
    pooling: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def invariances(self) -> frozenset[Any]:  # type: ignore[override]
        """All of them for a mean; a sum grows with the cell."""
        every = {"permutation", "translation", "rotation", "unit_cell"}
        return frozenset(every | {"supercell"} if self.pooling == "mean" else every)

    @property
    def length(self) -> int:
        """Numbers a crystal."""
        return LENGTHS[self.model]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The vector."""
        return (Field("vector", "continuous", self.name, (self.length,)),)

    def feature_names(self) -> tuple[str, ...]:
        """``chgnet-0.3.0 last mean 0`` and so on."""
        prefix = f"{self.model} {self.layer} {self.pooling}"
        return tuple(f"{prefix} {i}" for i in range(self.length))

    def n_bytes(self, crystals: Crystals) -> int:
        """Four bytes a number."""
        return 4 * len(crystals) * self.length

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements without weights, with isolated atoms, or without a graph."""
        return _site_vectors(crystals, self.model, self.layer)[1]

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but runs the network once."""
        self._check_ready(crystals)
        vectors, failures = _site_vectors(crystals, self.model, self.layer)
        _, index = held_crystals(crystals, failures)
        return Encoded(self._pooled(vectors), index, tuple(failures))

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        if not len(crystals):
            return self._pooled([])  # shapes are known without the package
        return self._pooled(_site_vectors(crystals, self.model, self.layer)[0])

    def _pooled(self, vectors: list[Floats]) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(vectors), self.length), np.float32)
        for row, sites in zip(array, vectors, strict=True):
            total = sites.sum(axis=0, dtype=np.float64)
            row[:] = total / len(sites) if self.pooling == "mean" else total
        return {self.name: array}


@dataclass(frozen=True)
class SitePotentialVectors(RaggedRepresentation):
    """One vector for each site: what a trained interatomic potential holds there.

    The array ``site_potential_vectors`` (n_sites_total, length) is ragged along the axis
    ``sites``, in the order of the sites of each crystal. Everything else, the remark on training
    data too, is as for :class:`PotentialVectors`, whose mean is over these.

    Parameters
    ----------
    model, layer
        As for :class:`PotentialVectors`.

    Raises
    ------
    RepresentationError
        A parameter that is none of these.
    MissingExtraError
        When encoding, if the package is not installed.

    References
    ----------
    As for :class:`PotentialVectors`.

    Examples
    --------
    >>> SitePotentialVectors().fields[0].shape
    ('sites', 64)
    """

    name: ClassVar[str] = "site_potential_vectors"
    lost: ClassVar[str] = "whatever the potential has no use for; directions"
    invariances: ClassVar = frozenset({"translation", "rotation", "unit_cell"})

    model: Model = "chgnet-0.3.0"
    layer: Layer = "last"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def length(self) -> int:
        """Numbers a site."""
        return LENGTHS[self.model]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The vectors."""
        return (Field("vector", "continuous", self.name, ("sites", self.length)),)

    def n_bytes(self, crystals: Crystals) -> int:
        """Four bytes a number."""
        return 4 * len(crystals.numbers) * self.length

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements without weights, with isolated atoms, or without a graph."""
        return _site_vectors(crystals, self.model, self.layer)[1]

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but runs the network once."""
        self._check_ready(crystals)
        vectors, failures = _site_vectors(crystals, self.model, self.layer)
        _, index = held_crystals(crystals, failures)
        arrays, offsets = self._joined(vectors)
        return Encoded(arrays, index, tuple(failures), offsets)

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        if not len(crystals):
            return self._joined([])  # shapes are known without the package
        return self._joined(_site_vectors(crystals, self.model, self.layer)[0])

    def _joined(self, vectors: list[Floats]) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        none = np.zeros((0, self.length), np.float32)
        offsets = np.cumsum([0, *map(len, vectors)]).astype(np.int64)
        return {self.name: np.concatenate([none, *vectors])}, {"sites": offsets}
