"""Which elements may decorate a structure type.

Ionic types are filled by charge neutrality, by the order of electronegativities and by windows
of the ratio of crystal radii (Goldschmidt's tolerance factor for perovskites, Pauling's radius
ratios elsewhere); intermetallic types from lists of elements with windows of the ratio of
Slater's atomic radii. The windows are rules of thumb: they keep the choice chemically sensible
and do not promise that a compound exists.

Slater's radii: DOI 10.1063/1.1725697. Shannon's crystal radii: DOI 10.1107/S0567739476001551.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from pymatgen.core import Element, Species

from prototype_symmetry import template

RARE_EARTHS = "La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"
EARLY = "Sc Y Ti Zr Hf V Nb Ta"
LATE = "Mn Fe Co Ni Cu Ru Rh Pd Ag Ir Pt Au"
TRANSITION = f"{EARLY} Cr Mo W Tc Re Os {LATE}"
METALS = (
    f"Li Na K Rb Cs Be Mg Ca Sr Ba Al Ga In Tl Sn Pb Bi Sb Zn Cd Hg Th U {TRANSITION} {RARE_EARTHS}"
)

#: Elements of the dataset: all that CHGNet knows but the noble gases and the elements whose
#: crystals are known only from traces (Po, At, Fr, Ra, Ac, Pa, Pm) or need cells too large to
#: serve as a reference here (Np, Pu).
ELEMENTS = f"H B C N O F Si P S Cl Ge As Se Br Te I {METALS}"

#: Usual charges of cations.
CATIONS: Mapping[int, str] = {
    1: "Li Na K Rb Cs Cu Ag Tl",
    2: "Be Mg Ca Sr Ba Zn Cd Hg V Cr Mn Fe Co Ni Cu Pd Pt Sn Pb Eu Yb Sm Ge",
    3: f"B Al Ga In Tl Sc Y Ti V Cr Mn Fe Co Ni Ru Rh Ir Sb Bi U {RARE_EARTHS}",
    4: "C Si Ge Sn Pb Ti Zr Hf V Nb Mo W Mn Te Re Ru Os Ir Pt Pd Ce Th U",
    5: "N P As Sb Bi V Nb Ta Mo Re Os U",
    6: "S Se Te Cr Mo W Re U",
    7: "Cl I Mn Tc Re",
}
ANIONS: Mapping[int, str] = {-1: "F Cl Br I H", -2: "O S Se Te", -3: "N P As Sb", -4: "C"}

#: Crystal radii (Å) the tables lack, on the same scale as O2- 1.26, S2- 1.70, Se2- 1.84: from the
#: bond lengths of rock-salt hydrides, carbides and pnictides; Sn2+ lies near Pb2+.
_MISSING_RADII: Mapping[tuple[str, int], float] = {
    ("H", -1): 1.40,
    ("C", -4): 1.42,
    ("P", -3): 1.86,
    ("As", -3): 1.98,
    ("Sb", -3): 2.20,
    ("Sn", 2): 1.30,
}

Window = tuple[float, float]
_ANY: Window = (0.0, 9.0)


@dataclass(frozen=True)
class Candidate:
    """One decoration of one structure type: ``elements`` maps every role to a symbol."""

    prototype: str
    elements: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """Name of the candidate in the checkpoint, e.g. ``rock salt|A=Na|X=Cl``."""
        return "|".join([self.prototype, *(f"{role}={el}" for role, el in self.elements)])


@dataclass(frozen=True)
class Ionic:
    """Charge-neutral decorations.

    Attributes
    ----------
    prototype
        Structure type.
    anions
        Elements allowed in the anionic roles.
    ratio
        Window of (cation radius) / (largest anion radius) for every cationic role.
    cations
        Elements allowed in a role; absent roles take every cation.
    charges
        Charges allowed in a role; absent roles take every charge.
    tolerance
        Window of Goldschmidt's factor of A, B and X.
    anionic
        The roles that hold anions.
    weight
        Share of the type in the choice, relative to 1.
    """

    prototype: str
    anions: str
    ratio: Mapping[str, Window]
    cations: Mapping[str, str] = field(default_factory=dict)
    charges: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tolerance: Window = _ANY
    anionic: str = "X"
    weight: float = 1.0

    def candidates(self) -> Iterator[Candidate]:
        """Every decoration that the rule allows, in a fixed order."""
        counts = template(self.prototype).counts
        roles = sorted(counts)
        options = [self._options(role) for role in roles]
        for ions in itertools.product(*options):
            neutral = sum(counts[r] * q for r, (_, q) in zip(roles, ions, strict=True)) == 0
            symbols = [symbol for symbol, _ in ions]
            if neutral and len(set(symbols)) == len(symbols):
                by_role = dict(zip(roles, ions, strict=True))
                if self._sensible(by_role):
                    yield Candidate(self.prototype, tuple(zip(roles, symbols, strict=True)))

    def _options(self, role: str) -> list[tuple[str, int]]:
        if role in self.anionic:
            allowed, table = self.anions.split(), ANIONS
        else:
            table = CATIONS
            allowed = self.cations.get(role, " ".join(CATIONS.values())).split()
        charges = self.charges.get(role, tuple(table))
        return [(el, q) for q in charges for el in table[q].split() if el in allowed]

    def _sensible(self, ions: Mapping[str, tuple[str, int]]) -> bool:
        anions = [ion for role, ion in ions.items() if role in self.anionic]
        cations = {role: ion for role, ion in ions.items() if role not in self.anionic}
        weakest = min(Element(symbol).X for symbol, _ in anions)
        if any(weakest <= Element(symbol).X for symbol, _ in cations.values()):
            return False
        anion_radius = max(crystal_radius(*ion) for ion in anions)
        for role, ion in cations.items():
            low, high = self.ratio.get(role, _ANY)
            if not low <= crystal_radius(*ion) / anion_radius <= high:
                return False
        if self.tolerance == _ANY:
            return True
        r_a, r_b = (crystal_radius(*cations[role]) for role in "AB")
        factor = (r_a + anion_radius) / (np.sqrt(2.0) * (r_b + anion_radius))
        return bool(self.tolerance[0] <= factor <= self.tolerance[1])


@dataclass(frozen=True)
class Metallic:
    """Decorations from lists of elements, with windows of the ratio of Slater radii.

    Attributes
    ----------
    prototype
        Structure type.
    elements
        Elements allowed in every role.
    ratio
        Window of radius(first role) / radius(second role) for a pair of roles.
    weight
        Share of the type in the choice, relative to 1.
    """

    prototype: str
    elements: Mapping[str, str]
    ratio: Mapping[str, Window] = field(default_factory=dict)
    weight: float = 1.0

    def candidates(self) -> Iterator[Candidate]:
        """Every decoration that the rule allows, in a fixed order."""
        roles = sorted(self.elements)
        for symbols in itertools.product(*(self.elements[role].split() for role in roles)):
            by_role = dict(zip(roles, symbols, strict=True))
            if len(set(symbols)) == len(symbols) and all(
                low <= slater_radius(by_role[pair[0]]) / slater_radius(by_role[pair[1]]) <= high
                for pair, (low, high) in self.ratio.items()
            ):
                yield Candidate(self.prototype, tuple(zip(roles, symbols, strict=True)))


def slater_radius(symbol: str) -> float:
    """Slater's atomic radius (Å): sums of two give bond lengths in every kind of crystal."""
    return float(Element(symbol).atomic_radius)


def crystal_radius(symbol: str, charge: int) -> float:
    """Shannon's crystal radius (Å), six-fold, high spin; Slater's radius where none is known."""
    if (symbol, charge) in _MISSING_RADII:
        return _MISSING_RADII[symbol, charge]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        radius = Species(symbol, charge).ionic_radius
    if radius is None:
        radius = Element(symbol).average_ionic_radius or Element(symbol).atomic_radius
    return float(radius)
