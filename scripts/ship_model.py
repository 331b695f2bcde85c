"""Put a trained model into the package, with its card.

Weights become float16, and precision 32-true; it stops, and leaves what the package held, where
that moves predictions by more than ``--tolerance`` of the target's mean absolute error in the mean.
Records lose what only the training needs. The card's figures are those of the runs themselves.

    python scripts/ship_model.py runs/joint24 materials_project \
        --card scripts/cards/materials_project.md --check runs/data/mp_val.parquet
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from crystalcodec.data import Dataset
from crystalcodec.workflow.calibration import CALIBRATION, Calibration
from crystalcodec.workflow.checkpoints import load_weights, save_weights
from crystalcodec.workflow.ensembles import Ensemble, open_ensemble
from crystalcodec.workflow.prediction import answers_of
from crystalcodec.workflow.pretrained import FOLDER
from crystalcodec.workflow.runs import MODEL, RECORD, sha256, write_json
from crystalcodec.workflow.trust import seed_weights

# Of a record: what opening and predicting read, and what tells where the model comes from.
KEPT = (
    "format",
    "versions",
    "status",
    "identity",
    "config",
    "targets",
    "inputs",
    "representation",
    "model",
    "scaling",
    "n_parameters",
    "data",
    "files",
    "seconds",
    "epochs",
)


def main() -> None:
    """Copy, check, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of a run, or of its seeds")
    parser.add_argument("name", help="folder in the package")
    parser.add_argument(
        "--card", type=Path, required=True, help="text that stands over the figures"
    )
    parser.add_argument(
        "--check", type=Path, required=True, help="dataset to compare predictions on"
    )
    parser.add_argument(
        "--sizes", type=Path, help="result of benchmarks/training_sizes.py, for the card"
    )
    parser.add_argument("--tolerance", type=float, default=0.02)
    arguments = parser.parse_args()
    folder = FOLDER / arguments.name
    ensemble = open_ensemble(arguments.model)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=FOLDER, prefix=".") as name:
        made = Path(name) / arguments.name
        for run in ensemble.members:
            _ship(run.folder, made / run.folder.relative_to(arguments.model))
        shipped = open_ensemble(made)
        if len(ensemble.members) > 1:
            _ship_calibration(ensemble, shipped)
        data = Dataset.read(arguments.check)
        _compare(ensemble, shipped, data, arguments.tolerance)
        text = _card(arguments.card.read_text(encoding="utf-8"), ensemble, shipped, data)
        text += _by_epoch(ensemble)
        if arguments.sizes:
            text += _by_size(arguments.sizes, ensemble)
        (made / "card.md").write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")


def _ship(source: Path, out: Path) -> None:
    out.mkdir(parents=True)
    record = json.loads((source / RECORD).read_text(encoding="utf-8"))
    for name in record["files"]:
        if name.startswith("held_out"):
            continue
        shutil.copy(source / name, out / name)
    weights, header = load_weights(source / MODEL)
    halves = {k: t.half() if t.is_floating_point() else t for k, t in weights.items()}
    save_weights(out / MODEL, halves, header)
    kept = {key: record[key] for key in KEPT if key in record}
    # Processors without bfloat16 would be slow; the weights are the same.
    kept["config"]["machine"]["precision"] = "32-true"
    kept["files"] = {name: sha256(out / name) for name in record["files"] if (out / name).exists()}
    write_json(out / RECORD, kept)


def _ship_calibration(trained: Ensemble, shipped: Ensemble) -> None:
    """The calibration of the mean of seeds, as that of their weights in float16."""
    if not (trained.folder / CALIBRATION).exists():
        return
    kept = Calibration.open(trained.folder)
    if kept.document.get("seeds") != seed_weights(trained):
        raise SystemExit(f"{trained.folder / CALIBRATION} is not of these seeds: train them again")
    Calibration(kept.conformals, {**kept.document, "seeds": seed_weights(shipped)}).save(
        shipped.folder
    )


def _compare(trained: Any, shipped: Any, data: Dataset, tolerance: float) -> None:
    """Raise where shipping changes a prediction by more than a part of the error."""
    crystals = data.crystals[:: max(1, len(data) // 1000)]
    one, other = (answers_of(model, crystals).values for model in (trained, shipped))
    for i, target in enumerate(trained.targets):
        true = data.numeric(target.column)[:: max(1, len(data) // 1000)]
        there = np.isfinite(one[:, i])
        if lost := int((there & ~np.isfinite(other[:, i])).sum()):
            raise SystemExit(f"{target.column}: {lost} predictions are lost by shipping")
        error = float(np.nanmean(np.abs(true - one[:, i])))
        moved = float(np.abs(other[there, i] - one[there, i]).mean())
        print(f"{target.column}: error {error:.4g}, moved by shipping {moved:.2g}")
        if not moved <= tolerance * error:
            raise SystemExit(f"{target.column}: shipping moves predictions by {moved:.3g}")


def _card(text: str, ensemble: Ensemble, shipped: Ensemble, data: Dataset) -> str:
    """The text, then figures on validation crystals: mean and spread over seeds, and their mean.

    Classes have other figures: their accuracy stands in the runs.
    """
    lines = [text.rstrip(), "", "## Figures", ""]
    figures = [json.loads((run.folder / "metrics.json").read_text()) for run in ensemble.members]
    lines += [
        "On validation crystals. MAE, RMSE and R² of one network: mean ± standard deviation over "
        f"{len(figures)} seed{'s' * (len(figures) > 1)}. Last column: MAE of what is shipped, the "
        "mean of these networks in float16.",
        "",
        "| property | unit | crystals | MAE | RMSE | R² | MAE, shipped |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    predicted = answers_of(shipped, data.crystals).values
    for i, target in enumerate(ensemble.targets):
        if target.is_class:
            continue
        parts = [_of(one["validation"], target.column) for one in figures]
        cells = [_spread([part[name] for part in parts]) for name in ("mae", "rmse", "r2")]
        whole = np.nanmean(np.abs(data.numeric(target.column) - predicted[:, i]))
        row = [target.column, target.unit, f"{parts[0]['n']:,}", *cells, f"{whole:.4g}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _by_epoch(ensemble: Ensemble) -> str:
    """The learning curve of the training: error on validation crystals by epochs."""
    columns = [target.column for target in ensemble.targets if not target.is_class]
    curves = []
    for run in ensemble.members:
        history = json.loads((run.folder / "history.json").read_text(encoding="utf-8"))
        names = [f"validation_mae_{column}" for column in columns]
        if len(ensemble.targets) == 1:
            names = ["validation_mae"] * len(columns)
        curves.append(
            {
                int(row["epoch"]): [row[name] for name in names]
                for row in history
                if all(name in row for name in names)
            }
        )
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    rows = [
        [str(epoch), *(_spread([c[epoch][i] for c in curves]) for i in range(len(columns)))]
        for epoch in epochs
    ]
    text = "MAE on validation crystals by epochs of training, one network."
    if any(target.zero == "classifier" for target in ensemble.targets):
        text += (
            " A value is 0 here where its classifier gives another less than a probability of 0.5. "
            "What is shipped, and the figures above, have a threshold that was chosen on the same "
            "validation crystals after the last epoch."
        )
    return _section(
        "## Learning curve",
        text,
        ["epoch", *columns],
        rows,
    )


def _by_size(path: Path, ensemble: Ensemble) -> str:
    """The learning curve of the data: error on validation crystals by training crystals."""
    curve = json.loads(path.read_text(encoding="utf-8"))["curve"]
    columns = [target.column for target in ensemble.targets if not target.is_class]
    rows = []
    for one in curve:
        cells = []
        for column in columns:
            found = one["targets"][column]
            mae = found["mae"]
            spread = "" if mae["deviation"] is None else f" ± {mae['deviation']:.2g}"
            cells.append(f"{mae['mean']:.4g}{spread} ({found['n_train']:,})")
        rows.append(["all" if one["part"] == 1 else f"1/{one['part']}", *cells])
    return _section(
        "",
        "The same trained on a random part of the data, for as many epochs: MAE (training crystals "
        "with a label). One network, one seed for the parts, after all epochs.",
        ["part", *columns],
        rows,
    )


def _section(heading: str, text: str, columns: list[str], rows: list[list[str]]) -> str:
    table = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    lines = ["", *([heading, ""] if heading else []), text, ""]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table)]) + "\n"


def _of(figures: dict[str, Any], column: str) -> dict[str, Any]:
    return figures.get("targets", {column: figures})[column]


def _spread(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{spread}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
