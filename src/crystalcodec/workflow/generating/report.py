"""report.html of generated crystals: the funnel first, then what was lost, met and made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crystalcodec.judge_report import (
    Card,
    escaped,
    html_card,
    html_figure,
    html_table,
    write_page,
)
from crystalcodec.plots.judging import crystal_png
from crystalcodec.workflow.generating.generation import Generated
from crystalcodec.workflow.judge_tables import number

__all__ = ["write_report"]

_CARDS: Final = 16
_STAGES: Final = {
    "decode": "no crystal in the arrays",
    "clean": "no crystal after cleaning",
    "drop": "dropped as invalid",
    "relax": "no energy in relaxation (still among the crystals)",
}


def write_report(
    path: Path, made: Generated, figures: Mapping[str, Path], judged: str = ""
) -> None:
    """Write the page; ``judged`` is where the report of the judge stands, beside it."""
    record = made.record
    title = f"Generated with {record['model']['generator']}"
    body = [
        f"<h1>{escaped(title)}</h1>",
        f"<p class=lead>{escaped(_lead(made))}</p>",
        "<h2>What is left of the samples</h2>",
        "<p>Each stage counts the samples that passed it and all before it.</p>",
        html_figure("", figures["funnel"], "long"),
        _not_measured(record),
        *(f"<p>Warning: {escaped(line)}.</p>" for line in record["warnings"]),
        f'<p>All figures: <a href="{escaped(judged)}">{escaped(judged)}</a></p>' if judged else "",
        *_wishes(record),
        *_lost(record),
        *_cleaning(record),
        "<h2>First samples</h2>",
        html_figure("arrays, and the crystals that they decode to", figures["samples"], "long"),
        *_crystals(made),
        "<h2>Time, model, command</h2>",
        *_about(record),
    ]
    write_page(path, title, [part for part in body if part])


def _lead(made: Generated) -> str:
    wanted = made.record["wanted"]
    asked = ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in wanted.items())
    left = len(made.crystals)
    guide = made.record["guide"]
    led = f"; guided to {_shown(guide['values'])} by {guide['run']}" if guide else ""
    return f"{made.attempts.n:,} samples, {left:,} crystals; wanted: {asked or 'anything'}{led}."


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {number(one)}" for key, one in value.items())
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def _not_measured(record: Mapping[str, Any]) -> str:
    if not record["not_measured"]:
        return ""
    lines = "".join(
        f"<li>{escaped(name)}: {escaped(why)}</li>" for name, why in record["not_measured"].items()
    )
    return f"<p>Not measured:</p><ul>{lines}</ul>"


def _wishes(record: Mapping[str, Any]) -> list[str]:
    parts = []
    n = record["n"]
    if record["met"]:
        rows = [
            [name.replace("_", " "), f"{count:,}", f"{100 * count / n:.3g} %"]
            for name, count in record["met"].items()
        ]
        parts.append("<p>Of all samples, those that are as wished:</p>")
        parts.append(html_table(["wish", "samples", "share"], rows))
    foreseen = record["predicted"]
    for name, why in foreseen.get("left_out", {}).items():
        parts.append(f"<p>{escaped(name)} is not predicted: {escaped(why)}.</p>")
    if foreseen.get("properties"):
        heads = ["property", "unit", "wanted", "training data", "without the wish", "with it"]
        rows = [
            [
                name,
                one["unit"],
                number(one["wanted"]),
                _spread(one["training"]),
                _spread(one["without"]),
                _spread(one["with"]),
                number(one["moved"]),
            ]
            for name, one in foreseen["properties"].items()
        ]
        parts.append(html_table([*heads, "moved by (deviations)"], rows, texts=2))
        parts.append(f"<p>Mean ± standard deviation. {escaped(foreseen['note'])}</p>")
    return ["<h2>The wish</h2>", *parts] if parts else []


def _spread(one: Mapping[str, Any]) -> str:
    told = f"{number(one['mean'])} ± {number(one['deviation'])}"
    return f"{told} (n = {one['n']:,})" if "n" in one else told


def _lost(record: Mapping[str, Any]) -> list[str]:
    rows = [
        [_STAGES[stage], reason, f"{count:,}"]
        for stage, reasons in record["failures"].items()
        for reason, count in reasons.items()
    ]
    if not rows:
        return ["<p>No sample was lost.</p>"]
    return ["<h2>What was lost</h2>", html_table(["stage", "reason", "samples"], rows, texts=2)]


def _cleaning(record: Mapping[str, Any]) -> list[str]:
    if not record["cleaning"]:
        return ["<p>Nothing was cleaned: the crystals are as they were decoded.</p>"]
    rows = [
        [
            one["step"],
            one["does"],
            "; ".join(f"{count:,} {told}" for told, count in one["notes"].items()),
            f"{one['n']:,}",
            f"{one['n_changed']:,}",
            f"{sum(one['lost'].values()):,}",
        ]
        for one in record["cleaning"]
    ]
    heads = ["step", "does (tolerance in Å)", "notes", "crystals", "changed", "lost"]
    return ["<h2>Cleaning</h2>", html_table(heads, rows, texts=3)]


def _crystals(made: Generated) -> list[str]:
    """The first crystals that are left, none chosen."""
    crystals, positions = made.crystals, made.attempts.positions
    if not len(crystals):
        return ["<p>No crystal is left.</p>"]
    cards = []
    for i in range(min(_CARDS, len(crystals))):
        one = crystals[i]
        place = int(positions[i])
        said = [name for name, passed in made.funnel.flags.items() if passed[place]]
        lines = [
            f"sample {place}",
            f"sites: {one.n_sites[0]:,}, cell: {number(float(one.volumes[0]))} Å³",
            ", ".join(said) or "not valid",
        ]
        cards.append(Card(one.formulas[0], lines, crystal_png(one)))
    shown = f"The first {len(cards)} of {len(crystals):,} crystals, none chosen."
    return [
        "<h2>Crystals</h2>",
        f"<p>{shown}</p>",
        f"<div class=cards>{''.join(map(html_card, cards))}</div>",
    ]


def _about(record: Mapping[str, Any]) -> Sequence[str]:
    rows = [[stage, f"{seconds:,.2f}"] for stage, seconds in record["seconds"].items()]
    model = record["model"]
    told = {
        "model": f"{model['folder']} (SHA-256 {model['hash'][:16]}…)",
        "representation": json.dumps(model["representation"], ensure_ascii=False),
        "settings": json.dumps(record["settings"], ensure_ascii=False),
        "seed, batch size": f"{record['seed']}, {record['batch_size']}",
        "versions": ", ".join(f"{name} {one}" for name, one in record["versions"].items()),
    }
    items = "".join(f"<dt>{escaped(key)}</dt><dd>{escaped(one)}</dd>" for key, one in told.items())
    command = shlex.join(record["command"])
    return [
        html_table(["stage", "seconds"], rows),
        f"<dl>{items}</dl>",
        f"<pre>{escaped(command)}</pre>",
    ]
