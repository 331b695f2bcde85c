"""Whatever bytes come in, crystals or failures come out, and nothing is raised."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.io import Loaded, read, read_cif_texts, read_text, write

ENDINGS = [".cif", ".poscar", ".extxyz", ".db", ".json", ".csv", ".parquet", ".zip", ".tar",
           ".cif.gz", ".tar.gz", ".csv.gz"]  # fmt: skip
TEXTS = ["cif", "poscar", "extxyz", "json", "csv"]
CIF = """data_a
_cell_length_a 4.1
_cell_length_b 4.1
_cell_length_c 4.1
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_chemical_formula_sum 'Cs Cl'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cs1 Cs 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 1
"""
POSCAR = "a\n1.0\n4 0 0\n0 4 0\n0 0 4\nCs Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
EXTXYZ = '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 e=1.5\nPo 0 0 0\n'
JSON = (
    '[{"@class": "Structure", "lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]}, '
    '"sites": [{"species": [{"element": "Po", "occu": 1}], "abc": [0, 0, 0]}]}]'
)
GOOD = {"cif": CIF, "poscar": POSCAR, "extxyz": EXTXYZ, "json": JSON,
        "csv": 'id,cif,e\n1,"' + CIF + '",2\n'}  # fmt: skip
PIECES = [*"0123456789.-+eE()'\"?,;:_ \n\t{}[]#", "nan", "inf", "1e999", "-1", "loop_", "data_",
          "Fe", "D", "0.5", "9" * 30, "\u00e9", "\u0663", "null"]  # fmt: skip


def check(loaded: Loaded) -> None:
    assert loaded.n > 0
    assert len(loaded.ids) == len(loaded.sources) == len(loaded.crystals)
    for failure in loaded.failures:
        # This reason is the safety net: here it means that something was not thought of.
        assert failure.reason != "reader error", failure


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=400))
def test_random_bytes_in_files(ending: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        path.write_bytes(data)
        check(read(path))
        if ending.endswith(".gz"):
            path.write_bytes(gzip.compress(data))
            check(read(path))


@pytest.mark.parametrize("format_", TEXTS)
@settings(max_examples=150)
@given(data=st.data())
def test_good_texts_with_random_changes(format_: str, data: st.DataObject) -> None:
    text = GOOD[format_]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.sampled_from([0, 0, 1, 1, 2, 5, 40])))
        piece = "".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=3)))
        text = text[:start] + piece + text[stop:]
    check(read_text(text, format_))


@settings(max_examples=100)
@given(texts=st.lists(st.text(max_size=200), min_size=1, max_size=3))
def test_random_texts(texts: list[str]) -> None:
    loaded = read_cif_texts(texts)
    check(loaded)
    assert loaded.n >= len(texts)


@pytest.mark.parametrize("ending", [".db", ".parquet", ".zip", ".tar.gz", ".json"])
@settings(max_examples=40)
@given(data=st.data())
def test_good_files_with_random_changes(ending: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = bytearray(_good_file(ending))
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = Path(folder) / f"a{ending}"
        path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
        check(read(path))


def _good_file(ending: str) -> bytes:
    if ending not in _MADE:
        _MADE[ending] = _make(ending)
    return _MADE[ending]


_MADE: dict[str, bytes] = {}


def _make(ending: str) -> bytes:
    import io
    import tarfile
    import zipfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    if ending == ".parquet":
        pq.write_table(pa.table({"id": ["a", "b"], "cif": [CIF, CIF], "e": [1.0, None]}), buffer)
    elif ending == ".zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.cif", CIF)
            archive.writestr("POSCAR", POSCAR)
    elif ending == ".tar.gz":
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            info = tarfile.TarInfo("a.cif")
            info.size = len(CIF)
            tar.addfile(info, io.BytesIO(CIF.encode()))
    else:
        with tempfile.TemporaryDirectory() as folder:
            one = Crystals.single([[4, 0, 0], [0, 4, 0], [0, 0, 4]], [[0, 0, 0]], [84])
            path = Path(folder) / f"a{ending}"
            write(one, path, ids=["a"], properties={"e": [1.5]})
            return path.read_bytes()
    return buffer.getvalue()
