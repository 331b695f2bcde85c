"""All descriptors of dscribe work on this ASE, and give what they should."""

import builtins

import numpy as np
import pytest

from crystalcodec.registry import MissingExtraError
from crystalcodec.representations.dscribe_shim import dscribe_descriptors

pytest.importorskip("dscribe")
ase = pytest.importorskip("ase")

GAUSSIAN = 1 / np.sqrt(2 * np.pi)  # height of a normal curve of width 1


@pytest.fixture(scope="module")
def dscribe():
    return dscribe_descriptors()


@pytest.fixture(scope="module")
def pair():
    """Na and Cl 2 Å apart, and nothing else."""
    return ase.Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.0]])


@pytest.fixture(scope="module")
def cubic():
    """Polonium, simple cubic, 3 Å."""
    return ase.Atoms("Po", positions=[[0, 0, 0]], cell=np.eye(3) * 3.0, pbc=True)


@pytest.fixture(scope="module")
def rock_salt():
    cell = 2.82 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return ase.Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=cell, pbc=True)


def test_the_shim_may_be_asked_for_twice(dscribe):
    again = dscribe_descriptors()
    assert again is dscribe


def test_without_dscribe_the_extra_is_named(monkeypatch):
    from crystalcodec.representations import dscribe_shim

    def missing(module, extra):
        raise MissingExtraError(f"{module} is not installed: pip install 'crystalcodec[{extra}]'")

    monkeypatch.setattr(dscribe_shim, "import_extra", missing)
    with pytest.raises(MissingExtraError, match=r"crystalcodec\[descriptors\]"):
        dscribe_descriptors()


def test_dscribe_is_not_imported_with_the_representations(monkeypatch):
    import importlib
    import sys

    real = builtins.__import__

    def guarded(name, *rest, **more):
        assert not name.startswith("dscribe."), name
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    for module in ("soap", "acsf"):
        path = f"crystalcodec.representations.{module}"
        monkeypatch.delitem(sys.modules, path, raising=False)
        importlib.import_module(path)


def test_coulomb_matrix(dscribe, pair):
    got = dscribe.CoulombMatrix(n_atoms_max=2, permutation="none").create(pair)
    assert got == pytest.approx([0.5 * 11**2.4, 11 * 17 / 2, 11 * 17 / 2, 0.5 * 17**2.4])


def test_sine_matrix(dscribe):
    # Half a cell apart along one axis the sine is 1, and φ the length of that axis.
    atoms = ase.Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0, 0]], cell=[4, 5, 6], pbc=True)
    got = dscribe.SineMatrix(n_atoms_max=2, permutation="none").create(atoms)
    assert got == pytest.approx([0.5 * 11**2.4, 11 * 17 / 4, 11 * 17 / 4, 0.5 * 17**2.4])


def test_ewald_sum_matrix_has_the_madelung_constant(dscribe, rock_salt):
    matrix = dscribe.EwaldSumMatrix(n_atoms_max=2, permutation="none")
    a, b, _, d = matrix.create(rock_salt, accuracy=1e-10)
    energy = a / 11**2 + d / 17**2 - b / (11 * 17)
    assert energy * 2.82 == pytest.approx(-1.7475645946, abs=1e-8)


def test_acsf(dscribe, cubic):
    acsf = dscribe.ACSF(
        species=["Po"], r_cut=4.0, g2_params=[[1.0, 2.5]], g3_params=[2.0], periodic=True
    )
    cut = 0.5 * (np.cos(np.pi * 3 / 4) + 1)
    wanted = 6 * cut * np.array([1, np.exp(-0.25), np.cos(6.0)])
    assert acsf.create(cubic)[0] == pytest.approx(wanted)


def test_soap_of_an_atom_on_its_own_centre(dscribe):
    # Of one atom at the centre only l = 0 is there, and each p is a product of two coefficients.
    alone = ase.Atoms("H", positions=[[0, 0, 0]])
    soap = dscribe.SOAP(species=["H"], r_cut=4.0, n_max=2, l_max=2, sigma=0.5)
    first, both, second, *rest = soap.create(alone)[0]
    assert first > 0
    assert both**2 == pytest.approx(first * second)
    assert rest == pytest.approx(np.zeros(6), abs=1e-12)


@pytest.mark.parametrize(("name", "centers"), [("MBTR", {}), ("LMBTR", {"centers": [0]})])
def test_many_body_tensors_peak_at_the_distance(dscribe, pair, name, centers):
    grid = {"min": 1.0, "max": 3.0, "n": 2001, "sigma": 0.05}
    tensor = getattr(dscribe, name)(
        species=["Na", "Cl"],
        geometry={"function": "distance"},
        grid=grid,
        weighting={"function": "unity"},
        periodic=False,
        normalization="none",
    )
    names = ("Na", "Cl") if name == "MBTR" else ("X", "Cl")
    channel = tensor.create(pair, **centers).reshape(-1)[tensor.get_location(names)]
    x = np.linspace(1, 3, 2001)
    wanted = GAUSSIAN / 0.05 * np.exp(-0.5 * ((x - 2) / 0.05) ** 2)
    assert channel == pytest.approx(wanted, abs=2e-4 * wanted.max())


def test_valle_oganov_counts_neighbours(dscribe, cubic):
    vo = dscribe.ValleOganov(species=["Po"], function="distance", n=4001, sigma=0.05, r_cut=4.0)
    shell = 6 * 27 / (4 * np.pi * 3**2)  # neighbours over surface, times volume
    assert vo.create(cubic)[3000] == pytest.approx(shell * GAUSSIAN / 0.05, rel=1e-4)
