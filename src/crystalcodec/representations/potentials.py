"""Interatomic potentials that come with their packages: loaded, and what they cannot take."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.registry import import_extra
from crystalcodec.representations.base import FailureNotes

__all__ = [
    "CHGNET_FILES",
    "SEVENNET_NAMES",
    "IsolatedAtomsError",
    "LoadedPotential",
    "check_holds_arrays_only",
    "load_chgnet",
    "load_sevennet",
    "one_thread",
    "quiet",
    "unknown_elements",
]

CHGNET_FILES: Final = {
    "chgnet-0.3.0": ("0.3.0", "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"),
    "chgnet-r2scan": (
        "r2scan",
        "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
    ),
}
"""Version and file in the package, by model."""

SEVENNET_NAMES: Final = {
    "sevennet-0-11jul2024": "7net-0_11july2024",
    "sevennet-l3i5": "7net-l3i5",
}
"""What the package calls them; it carries the weights of these, and would fetch others."""

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
class LoadedPotential:
    """The network of a potential, in evaluation mode.

    Parameters
    ----------
    network
        The package's own.
    elements : (119,)
        Whether it knows the element, by atomic number.
    cutoff
        Å; how far it looks for neighbours.
    """

    network: Any
    elements: npt.NDArray[np.bool_]
    cutoff: float


@contextlib.contextmanager
def one_thread(*, gradients: bool = False) -> Iterator[None]:
    """One thread of torch: more are slower on small cells, and add in another order."""
    torch = import_extra("torch", "mlip")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Both packages warn of what others will change, and CHGNet prints its number of weights."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def load_chgnet(model: str) -> LoadedPotential:
    """CHGNet with the weights of :data:`CHGNET_FILES`.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    models = import_extra("chgnet.model.model", "mlip")
    torch = import_extra("torch", "mlip")
    version, file = CHGNET_FILES[model]
    path = Path(models.__file__).parents[1] / "pretrained" / file
    # The package itself would unpickle the file; it holds nothing but arrays and plain values.
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    network = models.CHGNet.from_dict(state, mlp_out_bias=False, version=version).eval()
    cutoff = float(network.graph_converter.atom_graph_cutoff)
    network.graph_converter.set_isolated_atom_response("ignore")  # IsolatedAtomsError tells
    elements = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
    elements[1 : _CHGNET_ELEMENTS + 1] = True
    return LoadedPotential(network, elements, cutoff)


def load_sevennet(model: str) -> LoadedPotential:
    """SevenNet with the weights of :data:`SEVENNET_NAMES`.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    loading = import_extra("sevenn.util", "sevennet")
    path = loading.pretrained_name_to_path(SEVENNET_NAMES[model])
    check_holds_arrays_only(path)
    checkpoint = loading.load_checkpoint(path)
    network = checkpoint.build_model().eval()
    network.set_is_batch_data(False)
    elements = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
    elements[[ATOMIC_NUMBERS[symbol] for symbol in checkpoint.config["chemical_species"]]] = True
    return LoadedPotential(network, elements, float(checkpoint.config["cutoff"]))


def check_holds_arrays_only(path: str) -> None:
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


def unknown_elements(
    crystals: Crystals, elements: npt.NDArray[np.bool_], model: str
) -> list[Failure]:
    """Crystals of elements that a potential does not know: (119,) whether it does."""
    notes = FailureNotes()
    strange = np.zeros(len(crystals), bool)
    strange[crystals.crystal_indices[~elements[crystals.numbers]]] = True

    def unknown(i: int) -> str:
        numbers = np.unique(crystals[i].numbers)
        symbols = [SYMBOLS[z] for z in numbers[~elements[numbers]]]
        return f"{model} knows no {', '.join(symbols)}"

    notes.add(strange, "element without weights", unknown)
    return notes.in_order()
