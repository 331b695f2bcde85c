"""Crystal graphs: what they hold, by hand and by others, and the way back."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.crystal_graph import (
    CrystalGraph,
    adjacency_matrices,
    as_batch,
    to_networkx,
)
from crystalcodec.representations.crystal_graph.cgcnn_bins import CGCNN_BINS, cgcnn_features
from crystalcodec.representations.crystal_graph.node_features import NODE_FEATURES, node_table
from crystalcodec.testing import CHECKS, check_representation, round_trip_errors, sample_crystals

ROCKSALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)
CUBIC = Crystals.single(np.eye(3) * 3, [[0.1, 0.2, 0.3]], [84])
FULL = CrystalGraph(
    node_features=("cgcnn", "block"),
    edge_features=("gaussians", "direction", "distance", "cutoff_weight"),
    global_features=("composition", "lattice_parameters", "volume_per_atom", "density", "n_sites"),
    angles=True,
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "graph",
    [
        FULL,
        CrystalGraph(neighbors="radius", cutoff=5.0),
        CrystalGraph(ties="kept", cutoff=None, max_neighbors=6),
    ],
    ids=["full", "radius", "kept"],
)
def test_other_parameters_conform(check, graph):
    crystals = sample_crystals()
    CHECKS[check](graph, crystals)


def test_rock_salt_by_hand():
    graph = CrystalGraph(neighbors="radius", cutoff=2.9).encode(ROCKSALT)
    assert graph["edges"].tolist() == [[0, 1]] * 6 + [[1, 0]] * 6
    np.testing.assert_allclose(graph["distances"], 2.8, atol=1e-6)
    # From Na at the origin to Cl at (2.8, 2.8, 2.8) and its images: along the six axes.
    wanted = {tuple(sign * axis) for axis in 2.8 * np.eye(3) for sign in (1, -1)}
    found = {tuple(row) for row in graph["vectors"][:6].round(6).astype(float) + 0.0}
    assert {tuple(np.round(row, 4)) for row in found} == {tuple(np.round(w, 4)) for w in wanted}
    assert set(map(tuple, graph["shifts"][:6].tolist())) == {
        (0, 0, -1), (0, -1, 0), (-1, 0, 0), (-1, -1, 0), (-1, 0, -1), (0, -1, -1)
    }  # fmt: skip


def test_a_single_atom_is_joined_to_its_images():
    graph = CrystalGraph(max_neighbors=6).encode(CUBIC)
    assert graph["edges"].tolist() == [[0, 0]] * 6
    assert sorted(map(tuple, graph["shifts"].tolist())) == sorted(
        tuple(int(x) for x in sign * axis) for axis in np.eye(3) for sign in (1, -1)
    )


def test_ties_kept_make_the_graph_one_of_the_crystal_alone():
    rng = np.random.default_rng(0)
    kept = CrystalGraph(ties="kept", max_neighbors=7)
    plain = kept.encode(ROCKSALT)
    assert len(plain["edges"]) == 2 * 18  # 6 and 12
    assert len(CrystalGraph(max_neighbors=7).encode(ROCKSALT)["edges"]) == 14
    for _ in range(5):
        moved = Crystals(
            ROCKSALT.lattices, ROCKSALT.frac_coords + rng.random(3), ROCKSALT.numbers, [0, 2]
        )
        np.testing.assert_allclose(kept.encode(moved)["distances"], plain["distances"], atol=1e-6)


def test_isolated_atoms_are_nodes_and_come_back():
    alone = Crystals.single(np.diag([20.0, 21, 22]), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]], [2, 10])
    graph = CrystalGraph()
    encoded = graph.encode(alone)
    assert encoded["edges"].shape == (0, 2)
    assert encoded["anchor_sites"].tolist() == [0, 1]
    assert round_trip_errors(alone, graph.decode(encoded).crystals)[0] < 1e-5


def test_angles_by_hand():
    graph = CrystalGraph(neighbors="radius", cutoff=2.9, angles=True).encode(ROCKSALT)
    # An octahedron: 15 pairs, three of them opposite, the others at right angles.
    assert np.diff(graph.offsets["angles"]).tolist() == [30]
    cosines, counts = np.unique(graph["cosines"].round(5) + 0.0, return_counts=True)
    assert dict(zip(cosines.tolist(), counts.tolist(), strict=True)) == {-1.0: 6, 0.0: 24}
    pairs = graph["angle_edges"]
    assert (pairs[:, 0] < pairs[:, 1]).all()
    centers = graph["edges"][:, 0]
    assert (centers[pairs[:, 0]] == centers[pairs[:, 1]]).all()
    assert len(np.unique(pairs, axis=0)) == 30


def test_angles_count_edges_from_the_crystals_first():
    batch = CrystalGraph(angles=True).encode(sample_crystals(6))
    for i in range(len(batch)):
        angles = slice(*batch.offsets["angles"][i : i + 2].tolist())
        edges = slice(*batch.offsets["edges"][i : i + 2].tolist())
        one, other = batch["angle_edges"][angles].T
        unit = batch["vectors"][edges] / batch["distances"][edges][:, None]
        np.testing.assert_allclose(
            (unit[one] * unit[other]).sum(axis=1), batch["cosines"][angles], atol=1e-5
        )


def test_cgcnn_features_are_the_published_ones():
    matminer = pytest.importorskip("matminer")
    path = Path(matminer.__file__).parent / "utils/data_files/cgcnn_atom_feature.json"
    published = json.loads(path.read_text())
    values, names = cgcnn_features()
    assert len(names) == len(set(names)) == 92
    assert len(published) == 100
    for z, row in published.items():
        np.testing.assert_array_equal(values[int(z)], row)
    assert np.isnan(values[101:]).all()


def test_bins_of_the_ionization_energy_follow_from_the_energies():
    from pymatgen.core import Element

    bins = {name: text for name, _, text in CGCNN_BINS}["first_ionization_energy"]
    for z, digit in enumerate(bins, 1):
        energy = np.log(Element.from_Z(z).ionization_energies[0])
        assert int(digit) == int((energy - 1.3) / 0.2)


@pytest.mark.parametrize("name", NODE_FEATURES)
def test_node_features_have_names_and_numbers(name):
    values, names = node_table((name,))
    assert values.shape == (119, len(names)) == (119, len(set(names)))
    assert np.isnan(values[0]).all()
    if name in ("element", "group", "period", "block"):
        assert (values[1:].sum(axis=1) == 1).all()


def test_blocks_are_pymatgens():
    from pymatgen.core import Element

    values, _ = node_table(("block",))
    letters = ["spdf"[k] for k in values[1:].argmax(axis=1)]
    assert letters[1] == "s"  # helium, whose place in the table makes it p for pymatgen
    letters[1] = "p"
    assert letters == [Element.from_Z(z).block for z in range(1, 119)]


def test_features_by_hand():
    graph = CrystalGraph(
        max_neighbors=6,
        node_features=("atomic_number", "electronegativity"),
        edge_features=("distance", "electronegativity_difference", "cutoff_weight"),
        global_features=("volume_per_atom", "n_sites"),
    )
    encoded = graph.encode(ROCKSALT)
    assert graph.node_feature_names == ("atomic_number", "electronegativity")
    np.testing.assert_allclose(encoded["node_features"], [[11, 0.93], [17, 3.16]])
    weight = 0.5 * (1 + np.cos(np.pi * 2.8 / 8.0))
    np.testing.assert_allclose(encoded["edge_features"][0], [2.8, 2.23, weight], rtol=1e-6)
    np.testing.assert_allclose(encoded["globals"], [[2.8**3, 2]], rtol=1e-6)


def test_gaussians_as_published():
    graph = CrystalGraph(edge_features=("gaussians",))
    encoded = graph.encode(ROCKSALT)
    centers = np.arange(0, 8.1, 0.2)
    assert encoded["edge_features"].shape[1] == len(graph.edge_feature_names) == len(centers) == 41
    wanted = np.exp(-((encoded["distances"][:, None] - centers) ** 2) / 0.2**2)
    np.testing.assert_allclose(encoded["edge_features"], wanted, atol=1e-5)


def test_elements_without_features_are_failures():
    crystals = Crystals.concatenate([CUBIC, Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [104])])
    encoded = CrystalGraph(node_features=("cgcnn",)).encode(crystals)
    assert encoded.index.tolist() == [0]
    (failure,) = encoded.failures
    assert (failure.index, failure.reason) == (1, "element without features")
    assert "Rf" in failure.detail
    argon = Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [18])
    assert CrystalGraph(edge_features=("electronegativity_difference",)).encode(argon).failures


@pytest.mark.parametrize(
    "parameters",
    [
        {"neighbors": "nearby"},
        {"cutoff": 0.0},
        {"cutoff": float("nan")},
        {"max_neighbors": 0},
        {"ties": "drawn"},
        {"node_features": ["cgcn"]},
        {"edge_features": ["gaussian"]},
        {"global_features": ["volume"]},
        {"cutoff": None, "neighbors": "radius"},
        {"cutoff": None, "edge_features": ["gaussians"]},
        {"tolerance": -1.0},
    ],
)
def test_wrong_parameters_are_told(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters)).split("_")[0]):
        CrystalGraph(**parameters)


def without_lattice(encoded, lattice):
    return dataclasses.replace(encoded, arrays={**encoded.arrays, "lattice": lattice})


def test_the_lattice_follows_from_the_edges():
    crystals = sample_crystals()
    graph = CrystalGraph(tolerance=1e6)
    encoded = graph.encode(crystals)
    # Any lattice is told; where the loops of edges span space the crystal comes from them.
    told = without_lattice(encoded, np.broadcast_to(np.eye(3, dtype=np.float32), (24, 3, 3)))
    decoded = graph.decode(told)
    assert not decoded.failures
    errors = round_trip_errors(crystals, decoded.crystals)
    assert (errors < 1e-4).sum() >= 22  # not the needle, whose edges run in one plane


def test_a_lattice_that_contradicts_the_edges_is_refused():
    graph = CrystalGraph()
    encoded = graph.encode(ROCKSALT)
    (failure,) = graph.decode(without_lattice(encoded, encoded["lattice"] * 1.01)).failures
    assert failure.reason == "lattice and edges differ"


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("vectors", lambda a: a + np.float32(0.1), "distance and vector differ"),
        ("distances", lambda a: a * 2, "distance and vector differ"),
        ("shifts", lambda a: a * 3, "lattice and edges differ"),
        ("edges", lambda a: a + 7, "no such site"),
        ("edges", lambda a: a + 0.5, "no such site"),
        ("shifts", lambda a: a + 0.5, "shift not whole"),
        ("numbers", lambda a: a + 200, "no such element"),
        ("anchor_sites", lambda a: a + 2, "no such site"),
        ("anchors", lambda a: a * np.nan, "not finite"),
    ],
)
def test_a_graph_that_no_crystal_has_is_refused(name, change, reason):
    graph = CrystalGraph(neighbors="radius", cutoff=4.5)
    encoded = graph.encode(ROCKSALT)
    arrays = {**encoded.arrays, name: change(encoded[name])}
    decoded = graph.decode(dataclasses.replace(encoded, arrays=arrays))
    assert [failure.reason for failure in decoded.failures] == [reason]


def test_one_wrong_edge_is_found():
    graph = CrystalGraph()
    encoded = graph.encode(sample_crystals())
    rng = np.random.default_rng(0)
    for row in rng.integers(0, len(encoded["edges"]), 20).tolist():
        shifts = encoded["shifts"].copy()
        shifts[row, rng.integers(3)] += 1
        arrays = {**encoded.arrays, "shifts": shifts}
        decoded = graph.decode(dataclasses.replace(encoded, arrays=arrays))
        place = int(np.searchsorted(encoded.offsets["edges"], row, side="right")) - 1
        assert [failure.index for failure in decoded.failures] == [place]


def test_a_part_without_an_anchor_is_refused_and_two_anchors_too():
    graph = CrystalGraph()
    alone = Crystals.single(np.diag([20.0, 21, 22]), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]], [2, 10])
    encoded = graph.encode(alone)
    arrays = {**encoded.arrays, "anchor_sites": np.array([0]), "anchors": encoded["anchors"][:1]}
    offsets = {**encoded.offsets, "parts": np.array([0, 1])}
    (failure,) = graph.decode(dataclasses.replace(encoded, arrays=arrays, offsets=offsets)).failures
    assert failure.reason == "graph not connected"
    encoded = graph.encode(ROCKSALT)
    arrays = {
        **encoded.arrays,
        "anchor_sites": np.array([0, 1]),
        "anchors": np.zeros((2, 3), np.float32),
    }
    offsets = {**encoded.offsets, "parts": np.array([0, 2])}
    (failure,) = graph.decode(dataclasses.replace(encoded, arrays=arrays, offsets=offsets)).failures
    assert failure.reason == "too many anchors"


@pytest.mark.parametrize(
    "cuts", [[1, 24], [0, 23], [0, 25], [0], [0, 24, 24], [0.0, 24.0]], ids=str
)
def test_offsets_that_do_not_cut_the_rows_are_refused(cuts):
    encoded = CrystalGraph().encode(ROCKSALT)
    assert encoded.offsets["edges"].tolist() == [0, 24]
    wrong = dataclasses.replace(encoded, offsets={**encoded.offsets, "edges": np.array(cuts)})
    with pytest.raises(RepresentationError, match=r"offsets|shape"):
        CrystalGraph().decode(wrong)


def test_an_element_that_pymatgen_has_no_radius_of_is_a_failure():
    strange = Crystals.single(np.eye(3) * 5, [[0, 0, 0], [0.5, 0.5, 0.5]], [118, 95])
    encoded = CrystalGraph(neighbors="crystal_nn").encode(Crystals.concatenate([strange, ROCKSALT]))
    assert [(f.index, f.reason) for f in encoded.failures] == [(0, "no local environment")]
    assert encoded.index.tolist() == [1]


def test_gaussians_have_names_of_their_own():
    graph = CrystalGraph(edge_features=("gaussians",), cutoff=12.0, gaussian_step=0.02)
    names = graph.edge_feature_names
    assert len({*names}) == len(names) == 601
    assert names[511] == "gaussian_10.22"


@pytest.mark.parametrize(("rule", "counts"), [("voronoi", {6, 18}), ("crystal_nn", {6})])
def test_local_environments_by_pymatgen(rule, counts):
    # A cubic Voronoi cell has 6 faces; touching corners and edges may count for 12 more.
    graph = CrystalGraph(neighbors=rule)
    encoded = graph.encode(Crystals.concatenate([ROCKSALT, CUBIC]))
    assert not encoded.failures
    near = np.bincount(as_batch(encoded)["edges"][:, 0])
    assert {*near.tolist()} <= counts
    close = encoded["distances"][: int(near[0])] < 2.81
    assert close.sum() == 6
    assert (
        round_trip_errors(
            Crystals.concatenate([ROCKSALT, CUBIC]), graph.decode(encoded).crystals
        ).max()
        < 1e-5
    )


def test_what_pymatgen_cannot_analyse_is_a_failure(monkeypatch):
    from pymatgen.analysis.local_env import VoronoiNN

    analyse = VoronoiNN.get_nn_info

    def fails_for_polonium(self, structure, n):
        if structure[n].specie.symbol == "Po":
            raise ValueError("This structure is pathological")
        return analyse(self, structure, n)

    monkeypatch.setattr(VoronoiNN, "get_nn_info", fails_for_polonium)
    graph = CrystalGraph(neighbors="voronoi")
    encoded = graph.encode(Crystals.concatenate([CUBIC, ROCKSALT]))
    assert encoded.index.tolist() == [1]
    assert [f.reason for f in encoded.failures] == ["no local environment"]
    assert "pathological" in encoded.failures[0].detail
    alone = graph.encode(ROCKSALT)
    for name, array in alone.arrays.items():
        np.testing.assert_array_equal(array, encoded[name])
    assert [f.index for f in graph.refuse(Crystals.concatenate([ROCKSALT, CUBIC]))] == [1]


def test_as_batch_counts_through_the_batch():
    crystals = sample_crystals(8)
    encoded = CrystalGraph(angles=True).encode(crystals)
    batch = as_batch(encoded)
    np.testing.assert_array_equal(batch["site_crystals"], crystals.crystal_indices)
    source, target = batch["edges"].T
    np.testing.assert_array_equal(batch["edge_crystals"], crystals.crystal_indices[source])
    coords = crystals.frac_coords
    steps = coords[target] - coords[source] + batch["shifts"]
    vectors = np.einsum("si,sij->sj", steps, crystals.lattices[batch["edge_crystals"]])
    np.testing.assert_allclose(vectors, batch["vectors"], atol=1e-5)
    one, other = batch["angle_edges"].T
    np.testing.assert_array_equal(source[one], source[other])
    assert encoded["edges"].max() < batch["edges"].max()  # the encoding is left as it was


def test_adjacency_matrices():
    encoded = CrystalGraph(neighbors="radius", cutoff=2.9).encode(
        Crystals.concatenate([ROCKSALT, CUBIC])
    )
    np.testing.assert_array_equal(adjacency_matrices(encoded), [[[0, 6], [6, 0]], [[0, 0], [0, 0]]])
    shortest = adjacency_matrices(encoded, n_max=3, distances=True)
    assert shortest.shape == (2, 3, 3)
    np.testing.assert_allclose(shortest[0, :2, :2], [[0, 2.8], [2.8, 0]], atol=1e-6)
    assert not shortest[1].any()
    with pytest.raises(RepresentationError, match="n_max is 1"):
        adjacency_matrices(encoded, n_max=1)


def test_to_networkx():
    networkx = pytest.importorskip("networkx")
    salt, cubic = to_networkx(FULL.encode(Crystals.concatenate([ROCKSALT, CUBIC])))
    assert isinstance(salt, networkx.MultiDiGraph)
    assert [salt.nodes[k]["number"] for k in range(2)] == [11, 17]
    assert salt.number_of_edges(0, 1) == 6  # the twelve nearest: 6 Cl, and 6 of 12 Na
    assert cubic.number_of_edges(0, 0) == 12
    edge = salt.get_edge_data(0, 1)[0]
    assert edge["distance"] == pytest.approx(2.8)
    assert np.linalg.norm(edge["vector"]) == pytest.approx(2.8)
    assert len(edge["features"]) == len(FULL.edge_feature_names)


def test_to_torch_and_pytorch_geometric():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch_geometric")
        from crystalcodec.models.graph_tensors import graph_tensors, to_pyg, to_pyg_batch

        encoded = FULL.encode(sample_crystals(5))
        one, *_ = to_pyg(encoded)
        joined = to_pyg_batch(encoded)
    batch = as_batch(encoded)
    np.testing.assert_array_equal(joined.edge_index.numpy(), batch["edges"][:, ::-1].T)
    np.testing.assert_array_equal(joined.angle_edge_index.numpy(), batch["angle_edges"].T)
    np.testing.assert_array_equal(joined.batch.numpy(), batch["site_crystals"])
    np.testing.assert_array_equal(joined.x.numpy(), batch["node_features"])
    assert tuple(joined.lattice.shape) == (5, 3, 3)
    assert one.num_nodes == 1
    tensors = graph_tensors(encoded)
    assert {*tensors} == {*batch}
    np.testing.assert_array_equal(tensors["edges"].numpy(), batch["edges"])


def test_the_whole_suite_holds_for_another_default():
    check_representation(CrystalGraph(ties="kept"))


@pytest.mark.parametrize(
    "graph", [CrystalGraph(neighbors="radius", cutoff=900.0), CrystalGraph(max_neighbors=10**9)]
)
def test_a_graph_too_large_for_memory_is_told_before_it_starts(graph):
    with pytest.raises(RepresentationError, match="GiB"):
        graph.encode(sample_crystals())


def test_the_memory_that_is_said_is_about_what_it_takes():
    crystals = sample_crystals()
    for graph in (CrystalGraph(neighbors="radius", cutoff=6.0), FULL):
        arrays = graph.encode(crystals).arrays.values()
        assert graph.n_bytes(crystals) == pytest.approx(sum(a.nbytes for a in arrays), rel=0.25)
