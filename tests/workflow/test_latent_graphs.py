"""The graph of codes: nearest neighbours by another library, coefficients by hand, files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crystalcodec.workflow.latent import LatentError, Window, choose_parents, latent_graph

pytestmark = pytest.mark.pictures

LINE = np.array([[0.0], [1.0], [2.5], [10.0], [10.5]])


def test_neighbours_on_a_line():
    graph = latent_graph(LINE, k=1)
    assert graph.edges.tolist() == [[0, 1], [1, 2], [3, 4]]
    np.testing.assert_allclose(graph.weights, [1, 1.5, 0.5])
    assert graph.degrees().tolist() == [1, 2, 1, 1, 1]
    assert graph.components().tolist() == [0, 0, 0, 1, 1]
    assert (graph.adjacency != graph.adjacency.T).nnz == 0


@pytest.mark.parametrize("k", [1, 3, 100])
def test_neighbours_are_those_of_scikit_learn(k, monkeypatch):
    from sklearn.neighbors import NearestNeighbors

    from crystalcodec.workflow.latent import graphs

    monkeypatch.setattr(graphs, "_BLOCK", 90)  # three rows at a time
    rows = np.random.default_rng(0).normal(size=(30, 5))
    graph = latent_graph(rows.reshape(30, 1, 5), k=k)
    near = NearestNeighbors(n_neighbors=min(k, 29)).fit(rows).kneighbors(return_distance=False)
    wanted = {(min(i, j), max(i, j)) for i, others in enumerate(near.tolist()) for j in others}
    assert {tuple(edge) for edge in graph.edges.tolist()} == wanted
    lengths = np.linalg.norm(rows[graph.edges[:, 0]] - rows[graph.edges[:, 1]], axis=1)
    np.testing.assert_allclose(graph.weights, lengths, atol=1e-7)


def test_edges_by_cutoff():
    assert latent_graph(LINE, cutoff=1.5).edges.tolist() == [[0, 1], [1, 2], [3, 4]]
    assert latent_graph(LINE, cutoff=0.1).edges.shape == (0, 2)


def test_tanimoto_by_hand():
    codes = np.array([[1.0, 0], [1, 1], [0, 2], [0, 0], [0, 0]])
    graph = latent_graph(codes, metric="tanimoto", cutoff=0.3)
    # 1 / (1 + 2 - 1), 2 / (2 + 4 - 2); two codes of zeros are the same.
    assert graph.edges.tolist() == [[0, 1], [1, 2], [3, 4]]
    np.testing.assert_allclose(graph.weights, [0.5, 0.5, 1.0])
    published = latent_graph(codes, metric="tanimoto", cutoff=0.8)
    assert published.edges.tolist() == [[3, 4]]


def test_parents_by_themselves_and_by_their_neighbours():
    energies = np.array([-2.0, 0.0, -3.0, np.nan, 5.0])
    graph = latent_graph(LINE, k=1, values={"energy": energies})
    low = [Window.parse("energy=:-1")]
    assert choose_parents(graph, low).tolist() == [0, 2]
    # Of node 1 both neighbours are in the window; nodes 0 and 2 have node 1 alone.
    assert choose_parents(graph, low, neighbourhood=1.0).tolist() == [1]
    assert choose_parents(graph, low, neighbourhood=0.1).tolist() == [1]
    wide = [Window.parse("energy=:1")]
    assert choose_parents(graph, wide, neighbourhood=1.0).tolist() == [0, 1, 2]
    both = [Window.parse("energy=:-1"), Window.parse("energy=-2.5:")]
    assert choose_parents(graph, both).tolist() == [0]
    assert choose_parents(graph, [Window.parse("energy=100:")]).tolist() == []
    lonely = latent_graph(LINE, cutoff=0.1, values={"energy": energies})
    assert choose_parents(lonely, low, neighbourhood=0.5).tolist() == []


def _graph():
    values = {
        "formula": ["A", "B&<C", "D", "E", "F"],
        "energy": np.array([-2.0, 0.5, np.nan, 1.0, 2.0]),
        "parent": np.array([True, False, False, False, True]),
        "text": ["x", None, "y", "z", "w"],
    }
    return latent_graph(LINE, k=1, values=values)


def test_json_is_read_by_networkx(tmp_path):
    _graph().write(tmp_path / "graph.json")
    told = json.loads((tmp_path / "graph.json").read_text())
    assert told["nodes"][0] == {
        "id": 0,
        "formula": "A",
        "energy": -2.0,
        "parent": True,
        "text": "x",
    }
    # What is missing is left out: JSON has no NaN.
    assert told["nodes"][2] == {"id": 2, "formula": "D", "parent": False, "text": "y"}
    assert told["edges"][0] == {"source": 0, "target": 1, "weight": 1.0}
    networkx = pytest.importorskip("networkx")
    found = networkx.node_link_graph(told, edges="edges")
    assert sorted(map(tuple, map(sorted, found.edges))) == [(0, 1), (1, 2), (3, 4)]


def test_graphml_is_read_by_networkx(tmp_path):
    _graph().write(tmp_path / "graph.graphml")
    text = (tmp_path / "graph.graphml").read_text()
    assert "B&amp;&lt;C" in text
    networkx = pytest.importorskip("networkx")
    found = networkx.read_graphml(tmp_path / "graph.graphml", node_type=int)
    assert found.nodes[0] == {"formula": "A", "energy": -2.0, "parent": True, "text": "x"}
    assert found.nodes[2] == {"formula": "D", "parent": False, "text": "y"}
    assert sorted(map(tuple, map(sorted, found.edges))) == [(0, 1), (1, 2), (3, 4)]
    assert found.edges[0, 1]["weight"] == 1.0
    assert not found.is_directed()


def test_a_property_may_be_called_weight(tmp_path):
    mixed = {"number": [1, 2, 3.5, 4, 5], "text": [1, "b", 2.5, None, True]}
    graph = latent_graph(LINE, k=1, values={"weight": [5.0, 6.0, 7.0, 8.0, 9.0], **mixed})
    graph.write(tmp_path / "graph.graphml")
    networkx = pytest.importorskip("networkx")
    found = networkx.read_graphml(tmp_path / "graph.graphml", node_type=int)
    assert found.nodes[2] == {"weight": 7.0, "number": 3.5, "text": "2.5"}
    assert found.nodes[0]["number"] == 1
    assert found.edges[1, 2]["weight"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cutoff": float("nan")}, "cutoff is nan"),
        ({"cutoff": -1.0}, "cutoff is -1"),
        ({"values": {"id": [1, 2, 3, 4, 5]}}, "called 'id'"),
    ],
)
def test_what_a_graph_cannot_be_made_with(given, said):
    with pytest.raises(LatentError, match=said):
        latent_graph(LINE, **given)


def test_bad_input(tmp_path):
    with pytest.raises(LatentError, match="at least two crystals"):
        latent_graph(LINE[:1])
    with pytest.raises(LatentError, match="NaN or infinity"):
        latent_graph(np.array([[0.0], [np.nan]]))
    with pytest.raises(LatentError, match="did you mean 'tanimoto'"):
        latent_graph(LINE, metric="tanimo")
    with pytest.raises(LatentError, match="k is 0"):
        latent_graph(LINE, k=0)
    with pytest.raises(LatentError, match="2 values of 'energy' for 5 codes"):
        latent_graph(LINE, values={"energy": [1, 2]})
    graph = _graph()
    with pytest.raises(LatentError, match=r"ends in \.graphml or \.json"):
        graph.write(tmp_path / "graph.txt")
    with pytest.raises(LatentError, match="did you mean 'energy'"):
        choose_parents(graph, [Window.parse("enrgy=1:2")])
    with pytest.raises(LatentError, match="not a number"):
        choose_parents(graph, [Window.parse("formula=1:2")])
    with pytest.raises(LatentError, match="no window"):
        choose_parents(graph, [])
    with pytest.raises(LatentError, match="neighbourhood is 2"):
        choose_parents(graph, [Window.parse("energy=1:2")], neighbourhood=2.0)
