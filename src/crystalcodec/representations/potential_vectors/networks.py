"""The networks of published potentials, cut off before they sum up an energy."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER
from crystalcodec.registry import import_extra

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

_CHGNET_FILES: Final = {
    "chgnet-0.3.0": ("0.3.0", "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"),
    "chgnet-r2scan": (
        "r2scan",
        "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
    ),
}
_CHGNET_ELEMENTS: Final = 94


class IsolatedAtomsError(ValueError):
    """Sites that no other is near: a network knows nothing but their element."""

    def __init__(self, centers: npt.NDArray[Any], n_sites: int, cutoff: float) -> None:
        n_alone = n_sites - len(np.unique(centers))
        super().__init__(f"{n_alone} sites without another within {cutoff:g} Å")

    @classmethod
    def check(cls, centers: npt.NDArray[Any], n_sites: int, cutoff: float) -> None:
        """Raise it unless every site is the centre of an edge."""
        if len(np.unique(centers)) < n_sites:
            raise cls(centers, n_sites, cutoff)


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


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch: more are slower on small cells, and add in another order."""
    torch = import_extra("torch", "mlip")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=4)
def load_network(model: Model, layer: Layer) -> Network:
    """The network of a potential, from the weights that its package carries.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    # Both warn of what other packages will change, and CHGNet prints the number of its weights.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return _chgnet(model, layer) if model in _CHGNET_FILES else _sevennet(layer)


def _chgnet(model: str, layer: Layer) -> Network:
    models = import_extra("chgnet.model.model", "mlip")
    torch = import_extra("torch", "mlip")
    version, file = _CHGNET_FILES[model]
    path = Path(models.__file__).parents[1] / "pretrained" / file
    # The package itself would unpickle the file; it holds nothing but arrays and plain values.
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    network = models.CHGNet.from_dict(state, mlp_out_bias=False, version=version).eval()
    cutoff = float(network.graph_converter.atom_graph_cutoff)
    network.graph_converter.set_isolated_atom_response("ignore")  # told below
    seen: list[Any] = []
    # Called with the sites after the last layer, which no output of the network gives.
    network.readout_norm.register_forward_hook(lambda _, inputs, output: seen.append(output))

    def vectors(crystal: Crystals) -> Floats:
        from crystalcodec.io import to_pymatgen

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of how it makes tensors of arrays
            graph = network.graph_converter(to_pymatgen(crystal)[0])
        centers = graph.atom_graph.numpy().reshape(-1, 2)[:, 0]
        IsolatedAtomsError.check(centers, len(crystal.numbers), cutoff)
        seen.clear()
        output = network([graph], task="e", return_atom_feas=True)
        sites = seen[0] if layer == "last" else output["atom_fea"][0]
        return np.asarray(sites.detach().numpy(), np.float32)

    elements = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
    elements[1 : _CHGNET_ELEMENTS + 1] = True
    return Network(elements, vectors)


def _sevennet(layer: Layer) -> Network:
    loading = import_extra("sevenn.util", "sevennet")
    graphs = import_extra("sevenn.train.dataload", "sevennet")
    data = import_extra("sevenn.atom_graph_data", "sevennet")
    path = loading.pretrained_name_to_path("7net-0_11july2024")
    _check_holds_arrays_only(path)
    checkpoint = loading.load_checkpoint(path)
    network = checkpoint.build_model().eval()
    network.set_is_batch_data(False)
    keys = [*network._modules]
    last = max(int(key.split("_")[0]) for key in keys if key[0].isdigit())
    end = keys.index("reduce_input_to_hidden")
    if layer == "before_last":
        end = next(i for i, key in enumerate(keys) if key.startswith(f"{last}_"))
    for key in keys[end:]:
        network.delete_module_by_key(key)
    cutoff, length = float(checkpoint.config["cutoff"]), LENGTHS["sevennet-0-11jul2024"]

    def vectors(crystal: Crystals) -> Floats:
        from crystalcodec.io import to_ase

        graph = graphs.unlabeled_atoms_to_graph(to_ase(crystal)[0], cutoff)
        IsolatedAtomsError.check(graph["edge_index"][0], len(crystal.numbers), cutoff)
        output = network(data.AtomGraphData.from_numpy_dict(graph))
        # Scalars stand first; vectors and tensors after them turn with the crystal.
        return np.asarray(output["x"][:, :length].detach().numpy(), np.float32)

    elements = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
    elements[[ATOMIC_NUMBERS[symbol] for symbol in checkpoint.config["chemical_species"]]] = True
    return Network(elements, vectors)


def _check_holds_arrays_only(path: str) -> None:
    """Read a file with torch's restricted reader, which takes arrays and plain values alone.

    SevenNet unpickles its file, and has no other way to load it; this fails before it does so if
    the file holds anything that could run.
    """
    torch = import_extra("torch", "sevennet")
    arrays = import_extra("numpy._core.multiarray", "sevennet")
    allowed = [
        (arrays._reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
    ]
    with torch.serialization.safe_globals(allowed):
        torch.load(path, map_location="cpu", weights_only=True)
