"""Encoded crystals on disk: the same numbers back, whole folders or none, and damaged ones told."""

from __future__ import annotations

import json
import re
import tracemalloc
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.registry import REPRESENTATIONS, UnknownNameError, load
from crystalcodec.representations import storage
from crystalcodec.representations.base import (
    Encoded,
    Field,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.npy_files import StorageError, whole_folder
from crystalcodec.representations.storage import (
    EncodedWriter,
    load_encoded,
    representation_from,
    save_encoded,
)
from crystalcodec.testing import sample_crystals

CRYSTALS = sample_crystals(40, seed=5)
SMALL = IRCR(max_sites=12)


def in_batches(sizes):
    starts = np.cumsum([0, *sizes])
    return [CRYSTALS[a:b] for a, b in pairwise(starts)]


@pytest.mark.parametrize("sizes", [[40], [1, 0, 13, 26], [4] * 10])
def test_what_comes_back_is_what_went_in_however_it_was_cut(tmp_path, sizes):
    ids = [f"crystal-{i}" for i in range(40)]
    report = save_encoded(tmp_path / "e", SMALL, in_batches(sizes), iter(ids))
    expected = SMALL.encode(CRYSTALS)
    representation, encoded, read_ids = load_encoded(tmp_path / "e")
    assert representation == SMALL
    np.testing.assert_array_equal(encoded["ircr"], expected["ircr"])
    np.testing.assert_array_equal(encoded.index, expected.index)
    assert encoded.failures == expected.failures
    assert read_ids == tuple(ids[i] for i in expected.index)
    assert (report.n, report.n_encoded) == (40, len(expected))
    assert report.failures.total() == len(expected.failures) > 0
    assert representation.decode(encoded).crystals == SMALL.decode(expected).crystals


def test_arrays_are_memory_maps_that_numpy_reads_without_us(tmp_path):
    save_encoded(tmp_path / "e", SMALL, [CRYSTALS])
    _, encoded, ids = load_encoded(tmp_path / "e")
    assert isinstance(encoded["ircr"], np.memmap)
    assert not encoded["ircr"].flags.writeable
    assert ids[0] == str(encoded.index[0])
    array = np.load(tmp_path / "e" / "ircr.npy", mmap_mode="r", allow_pickle=False)
    np.testing.assert_array_equal(array, encoded["ircr"])


def test_the_document_says_what_was_encoded(tmp_path):
    save_encoded(tmp_path / "e", SMALL, in_batches([7, 33]))
    document = json.loads((tmp_path / "e" / "representation.json").read_text())
    assert document["representation"] == json.loads(json.dumps(SMALL.config()))
    assert document["content_hash"] == CRYSTALS.content_hash
    assert document["n"] == 40
    assert sum(document["failures"].values()) == 40 - document["n_encoded"]
    assert {field["name"] for field in document["fields"]} == {f.name for f in SMALL.fields}
    assert document["versions"]["crystalcodec"]


def test_no_crystals_are_a_folder_too(tmp_path):
    save_encoded(tmp_path / "e", SMALL, [])
    _, encoded, ids = load_encoded(tmp_path / "e")
    assert encoded["ircr"].shape == (0, 136 - 8, 3)
    assert len(encoded) == 0
    assert ids == ()


def test_a_failure_on_the_way_leaves_nothing(tmp_path):
    def batches():
        yield CRYSTALS
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        save_encoded(tmp_path / "e", SMALL, batches())
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_is_replaced_only_when_told(tmp_path):
    save_encoded(tmp_path / "e", SMALL, [CRYSTALS[:3]])
    with pytest.raises(StorageError, match="exists"):
        save_encoded(tmp_path / "e", SMALL, [CRYSTALS])
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "e", force=True):
        raise RuntimeError
    assert len(load_encoded(tmp_path / "e")[2]) + len(load_encoded(tmp_path / "e")[1].failures) == 3
    save_encoded(tmp_path / "e", SMALL, [CRYSTALS], force=True)
    assert load_encoded(tmp_path / "e")[1].index[-1] > 3
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file"):
        save_encoded(tmp_path / "file", SMALL, [CRYSTALS], force=True)


@pytest.mark.parametrize("name", ["salt.cif", "photo.png", "sub"])
def test_what_others_wrote_is_never_replaced(tmp_path, name):
    save_encoded(tmp_path / "e", SMALL, [CRYSTALS[:3]])
    other = tmp_path / "e" / name
    other.mkdir() if name == "sub" else other.write_text("mine")
    with pytest.raises(StorageError, match=f"holds {name}, which encoding did not write"):
        save_encoded(tmp_path / "e", SMALL, [CRYSTALS], force=True)
    assert other.exists()
    assert len(load_encoded(tmp_path / "e")[1].index) > 0


def test_the_folder_one_is_in_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (".", "", "..", tmp_path):
        with pytest.raises(StorageError, match="the folder you are in"):
            save_encoded(place, SMALL, [CRYSTALS[:3]], force=True)


def test_links_are_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new")
    for link in ("link", "dangling", "link"):
        save_encoded(tmp_path / link, SMALL, [CRYSTALS[:3]], force=True)
        assert (tmp_path / link).is_symlink()
        assert load_encoded(tmp_path / link)[0] == SMALL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "link", "new", "real"]


def test_too_few_ids(tmp_path):
    with pytest.raises(StorageError, match="39 ids for 40 crystals"):
        save_encoded(tmp_path / "e", SMALL, [CRYSTALS], ["x"] * 39)


def test_ids_may_be_any_text(tmp_path):
    ids = ["a\nb", "Å/ü", "", '"']
    save_encoded(tmp_path / "e", IRCR(), [CRYSTALS[:4]], ids)
    assert load_encoded(tmp_path / "e")[2] == tuple(ids)


def test_a_caller_may_encode(tmp_path):
    calls = []

    def encode(piece):
        calls.append(len(piece))
        return SMALL.encode(piece)

    with EncodedWriter(tmp_path / "e", SMALL) as writer:
        failures = writer.write(CRYSTALS[:5], encode=encode)
        more = writer.write(CRYSTALS[5:], encode=encode)
    assert calls == [5, 35]
    assert [f.index for f in failures + more] == [f.index for f in SMALL.encode(CRYSTALS).failures]


@dataclass(frozen=True)
class Blocks(Representation):
    """64 KiB a crystal."""

    name: ClassVar[str] = "blocks"
    lost: ClassVar[str] = "all"
    fields = ()

    def _encode(self, crystals):
        return {"blocks": np.ones((len(crystals), 128, 128), np.float32)}


def test_memory_does_not_grow_with_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_PIECE_BYTES", 2**20)
    many = CRYSTALS[np.zeros(400, int)]
    tracemalloc.start()
    try:
        save_encoded(tmp_path / "e", Blocks(), [many])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "e" / "blocks.npy").stat().st_size > 400 * 2**16
    assert peak < 4 * 2**20


@dataclass(frozen=True)
class SiteList(Representation):
    """Ragged: atomic numbers of all sites."""

    name: ClassVar[str] = "site_list"
    lost: ClassVar[str] = "where they are"
    fields = (Field("numbers", "index", "numbers", ("sites",)),)

    def _encode(self, crystals):
        return {"numbers": crystals.numbers.astype(np.float32)}

    def encode(self, crystals):
        encoded = super().encode(crystals)
        return Encoded(encoded.arrays, encoded.index, (), {"sites": crystals.offsets})


def test_ragged_arrays_keep_their_offsets(tmp_path):
    save_encoded(tmp_path / "e", SiteList(), in_batches([3, 0, 37]))
    _, encoded, _ = load_encoded(tmp_path / "e", SiteList())
    np.testing.assert_array_equal(encoded["numbers"], CRYSTALS.numbers)
    np.testing.assert_array_equal(encoded.offsets["sites"], CRYSTALS.offsets)
    with pytest.raises(UnknownNameError, match="site_list"):
        load_encoded(tmp_path / "e")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path):
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def drop_a_line(path):
    path.write_text("\n".join(path.read_text().splitlines()[1:]))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("ircr.npy", cut),
        ("ircr.npy", pickled),
        ("ircr.npy", lambda path: path.write_bytes(b"")),
        ("ircr.npy", lambda path: path.unlink()),
        ("index.npy", lambda path: np.save(path, np.arange(3))),
        ("ids.jsonl", drop_a_line),
        ("failures.jsonl", drop_a_line),
        ("failures.jsonl", lambda path: path.write_text("[]")),
        ("representation.json", cut),
        ("representation.json", lambda path: path.write_text("[]")),
        ("representation.json", lambda path: path.write_text("{}")),
        ("representation.json", lambda path: path.unlink()),
        ("representation.json", lambda p: p.write_text(p.read_text().replace('t": 1', 't": 9'))),
    ],
)
def test_damaged_folders_are_told(tmp_path, name, damage):
    save_encoded(tmp_path / "e", SMALL, [CRYSTALS])
    damage(tmp_path / "e" / name)
    with pytest.raises(StorageError):
        load_encoded(tmp_path / "e")


def test_no_folder(tmp_path):
    with pytest.raises(StorageError, match="holds no encoded crystals"):
        load_encoded(tmp_path / "absent")


def test_a_config_gives_the_representation():
    assert representation_from(json.loads(json.dumps(SMALL.config()))) == SMALL
    with pytest.raises(UnknownNameError, match="did you mean 'ircr'"):
        representation_from({"name": "icrc"})
    with pytest.raises(RepresentationError, match="did you mean 'max_sites'"):
        representation_from({"name": "ircr", "max_site": 3})
    with pytest.raises(RepresentationError, match="without the name"):
        representation_from({"max_sites": 3})
    with pytest.raises(RepresentationError, match="limits of at least 1"):
        representation_from({"name": "ircr", "max_sites": 0})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"name": "ircr", "max_sites": "many"}, "'ircr': max_sites is 'many', wanted a whole num"),
        ({"name": "xtal2png", "max_sites": 52.0}, "max_sites is 52.0, wanted a whole number"),
        ({"name": "xtal2png", "max_sites": True}, "max_sites is True, wanted a whole number"),
        ({"name": "ircr", "tolerance": "x"}, "tolerance is 'x', wanted a number"),
        ({"name": "xtal2png", "masks": "atom"}, "masks is 'atom', wanted a list, each entry text"),
        ({"name": "xtal2png", "a_range": [1, 2, 3]}, "wanted a list of 2: a number, a number"),
        ({"name": "xtal2png", "decoder": "robus"}, "decoder is 'robus', wanted strict or robust"),
        ({"name": "density_slices", "translates": 1}, "translates is 1, wanted true or false"),
        ({"name": "unimat", "elements": 3}, "wanted a list, each entry text or nothing"),
    ],
)
def test_a_value_of_another_type_is_told(config, told):
    with pytest.raises(RepresentationError, match=re.escape(told)):
        representation_from(config)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_default_config_survives_json(name):
    built = load(REPRESENTATIONS, name)()
    assert representation_from(json.loads(json.dumps(built.config()))) == built


def test_no_crystals_in_a_batch_of_none(tmp_path):
    with EncodedWriter(tmp_path / "e", SMALL) as writer:
        assert writer.write(Crystals.empty()) == []


def test_arrays_larger_than_the_disk_are_refused_before_they_are_made(tmp_path, monkeypatch):
    class Usage:
        free = 10 * 144 * 3 * 4 - 1

    monkeypatch.setattr("crystalcodec.representations.storage.disk_usage", lambda place: Usage)
    crystals = sample_crystals(10)
    save_encoded(tmp_path / "nine", IRCR(), [crystals[:9]])
    with pytest.raises(StorageError, match=r"ircr of 10 crystals takes .* of the disk of .*ten"):
        save_encoded(tmp_path / "ten", IRCR(), [crystals])
    assert not (tmp_path / "ten").exists()
