"""From files to a measured prediction, on the data in the box: what ``make demo`` runs.

Predict and generate with the weights in the package; import a dataset, encode it, check that every
crystal comes back, draw one in every representation, read crystals out of noisy pictures, train two
regressors, compare them, and predict the energy of rock salt from a CIF and from a POSCAR.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import crystalcodec
from crystalcodec import IRCR, CrystalImage, Dataset, read, show
from crystalcodec.data import import_dataset
from crystalcodec.data.dataset import PROTOTYPES
from crystalcodec.failures import count_reasons
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.testing import round_trip_errors
from crystalcodec.workflow import Run, RunConfig, compare, predict, train

HERE = Path(__file__).parent
OUT = HERE.parent / "demo"
TARGET = "formation_energy_per_atom"
TASKS = {"Task 1: MLP": ("mlp", 120, 1e-2), "Task 2: 1-D CNN": ("cnn1d", 60, 3e-3)}
# What changes the description of a crystal and not its energy, drawn anew each epoch.
AUGMENTATION = ["permute_sites_of_elements", "permute_axes", "shift_origin_to_site", "invert"]

console = Console(width=100)


def main() -> None:
    start = time.perf_counter()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()

    step("Predict four crystals with the weights in the package")
    out_of_the_box()

    step("Generate titanium dioxide that nobody drew")
    new_crystals()

    step("Import the dataset in the box")
    dataset = imported()

    step("Encode it as IRCR and decode it again")
    round_trip(dataset)

    step("Draw rock salt beside every representation of it")
    show(read(HERE / "NaCl.cif").crystals, path=OUT / "NaCl.png")
    console.print(f"picture: {OUT / 'NaCl.png'}", soft_wrap=True)

    step("Read crystals out of noisy pictures")
    noisy_pictures(dataset)

    step("Train both regressors, on 64 % of the crystals")
    runs = [trained(name, *options) for name, options in TASKS.items()]
    console.print(compare([run.folder for run in runs]).table(), soft_wrap=True)

    step("Predict rock salt from a CIF and from a POSCAR")
    rock_salt(runs[-1])

    step(f"Done in {time.perf_counter() - start:.0f} s")
    for run in runs:
        console.print(f"report: {run.folder / 'report.html'}", soft_wrap=True)


def step(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/]")


def out_of_the_box() -> None:
    names = ("NaCl", "MgO", "Si", "GaAs")
    made = crystalcodec.predict([HERE / f"{name}.cif" for name in names])
    heads = [
        f"{target.replace('_', ' ')}, {unit}"
        for target, unit in zip(made.targets, made.units, strict=True)
    ]
    table = Table("crystal", *heads)
    for i, name in enumerate(names):
        half = (made.upper[i] - made.lower[i]) / 2
        pairs = zip(made.values[i], half, strict=True)
        table.add_row(name, *(f"{value:.3f} ± {width:.3f}" for value, width in pairs))
    console.print(table)
    console.print(
        "± is half of the interval that holds nine of ten true values of validation crystals. The "
        "Materials\nProject has NaCl -2.110 and MgO -3.053 eV/atom, gaps of 0.18 eV for GaAs and "
        "0.61 to 0.85 for Si."
    )


def new_crystals() -> None:
    made = crystalcodec.generate(40, formula="TiO2", folder=OUT / "TiO2")
    table = Table("of the samples", "there are")
    for stage, count in made.funnel.stages:
        table.add_row(stage, str(count))
    console.print(table)
    told = crystalcodec.predict(made.crystals, TARGET)
    energies = told.of(TARGET)
    best = np.argsort(energies)[:3]
    volumes = made.crystals.volumes / made.crystals.n_sites
    groups = space_group_numbers(made.crystals, symprec=0.1)
    for i in best.tolist():
        console.print(
            f"{made.crystals.formulas[i]}: {energies[i]:.3f} eV/atom as predicted, "
            f"{volumes[i]:.1f} Å³ a site, space group {groups[i]} within 0.1 Å"
        )
    console.print(
        "The training data hold three TiO2, of 10.7, 12.2 and 15.4 Å³ a site. Nothing here is "
        "relaxed yet:\n`crystalcodec generate --relax` does that."
    )
    console.print(f"report: {OUT / 'TiO2' / 'report.html'}", soft_wrap=True)


def imported() -> Dataset:
    path = OUT / "prototypes.parquet"
    import_dataset(PROTOTYPES, path)
    dataset = Dataset.read(path, verify=True)
    energies = dataset.numeric(TARGET)
    counts = dataset.crystals.element_counts.sum(axis=0)
    console.print(
        f"{len(dataset):,} crystals of {len(set(dataset.column('prototype')))} prototypes and "
        f"{np.count_nonzero(counts)} elements, {dataset.crystals.n_sites.min()} to "
        f"{dataset.crystals.n_sites.max()} sites; {TARGET} {energies.mean():.2f} ± "
        f"{energies.std():.2f} eV/atom"
    )
    console.print(
        "[yellow]Labels come from the interatomic potential CHGNet, not from density functional "
        "theory.[/]"
    )
    return dataset


def round_trip(dataset: Dataset) -> None:
    ircr = IRCR()
    start = time.perf_counter()
    encoded = ircr.encode(dataset.crystals)
    seconds = time.perf_counter() - start
    decoded = ircr.decode(encoded)
    errors = round_trip_errors(dataset.crystals[encoded.index], decoded.crystals)
    console.print(
        f"{len(encoded):,} crystals encoded in {1e3 * seconds:.0f} ms, {len(decoded.index):,} "
        f"decoded; the farthest site comes back {errors.max():.1e} Å away"
    )
    for reason, n in count_reasons(encoded.failures).items():
        console.print(f"{n} could not be held: {reason}")


def noisy_pictures(dataset: Dataset) -> None:
    image = CrystalImage()
    rng = np.random.default_rng(0)
    chosen = dataset.crystals[rng.permutation(len(dataset))[:500]]
    encoded = image.encode(chosen)
    table = Table("noise", "came back", "median error (Å)", "another crystal", "refused")
    for noise in (0, 4, 16, 32):
        drawn = rng.normal(encoded["crystal_image"], noise / 255)
        pixels = image.to_pixels(np.clip(drawn, 0, 1))
        decoded = image.decode(image.from_pixels(pixels))
        errors = round_trip_errors(chosen[encoded.index[decoded.index]], decoded.crystals)
        same = np.isfinite(errors) & (errors < 0.5)
        table.add_row(
            f"{noise}/255",
            str(same.sum()),
            f"{np.median(errors[same]):.4f}",
            str((~same).sum()),
            str(len(decoded.failures)),
        )
    console.print(table)
    random = rng.random((500, 64, 64, 3))
    refused = len(image.decode(random).failures)
    console.print(
        f"{len(encoded)} crystals as RGB pictures of 64 x 64 pixels of 8 bits; of 500 random "
        f"pictures {refused} are refused"
    )


def trained(name: str, model: str, epochs: int, learning_rate: float) -> Run:
    console.print(f"{name} ...")
    config = RunConfig.of(
        {
            "data": {
                "dataset": str(OUT / "prototypes.parquet"),
                "fractions": [0.64, 0.16, 0.2],
            },
            "target": {"column": TARGET},
            "representation": {"name": "ircr"},
            "model": {"name": model},
            "augmentation": {"names": AUGMENTATION, "copies": 4},
            "training": {
                "epochs": epochs,
                "batch_size": 128,
                "learning_rate": learning_rate,
                "schedule": "one-cycle",
            },
        }
    )
    return train(config, OUT / model)


def rock_salt(run: Run) -> None:
    table = Table(
        "file", "cell read", "decoded from IRCR", "farthest site (Å)", "predicted eV/atom"
    )
    for name in ("NaCl.cif", "NaCl.POSCAR"):
        crystals = read(HERE / name).crystals
        decoded = IRCR().decode(IRCR().encode(crystals)).crystals
        table.add_row(
            name,
            f"{crystals.formulas[0]}, {crystals.n_sites[0]} sites",
            f"{decoded.formulas[0]}, {decoded.n_sites[0]} sites",
            f"{round_trip_errors(crystals, decoded)[0]:.1e}",
            f"{predict(run, crystals).of(TARGET)[0]:.3f}",
        )
    console.print(table)
    console.print(
        "Both files are the same crystal, as a cubic cell of 8 sites and as its primitive cell of "
        "2.\nIRCR is not invariant to the choice of the cell, so the two predictions differ. The "
        "Materials\nProject's density functional theory has -2.110 eV/atom."
    )


if __name__ == "__main__":
    main()
