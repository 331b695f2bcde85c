"""Graphs of coordination polyhedra, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.unit_graph import UnitGraph
from crystalcodec.testing import check_representation, sample_crystals

ROCKSALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)
# ReO3: octahedra that share all corners.
REO3 = Crystals.single(
    np.eye(3) * 3.75,
    [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]],
    [75, 8, 8, 8],
)
# CsCl: cubes that share faces, edges and corners.
CSCL = Crystals.single(np.eye(3) * 4.12, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
# Zinc blende: tetrahedra that share corners.
ZNS = Crystals.single(
    [[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]], [[0, 0, 0], [0.25, 0.25, 0.25]], [30, 16]
)
IRON = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])


def shares(crystal):
    counts = np.unique(UnitGraph().encode(crystal)["shared"], return_counts=True)
    return dict(zip(*(column.tolist() for column in counts), strict=True))


@pytest.mark.parametrize(
    ("crystal", "coordination", "shared"),
    [
        (ROCKSALT, 6, {1: 6, 2: 12}),
        (REO3, 6, {1: 6}),
        (CSCL, 8, {1: 8, 2: 12, 4: 6}),
        (ZNS, 4, {1: 12}),
    ],
    ids=["NaCl", "ReO3", "CsCl", "ZnS"],
)
def test_known_structures(crystal, coordination, shared):
    graph = UnitGraph().encode(crystal)
    assert graph["unit_centers"].tolist() == [0]
    assert graph["unit_features"][:, 0].tolist() == [coordination]
    assert len(graph["members"]) == coordination + 1
    assert shares(crystal) == shared


def test_the_sulfate_and_the_alkali_polyhedra_of_one_crystal():
    # Made, not real: a tetrahedron of O around S and a Na far away, joined by the corners.
    a, d = 6.0, 1.5
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5 * d
    cart = np.vstack([[0, 0, 0], corners, [3, 3, 3]])
    crystal = Crystals.single(np.eye(3) * a, cart / a, [16, 8, 8, 8, 8, 11])
    graph = UnitGraph().encode(crystal)
    assert graph["unit_centers"].tolist() == [0, 5]
    assert graph["unit_features"][0].round(4).tolist() == [4.0, 1.5, 0.0]
    first = graph["members"][graph["members"][:, 0] == 0]
    assert first[:, 1].tolist() == [0, 1, 2, 3, 4]
    assert {*map(tuple, graph["unit_edges"].tolist())} >= {(0, 1), (1, 0)}


def test_vectors_follow_from_shifts_and_both_ways_are_there():
    crystals = Crystals.concatenate([ROCKSALT, REO3, CSCL, ZNS, IRON, sample_crystals(12)])
    graph = UnitGraph().encode(crystals)
    for i in range(len(crystals)):
        crystal = crystals[i]
        cart, lattice = crystal.cart_coords, crystal.lattices[0]
        part = {
            axis: slice(*graph.offsets[axis][i : i + 2].tolist())
            for axis in ("units", "members", "unit_edges")
        }
        centers = graph["unit_centers"][part["units"]]
        unit, site = graph["members"][part["members"]].T
        wanted = cart[site] + graph["member_shifts"][part["members"]] @ lattice
        np.testing.assert_allclose(
            graph["member_vectors"][part["members"]], wanted - cart[centers[unit]], atol=1e-5
        )
        edges, shifts = graph["unit_edges"][part["unit_edges"]], graph["unit_shifts"]
        shifts, shared = shifts[part["unit_edges"]], graph["shared"][part["unit_edges"]]
        wanted = cart[centers[edges[:, 1]]] + shifts @ lattice - cart[centers[edges[:, 0]]]
        np.testing.assert_allclose(graph["unit_vectors"][part["unit_edges"]], wanted, atol=1e-5)
        there = {(*e, *s): n for e, s, n in zip(
            map(tuple, edges.tolist()), map(tuple, shifts.tolist()), shared.tolist(), strict=True
        )}  # fmt: skip
        assert len(there) == len(edges)
        for (a, b, *shift), n in there.items():
            assert there[(b, a, *(-x for x in shift))] == n


def test_units_share_as_many_ligands_as_lie_at_one_place():
    crystals = Crystals.concatenate([ZNS, IRON, sample_crystals(12)])
    graph = UnitGraph(cutoff=4.0).encode(crystals)
    n_shared = 0
    for i in range(len(crystals)):
        part = {
            axis: slice(*graph.offsets[axis][i : i + 2].tolist())
            for axis in ("members", "unit_edges")
        }
        unit, vectors = graph["members"][part["members"], 0], graph["member_vectors"]
        # The first member of a unit is its centre.
        ligand = np.diff(unit, prepend=-1) == 0
        unit, vectors = unit[ligand], vectors[part["members"]][ligand]
        for (one, other), apart, shared in zip(
            graph["unit_edges"][part["unit_edges"]].tolist(),
            graph["unit_vectors"][part["unit_edges"]],
            graph["shared"][part["unit_edges"]].tolist(),
            strict=True,
        ):
            gaps = vectors[unit == one][:, None] - vectors[unit == other] - apart
            assert (np.linalg.norm(gaps, axis=2) < 1e-3).sum() == shared
            n_shared += 1
    assert n_shared > 100


def test_shared_ligands_are_those_in_both_units():
    graph = UnitGraph().encode(CSCL)
    lattice = CSCL.lattices[0]
    corners = graph["member_vectors"][1:]
    for vector, shared in zip(graph["unit_vectors"], graph["shared"].tolist(), strict=True):
        apart = np.linalg.norm(corners[:, None] - corners[None] - vector, axis=2)
        assert (apart < 1e-3).sum() == shared
    np.testing.assert_allclose(graph["unit_vectors"], graph["unit_shifts"] @ lattice, atol=1e-5)


def test_a_metal_has_a_unit_around_every_site_or_is_refused():
    graph = UnitGraph().encode(IRON)
    assert graph["unit_centers"].tolist() == [0, 1]
    # 8 at 2.485 Å and 6 at 2.87 Å, which is 1.155 times as far.
    assert graph["unit_features"][:, 0].tolist() == [14.0, 14.0]
    assert UnitGraph(bond_factor=1.1).encode(IRON)["unit_features"][:, 0].tolist() == [8.0, 8.0]
    refused = UnitGraph(without_anions="refuse").encode(Crystals.concatenate([IRON, ROCKSALT]))
    assert refused.index.tolist() == [1]
    assert [f.reason for f in refused.failures] == ["no anions"]


def test_a_centre_without_ligands_is_a_unit_by_itself():
    far = Crystals.single(np.eye(3) * 30, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    graph = UnitGraph().encode(far)
    assert graph["members"].tolist() == [[0, 0]]
    assert graph["unit_features"].tolist() == [[0.0, 0.0, 0.0]]
    assert len(graph["unit_edges"]) == 0


def test_noble_gases_without_an_electronegativity_do_no_harm():
    neon = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]], [10, 10])
    assert UnitGraph().encode(neon)["unit_centers"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "parameters",
    [{"cutoff": 0.0}, {"bond_factor": 0.9}, {"anion_window": -1.0}, {"without_anions": "drop"}],
)
def test_wrong_parameters_are_told(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        UnitGraph(**parameters)


def test_other_parameters_conform():
    check_representation(UnitGraph(without_anions="refuse", bond_factor=1.5))


def test_anions_are_all_within_the_window_of_the_most_electronegative():
    # Rock salt of titanium with oxygen and nitrogen, 3.44 and 3.04, half and half.
    metals = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    places = np.concatenate([metals, np.add(metals, [0.5, 0, 0])])
    crystal = Crystals.single(4.2 * np.eye(3), places, [22] * 4 + [8, 8, 7, 7])
    both, oxygen = UnitGraph(anion_window=0.6).encode(crystal), UnitGraph(anion_window=0.3)
    assert both["unit_centers"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(both["unit_features"], [[6, 2.1, 0]] * 4, atol=1e-6)
    assert oxygen.encode(crystal)["unit_centers"].tolist() == [0, 1, 2, 3, 6, 7]
