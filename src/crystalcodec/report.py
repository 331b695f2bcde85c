"""report.html: one file that tells a run, with its figures inside; nothing is fetched."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from crystalcodec.io.whole import whole_file

__all__ = ["write_report"]

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: 1rem; }
p.lead { color: #555; margin-top: .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .8rem; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text { text-align: left; overflow-wrap: anywhere; }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top; }
figure img { max-width: 28rem; width: 100%; height: auto; }
figcaption { color: #555; font-size: .9rem; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85rem; }
"""

_METRICS: Final = {"mae": "MAE", "rmse": "RMSE", "mse": "MSE", "r2": "R²", "mape": "MAPE (%)"}
_CLASS_METRICS: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "cross-entropy",
    "share": "share of true",
}


def write_report(
    path: str | Path,
    record: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Path],
    trust: Mapping[str, Any] | None = None,
) -> None:
    """Write the report of a run.

    Parameters
    ----------
    path
        The HTML file; whole or not at all.
    record
        What ``run.json`` holds.
    metrics
        By split; of several targets, the figures of each are in its ``targets``, by column.
    figures
        PNG files by caption; they are put into the page.
    trust
        What ``calibration.json`` holds.
    """
    targets = record["targets"]
    name = ", ".join(target["column"].replace("_", " ") for target in targets)
    config = record["config"]
    body = [
        f"<h1>{_text(name)} by {_text(config['model']['name'])} on "
        f"{_text(config['representation']['name'])}</h1>",
        f"<p class=lead>{_lead(record)}</p>",
        "<h2>How good it is</h2>",
        *(_target_figures(target, metrics, len(targets) > 1) for target in targets),
        _left_out(metrics),
        *_chosen(record),
        *_trusted(trust or {}),
        "<h2>Figures</h2>",
        *(_figure(caption, file) for caption, file in figures.items()),
        "<h2>Configuration</h2>",
        _settings({**config, "model": record["model"], "representation": record["representation"]}),
        "<h2>Data, versions, command</h2>",
        _data_table(record["data"]),
        f"<p>{_text(', '.join(f'{k} {v}' for k, v in record['versions'].items()))}</p>",
        f"<pre>{_text(' '.join(record['command']))}</pre>",
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{_text(name)}: {_text(config['model']['name'])}</title>"
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    with whole_file(path) as partial:
        Path(partial).write_text(page, encoding="utf-8")


def _lead(record: Mapping[str, Any]) -> str:
    train = record["data"]["train"]
    minutes = record["seconds"] / 60
    return _text(
        f"{record['n_parameters']:,} parameters, trained on {train['n_used']:,} crystals for "
        f"{record['epochs']} epochs in {minutes:.1f} minutes; seed {record['config']['seed']}."
    )


def _target_figures(
    target: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]], several: bool
) -> str:
    """The tables of one target, under its name where there are others."""
    own = {s: m.get("targets", {}).get(target["column"], m) for s, m in metrics.items()}
    head = f"<h3>{_text(target['column'].replace('_', ' '))}</h3>" if several else ""
    if target["kind"] == "class":
        return head + _metrics_table(own, _CLASS_METRICS)
    unit = target["unit"]
    units = {"mae": unit, "rmse": unit, "mse": f"({unit})²" if unit else ""}
    heads = {
        key: f"{label} ({units[key]})" if units.get(key) else label
        for key, label in _METRICS.items()
    }
    table = head + _metrics_table(own, heads)
    zeros = sum(figures["n_zero_targets"] for figures in own.values())
    if zeros:
        table += f"<p>MAPE leaves out {zeros:,} crystals whose target is exactly 0.</p>"
    found = {split: figures["nonzero"] for split, figures in own.items() if "nonzero" in figures}
    if found:
        table += (
            f"<p>Whether it is 0 or not; 0 is predicted where the probability of another value is "
            f"below {target['threshold']:.3g}:</p>{_metrics_table(found, _CLASS_METRICS)}"
        )
    return table


def _metrics_table(metrics: Mapping[str, Mapping[str, Any]], heads: Mapping[str, str]) -> str:
    rows = [
        [split, f"{figures['n']:,}", *(_number(figures.get(key)) for key in heads)]
        for split, figures in metrics.items()
    ]
    return _table(["", "crystals", *heads.values()], rows)


def _trusted(trust: Mapping[str, Any]) -> list[str]:
    """How often intervals hold the true value, and whether errors grow with what is told."""
    if not trust:
        return []
    parts = [
        "<h2>How sure it is</h2>",
        f"<p>Intervals calibrated on {_text(trust['calibrated_on'])} crystals, checked on "
        f"{_text(trust['checked_on'])}; in brackets 95 % confidence intervals.</p>",
    ]
    for name, target in trust["targets"].items():
        unit = f" ({_text(target['unit'])})" if target["unit"] else ""
        rows = [
            [
                label,
                f"{100 * float(asked):g} %",
                f"{found['n']:,}",
                _share(found),
                _number(found["median_width"]),
            ]
            for asked, checked in target["coverage"].items()
            for label, found in [("all", checked), *checked.get("groups", {}).items()]
            if label == "all" or asked == "0.9"
        ]
        parts.append(f"<h3>{_text(name.replace('_', ' '))}</h3>")
        heads = ["crystals", "asked", "n", "inside", f"median width{unit}"]
        parts.append(_table(heads, rows))
        for what in ("spread", "distance"):
            if grows := target[f"{what}_and_error"]:
                quarters = ", ".join(f"{error:.4g}" for error in grows["mae_by_quarter"])
                parts.append(
                    f"<p>MAE by quarter of the {what}, smallest first: {quarters}; Spearman "
                    f"correlation with the error {grows['spearman']:.2f}.</p>"
                )
    return parts


def _share(found: Mapping[str, Any]) -> str:
    if found["inside"] is None:
        return "none"
    low, high = 100 * found["low"], 100 * found["high"]
    return f"{100 * found['inside']:.1f} % ({low:.1f} to {high:.1f})"


def _left_out(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [split, reason, f"{count:,}", f"{figures['n_total']:,}"]
        for split, figures in metrics.items()
        for reason, count in figures["failures"].items()
    ]
    if not rows:
        return "<p>No crystal was left out.</p>"
    return "<p>Left out, and not in these figures:</p>" + _table(
        ["", "reason", "crystals", "of"], rows
    )


def _chosen(record: Mapping[str, Any]) -> list[str]:
    """What was chosen on the validation crystals."""
    trials = record.get("transform_trials") or {}
    if not trials:
        return []
    chosen = {target["column"]: target["transform"]["name"] for target in record["targets"]}
    rows = [
        [column, name, _number(error), "chosen" if chosen[column] == name else ""]
        for name, errors in trials.items()
        for column, error in errors.items()
    ]
    return [
        "<h2>Transforms tried</h2>",
        _table(["", "transform", "validation MAE of the trial", ""], sorted(rows)),
    ]


def _figure(caption: str, path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{_text(caption)}</figcaption></figure>"
    )


def _settings(config: Mapping[str, Any]) -> str:
    rows = []
    for key, value in config.items():
        several = isinstance(value, list) and all(isinstance(v, Mapping) for v in value)
        for table in value if several and value else [value]:
            entries = table.items() if isinstance(table, Mapping) else [("", table)]
            rows += [[f"{key}.{k}" if k else key, str(v)] for k, v in entries]
    cells = "".join(f"<tr><td>{_text(k)}</td><td class=text>{_text(v)}</td></tr>" for k, v in rows)
    return f"<table>{cells}</table>"


def _data_table(data: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [split, f"{part['n_used']:,}", f"{part['n']:,}", part["content_hash"][:16]]
        for split, part in data.items()
    ]
    return _table(["", "used", "of", "content hash"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    lines = ("".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _number(value: float | None) -> str:
    # NaN: R2 of one value, MAPE of zeros alone.
    return "none" if value is None or value != value else f"{value:.4g}"


def _text(value: Any) -> str:
    return html.escape(str(value))
