"""Every registered representation passes the conformance suite, and the suite finds faults."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io import to_pymatgen
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.base import (
    Decoded,
    FailureNotes,
    Field,
    InvertibleRaggedRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.storage import representation_from
from crystalcodec.testing import (
    CHECKS,
    ConformanceError,
    check_representation,
    round_trip_errors,
    sample_crystals,
)


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("check", CHECKS)
def test_registered_representations_conform(name, check):
    representation = load(REPRESENTATIONS, name)()
    # Networks take their time by the atom, and see as much in small cells.
    crystals = sample_crystals(max_sites=6 if "potential" in name else 20)
    if representation.needs_fit:
        representation = representation.fit(crystals)
    CHECKS[check](representation, crystals)


def test_the_whole_suite_runs_without_crystals_of_ours():
    check_representation(IRCR(max_sites=8))


class OutOfRange(IRCR):
    def _encode(self, crystals):
        arrays = super()._encode(crystals)
        arrays["ircr"][:, self.blocks["C"]] += 1.0
        return arrays


class SoftOneHot(IRCR):
    def _encode(self, crystals):
        arrays = super()._encode(crystals)
        arrays["ircr"][:, self.blocks["E"]] *= 0.9
        return arrays


class DoublePrecision(IRCR):
    def _encode(self, crystals):
        return {name: array.astype(float) for name, array in super()._encode(crystals).items()}


class BatchMean(IRCR):
    def _encode(self, crystals):
        arrays = super()._encode(crystals)
        arrays["ircr"][:, 94] -= arrays["ircr"][:, 94].mean() if len(crystals) else 0
        return arrays


class ForgetsFailures(IRCR):
    def encode(self, crystals):
        return dataclasses.replace(super().encode(crystals), failures=())


class NoReason(IRCR):
    def refuse(self, crystals):
        return [Failure(f.index, "") for f in super().refuse(crystals)]


class ChangesArrays(IRCR):
    def _decode(self, arrays):
        result = super()._decode(arrays)
        arrays["ircr"][:] = 0
        return result


class Random(IRCR):
    def _encode(self, crystals):
        arrays = super()._encode(crystals)
        arrays["ircr"][:, 142] = np.random.default_rng().random(3)
        return arrays


class WrongName(IRCR):
    def config(self):
        return {**super().config(), "name": "other"}


class LosesParameters(IRCR):
    def config(self):
        return {"name": self.name}


class Shifted(IRCR):
    def _decode(self, arrays):
        decoded = super()._decode(arrays)
        crystals = decoded.crystals
        return dataclasses.replace(
            decoded,
            crystals=Crystals(
                crystals.lattices, crystals.frac_coords + 1e-4, crystals.numbers, crystals.offsets
            ),
        )


class Stretched(IRCR):
    def _decode(self, arrays):
        decoded = super()._decode(arrays)
        crystals = decoded.crystals
        return dataclasses.replace(
            decoded,
            crystals=Crystals(
                crystals.lattices * 1.0001, crystals.frac_coords, crystals.numbers, crystals.offsets
            ),
        )


class Transmuted(IRCR):
    def _decode(self, arrays):
        decoded = super()._decode(arrays)
        crystals = decoded.crystals
        return dataclasses.replace(
            decoded,
            crystals=Crystals(
                crystals.lattices,
                crystals.frac_coords,
                crystals.numbers % 94 + 1,
                crystals.offsets,
            ),
        )


class ClaimsTranslation(IRCR):
    invariances = frozenset({"rotation", "translation"})


class ClaimsPermutation(IRCR):
    invariances = frozenset({"rotation", "permutation"})


class ClaimsSupercell(IRCR):
    invariances = frozenset({"rotation", "supercell"})


class ClaimsAnyCell(IRCR):
    invariances = frozenset({"rotation", "unit_cell"})


class ClaimsJumps(IRCR):
    continuity = "discontinuous"


class ClaimsConstancy(IRCR):
    continuity = "constant"


class HidesJumps(CrysTens):
    continuity = "continuous"


class ClaimsNothing(IRCR):
    invariances = frozenset()


class HoldsNothing(IRCR):
    pass


class LayoutOfNothing(IRCR):
    layouts: ClassVar = {"picture": "hw"}


class LayoutOfAnotherShape(IRCR):
    layouts: ClassVar = {"ircr": "hwc"}


class Overconfident(IRCR):
    def _decode(self, arrays):
        decoded = super()._decode(arrays)
        return dataclasses.replace(decoded, confidence=np.full(len(decoded.index), 1.5))


class Crashes(IRCR):
    def _decode(self, arrays):
        if not np.isfinite(arrays["ircr"]).all():
            raise ZeroDivisionError
        return super()._decode(arrays)


class TakesNoise(IRCR):
    def _decode(self, arrays):
        salt = sample_crystals(1)
        n = len(arrays["ircr"])
        return Decoded.of(n, salt[[0] * n], [])


class DropsJunk(IRCR):
    def decode(self, arrays):
        decoded = super().decode(arrays)
        return Decoded(decoded.crystals, decoded.index)


class TakesAnyShape(IRCR):
    def decode(self, arrays):
        try:
            return super().decode(arrays)
        except RepresentationError:
            return Decoded(Crystals.empty(), np.zeros(0, int))


@pytest.mark.parametrize(
    ("check", "fault", "parameters"),
    [
        ("fields", OutOfRange, {}),
        ("fields", SoftOneHot, {}),
        ("fields", DoublePrecision, {}),
        ("fields", LayoutOfNothing, {}),
        ("fields", LayoutOfAnotherShape, {}),
        ("batches", BatchMean, {}),
        ("batches", ForgetsFailures, {"max_sites": 5}),
        ("batches", NoReason, {"max_sites": 5}),
        ("input unchanged", ChangesArrays, {}),
        ("input unchanged", Random, {}),
        ("config", WrongName, {}),
        ("config", LosesParameters, {"max_sites": 5}),
        ("round trip", Shifted, {}),
        ("round trip", Stretched, {"tolerance": 0.5}),
        ("round trip", Transmuted, {}),
        ("round trip", Overconfident, {}),
        ("round trip", HoldsNothing, {"max_elements": 1, "max_sites": 1, "max_atomic_number": 1}),
        ("invariances", ClaimsTranslation, {}),
        ("invariances", ClaimsPermutation, {}),
        ("invariances", ClaimsSupercell, {"max_sites": 40}),
        ("invariances", ClaimsNothing, {}),
        ("invariances", ClaimsAnyCell, {}),
        ("continuity", ClaimsJumps, {}),
        ("continuity", ClaimsConstancy, {}),
        ("continuity", HidesJumps, {}),
        ("junk", Crashes, {}),
        ("junk", TakesNoise, {}),
        ("junk", DropsJunk, {}),
        ("junk", TakesAnyShape, {}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_a_planted_fault_is_found(check, fault, parameters):
    with pytest.raises(ConformanceError):
        CHECKS[check](dataclasses.dataclass(frozen=True)(fault)(**parameters), sample_crystals())


@dataclasses.dataclass(frozen=True)
class Pairs(InvertibleRaggedRepresentation):
    """A row a site, and a row for each two sites that follow each other."""

    name: ClassVar[str] = "pairs"
    lost: ClassVar[str] = "nothing"
    invariances: ClassVar = frozenset()
    continuity: ClassVar = "discontinuous"
    round_trip_tolerance: ClassVar[float] = 1e-3

    @property
    def fields(self):
        return (
            Field("numbers", "index", "numbers", ("sites",)),
            Field("coords", "continuous", "coords", ("sites", 3), unit="Å"),
            Field("pairs", "index", "pairs", ("pairs", 2)),
            Field("lattice", "continuous", "lattice", (3, 3), unit="Å"),
        )

    def _encode_ragged(self, crystals):
        site = np.arange(len(crystals.numbers)) - crystals.offsets[:-1][crystals.crystal_indices]
        arrays = {
            "numbers": crystals.numbers,
            "coords": crystals.cart_coords.astype(np.float32),
            "pairs": np.stack([site, site - 1], axis=1)[site > 0],
            "lattice": crystals.lattices.astype(np.float32),
        }
        ends = np.r_[0, np.cumsum(crystals.n_sites - 1)]
        return arrays, {"sites": crystals.offsets, "pairs": ends}

    def _decode_ragged(self, arrays, offsets):
        notes, crystals = FailureNotes(), []
        for i, lattice in enumerate(arrays["lattice"]):
            rows = slice(*offsets["sites"][i : i + 2])
            try:
                with np.errstate(all="ignore"):
                    coords = arrays["coords"][rows].astype(float) @ np.linalg.inv(lattice)
                crystals.append(Crystals.single(lattice, coords, arrays["numbers"][rows]))
            except (ValueError, np.linalg.LinAlgError) as error:
                notes.add(np.arange(len(arrays["lattice"])) == i, "no crystal", str(error))
        n = len(arrays["lattice"])
        return Decoded.of(n, Crystals.concatenate(crystals), notes.in_order())


class CountsTheBatch(Pairs):
    def _encode_ragged(self, crystals):
        arrays, offsets = super()._encode_ragged(crystals)
        owner = np.repeat(np.arange(len(crystals)), np.diff(offsets["pairs"]))
        return {**arrays, "pairs": arrays["pairs"] + crystals.offsets[owner][:, None]}, offsets


class ForgetsOffsets(Pairs):
    def _encode_ragged(self, crystals):
        arrays, offsets = super()._encode_ragged(crystals)
        return arrays, {"sites": offsets["sites"]}


class WrongOffsets(Pairs):
    def _encode_ragged(self, crystals):
        arrays, offsets = super()._encode_ragged(crystals)
        return arrays, {**offsets, "sites": offsets["sites"][::-1]}


class TooFewRows(Pairs):
    def _encode_ragged(self, crystals):
        arrays, offsets = super()._encode_ragged(crystals)
        return {**arrays, "coords": arrays["coords"][:-1]}, offsets


class RealNumbers(Pairs):
    def _encode_ragged(self, crystals):
        arrays, offsets = super()._encode_ragged(crystals)
        return {**arrays, "pairs": arrays["pairs"].astype(float)}, offsets


def test_ragged_arrays_conform():
    check_representation(Pairs())


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("batches", CountsTheBatch),
        ("fields", ForgetsOffsets),
        ("fields", WrongOffsets),
        ("fields", TooFewRows),
        ("fields", RealNumbers),
    ],
)
def test_a_planted_fault_of_ragged_arrays_is_found(check, fault):
    with pytest.raises(ConformanceError):
        CHECKS[check](fault(), sample_crystals())


def test_ragged_arrays_are_decoded_with_their_offsets():
    encoded = Pairs().encode(sample_crystals(4))
    for wrong, told in [
        (dict(encoded.arrays), "offsets"),
        (dataclasses.replace(encoded, offsets={"sites": encoded.offsets["sites"]}), "'pairs'"),
        (
            dataclasses.replace(
                encoded, offsets={**encoded.offsets, "sites": encoded.offsets["sites"] * 2}
            ),
            "'numbers' has shape",
        ),
        (dataclasses.replace(encoded, arrays={}), "needs the array 'numbers'"),
    ]:
        with pytest.raises(RepresentationError, match=told):
            Pairs().decode(wrong)


@dataclasses.dataclass(frozen=True)
class Counts(Representation):
    """Atoms of each fitted element."""

    elements: tuple[int, ...] = ()

    name: ClassVar[str] = "counts"
    lost: ClassVar[str] = "positions"
    invariances: ClassVar = frozenset({"permutation", "translation", "rotation", "unit_cell"})
    continuity: ClassVar = "constant"

    @property
    def needs_fit(self):
        return not self.elements

    def fit(self, crystals):
        return Counts(tuple(np.unique(crystals.numbers).tolist()))

    def __post_init__(self):
        object.__setattr__(self, "elements", tuple(self.elements))

    @property
    def fields(self):
        return (Field("counts", "continuous", "counts", (len(self.elements),)),)

    def _encode(self, crystals):
        return {"counts": crystals.element_counts[:, list(self.elements)].astype(np.float32)}


def test_parameters_are_found_in_the_data():
    crystals = sample_crystals()
    with pytest.raises(RepresentationError, match=r"counts has parameters to be found .*fit"):
        Counts().encode(crystals)
    check_representation(Counts(), crystals)
    assert Counts().fit(crystals).feature_names()[0] == "counts_0"
    assert IRCR().fit(crystals) == IRCR()


def test_arrays_larger_than_the_memory_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr("crystalcodec.representations.base.available_memory", lambda: 2**20)
    crystals = sample_crystals(700)
    with pytest.raises(
        RepresentationError,
        match=r"ircr of 700 crystals takes 0\.0 GiB, 0\.0 GiB of memory are free",
    ):
        IRCR().encode(crystals)
    assert len(IRCR().encode(crystals[:600])) > 0
    assert IRCR().n_bytes(crystals) == 700 * 144 * 3 * 4


def test_coordinates_a_lattice_vector_off_are_the_same_place():
    CHECKS["round trip"](OutOfRange(), sample_crystals())


def test_round_trip_errors_are_distances_in_angstrom():
    crystals = sample_crystals(6)
    assert round_trip_errors(crystals, crystals).max() == pytest.approx(0, abs=1e-9)
    moved = Crystals(
        crystals.lattices,
        crystals.to_fractional(crystals.cart_coords + np.array([0, 0.03, 0.04])),
        crystals.numbers,
        crystals.offsets,
    )
    np.testing.assert_allclose(round_trip_errors(crystals, moved), 0.05, rtol=1e-6)
    assert np.isinf(round_trip_errors(crystals, crystals[[1, 0, 2, 3, 4, 5]])[:2]).all()
    with pytest.raises(ConformanceError, match="6 crystals went in, 5 came back"):
        round_trip_errors(crystals, crystals[:5])


def test_the_mirror_image_has_not_come_back():
    cell = lattices_from_cell_parameters([4, 5, 6, 75, 85, 95])[0]
    coords = [[0, 0, 0], [0.3, 0.1, 0.05], [0.1, 0.4, 0.2], [0.6, 0.2, 0.7]]
    one = Crystals.single(cell, coords, [11, 17, 19, 35])
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    turned = Crystals.single(cell @ turn, coords, [11, 17, 19, 35])
    mirrored = Crystals.single(cell @ np.diag([-1, 1, 1]), coords, [11, 17, 19, 35])
    assert round_trip_errors(one, turned)[0] < 1e-9
    assert round_trip_errors(one, mirrored)[0] > 0.5


@pytest.mark.parametrize("seed", range(10))
def test_atoms_of_the_sample_crystals_keep_their_distance(seed):
    for crystal in sample_crystals(seed=seed):
        structure = to_pymatgen(crystal)[0]
        distances = structure.distance_matrix
        np.fill_diagonal(distances, min(structure.lattice.abc))
        assert distances.min() > 0.4  # the needle-like cell is thin


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "config",
    [
        {"name": "xtal2png", "bits": 16},
        {"name": "density_cube", "species": False},
        {"name": "crystens", "normalisation": "avg_std"},
        {"name": "crystens", "chemistry": ["electronegativity", "valence"]},
        {"name": "ftcp", "max_sites": 40, "max_elements": 4, "padding": 2},
    ],
    ids=lambda config: "-".join(map(str, config.values())),
)
def test_other_parameters_conform_too(config, check):
    CHECKS[check](representation_from(config), sample_crystals())
