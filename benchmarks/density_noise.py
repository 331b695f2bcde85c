"""What noise leaves of the density in the cell and of structure factors.

To every entry of the field, or of the coefficients, Gaussian noise is added, white, of 1 to 40 % of
a standard deviation: for the density that of the channel over its grid, for structure factors that
of the real and imaginary parts of the property together, F(000) included; each crystal's own. The
cell parameters stay clean. Decoded with a tolerance of 0.5, or leniently. A refusal is no match,
and counts in every denominator. Matches are by StructureMatcher with its default tolerances, with
the short cut of noise_match. Run on one thread:

    python benchmarks/density_noise.py
    python benchmarks/density_noise.py --widths   # other widths of the Gaussians, 0 and 20 %
"""

from __future__ import annotations

from record import RESULTS, record  # first: it sets the number of threads

# isort: split
import argparse
from typing import Any

import matplotlib as mpl
import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.fields.periodic import PeriodicField
from crystalcodec.representations.structure_factors import StructureFactors
from noise_match import benchmark_crystals, matches, same_composition

mpl.use("Agg")
import matplotlib.pyplot as plt

LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
WIDTHS = (0.2, 0.3, 0.4, 0.5, 0.7)
BATCH = 50
REPRESENTATIONS: dict[str, PeriodicField] = {
    "density, one + period + column": DensityCell(tolerance=0.5),
    "density, one + period + column, lenient": DensityCell(lenient=True),
    "density, one + Z": DensityCell(channels=("one", "Z"), tolerance=0.5),
    "density, Z": DensityCell(channels=("Z",), tolerance=0.5),
    "structure factors, one + period + column": StructureFactors(tolerance=0.5),
}


def with_noise(array: np.ndarray, level: float, parts: int, rng: np.random.Generator) -> np.ndarray:
    """The array with noise; ``parts`` neighbouring channels share their standard deviation."""
    grouped = array.reshape(len(array), -1, parts, *array.shape[2:])
    spread = grouped.std(axis=(2, 3, 4, 5), keepdims=True)
    noise = rng.standard_normal(grouped.shape, np.float32)
    return (grouped + np.float32(level) * spread * noise).reshape(array.shape)


def measure(representation: PeriodicField, crystals: Crystals, level: float) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    matched = composed = n_decoded = 0
    refused: list[Any] = []
    confidence: list[np.ndarray] = []
    for start in range(0, len(crystals), BATCH):
        some = crystals[start : start + BATCH]
        encoded = representation.encode(some)
        name, cells = encoded.arrays
        parts = 2 if isinstance(representation, StructureFactors) else 1
        noisy = {name: with_noise(encoded[name], level, parts, rng), cells: encoded[cells]}
        decoded = representation.decode(noisy)
        held = some[encoded.index][decoded.index]
        matched += int(matches(held, decoded.crystals).sum())
        composed += int(same_composition(held, decoded.crystals).sum())
        n_decoded += len(held)
        refused += [*encoded.failures, *decoded.failures]
        if decoded.confidence is not None:
            confidence.append(decoded.confidence)
    return {
        "noise": level,
        "match_rate": matched / len(crystals),
        "composition_accuracy": composed / len(crystals),
        "refusal_rate": 1 - n_decoded / len(crystals),
        "refusals": count_reasons(refused),
        "mean_confidence": float(np.concatenate(confidence).mean()) if n_decoded else None,
    }


def draw(figures: dict[str, list[dict[str, Any]]]) -> None:
    """Match rate and composition accuracy against noise, beside each other."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    titles = {"match_rate": "Matched", "composition_accuracy": "Composition right"}
    for panel, (key, title) in zip(panels, titles.items(), strict=True):
        for (name, rows), marker in zip(figures.items(), "ovsD^", strict=True):
            levels = [100 * row["noise"] for row in rows]
            panel.plot(levels, [100 * row[key] for row in rows], marker + "-", label=name)
        panel.set(title=title, xlabel="noise, % of the standard deviation of the array")
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="crystals, %")
    panels[0].legend(fontsize=8)
    figure.savefig(RESULTS / "density_noise.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--widths", action="store_true")
    options = parser.parse_args()
    crystals = benchmark_crystals(options.n).right_handed()
    representations, levels = REPRESENTATIONS, LEVELS
    if options.widths:
        levels = (0.0, 0.2)
        representations = {
            f"density, sigma {sigma} Å": DensityCell(sigma=sigma, tolerance=0.5) for sigma in WIDTHS
        }
    figures = {
        name: [measure(representation, crystals, level) for level in levels]
        for name, representation in representations.items()
    }
    if not options.widths:
        draw(figures)
    record(
        "density_noise_widths" if options.widths else "density_noise",
        {
            "n_crystals": len(crystals),
            "cell_parameters": "clean",
            "seed": 0,
            "configs": {name: one.config() for name, one in representations.items()},
            **figures,
        },
        packages=("pymatgen", "scipy"),
    )


if __name__ == "__main__":
    main()
