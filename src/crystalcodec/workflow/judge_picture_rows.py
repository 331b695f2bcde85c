"""What is computed of each judged picture, kept by its pixels; and the network of the features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.data.workers import pool_of
from crystalcodec.evaluation.atom_counts import count_atoms
from crystalcodec.evaluation.base import Progress
from crystalcodec.evaluation.pictures import PictureRows, principal_features
from crystalcodec.workflow.benchmark.documents import digest
from crystalcodec.workflow.judge_picture_inputs import GivenPictures
from crystalcodec.workflow.judge_store import code_version, load_arrays, save_arrays

__all__ = ["PictureStore", "counted_atoms", "mobilenet", "picture_code", "picture_features"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Sides = tuple[GivenPictures, GivenPictures]

_PART: Final = 256  # pictures that are worked on, and kept, at once
_SIDE: Final = 64  # pixels that the own network sees at most
_TRAINED_ON: Final = 4000
# Pictures seen in training, all epochs together, and the least and the most epochs.
_SEEN: Final = 20_000
_EPOCHS: Final = (5, 30)
_N_FEATURES: Final = 64


class PictureStore:
    """Rows of pictures, computed in parts that are kept by their pixels."""

    def __init__(self, folder: Path | None, jobs: int, progress: Progress | None) -> None:
        self.folder, self.jobs, self.progress = folder, jobs, progress

    def both(
        self,
        name: str,
        sides: Sides,
        function: Callable[[Array], npt.ArrayLike],
        *,
        processes: bool = True,
    ) -> list[PictureRows]:
        """Rows of the generated and of the reference pictures."""
        return [
            PictureRows(one.spread(self.rows(name, one.values, function, processes)), one.reasons())
            for one in sides
        ]

    def rows(
        self, name: str, values: Array, function: Callable[[Array], npt.ArrayLike], processes: bool
    ) -> Floats:
        """(m, ...) rows of pictures; those that are not kept are computed, and kept at once."""
        if not len(values):
            # One picture tells how many columns there are.
            return np.asarray(function(np.zeros((1, *values.shape[1:]))), np.float64)[:0]
        parts = [values[start : start + _PART] for start in range(0, len(values), _PART)]
        paths = [self._path(name, part) for part in parts]
        rows = [None if path is None else (load_arrays(path) or {}).get("rows") for path in paths]
        missing = [i for i, one in enumerate(rows) if one is None]
        done = len(parts) - len(missing)
        with pool_of(min(self.jobs, len(missing)) if processes else 1) as pool:
            work = [parts[i] for i in missing]
            made = map(function, work) if pool is None else pool.map(function, work)
            for i, one in zip(missing, made, strict=True):
                made_now = np.asarray(one, np.float64)
                rows[i], path = made_now, paths[i]
                if path is not None:
                    save_arrays(path, {"rows": made_now})
                done += 1
                self.tell(name, min(done * _PART, len(values)), len(values))
        return np.concatenate([one for one in rows if one is not None])

    def tell(self, name: str, done: int, of: int) -> None:
        """Report progress, where somebody listens."""
        if self.progress is not None:
            self.progress(name, done, of)

    def _path(self, name: str, part: Array) -> Path | None:
        if self.folder is None:
            return None
        named = digest({"name": name, "code": picture_code(), "pixels": _pixels_hash(part)})
        return self.folder / "pictures" / f"{named}.npz"


def counted_atoms(part: Array) -> Floats:
    """(n,) numbers of atoms of grey pictures (n, height, width, 1)."""
    return count_atoms(part[..., 0]).astype(np.float64)


def picture_features(
    shelf: PictureStore,
    sides: Sides,
    other: tuple[str, Callable[[Array], Floats]] | None,
    seed: int,
) -> tuple[list[PictureRows], str]:
    """Features of both sides, and what they are of in words.

    ``other`` is a network that others trained, as :func:`mobilenet` gives it; None: one is trained
    on the reference pictures.
    """
    import torch

    with _one_thread(torch):
        if other is not None:
            name, function = other
            rows = shelf.both(f"features {name}", sides, function, processes=False)
            n = min(_N_FEATURES, len(rows[1].known) - 1)
            brought = principal_features(rows[1].known, rows[0].known, n=n)
            told = f"MobileNetV2 trained on photographs (ImageNet), its first {n} principal axes"
            pairs = zip(reversed(brought), sides, strict=True)
            return [PictureRows(one.spread(some), one.reasons()) for some, one in pairs], told
        key, network = _own_network(shelf, sides[1], seed)
        from crystalcodec.models.picture_features import reduced_pictures

        def own(part: Array) -> Floats:
            return np.asarray(network.features(reduced_pictures(part, _SIDE)))

        rows = shelf.both(f"features {key}", sides, own, processes=False)
    told = f"a network trained on the reference ({network.trained_on})"
    height, width, _ = sides[1].shape
    if max(height, width) > _SIDE:
        told += f", of pictures reduced from {height} x {width} to at most {_SIDE} pixels a side"
    return rows, told


def _own_network(shelf: PictureStore, reference: GivenPictures, seed: int) -> tuple[str, Any]:
    """The network trained on the reference, kept by its pixels; and its key."""
    import torch

    from crystalcodec.models.base import ModelError
    from crystalcodec.models.picture_features import (
        PictureFeatures,
        reduced_pictures,
        train_picture_features,
    )

    values = reference.values
    if len(values) > _TRAINED_ON:
        drawn = np.random.default_rng(seed).choice(len(values), _TRAINED_ON, replace=False)
        values = values[np.sort(drawn)]
    epochs = int(np.clip(_SEEN // len(values), *_EPOCHS))
    settings = {"pixels": _pixels_hash(values), "epochs": epochs, "side": _SIDE, "seed": seed}
    key = digest({**settings, "code": picture_code(), "torch": torch.__version__})
    path = shelf.folder and shelf.folder / "networks" / f"{key}.safetensors"
    if path and path.exists():
        try:
            return key, PictureFeatures.load(path)
        except ModelError:  # damaged: trained again
            pass

    def show(done: int, of: int, loss: float) -> None:
        shelf.tell("training the network of the features", done, of)

    small = np.concatenate(
        [
            reduced_pictures(values[start : start + _PART], _SIDE).astype(np.float32)
            for start in range(0, len(values), _PART)
        ]
    )
    network = train_picture_features(
        small, n_features=_N_FEATURES, epochs=epochs, seed=seed, progress=show
    )
    if len(values) < len(reference.values):
        network.trained_on += f", drawn from {len(reference.values)}"
    if path:
        network.save(path)
    return key, network


def mobilenet(features: str) -> tuple[str, Callable[[Array], Floats]]:
    """Features of MobileNetV2, of the weights behind the sign of equality or of the hub.

    Returns
    -------
    What the weights are called, by their content where they are in a folder; and the features.

    Raises
    ------
    ModelError
        Weights that are not there.
    """
    from crystalcodec.models.picture_features import mobilenet_features

    _, _, place = features.partition("=")
    if not place:
        return "MobileNetV2", mobilenet_features()
    made = mobilenet_features(place)
    files = [Path(place).expanduser() / one for one in ("config.json", "model.safetensors")]
    content = b"".join(hashlib.sha256(one.read_bytes()).digest() for one in files if one.is_file())
    return f"MobileNetV2 {hashlib.sha256(content).hexdigest()}", made


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Sums of floats in one order, so that the figures do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pixels_hash(values: Array) -> str:
    made = hashlib.sha256(repr((values.shape, values.dtype.str)).encode())
    made.update(np.ascontiguousarray(values).data)
    return made.hexdigest()


def picture_code() -> str:
    """Hash of what rows are computed by: what crystals are judged by, and the network's source."""
    from crystalcodec import models

    source = Path(models.__file__).with_name("picture_features.py").read_bytes()
    return hashlib.sha256(code_version().encode() + source).hexdigest()
