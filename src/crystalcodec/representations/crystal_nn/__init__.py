"""CrystalNN fingerprints: coordination numbers and polyhedra of the sites of a crystal."""

from crystalcodec.representations.crystal_nn.fingerprint import (
    SITE_LABELS,
    CrystalNNFingerprint,
    SiteCrystalNN,
    SiteFingerprints,
    site_fingerprints,
)

__all__ = [
    "SITE_LABELS",
    "CrystalNNFingerprint",
    "SiteCrystalNN",
    "SiteFingerprints",
    "site_fingerprints",
]
