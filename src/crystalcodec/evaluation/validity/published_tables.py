"""What SMACT 2.2.1 held, with which the published validity of compositions was counted."""

from __future__ import annotations

from typing import Final

__all__ = ["ELECTRONEGATIVITIES", "METALS", "OXIDATION_STATES"]

# From the data files of SMACT 2.2.1 (MIT licence), which CDVAE's evaluation ran with. Later
# versions give Zr its 1.33 and Ir -3 in place of -2; kept as they were, to count as published.
OXIDATION_STATES: Final = """
    H:-1,1 He: Li:1 Be:1,2 B:1,2,3 C:-4,-3,-2,-1,1,2,3,4 N:-3,-2,-1,1,2,3,4,5 O:-2,-1,1,2 F:-1 Ne:
    Na:-1,1 Mg:1,2 Al:1,2,3 Si:-4,-3,-2,-1,1,2,3,4 P:-3,-2,-1,1,2,3,4,5 S:-2,-1,1,2,3,4,5,6
    Cl:-1,1,2,3,4,5,6,7 Ar: K:-1,1 Ca:1,2 Sc:1,2,3 Ti:-1,1,2,3,4 V:-1,1,2,3,4,5
    Cr:-2,-1,1,2,3,4,5,6 Mn:-3,-2,-1,1,2,3,4,5,6,7 Fe:-2,-1,1,2,3,4,5,6 Co:-1,1,2,3,4,5
    Ni:-1,1,2,3,4 Cu:1,2,3,4 Zn:1,2 Ga:1,2,3 Ge:-4,-3,-2,-1,1,2,3,4 As:-3,1,2,3,5 Se:-2,1,2,4,6
    Br:-1,1,2,3,4,5,7 Kr:2 Rb:-1,1 Sr:1,2 Y:1,2,3 Zr:1,2,3,4 Nb:-1,1,2,3,4,5 Mo:-2,-1,1,2,3,4,5,6
    Tc:-3,-1,1,2,3,4,5,6,7 Ru:-2,1,2,3,4,5,6,7,8 Rh:-1,1,2,3,4,5,6 Pd:1,2,4,6 Ag:1,2,3,4 Cd:1,2
    In:1,2,3 Sn:-4,2,4 Sb:-3,3,5 Te:-2,2,4,5,6 I:-1,1,3,4,5,7 Xe:1,2,4,6,8 Cs:-1,1 Ba:2 La:2,3
    Ce:2,3,4 Pr:2,3,4 Nd:2,3,4 Pm:2,3 Sm:2,3 Eu:2,3 Gd:1,2,3 Tb:1,2,3,4 Dy:2,3,4 Ho:2,3 Er:2,3
    Tm:2,3 Yb:2,3 Lu:3 Hf:2,3,4 Ta:-1,2,3,4,5 W:-2,-1,1,2,3,4,5,6 Re:-3,-1,1,2,3,4,5,6,7
    Os:-2,-1,1,2,3,4,5,6,7,8 Ir:-2,-1,1,2,3,4,5,6,7,8 Pt:-2,-1,1,2,3,4,5,6 Au:-1,1,2,3,5 Hg:1,2,4
    Tl:-1,1,3 Pb:-4,2,4 Bi:-3,1,3,5,7 Po:-2,2,4,5,6 At:-1,1,3,5,7 Rn:2,6 Fr:1 Ra:2 Ac:2,3 Th:2,3,4
    Pa:2,3,4,5 U:2,3,4,5,6 Np:3,4,5,6,7 Pu:2,3,4,5,6,7,8 Am:2,3,4,5,6,7 Cm:2,3,4,6,8 Bk:2,3,4
    Cf:2,3,4 Es:2,3,4 Fm:2,3 Md:2,3 No:2,3 Lr:3
"""
"""Of the elements up to Lr."""

ELECTRONEGATIVITIES: Final = """
    2.2 - 0.98 1.57 2.04 2.55 3.04 3.44 3.98 - 0.93 1.31 1.61 1.9 2.19 2.58 3.16 - 0.82 1 1.36
    1.54 1.63 1.66 1.55 1.83 1.88 1.91 1.9 1.65 1.81 2.01 2.18 2.55 2.96 3 0.82 0.95 1.22 0.33 1.6
    2.16 2.1 2.2 2.28 2.2 1.93 1.69 1.78 1.96 2.05 2.1 2.66 2.6 0.79 0.89 1.1 1.12 1.13 1.14 -
    1.17 1.2 1.2 1.2 1.22 1.23 1.24 1.25 1.1 1 1.3 1.5 1.7 1.9 2.2 2.2 2.2 2.4 1.9 1.8 1.8 1.9 2
    2.2 - 0.7 0.9 1.1 1.3 1.5 1.7 1.3 1.3 1.3 1.3 1.3 1.3 1.3 1.3 1.3 1.3 -
"""
"""Of the elements up to Lr in their order; "-" where there is none."""

METALS: Final = """
    Li Be Na Mg Al K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In
    Sn Sb Cs Ba La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po Fr
    Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No
"""
"""Ge, Sb and Po are metals here; Pm and Lr are not."""
