"""What the xtal2png package does with the same crystals; run by its own Python, not by ours.

    python xtal2png_peer.py FOLDER

reads ``crystals.npz``, ``ours/*.png`` and ``noisy.npz`` in the folder, writes ``peer/*.png`` and
``peer.npz`` there. See xtal2png_encoding.py.
"""

from __future__ import annotations

import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from pymatgen.core import Structure
from xtal2png.core import XtalConverter

warnings.filterwarnings("ignore")


def columns_of(structures: list[Structure | None], name: str) -> dict[str, np.ndarray]:
    """The crystals as columns; one that is None has no sites."""
    held = [s for s in structures if s is not None]
    counts = [0 if s is None else len(s) for s in structures]
    return {
        f"{name}_lattices": np.array([s.lattice.matrix for s in held]).reshape(-1, 3, 3),
        f"{name}_frac_coords": np.concatenate([np.zeros((0, 3)), *(s.frac_coords for s in held)]),
        f"{name}_numbers": np.array([z for s in held for z in s.atomic_numbers], int),
        f"{name}_counts": np.array(counts),
    }


def decoded_one_by_one(converter: XtalConverter, pictures: np.ndarray) -> list[Structure | None]:
    """Its crystal of each picture, None where it raises."""
    found: list[Structure | None] = []
    for picture in pictures:
        try:
            found.extend(converter.arrays_to_structures(picture[None, None]))
        except Exception:
            found.append(None)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    z = np.load(folder / "crystals.npz")
    starts = z["offsets"]
    structures = [
        Structure(lattice, z["numbers"][start:stop], z["frac_coords"][start:stop])
        for lattice, start, stop in zip(z["lattices"], starts[:-1], starts[1:], strict=True)
    ]
    converter = XtalConverter(verbose=False, save_dir=str(folder / "unused"))
    seconds = {"encode": [], "decode": []}
    for _ in range(2):
        start = time.perf_counter()
        arrays, _, _ = converter.structures_to_arrays(structures)
        seconds["encode"].append(time.perf_counter() - start)
    for _ in range(2):
        start = time.perf_counter()
        converter.arrays_to_structures(arrays)
        seconds["decode"].append(time.perf_counter() - start)

    (folder / "peer").mkdir()
    images = converter.xtal2png(structures, save=False)
    for i, image in enumerate(images):
        image.save(folder / "peer" / f"{i:05d}.png")
    ours = sorted(str(path) for path in (folder / "ours").glob("*.png"))
    columns = columns_of(converter.png2xtal(ours), "of_ours")
    columns |= columns_of(
        converter.png2xtal([Image.open(p) for p in sorted((folder / "peer").glob("*.png"))]),
        "of_its_own",
    )
    for name, pictures in np.load(folder / "noisy.npz").items():
        columns |= columns_of(decoded_one_by_one(converter, pictures.astype(int)), name)
    np.savez(
        folder / "peer.npz",
        encode_seconds=min(seconds["encode"]),
        decode_seconds=min(seconds["decode"]),
        version=version("xtal2png"),
        **columns,
    )


if __name__ == "__main__":
    main()
