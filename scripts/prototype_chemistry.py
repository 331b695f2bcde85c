"""Which elements may decorate which structure type, and the seeded choice among them.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from prototype_structures import template
from pymatgen.core import Element, Species

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

#: Structure types tried for every element that is not a metal, and beside fcc, bcc and hcp.
_ELEMENTAL_EXTRAS: Mapping[str, str] = {
    "dhcp": f"{RARE_EARTHS} Y Sc",
    "alpha-Sm": f"{RARE_EARTHS} Y Li",
    "omega-Ti": "Ti Zr Hf",
    "alpha-U": "U Ce Th Pr",
    "In": "In Ga Tl Sn Hg Pb",
    "alpha-Hg": "Hg Cd Zn",
    "beta-Sn": "Sn Ge Si Ga",
    "alpha-Ga": "Ga In Al",
    "alpha-Mn": "Mn",
    "beta-Mn": "Mn",
    "diamond": "C Si Ge Sn",
    "graphite": "C B",
    "alpha-B": "B",
    "alpha-As": "As Sb Bi P Te",
    "black P": "P As Sb",
    "gamma-Se": "Se Te S",
    "S6": "S Se",
    "I2": "F Cl Br I",
    "alpha-N2": "N O F H",
    "alpha-O2": "O N F",
    "H2": "H N O F",
}

#: Usual charges of cations.
CATIONS: Mapping[int, str] = {
    1: "Li Na K Rb Cs Cu Ag Tl",
    2: "Be Mg Ca Sr Ba Zn Cd Hg V Cr Mn Fe Co Ni Cu Pd Pt Sn Pb Eu Yb Sm Ge",
    3: f"B Al Ga In Tl Sc Y Ti V Cr Mn Fe Co Ni Ru Rh Ir Sb Bi U {RARE_EARTHS}",
    4: "C Si Ge Sn Pb Ti Zr Hf V Nb Mo W Mn Te Re Ru Os Ir Pt Pd Ce Th U",
    5: "P As Sb Bi V Nb Ta Mo Re Os U",
    6: "S Se Te Cr Mo W Re U",
    7: "Cl I Mn Tc Re",
}
ANIONS: Mapping[int, str] = {-1: "F Cl Br I H", -2: "O S Se Te", -3: "N P As Sb", -4: "C"}
_HALIDES = "F Cl Br I"
_CHALCOGENS = "O S Se Te"

#: Crystal radii (Å) the tables lack: hydride lies between F- and Cl-, Sn2+ near Pb2+.
_MISSING_RADII: Mapping[tuple[str, int], float] = {("H", -1): 1.40, ("Sn", 2): 1.30}

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

    Attributes:
        prototype: structure type.
        anions: elements allowed in the anionic roles.
        ratio: window of (cation radius) / (largest anion radius) for every cationic role.
        cations: elements allowed in a role; absent roles take every cation.
        charges: charges allowed in a role; absent roles take every charge.
        tolerance: window of Goldschmidt's factor of A, B and X.
        anionic: the roles that hold anions.
        weight: share of the type in the choice, relative to 1.
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
        if any(Element(symbol).X >= weakest for symbol, _ in cations.values()):
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

    Attributes:
        prototype: structure type.
        elements: elements allowed in every role.
        ratio: window of radius(first role) / radius(second role) for a pair of roles.
        weight: share of the type in the choice, relative to 1.
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


_RE_BIG = f"Y {RARE_EARTHS}"
_TETRAHEDRAL = "Be Mg Zn Cd Hg Mn Fe Co B Al Ga In Si Ge Sn Cu Ag"
_HEUSLER_X = "Al Ga In Si Ge Sn Pb Sb Bi Zn As"

RULES: tuple[Ionic | Metallic, ...] = (
    # --- binary, ionic and covalent ---
    Ionic("rock salt", "F Cl Br I H O S Se Te N P As Sb C", {"A": (0.42, 1.35)}, weight=2.5),
    Ionic(
        "zinc blende", "F Cl Br I O S Se Te N P As Sb C", {"A": (0.1, 0.72)},
        {"A": _TETRAHEDRAL}, weight=2.0,
    ),
    Ionic(
        "wurtzite", "Cl Br I O S Se Te N P As C", {"A": (0.1, 0.72)}, {"A": _TETRAHEDRAL},
        weight=1.5,
    ),
    Ionic("CsCl", "Cl Br I F", {"A": (0.7, 1.5)}, {"A": "K Rb Cs Tl"}, weight=0.4),
    Ionic(
        "NiAs", "S Se Te As Sb P", {"A": (0.3, 0.8)},
        {"A": "Ti V Cr Mn Fe Co Ni Pd Pt Rh Ir Mo Nb Sc Y"},
    ),
    Ionic("litharge", "O S", {"A": (0.4, 1.3)}, {"A": "Sn Pb Pd Pt Ge Cu"}, {"A": (2,)}, weight=0.4),
    Ionic(
        "anti-litharge (FeSe)", "S Se Te", {"A": (0.2, 0.9)},
        {"A": "V Cr Mn Fe Co Ni Zn Pd Be Mg"}, {"A": (2,)}, weight=0.6,
    ),
    Ionic("fluorite", "F Cl H O S C N", {"A": (0.55, 1.4)}, weight=1.5),
    Ionic("antifluorite", "O S Se Te C", {"A": (0.3, 1.2)}, charges={"A": (1, 2)}, weight=1.5),
    Ionic("rutile", "F Cl H O", {"A": (0.38, 0.85)}, weight=2.0),
    Ionic("anatase", "O F S", {"A": (0.38, 0.80)}, charges={"A": (2, 4)}),
    Ionic("beta-cristobalite", "O F S Cl Se", {"A": (0.2, 0.55)}, {"A": "Be Si Ge Zn Sn Ti P"}),
    Metallic("pyrite", {"A": "Mn Fe Co Ni Cu Zn Ru Rh Pd Os Ir Pt Mg Cd", "X": "S Se Te P As Sb"}),
    Ionic("CdI2", "Cl Br I S Se Te F", {"A": (0.3, 0.75)}, charges={"A": (2, 4)}, weight=1.4),
    Ionic("CdCl2", "Cl Br I F S", {"A": (0.3, 0.75)}, charges={"A": (2, 4)}),
    Ionic("2H-MoS2", "S Se Te", {"A": (0.3, 0.65)}, {"A": "Nb Ta Mo W Re Ti Zr Hf V"}, weight=0.8),
    Ionic("cotunnite", "Cl Br I F H", {"A": (0.6, 1.5)}, charges={"A": (2,)}, weight=0.9),
    Ionic("cuprite", "O S Se", {"A": (0.3, 1.2)}, {"A": "Cu Ag Li Na Tl"}, {"A": (1,)}, weight=0.4),
    Metallic("CaC2", {"A": f"Ca Sr Ba Mg {_RE_BIG}", "X": "C"}, weight=0.8),
    Metallic("CaC2", {"A": "K Rb Cs Na Ca Sr Ba", "X": "O"}, weight=0.5),
    Ionic("corundum", "O S", {"A": (0.4, 0.75)}, charges={"A": (3,)}),
    Ionic("A-La2O3", "O S Se", {"A": (0.5, 1.0)}, charges={"A": (3,)}),
    Ionic(
        "anti-La2O3 (Mg3Sb2)", "N P As Sb", {"A": (0.3, 1.1)},
        {"A": "Be Mg Ca Sr Ba Zn Cd Mn Eu Yb"},
    ),
    Ionic("ReO3", "O F H N", {"A": (0.35, 0.8)}, {"A": "Re W Mo U Al Ga Sc In Fe Ti V Cr Nb Ta Cu Li Na"}),
    Ionic("BiI3", "Cl Br I", {"A": (0.3, 0.75)}, charges={"A": (3,)}),
    Ionic("UCl3", "Cl Br F", {"A": (0.5, 1.1)}, {"A": f"U {_RE_BIG} Bi"}, {"A": (3,)}, weight=0.8),
    Ionic("BiF3 (D0_3)", "F H", {"A": (0.6, 1.2)}, charges={"A": (3,)}, weight=0.7),
    Ionic("Li3Bi (anti-BiF3)", "N P As Sb", {"A": (0.2, 1.2)}, charges={"A": (1,)}),
    Ionic("Na3As", "N P As Sb", {"A": (0.2, 1.2)}, charges={"A": (1,)}),
    Metallic("Th3P4", {"A": "Th U Zr Hf", "X": "P As Sb"}, weight=0.5),
    Metallic("skutterudite", {"A": "Fe Co Rh Ir Ni", "X": "P As Sb"}, weight=0.7),
    # --- binary, metallic ---
    Metallic(
        "CsCl",
        {"A": f"Li Mg Ca Be Al Sc Y Ti Zr Hf {RARE_EARTHS}",
         "X": "Cu Ag Au Zn Cd Hg Mg Ni Pd Pt Co Rh Ir Fe Ru Os Al Ga In Tl"},
        {"AX": (0.85, 1.6)}, weight=2.0,
    ),
    Metallic("WC", {"A": "W Mo Ta Nb Ti Zr Hf V Ru", "X": "C N P B"}, weight=0.8),
    Metallic("FeSi", {"A": "Cr Mn Fe Co Ni Ru Rh Re Os Ir Pt Pd Au", "X": "Si Ge Sn Al Ga"}),
    Metallic("CrB", {"A": "V Nb Ta Cr Mo W Ni", "X": "B"}, weight=0.4),
    Metallic("CrB", {"A": f"Ca Sr Ba Zr Hf {_RE_BIG}", "X": "Si Ge Sn Ga Al Ni Pd Pt"}, weight=1.0),
    Metallic(
        "CuAu L1_0", {"A": "Al Mn Fe Ti Zn Cd Cu Ga In Mg", "X": "Au Pd Pt Ni Rh Ir Co Ga Al"}
    ),
    Metallic("MoSi2", {"A": "Mo W Re Cr Ta Nb V Ti", "X": "Si Ge"}, weight=0.5),
    Metallic("MoSi2", {"A": "Ti Zr Hf Sc Y", "X": "Cu Ag Au Pd Zn Hg"}, weight=0.6),
    Metallic("AlB2", {"A": f"Mg Al {EARLY} Cr Mo W Mn U Tb Er Lu", "X": "B"}, weight=0.6),
    Metallic("AlB2", {"A": f"Ca Sr Ba Th U {_RE_BIG}", "X": "Si Ge Ga Al Hg"}, weight=0.6),
    Metallic(
        "CuAl2", {"A": "Cu Fe Co Ni Pd Pt Rh Au", "X": "Al Sn Ga In Tl Pb Zr Hf Ta Sc Th"}
    ),
    Metallic(
        "Laves C15",
        {"A": f"Ca Sr Ba Zr Hf Sc Y Ti Nb Ta Th U Na K Bi Mg {RARE_EARTHS}",
         "X": "Al Mg Mn Fe Co Ni Cu Cr V W Mo Ru Rh Ir Pt Au Zn"},
        {"AX": (1.12, 1.5)}, weight=1.8,
    ),
    Metallic(
        "Laves C14",
        {"A": f"Mg Ca Ti Zr Hf Sc Y Nb Ta {RARE_EARTHS}",
         "X": "Zn Mg Mn Fe Cr Ru Re Os Tc Cu Al Li Cd"},
        {"AX": (1.10, 1.45)}, weight=0.8,
    ),
    Metallic("Fe2P", {"A": "Fe Mn Ni Co Cr Pd Rh", "X": "P As Si Ge"}, weight=0.7),
    Metallic("Ni2Al3", {"A": "Ni Pd Pt Cu Co", "X": "Al Ga In Zn"}, weight=0.6),
    Metallic(
        "Cu3Au L1_2",
        {"A": "Cu Ni Pt Pd Fe Co Rh Ir Al Ga In Sn Tl Pb Au Mn Zn",
         "X": f"Au Al Ga Ge Si Sn Pb Ti Zr Hf Nb Ta Sc Y Mn Fe Cr U Ca {RARE_EARTHS}"},
        {"XA": (0.85, 1.4)}, weight=1.6,
    ),
    Metallic(
        "BiF3 (D0_3)", {"X": "Fe Cu Ni Mn Li Mg Ag", "A": "Al Si Ga Ge Sn Sb La Ce Pr Zn In Bi"}
    ),
    Metallic(
        "Ni3Sn (D0_19)",
        {"A": "Ni Ti Fe Mn Co Zr Mg Cd Hg Pt La", "X": "Sn Al Ga In Ge W Mo Cd Ti V Ag Pb"},
    ),
    Metallic("Al3Ti (D0_22)", {"A": "Al Ga Ni Pd Pt Au In", "X": "Ti V Nb Ta Zr Hf Mo W Mn Sc"}),
    Metallic(
        "A15", {"A": "Cr V Nb Ti Mo Ta Zr", "X": "Si Ge Al Ga Sn Sb As Ir Pt Os Rh Au Ru Pd In"}
    ),
    Metallic("BaAl4", {"A": "Na Ca Sr Ba Eu La Ce Pr Nd Th", "X": "Al Ga In Zn"}, weight=0.7),
    Metallic(
        "CaCu5", {"A": f"Ca Sr Th Zr Hf {_RE_BIG}", "X": "Cu Ni Co Zn Pt Fe Ag Au Rh Ir"},
    ),
    Metallic("CaB6", {"A": f"Na K Rb Ca Sr Ba Th U {_RE_BIG}", "X": "B"}, weight=0.8),
    # --- ternary, ionic ---
    Ionic(
        "perovskite", "O F Cl Br I H S N", {"A": (0.6, 1.7), "B": (0.40, 0.95)},
        tolerance=(0.83, 1.06), weight=2.5,
    ),
    Ionic(
        "GdFeO3", "O F S H", {"A": (0.7, 1.3), "B": (0.42, 0.90)}, tolerance=(0.77, 0.88),
        weight=1.4,
    ),
    Ionic(
        "antiperovskite", "O S Se H F Cl Br I N P As Sb C", {"A": (0.2, 1.3)},
        charges={"A": (1, 2)}, anionic="XY", weight=1.5,
    ),
    Metallic(
        "antiperovskite",
        {"A": "Mn Fe Ni Co Ca Sr Ba Ti La Ce Sc Y", "X": "C N B", "Y": "Al Ga In Sn Zn Ge Pb Tl Pt"},
        weight=1.5,
    ),
    Ionic(
        "CsNiCl3", "Cl Br I F O S", {"A": (0.75, 1.8), "B": (0.35, 0.75)},
        {"A": "K Rb Cs Tl Ba Sr"}, tolerance=(0.93, 1.25), weight=0.9,
    ),
    Ionic(
        "K2NiF4", "O F Cl H", {"A": (0.8, 1.6), "B": (0.45, 0.95)}, tolerance=(0.82, 1.10),
        weight=1.5,
    ),
    Ionic(
        "K2PtCl6", "F Cl Br I", {"A": (0.6, 1.7), "B": (0.3, 0.7)}, charges={"A": (1,), "B": (4,)},
        weight=1.3,
    ),
    Ionic(
        "spinel", "O S Se F", {"A": (0.3, 0.70), "B": (0.35, 0.80)},
        charges={"A": (1, 2, 4), "B": (1, 2, 3)}, weight=1.8,
    ),
    Ionic(
        "ilmenite", "O", {"A": (0.45, 0.80), "B": (0.38, 0.70)},
        charges={"A": (1, 2, 3), "B": (3, 4, 5)}, tolerance=(0.65, 0.83),
    ),
    Ionic(
        "calcite", "O", {"A": (0.4, 1.2), "B": (0.0, 0.35)}, {"B": "C B N"},
        {"A": (1, 2, 3), "B": (3, 4)}, weight=0.9,
    ),
    Ionic(
        "delafossite", "O", {"A": (0.5, 1.2), "B": (0.35, 0.95)}, {"A": "Cu Ag Pd Pt Hg"},
        {"A": (1,), "B": (3,)},
    ),
    Ionic(
        "alpha-NaFeO2", "O S Se N F", {"A": (0.4, 1.2), "B": (0.35, 0.85)},
        charges={"A": (1, 2), "B": (2, 3, 4)}, weight=1.5,
    ),
    Ionic(
        "chalcopyrite", "S Se Te P As N Sb", {"A": (0.2, 0.75), "B": (0.1, 0.6)},
        {"A": "Cu Ag Li Zn Cd Mg Mn Be Fe", "B": "Al Ga In Tl Fe Cr Si Ge Sn B"},
        {"A": (1, 2), "B": (3, 4)}, weight=1.5,
    ),
    Ionic(
        "zircon", "O", {"A": (0.55, 1.0), "B": (0.1, 0.55)}, {"B": "Si Ge P As V Cr Mo"},
        {"A": (2, 3, 4), "B": (4, 5, 6)}, weight=0.9,
    ),
    Ionic(
        "scheelite", "O F", {"A": (0.5, 1.5), "B": (0.2, 0.65)},
        {"B": "W Mo V Nb Re Tc I Ge Cr Y Lu Er Yb Zn Be"}, weight=1.0,
    ),
    Ionic(
        "matlockite (PbFCl)", "F Cl Br I O S Se Te H N P As", {"A": (0.45, 1.3)},
        charges={"A": (2, 3, 4)}, anionic="XY", weight=1.6,
    ),
    # --- ternary, metallic ---
    Metallic(
        "ThCr2Si2",
        {"A": f"K Rb Cs Ca Sr Ba Th U {_RE_BIG}", "B": "Mn Fe Co Ni Cu Zn Ru Rh Pd Ag Ir Pt Au Cr",
         "X": "Si Ge P As Sb Se S"},
        weight=2.0,
    ),
    Ionic(
        "CaAl2Si2", "N P As Sb", {"A": (0.4, 1.0), "B": (0.2, 0.7)},
        {"A": "Ca Sr Ba Eu Yb Mg Sm", "B": "Mg Zn Cd Mn Be Fe"}, {"A": (2,), "B": (2,)},
    ),
    Metallic(
        "CaAl2Si2", {"A": f"Ca Sr Ba {_RE_BIG}", "B": "Al Ga", "X": "Si Ge"}, weight=0.6
    ),
    Metallic(
        "half Heusler",
        {"A": f"Li Na K Mg Ca Ti Zr Hf Sc Y V Nb Ta Mn {RARE_EARTHS}",
         "B": "Fe Co Ni Cu Ru Rh Pd Ag Ir Pt Au Zn Cd Mg Li", "X": "Al Ga In Si Ge Sn Sb Bi As P Te"},
        weight=2.4,
    ),
    Metallic(
        "full Heusler",
        {"A": f"Ti Zr Hf V Nb Ta Cr Mn Fe Sc Y Li Mg {RARE_EARTHS}",
         "B": "Mn Fe Co Ni Cu Ru Rh Pd Ag Ir Pt Au Li", "X": _HEUSLER_X},
        {"AB": (0.85, 1.45)}, weight=2.4,
    ),
    Metallic(
        "inverse Heusler",
        {"A": "Fe Co Ni Cu Rh Pt Ir Ru Pd", "B": "Mn Ti V Cr Sc Zr Hf", "X": _HEUSLER_X},
        weight=1.4,
    ),
    Metallic(
        "MAX phase (Cr2AlC)",
        {"A": "Sc Ti V Cr Zr Nb Mo Hf Ta Lu", "B": "Al Si P S Ga Ge As Cd In Sn Tl Pb Zn",
         "X": "C N"},
        weight=1.4,
    ),
    Metallic(
        "ZrNiAl",
        {"A": f"Sc Zr Hf Ca Th U {_RE_BIG}", "B": "Ni Pd Pt Cu Rh Ir Au Ag Fe Co",
         "X": "Al Ga In Sn Mg Zn Cd"},
        weight=1.1,
    ),
    Metallic(
        "TiNiSi",
        {"A": f"Ti Zr Hf Sc Ca Sr Mg {_RE_BIG}", "B": "Ni Co Rh Ir Pd Pt Cu Fe Ru Zn",
         "X": "Si Ge P As Sn Ga Al"},
        {"AB": (1.0, 1.5)}, weight=0.8,
    ),
)


def elemental_candidates() -> list[Candidate]:
    """Crystals of the elements: fcc, bcc and hcp for every metal, and the elements' own types."""
    found = [
        Candidate(kind, (("A", symbol),))
        for symbol in METALS.split()
        for kind in ("fcc", "bcc", "hcp")
    ]
    for kind, symbols in _ELEMENTAL_EXTRAS.items():
        found += [Candidate(kind, (("A", symbol),)) for symbol in symbols.split()]
    return found


def compound_candidates(
    n: int, rng: np.random.Generator, largest_share: float
) -> list[Candidate]:
    """Seeded choice of ``n`` decorations, in a shuffled order that mixes the types.

    Args:
        n: number of candidates wanted.
        rng: source of the choice.
        largest_share: no structure type gets more than this share of ``n``.

    Returns:
        The chosen candidates; any beginning of the list is itself a balanced choice.
    """
    pools: dict[str, list[Candidate]] = {}
    weights: dict[str, float] = {}
    for rule in RULES:
        pool = pools.setdefault(rule.prototype, [])
        pool += [c for c in dict.fromkeys(rule.candidates()) if c not in set(pool)]
        weights[rule.prototype] = weights.get(rule.prototype, 0.0) + rule.weight
    names = list(pools)
    sizes = np.array([len(pools[name]) for name in names], dtype=np.float64)
    quotas = _shares(sizes, np.array([weights[name] for name in names]), n, largest_share * n)
    chosen = [
        pools[name][i]
        for name, quota in zip(names, quotas, strict=True)
        for i in rng.permutation(len(pools[name]))[:quota]
    ]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _shares(
    sizes: np.ndarray, weights: np.ndarray, n: int, largest: float
) -> Sequence[int]:
    """Split ``n`` by ``weights`` without passing ``sizes`` or ``largest``: raise a common level."""
    ceiling = np.minimum(sizes, largest)
    low, high = 0.0, float(n)
    for _ in range(60):
        level = (low + high) / 2
        low, high = (level, high) if np.minimum(ceiling, level * weights).sum() < n else (low, level)
    return [int(q) for q in np.floor(np.minimum(ceiling, high * weights) + 0.5)]
