"""xtal2png's own code on noisy pictures of 100 perovskites, for ``image_noise.py``."""

from __future__ import annotations

from record import SHARED_DATA  # first: it sets the number of threads

# isort: split
import json
import subprocess
from typing import Any

PEER = """
import csv, gzip, io, json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from pymatgen.core import Structure
from xtal2png.core import XtalConverter
rows = list(csv.DictReader(io.TextIOWrapper(gzip.open(sys.argv[1]))))[:100]
structures = [Structure.from_str(row["cif"], fmt="cif") for row in rows]
converter = XtalConverter(verbose=False)
images = np.stack([np.asarray(i) for i in converter.xtal2png(structures, save=False)])
rng = np.random.default_rng(0)
out = {}
def decode(pixels):
    right = made = 0
    for one, structure in zip(pixels, structures):
        try:
            back = converter.arrays_to_structures(one[None, None])[0]
        except Exception:
            continue
        made += 1
        right += back.composition.reduced_formula == structure.composition.reduced_formula
    return {"n": len(structures), "decoded": made, "composition_right": right}
for kind in ("gaussian", "integer"):
    for k in (0, 1, 2, 4):
        noise = rng.normal(0, k, images.shape) if kind == "gaussian" else \\
            rng.integers(-k, k + 1, images.shape)
        out[f"{kind} {k}"] = decode(np.clip(np.rint(images + noise), 0, 255).astype(np.uint8))
out["random pictures"] = decode(rng.integers(0, 256, images.shape).astype(np.uint8))
print("RESULT" + json.dumps(out))
"""


def peer(python: str) -> dict[str, Any]:
    """xtal2png's own code on 100 perovskites, run by the interpreter it is installed for."""
    table = str(SHARED_DATA / "perov_5" / "val.csv.gz")
    run = subprocess.run([python, "-c", PEER, table], capture_output=True, text=True, check=True)
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
    return {"package": "xtal2png 0.9.4", **json.loads(lines[0].removeprefix("RESULT"))}
