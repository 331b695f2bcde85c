"""CHGCAR and cube files against pymatgen and ASE, and every way in which they can be broken."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io.volumetric import (
    VolumetricData,
    VolumetricError,
    read_volumetric,
    volumetric_format,
)

HEADER = """Na Cl
   1.0
     5.0  0.0  0.0
     0.5  4.0  0.0
     0.0  0.3  6.0
   Na   Cl
     1     1
Direct
  0.1  0.2  0.3
  0.6  0.7  0.8
"""
GRID = (4, 3, 5)
VOLUME = 120.0


def density(seed=0):
    return np.random.default_rng(seed).uniform(-0.1, 5, GRID)


def block(values, width=5):
    """Values as VASP writes them: x fastest, ``width`` a line."""
    words = [f" {v:17.11E}" for v in values.ravel(order="F")]
    return "".join("".join(words[i : i + width]) + "\n" for i in range(0, len(words), width))


def augmentation(atom, n=7):
    words = [f" {v:14.7E}" for v in np.linspace(0, 1, n)]
    lines = "".join("".join(words[i : i + 5]) + "\n" for i in range(0, n, 5))
    return f"augmentation occupancies{atom:4d}{n:4d}\n{lines}"


def chgcar(*sets, augmented=True, moments=True, grid=GRID):
    text = HEADER
    for i, values in enumerate(sets):
        text += "\n" if i == 0 else ""
        text += "  0.1E+01 -0.2E+01\n" if i and moments else ""
        text += "".join(f"{n:5d}" for n in grid) + "\n" + block(values * VOLUME)
        text += augmentation(1) + augmentation(2) if augmented else ""
    return text


def write(tmp_path, text, name="CHGCAR"):
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["CHGCAR", "CHGCAR.gz", "AECCAR0"])
def test_a_chgcar_is_density_times_volume(tmp_path, name):
    (read,) = read_volumetric(write(tmp_path, chgcar(density()), name))
    np.testing.assert_allclose(read.values, density(), rtol=1e-10)
    assert read.kind == "total"
    assert read.source.endswith(name)
    assert read.crystals.numbers.tolist() == [11, 17]
    np.testing.assert_allclose(read.crystals.frac_coords[1], [0.6, 0.7, 0.8])
    assert read.total == pytest.approx(density().mean() * VOLUME)


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("n", [2, 4])
def test_the_magnetisation_follows(tmp_path, n, moments):
    sets = [density(i) for i in range(n)]
    read = read_volumetric(write(tmp_path, chgcar(*sets, moments=moments)))
    kinds = ["total", "magnetisation"]
    if n == 4:
        kinds = ["total", "magnetisation x", "magnetisation y", "magnetisation z"]
    assert [one.kind for one in read] == kinds
    for one, wanted in zip(read, sets, strict=True):
        np.testing.assert_allclose(one.values, wanted, rtol=1e-9, atol=1e-11)


def test_agrees_with_pymatgen(tmp_path):
    from pymatgen.io.vasp.outputs import Chgcar

    path = write(tmp_path, chgcar(density(), density(1)))
    ours, theirs = read_volumetric(path), Chgcar.from_file(path)
    for one, name in zip(ours, ("total", "diff"), strict=True):
        np.testing.assert_allclose(one.values * VOLUME, theirs.data[name], rtol=1e-12)
    np.testing.assert_allclose(ours[0].crystals.lattices[0], theirs.structure.lattice.matrix)
    theirs.write_file(tmp_path / "CHGCAR.again")
    again = read_volumetric(tmp_path / "CHGCAR.again")
    np.testing.assert_allclose(again[1].values, ours[1].values, rtol=1e-9, atol=1e-9)


def test_a_cube_agrees_with_ase(tmp_path):
    from ase import Atoms
    from ase.io import write as ase_write
    from ase.io.cube import read_cube
    from ase.units import Bohr

    cell = [[5, 0, 0], [0.5, 4, 0], [0, 0.3, 6]]
    atoms = Atoms("NaCl", scaled_positions=[[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]], cell=cell, pbc=True)
    path = tmp_path / "a.cube"
    ase_write(path, atoms, data=density() * Bohr**3)
    (read,) = read_volumetric(path)
    with path.open() as file:
        theirs = read_cube(file)
    np.testing.assert_allclose(read.values, theirs["data"] / Bohr**3, rtol=1e-6)
    np.testing.assert_allclose(read.values, density(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read.crystals.lattices[0], cell, atol=1e-5)
    np.testing.assert_allclose(read.crystals.frac_coords[1], [0.6, 0.7, 0.8], atol=1e-5)


CUBE = """comment
outer loop x
    1   1.0 0.0 0.0
    2   2.0 0.0 0.0
    2   0.0 2.0 0.0
    7   0.0 0.0 1.0
    8   8.0 2.0 1.0 3.5
""" + "".join(
    f" {1 + i}.0E+00 2.0E+00 3.0E+00 4.0E+00 5.0E+00 6.0E+00\n 7.0E+00\n" for i in range(4)
)


def test_a_cube_begins_a_new_line_after_each_run_along_z(tmp_path):
    (read,) = read_volumetric(write(tmp_path, CUBE, "x.cub"))
    bohr = 0.529177210903
    assert read.values.shape == (2, 2, 7)
    assert (read.values[:, :, 0] * bohr**3).ravel().tolist() == pytest.approx([1, 2, 3, 4])
    np.testing.assert_allclose(read.crystals.frac_coords, [[0.25, 0.25, 0.5]])
    np.testing.assert_allclose(read.crystals.cell_parameters[0, :3], np.array([4, 4, 7]) * bohr)


def test_lengths_of_a_cube_are_angstrom_where_counts_are_negative(tmp_path):
    text = CUBE.replace("    2   2.0", "   -2   2.0").replace("    2   0.0", "   -2   0.0")
    text = text.replace("    7   0.0", "   -7   0.0")
    (read,) = read_volumetric(write(tmp_path, text, "x.cube"))
    np.testing.assert_allclose(read.crystals.cell_parameters[0, :3], [4, 4, 7])


def test_names_tell_the_format():
    named = ["CHG", "CHGCAR_sum", "PARCHG.0001", "x/AECCAR2.gz", "mp-1.chgcar", "CHG.gz"]
    assert {volumetric_format(name) for name in named} == {"chgcar"}
    assert volumetric_format("x.CUBE.gz") == "cube"
    assert {volumetric_format(name) for name in ("LOCPOT", "ELFCAR", "a.cif", "CHGNET")} == {None}


def test_an_exponent_of_three_digits_has_no_letter(tmp_path):
    text = chgcar(density()).replace("augmentation", "augmentation", 1)
    first = re.search(r" \d\.\d{11}E[+-]\d\d", text).group()
    (read,) = read_volumetric(write(tmp_path, text.replace(first, " 0.12345678901-103", 1)))
    assert abs(read.values[0, 0, 0]) < 1e-100


ONE = chgcar(density(), augmented=False)
TWO = chgcar(density(), density(1))
SHORT = "".join(ONE.splitlines(keepends=True)[:-2])
BROKEN = {
    "empty": ("", "cut off"),
    "header alone": (HEADER, "cut off"),
    "no grid": (HEADER + "\n", "cut off"),
    "no values": (HEADER + "\n 4 3 5\n", "cut off"),
    "half the values": (ONE[: len(ONE) * 2 // 3], "cut off"),
    "two lines short": (SHORT, "cut off"),
    "the last number short": (ONE[:-4], "cut off"),
    "the last digit": (ONE[:-2], "cut off"),
    "in the augmentation": (TWO[: TWO.index("augmentation") + 60], "cut off"),
    "in the second grid": (TWO[: TWO.rindex("augmentation") - 900], "cut off"),
    "one value too many": (ONE + "  0.1E+01\n", "grid contradicts values"),
    "a larger grid": (ONE.replace("    4    3    5", "    4    3    6"), "cut off"),
    "a larger grid, and augmentation": (
        chgcar(density(), grid=(4, 3, 6)),
        "grid contradicts values",
    ),
    "a smaller grid": (
        ONE.replace("    4    3    5", "    4    3    4"),
        "grid contradicts values",
    ),
    "one point less": (
        chgcar(np.ones((1, 1, 11)), grid=(1, 1, 10)),
        "grid contradicts values",
    ),
    "two grids": (
        TWO.replace("    4    3    5", "    3    4    5", 1),
        "grid contradicts values",
    ),
    "a grid of nothing": (ONE.replace("    4    3    5", "    4    0    5"), "not a grid"),
    "a grid of two": (ONE.replace("    4    3    5", "    4    3"), "not a grid"),
    "a huge grid": (ONE.replace("    4    3    5", " 99999 99999 9999"), "not a grid"),
    "asterisks": (ONE[:-18] + "*****************\n", "not a number"),
    "NaN": (ONE[:-18] + "              NaN\n", "not finite"),
    "infinity": (ONE[:-18] + "         Infinity\n", "not finite"),
    "three sets": (chgcar(density(), density(1), density(2)), "unread rest"),
    "no species": (ONE.replace("   Na   Cl\n", "   Xx   Cl\n"), "unknown species"),
    "flat": (ONE.replace("0.0  0.3  6.0", "5.0  0.0  0.0"), "no volume"),
    "NaN in the cell": (ONE.replace("5.0  0.0  0.0", "nan  0.0  0.0"), None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_chgcar_says_why(tmp_path, case):
    text, reason = BROKEN[case]
    path = write(tmp_path, text)
    with pytest.raises(VolumetricError) as caught:
        read_volumetric(path)
    if reason is not None:
        assert caught.value.reason == reason, caught.value
    assert str(path) in str(caught.value)


def test_the_line_is_named(tmp_path):
    lines = ONE.splitlines(keepends=True)
    lines[15] = lines[15].replace(lines[15].split()[2], "********")
    with pytest.raises(VolumetricError, match=r"CHGCAR:16: not a number: '\*+'") as caught:
        read_volumetric(write(tmp_path, "".join(lines)))
    assert caught.value.line == 16
    with pytest.raises(VolumetricError, match="50 values, wanted 60"):
        read_volumetric(write(tmp_path, SHORT))


def test_every_cut_is_noticed(tmp_path):
    """However a file of one density is cut, it is refused: at any byte, in any line."""
    whole = chgcar(density())
    for stop in [*range(0, len(whole) - 1, 23), *range(len(whole) - 40, len(whole) - 1)]:
        # Where the density is whole and the augmentation has not begun nothing tells.
        if whole[:stop].endswith("\n") and whole[stop:].startswith("augmentation"):
            continue
        with pytest.raises(VolumetricError):
            read_volumetric(write(tmp_path, whole[:stop]))


CUBES = {
    "cut": (CUBE[:-40], "cut off"),
    "the last digits": (CUBE[:-3], "cut off"),
    "one too many": (CUBE + " 1.0E+00\n", "grid contradicts values"),
    "smaller grid": (CUBE.replace("    7   0.0 0.0", "    6   0.0 0.0"), "grid contradicts values"),
    "orbitals": (CUBE.replace("    1   1.0", "   -1   1.0"), "several data sets"),
    "two values": (CUBE.replace("1.0 0.0 0.0\n", "1.0 0.0 0.0 2\n", 1), "several data sets"),
    "no points": (CUBE.replace("    7   0.0", "    0   0.0"), "not a grid"),
    "no atoms": (CUBE.replace("    1   1.0", "    0   1.0"), "not a grid"),
    "flat": (CUBE.replace("0.0 0.0 1.0", "0.0 2.0 0.0"), "no volume"),
    "no element": (CUBE.replace("    8   8.0", "  300   8.0"), "no crystal"),
    "words": (CUBE.replace("    2   0.0", "    2   a"), "not a number"),
}


@pytest.mark.parametrize("case", CUBES)
def test_a_broken_cube_says_why(tmp_path, case):
    text, reason = CUBES[case]
    with pytest.raises(VolumetricError) as caught:
        read_volumetric(write(tmp_path, text, "x.cube"))
    assert caught.value.reason == reason, caught.value


def test_damaged_and_unknown_files(tmp_path):
    path = write(tmp_path, ONE, "CHGCAR.gz")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VolumetricError, match="cut off"):
        read_volumetric(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(VolumetricError, match="damaged file"):
        read_volumetric(path)
    with pytest.raises(VolumetricError, match="unknown format"):
        read_volumetric(tmp_path / "density.txt")
    with pytest.raises(FileNotFoundError):
        read_volumetric(tmp_path / "CHGCAR_missing")
    assert read_volumetric(write(tmp_path, ONE, "density.txt"), format="chgcar")


def test_values_must_be_a_grid_of_one_crystal():
    crystal = Crystals.single(np.eye(3), [[0, 0, 0]], [1])
    with pytest.raises(ValueError, match="grid"):
        VolumetricData(crystal, np.full((2, 2, 2), np.nan))
    with pytest.raises(ValueError, match="one crystal"):
        VolumetricData(crystal[[0, 0]], np.ones((2, 2, 2)))


def test_zeros_that_fill_the_last_line_are_no_values(tmp_path):
    values = np.random.default_rng(0).uniform(1, 2, (4, 3, 4))
    whole = chgcar(values, augmented=False, grid=(4, 3, 4))
    assert len(whole.splitlines()[-1].split()) == 3
    filled = whole.rstrip("\n") + " 0.00000000000E+00" * 2 + "\n"
    (read,) = read_volumetric(write(tmp_path, filled))
    np.testing.assert_allclose(read.values, values, rtol=1e-10)
    for wrong in (" 0.00000000000E+00", " 0.00000000000E+00 1.00000000000E+00"):
        with pytest.raises(VolumetricError, match="grid contradicts values"):
            read_volumetric(write(tmp_path, whole.rstrip("\n") + wrong + "\n"))


@pytest.mark.filterwarnings("ignore")
def test_real_densities_agree_with_pymatgen(shared_data):
    from pymatgen.io.vasp import Chgcar

    files = sorted((shared_data / "chgcar").iterdir())
    assert len(files) == 5
    for path in files:
        read = read_volumetric(path)
        expected = Chgcar.from_file(str(path))
        assert [one.kind for one in read] == ["total", "magnetisation"][: len(expected.data)]
        volume = read[0].crystals.volumes[0]
        assert volume == pytest.approx(expected.structure.volume, rel=1e-6)
        for one, values in zip(read, expected.data.values(), strict=True):
            np.testing.assert_allclose(one.values * volume, values, rtol=1e-9, atol=1e-12)
        numbers = [site.specie.Z for site in expected.structure]
        assert read[0].crystals.numbers.tolist() == numbers
