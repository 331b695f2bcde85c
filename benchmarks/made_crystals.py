"""Round trips of crystals of no chemistry, which are harder than real ones, and who is refused.

1,000 made crystals (``testing.sample_crystals``: needles, atoms 1 Å apart, any element)
are encoded and decoded by every invertible representation and by some with other parameters; and
each is asked which of the 7,344 crystals of MP-20 val it refuses. Less than a minute:

    python benchmarks/made_crystals.py
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec import Crystals, read
from crystalcodec.failures import count_reasons
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.base import InvertibleRepresentation
from crystalcodec.representations.storage import representation_from
from crystalcodec.testing import round_trip_errors, sample_crystals

OTHERS = (
    {"name": "density_cell", "channels": ["Z"]},
    {"name": "density_cell", "sigma": 0.3},
    {"name": "density_cell", "sigma": 0.5},
    {"name": "structure_factors", "max_index": 8},
    {"name": "density_cube", "centring": "cell"},
    {"name": "density_cube", "species": False},
    {"name": "xtal2png", "bits": 16},
    {"name": "crystens", "normalisation": "avg_std"},
)


def main() -> None:
    made = Crystals.concatenate(
        [sample_crystals(10, seed=seed, max_sites=12) for seed in range(100)]
    )
    real = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    classes = {name: load(REPRESENTATIONS, name) for name in REPRESENTATIONS}
    configs = [{"name": n} for n, c in classes.items() if issubclass(c, InvertibleRepresentation)]
    figures = {}
    for config in (*configs, *OTHERS):
        representation = representation_from(config)
        encoded = representation.encode(made)
        decoded = representation.decode(encoded)
        errors = round_trip_errors(
            made[encoded.index[decoded.index]],
            decoded.crystals,
            any_order=not representation.keeps_site_order,
        )
        label = ", ".join(f"{k}={v}" if k != "name" else v for k, v in config.items())
        figures[label] = {
            "n_made": len(made),
            "n_encoded": len(encoded),
            "n_refused": count_reasons(encoded.failures),
            "n_decoded": len(decoded.crystals),
            "n_not_decoded": count_reasons(decoded.failures),
            "n_wrong": int((errors > representation.round_trip_tolerance).sum()),
            "largest_error_angstrom": float(np.max(errors, initial=0)),
            "mp20_val_refused": count_reasons(representation.refuse(real)),
        }
    record("made_crystals", {"n_mp20_val": len(real), "representations": figures})


if __name__ == "__main__":
    main()
