"""Stability: shares by hand, what is refused, and attempts that have no energy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from crystalcodec import Crystals, Failure
from crystalcodec.evaluation import stability
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence
from crystalcodec.evaluation.stability import (
    energies_above_hull,
    measure,
    relaxed_attempts,
)
from crystalcodec.registry import FAMILIES, load
from crystalcodec.relaxation.base import PotentialError, Relaxed
from crystalcodec.relaxation.hull import Hull

SODIUM, CHLORINE, POTASSIUM, NEON = 11, 17, 19, 10


def rock_salt(metal, a, halogen=CHLORINE):
    """Two atoms in the primitive cell of rock salt, lattice constant ``a`` Å."""
    return Crystals.single(a / 2 * (1 - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]], [metal, halogen])


def caesium_chloride(metal, a):
    return Crystals.single(a * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [metal, CHLORINE])


def element(z, a=4.0):
    return Crystals.single(a * np.eye(3), [[0, 0, 0]], [z])


def made_hull():
    """Na -1, K -1, Cl -2, NaCl -3.5 (2 below the elements), KCl -3.6: eV/atom."""
    given = [element(SODIUM), element(POTASSIUM), element(CHLORINE)]
    given += [rock_salt(SODIUM, 5.6), rock_salt(POTASSIUM, 6.3)]
    return Hull.of(
        Crystals.concatenate(given),
        [-1.0, -1.0, -2.0, -3.5, -3.6],
        "made",
        source="five phases",
        settings={"relaxed": True},
    )


def made_evidence(**more):
    """Eight attempts: the third gave no crystal, the sixth did not relax, the last is of neon."""
    generated = Crystals.concatenate(
        [
            rock_salt(SODIUM, 5.2),  # 0: known, at the hull
            rock_salt(SODIUM, 6.0),  # 1: the same again after relaxation
            caesium_chloride(SODIUM, 3.5),  # 3: new, 0.05 above
            caesium_chloride(POTASSIUM, 3.8),  # 4: new, 0.2 below
            element(SODIUM, 1.0),  # 5: no energy
            caesium_chloride(POTASSIUM, 3.9),  # 6: 0.3 above, not converged
            element(NEON),  # 7: no reference
        ]
    )
    attempts = Attempts(
        generated, np.array([0, 1, 3, 4, 5, 6, 7]), 8, (Failure(2, "too many sites"),)
    )
    kept = [0, 1, 2, 3, 5, 6]
    after = Crystals.concatenate(
        [
            rock_salt(SODIUM, 5.6),
            rock_salt(SODIUM, 5.6),
            caesium_chloride(SODIUM, 3.5),
            caesium_chloride(POTASSIUM, 3.8),
            caesium_chloride(POTASSIUM, 3.9),
            element(NEON),
        ]
    )
    m = len(kept)
    relaxed = Relaxed(
        potential="made",
        n=7,
        positions=np.array(kept),
        crystals=after,
        energies=np.array([-3.5, -3.5, -3.45, -3.8, -3.3, -0.1]),
        initial_energies=np.zeros(m),
        max_forces=np.zeros(m),
        max_stresses=np.zeros(m),
        n_steps=np.ones(m, int),
        converged=np.array([True, True, True, True, False, True]),
        volume_changes=after.volumes / generated[kept].volumes - 1,
        rmsds=np.array([0.1, 0.2, 0.0, 0.3, 0.9, 0.0]),
        failures=(Failure(4, "volume out of bounds", "0.1"),),
        settings={"max_force": 0.05, "max_steps": 500},
    )
    return Evidence(attempts, relaxed=relaxed, hull=made_hull(), **more)


def by_name(evidence):
    return {figure.name: figure for figure in measure(evidence)}


def test_shares_by_hand():
    figures = by_name(made_evidence())
    above = energies_above_hull(made_evidence())
    assert above[[0, 1, 3, 4, 6]] == pytest.approx([0, 0, 0.05, -0.2, 0.3], abs=1e-9)
    assert np.isnan(above).tolist() == [False, False, True, False, False, True, False, True]
    assert figures["stable"].value == pytest.approx(3 / 8)
    assert figures["metastable"].value == pytest.approx(4 / 8)
    assert figures["relaxation_converged"].value == pytest.approx(5 / 8)
    assert figures["energy_above_hull"].value == pytest.approx(0.15 / 5)
    assert figures["median_energy_above_hull"].value == pytest.approx(0, abs=1e-9)
    assert figures["rmsd_to_relaxed"].value == pytest.approx(1.5 / 6)
    assert figures["median_rmsd_to_relaxed"].value == pytest.approx(0.15)
    changes = [(5.6 / 5.2) ** 3 - 1, 1 - (5.6 / 6.0) ** 3]
    assert figures["volume_change_in_relaxation"].value == pytest.approx(sum(changes) / 6)
    assert figures["energy_per_atom"].value == pytest.approx(-17.65 / 6)
    assert all(figure.n == 8 for figure in figures.values())
    assert "sun" not in figures


def test_failures_are_counted_by_reason():
    figures = by_name(made_evidence())
    lost = {"too many sites": 1, "volume out of bounds": 1}
    assert figures["relaxation_converged"].failures == lost
    assert figures["stable"].failures == {**lost, "element without reference": 1}


def test_the_definition_names_hull_potential_and_threshold():
    figure = by_name(made_evidence())["metastable"]
    for told in ("0.1 eV/atom", "made", "5 phases", "five phases", made_hull().content_hash[:12]):
        assert told in figure.definition
    assert figure.extra["hull"]["n_phases"] == 5
    assert figure.extra["threshold"] == 0.1


def test_unique_and_novel_ones_by_hand():
    # Of the four metastable ones the first two are one crystal, which is in train; the others
    # are new: 0.05 above and 0.2 below.
    train = Crystals.concatenate([rock_salt(SODIUM, 5.6), element(SODIUM)])
    figures = by_name(made_evidence(train=train))
    assert figures["sun"].value == pytest.approx(1 / 8)
    assert figures["msun"].value == pytest.approx(2 / 8)
    assert figures["msun"].of_each.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert figures["sun"].extra["n_reached_unique"] == 2
    assert figures["sun"].extra["n_reached_novel"] == 1
    # With nothing of it known, the first of the two counts once.
    figures = by_name(made_evidence(train=element(SODIUM)))
    assert figures["sun"].of_each.tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert "10.1038/s41586-025-08628-5" in figures["sun"].definition


def test_a_twin_that_is_less_stable_and_came_first_is_the_unique_one():
    """As published: unique is judged among all, also among those that are not stable."""
    evidence = made_evidence(train=element(SODIUM))
    energies = evidence.relaxed.energies.copy()
    energies[0] = -3.0
    relaxed = dataclasses.replace(evidence.relaxed, energies=energies)
    figures = by_name(dataclasses.replace(evidence, relaxed=relaxed))
    assert figures["stable"].value == pytest.approx(2 / 8)
    assert figures["sun"].of_each.tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


def test_other_thresholds():
    figures = measure(made_evidence(train=element(SODIUM)), [("within_0.4", 0.4)])
    named = {figure.name: figure.value for figure in figures}
    assert named["within_0.4"] == pytest.approx(5 / 8)
    assert named["sun_within_0.4"] == pytest.approx(3 / 8)


def test_only_what_the_evidence_allows():
    whole = made_evidence()
    assert measure(dataclasses.replace(whole, relaxed=None)) == []
    names = [figure.name for figure in measure(dataclasses.replace(whole, hull=None))]
    assert "relaxation_converged" in names
    assert "stable" not in names
    assert load(FAMILIES, "stability") is measure


def test_a_hull_of_elements_alone_tells_formation_energies_and_no_stable_crystals():
    elements = made_hull().without(["3", "4"])
    assert elements.of_elements_only
    assert not made_hull().of_elements_only
    evidence = dataclasses.replace(made_evidence(train=element(SODIUM)), hull=elements)
    figures = by_name(evidence)
    # Half of each: 1.5 eV/atom above the energies given.
    wanted = np.mean([-2.0, -2.0, -1.95, -2.3, -1.8])
    assert figures["formation_energy_per_atom"].value == pytest.approx(wanted)
    assert figures["negative_formation_energy"].value == pytest.approx(5 / 8)
    assert not {"stable", "metastable", "sun", "msun", "energy_above_hull"} & set(figures)
    # A hull of more has the same elements.
    same = by_name(made_evidence())["formation_energy_per_atom"]
    assert same.value == pytest.approx(wanted)


def test_relaxed_attempts_keep_their_places():
    attempts = relaxed_attempts(made_evidence())
    assert attempts.n == 8
    assert attempts.positions.tolist() == [0, 1, 3, 4, 6, 7]
    assert [(one.index, one.reason) for one in attempts.failures] == [
        (2, "too many sites"),
        (5, "volume out of bounds"),
    ]


def test_another_potential_or_other_crystals_are_refused():
    evidence = made_evidence()
    other = dataclasses.replace(evidence.relaxed, potential="chgnet-0.3.0")
    with pytest.raises(PotentialError, match="own zero"):
        measure(dataclasses.replace(evidence, relaxed=other))
    fewer = Attempts.of(evidence.attempts.crystals[:3])
    with pytest.raises(EvaluationError, match="7 crystals relaxed and 3 crystals"):
        measure(dataclasses.replace(evidence, attempts=fewer))
    swapped = dataclasses.replace(
        evidence.attempts, crystals=evidence.attempts.crystals[[2, 3, 0, 1, 6, 5, 4]]
    )
    with pytest.raises(EvaluationError, match="other atoms"):
        measure(dataclasses.replace(evidence, attempts=swapped))
    # The same atoms in other cells: what another generator made of the same compositions.
    given = evidence.attempts.crystals
    scaled = Crystals(given.lattices * 1.01, given.frac_coords, given.numbers, given.offsets)
    other = dataclasses.replace(evidence.attempts, crystals=scaled)
    with pytest.raises(EvaluationError, match="6 of 6 relaxed crystals began with other volumes"):
        measure(dataclasses.replace(evidence, attempts=other))


def empty_relaxed(n, failures):
    nothing = np.zeros(0)
    return Relaxed(
        potential="made",
        n=n,
        positions=np.zeros(0, int),
        crystals=Crystals.empty(),
        energies=nothing,
        initial_energies=nothing,
        max_forces=nothing,
        max_stresses=nothing,
        n_steps=np.zeros(0, int),
        converged=np.zeros(0, bool),
        volume_changes=nothing,
        rmsds=nothing,
        failures=failures,
        settings={},
    )


def test_nothing_relaxed_and_nothing_generated():
    lost = Evidence(
        Attempts.of(element(SODIUM)),
        train=element(SODIUM),
        relaxed=empty_relaxed(1, (Failure(0, "isolated atoms"),)),
        hull=made_hull(),
    )
    figures = by_name(lost)
    assert figures["stable"].value == figures["msun"].value == 0
    assert np.isnan(figures["energy_above_hull"].value)
    assert np.isnan(figures["median_rmsd_to_relaxed"].value)
    assert figures["stable"].failures == {"isolated atoms": 1}
    failed = Evidence(
        Attempts.of(Crystals.empty(), [Failure(0, "no lattice"), Failure(1, "no lattice")]),
        relaxed=empty_relaxed(0, ()),
        hull=made_hull(),
    )
    assert by_name(failed)["metastable"].value == 0
    assert by_name(failed)["metastable"].failures == {"no lattice": 2}
    none = Evidence(Attempts.of(Crystals.empty()), relaxed=empty_relaxed(0, ()), hull=made_hull())
    assert np.isnan(by_name(none)["stable"].value)


def test_energies_too_low_to_be_true_are_counted():
    evidence = made_evidence()
    energies = evidence.relaxed.energies.copy()
    energies[2] = -30
    relaxed = dataclasses.replace(evidence.relaxed, energies=energies)
    figures = by_name(dataclasses.replace(evidence, relaxed=relaxed))
    assert figures["stable"].extra["n_below_0.5_eV"] == 1


def test_what_is_kept_is_kept_once_for_the_same_relaxed_crystals():
    kept = {}

    class Keeping(Evidence):
        def once(self, name, function):
            return kept[name] if name in kept else kept.setdefault(name, function())

    def keeping(**more):
        plain = made_evidence(**more)
        given = {one.name: getattr(plain, one.name) for one in dataclasses.fields(plain)}
        return Keeping(**given)

    first = by_name(keeping(train=element(SODIUM)))
    assert len(kept) == 1
    for name in kept:
        kept[name] = {key: np.zeros_like(value) for key, value in kept[name].items()}
    again = by_name(keeping(train=element(SODIUM)))
    assert first["sun"].value > again["sun"].value == 0


def test_intervals_are_cheap():
    figure = by_name(made_evidence())["median_energy_above_hull"]
    low, high = figure.interval()
    assert low <= figure.value <= high


def test_the_threshold_forgives_rounding():
    hull = made_hull()
    evidence = made_evidence()
    energies = evidence.relaxed.energies + 1e-6
    relaxed = dataclasses.replace(evidence.relaxed, energies=energies)
    figures = by_name(dataclasses.replace(evidence, relaxed=relaxed, hull=hull))
    assert figures["stable"].value == pytest.approx(3 / 8)
    assert stability.METASTABLE == 0.1
