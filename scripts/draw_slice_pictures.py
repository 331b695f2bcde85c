"""The pictures of docs/slices.md, drawn anew: python scripts/draw_slice_pictures.py."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.io.png import write_png
from crystalcodec.io.volumetric import VolumetricData
from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices
from crystalcodec.representations.slices.charge import ChargeSlicing

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"

PEROVSKITE = Crystals.single(
    3.9 * np.eye(3),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)
# As quartz: nine atoms of a hexagonal cell.
QUARTZ = Crystals.single(
    [[4.91, 0, 0], [-2.455, 4.2522, 0], [0, 0, 5.4]],
    [
        *([0.47, 0, 2 / 3], [0, 0.47, 1 / 3], [0.53, 0.53, 0]),
        *([0.415, 0.266, 0.786], [0.734, 0.149, 0.453], [0.851, 0.585, 0.119]),
        *([0.266, 0.415, 0.214], [0.149, 0.734, 0.547], [0.585, 0.851, 0.881]),
    ],
    [14] * 3 + [8] * 6,
)


def strip(pictures: list[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures side by side, white between them, as pixels."""
    size = pictures[0].shape[0]
    row = np.ones((size, len(pictures) * (size + gap) - gap))
    for i, picture in enumerate(pictures):
        row[:, i * (size + gap) : i * (size + gap) + size] = picture
    return np.rint(row * 255).astype(np.uint8)


def gaussian_density(crystal: Crystals, shape: tuple[int, int, int]) -> VolumetricData:
    """A density of one Gaussian an atom, with its number of electrons, on a grid of the cell."""
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)
    values = np.zeros(shape)
    sigma = 0.45
    for coords, number in zip(crystal.frac_coords, crystal.numbers, strict=True):
        for cell in product((-1, 0, 1), repeat=3):
            apart = (grid - coords - cell) @ crystal.lattices[0]
            values += number * np.exp(-(apart**2).sum(axis=-1) / (2 * sigma**2))
    return VolumetricData(crystal, values / (2 * np.pi * sigma**2) ** 1.5, "total")


def main() -> None:
    """Draw the three pictures."""
    made = []
    for crystal in (PEROVSKITE, QUARTZ):
        for atoms in ("fixed", "element"):
            slices = DensitySlices(size=160, width=20.0, atoms=atoms, seed=2)
            made.append(slices.encode(crystal)["density_slices"][0, 0])
    write_png(IMAGES / "slices-made.png", strip(made))

    density = gaussian_density(QUARTZ, (48, 48, 54))
    cut = []
    for shape in ("fractional", "cartesian"):
        slicing = ChargeSlicing(size=160, axes=(2,), indices=(0, 18), shape=shape, width=12.0)
        cut += [one.picture for one in slicing.cut(density) if one.picture is not None]
    write_png(IMAGES / "slices-density.png", strip(cut))

    block = DensitySliceBlocks(size=80, width=10.0, depth=8, spacing=0.25, seed=2)
    levels = block.encode(QUARTZ)["density_slice_blocks"][0]
    write_png(IMAGES / "slices-block.png", strip([*levels]))


if __name__ == "__main__":
    main()
