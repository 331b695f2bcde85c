from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystalcodec.io import read, read_text

SALT = """rock salt, primitive
1.0
0.0 2.82 2.82
2.82 0.0 2.82
2.82 2.82 0.0
Na Cl
1 1
Direct
0 0 0
0.5 0.5 0.5
"""
LATTICE = [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]


def only(text: str) -> tuple[list[list[float]], list[list[float]], list[int]]:
    loaded = read_text(text, "poscar")
    assert loaded.failures == ()
    [crystal] = loaded.crystals
    lattice = crystal.lattices[0].tolist()
    return lattice, crystal.frac_coords.tolist(), crystal.numbers.tolist()


def test_exact_crystal() -> None:
    assert only(SALT) == (LATTICE, [[0, 0, 0], [0.5] * 3], [11, 17])
    assert read_text(SALT, "poscar").ids == ("rock salt, primitive",)


@pytest.mark.parametrize(
    "changed",
    [
        SALT.replace("1.0\n", "2.0\n").replace("2.82", "1.41"),
        SALT.replace("1.0\n", "1.0 1.0 1.0\n"),
        SALT.replace("1.0\n", f"{-2 * 2.82**3!r}\n"),
        SALT.replace("1.0\n", f"{-2 * 2.82**3!r} a comment\n").replace("2.82", "1.0"),
        SALT.replace("Direct", "Selective dynamics\ndirect").replace(
            "0.5 0.5 0.5", "0.5 0.5 0.5 T F T"
        ),
        SALT.replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "2.82 2.82 2.82"),
        SALT.replace("Direct", "kartesian").replace("0.5 0.5 0.5", "2.82 2.82 2.82 Cl"),
        SALT.replace("1.0\n", "2.0\n")
        .replace("2.82", "1.41")
        .replace("Direct", "Cartesian")
        .replace("0.5 0.5 0.5", "1.41 1.41 1.41"),
        SALT.replace("Na Cl\n", "").replace("rock salt, primitive", "Na Cl"),
        SALT.replace("Na Cl\n", "")
        .replace("0 0 0\n", "0 0 0 Na\n")
        .replace("0.5 0.5 0.5", "0.5 0.5 0.5 Cl"),
        SALT.replace("Na Cl", "Na_pv Cl/0123abcd"),
        SALT.replace("Na Cl\n1 1", "Na\nCl\n1\n1"),
        SALT.replace("1 1\n", "1 1 ! counts\n"),
        SALT.replace("0.5 0.5 0.5", "5.0D-1 0.5 .5"),
        SALT + "\n  0.0 0.0 0.0\n  0.0 0.0 0.0\n",
        SALT.replace("\n", "\r\n"),
    ],
)
def test_ways_to_write_the_same_crystal(changed: str) -> None:
    lattice, coords, numbers = only(changed)
    np.testing.assert_allclose(lattice, LATTICE, atol=1e-12)
    np.testing.assert_allclose(coords, [[0, 0, 0], [0.5] * 3], atol=1e-12)
    assert numbers == [11, 17]


def test_three_scale_factors_stretch_components() -> None:
    lattice, coords, _ = only(SALT.replace("1.0\n", "1 2 3\n"))
    np.testing.assert_allclose(lattice, np.array(LATTICE) * [1, 2, 3])
    assert coords == [[0, 0, 0], [0.5] * 3]


def test_order_of_sites_and_left_handed_cells_stay() -> None:
    text = SALT.replace("Na Cl\n1 1", "Na Cl Na\n1 1 1") + "0.25 0.25 0.25\n"
    text = text.replace("0.0 2.82 2.82\n2.82 0.0 2.82", "2.82 0.0 2.82\n0.0 2.82 2.82")
    lattice, _, numbers = only(text)
    assert numbers == [11, 17, 11]
    assert lattice[0] == [2.82, 0, 2.82]
    assert np.linalg.det(lattice) < 0


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("", "not a POSCAR", None),
        ("hello\n" * 9, "not a POSCAR", 2),
        (SALT.replace("1.0\n", "0.0\n"), "not a POSCAR", 2),
        (SALT.replace("1.0\n", "nan\n"), "not a POSCAR", 2),
        (SALT.replace("2.82 0.0 2.82", "2.82 0.0"), "not a POSCAR", 4),
        (SALT.replace("2.82 0.0 2.82", "0.0 2.82 2.82"), "no volume", 3),
        (SALT.replace("2.82 0.0 2.82", "1e999 0.0 2.82"), "no volume", 3),
        (SALT.replace("Na Cl\n", ""), "unknown species", 6),
        (SALT.replace("Na Cl", "Na X"), "unknown species", 6),
        (SALT.replace("Na Cl", "D Cl"), "isotope", 6),
        (SALT.replace("1 1\n", "1\n"), "not a POSCAR", 7),
        (SALT.replace("1 1\n", "1 2\n"), "cut off", 10),
        (SALT.replace("1 1\n", "1 99999\n"), "cut off", 7),
        (SALT.replace("1 1\n", "0 0\n"), "no sites", 7),
        (SALT.replace("0.5 0.5 0.5", "0.5 0.5"), "not a POSCAR", 10),
        (SALT.replace("0.5 0.5 0.5", "0.5 half 0.5"), "not a POSCAR", 10),
        (SALT + "0.25 0.25 0.25\n", "counts contradict sites", 11),
        (SALT.replace("0.5 0.5 0.5", "0.0 0.0 0.001"), "atoms on top of each other", None),
        (SALT.replace("0.5 0.5 0.5", "inf 0.0 0.0"), "coordinates not finite", None),
    ],
)
def test_junk_has_one_clear_reason(text: str, reason: str, line: int | None) -> None:
    loaded = read_text(text, "poscar", source="POSCAR")
    assert len(loaded.crystals) == 0
    [failure] = loaded.failures
    assert (failure.reason, failure.line, failure.source) == (reason, line, "POSCAR")


@pytest.mark.parametrize("text", [SALT, SALT.replace("Direct", "Cartesian").replace("0.5", "2.82")])
def test_agrees_with_ase(text: str, tmp_path: Path) -> None:
    from ase.io import read as ase_read

    path = tmp_path / "POSCAR"
    path.write_text(text)
    atoms = ase_read(path, format="vasp")
    [crystal] = read(path).crystals
    np.testing.assert_allclose(crystal.lattices[0], atoms.cell.array)
    np.testing.assert_allclose(crystal.frac_coords, atoms.get_scaled_positions(), atol=1e-12)
    assert crystal.numbers.tolist() == atoms.numbers.tolist()


@pytest.mark.parametrize(
    "name",
    [
        "POSCAR",
        "CONTCAR",
        "POSCAR.GaAs",
        "X.POSCAR",
        "neb_00_POSCAR",
        "a.vasp",
        "CONTCAR.MD",
        "a.poscar",
    ],
)
def test_file_names(name: str, tmp_path: Path) -> None:
    import gzip

    (tmp_path / name).write_text(SALT)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(SALT.encode()))
    (tmp_path / "make_POSCAR.py").write_text("print()")
    loaded = read(tmp_path)
    assert loaded.failures == ()
    assert len(loaded.crystals) == 2
    assert loaded.crystals[0] == loaded.crystals[1]
