"""benchmark.html: one file that tells a benchmark, with its figures inside; nothing is fetched."""

from __future__ import annotations

import base64
import html
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crystalcodec.io.whole import whole_file

__all__ = ["write_benchmark_report"]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 98rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.lead { color: #555; margin-top: .2rem; max-width: 60rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { text-align: right; padding: .2rem .55rem; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th { position: sticky; top: 0; background: #fff; white-space: normal; vertical-align: bottom; }
th.text, td.text { text-align: left; }
td.why { text-align: left; white-space: normal; overflow-wrap: anywhere; }
tr.published td { color: #8a4b00; font-style: italic; }
figure { margin: 0 0 1rem 0; } figure img { max-width: 60rem; width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""

_UNITS: Final = ("MAE", "RMSE", "MAE of held")


def write_benchmark_report(
    path: str | Path,
    document: Mapping[str, Any],
    lead: str,
    heads: Sequence[str],
    table: Sequence[tuple[float, Sequence[str]]],
    figures: Mapping[str, Path],
) -> None:
    """Write the report of a benchmark.

    Parameters
    ----------
    path
        The HTML file; whole or not at all.
    document
        What ``benchmark.json`` holds.
    lead
        What was trained on what.
    heads, table
        Heads of the columns, and for each row its error and cells, in order.
    figures
        PNG files by caption; they are put into the page.
    """
    title = document["title"] or str(document["target"]).replace("_", " ")
    unit = f" ({document['unit']})" if document["unit"] else ""
    named = [f"{head}{unit}" if head in _UNITS else head for head in heads]
    body = [
        f"<h1>{_text(title)}</h1>",
        f"<p class=lead>{_text(lead)}</p>",
        "<h2>Figures</h2>",
        *(_figure(caption, file) for caption, file in figures.items()),
        "<h2>Each representation with each model, on the most rows it was trained on</h2>",
        _best_table(named, table, document["published"]),
        "<p>Peak memory is that of the cell's own process, its libraries and the pages of mapped "
        "files among it; encode times are of all crystals, train times of the fit after the "
        "search; one thread.</p>",
        "<h2>Error at each number of training rows</h2>",
        _sizes_table(document["rows"], unit),
        "<h2>Representations</h2>",
        _representations(document["representations"]),
        "<h2>Without figures</h2>",
        _without_figures(document["without_figures"]),
        "<h2>Data, versions, command</h2>",
        _table(
            ["dataset", "rows", "without the target", "content hash"],
            [
                [d["path"], f"{d['n']:,}", f"{d['n_without_target']:,}", d["content_hash"][:16]]
                for d in document["datasets"]
            ],
        ),
        f"<p>{_text(', '.join(f'{k} {v}' for k, v in document['versions'].items()))}; "
        f"{_text(document['date'])}</p>",
        *(f"<pre>{_text(shlex.join(command))}</pre>" for command in document["commands"]),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _best_table(
    heads: Sequence[str],
    table: Sequence[tuple[float, Sequence[str]]],
    published: Mapping[str, float],
) -> str:
    if not table:
        return "<p>No cell has figures.</p>"
    empty = [""] * (len(heads) - 4)
    entries = [(error, "", list(cells)) for error, cells in table]
    for name, value in published.items():
        entries.append((value, "published", [name, "published", "", f"{value:g}", *empty]))
    entries.sort(key=lambda entry: entry[0])
    return _table(heads, [cells for _, _, cells in entries], [kind for _, kind, _ in entries])


def _sizes_table(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """MAE of each pair, a column for each number of training rows."""
    sizes = sorted({row["n_train"] for row in rows})
    pairs: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((row["representation"], row["model"]), {})[row["n_train"]] = row

    def last(pair: tuple[str, str]) -> float:
        errors = [row["mae"] for _, row in sorted(pairs[pair].items()) if row["complete"]]
        return errors[-1] if errors else float("inf")

    lines = []
    for pair in sorted(pairs, key=last):
        there = pairs[pair]
        lines.append([*pair, *(_error(there.get(size)) for size in sizes)])
    heads = ["representation", "model", *(f"{size:,} rows{unit}" for size in sizes)]
    return _table(heads, lines)


def _error(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["mae"] is None:
        return "no figure"
    spread = "" if row["mae_std"] is None else f" ± {row['mae_std']:.2g}"
    missing = row["n_cells"] - row["n_finished"]
    told = f" ({missing} of {row['n_cells']} without)" if missing else ""
    return f"{row['mae']:.4g}{spread}" + ("" if row["complete"] else " (some folds)") + told


def _representations(encodings: Sequence[Mapping[str, Any]]) -> str:
    """A line for each; the mean where one was fitted, and encoded, for each fold."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in encodings:
        groups.setdefault(one["label"], []).append(one)
    lines = []
    for label, group in groups.items():
        done = [one for one in group if one["status"] == "finished"]
        if not done:
            lines.append([label, "", "", "", "", group[0]["reason"]])
            continue
        length, seconds, n, held = (
            sum(one[key] for one in done) / len(done)
            for key in ("length", "encode_seconds", "n", "n_encoded")
        )
        reasons = ", ".join(f"{count:,} {why}" for why, count in done[0]["failures"].items())
        rate = f"{n / seconds:,.0f}" if seconds else ""
        lines.append([label, f"{length:,.0f}", f"{seconds:.3g}", rate, f"{n - held:,.0f}", reasons])
    heads = ["representation", "length", "encode (s)", "crystals a second", "not held", "why"]
    return _table(heads, lines, why=5, texts=1)


def _without_figures(groups: Sequence[Mapping[str, Any]]) -> str:
    if not groups:
        return "<p>Every cell has figures.</p>"
    lines = [
        [
            group["representation"],
            group["model"],
            ", ".join(f"{n:,}" for n in group["n_train"]),
            f"{group['n_cells']:,}",
            group["status"],
            group["reason"],
        ]
        for group in groups
    ]
    heads = ["representation", "model", "training rows", "cells", "", "why"]
    return _table(heads, lines, why=5)


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    kinds: Sequence[str] = (),
    *,
    texts: int = 2,
    why: int | None = None,
) -> str:
    """A table; the first columns are text, ``why`` is a column of sentences."""

    def kind(i: int) -> str:
        return " class=why" if i == why else " class=text" if i < texts else ""

    head = "".join(f"<th{kind(i)}>{_text(cell)}</th>" for i, cell in enumerate(heads))
    lines = []
    for number, row in enumerate(rows):
        mark = f" class={kinds[number]}" if kinds and kinds[number] else ""
        cells = "".join(f"<td{kind(i)}>{_text(cell)}</td>" for i, cell in enumerate(row))
        lines.append(f"<tr{mark}>{cells}</tr>")
    return f"<div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _figure(caption: str, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))
