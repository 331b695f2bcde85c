"""CHGNet: graphs of many crystals made with arrays, one way forth and back through the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.relaxation.networks import NetworkPotential, Slopes
from crystalcodec.representations.neighbors import Neighbors
from crystalcodec.representations.potentials import load_chgnet, quiet

__all__ = ["CHGNetPotential"]

Ints = npt.NDArray[np.int64]


class CHGNetPotential(NetworkPotential):
    """CHGNet (10.1038/s42256-023-00716-3) with the weights that its package carries.

    Energies are those of its training data: of VASP calculations with the corrections of the
    Materials Project (``chgnet-0.3.0``, PBE and PBE+U) or of r2SCAN (``chgnet-r2scan``).

    Parameters
    ----------
    name
        ``chgnet-0.3.0`` or ``chgnet-r2scan``.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """

    packages = ("chgnet", "torch")
    most_pairs = 12_000

    def __init__(self, name: str = "chgnet-0.3.0") -> None:
        with quiet():
            loaded = load_chgnet(name)
        self.name, self.elements, self.cutoff = name, loaded.elements, loaded.cutoff
        self._network = loaded.network.requires_grad_(False)
        self._bond_cutoff = float(loaded.network.graph_converter.bond_graph_cutoff)

    def slopes(self, crystals: Crystals, pairs: Neighbors) -> Slopes:
        """Energies, and their slopes along the vectors of pairs."""
        import torch
        from chgnet.model.model import BatchedGraph

        network, n = self._network, len(crystals)
        back = reverse_pairs(pairs)
        bonds = np.flatnonzero(np.arange(len(pairs)) < back)
        bond_of = np.empty(len(pairs), np.int64)
        bond_of[bonds] = bond_of[back[bonds]] = np.arange(len(bonds))
        first, second = angles_of(pairs, self._bond_cutoff)

        vectors = torch.tensor(pairs.vectors, dtype=torch.float32, requires_grad=True)
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        units = vectors / lengths[:, None]
        encoder = network.bond_basis_expansion
        of_bonds = lengths[_index(bonds)]
        bases = (
            network.angle_basis_expansion(units[_index(first)], units[_index(second)])
            if len(first)
            else torch.tensor([])
        )
        angles = np.stack([pairs.centers[first], bond_of[first], bond_of[second]], axis=1)
        numbers = _index(crystals.numbers)
        owners = _index(crystals.crystal_indices)
        graph = BatchedGraph(
            atomic_numbers=numbers,
            bond_bases_ag=encoder.rbf_expansion_ag(of_bonds),
            bond_bases_bg=encoder.rbf_expansion_bg(of_bonds),
            angle_bases=bases,
            batched_atom_graph=_index(np.stack([pairs.centers, pairs.neighbors], axis=1)),
            batched_bond_graph=_index(angles) if len(first) else torch.tensor([]),
            atom_owners=owners,
            directed2undirected=_index(bond_of),
            atom_positions=(),
            strains=(),
            volumes=(),
        )
        sizes = torch.tensor(crystals.n_sites)
        per_site = network._compute(graph)["e"]
        if not network.is_intensive:
            per_site = per_site / sizes
        (slopes,) = torch.autograd.grad((per_site * sizes).sum(), vectors)
        energies = per_site.detach()
        if network.composition_model is not None:
            counts = torch.zeros(n, network.composition_model.max_num_elements)
            counts.index_put_((owners, numbers - 1), torch.ones(len(numbers)), accumulate=True)
            with torch.no_grad():
                of_elements = network.composition_model._get_energy(counts / sizes[:, None])
            energies = energies + of_elements
        found = energies.numpy().astype(np.float64) * crystals.n_sites
        return Slopes(found, slopes.numpy().astype(np.float64))


def reverse_pairs(pairs: Neighbors) -> Ints:
    """(n_pairs,) the pair that leads back; each pair has one, at the same distance."""
    x, y, z = pairs.images.T
    forth = np.lexsort((z, y, x, pairs.neighbors, pairs.centers))
    back = np.lexsort((-z, -y, -x, pairs.centers, pairs.neighbors))
    found = np.empty(len(pairs), np.int64)
    found[back] = forth
    return found


def angles_of(pairs: Neighbors, cutoff: float) -> tuple[Ints, Ints]:
    """All ordered couples of different pairs of one centre, both shorter than the cut-off."""
    short = np.flatnonzero(pairs.distances < cutoff)
    centers = pairs.centers[short]
    starts = np.searchsorted(centers, centers, side="left")
    counts = np.searchsorted(centers, centers, side="right") - starts
    first = np.repeat(np.arange(len(short)), counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    second = starts[first] + within
    other = first != second
    return short[first[other]], short[second[other]]


def _index(values: npt.NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(np.array(values, np.int64))
