"""Vibrations of a crystal in an interatomic potential, as numbers of one length."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Encoded,
    Field,
    Representation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.potential_phonons.cells import smallest_cell
from crystalcodec.representations.potential_phonons.features import (
    EDGES,
    STIFFNESSES,
    SUMMARY,
    density,
    slices,
    stiffnesses,
    summary,
)
from crystalcodec.representations.potential_phonons.force_constants import (
    find_symmetry,
    force_constants,
    supercell_repeats,
)
from crystalcodec.representations.potential_phonons.forces import (
    ForceField,
    Model,
    load_force_field,
)
from crystalcodec.representations.potential_phonons.relaxation import relaxed
from crystalcodec.representations.potential_phonons.spectra import (
    Spectrum,
    vibrations,
    wave_vectors,
)
from crystalcodec.representations.potentials import (
    IsolatedAtomsError,
    one_thread,
    unknown_elements,
)

__all__ = ["Phonons", "PotentialPhonons"]

Floats = npt.NDArray[np.float64]

_SPACING = 1 / 30
"""1/Å; of the wave vectors."""


@dataclass(frozen=True)
class Phonons:
    """Vibrations of one crystal.

    Parameters
    ----------
    crystal
        In the primitive cell that the other arrays are about.
    repeats : (3,)
        The supercell, in copies along each cell vector.
    constants : (n_sites, n_sites, n_cells, 3, 3)
        Force constants, eV/Å², between a site of the first cell and one of each cell.
    spectrum
        Frequencies, with the zone centre first.
    n_forces
        Displaced cells of which the potential gave the forces.
    """

    crystal: Crystals
    repeats: npt.NDArray[np.int64]
    constants: Floats
    spectrum: Spectrum
    n_forces: int


@dataclass(frozen=True)
class PotentialPhonons(Representation):
    """The vibrations of a crystal that a trained interatomic potential predicts.

    Each crystal is brought to its primitive cell of shortest vectors. Atoms of a supercell are
    displaced one at a time, symmetry left to spare most; central differences of the forces give
    the force constants, made symmetric, with the acoustic sum rule put on each site's own; their
    Fourier interpolation gives frequencies on a grid of wave vectors. Of these the array
    ``potential_phonons`` (n, n_features) holds, in this order:

    - ``summary`` (20): highest, lowest and mean frequency, power means, frequencies of single
      sites with all others at rest, frequencies of the lightest and of the heaviest element, 1/cm;
    - ``slices`` (22): mean of the slowest twentieth of all vibrations, of the next, and so on,
      finer at the end, 1/cm;
    - ``density`` (n_points): density of vibrations on an axis from 0 to ``max_frequency``;
    - ``stiffness`` (3): highest, mean and lowest spring constant of the sites, eV/Å².

    Imaginary frequencies are given as negative ones. Charges, and with them the splitting of
    longitudinal and transverse vibrations near the zone centre, are not in it.

    The potentials were trained on energies, forces and stresses of the Materials Project, to
    which most benchmarks of crystals belong; not on vibrations.

    Parameters
    ----------
    model
        ``"chgnet-0.3.0"`` and ``"chgnet-r2scan"`` need the extra ``mlip``,
        ``"sevennet-0-11jul2024"`` and ``"sevennet-l3i5"`` the extra ``sevennet``; weights come
        with the packages.
    min_length
        Å; the supercell has as many copies of the cell along each of its vectors as make it so
        long. 0 stands for the primitive cell.
    displacement
        Å. SevenNet's energy is smooth, and gives the same at 0.01 and 0.05; CHGNet's is rough at
        hundredths of an Å, and better served by 0.1.
    relax
        Whether sites first go to where the potential's forces vanish, in the cell as it is.
    max_sites
        Crystals of more sites in the primitive cell are refused.
    symprec
        Å; how far sites may be from symmetric places, to which they are moved.
    max_frequency, n_points, broadening
        Axis of the density, 1/cm, and standard deviation of the Gaussians on it, 1/cm.

    Raises
    ------
    RepresentationError
        A parameter that is none of these, or out of range.
    MissingExtraError
        When encoding, if the package is not installed.

    References
    ----------
    Small displacements: Parlinski, Li and Kawazoe, Phys. Rev. Lett. 78, 4063 (1997),
    10.1103/PhysRevLett.78.4063. CHGNet: Deng et al., Nat. Mach. Intell. 5, 1031 (2023),
    10.1038/s42256-023-00716-3. SevenNet: Park et al., J. Chem. Theory Comput. 20, 4857 (2024),
    10.1021/acs.jctc.4c00190.

    Examples
    --------
    >>> PotentialPhonons().length, PotentialPhonons(n_points=10).feature_names()[0]
    (105, 'summary maximum')
    """

    name: ClassVar[str] = "potential_phonons"
    lost: ClassVar[str] = (
        "all but the vibrations that the potential predicts: elements, distances, charges"
    )
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    # But for small steps where sites are moved onto a higher symmetry, and where another copy of
    # the cell is needed for min_length.
    continuity: ClassVar = "continuous"

    model: Model = "chgnet-0.3.0"
    min_length: float = 5.0
    displacement: float = 0.05
    relax: bool = False
    max_sites: int = 64
    symprec: float = 0.01
    max_frequency: float = 1200.0
    n_points: int = 60
    broadening: float = 20.0

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        positive = ("displacement", "symprec", "max_frequency", "broadening", "max_sites")
        for name in positive:
            if not wrong and not 0 < getattr(self, name) < np.inf:
                wrong = f"{name} is {getattr(self, name)}, wanted a positive number"
        if not wrong and not 0 <= self.min_length < np.inf:
            wrong = f"min_length is {self.min_length}, wanted 0 or more Å"
        if not wrong and self.n_points < 2:
            wrong = f"n_points is {self.n_points}, wanted at least 2"
        if wrong:
            raise RepresentationError(wrong)

    @property
    def _lengths(self) -> dict[str, int]:
        return {
            "summary": len(SUMMARY),
            "slices": len(EDGES) - 1,
            "density": self.n_points,
            "stiffness": len(STIFFNESSES),
        }

    @property
    def length(self) -> int:
        """Numbers a crystal."""
        return sum(self._lengths.values())

    @property
    def axis(self) -> Floats:
        """(n_points,) the axis of the density, 1/cm."""
        return np.linspace(0, self.max_frequency, self.n_points)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The four parts of the array."""
        units = {"summary": "1/cm", "slices": "1/cm", "density": "", "stiffness": "eV/Å²"}
        fields, start = [], 0
        for name, length in self._lengths.items():
            where = (slice(start, start + length),)
            fields.append(Field(name, "continuous", self.name, (length,), where, unit=units[name]))
            start += length
        return tuple(fields)

    def feature_names(self) -> tuple[str, ...]:
        """``summary maximum``, ``slice 0 to 0.05``, ``density 20.3`` and so on."""
        return (
            *(f"summary {name}" for name in SUMMARY),
            *(f"slice {low:g} to {high:g}" for low, high in pairwise(EDGES)),
            *(f"density {place:.6g}" for place in self.axis),
            *(f"stiffness {name}" for name in STIFFNESSES),
        )

    def n_bytes(self, crystals: Crystals) -> int:
        """Four bytes a number."""
        return 4 * len(crystals) * self.length

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements without weights, of too many sites, with isolated atoms."""
        return self._rows(crystals)[1]

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but runs the network once."""
        self._check_ready(crystals)
        rows, failures = self._rows(crystals)
        _, index = held_crystals(crystals, failures)
        return Encoded(self._joined(rows), index, tuple(failures))

    def phonons(self, crystal: Crystals) -> Phonons:
        """The vibrations of one crystal, before they are made into numbers of one length.

        Raises
        ------
        RepresentationError
            A crystal that is refused, with the reason, or not one crystal.
        """
        if len(crystal) != 1:
            raise RepresentationError(f"{len(crystal)} crystals, wanted one")
        field = load_force_field(self.model)
        failures = unknown_elements(crystal, field.elements, self.model)
        with one_thread(gradients=True):
            found = failures[0] if failures else self._phonons(crystal, field, 0)
        if isinstance(found, Failure):
            raise RepresentationError(f"{found.reason}: {found.detail}")
        return found

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        if not len(crystals):
            return self._joined([])  # shapes are known without the package
        return self._joined(self._rows(crystals)[0])

    def _joined(self, rows: list[Floats]) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(rows), self.length), np.float32)
        for place, row in zip(array, rows, strict=True):
            place[:] = row
        return {self.name: array}

    def _rows(self, crystals: Crystals) -> tuple[list[Floats], list[Failure]]:
        """(length,) of each crystal that is taken, and why not of the others; one at a time."""
        if not len(crystals):
            return [], []
        field = load_force_field(self.model)
        failures = {f.index: f for f in unknown_elements(crystals, field.elements, self.model)}
        rows = []
        with one_thread(gradients=True):
            for i, crystal in enumerate(crystals):
                if i in failures:
                    continue
                found = self._phonons(crystal, field, i)
                if isinstance(found, Failure):
                    failures[i] = found
                    continue
                rows.append(self._row(found))
        return rows, [failures[i] for i in sorted(failures)]

    def _phonons(self, crystal: Crystals, field: ForceField, index: int) -> Phonons | Failure:
        cell, rotations, translations = smallest_cell(crystal, self.symprec)
        n_sites = len(cell.numbers)
        if n_sites > self.max_sites:
            detail = f"{n_sites} in the primitive cell, at most {self.max_sites} fit (max_sites)"
            return Failure(index, "too many sites", detail)
        try:
            if self.relax:
                cell = relaxed(cell, field.forces(cell))
            repeats = supercell_repeats(cell.lattices[0], self.min_length)
            symmetry = find_symmetry(cell, repeats, rotations, translations)
            forces = field.forces(cell.supercell(repeats))
            constants, n_forces = force_constants(
                cell, repeats, symmetry, self.displacement, forces
            )
        except IsolatedAtomsError as error:
            return Failure(index, "isolated atom", str(error))
        except (ValueError, RuntimeError) as error:
            return Failure(index, "no forces", f"{self.model}: {error}")
        if not np.isfinite(constants).all():
            return Failure(index, "forces not finite", f"{self.model} gives no numbers")
        points, weights = wave_vectors(cell.lattices[0], _SPACING)
        spectrum = vibrations(cell, repeats, constants, points, weights)
        return Phonons(cell, repeats, constants, spectrum, n_forces)

    def _row(self, phonons: Phonons) -> Floats:
        return np.concatenate(
            [
                summary(phonons.crystal, phonons.constants, phonons.spectrum),
                slices(phonons.spectrum),
                density(phonons.spectrum, self.axis, self.broadening),
                stiffnesses(phonons.constants),
            ]
        )
