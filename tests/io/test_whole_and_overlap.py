from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io import to_pymatgen, whole_file
from crystalcodec.io.overlap import close_pairs, shortest_vectors


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


def test_images_in_thin_and_skew_cells_are_seen() -> None:
    skew = Crystals.single([[10, 0, 0], [10, 0.05, 0], [0, 0, 10]], [[0, 0, 0]], [6])
    thin = Crystals.single([[3, 0, 0], [0, 3, 0], [6, 0, 0.9]], [[0, 0, 0], [0, 0, 0.5]], [6, 6])
    cube = Crystals.single(np.diag([3.0, 3.0, 0.9]), [[0, 0, 0], [0.5, 0.5, 0]], [6, 6])
    assert shortest_vectors(skew, 0.1) == pytest.approx([0.05])
    assert shortest_vectors(cube, 0.1) == pytest.approx([0.9])
    crystal, first, second, distances = close_pairs(Crystals.concatenate([skew, thin, cube]), 1.0)
    assert (crystal.tolist(), first.tolist(), second.tolist()) == ([1], [0], [1])
    assert distances == pytest.approx([0.45])
    # The same crystal in its shortest vectors and in skew ones, against all images by hand.
    rng = np.random.default_rng(3)
    cell, coords = np.diag([1.5, 2.0, 9.0]), rng.random((12, 3))
    turn = np.array([[1, 0, 0], [4, 1, 0], [-3, 5, 1]])
    turned = Crystals.single(turn @ cell, coords @ np.linalg.inv(turn), np.full(12, 6))
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 1, 1, 3)
    apart = (coords[:, None] - coords + steps) @ cell
    wanted = np.triu(np.linalg.norm(apart, axis=-1).min(axis=0), 1)
    _, first, second, distances = close_pairs(turned, 1.2)
    assert len(first) == (np.triu(wanted < 1.2, 1)).sum() > 5
    np.testing.assert_allclose(distances, wanted[first, second], atol=1e-9)


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
