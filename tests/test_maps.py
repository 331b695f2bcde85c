"""Maps and heat maps: where the points are, what is drawn, in which order, and bad input."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import Crystals
from crystalcodec.cli import app
from crystalcodec.data import Dataset
from crystalcodec.elements import ATOMIC_NUMBERS, ELECTRONEGATIVITIES, GROUPS, PERIODS, SYMBOLS
from crystalcodec.evaluation import projection as projection_module
from crystalcodec.evaluation.projection import project
from crystalcodec.evaluation.similarity import SimilarityError, pairwise
from crystalcodec.io.png import read_png
from crystalcodec.plots.element_order import FAMILIES, PETTIFOR_ORDER, family_indices, ink_on
from crystalcodec.plots.maps import _apart, anions, draw_map, element_map
from crystalcodec.plots.similarity import element_heat_map, element_rows, periodic_table_map
from crystalcodec.registry import MissingExtraError
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.crystal_map import map_crystals


def table(n_elements=118):
    """Group, period and their product for the first elements; NaN for the rest and for Z = 0."""
    values = np.stack([GROUPS, PERIODS, GROUPS * PERIODS], axis=1)
    values[0] = values[n_elements + 1 :] = np.nan
    return values


def two_clusters(n=30, d=6):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2 * n, d))
    rows[n:] += 40
    return rows, np.repeat([0, 1], n)


def texts(axes):
    return [text.get_text() for text in axes.texts]


# Projections.


def test_pca_is_the_singular_value_decomposition():
    rows = np.random.default_rng(1).normal(size=(40, 5)) * [5, 3, 1, 1, 1]
    found = project(rows, "pca", standardise=False)
    centred = rows - rows.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(found.points), np.abs(u[:, :2] * s[:2]))
    share = 100 * s[0] ** 2 / (s**2).sum()
    assert found.axes[0] == f"principal component 1 ({share:.1f} % of the variance)"


def test_standardised_columns_count_alike_and_constant_ones_not_at_all():
    rows = np.random.default_rng(2).normal(size=(30, 3))
    scaled = np.column_stack([rows * [1e6, 1, 1e-6], np.full(30, 7.0)])
    assert np.allclose(project(scaled).points, project(rows).points)
    assert not np.allclose(project(scaled, standardise=False).points, project(rows).points)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_what_is_alike_is_near(method):
    rows, labels = two_clusters()
    points = project(rows, method, seed=3).points
    assert np.array_equal(points, project(rows, method, seed=3).points)
    assert _are_apart(points, labels)


def test_umap_separates_clusters_too():
    pytest.importorskip("umap")
    rows, labels = two_clusters(12)
    found = project(rows, "umap", seed=3)
    assert found.axes == ("UMAP 1", "UMAP 2")
    assert _are_apart(found.points, labels)
    assert np.isfinite(project(rows[:4], "umap").points).all()


def test_umap_that_is_not_installed_is_told_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"crystalcodec\[descriptors\]"):
        project(np.eye(6), "umap")


def _are_apart(points, labels):
    within = max(np.ptp(points[labels == i], axis=0).max() for i in (0, 1))
    between = np.linalg.norm(points[labels == 0].mean(axis=0) - points[labels == 1].mean(axis=0))
    return between > 1.2 * within


def test_many_columns_and_few_rows_go_through_t_sne():
    rng = np.random.default_rng(4)
    assert project(rng.normal(size=(60, 80)), "tsne").points.shape == (60, 2)
    assert project(rng.normal(size=(4, 2)), "tsne").points.shape == (4, 2)


@pytest.mark.parametrize(
    ("rows", "method", "told"),
    [
        (np.eye(5), "pac", "did you mean 'pca'"),
        (np.eye(3), "pca", "at least four"),
        (np.zeros((5, 3)), "pca", "0 of 3 columns vary"),
        (np.arange(8.0)[:, None], "tsne", "1 of 1 columns vary"),
        (np.full((5, 2), np.inf), "pca", "row 0, column 0 holds inf"),
        (np.array([["a"] * 2] * 5), "pca", "wanted one row of numbers"),
    ],
)
def test_what_cannot_be_projected_is_told(rows, method, told):
    with pytest.raises(SimilarityError, match=told):
        project(rows, method)


def test_no_neighbours_and_no_memory_are_told(monkeypatch):
    with pytest.raises(SimilarityError, match="0 neighbours"):
        project(np.eye(6), "tsne", neighbours=0)
    monkeypatch.setattr(projection_module, "available_memory", lambda: 100)
    with pytest.raises(SimilarityError, match="6 rows of 6 numbers take"):
        project(np.eye(6))


# Elements.


@pytest.mark.filterwarnings("ignore:No data available for mendeleev_no")
def test_pettifor_s_order_is_that_of_pymatgen():
    from pymatgen.core import Element

    assert sorted(PETTIFOR_ORDER) == list(range(1, 119))
    numbers = [Element.from_Z(z).mendeleev_no for z in PETTIFOR_ORDER]
    assert numbers[:103] == list(range(1, 104))
    assert not any(number and np.isfinite(number) for number in numbers[103:])


def test_families_hold_each_element_once_and_agree_with_pymatgen():
    from pymatgen.core import Element

    symbols = " ".join(FAMILIES.values()).split()
    assert sorted(symbols, key=ATOMIC_NUMBERS.get) == list(SYMBOLS[1:])
    kinds = {
        "alkali metals": "is_alkali",
        "alkaline earths": "is_alkaline",
        "lanthanides": "is_lanthanoid",
        "actinides": "is_actinoid",
        "transition metals": "is_transition_metal",
        "metalloids": "is_metalloid",
        "noble gases": "is_noble_gas",
    }
    families = list(FAMILIES)
    indices = family_indices()
    assert indices[0] == -1
    for z in range(1, 119):
        kind = kinds.get(families[indices[z]])
        # pymatgen gives the heaviest elements of no known chemistry no kind.
        assert kind is None or getattr(Element.from_Z(z), kind), SYMBOLS[z]


def test_rows_of_elements_with_gaps_are_left_out():
    values = table(20)
    values[7, 1] = np.nan
    rows, numbers = element_rows(values)
    assert numbers.tolist() == [z for z in range(1, 21) if z != 7]
    assert np.array_equal(rows, values[numbers])


@pytest.mark.parametrize("order", ["periodic", "pettifor"])
def test_a_heat_map_shows_the_matrix_in_its_order(order):
    figure = element_heat_map(table(20), metric="manhattan", order=order, title="made")
    axes, bar = figure.axes
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == [label.get_text() for label in axes.get_yticklabels()]
    expected = (
        SYMBOLS[1:21] if order == "periodic" else [SYMBOLS[z] for z in PETTIFOR_ORDER if z <= 20]
    )
    assert shown == list(expected)
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in shown]
    [image] = axes.images
    assert np.allclose(image.get_array(), pairwise(table()[numbers], metric="manhattan"))
    assert bar.get_ylabel() == "Manhattan distance"
    assert axes.get_title().startswith("made: 20 elements in the order of ")
    assert axes.get_title().endswith("(98 are not in the table)")


def test_similarities_have_zero_in_the_middle_of_the_colours():
    image = element_heat_map(table(), metric="pearson").axes[0].images[0]
    assert image.get_clim() == (-1.0, 1.0)


def test_the_legend_of_a_heat_map_names_the_families_beside_the_matrix():
    figure = element_heat_map(table(20))
    [legend] = figure.legends
    present = {text.get_text() for text in legend.get_texts()}
    assert present == set(FAMILIES) - {"lanthanides", "actinides", "transition metals"}
    figure.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_tightbbox())


def test_the_periodic_table_shows_the_value_of_each_element(tmp_path):
    path = tmp_path / "table.png"
    figure = periodic_table_map(table(20), "Na", metric="euclidean", path=path)
    shown = texts(figure.axes[0])
    place = shown.index("K")
    distance = np.linalg.norm(table()[19] - table()[11])
    assert shown[place + 1] == f"{distance:.2f}"
    assert shown.count("0.00") == 1
    assert {*SYMBOLS[1:]} <= {*shown}
    assert read_png(path).pixels.shape[1] > 1000


@pytest.mark.parametrize("colour", ["family", "electronegativity", "period"])
def test_a_map_of_elements_names_each_and_hides_none(colour):
    figure = element_map(table(54), colour=colour, title="made")
    axes = figure.axes[0]
    assert sorted(texts(axes)) == sorted(SYMBOLS[1:55])
    places = np.array([axes.transData.transform(text.get_position()) for text in axes.texts])
    apart = np.linalg.norm(places[:, None] - places, axis=2) * 72 / figure.dpi
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 12  # points; a disc has 13.5
    if colour == "family":
        [legend] = figure.legends
        assert len(legend.get_texts()) == 8
        figure.draw_without_rendering()
        assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    else:
        words = figure.axes[1].get_ylabel()
        assert words.endswith("none is known") == (colour == "electronegativity")


def test_discs_that_do_not_overlap_stay_where_they_are():
    places = np.array([[0.0, 0.0], [50.0, 0.0], [52.0, 0.0]])
    moved = _apart(places, 14.0)
    assert np.allclose(moved[0], places[0], atol=0.01)
    assert np.linalg.norm(moved[1] - moved[2]) == pytest.approx(14.0, abs=0.1)
    assert np.allclose(moved[1:].mean(axis=0), [51.0, 0.0], atol=0.01)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: element_map(np.zeros((5, 2))), r"\(5, 2\): wanted \(119, d\)"),
        (lambda: element_map(np.full((119, 2), np.nan)), "no element has all numbers"),
        (lambda: element_map(table(), colour="famly"), "did you mean 'family'"),
        (lambda: element_heat_map(table(), order="pettiford"), "did you mean 'pettifor'"),
        (lambda: element_heat_map(table(), metric="dot"), "no metric 'dot'"),
        (lambda: periodic_table_map(table(20), "Fr"), "no element 'Fr' in the table"),
    ],
)
def test_wrong_tables_and_names_are_told(call, told):
    with pytest.raises(SimilarityError, match=told):
        call()


def test_ink_is_read_on_its_colour():
    assert ink_on("#000000") == "white"
    assert ink_on("#ffffff") == "black"


# Compounds and crystals.


def test_points_are_coloured_by_numbers_and_grey_without():
    found = project(two_clusters()[0])
    values = np.linspace(0, 1, 60)
    values[5] = np.nan
    figure = draw_map(found, values, label="band gap (eV)", title="made")
    missing, known = figure.axes[0].collections
    assert np.allclose(missing.get_offsets(), found.points[5:6])
    assert len(known.get_offsets()) == 59
    assert figure.axes[1].get_ylabel() == "band gap (eV)"
    texts_of_numbers = draw_map(found, [None if np.isnan(v) else v for v in values.tolist()])
    assert len(texts_of_numbers.axes[0].collections) == 2


def test_the_largest_groups_have_colours_and_the_rest_is_counted():
    found = project(np.random.default_rng(0).normal(size=(100, 3)))
    names = [f"g{i}" for i in range(10) for _ in range(10 - i)] + ["a"] * 44 + [None]
    figure = draw_map(found, names, label="prototype")
    [legend] = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:3] == ["a (44)", "g0 (10)", "g1 (9)"]
    assert shown[-2:] == ["others (6)", "no value (1)"]
    assert len(shown) == 10
    assert legend.get_title().get_text() == "prototype"
    n_drawn = sum(len(one.get_offsets()) for one in figure.axes[0].collections)
    assert n_drawn == 100
    figure.draw_without_rendering()
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_one_colour_for_each_point_or_none():
    found = project(np.eye(6))
    assert len(draw_map(found).axes[0].collections[0].get_offsets()) == 6
    with pytest.raises(SimilarityError, match=r"colours of shape \(5,\) for 6 points"):
        draw_map(found, [1.0] * 5)


def test_the_anion_is_the_most_electronegative_element():
    crystals = Crystals(
        np.tile(4 * np.eye(3), (3, 1, 1)),
        np.tile([[0, 0, 0], [0.5, 0.5, 0.5]], (3, 1)),
        np.array([11, 17, 8, 9, 2, 2]),
        np.array([0, 2, 4, 6]),
    )
    assert anions(crystals) == ["Cl", "F", "He"]
    assert np.isnan(ELECTRONEGATIVITIES[2])


@pytest.fixture
def dataset(tmp_path):
    crystals = sample_crystals(40)
    gaps = np.linspace(0, 4, 40)
    made = Dataset.from_crystals(
        crystals, properties={"gap": gaps, "kind": ["a", "b"] * 20}, units={"gap": "eV"}
    )
    made.write(tmp_path / "known.parquet")
    return tmp_path / "known.parquet"


def test_a_map_of_a_dataset_counts_what_is_not_on_it(dataset, tmp_path):
    from crystalcodec import IRCR

    out = tmp_path / "map.png"
    report = map_crystals(dataset, IRCR(max_sites=15), out, colour="gap")
    too_many = int((sample_crystals(40).n_sites > 15).sum())
    assert report.n_drawn == 40 - too_many
    assert report.refused == {"too many sites": too_many}
    assert not report.more
    assert read_png(out).pixels.shape[1] > 1000
    some = map_crystals(dataset, IRCR(), out, limit=12, colour="kind")
    assert (some.n_drawn, some.more) == (12, True)


def run(*arguments):
    return CliRunner().invoke(app, ["map", *map(str, arguments)])


def test_the_command_draws_crystals_and_elements(dataset, tmp_path):
    out = tmp_path / "map.png"
    result = run(dataset, "--to", "ircr", "--set", "max_sites=15", "--colour", "gap", "-o", out)
    assert result.exit_code == 0, result.output
    assert "crystals in" in result.output
    assert "could not be held: too many sites" in result.output
    assert out.exists()
    pytest.importorskip("elementembeddings")
    for options in (["--method", "pca"], ["--method", "heat", "--metric", "spearman"]):
        out.unlink()
        result = run("--elements", "megnet16", *options, "-o", out)
        assert result.exit_code == 0, result.output
        assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "map.png"], "one of the two"),
        (["x.cif", "--elements", "magpie", "-o", "map.png"], "one of the two"),
        (["x.cif", "-o", "map.pdf"], "ends in .png"),
        (["x.cif", "--method", "heat", "-o", "map.png"], "heat map is of elements"),
    ],
)
def test_the_command_tells_what_it_wants(arguments, told):
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.output.replace("│", " ").split())


def test_an_unknown_colour_is_told(dataset, tmp_path):
    result = run(dataset, "--colour", "gup", "-o", tmp_path / "map.png")
    assert isinstance(result.exception, SimilarityError)
    assert "did you mean 'gap'" in str(result.exception)
    assert not (tmp_path / "map.png").exists()
