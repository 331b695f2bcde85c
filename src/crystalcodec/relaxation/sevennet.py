"""SevenNet: the pairs of many crystals as one graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.registry import import_extra
from crystalcodec.relaxation.networks import NetworkPotential, Slopes
from crystalcodec.representations.neighbors import Neighbors
from crystalcodec.representations.potentials import load_sevennet, quiet

__all__ = ["SevenNetPotential"]


class SevenNetPotential(NetworkPotential):
    """SevenNet (10.1021/acs.jctc.4c00190) with the weights that its package carries.

    Parameters
    ----------
    name
        ``sevennet-0-11jul2024`` or ``sevennet-l3i5``.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """

    packages = ("sevenn", "torch")
    most_pairs = 1_500
    most_pairs_of_one = 30_000

    def __init__(self, name: str = "sevennet-0-11jul2024") -> None:
        with quiet():
            loaded = load_sevennet(name)
        self._data = import_extra("sevenn.atom_graph_data", "sevennet").AtomGraphData
        self.name, self.elements, self.cutoff = name, loaded.elements, loaded.cutoff
        self._network = loaded.network.requires_grad_(False)
        # Its own last step sums slopes up to forces; the slopes themselves are wanted here.
        self._network.delete_module_by_key("force_output")
        self._network.set_is_batch_data(True)

    def slopes(self, crystals: Crystals, pairs: Neighbors) -> Slopes:
        """Energies, and their slopes along the vectors of pairs."""
        import torch

        numbers = torch.tensor(crystals.numbers)
        vectors = torch.tensor(pairs.vectors, dtype=torch.float32, requires_grad=True)
        graph = self._data(
            x=numbers,
            atomic_numbers=numbers,
            pos=torch.zeros((len(numbers), 3)),
            edge_index=torch.tensor(np.stack([pairs.centers, pairs.neighbors])),
            edge_vec=vectors,
            num_atoms=torch.tensor(crystals.n_sites),
            batch=torch.tensor(crystals.crystal_indices),
        )
        output: Any = self._network(graph)
        energies = output["inferred_total_energy"]
        (slopes,) = torch.autograd.grad(energies.sum(), vectors)
        return Slopes(
            energies.detach().numpy().astype(np.float64).reshape(len(crystals)),
            slopes.numpy().astype(np.float64),
        )
