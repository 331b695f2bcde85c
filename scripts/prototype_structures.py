"""Structure types of the small dataset, as Wyckoff data.

Every structure type is given by its space group, its axial ratios and one representative per
occupied orbit, under a chemical role (``A``, ``B`` for cations or metals, ``X``, ``Y`` for anions
or metalloids). Free parameters are starting values only: the relaxation moves them. The values
are the textbook ones of the mineral or compound named beside each type.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StructureType:
    """One structure type.

    Attributes
    ----------
    name
        The type's usual name, stored in the dataset's ``prototype`` column.
    group
        Hermann-Mauguin symbol (standard setting, origin choice 2, hexagonal axes).
    axes
        ``(b/a, c/a)``; angles follow from the crystal system except for ``beta``.
    orbits
        ``(role, fractional coordinates)`` of one position per occupied orbit.
    beta
        Monoclinic angle in degrees.
    """

    name: str
    group: str
    axes: tuple[float, float]
    orbits: tuple[tuple[str, tuple[float, float, float]], ...]
    beta: float = 90.0


_O = (0.0, 0.0, 0.0)
_HALF = (0.5, 0.5, 0.5)
_T1, _T2 = 1 / 3, 2 / 3
_CUBIC = (1.0, 1.0)


def _t(
    name: str,
    group: str,
    axes: tuple[float, float] | float,
    *orbits: tuple[str, tuple[float, float, float]],
    beta: float = 90.0,
) -> StructureType:
    """Shorthand of the table below: a lone ``axes`` number is c/a with b = a."""
    pair = axes if isinstance(axes, tuple) else (1.0, axes)
    return StructureType(name, group, pair, orbits, beta)


STRUCTURE_TYPES: tuple[StructureType, ...] = (
    # --- elements -----------------------------------------------------------------------------
    _t("fcc", "Fm-3m", _CUBIC, ("A", _O)),
    _t("bcc", "Im-3m", _CUBIC, ("A", _O)),
    _t("hcp", "P6_3/mmc", 1.60, ("A", (_T1, _T2, 0.25))),
    _t("dhcp", "P6_3/mmc", 3.22, ("A", _O), ("A", (_T1, _T2, 0.25))),
    _t("alpha-Sm", "R-3m", 7.22, ("A", _O), ("A", (0, 0, 0.222))),
    _t("omega-Ti", "P6/mmm", 0.61, ("A", _O), ("A", (_T1, _T2, 0.5))),
    _t("alpha-U", "Cmcm", (2.056, 1.736), ("A", (0, 0.1025, 0.25))),
    _t("In", "I4/mmm", 1.52, ("A", _O)),
    _t("alpha-Hg", "R-3m", 1.93, ("A", _O)),
    _t("beta-Sn", "I4_1/amd", 0.5456, ("A", (0, 0.75, 0.125))),
    _t("alpha-Ga", "Cmce", (1.695, 1.0016), ("A", (0, 0.1539, 0.081))),
    _t(
        "alpha-Mn",
        "I-43m",
        _CUBIC,
        ("A", _O),
        ("A", (0.317, 0.317, 0.317)),
        ("A", (0.356, 0.356, 0.034)),
        ("A", (0.089, 0.089, 0.282)),
    ),
    _t("beta-Mn", "P4_132", _CUBIC, ("A", (0.0636,) * 3), ("A", (0.125, 0.2022, 0.4522))),
    _t("diamond", "Fd-3m", _CUBIC, ("A", (0.125,) * 3)),
    _t("graphite", "P6_3/mmc", 2.726, ("A", (0, 0, 0.25)), ("A", (_T1, _T2, 0.25))),
    _t(
        "alpha-B",
        "R-3m",
        2.5605,
        ("A", (0.1186, -0.1186, 0.8912)),
        ("A", (0.1968, -0.1968, 0.0243)),
    ),
    _t("alpha-As", "R-3m", 2.80, ("A", (0, 0, 0.228))),
    _t("black P", "Cmce", (3.162, 1.3207), ("A", (0, 0.1017, 0.0806))),
    _t("gamma-Se", "P3_121", 1.135, ("A", (0.225, 0, _T1))),
    _t("S6", "R-3", 0.3956, ("A", (0.1454, 0.1882, 0.1055))),
    _t("I2", "Cmce", (0.687, 1.345), ("A", (0, 0.142, 0.109))),
    _t("alpha-N2", "Pa-3", _CUBIC, ("A", (0.0575,) * 3)),
    _t("alpha-O2", "C2/m", (0.6347, 0.9413), ("A", (0.1027, 0, 0.1614)), beta=132.53),
    _t("H2", "P6_3/mmc", 1.634, ("A", (_T1, _T2, 0.19))),
    # --- two roles ----------------------------------------------------------------------------
    _t("rock salt", "Fm-3m", _CUBIC, ("A", _O), ("X", _HALF)),
    _t("zinc blende", "F-43m", _CUBIC, ("A", _O), ("X", (0.25,) * 3)),
    _t("wurtzite", "P6_3mc", 1.63, ("A", (_T1, _T2, 0)), ("X", (_T1, _T2, 0.376))),
    _t("CsCl", "Pm-3m", _CUBIC, ("A", _O), ("X", _HALF)),
    _t("NiAs", "P6_3/mmc", 1.45, ("A", _O), ("X", (_T1, _T2, 0.25))),
    _t("WC", "P-6m2", 0.976, ("A", _O), ("X", (_T1, _T2, 0.5))),
    _t("litharge", "P4/nmm", 1.30, ("X", (0.75, 0.25, 0)), ("A", (0.25, 0.25, 0.245))),
    _t("anti-litharge (FeSe)", "P4/nmm", 1.46, ("A", (0.75, 0.25, 0)), ("X", (0.25, 0.25, 0.267))),
    _t("FeSi", "P2_13", _CUBIC, ("A", (0.1358,) * 3), ("X", (0.844,) * 3)),
    _t("CrB", "Cmcm", (2.646, 0.987), ("A", (0, 0.146, 0.25)), ("X", (0, 0.440, 0.25))),
    _t("CuAu L1_0", "P4/mmm", 1.32, ("A", _O), ("X", _HALF)),
    _t("fluorite", "Fm-3m", _CUBIC, ("A", _O), ("X", (0.25,) * 3)),
    _t("antifluorite", "Fm-3m", _CUBIC, ("X", _O), ("A", (0.25,) * 3)),
    _t("rutile", "P4_2/mnm", 0.65, ("A", _O), ("X", (0.305, 0.305, 0))),
    _t("anatase", "I4_1/amd", 2.51, ("A", (0, 0.25, 0.375)), ("X", (0, 0.25, 0.1686))),
    _t("beta-cristobalite", "Fd-3m", _CUBIC, ("A", (0.125,) * 3), ("X", _O)),
    _t("pyrite", "Pa-3", _CUBIC, ("A", _O), ("X", (0.385,) * 3)),
    _t("CdI2", "P-3m1", 1.62, ("A", _O), ("X", (_T1, _T2, 0.25))),
    _t("CdCl2", "R-3m", 4.75, ("A", _O), ("X", (0, 0, 0.253))),
    _t("2H-MoS2", "P6_3/mmc", 3.90, ("A", (_T1, _T2, 0.25)), ("X", (_T1, _T2, 0.621))),
    _t(
        "cotunnite",
        "Pnma",
        (0.604, 1.144),
        ("A", (0.238, 0.25, 0.107)),
        ("X", (0.357, 0.25, 0.427)),
        ("X", (0.974, 0.25, 0.677)),
    ),
    _t("cuprite", "Pn-3m", _CUBIC, ("A", _O), ("X", (0.25,) * 3)),
    _t("CaC2", "I4/mmm", 1.66, ("A", _O), ("X", (0, 0, 0.4))),
    _t("MoSi2", "I4/mmm", 2.45, ("A", _O), ("X", (0, 0, 0.335))),
    _t("AlB2", "P6/mmm", 1.08, ("A", _O), ("X", (_T1, _T2, 0.5))),
    _t("CuAl2", "I4/mcm", 0.80, ("A", (0, 0, 0.25)), ("X", (0.158, 0.658, 0))),
    _t("Laves C15", "Fd-3m", _CUBIC, ("A", (0.125,) * 3), ("X", _HALF)),
    _t(
        "Laves C14",
        "P6_3/mmc",
        1.64,
        ("A", (_T1, _T2, 0.062)),
        ("X", _O),
        ("X", (0.8305, 0.661, 0.25)),
    ),
    _t(
        "Fe2P",
        "P-62m",
        0.59,
        ("A", (0.256, 0, 0)),
        ("A", (0.594, 0, 0.5)),
        ("X", (0, 0, 0.5)),
        ("X", (_T1, _T2, 0)),
    ),
    _t("corundum", "R-3c", 2.73, ("A", (0, 0, 0.352)), ("X", (0.306, 0, 0.25))),
    _t(
        "A-La2O3",
        "P-3m1",
        1.56,
        ("A", (_T1, _T2, 0.2467)),
        ("X", _O),
        ("X", (_T1, _T2, 0.647)),
    ),
    _t(
        "anti-La2O3 (Mg3Sb2)",
        "P-3m1",
        1.58,
        ("X", (_T1, _T2, 0.226)),
        ("A", _O),
        ("A", (_T1, _T2, 0.633)),
    ),
    _t("Ni2Al3", "P-3m1", 1.21, ("A", (_T1, _T2, 0.149)), ("X", _O), ("X", (_T1, _T2, 0.648))),
    _t("ReO3", "Pm-3m", _CUBIC, ("A", _O), ("X", (0.5, 0, 0))),
    _t("BiI3", "R-3", 2.76, ("A", (0, 0, 0.1667)), ("X", (0.3415, 0.3395, 0.0805))),
    _t("UCl3", "P6_3/m", 0.584, ("A", (_T1, _T2, 0.25)), ("X", (0.387, 0.3015, 0.25))),
    _t("BiF3 (D0_3)", "Fm-3m", _CUBIC, ("A", _O), ("X", _HALF), ("X", (0.25,) * 3)),
    _t("Li3Bi (anti-BiF3)", "Fm-3m", _CUBIC, ("X", _O), ("A", _HALF), ("A", (0.25,) * 3)),
    _t(
        "Na3As",
        "P6_3/mmc",
        1.77,
        ("X", (_T1, _T2, 0.25)),
        ("A", (0, 0, 0.25)),
        ("A", (_T1, _T2, 0.583)),
    ),
    _t("Cu3Au L1_2", "Pm-3m", _CUBIC, ("X", _O), ("A", (0.5, 0.5, 0))),
    _t("Ni3Sn (D0_19)", "P6_3/mmc", 0.80, ("X", (_T1, _T2, 0.25)), ("A", (0.833, 0.666, 0.25))),
    _t(
        "Al3Ti (D0_22)",
        "I4/mmm",
        2.23,
        ("X", _O),
        ("A", (0, 0, 0.5)),
        ("A", (0, 0.5, 0.25)),
    ),
    _t("A15", "Pm-3n", _CUBIC, ("X", _O), ("A", (0.25, 0, 0.5))),
    _t("skutterudite", "Im-3", _CUBIC, ("A", (0.25,) * 3), ("X", (0, 0.335, 0.16))),
    _t("Th3P4", "I-43d", _CUBIC, ("A", (0.375, 0, 0.25)), ("X", (0.083,) * 3)),
    _t("BaAl4", "I4/mmm", 2.46, ("A", _O), ("X", (0, 0.5, 0.25)), ("X", (0, 0, 0.38))),
    _t(
        "CaCu5",
        "P6/mmm",
        0.80,
        ("A", _O),
        ("X", (_T1, _T2, 0)),
        ("X", (0.5, 0, 0.5)),
    ),
    _t("CaB6", "Pm-3m", _CUBIC, ("A", _O), ("X", (0.2, 0.5, 0.5))),
    # --- three roles --------------------------------------------------------------------------
    _t("perovskite", "Pm-3m", _CUBIC, ("A", _HALF), ("B", _O), ("X", (0.5, 0, 0))),
    _t(
        "GdFeO3",
        "Pnma",
        (1.375, 0.964),
        ("A", (0.05, 0.25, 0.985)),
        ("B", (0, 0, 0.5)),
        ("X", (0.48, 0.25, 0.08)),
        ("X", (0.29, 0.04, 0.71)),
    ),
    _t("antiperovskite", "Pm-3m", _CUBIC, ("Y", _HALF), ("X", _O), ("A", (0.5, 0, 0))),
    _t(
        "CsNiCl3",
        "P6_3/mmc",
        0.83,
        ("A", (_T1, _T2, 0.75)),
        ("B", _O),
        ("X", (0.156, 0.312, 0.25)),
    ),
    _t(
        "K2NiF4",
        "I4/mmm",
        3.27,
        ("A", (0, 0, 0.355)),
        ("B", _O),
        ("X", (0, 0.5, 0)),
        ("X", (0, 0, 0.155)),
    ),
    _t("K2PtCl6", "Fm-3m", _CUBIC, ("A", (0.25,) * 3), ("B", _O), ("X", (0.24, 0, 0))),
    _t("spinel", "Fd-3m", _CUBIC, ("A", (0.125,) * 3), ("B", _HALF), ("X", (0.2625,) * 3)),
    _t(
        "ilmenite",
        "R-3",
        2.77,
        ("A", (0, 0, 0.355)),
        ("B", (0, 0, 0.147)),
        ("X", (0.317, 0.023, 0.245)),
    ),
    _t("calcite", "R-3c", 3.42, ("A", _O), ("B", (0, 0, 0.25)), ("X", (0.257, 0, 0.25))),
    _t("delafossite", "R-3m", 5.65, ("A", _O), ("B", (0, 0, 0.5)), ("X", (0, 0, 0.108))),
    _t("alpha-NaFeO2", "R-3m", 5.30, ("A", _O), ("B", (0, 0, 0.5)), ("X", (0, 0, 0.235))),
    _t(
        "chalcopyrite",
        "I-42d",
        1.97,
        ("A", _O),
        ("B", (0, 0, 0.5)),
        ("X", (0.257, 0.25, 0.125)),
    ),
    _t(
        "zircon",
        "I4_1/amd",
        0.905,
        ("A", (0, 0.75, 0.125)),
        ("B", (0, 0.25, 0.375)),
        ("X", (0, 0.066, 0.195)),
    ),
    _t(
        "scheelite",
        "I4_1/a",
        2.17,
        ("A", (0, 0.25, 0.625)),
        ("B", (0, 0.25, 0.125)),
        ("X", (0.151, 0.0086, 0.2106)),
    ),
    _t(
        "matlockite (PbFCl)",
        "P4/nmm",
        1.75,
        ("Y", (0.75, 0.25, 0)),
        ("A", (0.25, 0.25, 0.19)),
        ("X", (0.25, 0.25, 0.645)),
    ),
    _t(
        "ThCr2Si2",
        "I4/mmm",
        2.60,
        ("A", _O),
        ("B", (0, 0.5, 0.25)),
        ("X", (0, 0, 0.37)),
    ),
    _t(
        "CaAl2Si2",
        "P-3m1",
        1.70,
        ("A", _O),
        ("B", (_T1, _T2, 0.63)),
        ("X", (_T1, _T2, 0.26)),
    ),
    _t("half Heusler", "F-43m", _CUBIC, ("A", _HALF), ("B", (0.25,) * 3), ("X", _O)),
    _t("full Heusler", "Fm-3m", _CUBIC, ("A", _HALF), ("B", (0.25,) * 3), ("X", _O)),
    _t(
        "inverse Heusler",
        "F-43m",
        _CUBIC,
        ("B", _O),
        ("B", (0.25,) * 3),
        ("A", _HALF),
        ("X", (0.75,) * 3),
    ),
    _t(
        "MAX phase (Cr2AlC)",
        "P6_3/mmc",
        4.40,
        ("A", (_T1, _T2, 0.086)),
        ("B", (_T1, _T2, 0.75)),
        ("X", _O),
    ),
    _t(
        "ZrNiAl",
        "P-62m",
        0.52,
        ("A", (0.59, 0, 0.5)),
        ("X", (0.25, 0, 0)),
        ("B", (0, 0, 0.5)),
        ("B", (_T1, _T2, 0)),
    ),
    _t(
        "TiNiSi",
        "Pnma",
        (0.597, 1.141),
        ("A", (0.021, 0.25, 0.180)),
        ("B", (0.142, 0.25, 0.561)),
        ("X", (0.765, 0.25, 0.623)),
    ),
)
