"""Real files beside pymatgen's own readers; skipped where the folder of real data is absent."""

from __future__ import annotations

import csv
import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import read, read_cif_texts, to_pymatgen

# Files that pymatgen takes for ordered crystals and we refuse, with the reason.
REFUSED = {
    # The formula has 73 C, 61.5 H and 3.5 N, the sites 74, 63 and 4: half a solvent molecule
    # is listed as a whole one.
    "cif_P24Ru4H252C296S24N16.cif": "formula contradicts sites",
    # Ammonia as one site, which pymatgen takes for nihonium.
    "cif_PF_sd_1002871.cif": "implicit hydrogen",
    "cif_Senegalite_implicit_hydrogen.cif": "implicit hydrogen",
    "cif_cif_implicit_hydrogens_cod_1011130.cif": "implicit hydrogen",
    "io_vasp_inputs_POSCAR_overlap": "atoms on top of each other",
}
# Reasons for which nobody can make an ordered crystal of a file.
DISORDERED = {"partial occupancy", "not a CIF"}


def ordered_by_pymatgen(path: Path) -> list[Any]:
    from pymatgen.core import DummySpecies
    from pymatgen.io.cif import CifParser
    from pymatgen.io.vasp import Poscar

    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if ".cif" in path.name:
                structures = CifParser.from_str(text).parse_structures(primitive=False)
            else:
                structures = [Poscar.from_str(text, read_velocities=False).structure]
        except ValueError:
            return []
    return [
        one
        for one in structures
        if one.is_ordered and not any(isinstance(s, DummySpecies) for s in one.species)
    ]


def is_same(crystal: Crystals, structure: Any) -> bool:
    """Same cell and the same sites in any order; pymatgen moves coordinates by up to 1e-4."""
    if crystal.n_sites[0] != len(structure):
        return False
    apart = crystal.frac_coords[:, None] - structure.frac_coords[None]
    apart -= np.rint(apart)
    distances = np.abs(apart).max(axis=2)
    distances[crystal.numbers[:, None] != np.array(structure.atomic_numbers)[None]] = np.inf
    nearest = distances.argmin(axis=1)
    cells = np.abs(crystal.cell_parameters[0] - structure.lattice.parameters)
    return bool(
        cells.max() < 1e-5
        and len(set(nearest.tolist())) == len(structure)
        and distances.min(axis=1).max() < 2e-4
    )


def test_every_file_of_the_zoo_agrees_with_pymatgen_or_has_one_clear_reason(
    shared_data: Path,
) -> None:
    paths = sorted((shared_data / "cif_zoo").iterdir())
    assert len(paths) == 181
    agree = []
    for path in paths:
        loaded = read(path)
        wanted = ordered_by_pymatgen(path)
        if path.name in REFUSED:
            assert {f.reason for f in loaded.failures} == {REFUSED[path.name]}
            assert len(loaded.crystals) == 0
        elif wanted:
            assert loaded.failures == (), path.name
            assert len(loaded.crystals) == len(wanted), path.name
            assert all(map(is_same, loaded.crystals, wanted)), path.name
            agree.append(path.name)
        else:
            assert len(loaded.crystals) == 0, path.name
            assert {f.reason for f in loaded.failures} <= DISORDERED, path.name
        assert all(f.detail and f.source == str(path) for f in loaded.failures)
    assert len(agree) == 161


def test_structure_matcher_agrees_too(shared_data: Path) -> None:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(primitive_cell=False, ltol=1e-4, stol=1e-3, angle_tol=1e-3)
    for name in ("cif_LiFePO4.cif", "cif_garnet.cif", "surfaces_icsd_TeI.cif", "cif_nosymm.cif"):
        path = shared_data / "cif_zoo" / name
        [ours] = to_pymatgen(read(path).crystals)
        [theirs] = ordered_by_pymatgen(path)
        theirs.remove_oxidation_states()
        assert matcher.fit(ours, theirs), name


def test_mp20_texts_are_the_crystals_of_pymatgen(shared_data: Path) -> None:
    from pymatgen.io.cif import CifParser

    csv.field_size_limit(2**30)
    with gzip.open(shared_data / "mp20" / "val.csv.gz", "rt") as file:
        texts = [row["cif"] for row in csv.DictReader(file)]
    loaded = read_cif_texts(texts)
    assert loaded.failures == ()
    assert len(loaded.crystals) == 7344
    sample = np.random.default_rng(1).choice(len(texts), 300, replace=False)
    for i in sample.tolist():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without its rounding of coordinates near 1/3 and 2/3.
            parser = CifParser.from_str(texts[i], frac_tolerance=0)
            [structure] = parser.parse_structures(primitive=False)
        crystal = loaded.crystals[i]
        np.testing.assert_allclose(
            crystal.cell_parameters[0], structure.lattice.parameters, rtol=0, atol=1e-5
        )
        apart = crystal.frac_coords - structure.frac_coords
        assert np.abs(apart - np.rint(apart)).max() < 1e-5
        assert crystal.numbers.tolist() == list(structure.atomic_numbers)


@pytest.mark.parametrize("name", ["mp20/val.csv.gz", "matbench/jdft2d.json.gz"])
def test_tables_are_read_to_the_end(name: str, shared_data: Path) -> None:
    loaded = read(shared_data / name)
    assert loaded.n == {"mp20/val.csv.gz": 7344, "matbench/jdft2d.json.gz": 636}[name]
    assert loaded.failures == ()
    assert len(set(loaded.ids)) == loaded.n
    for values in loaded.properties.values():
        assert len(values) == loaded.n
