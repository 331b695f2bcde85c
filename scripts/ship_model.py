"""Put a trained model into the package, with its card.

Weights become float16 where that moves no validation prediction by more than ``--tolerance`` of
the target's mean absolute error; records lose what only the training needs. The card's figures are
those of the runs themselves.

    python scripts/ship_model.py runs/joint_small_cells materials_project --card scripts/cards/x.md
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalcodec.data import Dataset
from crystalcodec.workflow.checkpoints import load_weights, save_weights
from crystalcodec.workflow.ensembles import open_ensemble
from crystalcodec.workflow.prediction import answers_of
from crystalcodec.workflow.pretrained import FOLDER
from crystalcodec.workflow.runs import MODEL, RECORD, sha256, write_json

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
    parser.add_argument("--tolerance", type=float, default=0.02)
    arguments = parser.parse_args()
    folder = FOLDER / arguments.name
    if folder.exists():
        shutil.rmtree(folder)
    ensemble = open_ensemble(arguments.model)
    for run in ensemble.members:
        _ship(run.folder, folder / run.folder.relative_to(arguments.model))
    for name in ("calibration.json", "calibration.safetensors"):
        if len(ensemble.members) > 1 and (arguments.model / name).exists():
            shutil.copy(arguments.model / name, folder / name)
    _compare(ensemble, open_ensemble(folder), Dataset.read(arguments.check), arguments.tolerance)
    (folder / "card.md").write_text(_card(arguments, ensemble), encoding="utf-8")
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


def _compare(trained: Any, shipped: Any, data: Dataset, tolerance: float) -> None:
    """Raise where shipping changes a prediction by more than a part of the error."""
    crystals = data.crystals[:: max(1, len(data) // 1000)]
    one, other = (answers_of(model, crystals).values for model in (trained, shipped))
    for i, target in enumerate(trained.targets):
        true = data.numeric(target.column)[:: max(1, len(data) // 1000)]
        error = float(np.nanmean(np.abs(true - one[:, i])))
        moved = float(np.nanmean(np.abs(other[:, i] - one[:, i])))
        print(f"{target.column}: error {error:.4g}, moved by shipping {moved:.2g}")
        if moved > tolerance * error:
            raise SystemExit(f"{target.column}: shipping moves predictions by {moved:.3g}")


def _card(arguments: argparse.Namespace, ensemble: Any) -> str:
    """The text, then figures on validation crystals: of each seed, and of their mean."""
    lines = [arguments.card.read_text(encoding="utf-8").rstrip(), "", "## Figures", ""]
    figures = [json.loads((run.folder / "metrics.json").read_text()) for run in ensemble.members]
    lines += [
        "On validation crystals, one network: mean ± standard deviation over seeds "
        f"({len(figures)}).",
        "",
        "| property | unit | crystals | MAE | RMSE | R² |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for target in ensemble.targets:
        parts = [_of(one["validation"], target.column) for one in figures]
        cells = [_spread([part[name] for part in parts]) for name in ("mae", "rmse", "r2")]
        row = [target.column, target.unit, f"{parts[0]['n']:,}", *cells]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _of(figures: dict[str, Any], column: str) -> dict[str, Any]:
    return figures.get("targets", {column: figures})[column]


def _spread(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{spread}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
