"""The figure of ``image_noise.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt


def figure(results: dict[str, Any], levels: tuple[int, ...], path: Path) -> None:
    """Match rate, wrong crystals and random pictures, every representation beside the others."""
    places = np.arange(len(levels))
    drawing, axes = plt.subplots(
        1, 3, figsize=(15, 5.2), width_ratios=(3, 3, 2), layout="constrained"
    )
    representations = results["representations"]
    colours = plt.get_cmap("tab10")
    refusals = {}
    for number, (name, figures) in enumerate(representations.items()):
        labels = [label for label, entry in figures.items() if "random_pictures" in str(entry)]
        style = {"color": colours(number % 10), "lw": 3 if name == "crystal_image" else 1.5}
        best = "default" if name == "crystal_image" else labels[-1]
        for label in {"default", best}:
            dashes = "-" if label == best else ":"
            by_level = figures[label]["gaussian"]
            for axis, key in zip(axes[:2], ("match_rate", "wrong_crystal_rate"), strict=True):
                rates = [100 * by_level[str(level)][key] for level in levels]
                title = f"{name}, {label}" if label == best else None
                axis.plot(places, rates, dashes, label=title, marker="o", ms=3, **style)
        pictures = figures[best]["random_pictures"].values()
        refusals[name] = (
            100
            * sum(p["refused"] + p.get("decoded_to_one_of_the_two", 0) for p in pictures)
            / sum(p["n"] for p in pictures)
        )
    for axis, title in zip(axes, ("match", "another crystal", ""), strict=True):
        axis.set_xticks(places, levels)
        axis.set_xlabel("standard deviation of the noise, of 255")
        axis.set_ylabel(f"% of crystals: {title}")
        axis.set_ylim(-2, 102)
    axes[2].clear()
    axes[2].barh([*refusals], [*refusals.values()], color="grey")
    axes[2].set_xlabel("% of random pictures refused")
    axes[2].invert_yaxis()
    drawing.suptitle(
        "Noise on 8-bit arrays. Solid: the decoder named below; dotted: the default, strict one"
    )
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    drawing.savefig(path, dpi=120)
