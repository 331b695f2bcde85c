"""What the bases do for every leaf: failures, given space groups, pixels, confidence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Decoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.space_groups import SpaceGroupRepresentation
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.testing import ConformanceError, check_round_trip, sample_crystals

CRYSTALS = sample_crystals(6)


@dataclass(frozen=True)
class Groups(SpaceGroupRepresentation):
    name: ClassVar[str] = "groups"
    lost: ClassVar[str] = "all but the space group"
    round_trip_tolerance: ClassVar[float] = 1.0
    fields: ClassVar = (Field("group", "index", "groups", (1,)),)

    symprec: float = 0.01

    def _refuse(self, crystals):
        many = np.flatnonzero(crystals.n_sites > 15)
        return [Failure(int(i), "too many sites") for i in many]

    def _encode_with(self, crystals, space_group_numbers):
        assert len(space_group_numbers) == len(crystals)
        return {"groups": space_group_numbers[:, None].astype(np.float32)}

    def _decode(self, arrays):
        raise NotImplementedError


def test_space_groups_are_found_where_none_are_given():
    encoded = Groups().encode(CRYSTALS)
    np.testing.assert_array_equal(encoded.index, np.flatnonzero(CRYSTALS.n_sites <= 15))
    np.testing.assert_array_equal(
        encoded["groups"][:, 0], space_group_numbers(CRYSTALS)[encoded.index]
    )


def test_given_space_groups_are_taken_and_wrong_ones_refused():
    given = np.array([0, 2, 230, 231, 5, -1])
    many = CRYSTALS.n_sites > 15
    encoded = Groups().encode(CRYSTALS, space_group_numbers=given)
    good = (given >= 1) & (given <= 230) & ~many
    np.testing.assert_array_equal(encoded.index, np.flatnonzero(good))
    np.testing.assert_array_equal(encoded["groups"][:, 0], given[good])
    reasons = {f.index: f.reason for f in encoded.failures}
    assert reasons == {
        i: "too many sites" if many[i] else "unknown space group" for i in np.flatnonzero(~good)
    }
    assert [f.index for f in encoded.failures] == sorted(reasons)


@pytest.mark.parametrize("given", [[1, 2], [1.5] * 6, [[1] * 6], "no"])
def test_space_groups_that_are_none_raise(given):
    with pytest.raises(RepresentationError, match="one whole number for each of 6 crystals"):
        Groups().encode(CRYSTALS, space_group_numbers=given)


def test_a_crystal_without_a_group_is_refused_by_name():
    doubled = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0.0001]], [1, 1])
    encoded = Groups().encode(Crystals.concatenate([doubled, CRYSTALS[:1]]))
    assert encoded.index.tolist() == [1]
    assert encoded.failures[0].reason == "unknown space group"
    assert "symprec = 0.01" in encoded.failures[0].detail


@dataclass(frozen=True)
class Picture(ImageRepresentation):
    name: ClassVar[str] = "picture"
    lost: ClassVar[str] = "everything"
    round_trip_tolerance: ClassVar[float] = 1.0
    fields: ClassVar = (Field("picture", "continuous", "picture", (2, 3)),)

    bits: int = 8

    def _encode(self, crystals):
        return {"picture": np.zeros((len(crystals), 2, 3), np.float32)}

    def _decode(self, arrays):
        return Decoded.of(len(arrays["picture"]), Crystals.empty(), [])


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_every_pixel_value_comes_back(bits, dtype):
    picture = Picture(bits=bits)
    pixels = np.arange(2**bits - 2**bits % 6, dtype=dtype).reshape(-1, 2, 3)
    array = picture.from_pixels(pixels)["picture"]
    assert array.dtype == np.float32
    assert array.min() == 0
    np.testing.assert_array_equal(picture.to_pixels(array), pixels)
    full = picture.from_pixels(np.full((1, 2, 3), 2**bits - 1, dtype))["picture"]
    np.testing.assert_array_equal(full, 1)


def test_pixels_are_the_nearest_step():
    array = np.full((1, 2, 3), 100.4 / 255, np.float32)
    array[0, 0, 0] = 100.6 / 255
    assert Picture().to_pixels(array).ravel().tolist() == [101, 100, 100, 100, 100, 100]


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_numbers_that_are_no_pixels_raise(value):
    array = np.zeros((1, 2, 3), np.float32)
    array[0, 1, 2] = value
    with pytest.raises(RepresentationError, match="from 0 to 1"):
        Picture().to_pixels(array)


def test_pixels_of_another_depth_or_size_raise():
    with pytest.raises(RepresentationError, match="pixels of uint8, got uint16"):
        Picture().from_pixels(np.zeros((1, 2, 3), np.uint16))
    with pytest.raises(RepresentationError, match=r"has shape \(1, 3, 2\)"):
        Picture().from_pixels(np.zeros((1, 3, 2), np.uint8))


def test_decoded_sorts_its_failures_and_keeps_the_rest():
    decoded = Decoded.of(4, CRYSTALS[:2], [Failure(3, "b"), Failure(0, "a")])
    assert decoded.index.tolist() == [1, 2]
    assert [f.index for f in decoded.failures] == [0, 3]


def test_the_first_note_stays():
    notes = FailureNotes()
    notes.add([False, True, True], "first", lambda i: f"at {i}")
    notes.add(np.array([True, True, False]), "second", "said")
    assert [(f.index, f.reason, f.detail) for f in notes.in_order()] == [
        (0, "second", "said"),
        (1, "first", "at 1"),
        (2, "first", "at 2"),
    ]
    assert notes.mask(4).tolist() == [True, True, True, False]


@dataclass(frozen=True)
class Sorted(InvertibleRepresentation):
    """Gives the crystals back in one piece, with their sites in another order."""

    name: ClassVar[str] = "sorted"
    lost: ClassVar[str] = "site order"
    round_trip_tolerance: ClassVar[float] = 1e-9
    keeps_site_order: ClassVar[bool] = False
    fields: ClassVar = ()

    def _encode(self, crystals):
        return {"place": np.zeros((len(crystals), 1), np.float32)}

    def _decode(self, arrays):
        backwards = [one.__class__(*_reversed(one)) for one in CRYSTALS]
        return Decoded.of(len(arrays["place"]), Crystals.concatenate(backwards), [])


def _reversed(one):
    return one.lattices, one.frac_coords[::-1], one.numbers[::-1], one.offsets


def test_site_order_may_be_lost_where_it_is_said():
    check_round_trip(Sorted(), CRYSTALS)
    strict = dataclasses.make_dataclass(
        "Strict", [], bases=(Sorted,), frozen=True, namespace={"keeps_site_order": True}
    )
    with pytest.raises(ConformanceError, match="comes back inf Å away"):
        check_round_trip(strict(), CRYSTALS)
