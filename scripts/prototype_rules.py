"""The decorations of every structure type, and the seeded choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prototype_chemistry import EARLY, METALS, RARE_EARTHS, Candidate, Ionic, Metallic

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
    "I2": "Cl Br I",
    "alpha-N2": "N O F",
    "alpha-O2": "O F",
    "H2": "H",
}

_RE_BIG = f"Y {RARE_EARTHS}"
_TETRAHEDRAL = "Be Mg Zn Cd Hg Mn Fe Co B Al Ga In Si Ge Sn Cu Ag"
_HEUSLER_X = "Al Ga In Si Ge Sn Pb Sb Bi Zn As"

#: Compounds that a reader looks for, always chosen: the elements in the order of the roles.
WELL_KNOWN: Mapping[str, str] = {
    "rock salt": "Na-Cl Mg-O Li-F K-Cl Ca-O Ni-O Ti-N Ti-C Pb-S Pb-Se",
    "zinc blende": "Zn-S Ga-As Ga-P In-P In-As Al-As B-N Cd-Te Cu-Cl Si-C",
    "wurtzite": "Zn-O Zn-S Ga-N Al-N Cd-S Cd-Se Be-O Ag-I",
    "CsCl": "Cs-Cl Cs-Br Cs-I Al-Ni Ti-Ni",
    "NiAs": "Ni-As Fe-S",
    "WC": "W-C",
    "litharge": "Pb-O Sn-O",
    "anti-litharge (FeSe)": "Fe-Se",
    "FeSi": "Fe-Si",
    "CrB": "Cr-B",
    "CuAu L1_0": "Cu-Au Fe-Pt",
    "fluorite": "Ca-F Sr-F Ba-F Ce-O Th-O U-O Zr-O",
    "antifluorite": "Li-O Na-S Mg-Si Mg-Sn",
    "rutile": "Ti-O Sn-O Mn-O Ru-O Mg-F Mg-H",
    "anatase": "Ti-O",
    "beta-cristobalite": "Si-O",
    "pyrite": "Fe-S",
    "CdI2": "Cd-I Ti-S Sn-S",
    "CdCl2": "Cd-Cl Mg-Cl",
    "2H-MoS2": "Mo-S W-S Mo-Se Nb-Se",
    "cotunnite": "Pb-Cl Ba-Cl Ca-H",
    "cuprite": "Cu-O",
    "CaC2": "Ca-C",
    "MoSi2": "Mo-Si",
    "AlB2": "Al-B Mg-B Ti-B",
    "CuAl2": "Cu-Al",
    "Laves C15": "Mg-Cu",
    "Laves C14": "Mg-Zn",
    "Fe2P": "Fe-P",
    "corundum": "Al-O Cr-O Fe-O V-O",
    "A-La2O3": "La-O",
    "anti-La2O3 (Mg3Sb2)": "Mg-Sb",
    "Ni2Al3": "Ni-Al",
    "ReO3": "Re-O Al-F",
    "BiI3": "Bi-I",
    "UCl3": "U-Cl La-Cl",
    "BiF3 (D0_3)": "Bi-F Al-Fe",
    "Na3As": "Na-As",
    "Cu3Au L1_2": "Cu-Au Ni-Al",
    "Ni3Sn (D0_19)": "Ni-Sn",
    "Al3Ti (D0_22)": "Al-Ti",
    "A15": "Cr-Si Nb-Sn V-Si",
    "skutterudite": "Co-Sb",
    "Th3P4": "Th-P",
    "BaAl4": "Ba-Al",
    "CaCu5": "Ca-Cu La-Ni Sm-Co",
    "CaB6": "Ca-B La-B",
    "perovskite": "Sr-Ti-O Ba-Ti-O Ca-Ti-O La-Al-O K-Mg-F Cs-Pb-I Cs-Pb-Br",
    "GdFeO3": "Gd-Fe-O Ca-Ti-O Y-Al-O La-Mn-O",
    "antiperovskite": "Mn-N-Ga",
    "CsNiCl3": "Cs-Ni-Cl",
    "K2NiF4": "K-Ni-F Sr-Ti-O",
    "K2PtCl6": "K-Pt-Cl Cs-Sn-I",
    "spinel": "Mg-Al-O Zn-Fe-O Co-Al-O",
    "ilmenite": "Fe-Ti-O Mg-Ti-O",
    "calcite": "Ca-C-O Mg-C-O Na-N-O",
    "delafossite": "Cu-Al-O Cu-Fe-O",
    "alpha-NaFeO2": "Na-Fe-O Li-Co-O",
    "chalcopyrite": "Cu-Fe-S Cu-In-Se Cu-Ga-S",
    "zircon": "Zr-Si-O Y-V-O",
    "scheelite": "Ca-W-O Pb-W-O",
    "matlockite (PbFCl)": "Pb-Cl-F Bi-Cl-O",
    "ThCr2Si2": "Th-Cr-Si Ba-Fe-As Ce-Cu-Si",
    "CaAl2Si2": "Ca-Al-Si",
    "half Heusler": "Ti-Ni-Sn Hf-Ni-Sn Zr-Ni-Sn Mn-Ni-Sb Li-Zn-P",
    "full Heusler": "Mn-Cu-Al Mn-Co-Si Ti-Ni-Sn",
    "inverse Heusler": "Co-Mn-Al",
    "MAX phase (Cr2AlC)": "Cr-Al-C Ti-Al-C",
    "ZrNiAl": "Zr-Ni-Al",
    "TiNiSi": "Ti-Ni-Si",
}

RULES: tuple[Ionic | Metallic, ...] = (
    # --- binary, ionic and covalent ---
    Ionic("rock salt", "F Cl Br I H O S Se Te N P As Sb C", {"A": (0.42, 1.35)}, weight=2.5),
    Ionic(
        "zinc blende",
        "F Cl Br I O S Se Te N P As Sb C",
        {"A": (0.1, 0.72)},
        {"A": _TETRAHEDRAL},
        weight=2.0,
    ),
    Ionic(
        "wurtzite",
        "Cl Br I O S Se Te N P As C",
        {"A": (0.1, 0.72)},
        {"A": _TETRAHEDRAL},
        weight=1.5,
    ),
    Ionic("CsCl", "Cl Br I F", {"A": (0.7, 1.5)}, {"A": "K Rb Cs Tl"}, weight=0.4),
    Ionic(
        "NiAs",
        "S Se Te As Sb P",
        {"A": (0.3, 0.8)},
        {"A": "Ti V Cr Mn Fe Co Ni Pd Pt Rh Ir Mo Nb Sc Y"},
    ),
    Ionic(
        "litharge", "O S", {"A": (0.4, 1.3)}, {"A": "Sn Pb Pd Pt Ge Cu"}, {"A": (2,)}, weight=0.4
    ),
    Ionic(
        "anti-litharge (FeSe)",
        "S Se Te",
        {"A": (0.2, 0.9)},
        {"A": "V Cr Mn Fe Co Ni Zn Pd Be Mg"},
        {"A": (2,)},
        weight=0.6,
    ),
    Ionic("fluorite", "F Cl H O S C N", {"A": (0.55, 1.4)}, weight=1.5),
    Ionic("antifluorite", "O S Se Te C", {"A": (0.3, 1.2)}, charges={"A": (1, 2)}, weight=1.5),
    Metallic("antifluorite", {"A": "Mg Be", "X": "Si Ge Sn Pb"}, weight=0.3),
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
        "anti-La2O3 (Mg3Sb2)",
        "N P As Sb",
        {"A": (0.3, 1.1)},
        {"A": "Be Mg Ca Sr Ba Zn Cd Mn Eu Yb"},
    ),
    Ionic(
        "ReO3",
        "O F H N",
        {"A": (0.35, 0.8)},
        {"A": "Re W Mo U Al Ga Sc In Fe Ti V Cr Nb Ta Cu Li Na"},
    ),
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
        {
            "A": f"Li Mg Ca Be Al Sc Y Ti Zr Hf {RARE_EARTHS}",
            "X": "Cu Ag Au Zn Cd Hg Mg Ni Pd Pt Co Rh Ir Fe Ru Os Al Ga In Tl",
        },
        {"AX": (0.85, 1.6)},
        weight=2.0,
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
    Metallic("CuAl2", {"A": "Cu Fe Co Ni Pd Pt Rh Au", "X": "Al Sn Ga In Tl Pb Zr Hf Ta Sc Th"}),
    Metallic(
        "Laves C15",
        {
            "A": f"Ca Sr Ba Zr Hf Sc Y Ti Nb Ta Th U Na K Bi Mg {RARE_EARTHS}",
            "X": "Al Mg Mn Fe Co Ni Cu Cr V W Mo Ru Rh Ir Pt Au Zn",
        },
        {"AX": (1.10, 1.5)},
        weight=1.8,
    ),
    Metallic(
        "Laves C14",
        {
            "A": f"Mg Ca Ti Zr Hf Sc Y Nb Ta {RARE_EARTHS}",
            "X": "Zn Mg Mn Fe Cr Ru Re Os Tc Cu Al Li Cd",
        },
        {"AX": (1.10, 1.45)},
        weight=0.8,
    ),
    Metallic("Fe2P", {"A": "Fe Mn Ni Co Cr Pd Rh", "X": "P As Si Ge"}, weight=0.7),
    Metallic("Ni2Al3", {"A": "Ni Pd Pt Cu Co", "X": "Al Ga In Zn"}, weight=0.6),
    Metallic(
        "Cu3Au L1_2",
        {
            "A": "Cu Ni Pt Pd Fe Co Rh Ir Al Ga In Sn Tl Pb Au Mn Zn",
            "X": f"Au Al Ga Ge Si Sn Pb Ti Zr Hf Nb Ta Sc Y Mn Fe Cr U Ca {RARE_EARTHS}",
        },
        {"XA": (0.85, 1.4)},
        weight=1.6,
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
        "CaCu5",
        {"A": f"Ca Sr Th Zr Hf {_RE_BIG}", "X": "Cu Ni Co Zn Pt Fe Ag Au Rh Ir"},
    ),
    Metallic("CaB6", {"A": f"Na K Rb Ca Sr Ba Th U {_RE_BIG}", "X": "B"}, weight=0.8),
    # --- ternary, ionic ---
    Ionic(
        "perovskite",
        "O F Cl Br I H S N",
        {"A": (0.6, 1.7), "B": (0.40, 0.95)},
        tolerance=(0.80, 1.06),
        weight=2.5,
    ),
    Ionic(
        "GdFeO3",
        "O F S H",
        {"A": (0.7, 1.3), "B": (0.42, 0.90)},
        tolerance=(0.77, 0.88),
        weight=1.4,
    ),
    Ionic(
        "antiperovskite",
        "O S Se H F Cl Br I N P As Sb C",
        {"A": (0.2, 1.3)},
        charges={"A": (1, 2)},
        anionic="XY",
        weight=1.5,
    ),
    Metallic(
        "antiperovskite",
        {
            "A": "Mn Fe Ni Co Ca Sr Ba Ti La Ce Sc Y",
            "X": "C N B",
            "Y": "Al Ga In Sn Zn Ge Pb Tl Pt",
        },
        weight=1.5,
    ),
    Ionic(
        "CsNiCl3",
        "Cl Br I F O S",
        {"A": (0.75, 1.8), "B": (0.35, 0.75)},
        {"A": "K Rb Cs Tl Ba Sr"},
        tolerance=(0.93, 1.25),
        weight=0.9,
    ),
    Ionic(
        "K2NiF4",
        "O F Cl H",
        {"A": (0.8, 1.6), "B": (0.45, 0.95)},
        tolerance=(0.82, 1.10),
        weight=1.5,
    ),
    Ionic(
        "K2PtCl6",
        "F Cl Br I",
        {"A": (0.6, 1.7), "B": (0.3, 0.7)},
        charges={"A": (1,), "B": (4,)},
        weight=1.3,
    ),
    Ionic(
        "spinel",
        "O S Se F",
        {"A": (0.3, 0.78), "B": (0.35, 0.80)},
        charges={"A": (1, 2, 4), "B": (1, 2, 3)},
        weight=1.8,
    ),
    Ionic(
        "ilmenite",
        "O",
        {"A": (0.45, 0.80), "B": (0.38, 0.70)},
        charges={"A": (1, 2, 3), "B": (3, 4, 5)},
        tolerance=(0.65, 0.83),
    ),
    Ionic(
        "calcite",
        "O",
        {"A": (0.4, 1.2), "B": (0.0, 0.35)},
        {"B": "C B N"},
        {"A": (1, 2, 3), "B": (3, 4, 5)},
        weight=0.9,
    ),
    Ionic(
        "delafossite",
        "O",
        {"A": (0.5, 1.2), "B": (0.35, 0.95)},
        {"A": "Cu Ag Pd Pt Hg"},
        {"A": (1,), "B": (3,)},
    ),
    Ionic(
        "alpha-NaFeO2",
        "O S Se N F",
        {"A": (0.4, 1.2), "B": (0.35, 0.85)},
        charges={"A": (1, 2), "B": (2, 3, 4)},
        weight=1.5,
    ),
    Ionic(
        "chalcopyrite",
        "S Se Te P As N Sb",
        {"A": (0.2, 0.75), "B": (0.1, 0.6)},
        {"A": "Cu Ag Li Zn Cd Mg Mn Be Fe", "B": "Al Ga In Tl Fe Cr Si Ge Sn B"},
        {"A": (1, 2), "B": (3, 4)},
        weight=1.5,
    ),
    Ionic(
        "zircon",
        "O",
        {"A": (0.55, 1.0), "B": (0.1, 0.55)},
        {"B": "Si Ge P As V Cr Mo"},
        {"A": (2, 3, 4), "B": (4, 5, 6)},
        weight=0.9,
    ),
    Ionic(
        "scheelite",
        "O F",
        {"A": (0.5, 1.5), "B": (0.2, 0.65)},
        {"B": "W Mo V Nb Re Tc I Ge Cr Y Lu Er Yb Zn Be"},
        weight=1.0,
    ),
    Ionic(
        "matlockite (PbFCl)",
        "F Cl Br I O S Se Te H N P As",
        {"A": (0.45, 1.3)},
        charges={"A": (2, 3, 4)},
        anionic="XY",
        weight=1.6,
    ),
    # --- ternary, metallic ---
    Metallic(
        "ThCr2Si2",
        {
            "A": f"K Rb Cs Ca Sr Ba Th U {_RE_BIG}",
            "B": "Mn Fe Co Ni Cu Zn Ru Rh Pd Ag Ir Pt Au Cr",
            "X": "Si Ge P As Sb Se S",
        },
        weight=2.0,
    ),
    Ionic(
        "CaAl2Si2",
        "N P As Sb",
        {"A": (0.4, 1.0), "B": (0.2, 0.7)},
        {"A": "Ca Sr Ba Eu Yb Mg Sm", "B": "Mg Zn Cd Mn Be Fe"},
        {"A": (2,), "B": (2,)},
    ),
    Metallic("CaAl2Si2", {"A": f"Ca Sr Ba {_RE_BIG}", "B": "Al Ga", "X": "Si Ge"}, weight=0.6),
    Metallic(
        "half Heusler",
        {
            "A": f"Li Na K Mg Ca Ti Zr Hf Sc Y V Nb Ta Mn {RARE_EARTHS}",
            "B": "Fe Co Ni Cu Ru Rh Pd Ag Ir Pt Au Zn Cd Mg Li",
            "X": "Al Ga In Si Ge Sn Sb Bi As P Te",
        },
        weight=2.4,
    ),
    Metallic(
        "full Heusler",
        {
            "A": f"Ti Zr Hf V Nb Ta Cr Mn Fe Sc Y Li Mg {RARE_EARTHS}",
            "B": "Mn Fe Co Ni Cu Ru Rh Pd Ag Ir Pt Au Li",
            "X": _HEUSLER_X,
        },
        {"AB": (0.85, 1.45)},
        weight=2.4,
    ),
    Metallic(
        "inverse Heusler",
        {"A": "Fe Co Ni Cu Rh Pt Ir Ru Pd", "B": "Mn Ti V Cr Sc Zr Hf", "X": _HEUSLER_X},
        weight=1.4,
    ),
    Metallic(
        "MAX phase (Cr2AlC)",
        {
            "A": "Sc Ti V Cr Zr Nb Mo Hf Ta Lu",
            "B": "Al Si P S Ga Ge As Cd In Sn Tl Pb Zn",
            "X": "C N",
        },
        weight=1.4,
    ),
    Metallic(
        "ZrNiAl",
        {
            "A": f"Sc Zr Hf Ca Th U {_RE_BIG}",
            "B": "Ni Pd Pt Cu Rh Ir Au Ag Fe Co",
            "X": "Al Ga In Sn Mg Zn Cd",
        },
        weight=1.1,
    ),
    Metallic(
        "TiNiSi",
        {
            "A": f"Ti Zr Hf Sc Ca Sr Mg {_RE_BIG}",
            "B": "Ni Co Rh Ir Pd Pt Cu Fe Ru Zn",
            "X": "Si Ge P As Sn Ga Al",
        },
        {"AB": (1.0, 1.5)},
        weight=0.8,
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


def compound_candidates(n: int, rng: np.random.Generator, largest_share: float) -> list[Candidate]:
    """Seeded choice of ``n`` decorations, in a shuffled order that mixes the types.

    Parameters
    ----------
    n
        Number of candidates wanted.
    rng
        Source of the choice.
    largest_share
        No structure type gets more than this share of ``n``.

    Returns
    -------
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
        candidate
        for name, quota in zip(names, quotas, strict=True)
        for candidate in _pick(name, pools[name], quota, rng)
    ]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _pick(
    name: str, pool: Sequence[Candidate], quota: int, rng: np.random.Generator
) -> list[Candidate]:
    """The well-known compounds of a structure type, then others at random, ``quota`` in all."""
    by_elements = {"-".join(element for _, element in c.elements): c for c in pool}
    wanted = WELL_KNOWN.get(name, "").split()
    if forbidden := [symbols for symbols in wanted if symbols not in by_elements]:
        raise ValueError(f"{name}: no rule allows {', '.join(forbidden)}; mend RULES or WELL_KNOWN")
    known = [by_elements[symbols] for symbols in wanted]
    others = [c for c in pool if c not in set(known)]
    return (known + [others[i] for i in rng.permutation(len(others))])[:quota]


def _shares(sizes: np.ndarray, weights: np.ndarray, n: int, largest: float) -> Sequence[int]:
    """Split ``n`` by ``weights`` without passing ``sizes`` or ``largest``: raise a common level."""
    ceiling = np.minimum(sizes, largest)
    low, high = 0.0, float(n)
    for _ in range(60):
        level = (low + high) / 2
        low, high = (
            (level, high) if np.minimum(ceiling, level * weights).sum() < n else (low, level)
        )
    return [int(q) for q in np.floor(np.minimum(ceiling, high * weights) + 0.5)]
