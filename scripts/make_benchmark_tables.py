"""Write the tables "Measured" of ``docs/benchmark.md`` from the committed results.

    python scripts/make_benchmark_tables.py

The numbers are those of ``benchmarks/results/benchmark_*.json``; a test compares the page with
what this script makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "benchmark.md"
RESULTS: Final = ROOT / "benchmarks" / "results"
MARK: Final = "<!-- Made by scripts/make_benchmark_tables.py from here on. -->\n"
TITLES: Final = {
    "mp20_formation_energy": "MP-20 train to val, formation energy (eV/atom)",
    "mp20_band_gap": "MP-20 train to val, band gap (eV)",
    "phonons": "matbench_phonons, five folds (1/cm)",
    "jdft2d": "matbench_jdft2d, five folds (meV/atom)",
}
BEST: Final = 8


def page() -> str:
    """The whole page: what stands by hand, then the tables."""
    by_hand = PAGE.read_text().partition(MARK)[0]
    return by_hand + MARK + "\n" + "\n\n".join(map(_table, TITLES)) + "\n"


def _table(name: str) -> str:
    document = json.loads((RESULTS / f"benchmark_{name}.json").read_text())
    # Of each pair the figure on the most rows that it was trained on.
    most: dict[tuple[str, str], dict[str, Any]] = {}
    for row in document["rows"]:
        pair = row["representation"], row["model"]
        # Some folds alone are another test set.
        figures = row["complete"] and row["mae"] is not None
        if figures and row["n_train"] > most.get(pair, {"n_train": 0})["n_train"]:
            most[pair] = row
    lines = [(row["mae"], _line(row, document["n_folds"])) for row in most.values()]
    lines = sorted(lines)[:BEST]
    for label, value in document["published"].items():
        lines.append((value, f"| *published* | *{label}* | | | {value} | |"))
    heads = [
        "| representation | model | trained on | seeds | MAE | R² |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([f"### {TITLES[name]}", "", *heads, *(line for _, line in sorted(lines))])


def _line(row: dict[str, Any], n_folds: int) -> str:
    spread = f" ± {row['mae_std']:.2g}" if row["mae_std"] is not None else ""
    return (
        f"| {row['representation']} | {row['model']} | {row['n_train']:,.0f} | "
        f"{row['n_finished'] // n_folds} | "
        f"{row['mae']:.4g}{spread} | {row['r2']:.3f} |"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
