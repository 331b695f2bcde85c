"""How much noise each image-like representation survives, and whether it refuses no picture.

Arrays are scaled to [0, 1] (fields by their range over the crystals of the benchmark; pictures
are there already), noise is added, values are clipped to [0, 1] and rounded to 8 bits, the scale
is undone, and the array is decoded. Noise of strength k: Gaussian of standard deviation k / 255
on every entry, or whole numbers from -k to k, each as likely, on the 8-bit values. A crystal
counts as matched where StructureMatcher with its default tolerances says so; refusals count
against the match rate. Each representation takes its turn, and its figures are merged into
results/image_noise.json:

    python benchmarks/image_noise.py crystal_image --n 1000
    python benchmarks/image_noise.py ircr crystens xtal2png unimat ftcp
    python benchmarks/image_noise.py --peer /tmp/peer/v/bin/python   # xtal2png's own code
    python benchmarks/image_noise.py --confidence                    # crystal_image, 48 to 128
    python benchmarks/image_noise.py crystal_image --data mpts_52    # up to 52 sites
    python benchmarks/image_noise.py --figure
"""

from __future__ import annotations

from record import RESULTS, SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from crystalcodec import Crystals, read
from crystalcodec.failures import count_reasons
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.base import Decoded, Encoded, Representation, RepresentationError
from crystalcodec.representations.images import ImageRepresentation
from noise_figure import figure
from noise_match import benchmark_crystals, displacement, matches, same_composition
from noise_peer import peer

LEVELS = (0, 1, 2, 4, 8, 16, 32, 64)
# The ways of decoding, by parameters of the class: first as the published code or the default
# does, last with all the redundancy of the format.
DECODERS: dict[str, dict[str, dict[str, Any]]] = {
    "ircr": {"default": {}, "arg-max": {"tolerance": 0.5}},
    "crystens": {"default": {}, "published clean-up": {}, "robust": {"decoder": "robust"}},
    "xtal2png": {"default": {}, "robust": {"decoder": "robust"}},
    "unimat": {"default": {}, "tolerance 0.5": {"tolerance": 0.5}},
    "ftcp": {
        "default": {},
        "arg-max": {"tolerance": 0.95},
        "robust": {"decoder": "robust"},
    },
    "density_cell": {"default": {}, "tolerance 0.5": {"tolerance": 0.5}},
    "structure_factors": {"default": {}, "tolerance 0.5": {"tolerance": 0.5}},
    "density_cube": {"default": {}, "lenient": {"lenient": True}},
    "crystal_image": {"default": {}, "nearest": {"max_residual": 1.0}},
}
# Representations with other parameters than the defaults, beside those of the registry.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "crystens with chemistry": (
        "crystens",
        {"chemistry": ("group", "period", "electronegativity", "covalent_radius", "valence")},
    ),
}
Arrays = dict[str, np.ndarray]


def build(name: str, **parameters: Any) -> Representation:
    registered, fixed = VARIANTS.get(name, (name, {}))
    return load(REPRESENTATIONS, registered)(**fixed, **parameters)


class Scale:
    """Between the arrays of a representation and numbers from 0 to 1.

    Pictures are there already. Else each field is scaled by its range over the crystals, row by
    row in tables and channel by channel in volumes; one-hot entries and fractional coordinates
    have the range 0 to 1.
    """

    def __init__(self, representation: Representation, arrays: Arrays) -> None:
        self.picture = isinstance(representation, ImageRepresentation)
        self.layouts = representation.layouts
        self.low: Arrays = {}
        self.width: Arrays = {}
        for name, array in arrays.items():
            self.low[name], self.width[name] = self._range(name, array)
        for field in representation.fields:
            part = field.of(arrays)
            fixed = field.kind in ("periodic", "categorical")
            low, width = (0.0, 1.0) if fixed else self._range(field.array, part)
            where = field.where or (slice(None),) * (arrays[field.array].ndim - 1)
            self.low[field.array][where] = low
            self.width[field.array][where] = width

    def _range(self, name: str, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layout = self.layouts.get(name, "")
        first_apart = layout == "hc" or (layout.startswith("c") and len(layout) == 4)
        axes = tuple(range(2 if first_apart else 1, part.ndim))
        low, high = part.min(axis=(0, *axes)), part.max(axis=(0, *axes))
        shape = (-1, *[1] * (part.ndim - 2)) if first_apart else (1,) * (part.ndim - 1)
        low, width = low.reshape(shape).astype(float), (high - low).reshape(shape).astype(float)
        full = part.shape[1:]
        width = np.where(width > 0, width, 1.0)
        return np.broadcast_to(low, full).copy(), np.broadcast_to(width, full).copy()

    def to_unit(self, arrays: Arrays) -> Arrays:
        if self.picture:
            return dict(arrays)
        return {name: (a - self.low[name]) / self.width[name] for name, a in arrays.items()}

    def back(self, arrays: Arrays) -> Arrays:
        if not self.picture:
            arrays = {name: a * self.width[name] + self.low[name] for name, a in arrays.items()}
        return {name: np.asarray(a, np.float32) for name, a in arrays.items()}


def noisy(arrays: Arrays, level: int, kind: str, rng: np.random.Generator) -> Arrays:
    """8-bit values with noise, as numbers from 0 to 1."""
    out = {}
    for name, array in arrays.items():
        if kind == "gaussian":
            bits = np.rint(np.clip(array + rng.normal(0, level / 255, array.shape), 0, 1) * 255)
        else:
            bits = np.rint(np.clip(array, 0, 1) * 255)
            bits = np.clip(bits + rng.integers(-level, level + 1, array.shape), 0, 255)
        out[name] = (bits / 255).astype(np.float32)
    return out


def random_pictures(
    unit: Arrays, kind: str, rng: np.random.Generator, n: int, layouts: Mapping[str, str]
) -> Arrays:
    """n pictures that are none of any crystal, of the shapes of ``unit``.

    Where there is no second axis to cut, a table is cut across its rows; arrays without layout
    (the cell beside a volume) stay those of the first crystal.
    """
    out = {}
    for name, array in unit.items():
        some = array[:n]
        shape, flat = some.shape, some.reshape(len(some), -1)
        if kind == "uniform":
            made = rng.random(shape)
        elif kind == "gaussian":
            made = rng.normal(0.5, 0.25, shape)
        elif kind == "shuffled pixels":
            made = np.stack([rng.permutation(one) for one in flat]).reshape(shape)
        elif kind == "constant":
            levels = np.linspace(0, 1, len(some)).reshape(-1, *[1] * (some.ndim - 1))
            made = np.broadcast_to(levels, shape)
        elif kind == "smooth":
            axes = [0.0, *[4.0 if s > 8 else 0.0 for s in shape[1:]]]
            made = gaussian_filter(rng.normal(size=shape), axes)
            across = tuple(range(1, made.ndim))
            low = made.min(axis=across, keepdims=True)
            made = (made - low) / np.maximum(np.ptp(made, axis=across, keepdims=True), 1e-9)
        else:  # halves glued
            other = np.roll(unit[name], 1, axis=0)[:n]
            layout = layouts.get(name, "")
            letter = "w" if kind == "halves, side by side" and "w" in layout else "h"
            made = some.copy()
            if letter in layout:
                axis = 1 + layout.index(letter)
                cut = (slice(None),) * axis + (slice(shape[axis] // 2, None),)
                made[cut] = other[cut]
        out[name] = (np.rint(np.clip(made, 0, 1) * 255) / 255).astype(np.float32)
    return out


RANDOM = (
    "uniform",
    "gaussian",
    "shuffled pixels",
    "constant",
    "smooth",
    "halves, side by side",
    "halves, one above the other",
)


def decoders(name: str) -> dict[str, Callable[[Arrays], Decoded]]:
    """The ways of decoding a representation, by label."""
    registered, _ = VARIANTS.get(name, (name, {}))
    ways: dict[str, Callable[[Arrays], Decoded]] = {}
    for label, parameters in DECODERS.get(registered, {"default": {}}).items():
        representation = build(name, **parameters)
        if label == "published clean-up":
            from crystalcodec.representations.crystens.cleanup import clean_up

            loose = build(name, tolerance=0.01)
            ways[label] = lambda a, r=loose: r.decode(clean_up(a, r))
        else:
            ways[label] = representation.decode
    return ways


def outcome(original: Crystals, decoded: Decoded) -> dict[str, Any]:
    """What became of n arrays."""
    n = len(original)
    twins = original[decoded.index]
    matched = matches(twins, decoded.crystals)
    composed = same_composition(twins, decoded.crystals)
    apart = [
        displacement(one, other)
        for one, other, ok in zip(twins, decoded.crystals, matched, strict=True)
        if ok
    ]
    apart = [a for a in apart if np.isfinite(a)]
    figures = {
        "match_rate": float(matched.sum() / n),
        "composition_rate": float(composed.sum() / n),
        "refusal_rate": 1 - len(twins) / n,
        "wrong_crystal_rate": float((~matched).sum() / n),
        "median_rms_displacement_angstrom": float(np.median(apart)) if apart else None,
        "failures": count_reasons(decoded.failures),
    }
    if decoded.confidence is not None and len(decoded.confidence):
        figures["median_confidence"] = float(np.median(decoded.confidence))
    return figures


def measure(name: str, crystals: Crystals, kinds: list[str], seed: int) -> dict[str, Any]:
    """All figures of one representation."""
    representation = build(name)
    encoded: Encoded = representation.encode(crystals)
    held = crystals[encoded.index]
    scale = Scale(representation, dict(encoded.arrays))
    unit = scale.to_unit(dict(encoded.arrays))
    figures: dict[str, Any] = {
        "n": len(held),
        "encode_per_s": len(held) / best_of(lambda: representation.encode(crystals), 2),
        "decode_per_s": len(held) / best_of(lambda: representation.decode(encoded), 2),
        "not_encoded": count_reasons(encoded.failures),
        "scale": "its own pixels"
        if scale.picture
        else "each field by its range over the crystals (tables by row, volumes by channel)",
        "seed": seed,
    }
    ways = decoders(name)
    for label, decode in ways.items():
        results: dict[str, Any] = {}
        for kind in kinds:
            by_level = {}
            for level in LEVELS:
                rng = np.random.default_rng([seed, level, kind == "gaussian"])
                start = time.perf_counter()
                decoded = decode(scale.back(noisy(unit, level, kind, rng)))
                by_level[str(level)] = outcome(held, decoded)
                print(
                    name,
                    label,
                    kind,
                    level,
                    {k: by_level[str(level)][k] for k in ("match_rate", "wrong_crystal_rate")},
                    f"{time.perf_counter() - start:.1f} s",
                    file=sys.stderr,
                )
            results[kind] = by_level
        results["random_pictures"] = {
            kind: refused(held, decode, scale, unit, kind, seed) for kind in RANDOM
        }
        figures[label] = results
    return figures


def refused(
    held: Crystals,
    decode: Callable[[Arrays], Decoded],
    scale: Scale,
    unit: Arrays,
    kind: str,
    seed: int,
) -> dict[str, Any]:
    """How many random pictures are refused, and what the others became."""
    n = len(held)
    made = random_pictures(
        unit, kind, np.random.default_rng([seed, RANDOM.index(kind)]), n, scale.layouts
    )
    decoded = decode(scale.back(made))
    figures = {"n": n, "refused": n - len(decoded.crystals)}
    figures["reasons"] = count_reasons(decoded.failures)
    if kind.startswith("halves"):
        # A half may hold a whole crystal: then the picture is no random one.
        index, other = decoded.index, held[np.roll(np.arange(n), 1)]
        first = matches(held[index], decoded.crystals)
        second = matches(other[index], decoded.crystals)
        figures["decoded_to_one_of_the_two"] = int((first | second).sum())
        figures["decoded_to_neither"] = int((~(first | second)).sum())
    print(kind, figures, file=sys.stderr)
    return figures


def confidence_bins(crystals: Crystals, seed: int) -> dict[str, Any]:
    """Match rate by confidence, from far more noise than the default decoder takes.

    White noise, and noise smoothed by a Gaussian of 1, 2 or 4 pixels to the same strength.
    """
    cls = load(REPRESENTATIONS, "crystal_image")
    pictures = dict(cls().encode(crystals).arrays)
    nearest = cls(max_residual=1.0)
    confidence, matched, by_noise = [], [], {}
    for blur in (0, 1, 2, 4):
        for level in (48, 64, 80, 96, 112, 128) if not blur else (32, 48, 64):
            rng = np.random.default_rng([seed, level, blur])
            noise = rng.normal(size=pictures["crystal_image"].shape)
            if blur:
                noise = gaussian_filter(noise, (0, blur, blur, 0))
            noise *= level / 255 / noise.std()
            bits = np.rint(np.clip(pictures["crystal_image"] + noise, 0, 1) * 255)
            decoded = nearest.decode((bits / 255).astype(np.float32))
            confidence.append(decoded.confidence)
            matched.append(matches(crystals[decoded.index], decoded.crystals))
            taken = cls().decode((bits / 255).astype(np.float32))
            right = matches(crystals[taken.index], taken.crystals)
            by_noise[f"{level}/255, smoothed by {blur} pixels"] = {
                "nearest_match_rate": float(matched[-1].sum() / len(crystals)),
                "default_match_rate": float(right.sum() / len(crystals)),
                "default_wrong_crystal_rate": float((~right).sum() / len(crystals)),
            }
    c, m = np.concatenate(confidence), np.concatenate(matched)
    edges = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 1)
    bins = []
    for low, high in pairwise(edges):
        chosen = (c >= low) & ((c < high) | (high == 1))
        if chosen.any():
            bins.append(
                {
                    "confidence": [low, high],
                    "n": int(chosen.sum()),
                    "mean_confidence": float(c[chosen].mean()),
                    "match_rate": float(m[chosen].mean()),
                }
            )
    return {"n_crystals": len(crystals), "bins": bins, "by_noise": by_noise}


def perovskites(seed: int) -> dict[str, Any]:
    """The same 100 perovskites through our classes."""
    table = SHARED_DATA / "perov_5" / "val.csv.gz"
    crystals = read(table, structure_column="cif").crystals[:100]
    out = {}
    for name, label in (("xtal2png", "robust"), ("crystal_image", "default")):
        if name not in REPRESENTATIONS:
            continue
        representation = load(REPRESENTATIONS, name)()
        encoded = representation.encode(crystals)
        held = crystals[encoded.index]
        for level in (0, 1, 2, 4):
            rng = np.random.default_rng([seed, level])
            decoded = decoders(name)[label](noisy(dict(encoded.arrays), level, "gaussian", rng))
            right = same_composition(held[decoded.index], decoded.crystals)
            out[f"{name}, {label}, gaussian {level}"] = {
                "n": len(held),
                "decoded": len(right),
                "composition_right": int(right.sum()),
            }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="representations; others keep their figures")
    parser.add_argument("--n", type=int, default=300, help="crystals, at most 1,000")
    parser.add_argument("--data", default="mp20", choices=["mp20", "mpts_52"])
    parser.add_argument("--kinds", nargs="+", default=["gaussian", "integer"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", help="Python that has xtal2png installed")
    parser.add_argument("--confidence", action="store_true")
    parser.add_argument("--figure", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")

    path = RESULTS / "image_noise.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    kept = ("representations", "mpts_52", "perovskites", "confidence", "commands")
    results = {key: known.get(key, {}) for key in kept}
    for name in given.names:
        try:
            found = measure(name, benchmark_crystals(given.n, given.data), given.kinds, given.seed)
        except RepresentationError as error:
            found = {"error": str(error)}
        results["representations" if given.data == "mp20" else given.data][name] = found
    if given.peer:
        results["perovskites"] = {"peer": peer(given.peer), "ours": perovskites(given.seed)}
    if given.confidence:
        results["confidence"] = confidence_bins(benchmark_crystals(given.n), given.seed)
    results["commands"][" ".join(sys.argv[1:])] = "last run with these arguments"
    record("image_noise", results, packages=("pymatgen", "scipy"))
    if given.figure:
        figure(results, LEVELS, RESULTS / "image_noise.png")


if __name__ == "__main__":
    main()
