"""The tables of ``benchmarks/generators.py`` in Markdown, made of its JSON alone.

python benchmarks/generators_table.py benchmarks/results/generators.json docs/generators.md
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from record import spread

BEGIN, END = "<!-- generators: begin -->", "<!-- generators: end -->"

# Heading, figure, and how it is written.
QUALITY = (
    ("decoded", "decoded", "share"),
    ("structural validity", "validity.structural_validity", "share"),
    ("compositional validity", "validity.composition_validity", "share"),
    ("plausible distances", "validity.separation_validity", "share"),
    ("COV-R", "distribution.cov_recall", "share"),
    ("COV-P", "distribution.cov_precision", "share"),
    ("unique", "novelty.uniqueness", "share"),
    ("novel", "novelty.novelty", "share"),
    ("unique and novel", "novelty.unique_and_novel", "share"),
    ("and valid", "together.valid_unique_novel", "share"),
    ("and at plausible distances", "together.plausible_unique_novel", "share"),
)
STABILITY = (
    ("stable", "stability.stable", "share"),
    ("metastable", "stability.metastable", "share"),
    ("S.U.N.", "stability.sun", "share"),
    ("metastable, unique, novel", "stability.msun", "share"),
    ("median above the hull, eV/atom", "stability.median_energy_above_hull", "energy"),
    ("median displacement on relaxing, Å", "stability.median_rmsd_to_relaxed", "energy"),
)
VARIETY = (
    ("crystals compared", "n_compared", "count"),
    ("kinds of crystals", "kinds.crystal", "ratio"),
    ("of compositions", "kinds.composition", "ratio"),
    ("of chemical systems", "kinds.chemical_system", "ratio"),
    ("of prototypes", "kinds.prototype", "ratio"),
    ("effective prototypes", "effective.prototype", "ratio"),
    ("effective elements", "effective.elements", "ratio"),
    ("Vendi, composition", "vendi.composition", "ratio"),
    ("Vendi, structure", "vendi.structure", "ratio"),
    ("crystals behind the samples, at least", "support_low.crystal", "count"),
)
COST = (
    ("seconds a 1,000 samples", "seconds_per_1000", "seconds"),
    ("processor seconds a 1,000", "processor_seconds_per_1000", "seconds"),
)


def means(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over the seeds of each figure, and their standard deviation where there are several."""
    values: dict[str, list[float]] = {}
    for one in cells:
        found = {key: one.get(key) for key in ("seconds_per_1000", "processor_seconds_per_1000")}
        if "n" in one:
            found["decoded"] = one["n_crystals"] / one["n"] if one["n"] else None
            found |= {key: figure["value"] for key, figure in one["figures"].items()}
            found |= _of_collapse(one["collapse"])
        for key, value in found.items():
            if value is not None and math.isfinite(value):
                values.setdefault(key, []).append(float(value))
    return {key: spread(numbers) for key, numbers in values.items()}


def _of_collapse(document: Mapping[str, Any]) -> dict[str, float | None]:
    """Kinds, effective kinds and Vendi scores as fractions of those of as many real crystals."""
    made, real = document["made"], document["real"]
    found: dict[str, float | None] = {"n_compared": document["n"]}
    for kind in made:
        found[f"kinds.{kind}"] = _ratio(made[kind]["n_kinds"], real[kind]["n_kinds"])
        found[f"effective.{kind}"] = _ratio(made[kind]["effective"], real[kind]["effective"])
        found[f"support.{kind}"] = made[kind]["support"]
        found[f"support_low.{kind}"] = made[kind]["low"]
    found["effective.elements"] = _ratio(*document["elements"])
    for kind, two in document["vendi"].items():
        found[f"vendi.{kind}"] = _ratio(*two)
    return found


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def tables(result: Mapping[str, Any]) -> str:
    """All tables, with what they were made with."""
    rows = result["rows"]
    judged = [one for one in rows if "error" not in one]
    parts = [
        f"{result['n']:,} samples a seed, against the {result['train']['n']:,} training and "
        f"{result['held_out']['n']:,} validation crystals of MP-20. Shares of all attempts; ± is "
        "the standard deviation over the seeds, each of them a training of its own where there are "
        "several trainings.",
        _table(judged, QUALITY, ("trainings", "seeds"), _repeats),
    ]
    if result["relax"]:
        parts += [
            f"Of the first {result['relax']:,} attempts of each seed, relaxed with "
            f"{result['potential']}, above its hull of MP-20:",
            _table(judged, STABILITY),
        ]
    parts += [
        "Variety, 1 being that of as many real crystals:",
        _table(judged, VARIETY),
        f"Cost; threads that sampled: {result['sampling_threads']}.",
        _costs([one for one in judged if "folder" in one]),
        "Attempts that gave no crystal, of all seeds, by reason:",
        _failures(judged),
    ]
    if failed := [one for one in rows if "error" in one]:
        parts.append("Not measured:")
        parts.append("\n".join(f"- `{one['name']}`: {_cell(one['error'])}" for one in failed))
    return "\n\n".join(parts) + "\n"


def write_between(page: Path, text: str) -> None:
    """Put the text between the two marks of a page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} has no lines {BEGIN} and {END} in this order")
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def _repeats(row: Mapping[str, Any]) -> list[str]:
    """How often a row was trained, and the seeds of its samples."""
    trainings = row.get("trainings", 1 if "folder" in row else "–")
    return [str(trainings), ", ".join(str(cell["seed"]) for cell in row["cells"])]


def _table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[tuple[str, str, str]],
    first: Sequence[str] = (),
    told: Callable[[Mapping[str, Any]], list[str]] = lambda row: [],
) -> str:
    lines = [
        ["", *first, *(heading for heading, _, _ in columns)],
        ["---"] * (1 + len(first) + len(columns)),
        *(
            [
                _name(one),
                *told(one),
                *(_number(one["means"].get(key), kind) for _, key, kind in columns),
            ]
            for one in rows
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _costs(rows: Sequence[Mapping[str, Any]]) -> str:
    headings = ["", "generator", "representation", "parameters", "epochs", "hours of training"]
    lines = [
        [*headings, *(heading for heading, _, _ in COST), "sampled on"],
        ["---"] * (len(headings) + len(COST) + 1),
    ]
    for one in rows:
        seconds, epochs = one["training_seconds"], one["epochs"]
        lines.append(
            [
                _name(one),
                one["generator"],
                one["representation"],
                f"{one['n_parameters']:,}",
                "" if epochs is None else f"{epochs:,.0f}",
                "" if seconds is None else f"{seconds / 3600:.2f}",
                *(_number(one["means"].get(key), kind) for _, key, kind in COST),
                ", ".join(one["measured"]["machine"]["cpu"]),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _failures(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for one in rows:
        reasons: dict[str, int] = {}
        for cell in one["cells"]:
            for reason, count in cell.get("failures", {}).items():
                reasons[reason] = reasons.get(reason, 0) + count
        told = ", ".join(
            f"{count:,} {_cell(reason)}"
            for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])
        )
        why = next((cell["why"] for cell in one["cells"] if "why" in cell), "")
        lines.append(f"- {_name(one)}: {why or told or 'none'}")
    return "\n".join(lines)


def _name(one: Mapping[str, Any]) -> str:
    return f"`{one['name']}`" if "folder" in one else f"*{one['name']}*"


def _number(value: Mapping[str, Any] | None, kind: str) -> str:
    """A mean, and the deviation over seeds where there is one; a dash where there is nothing."""
    if value is None:
        return "–"
    scale, digits, unit = {
        "share": (100, 1, " %"),
        "ratio": (1, 2, ""),
        "energy": (1, 3, ""),
        "count": (1, 0, ""),
        "seconds": (1, 1, ""),
    }[kind]
    text = f"{value['mean'] * scale:,.{digits}f}"
    if value["deviation"] is not None:
        text += f" ± {value['deviation'] * scale:,.{digits}f}"
    return text + unit


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    made = tables(json.loads(Path(sys.argv[1]).read_text()))
    if len(sys.argv) > 2:
        write_between(Path(sys.argv[2]), made)
    else:
        print(made)
