"""The networks of published potentials, cut off before they sum up an energy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.registry import import_extra
from crystalcodec.representations.potentials import (
    CHGNET_FILES,
    IsolatedAtomsError,
    check_holds_arrays_only,
    load_chgnet,
    load_sevennet,
    one_thread,
    quiet,
)

__all__ = [
    "LENGTHS",
    "IsolatedAtomsError",
    "Layer",
    "Model",
    "Network",
    "load_network",
    "one_thread",
]

Floats = npt.NDArray[np.float32]
Model = Literal["chgnet-0.3.0", "chgnet-r2scan", "sevennet-0-11jul2024"]
Layer = Literal["last", "before_last"]

LENGTHS: Final[dict[str, int]] = {
    "chgnet-0.3.0": 64,
    "chgnet-r2scan": 64,
    "sevennet-0-11jul2024": 128,
}
"""Numbers a site, by model."""

_check_holds_arrays_only = check_holds_arrays_only


@dataclass(frozen=True)
class Network:
    """A loaded network.

    Parameters
    ----------
    elements : (119,)
        Whether it knows the element, by atomic number.
    vectors
        From one crystal to (n_sites, length): the vector of each site. Raises
        :class:`IsolatedAtomsError`.
    """

    elements: npt.NDArray[np.bool_]
    vectors: Callable[[Crystals], Floats]


@lru_cache(maxsize=4)
def load_network(model: Model, layer: Layer) -> Network:
    """The network of a potential, from the weights that its package carries.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    with quiet():
        return _chgnet(model, layer) if model in CHGNET_FILES else _sevennet(model, layer)


def _chgnet(model: str, layer: Layer) -> Network:
    loaded = load_chgnet(model)
    network = loaded.network
    seen: list[Any] = []
    # Called with the sites after the last layer, which no output of the network gives.
    network.readout_norm.register_forward_hook(lambda _, inputs, output: seen.append(output))

    def vectors(crystal: Crystals) -> Floats:
        from crystalcodec.io import to_pymatgen

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of how it makes tensors of arrays
            graph = network.graph_converter(to_pymatgen(crystal)[0])
        centers = graph.atom_graph.numpy().reshape(-1, 2)[:, 0]
        IsolatedAtomsError.check(centers, len(crystal.numbers), loaded.cutoff)
        seen.clear()
        output = network([graph], task="e", return_atom_feas=True)
        sites = seen[0] if layer == "last" else output["atom_fea"][0]
        return np.asarray(sites.detach().numpy(), np.float32)

    return Network(loaded.elements, vectors)


def _sevennet(model: str, layer: Layer) -> Network:
    graphs = import_extra("sevenn.train.dataload", "sevennet")
    data = import_extra("sevenn.atom_graph_data", "sevennet")
    loaded = load_sevennet(model)
    network = loaded.network
    keys = [*network._modules]
    last = max(int(key.split("_")[0]) for key in keys if key[0].isdigit())
    end = keys.index("reduce_input_to_hidden")
    if layer == "before_last":
        end = next(i for i, key in enumerate(keys) if key.startswith(f"{last}_"))
    for key in keys[end:]:
        network.delete_module_by_key(key)
    length = LENGTHS[model]

    def vectors(crystal: Crystals) -> Floats:
        from crystalcodec.io import to_ase

        graph = graphs.unlabeled_atoms_to_graph(to_ase(crystal)[0], loaded.cutoff)
        IsolatedAtomsError.check(graph["edge_index"][0], len(crystal.numbers), loaded.cutoff)
        output = network(data.AtomGraphData.from_numpy_dict(graph))
        # Scalars stand first; vectors and tensors after them turn with the crystal.
        return np.asarray(output["x"][:, :length].detach().numpy(), np.float32)

    return Network(loaded.elements, vectors)
