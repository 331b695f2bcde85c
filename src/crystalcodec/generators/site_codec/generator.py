"""SiteCodec: an autoencoder of crystals with one short code each."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.generators.base import Batch, LatentGenerator, check_weights
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.parents import Parents, draw_codes, misses
from crystalcodec.generators.site_codec.network import CrystalDecoder, CrystalEncoder
from crystalcodec.generators.site_codec.site_network import SitesDecoder, SitesEncoder
from crystalcodec.generators.site_codec.slots import Slots, cells_of, slots_of
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.models.base import FullPrecisionLinear, ModelError, fixed_arrays
from crystalcodec.models.site_attention.reading import reader_of
from crystalcodec.representations.base import InvertibleRepresentation, Representation

__all__ = ["SiteCodec"]

CODES_OF: Final = ("crystal", "sites")


class SiteCodec(LatentGenerator):
    """Sites and cell to a code, one for the whole crystal or numbers for each site, and back.

    Sites are read from the arrays by their fields, as decoding reads them, and put in an order of
    their own: rising atomic number, then z, y and x. So the code, mean of a normal posterior, is
    exactly the same for any order of the sites; it depends on the origin and on the choice of the
    cell. The encoder is attention between the sites, then dense layers over all of them. The
    decoder gives the number of sites of each element (a distribution each) and the number of
    sites of the crystal; the composition is the likeliest of all, found exactly. Given the
    elements in their order (in training the true ones), attention between the slots gives
    coordinates as points of circles, one for each axis. The cell is logarithms of lengths,
    divided by the cube root of the number of sites, and angles, standardised.

    With ``code_of="sites"`` each slot has ``code`` numbers of its own, as the autoencoders have
    that diffusion in a latent space is built on (Joshi et al., arXiv 2503.03965): no dense layers
    over the whole crystal, and each slot says its element, or that it has no site.

    Loss, mean over crystals: cross-entropy of the composition (nats) + ``coordinate_weight``
    times the squared distance of the points, summed over the axes, mean over the sites +
    ``cell_weight`` times the squared error of the cell, mean over its numbers + ``beta`` times
    the Kullback-Leibler divergence of the posterior from a standard normal one (nats) +
    ``property_weight`` times the squared error of the standardised values that a branch predicts
    of the code, where ``[conditions] values`` names some.

    Decoded crystals are encoded by the representation. A crystal that it cannot hold, or a cell
    that does not close, gives an array of NaN, which decoding counts as a failure.

    Parameters
    ----------
    representation
        IRCR, CrysTens, UniMat or FTCP, in their units.
    conditions
        Property values alone.
    code
        Numbers of a code; with ``code_of="sites"`` for each of the ``max_sites`` slots.
    code_of
        ``crystal`` or ``sites``.
    width, layers, heads
        Of attention, in both halves.
    hidden, blocks
        Of the dense layers, in both halves; with ``code_of="sites"`` ``blocks`` are those on each
        slot before its coordinates, and ``hidden`` is not used.
    harmonics
        Multiples of the coordinates that the encoder sees.
    max_sites
        Slots; crystals of more sites are an error.
    beta, coordinate_weight, cell_weight, property_weight
        Of the loss.
    n_parents
        Training crystals kept for :meth:`sample`.
    """

    name: ClassVar[str] = "site_codec"
    cell_means: Tensor
    cell_deviations: Tensor

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        code: int = 128,
        code_of: str = "crystal",
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 512,
        blocks: int = 2,
        harmonics: int = 3,
        max_sites: int = 20,
        beta: float = 1e-4,
        coordinate_weight: float = 10.0,
        cell_weight: float = 5.0,
        property_weight: float = 1.0,
        n_parents: int = 2048,
    ) -> None:
        super().__init__(representation, conditions)
        sizes = {"code": code, "width": width, "layers": layers, "heads": heads, "hidden": hidden}
        sizes |= {"blocks": blocks, "harmonics": harmonics, "max_sites": max_sites}
        for name, value in sizes.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{name} is {value!r}, wanted a whole number of at least 1")
        if width % (2 * heads):
            raise ModelError(
                f"width is {width} for {heads} heads, wanted a multiple of {2 * heads}"
            )
        check_weights(
            beta=beta,
            coordinate_weight=coordinate_weight,
            cell_weight=cell_weight,
            property_weight=property_weight,
        )
        if code_of not in CODES_OF:
            raise ModelError(f"code_of is {code_of!r}, wanted one of {', '.join(CODES_OF)}")
        other = [entry.name for entry in conditions.entries if entry.kind != "value"]
        if other:
            raise ModelError(
                f"condition on {', '.join(other)}: {self.name!r} has branches for property values "
                "alone, named under [conditions] values"
            )
        read, _ = reader_of(representation)
        assert read is not None
        assert isinstance(representation, InvertibleRepresentation)
        self.read, self.form = read, representation
        self.max_sites = max_sites
        self.beta, self.property_weight = beta, property_weight
        self.coordinate_weight, self.cell_weight = coordinate_weight, cell_weight
        self.encoder: CrystalEncoder | SitesEncoder
        self.decoder: CrystalDecoder | SitesDecoder
        shape = (max_sites, code, width, layers, heads)
        if code_of == "crystal":
            self.size = code
            self.encoder = CrystalEncoder(*shape, hidden, blocks, harmonics)
            self.decoder = CrystalDecoder(*shape, hidden, blocks)
        else:
            self.size = code * max_sites
            self.encoder = SitesEncoder(*shape, harmonics)
            self.decoder = SitesDecoder(*shape, blocks)
        n_values = len(conditions.entries)
        self.branch = (
            nn.Sequential(
                nn.Linear(self.size, 128),
                nn.ReLU(),
                nn.Linear(128, 32),
                nn.ReLU(),
                FullPrecisionLinear(32, n_values),
            )
            if n_values
            else None
        )
        self.register_buffer("cell_means", torch.zeros(6))
        self.register_buffer("cell_deviations", torch.ones(6))
        shapes = {"numbers": (max_sites,), "frac_coords": (max_sites, 3), "cells": (6,)}
        self.parents = Parents(n_parents, shapes)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Representations whose fields tell sites and cell, and that can be decoded."""
        if not isinstance(representation, InvertibleRepresentation):
            return "its arrays cannot be decoded to crystals"
        reason = fixed_arrays(representation)[1]
        return reason or (reader_of(representation)[1] or None)

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Mean and spread of the cells, and the parents."""
        most = int(crystals.n_sites.max())
        if most > self.max_sites:
            raise ModelError(
                f"a training crystal has {most} sites, {self.max_sites} fit: set max_sites, or "
                "max_sites of the representation"
            )
        slots = self.slots(arrays)
        cells = self._logarithms(slots.cells, slots.n_sites)
        self.cell_means.copy_(cells.mean(0))
        self.cell_deviations.copy_(cells.std(0, correction=0).clamp(min=1e-3))
        shuffled = np.random.default_rng(0).permutation(len(cells))
        order = torch.from_numpy(shuffled).to(cells.device)
        rows = {"numbers": slots.numbers.float(), "frac_coords": slots.frac_coords}
        self.parents.keep({k: v[order] for k, v in {**rows, "cells": slots.cells}.items()})

    def slots(self, arrays: Batch) -> Slots:
        """What arrays say of sites and cells, in the codec's order.

        Raises
        ------
        ModelError
            A crystal of more sites than slots.
        """
        found = self.read(arrays)
        counts = torch.bincount(found.crystals, minlength=len(found.lattices))
        if len(counts) and int(counts.max()) > self.max_sites:
            raise ModelError(
                f"a crystal has {int(counts.max())} sites, this codec was made for at most "
                f"{self.max_sites} (max_sites)"
            )
        cells = cells_of(found.lattices)
        return slots_of(found.numbers, found.frac_coords, found.crystals, cells, self.max_sites)

    def _logarithms(self, cells: Tensor, n_sites: Tensor) -> Tensor:
        size = n_sites.clamp(min=1).to(cells.dtype)[:, None].pow(1 / 3)
        return torch.cat([(cells[:, :3] / size).log(), torch.deg2rad(cells[:, 3:])], dim=1)

    def _standard(self, slots: Slots) -> Tensor:
        cells = self._logarithms(slots.cells, slots.n_sites)
        return (cells - self.cell_means) / self.cell_deviations

    def _cells(self, standard: Tensor, n_sites: Tensor) -> Tensor:
        """(n, 6) lengths in Å and angles in degrees again."""
        logarithms = standard * self.cell_deviations + self.cell_means
        size = n_sites.to(standard.dtype)[:, None].pow(1 / 3)
        lengths = logarithms[:, :3].clamp(-3, 6).exp() * size
        return torch.cat([lengths, torch.rad2deg(logarithms[:, 3:])], dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """The loss, with one random code of each posterior."""
        slots = self.slots(batch)
        mean, log_variance = self.posterior(slots)
        codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        parts = self._errors(slots, codes, batch)
        divergence = kl_divergence(mean, log_variance).mean()
        return sum(parts.values(), self.beta * divergence)

    def posterior(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """(n, size) means and logarithms of variances."""
        found: tuple[Tensor, Tensor] = self.encoder(slots, self._standard(slots))
        return found

    def _errors(self, slots: Slots, codes: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The parts of the loss beside the divergence, weighted, means over crystals."""
        whole = self.decoder.whole(codes)
        apart = self.decoder.coordinates(whole, slots.numbers) - points_of(slots.frac_coords)
        of_sites = apart.square().sum((2, 3)) * slots.there
        of_crystals = of_sites.sum(1) / slots.n_sites.clamp(min=1)
        of_cells = (self.decoder.cell(whole) - self._standard(slots)).square().mean(1)
        parts = {
            "composition": self.decoder.composition_error(whole, slots).mean(),
            "coordinates": self.coordinate_weight * of_crystals.mean(),
            "cell": self.cell_weight * of_cells.mean(),
        }
        if self.branch is not None:
            parts["properties"] = self.property_weight * self._property_error(codes, batch)
        return parts

    def _property_error(self, codes: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the standardised values that there are."""
        assert self.branch is not None
        keys = [entry.key for entry in self.conditions.entries]
        told = torch.cat([batch[key] for key in keys], dim=1)
        known = ~told.isnan()
        errors = (self.branch(codes) - told.nan_to_num(0.0)).square() * known
        error: Tensor = errors.sum() / known.sum().clamp(min=1)
        return error

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Share of compositions that come back wrong, displacement (Å), lengths, angles, loss."""
        slots = self.slots(batch)
        mean, log_variance = self.posterior(slots)
        whole = self.decoder.whole(mean)
        numbers = self.decoder.numbers(whole)
        counts = Slots(numbers, slots.frac_coords, slots.cells).counts
        points = self.decoder.coordinates(whole, slots.numbers)
        moved = (coordinates_of(points) - slots.frac_coords + 0.5) % 1 - 0.5
        distances = (moved * slots.cells[:, None, :3]).norm(dim=2) * slots.there
        cells = self._cells(self.decoder.cell(whole), slots.n_sites)
        off = (cells - slots.cells).abs().mean(0)
        parts = self._errors(slots, mean, batch)
        return {
            "loss": sum(parts.values(), torch.zeros_like(off[0])),
            "wrong_composition": (counts != slots.counts).any(1).float().mean(),
            "displacement": (distances.sum(1) / slots.n_sites).mean(),
            "length_error": off[:3].mean(),
            "angle_error": off[3:].mean(),
            "divergence": kl_divergence(mean, log_variance).mean(),
            **{name: value for name, value in parts.items() if name == "properties"},
        }

    def encode(self, batch: Batch) -> Tensor:
        """(n, size) means of the posteriors."""
        return self.posterior(self.slots(batch))[0]

    def decode(self, codes: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """Arrays of codes; NaN where a crystal cannot be held."""
        del batch
        whole = self.decoder.whole(codes)
        numbers = self.decoder.numbers(whole)
        coords = coordinates_of(self.decoder.coordinates(whole, numbers)) % 1
        cells = self._cells(self.decoder.cell(whole), (numbers > 0).sum(1))
        return self._arrays(Slots(numbers, coords, cells))

    def _arrays(self, slots: Slots) -> dict[str, Tensor]:
        numbers, coords = slots.numbers.cpu().numpy(), slots.frac_coords.double().cpu().numpy()
        lattices = lattices_from_cell_parameters(slots.cells.double().cpu().numpy())
        closed = np.asarray(np.isfinite(lattices).all(axis=(1, 2)))
        lattices = np.where(closed[:, None, None], lattices, np.eye(3))
        there = numbers > 0
        offsets = np.concatenate([[0], there.sum(1).cumsum()])
        columns = (lattices, coords[there] % 1, numbers[there], offsets)
        closed[[fault.index for fault in find_faults(*columns)]] = False
        sites = np.repeat(closed, there.sum(1))
        kept = np.concatenate([[0], there[closed].sum(1).cumsum()])
        crystals = Crystals(lattices[closed], columns[1][sites], columns[2][sites], kept)
        encoded = self.form.encode(crystals)
        place = np.flatnonzero(closed)[encoded.index]
        arrays = {}
        for name, array in encoded.arrays.items():
            full = np.full((len(numbers), *array.shape[1:]), np.nan, np.float32)
            full[place] = array
            arrays[name] = torch.from_numpy(full).to(slots.numbers.device)
        return arrays

    def properties(self, codes: Tensor) -> dict[str, Tensor]:
        """What the branch predicts of codes, (n,) by column, in the data's units."""
        if self.branch is None:
            return {}
        found: Tensor = self.branch(codes)
        return {
            entry.name: found[:, i] * entry.deviation + entry.mean
            for i, entry in enumerate(self.conditions.entries)
        }

    def sample(  # type: ignore[override]
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        scale: float = 0.3,
        source: str = "parents",
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals: codes of training crystals with noise, decoded.

        Where values are wanted, parents are drawn from the twentieth of the kept training
        crystals whose predicted values are nearest, in standard deviations of the data.

        Parameters
        ----------
        scale
            Standard deviation of the noise, in units of the code.
        source
            ``parents``, or ``gaussian``: codes of the normal distribution that has the mean and
            the covariance of the parents' codes, without further noise.
        """
        miss = misses(wanted, self.conditions, self.properties)
        codes = draw_codes(
            n, self.parents, self._encode_rows, miss, random, scale=scale, source=source
        )
        return self.decode(codes)

    def _encode_rows(self, rows: Any) -> Tensor:
        slots = Slots(rows["numbers"].long(), rows["frac_coords"], rows["cells"])
        return self.posterior(slots)[0]


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(n,) nats: of normal distributions from the standard one, summed over the code."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def points_of(coords: Tensor) -> Tensor:
    """(..., 2) cosines and sines of fractional coordinates."""
    angles = 2 * math.pi * coords
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def coordinates_of(points: Tensor) -> Tensor:
    """Fractional coordinates, -0.5 to 0.5, of (..., 2) points near the unit circle."""
    points = functional.normalize(points.float(), dim=-1)
    return torch.atan2(points[..., 1], points[..., 0]) / (2 * math.pi)
