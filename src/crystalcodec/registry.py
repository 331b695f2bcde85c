"""What there is, by name: plain tables of ``name -> "module:Class"``.

Adding a representation, a model, a source or a metric is one new file and one line here; the
command line's choices, the documentation's table and the conformance suite follow from it. No
module is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

__all__ = [
    "AUGMENTATIONS",
    "FAMILIES",
    "GENERATORS",
    "METRICS",
    "MODELS",
    "POTENTIALS",
    "PRETRAINED",
    "PRETRAINED_GENERATORS",
    "REPRESENTATIONS",
    "SOURCES",
    "MissingExtraError",
    "UnknownNameError",
    "did_you_mean",
    "import_extra",
    "lazy_attributes",
    "load",
]

REPRESENTATIONS: Final[Mapping[str, str]] = {
    "ircr": "crystalcodec.representations.ircr:IRCR",
    "crystens": "crystalcodec.representations.crystens:CrysTens",
    "unimat": "crystalcodec.representations.unimat:UniMat",
    "ftcp": "crystalcodec.representations.ftcp:FTCP",
    "xtal2png": "crystalcodec.representations.xtal2png:Xtal2PNG",
    "crystal_image": "crystalcodec.representations.crystal_image:CrystalImage",
    "density_slices": "crystalcodec.representations.slices:DensitySlices",
    "density_slice_blocks": "crystalcodec.representations.slices:DensitySliceBlocks",
    "density_cube": "crystalcodec.representations.density_cube:DensityCube",
    "density_cell": "crystalcodec.representations.density_cell:DensityCell",
    "structure_factors": "crystalcodec.representations.structure_factors:StructureFactors",
    "wyckoff_orbits": "crystalcodec.representations.wyckoff_orbits:WyckoffOrbits",
    "ace": "crystalcodec.representations.ace:ACE",
    "site_ace": "crystalcodec.representations.ace:SiteACE",
    "amd": "crystalcodec.representations.minimum_distances:AMD",
    "pdd": "crystalcodec.representations.minimum_distances:PDD",
    "crystal_nn": "crystalcodec.representations.crystal_nn:CrystalNNFingerprint",
    "site_crystal_nn": "crystalcodec.representations.crystal_nn:SiteCrystalNN",
    "acsf": "crystalcodec.representations.acsf:ACSF",
    "site_acsf": "crystalcodec.representations.acsf:SiteACSF",
    "coulomb_matrix": "crystalcodec.representations.site_matrices:CoulombMatrix",
    "ewald_sum_matrix": "crystalcodec.representations.site_matrices:EwaldSumMatrix",
    "sine_matrix": "crystalcodec.representations.site_matrices:SineMatrix",
    "soap": "crystalcodec.representations.soap:SOAP",
    "site_soap": "crystalcodec.representations.soap:SiteSOAP",
    "composition": "crystalcodec.representations.composition:Composition",
    "element_embedding": "crystalcodec.representations.composition:ElementEmbedding",
    "species_embedding": "crystalcodec.representations.composition:SpeciesEmbedding",
    "magpie": "crystalcodec.representations.composition:Magpie",
    "crystal_graph": "crystalcodec.representations.crystal_graph:CrystalGraph",
    "shell_graph": "crystalcodec.representations.shell_graph:ShellGraph",
    "unit_graph": "crystalcodec.representations.unit_graph:UnitGraph",
    "mbtr": "crystalcodec.representations.mbtr:MBTR",
    "sparse_mbtr": "crystalcodec.representations.mbtr:SparseMBTR",
    "powder_pattern": "crystalcodec.representations.powder_pattern:PowderPattern",
    "radial_distribution": "crystalcodec.representations.radial_distribution:RadialDistribution",
    "symmetry_labels": "crystalcodec.representations.symmetry_labels:SymmetryLabels",
    "wyckoff_letters": "crystalcodec.representations.symmetry_labels:WyckoffLetters",
    "potential_vectors": "crystalcodec.representations.potential_vectors:PotentialVectors",
    "site_potential_vectors": "crystalcodec.representations.potential_vectors:SitePotentialVectors",
}

MODELS: Final[Mapping[str, str]] = {
    "mlp": "crystalcodec.models.mlp:MLP",
    "cnn1d": "crystalcodec.models.cnn1d:CNN1d",
    "cgcnn": "crystalcodec.models.cgcnn:CGCNN",
    "shellnet": "crystalcodec.models.shellnet:ShellNet",
    "crystens_cnn": "crystalcodec.models.crystens_cnn:CrysTensCNN",
    "pretrained_features": "crystalcodec.models.pretrained_features:PretrainedFeatures",
    "schnet": "crystalcodec.models.schnet:SchNet",
    "megnet": "crystalcodec.models.megnet:MEGNet",
    "resnet1d": "crystalcodec.models.resnet:ResNet1d",
    "resnet2d": "crystalcodec.models.resnet:ResNet2d",
    "resnet3d": "crystalcodec.models.resnet:ResNet3d",
    "site_attention": "crystalcodec.models.site_attention:SiteAttention",
}

GENERATORS: Final[Mapping[str, str]] = {
    "diffusion": "crystalcodec.generators.diffusion:Diffusion",
    "ircr_vae": "crystalcodec.generators.ircr_vae:IRCRVAE",
    "site_codec": "crystalcodec.generators.site_codec:SiteCodec",
    "density_vae": "crystalcodec.generators.density_vae:DensityVAE",
    "orbit_diffusion": "crystalcodec.generators.orbit_diffusion:OrbitDiffusion",
    "site_diffusion": "crystalcodec.generators.site_diffusion:SiteDiffusion",
    "slice_cascade": "crystalcodec.generators.slice_cascade:SliceCascade",
    "wgan": "crystalcodec.generators.wgan:WGAN",
}

AUGMENTATIONS: Final[Mapping[str, str]] = {
    "permute_sites": "crystalcodec.data.augmentation:permute_sites",
    "permute_sites_of_elements": "crystalcodec.data.augmentation:permute_sites_of_elements",
    "permute_elements": "crystalcodec.data.augmentation:permute_elements",
    "shift_origin_to_site": "crystalcodec.data.augmentation:shift_origin_to_site",
    "shift_origin": "crystalcodec.data.augmentation:shift_origin",
    "permute_axes": "crystalcodec.data.augmentation:permute_axes",
    "rotate": "crystalcodec.data.augmentation:rotate",
    "invert": "crystalcodec.data.augmentation:invert",
}

PRETRAINED: Final[Mapping[str, str]] = {
    "formation_energy_per_atom": "formation_energy",
    "band_gap": "materials_project",
    "e_above_hull": "materials_project",
    "bulk_modulus_vrh": "materials_project",
    "shear_modulus_vrh": "materials_project",
    "magnetization": "materials_project",
}
"""Properties that the package predicts, and the folder of ``pretrained/`` that holds the model."""

PRETRAINED_GENERATORS: Final[Mapping[str, str]] = {"orbit_diffusion": "orbit_diffusion_mp20"}
"""Generators of the package and their folders in ``pretrained/generators``; the first is taken
where none is named."""

SOURCES: Final[Mapping[str, str]] = {}

METRICS: Final[Mapping[str, str]] = {
    "mae": "crystalcodec.evaluation.regression:mae",
    "rmse": "crystalcodec.evaluation.regression:rmse",
    "mse": "crystalcodec.evaluation.regression:mse",
    "r2": "crystalcodec.evaluation.regression:r2",
    "mape": "crystalcodec.evaluation.regression:mape",
}


# How good generated crystals are, one file a family: Evidence to figures.
FAMILIES: Final[Mapping[str, str]] = {
    "validity": "crystalcodec.evaluation.validity:measure",
    "novelty": "crystalcodec.evaluation.novelty:measure",
    "stability": "crystalcodec.evaluation.stability:measure",
    "distribution": "crystalcodec.evaluation.distribution:measure",
    "reconstruction": "crystalcodec.evaluation.reconstruction:measure",
}

# Interatomic potentials, by name and version.
POTENTIALS: Final[Mapping[str, str]] = {
    "chgnet-0.3.0": "crystalcodec.relaxation.chgnet:CHGNetPotential",
    "chgnet-r2scan": "crystalcodec.relaxation.chgnet:CHGNetPotential",
    "sevennet-0-11jul2024": "crystalcodec.relaxation.sevennet:SevenNetPotential",
    "sevennet-l3i5": "crystalcodec.relaxation.sevennet:SevenNetPotential",
}


class UnknownNameError(ValueError):
    """A name that a table does not hold; the message offers the nearest ones."""


class MissingExtraError(ImportError):
    """A package that is not installed; the message names the extra that brings it."""


def load(table: Mapping[str, str], name: str) -> Any:
    """The class or function that ``table`` holds under ``name``, imported now.

    Raises
    ------
    UnknownNameError
        If the table has no such name.

    >>> load({"ircr": REPRESENTATIONS["ircr"]}, "icrc")
    Traceback (most recent call last):
    crystalcodec.registry.UnknownNameError: no 'icrc' here; did you mean 'ircr'? There is: ircr
    """
    if name not in table:
        raise UnknownNameError(f"no {name!r} here{did_you_mean(name, table)}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def import_extra(module: str, extra: str) -> Any:
    """A module of a package that an extra of ours brings, imported now.

    Raises
    ------
    MissingExtraError
        If it is not installed.

    >>> import_extra("no_such_package.part", "descriptors")
    Traceback (most recent call last):
    crystalcodec.registry.MissingExtraError: no_such_package is not installed: ...
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f"{package} is not installed: pip install 'crystalcodec[{extra}]'"
        ) from None


def did_you_mean(name: str, known: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    """The end of an error message about an unknown name: the nearest known ones, then all."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    return f"{hint} There is: {', '.join(known) or 'nothing'}"


def lazy_attributes(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are imported when first used.

    Parameters
    ----------
    package
        Its ``__name__``.
    homes
        The module in the package that each public name comes from.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
