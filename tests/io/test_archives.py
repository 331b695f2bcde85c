from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import Loaded, ReadError, list_members, read, read_member, streams, write
from crystalcodec.io import archives as archives_module
from crystalcodec.io import members as members_module

CIF = """data_{name}
_cell_length_a 4.1
_cell_length_b 4.1
_cell_length_c 4.1
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs 0 0 0
Cl 0.5 0.5 0.5
"""


def cif(name: str) -> bytes:
    return CIF.format(name=name).encode()


def pack(path: Path, entries: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


NAMES = ["a.zip", "a.tar", "a.tar.gz", "a.tgz"]


@pytest.mark.parametrize("name", NAMES)
def test_entries_of_known_formats_are_read(tmp_path: Path, name: str) -> None:
    one = Crystals.single(3 * np.eye(3), [[0, 0, 0]], [84])
    write(one, tmp_path / "a.db")
    write(one, tmp_path / "a.extxyz")
    table = '"id","cif"\n"t1","' + cif("t").decode() + '"\n'
    entries = {
        "below/b.cif": cif("b"),
        "a.cif.gz": gzip.compress(cif("a")),
        "README": b"no crystal",
        ".hidden.cif": b"junk",
        "__MACOSX/._b.cif": b"junk",
        "bad.cif": b"junk",
        "rows.db": (tmp_path / "a.db").read_bytes(),
        "frames.extxyz": (tmp_path / "a.extxyz").read_bytes(),
        "table.csv": table.encode(),
    }
    path = pack(tmp_path / name, entries)
    before = {file.name for file in tmp_path.iterdir()}
    loaded = read(path)
    assert loaded.sources == tuple(
        f"{path}!/{entry}"
        for entry in (
            "below/b.cif",
            "a.cif.gz",
            "rows.db!/row 1",
            "frames.extxyz!/frame 0",
            "table.csv!/row 0",
        )
    )
    assert loaded.ids == ("b", "a", "rows/1", "frames/0", "t1")
    assert [(f.source, f.reason) for f in loaded.failures] == [(f"{path}!/bad.cif", "not a CIF")]
    assert {file.name for file in tmp_path.iterdir()} == before


ESCAPES = ["../up.cif", "a/../../up.cif", "/etc/up.cif", "C:/up.cif", "..\\up.cif"]


@pytest.mark.parametrize("name", NAMES)
def test_no_path_escapes(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / name, {**dict.fromkeys(ESCAPES, cif("up")), "good.cif": cif("good")})
    loaded = read(path)
    assert loaded.ids == ("good",)
    assert {f.reason for f in loaded.failures} == {"path leaves the archive"}
    assert len(loaded.failures) == len(ESCAPES)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.cif"
    secret.write_bytes(cif("secret"))
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        kinds = {"soft": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE}
        for name, kind in kinds.items():
            info = tarfile.TarInfo(f"{name}.cif")
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
        info = tarfile.TarInfo("good.cif")
        info.size = len(cif("good"))
        tar.addfile(info, io.BytesIO(cif("good")))
    loaded = read(path)
    assert loaded.ids == ("good",)
    reasons = [f.reason for f in loaded.failures]
    assert reasons == ["link in archive", "link in archive", "not a file"]
    assert str(secret) in loaded.failures[0].detail


def test_links_of_a_zip_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link.cif")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    [failure] = read(path).failures
    assert failure.reason == "link in archive"


def test_archives_in_archives_are_refused(tmp_path: Path) -> None:
    inner = pack(tmp_path / "in.zip", {"a.cif": cif("a")}).read_bytes()
    path = pack(tmp_path / "out.tar", {"in.zip": inner, "b.cif": cif("b")})
    loaded = read(path)
    assert loaded.ids == ("b",)
    assert [f.reason for f in loaded.failures] == ["archive inside an archive"]


BOMB = b" " * (64 * 2**20)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_bombs_are_refused_by_their_ratio(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / name, {"good.cif": cif("good"), "bomb.cif": BOMB})
    assert path.stat().st_size < 2**20
    loaded = read(path)
    assert {f.reason for f in loaded.failures} == {"decompression limit"}
    assert loaded.failures[0].source == f"{path}!/bomb.cif"
    assert "at most 200 to one are accepted" in loaded.failures[0].detail
    assert loaded.ids == ("good",)


@pytest.mark.parametrize("name", ["bomb.cif.gz", "bomb.csv.gz", "bomb.json.gz", "bomb.extxyz.gz"])
def test_bombs_in_single_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(BOMB))
    [failure] = read(tmp_path).failures
    assert failure.reason == "decompression limit"


def test_sizes_and_counts_are_limited_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = os.urandom(4000)
    entries = {"a.cif": cif("a"), "large.cif": noise, "b.cif": cif("b")}
    for module in (archives_module, streams):
        monkeypatch.setattr(module, "MAX_ENTRY_BYTES", 3000)
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        loaded = read(pack(tmp_path / name, entries))
        assert loaded.ids == ("a", "b")
        [failure] = loaded.failures
        assert failure.reason == "decompression limit"
        assert failure.detail == "the entry has 4000 bytes, at most 3000 are accepted"
    monkeypatch.setattr(archives_module, "MAX_TOTAL_BYTES", 300)
    assert len(read(tmp_path / "a.zip").failures) == 2
    monkeypatch.setattr(archives_module, "MAX_ENTRIES", 1)
    for name in ("a.zip", "a.tar"):
        loaded = read(tmp_path / name)
        assert loaded.failures[-1].reason == "decompression limit"
        assert "more than 1 entries" in loaded.failures[-1].detail


def test_sizes_that_lie_are_found_out(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.cif": cif("a")})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24  # the uncompressed size in the central directory
    data[at : at + 4] = (50).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    loaded = read(path)
    assert len(loaded.crystals) == 0
    assert len(loaded.failures) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_damaged_archives_are_failures(tmp_path: Path, name: str, keep: float) -> None:
    noise = {f"{i}.cif": cif("x") + os.urandom(3000).hex().encode() for i in range(9)}
    data = pack(tmp_path / name, noise).read_bytes()
    (tmp_path / name).write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    loaded = read(tmp_path / name)
    assert loaded.failures
    assert loaded.failures[-1].reason in ("damaged archive", "cut off", "no readable file")


def test_a_tar_cut_between_entries_is_said(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", {f"{i}.cif": cif(str(i)) for i in range(3)})
    path.write_bytes(path.read_bytes()[:1024])
    loaded = read(path)
    assert loaded.ids == ("0",)
    assert [(f.reason, f.source) for f in loaded.failures] == [("cut off", str(path))]


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_nothing_to_read_in_an_archive(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / name, {"README": b"text"})
    [failure] = read(path).failures
    assert failure.reason == "no readable file"
    with pytest.raises(ReadError, match="no readable file"):
        read(path, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_an_archive_make_the_whole(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / name, {f"{i:03}.cif": cif(str(i)) for i in range(25)})
    monkeypatch.setattr(members_module, "_ENTRIES", 10)
    members = list_members(path)
    assert [(member.start, member.stop) for member in members] == [(0, 10), (10, 20), (20, 25)]
    assert members[1].source == f"{path}!/10-20"
    parts = [part for member in members for part in read_member(member)]
    assert Loaded.concatenate(parts).ids == tuple(f"{i:03}" for i in range(25))
    assert read(path).ids == tuple(f"{i:03}" for i in range(25))


def test_encrypted_entries_are_said(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.cif": cif("a")})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    [failure] = read(path).failures
    assert failure.reason == "encrypted entry"
