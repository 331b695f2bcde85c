"""report.html of judged crystals: one file with its figures inside; nothing is fetched."""

from __future__ import annotations

import base64
import html
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crystalcodec.io.whole import whole_file

__all__ = [
    "Card",
    "Gallery",
    "TableRow",
    "escaped",
    "html_card",
    "html_figure",
    "html_table",
    "write_judge_report",
    "write_page",
]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
p { max-width: 60rem; } p.lead { color: #555; margin-top: .2rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid #ddd;
  vertical-align: top; }
th { vertical-align: bottom; }
th.text, td.text { text-align: left; overflow-wrap: anywhere; }
td.own { background: #fdf4ec; white-space: nowrap; } td.quiet { color: #666; white-space: nowrap; }
tr.family td { text-align: left; font-weight: 600; padding-top: .9rem; }
td small { color: #666; display: block; white-space: nowrap; }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top; }
figure img { max-width: 22rem; width: 100%; height: auto; }
figure.long { display: block; } figure.long img { max-width: 44rem; }
figcaption { color: #555; font-size: .85rem; max-width: 22rem; }
div.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  gap: 1rem; }
div.card { border: 1px solid #e2e2e2; border-radius: 6px; padding: .6rem; font-size: .85rem;
  overflow-wrap: anywhere; }
div.card img { width: 100%; height: auto; } div.card b { font-size: 1rem; }
div.none { aspect-ratio: 1; display: grid; place-items: center; color: #777; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin: 0 0 0 1rem; max-width: 60rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""
_COUNTED: Final = {
    "crystals": "Every attempt counts; one that gave no crystal is not valid, not unique and not "
    "novel, unless the definition says otherwise.",
    "pictures": "Distances of sets have no place for an attempt that gave no picture: it is left "
    "out of them and counted as a failure.",
}


@dataclass(frozen=True)
class TableRow:
    """A figure in words.

    Parameters
    ----------
    baselines, intervals
        Of each baseline, empty where it has no such figure.
    """

    family: str
    name: str
    value: str
    interval: str
    better: str
    n: str
    failures: Mapping[str, int]
    definition: str
    baselines: Sequence[str]
    intervals: Sequence[str]


@dataclass(frozen=True)
class Card:
    """A crystal: what it is called, what is told of it, and its picture, None where there is none.

    Parameters
    ----------
    png
        The bytes of the file.
    """

    title: str
    lines: Sequence[str]
    png: bytes | None


@dataclass(frozen=True)
class Gallery:
    """The best and the worst crystals, and by what."""

    told: str
    best: Sequence[Card]
    worst: Sequence[Card]


def write_judge_report(
    path: str | Path,
    document: Mapping[str, Any],
    *,
    rows: Sequence[TableRow],
    baselines: Mapping[str, str],
    funnel: Path,
    histograms: Mapping[str, Path],
    gallery: Gallery | None,
    remark: str = "",
    strips: Mapping[str, Path] | None = None,
) -> None:
    """Write the report of a judgement.

    Parameters
    ----------
    path
        The HTML file; whole or not at all.
    document
        What ``judge.json`` holds.
    rows
        Of the table, family after family.
    baselines
        What each is, by name, in the order of the columns.
    funnel, histograms
        PNG files, the latter by caption; they are put into the page.
    gallery
        None where nothing tells good crystals from bad ones.
    remark
        Told below the table where an interval has a star.
    strips
        Wide PNG files of what was judged, by caption.
    """
    kind = document.get("kind", "crystals")
    title = str(document.get("title") or "Generated crystals")
    body = [
        f"<h1>{escaped(title)}</h1>",
        f"<p class=lead>{escaped(_lead(document))}</p>",
        "<h2>What is left of the attempts</h2>",
        "<p>Each stage counts the attempts that passed it and all before it.</p>",
        html_figure("", funnel, "long"),
        _reasons(document["failures"], kind),
        *(html_figure(*one, "long") for one in (strips or {}).items()),
        "<h2>Figures</h2>",
        _explained(document, baselines),
        _figures_table(rows, baselines),
        f"<p>{escaped(remark)}</p>" if any("*" in _intervals(row) for row in rows) else "",
        _left_out(document["left_out"]),
        *_crystals(gallery),
        *_spread(histograms),
        "<h2>Definitions</h2>",
        f"<p>Intervals: {escaped(document['interval'].get('definition', ''))}</p>",
        _definitions(rows),
        "<h2>Data, versions, command</h2>",
        _data(document),
    ]
    write_page(path, title, body)


def write_page(path: str | Path, title: str, body: Sequence[str]) -> None:
    """Write an HTML page of these parts, whole or not at all."""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _lead(document: Mapping[str, Any]) -> str:
    attempts = document["attempts"]
    kind = document.get("kind", "crystals")
    told = [f"{attempts['n']:,} attempts, {attempts[f'n_{kind}']:,} {kind}"]
    for name, words in (
        ("train", "training crystals"),
        ("held_out", "held-out crystals"),
        ("reference", "reference pictures"),
    ):
        if name in document:
            told.append(f"{document[name]['n']:,} {words}")
    if "relaxed" in document:
        relaxed = document["relaxed"]
        told.append(
            f"relaxed with {relaxed['potential']} ({relaxed['n_with_energy']:,} energies, "
            f"{relaxed['n_converged']:,} converged)"
        )
    return "; ".join(told) + "."


def _reasons(failures: Mapping[str, int], kind: str) -> str:
    one = kind.removesuffix("s")
    if not failures:
        return f"<p>Every attempt gave a {one}.</p>"
    rows = [[reason, f"{count:,}"] for reason, count in failures.items()]
    return f"<p>Attempts that gave no {one}:</p>" + html_table(["reason", "attempts"], rows)


def _explained(document: Mapping[str, Any], baselines: Mapping[str, str]) -> str:
    interval = document["interval"]
    told = (
        f"In brackets: {100 * interval['coverage']:g} % intervals, percentiles over "
        f"{interval['n_resamples']} samples of the attempts with replacement. "
        f"{_COUNTED[document.get('kind', 'crystals')]} Arrows: which way is better."
    )
    notes = "".join(
        f"<li>{escaped(name)}: {escaped(note)}</li>" for name, note in baselines.items()
    )
    return f"<p>{escaped(told)}</p>" + (f"<p>Beside it:</p><ul>{notes}</ul>" if notes else "")


def _figures_table(rows: Sequence[TableRow], baselines: Mapping[str, str]) -> str:
    heads = ["figure", "", "generated", "n", "failures", *baselines]
    lines = [f"<tr>{''.join(_head(head, i) for i, head in enumerate(heads))}</tr>"]
    family = None
    for row in rows:
        if row.family != family:
            family = row.family
            lines.append(f"<tr class=family><td colspan={len(heads)}>{escaped(family)}</td></tr>")
        arrow = {"higher": "↑", "lower": "↓"}.get(row.better, "")
        why = "; ".join(f"{count:,} {reason}" for reason, count in row.failures.items())
        cells = [
            f'<td class=text title="{escaped(row.definition)}">{escaped(_words(row.name))}</td>',
            f"<td>{arrow}</td>",
            f"<td class=own>{_with_interval(row.value, row.interval)}</td>",
            f"<td>{escaped(row.n)}</td>",
            f'<td title="{escaped(why)}">{sum(row.failures.values()):,}</td>',
            *(
                f"<td class=quiet>{_with_interval(value, interval)}</td>"
                for value, interval in zip(row.baselines, row.intervals, strict=True)
            ),
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=wide><table>{''.join(lines)}</table></div>"


def _intervals(row: TableRow) -> str:
    return " ".join([row.interval, *row.intervals])


def _head(text: str, column: int) -> str:
    return f"<th{' class=text' if column == 0 else ''}>{escaped(text)}</th>"


def _with_interval(value: str, interval: str) -> str:
    return escaped(value) + (f"<small>({escaped(interval)})</small>" if interval else "")


def _left_out(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    lines = "".join(f"<li>{escaped(name)}: {escaped(why)}</li>" for name, why in left_out.items())
    return f"<p>Not measured:</p><ul>{lines}</ul>"


def _crystals(gallery: Gallery | None) -> list[str]:
    if gallery is None:
        return []
    parts = ["<h2>The best and the worst crystals</h2>", f"<p>{escaped(gallery.told)}</p>"]
    for title, cards in (("Best", gallery.best), ("Worst", gallery.worst)):
        parts.append(f"<h3>{title}</h3><div class=cards>{''.join(map(html_card, cards))}</div>")
    return parts


def html_card(card: Card) -> str:
    """A crystal with its picture; several stand side by side in ``<div class=cards>``."""
    if card.png is None:
        picture = "<div class=none>too many sites to draw</div>"
    else:
        picture = (
            f'<img alt="{escaped(card.title)}" src="data:image/png;base64,{_coded(card.png)}">'
        )
    lines = "<br>".join(map(escaped, card.lines))
    return f"<div class=card>{picture}<b>{escaped(card.title)}</b><br>{lines}</div>"


def _spread(histograms: Mapping[str, Path]) -> list[str]:
    if not histograms:
        return []
    return ["<h2>How values spread</h2>", *(html_figure(*one) for one in histograms.items())]


def _definitions(rows: Sequence[TableRow]) -> str:
    items = []
    for row in rows:
        why = "; ".join(f"{count:,} {reason}" for reason, count in row.failures.items())
        told = escaped(row.definition) + (f" Failures: {escaped(why)}." if why else "")
        items.append(f"<dt>{escaped(row.family)}: {escaped(_words(row.name))}</dt><dd>{told}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _data(document: Mapping[str, Any]) -> str:
    names = {
        "attempts": "generated",
        "train": "training",
        "held_out": "held-out",
        "wanted": "wanted",
        "reference": "reference",
    }
    rows = [
        [
            label,
            ", ".join(document.get("files", {}).get(name, [])),
            f"{document[name]['n']:,}",
            document[name]["content_hash"][:16],
        ]
        for name, label in names.items()
        if name in document
    ]
    told = [html_table(["", "files", "n", "content hash"], rows, texts=2)]
    for name, label in names.items():
        notes = document.get(name, {}).get("notes", ())
        told += [f"<p>{escaped(f'{label}: {note}')}</p>" for note in notes]
    for name in ("relaxed", "hull"):
        if name in document:
            about = json.dumps(document[name], ensure_ascii=False, default=str)
            told.append(f"<p>{name.capitalize()}: {escaped(about)}</p>")
    versions = ", ".join(f"{name} {one}" for name, one in document["versions"].items())
    told.append(f"<p>Seed {document['seed']}; {escaped(versions)}</p>")
    if document.get("command"):
        told.append(f"<pre>{escaped(shlex.join(document['command']))}</pre>")
    return "".join(told)


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A table whose first ``texts`` columns are words and the others numbers."""

    def cell(tag: str, i: int, text: str) -> str:
        return f"<{tag}{' class=text' if i < texts else ''}>{escaped(text)}</{tag}>"

    head = "".join(cell("th", i, one) for i, one in enumerate(heads))
    lines = ("".join(cell("td", i, one) for i, one in enumerate(row)) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def html_figure(caption: str, path: Path, kind: str = "") -> str:
    """A PNG file inside of the page; ``long`` for a wide one."""
    content, told = _coded(path.read_bytes()), escaped(caption)
    return (
        f'<figure class="{kind}"><img alt="{told}" src="data:image/png;base64,{content}">'
        f"<figcaption>{told}</figcaption></figure>"
    )


def _coded(png: bytes) -> str:
    return base64.b64encode(png).decode()


def _words(name: str) -> str:
    return name.replace("_", " ")


def escaped(value: Any) -> str:
    """Text as HTML has it."""
    return html.escape(str(value))
