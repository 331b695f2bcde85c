from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.io import read, read_cif_texts, read_text
from crystalcodec.io.cif_values import CifError, number_of_symbol

CUBE = """_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
SITES = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
HEXAGON = """_cell_length_a 3.2
_cell_length_b 3.2
_cell_length_c 5.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
"""


def salt(rows: str = "Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1\n", extra: str = "") -> str:
    return "data_salt\n" + CUBE.format(a="5.64") + extra + SITES + rows


def conventional_salt(a: float) -> Crystals:
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    coords = np.concatenate([corners, corners + 0.5])
    return Crystals.single(a * np.eye(3), coords, [11] * 4 + [17] * 4)


def operations(name: str) -> str:
    import gemmi

    rows = [f"'{one.triplet()}'" for one in gemmi.SpaceGroup(name).operations()]
    return "\n".join(["loop_", "_symmetry_equiv_pos_as_xyz", *rows, ""])


def assert_same_sites(ours: Crystals, wanted: Crystals, tolerance: float = 1e-9) -> None:
    """The same crystal in the same cell, whatever the order of its sites."""
    assert len(ours) == len(wanted) == 1
    np.testing.assert_allclose(ours.cell_parameters, wanted.cell_parameters, atol=tolerance)
    assert ours.n_sites.tolist() == wanted.n_sites.tolist()
    apart = ours.frac_coords[:, None] - wanted.frac_coords[None]
    apart -= np.rint(apart)
    near = (np.abs(apart).max(axis=2) < tolerance) & (ours.numbers[:, None] == wanted.numbers[None])
    assert (near.sum(axis=0) == 1).all()
    assert (near.sum(axis=1) == 1).all()


def reason(text: str) -> str:
    loaded = read_cif_texts([text])
    assert len(loaded.crystals) == 0
    [failure] = loaded.failures
    assert failure.detail
    return failure.reason


@pytest.mark.parametrize(
    "symmetry",
    [
        operations("F m -3 m"),
        "_symmetry_space_group_name_H-M 'F m -3 m'\n",
        "_space_group_name_H-M_alt Fm-3m\n",
        "_space_group_name_Hall '-F 4 2 3'\n",
        "_space_group_IT_number 225\n",
        "_symmetry_Int_Tables_number 225\n_symmetry_space_group_name_H-M ?\n",
    ],
)
def test_rock_salt_from_its_symmetry_is_the_exact_crystal(symmetry: str) -> None:
    loaded = read_cif_texts([salt(extra=symmetry)])
    assert loaded.failures == ()
    assert loaded.ids == ("salt",)
    assert_same_sites(loaded.crystals, conventional_salt(5.64), 1e-12)
    assert loaded.crystals.numbers.tolist() == [11] * 4 + [17] * 4


def test_uncertainties_are_no_digits() -> None:
    text = salt("Na1 Na 0.0(1) 0 -0 1.0\nCl1 Cl .5(2) 0.50(1) 5.0e-1 1.0(1)\n")
    text = text.replace("_cell_length_a 5.64", "_cell_length_a 5.6402(12)")
    loaded = read_cif_texts([text])
    assert loaded.failures == ()
    np.testing.assert_array_equal(loaded.crystals.frac_coords[1], [0.5, 0.5, 0.5])
    np.testing.assert_allclose(loaded.crystals.cell_parameters[0, 0], 5.6402, rtol=1e-15)


def test_orientation_is_that_of_pymatgen() -> None:
    from pymatgen.core import Lattice

    text = salt().replace("alpha 90", "alpha 72.3").replace("gamma 90", "gamma 101.2")
    wanted = Lattice.from_parameters(5.64, 5.64, 5.64, 72.3, 90, 101.2).matrix
    np.testing.assert_allclose(read_cif_texts([text]).crystals.lattices[0], wanted, atol=1e-12)


def test_several_blocks_are_several_crystals(tmp_path: Path) -> None:
    text = "data_global\n_publ_author_name 'A. Nyone'\n" + salt() + salt().replace("salt", "other")
    path = tmp_path / "two.cif"
    path.write_text(text + salt("Na1 Na 0 0 0 0.5\n").replace("salt", "half"))
    loaded = read(path)
    assert loaded.ids == ("two/salt", "two/other")
    assert len(loaded.crystals) == 2
    [failure] = loaded.failures
    assert (failure.index, failure.reason, failure.source) == (2, "partial occupancy", str(path))
    assert "half" in failure.detail
    assert path.read_text().splitlines()[(failure.line or 0) - 1] == "Na1 Na 0 0 0 0.5"


@pytest.mark.parametrize(
    ("rows", "extra", "wanted"),
    [
        ("Na1 Na 0 0 0 0.9\n", "", "partial occupancy"),
        ("Na1 Na 0 0 0 1.1\n", "", "partial occupancy"),
        ("Na1 '0.5Na + 0.5K' 0 0 0 1\n", "", "partial occupancy"),
        ("Na1 Na 0 0 0 much\n", "", "occupancy not understood"),
        ("Na1 Na 0 0 0 0\n", "", "no atom sites"),
        ("H1 D 0 0 0 1\n", "", "isotope"),
        ("H1 T+ 0 0 0 1\n", "", "isotope"),
        ("M1 M 0 0 0 1\n", "", "unknown species"),
        ("X1 ? 0 0 0 1\n", "", "unknown species"),
        ("O1 OH 0 0 0 1\n", "", "implicit hydrogen"),
        ("N1 NH3 0 0 0 1\n", "", "implicit hydrogen"),
        ("O1 Wat 0 0 0 1\n", "", "implicit hydrogen"),
        ("Na1 Na 0 0 ? 1\n", "", "no coordinates"),
        ("Na1 Na 0 0 zero 1\n", "", "no coordinates"),
        ("Na1 Na 0 0 1_0 1\n", "", "no coordinates"),
        ("Na1 Na 0 0 nan 1\n", "", "coordinates not finite"),
        ("Na1 Na 0 0 0 1\nCl1 Cl 0 0 0.001 1\n", "", "atoms on top of each other"),
        ("Na1 Na 0 0 0 1\n", "_chemical_formula_sum 'Na Cl'\n", "atoms missing"),
        ("Na1 Na 0 0 0 1\n", "_chemical_formula_sum 'K1'\n", "atoms missing"),
        (
            "Na1 Na 0 0 0 1\nCl1 Cl 0.5 0 0 1\n",
            "_chemical_formula_sum 'Na Cl2'\n",
            "formula contradicts sites",
        ),
        ("Na1 Na 0 0 0 1\n", "_space_group_magn.number_BNS 1.1\n", "magnetic structure"),
        ("Na1 Na 0 0 0 1\n", "_atom_site_moment.label Na1\n", "magnetic structure"),
        ("Na1 Na 0 0 0 1\n", "_cell_modulation_dimension 1\n", "modulated structure"),
        ("Na1 Na 0 0 0 1\n", "_space_group_name_H-M_alt 'Q q q'\n", "symmetry not understood"),
        ("Na1 Na 0 0 0 1\n", "_space_group_IT_number 231\n", "symmetry not understood"),
        (
            "Na1 Na 0 0 0 1\n",
            "_symmetry_equiv_pos_as_xyz 'x,y'\n",
            "symmetry not understood",
        ),
        (
            "Na1 Na 0 0 0 1\n",
            "_symmetry_equiv_pos_as_xyz 'x,x,x'\n",
            "symmetry not understood",
        ),
        (
            "Na1 Na 0 0 0 1\n",
            "_symmetry_equiv_pos_as_xyz 'h,k,l'\n",
            "symmetry not understood",
        ),
    ],
)
def test_what_a_crystal_cannot_hold_is_refused_by_name(rows: str, extra: str, wanted: str) -> None:
    assert reason(salt(rows, extra)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "no crystal in file"),
        ("   \n# nothing\n", "no crystal in file"),
        ("salt and pepper", "not a CIF"),
        ("\x00\x01\x02", "not a CIF"),
        ("data_a\n_cell_length_a 'open\n", "not a CIF"),
        ("data_only_text\n_publ_section_title 'no crystal'\n", "no crystal in file"),
        ("data_cell\n" + CUBE.format(a="5.64"), "no atom sites"),
        ("data_sites\n" + SITES + "Na1 Na 0 0 0 1\n", "no cell"),
        (salt()[: salt().index("_cell_angle_gamma")] + SITES + "Na1 Na 0 0 0 1\n", "no cell"),
        (salt().replace("_cell_length_a 5.64", "_cell_length_a ?"), "no cell"),
        (salt().replace("_cell_length_a 5.64", "_cell_length_a long"), "no cell"),
        (salt().replace("_cell_length_a 5.64", "_cell_length_a 0"), "lattice not finite"),
        (salt().replace("alpha 90", "alpha 180"), "lattice not finite"),
        (salt().replace("5.64", "0.05"), "atoms on top of each other"),
        (salt().removesuffix(" 1\n"), "not a CIF"),
        (salt().replace("_atom_site_fract_z", "_atom_site_wyckoff"), "no coordinates"),
        (salt() + "_cell_length_a 5.7\n", "no cell"),
    ],
)
def test_broken_files_have_one_clear_reason(text: str, wanted: str) -> None:
    assert reason(text) == wanted


def test_a_cut_in_the_rows_shows_in_the_formula() -> None:
    whole = salt(extra="_chemical_formula_sum 'Na1 Cl1'\n")
    assert read_cif_texts([whole]).failures == ()
    assert reason(whole[: whole.index("Cl1 Cl 0.5")]) == "atoms missing"


def test_lines_of_failures_are_those_of_the_file() -> None:
    text = salt("Na1 Na 0 0 0 1\nQ1 Q 0.5 0.5 0.5 1\n")
    [failure] = read_text(text, "cif", source="a.cif").failures
    assert text.splitlines()[(failure.line or 0) - 1].startswith("Q1 Q")
    assert str(failure).startswith(f"a.cif:{failure.line}: unknown species: site 1 (Q1)")
    [failure] = read_cif_texts(["data_a\n_x 1\n;open\n"]).failures
    assert failure.line == 3


def test_hexagonal_sites_with_few_digits_do_not_multiply() -> None:
    # 0.333 and 0.667 are 0.001 of the cell away from a threefold axis: magnesium, P 63/m m c.
    rows = "Mg1 Mg 0.333 0.667 0.25 1\n"
    text = "data_mg\n" + HEXAGON + operations("P 63/m m c") + SITES + rows
    [crystal] = read_cif_texts([text]).crystals
    assert crystal.numbers.tolist() == [12, 12]
    np.testing.assert_allclose(crystal.frac_coords[0], [0.333, 0.667, 0.25], atol=0)


def test_images_too_close_for_two_atoms_and_too_far_for_one_are_refused() -> None:
    # 0.01 of 3.2 Å away from the axis: three images some 0.06 Å apart.
    rows = "Mg1 Mg 0.3433 0.6767 0.25 1\n"
    text = "data_mg\n" + HEXAGON + operations("P 63/m m c") + SITES + rows
    assert reason(text) == "atoms on top of each other"


def test_digits_of_the_file_stay_as_they_are() -> None:
    rows = "Na1 Na 0.33333 0.66666 0.333 1\nCl1 Cl 0.1 0.9999 0.666701 1\n"
    [crystal] = read_cif_texts([salt(rows)]).crystals
    wanted = [[0.33333, 0.66666, 0.333], [0.1, 0.9999, 0.666701]]
    assert crystal.frac_coords.tolist() == wanted


def test_origin_choices_are_settled_by_the_formula_or_refused() -> None:
    cube = "data_si\n" + CUBE.format(a="5.43")
    sites = SITES + "Si1 Si 0.125 0.125 0.125 1\n"
    named = "_symmetry_space_group_name_H-M 'F d -3 m:2'\n"
    [silicon] = read_cif_texts([cube + named + sites]).crystals
    assert silicon.n_sites.tolist() == [8]
    [silicon] = read_cif_texts([cube + named.replace(":2", " Z") + sites]).crystals
    assert silicon.n_sites.tolist() == [8]
    assert reason(cube + named.replace(":2", "") + sites) == "symmetry not understood"
    oxide = SITES + "Si1 Si 0.125 0.125 0.125 1\nO1 O 0 0 0 1\n"
    settled = cube + named.replace(":2", "") + "_chemical_formula_sum 'Si O2'\n" + oxide
    [crystal] = read_cif_texts([settled]).crystals
    assert crystal.n_sites.tolist() == [24]


def test_rhombohedral_axes_are_told_by_the_angles() -> None:
    angles = CUBE.format(a="4.7").replace(" 90", " 57.2")
    named = "_symmetry_space_group_name_H-M 'R -3 m'\n"
    text = "data_r\n" + angles + named + SITES + "Bi1 Bi 0.23 0.23 0.23 1\n"
    [crystal] = read_cif_texts([text]).crystals
    np.testing.assert_allclose(crystal.frac_coords, [[0.23] * 3, [0.77] * 3])


def test_sites_without_an_atom_are_left_out() -> None:
    [crystal] = read_cif_texts([salt("Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 0.0\n")]).crystals
    assert crystal.numbers.tolist() == [11]


def test_a_dot_is_the_default() -> None:
    [crystal] = read_cif_texts([salt("Na1 Na . . .5 .\n")]).crystals
    assert crystal.frac_coords.tolist() == [[0, 0, 0.5]]


@pytest.mark.parametrize(
    ("label", "formula", "number"),
    [("Fe1", "?", 26), ("FE1", "Fe", 26), ("HO1", "H", 1), ("Ho1", "?", 67), ("Cl(2)", "?", 17),
     ("O12A", "?", 8), ("C", "?", 6), ("Ow1", "?", 8)],
)  # fmt: skip
def test_species_from_labels(label: str, formula: str, number: int) -> None:
    text = salt(f"{label} x 0 0 0 1\n", f"_chemical_formula_sum {formula}\n")
    loaded = read_cif_texts([text.replace("_atom_site_type_symbol", "_atom_site_note")])
    assert loaded.failures == ()
    assert loaded.crystals.numbers.tolist() == [number]


@pytest.mark.parametrize("label", ["HO1", "CD1", "?1", "Q7"])
def test_labels_that_could_be_anything_are_refused(label: str) -> None:
    text = salt(f"{label} x 0 0 0 1\n").replace("_atom_site_type_symbol", "_atom_site_note")
    assert reason(text) == "unknown species"


def test_single_values_may_stand_in_loops_and_dots_in_tags() -> None:
    text = salt().replace("_cell_length_a 5.64", "loop_\n_cell_length_a\n5.64")
    assert len(read_cif_texts([text]).crystals) == 1
    dotted = salt().replace("_atom_site_", "_atom_site.").replace("_cell_length_", "_cell.length_")
    assert read_cif_texts([dotted]).crystals == read_cif_texts([salt()]).crystals
    upper = salt().replace("_atom_site_fract_x", "_ATOM_SITE_FRACT_X")
    assert read_cif_texts([upper]).crystals == read_cif_texts([salt()]).crystals


def test_texts_against_the_grammar_have_a_second_try() -> None:
    # A loop of the wrong length, in a block that is no crystal, as Springer's files have it.
    junk = "data_sm_powder_pattern\nloop_\n_a\n_b\n1 2 3\n"
    loaded = read_cif_texts([salt() + junk])
    assert loaded.failures == ()
    assert loaded.crystals == read_cif_texts([salt()]).crystals


def test_names_given_twice_do_no_harm_where_they_agree() -> None:
    loaded = read_cif_texts([salt() + "_cell_length_a 5.64\n" + salt()])
    assert len(loaded.crystals) == 2


def test_ids_and_positions() -> None:
    loaded = read_cif_texts([salt(), "junk", salt()], ids=["a", "b", "c"])
    assert loaded.ids == ("a", "c")
    assert [(f.index, f.source) for f in loaded.failures] == [(1, "b")]
    assert loaded.n == 3
    assert read_cif_texts([]).n == 0
    with pytest.raises(ValueError, match="1 ids for 2 texts"):
        read_cif_texts(["", ""], ids=["a"])


def test_distance_below_which_atoms_are_on_top_of_each_other_can_be_chosen() -> None:
    text = salt("Na1 Na 0 0 0 1\nCl1 Cl 0 0 0.01 1\n")
    assert read_cif_texts([text]).failures[0].reason == "atoms on top of each other"
    assert "0.0564 Å apart" in read_cif_texts([text]).failures[0].detail
    assert len(read_cif_texts([text], min_distance=0.05).crystals) == 1
    assert len(read_cif_texts([text], min_distance=0).crystals) == 1


@pytest.mark.parametrize(
    "listed",
    [["x,y,z", "-y,x,z"], ["x,y,z", "x,y,z", "-y,x,z"], ["-y,x,z", "x,y,z+1", "x,y,z"]],
)
def test_operations_that_are_no_group_are_taken_as_they_stand(listed: list[str]) -> None:
    table = "\n".join(["loop_", "_symmetry_equiv_pos_as_xyz", *map("'{}'".format, listed), ""])
    [crystal] = read_cif_texts([salt("Na1 Na 0 0 0.1 1\nCl1 Cl 0.3 0.1 0.5 1\n", table)]).crystals
    assert crystal.numbers.tolist() == [11, 17, 17]
    wanted = Crystals.single(
        5.64 * np.eye(3), [[0, 0, 0.1], [0.3, 0.1, 0.5], [0.9, 0.3, 0.5]], [11, 17, 17]
    )
    assert_same_sites(crystal, wanted)


@pytest.mark.parametrize("name", ["F m -3 m", "P 63/m m c", "R -3 c:H", "I a -3 d", "C 1 2/c 1"])
def test_both_ways_to_find_special_positions_agree(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crystalcodec.io.cif_expansion import Operations, expand
    from crystalcodec.io.cif_symmetry import operations_of

    [operations] = operations_of({"_space_group_name_h-m_alt": name}, (90, 90, 90))
    assert operations is not None
    assert operations.products is not None
    hexagonal = name.startswith(("P 6", "R"))
    cell = (6.0, 6.0, 8.0, 90.0, 90.0, 120.0 if hexagonal else 90.0)
    rng = np.random.default_rng(2)
    coords = np.concatenate([rng.random((9, 3)), rng.integers(0, 24, (60, 3)) / 24])
    by_group = expand(coords, operations, cell)
    monkeypatch.setattr(Operations, "products", None)
    by_distance = expand(coords, operations, cell)
    np.testing.assert_array_equal(by_group[0], by_distance[0])
    np.testing.assert_array_equal(by_group[1], by_distance[1])


def test_listed_sites_that_symmetry_makes_one_are_refused() -> None:
    rows = "Na1 Na 0 0 0 1\nNa2 Na 0.5 0.5 0 1\nCl1 Cl 0.5 0.5 0.5 1\n"
    assert reason(salt(rows, operations("F m -3 m"))) == "atoms on top of each other"


@pytest.mark.parametrize("name", ["P 1", "P -1", "C 1 2/c 1", "P n m a", "I 4/m c m", "R -3 c:H",
                                  "P 63/m m c", "I a -3 d", "F d -3 m:2"])  # fmt: skip
def test_expansion_agrees_with_pymatgen(name: str) -> None:
    import gemmi
    from pymatgen.io.cif import CifParser

    group = gemmi.SpaceGroup(name)
    system = group.crystal_system_str()
    angles = {"monoclinic": (90, 104, 90), "triclinic": (71, 82, 97)}.get(system, (90, 90, 90))
    if system in ("trigonal", "hexagonal"):
        angles = (90, 90, 120)
    a, b, c = (7.1, 7.1, 7.1) if system == "cubic" else (7.1, 7.1, 9.3)
    cell = "".join(
        f"_cell_{tag} {value}\n"
        for tag, value in zip(
            ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma"),
            (a, b, c, *angles),
            strict=True,
        )
    )
    rows = "A1 Sr 0 0 0 1\nA3 O 0.1317 0.2219 0.0541 1\n"
    text = f"data_a\n{cell}{operations(name)}{SITES}{rows}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [structure] = CifParser.from_str(text).parse_structures(primitive=False)
    [crystal] = read_cif_texts([text], min_distance=0).crystals
    wanted = Crystals.single(
        structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    )
    assert_same_sites(crystal, wanted, 1e-6)


@pytest.mark.parametrize(
    ("reason", "symbols"),
    [
        ("implicit hydrogen", "NH4+ NH3+ NH4 H2O1 OH- H3O+"),
        ("unknown species", "NO3- NO2- PO43- PO4 CN- BH4- HS- CO32- CO3- ND4+ ND4 ND3+ CN LV"),
    ],
)
def test_groups_are_no_elements(reason, symbols):
    for symbol in symbols.split():
        with pytest.raises(CifError) as error:
            number_of_symbol(symbol)
        assert error.value.reason == reason


@pytest.mark.parametrize(
    ("element", "symbols"),
    [
        ("Fe", "Fe Fe3+ FE3+ FE1 Fe+3 fe Fe_pv"),
        ("Co", "CO CO2+ CO3+ Co32 Co"),
        ("No", "No No3+"),
        ("Nd", "Nd3+ Nd4+ ND"),
        ("Si", "SI4- Si"),
        ("O", "O2- O"),
        ("N", "N3- N1"),
        ("H", "H1- H"),
        *((symbol.title(), symbol) for symbol in ("Nh", "Cn", "Po", "Hs", "HF", "HO", "NI", "SN")),
    ],
)
def test_elements_with_charges_and_numbers_are_elements(element, symbols):
    for symbol in symbols.split():
        assert SYMBOLS[number_of_symbol(symbol)] == element
