"""Put a trained generator into the package, with its card.

With ``--half`` weights become float16; precision becomes 32-true. Samples of both are decoded and
checked with the same seed: it stops, and leaves what the package held, where a smaller share of
the shipped one's gives crystals, or valid ones, by more than ``--tolerance``. A line of
``PRETRAINED_GENERATORS`` in ``registry.py`` then gives it its name.

    python scripts/ship_generator.py runs/orbit_diffusion/seed-0 orbit_diffusion_mp20 --half \
        --card scripts/cards/orbit_diffusion_mp20.md
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from crystalcodec.representations.base import InvertibleRepresentation
from crystalcodec.workflow.checkpoints import load_weights, save_weights
from crystalcodec.workflow.generating.funnel import validity
from crystalcodec.workflow.generating.runs import FOLDER, GeneratorRun, open_generator
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.runs import MODEL, RECORD, sha256, write_json

# Of a record: what opening and sampling read, and what tells where the model comes from.
KEPT = (
    "format",
    "versions",
    "status",
    "identity",
    "config",
    "representation",
    "model",
    "conditions",
    "n_parameters",
    "data",
    "history",
)
MOST_BYTES = 8_000_000


def main() -> None:
    """Copy, compare, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("name", help="folder in the package")
    parser.add_argument("--card", type=Path, required=True, help="text over the figures")
    parser.add_argument("--half", action="store_true", help="weights in float16")
    parser.add_argument("-n", type=int, default=500, help="samples to compare")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=0.02, help="of a share of samples")
    arguments = parser.parse_args()
    trained = open_generator(arguments.run)
    if not isinstance(trained.representation, InvertibleRepresentation):
        raise SystemExit(f"{trained.representation.name} tells no crystals: nothing to compare")
    folder = FOLDER / arguments.name
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=FOLDER, prefix=".") as name:
        made = Path(name) / arguments.name
        _ship(trained, made, half=arguments.half)
        shipped = open_generator(made)
        shares = {
            what: _shares(run, arguments.n, arguments.seed)
            for what, run in (("trained", trained), ("shipped", shipped))
        }
        for key in ("decoded", "valid"):
            one, other = (shares[what][key] for what in ("trained", "shipped"))
            print(f"{key}: {one:.4f} as trained, {other:.4f} as shipped")
            if other < one - arguments.tolerance:
                raise SystemExit(f"shipping loses {one - other:.4f} of the samples ({key})")
        text = arguments.card.read_text(encoding="utf-8")
        card = _card(text, shipped, shares, arguments.n, arguments.seed)
        (made / "card.md").write_text(card, encoding="utf-8")
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SystemExit(f"{size / 1e6:.2f} MB, at most {MOST_BYTES / 1e6:g} MB are shipped")
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    print(f"{folder}: {size / 1e6:.2f} MB")


def _ship(run: GeneratorRun, out: Path, *, half: bool) -> None:
    out.mkdir(parents=True)
    shutil.copy(run.folder / "config.toml", out / "config.toml")
    weights, header = load_weights(run.folder / MODEL)
    if half:
        weights = {k: t.half() if t.is_floating_point() else t for k, t in weights.items()}
    save_weights(out / MODEL, weights, header)
    record = json.loads((run.folder / RECORD).read_text(encoding="utf-8"))
    kept = {key: record[key] for key in KEPT if key in record}
    # Processors without bfloat16 would be slow; the weights are the same.
    kept["config"]["machine"]["precision"] = "32-true"
    kept["files"] = {MODEL: sha256(out / MODEL)}
    write_json(out / RECORD, kept)


def _shares(run: GeneratorRun, n: int, seed: int) -> dict[str, float]:
    """Of n samples, the shares that give crystals and valid ones."""
    decoded: Any = sample_arrays(run.generator, n, seed=seed).decoded
    structural, compositional = validity(decoded.crystals)
    return {
        "decoded": len(decoded.crystals) / n,
        "valid": float((structural & compositional).sum()) / n,
    }


def _card(text: str, run: GeneratorRun, shares: dict[str, Any], n: int, seed: int) -> str:
    """The text, then what was measured here."""
    record = run.record
    lines = [
        *(text.rstrip(), "", "## As shipped", ""),
        f"{record['n_parameters']:,} parameters, {record['model']['name']} on "
        f"{record['representation']['name']}; {record['data']['train']['n_used']:,} training "
        f"crystals. {n:,} samples without a wish, seed {seed}:",
        *("", "| | decoded | valid structure and composition |", "| --- | ---: | ---: |"),
        *(
            f"| {what} | {one['decoded']:.2%} | {one['valid']:.2%} |"
            for what, one in shares.items()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
