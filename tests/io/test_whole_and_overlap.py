from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io import to_pymatgen, whole_file
from crystalcodec.io.overlap import close_pairs


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("first")
        assert not path.exists()

    def interrupted() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("second")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "first"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("n", [1, 2, 9, 299, 301, 700])
def test_close_pairs_are_those_of_pymatgen(n: int) -> None:
    rng = np.random.default_rng(n)
    parameters = [*rng.uniform(7, 9, 3), *rng.uniform(75, 105, 3)]
    lattice = lattices_from_cell_parameters(parameters)[0]
    small = Crystals.single(3 * np.eye(3), [[0, 0, 0.999], [0, 0, 0.001], [0.5] * 3], [1, 2, 3])
    large = Crystals.single(lattice, rng.random((n, 3)), np.full(n, 6))
    crystals = Crystals.concatenate([small, large, small])
    crystal, first, second, distances = close_pairs(crystals, 0.4)
    for i, structure in enumerate(to_pymatgen(crystals)):
        matrix = np.triu(structure.distance_matrix, 1)
        wanted = {(j, k) for j, k in np.argwhere(matrix < 0.4).tolist() if j < k}
        here = crystal == i
        assert set(zip(first[here].tolist(), second[here].tolist(), strict=True)) == wanted
        np.testing.assert_allclose(distances[here], matrix[first[here], second[here]], atol=1e-9)
    assert {0, 2} <= set(crystal.tolist())


def test_atoms_heaped_up_need_no_memory() -> None:
    heap = Crystals.single(5 * np.eye(3), np.full((20_000, 3), 0.25), np.full(20_000, 6))
    crystal, first, second, distances = close_pairs(heap, 0.1)
    assert 0 < len(crystal) < 4_000_000
    assert (first < second).all()
    assert distances.max() == 0


def test_parsers_are_imported_when_they_are_needed() -> None:
    code = (
        "import sys; from crystalcodec.io import read, write, list_members, read_cif_texts; "
        "heavy = {'gemmi', 'pymatgen', 'ase', 'pyarrow', 'scipy', 'torch'} & {*sys.modules}; "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_the_package() -> None:
    import crystalcodec.io as package

    assert {*package.__all__} <= {*dir(package)}
    for name in package.__all__:
        assert getattr(package, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'raed'"):
        package.raed  # noqa: B018
