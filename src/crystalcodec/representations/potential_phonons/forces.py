"""Forces of an interatomic potential on copies of a crystal whose atoms are displaced a little."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.registry import import_extra
from crystalcodec.representations.potentials import (
    CHGNET_FILES,
    IsolatedAtomsError,
    LoadedPotential,
    load_chgnet,
    load_sevennet,
    quiet,
)

__all__ = ["ForceField", "Forces", "Model", "load_force_field"]

Floats = npt.NDArray[np.float64]
Forces = Callable[[Floats], Floats]
Model = Literal["chgnet-0.3.0", "chgnet-r2scan", "sevennet-0-11jul2024", "sevennet-l3i5"]

_CHGNET_SITES = 256
_SEVENNET_SITES = 48
"""Sites that go through a network at once: more need more memory, and are no faster."""


@dataclass(frozen=True)
class ForceField:
    """A potential that gives forces.

    Parameters
    ----------
    elements : (119,)
        Whether it knows the element, by atomic number.
    forces
        From one crystal to a function that takes displacements (n_copies, n_sites, 3), Å, and
        gives the forces (n_copies, n_sites, 3), eV/Å, on the sites of each displaced copy.
        Neighbours are those of the crystal: one that a displacement carries across the cut-off,
        where its weight vanishes with its slope, is left out. Raises :class:`IsolatedAtomsError`.
    """

    elements: npt.NDArray[np.bool_]
    forces: Callable[[Crystals], Forces]


@lru_cache(maxsize=4)
def load_force_field(model: Model) -> ForceField:
    """The force field of a potential, from the weights that its package carries.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    with quiet():
        return _chgnet(model) if model in CHGNET_FILES else _sevennet(model)


def _chgnet(model: str) -> ForceField:
    torch = import_extra("torch", "mlip")
    loaded = load_chgnet(model)
    network = loaded.network.requires_grad_(False)

    def of(crystal: Crystals) -> Forces:
        from crystalcodec.io import to_pymatgen

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of how it makes tensors of arrays
            graph = network.graph_converter(to_pymatgen(crystal)[0])
        centers = graph.atom_graph.numpy().reshape(-1, 2)[:, 0]
        IsolatedAtomsError.check(centers, len(crystal.numbers), loaded.cutoff)
        graph.lattice = graph.lattice.detach()
        inverse = np.linalg.inv(crystal.lattices[0])

        def some(moves: Floats) -> Floats:
            places = [
                torch.tensor(coords, dtype=torch.float32, requires_grad=True)
                for coords in crystal.frac_coords + moves @ inverse
            ]
            graphs = [copy.copy(graph) for _ in places]
            for one, coords in zip(graphs, places, strict=True):
                one.atom_frac_coord = coords
            energies = network(graphs, task="e")["e"]  # eV an atom
            slopes = torch.autograd.grad(energies.sum() * len(crystal.numbers), places)
            return np.stack([-slope.numpy().astype(np.float64) @ inverse.T for slope in slopes])

        return _in_parts(some, _CHGNET_SITES)

    return ForceField(loaded.elements, of)


def _sevennet(model: str) -> ForceField:
    torch = import_extra("torch", "sevennet")
    graphs = import_extra("sevenn.train.dataload", "sevennet")
    data = import_extra("sevenn.atom_graph_data", "sevennet")
    loaded: LoadedPotential = load_sevennet(model)
    network = loaded.network.requires_grad_(False)

    def of(crystal: Crystals) -> Forces:
        from crystalcodec.io import to_ase

        n_sites = len(crystal.numbers)
        graph = graphs.unlabeled_atoms_to_graph(to_ase(crystal)[0], loaded.cutoff)
        edges, vectors = graph["edge_index"], graph["edge_vec"]
        IsolatedAtomsError.check(edges[0], n_sites, loaded.cutoff)

        def some(moves: Floats) -> Floats:
            # Copies are one graph in parts that no edge joins: their energies add up.
            n = len(moves)
            offsets = n_sites * np.arange(n)[None, :, None]
            moved = vectors + moves[:, edges[1]] - moves[:, edges[0]]
            numbers = torch.tensor(np.tile(crystal.numbers, n))
            joined = {
                "x": numbers,
                "atomic_numbers": numbers,
                "pos": torch.zeros((n * n_sites, 3)),
                "edge_index": torch.tensor((edges[:, None] + offsets).reshape(2, -1)),
                "edge_vec": torch.tensor(moved.reshape(-1, 3), dtype=torch.float32),
                "cell_volume": torch.tensor(n * float(crystal.volumes[0])),
                "num_atoms": torch.tensor(n * n_sites),
            }
            output: Any = network(data.AtomGraphData(**joined))
            found = output["inferred_force"].detach().numpy().astype(np.float64)
            return np.asarray(found.reshape(moves.shape))

        return _in_parts(some, _SEVENNET_SITES)

    return ForceField(loaded.elements, of)


def _in_parts(some: Forces, most_sites: int) -> Forces:
    def every(moves: Floats) -> Floats:
        step = max(1, most_sites // moves.shape[1])
        parts = [some(moves[start : start + step]) for start in range(0, len(moves), step)]
        return np.concatenate([np.zeros((0, *moves.shape[1:])), *parts])

    return every
