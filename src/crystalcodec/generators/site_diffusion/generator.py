"""SiteDiffusion: compositions drawn step by step, coordinates and cells by diffusion."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Batch, Generator
from crystalcodec.generators.conditions import (
    ConditionEmbedding,
    Conditions,
    Wanted,
)
from crystalcodec.generators.edm import EDM, Denoiser, guided, run_sampler
from crystalcodec.generators.site_diffusion.checks import check_parameters, check_wanted
from crystalcodec.generators.site_diffusion.composition import (
    N_SPACE_GROUPS,
    CompositionModel,
    Compositions,
    Temperatures,
    Told,
)
from crystalcodec.generators.site_diffusion.denoiser import (
    SiteDenoiser,
    all_pairs,
    centred_on_zero,
    closing_lattices,
)
from crystalcodec.generators.site_diffusion.drawing import wanted_compositions
from crystalcodec.generators.site_diffusion.tables import (
    SiteTable,
    read_sites,
    unreadable,
    write_sites,
)
from crystalcodec.representations.base import Representation
from crystalcodec.representations.ircr import IRCR

__all__ = ["SiteDiffusion"]

# Coordinates are multiplied with this, so that their noise and that of the standardised cells
# matter at the same levels: at the highest one it covers the cell, at 1 it is a bond's width.
_UNIT: Final = 20.0


class SiteDiffusion(Generator):
    """What is discrete one step after another, what is continuous by diffusion given it.

    The categories of an array (which elements, how many sites of each) are drawn first: space
    group, number of sites, elements with their numbers of sites, by a causal transformer
    (:class:`~crystalcodec.generators.site_diffusion.composition.CompositionModel`). Given them,
    the periodic and the continuous fields (coordinates and cell) come from noise by EDM
    diffusion, through a network that does not depend on the origin and on the order of the sites
    (:class:`~crystalcodec.generators.site_diffusion.denoiser.SiteDenoiser`). A formula, a set of
    elements and a space group can therefore be asked for without a condition of that name, and
    formulas are kept to exactly. Whether a crystal has the space group that its structure was
    made for is not forced.

    Coordinates diffuse along the axes without end; the network sees them in the cell, so that what
    it learns is the mean noise over all images of the sites. The noise of a crystal has mean 0:
    the origin does not move. Cells are learnt as logarithms of lengths, divided by the cube root
    of the number of sites, and angles; both standardised.

    Parameters
    ----------
    representation
        IRCR.
    conditions
        Values; ``space_group``, without which none is drawn.
    width, messages, layers
        Of the denoiser.
    images
        Whether it sees the distances of all images in the cells around, not of the nearest alone.
    composition_width, composition_layers, dropout
        Of the composition model.
    drop
        Share of crystals that each condition is left out of in training.
    level_mean, level_deviation
        Of the logarithms of the noise levels of training.

    References
    ----------
    EDM: Karras et al., arXiv 2206.00364. Crystals by diffusion of coordinates and cell given
    elements: Jiao et al. (DiffCSP), arXiv 2309.04475.
    """

    name: ClassVar[str] = "site_diffusion"
    cell_means: Tensor
    cell_deviations: Tensor

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        width: int = 160,
        messages: int = 80,
        layers: int = 5,
        images: bool = False,
        composition_width: int = 128,
        composition_layers: int = 3,
        dropout: float = 0.1,
        drop: float = 0.2,
        level_mean: float = 0.6,
        level_deviation: float = 1.2,
    ) -> None:
        super().__init__(representation, conditions)
        assert isinstance(representation, IRCR)
        sizes = {"width": width, "messages": messages, "layers": layers}
        sizes |= {"composition_layers": composition_layers}
        heads = {"composition_width": composition_width}
        check_parameters(sizes, heads, dropout, drop, level_mean, level_deviation)
        groups = [entry for entry in conditions.entries if entry.kind == "space_group"]
        self.group_key = groups[0].key if groups else None
        others = Conditions(tuple(e for e in conditions.entries if e.kind != "space_group"))
        self.edm = EDM(low=0.005, high=16.0, log_mean=level_mean, log_deviation=level_deviation)
        self.table = representation
        self.compositions = CompositionModel(
            representation.max_sites,
            representation.max_elements,
            composition_width,
            composition_layers,
            dropout=dropout,
        )
        self.denoiser = SiteDenoiser(width, messages, layers, images=images)
        self.groups = nn.Embedding(N_SPACE_GROUPS + 1, width)
        nn.init.normal_(self.groups.weight, std=0.3)
        self.told = ConditionEmbedding(others, width, drop)
        self.told_composition = ConditionEmbedding(others, composition_width, drop)
        self.register_buffer("cell_means", torch.zeros(6))
        self.register_buffer("cell_deviations", torch.ones(6))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """IRCR, whose fields can be written as well as read."""
        return unreadable(representation)

    @property
    def own_conditions(self) -> frozenset[str]:  # type: ignore[override]
        """Formula and elements; the space group where it was trained with it."""
        return frozenset({"formula", "elements"})

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Mean and spread of the cells, and which elements there are."""
        table = read_sites(self.representation, arrays)
        cells = self._cell_logs(table.cells, table.n_sites)
        self.cell_means.copy_(cells.mean(0))
        self.cell_deviations.copy_(cells.std(0, correction=min(1, len(cells) - 1)).clamp(min=1e-3))
        seen = torch.zeros_like(self.compositions.seen)
        seen[torch.from_numpy(crystals.numbers.astype("int64"))] = True
        self.compositions.seen.copy_(seen)

    def _cell_logs(self, cells: Tensor, n_sites: Tensor) -> Tensor:
        """(n, 6) what is learnt of cells, before it is standardised."""
        size = n_sites.to(cells.dtype)[:, None].pow(1 / 3)
        return torch.cat([(cells[:, :3] / size).log(), torch.deg2rad(cells[:, 3:])], dim=1)

    def _standard(self, cells: Tensor, n_sites: Tensor) -> Tensor:
        return (self._cell_logs(cells, n_sites) - self.cell_means) / self.cell_deviations

    def _cells(self, standard: Tensor, n_sites: Tensor) -> Tensor:
        """(n, 6) lengths in Å and angles in degrees again."""
        logs = standard * self.cell_deviations + self.cell_means
        size = n_sites.to(logs.dtype)[:, None].pow(1 / 3)
        lengths = logs[:, :3].clamp(-3, 6).exp() * size
        return torch.cat([lengths, torch.rad2deg(logs[:, 3:])], dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Squared error of the denoiser plus the negative log-likelihood of the compositions."""
        parts = self._parts(batch)
        return parts["denoising"] + parts["composition"]

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Both parts, in nats the second; the sum first.

        Crystals of elements that training did not have are never made: their probability is 0.
        They are left out of ``composition``, and where there are any ``unseen`` is their share.
        """
        parts = self._parts(batch)
        return {"loss": parts["denoising"] + parts["composition"], **parts}

    def _parts(self, batch: Batch) -> dict[str, Tensor]:
        table = read_sites(self.representation, batch)
        n, n_sites = len(table.cells), table.n_sites
        groups = self._groups(batch, n)
        made = Compositions.of_sites(table.numbers, table.crystals, groups, self.table.max_elements)
        likelihood = self.compositions.log_likelihoods(made, Told(self.told_composition(batch, n)))
        known = self.groups(groups) + self.told(batch, n)
        cells = self._standard(table.cells, n_sites)
        sigma = self.edm.levels(n, cells.device)
        noise = centred_on_zero(torch.randn_like(table.frac_coords), table.crystals, n_sites)
        noisy_coords = table.frac_coords + noise * (sigma / _UNIT)[table.crystals, None]
        noisy_cells = cells + torch.randn_like(cells) * sigma[:, None]
        found, clean_cells = self._denoised(
            table.numbers, table.crystals, n_sites, noisy_coords, noisy_cells, sigma, known
        )
        errors = (found - noise).square().mean(dim=1)
        of_coords = errors.new_zeros(n).index_add(0, table.crystals, errors) / n_sites
        of_cells = self.edm.weights(sigma) * (clean_cells - cells).square().mean(1)
        seen = self.compositions.seen[made.elements] | (made.elements == 0)
        held = seen.all(1)
        if not held.all():
            likelihood = likelihood[held]
        parts = {
            "denoising": (of_coords + of_cells).mean(),
            "composition": -likelihood.mean() if len(likelihood) else errors.new_zeros(()),
            "coordinates": of_coords.mean(),
            "cells": of_cells.mean(),
        }
        return parts if held.all() else {**parts, "unseen": (~held).float().mean()}

    def _groups(self, batch: Batch, n: int) -> Tensor:
        """(n,) space groups, 0 where they are not told."""
        if self.group_key is None or self.group_key not in batch:
            return torch.zeros(n, dtype=torch.long, device=self.device)
        told = batch[self.group_key]
        unknown = told.isnan().any(1)
        return torch.where(unknown, 0, told.nan_to_num(0.0).argmax(1) + 1)

    def _denoised(
        self,
        numbers: Tensor,
        crystals: Tensor,
        n_sites: Tensor,
        coords: Tensor,
        cells: Tensor,
        sigma: Tensor,
        known: Tensor,
        pairs: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """The noise in coordinates, and the cells that are expected behind theirs."""
        keep, out, inward = self.edm.scales(sigma)
        found, raw_cells = self.denoiser(
            numbers,
            crystals,
            all_pairs(n_sites) if pairs is None else pairs,
            coords,
            inward[:, None] * cells,
            self.edm.told(sigma),
            known,
            self._lattices(keep[:, None] * cells, n_sites),
        )
        return found.float(), keep[:, None] * cells + out[:, None] * raw_cells.float()

    def _lattices(self, standard: Tensor, n_sites: Tensor) -> Tensor:
        """(n, 3, 3) Å; of a noisy cell that does not close, the nearest that nearly does."""
        return closing_lattices(self._cells(standard.clamp(-6, 6), n_sites))

    def check(self, wanted: Wanted) -> None:
        """Raise ConditionError for what it was not trained with, or what does not fit."""
        self.conditions.check(wanted, self.own_conditions)
        check_wanted(self.compositions, wanted)

    def sample(  # type: ignore[override]
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        steps: int = 30,
        sampler: str = "sde",
        guidance: float = 1.0,
        temperature: float = 1.0,
        amount_temperature: float = 1.0,
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals.

        Parameters
        ----------
        steps, sampler, guidance
            See :mod:`crystalcodec.generators.edm`.
        temperature
            Of elements; below 1 for likelier ones.
        amount_temperature
            Of their amounts.

        Raises
        ------
        ModelError
            A temperature of 0 or below.
        """
        temperatures = Temperatures(temperature, amount_temperature)
        batch = self.conditions.batch(wanted, n, self.device)
        # The space group is known with and without what is wished.
        wished = any(not batch[key].isnan().all() for key in self.told.keys)

        def told(count: int) -> Told:
            rows = {key: row[:1].expand(count, -1) for key, row in batch.items()}
            blank = self.told_composition({}, count) if wished else None
            return Told(self.told_composition(rows, count), blank, guidance)

        made = wanted_compositions(
            self.compositions,
            n,
            wanted,
            told,
            random,
            temperatures=temperatures,
            groups_drawn=self.group_key is not None,
        )
        numbers, crystals = made.sites()
        n_sites, pairs = made.n_sites, all_pairs(made.n_sites)
        groups = self.groups(made.space_groups)
        known = groups + self.told(batch, n)
        blank = groups + self.told({}, n)
        size = 3 * len(numbers)

        def denoiser(embedded: Tensor) -> Denoiser:
            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                coords, cells = x[:size].view(-1, 3), x[size:].view(n, 6)
                found, clean = self._denoised(
                    numbers,
                    crystals,
                    n_sites,
                    coords / _UNIT,
                    cells,
                    sigma[:1].expand(n),
                    embedded,
                    pairs,
                )
                return torch.cat([(coords - sigma[0] * found).flatten(), clean.flatten()])

            return denoise

        start = torch.randn(size + 6 * n, generator=random).to(self.device)
        denoise = denoiser(known)
        if wished:
            denoise = guided(denoise, denoiser(blank), guidance)
        x = run_sampler(denoise, start, random, edm=self.edm, steps=steps, sampler=sampler)
        coords = x[:size].view(-1, 3) / _UNIT
        cells = self._cells(x[size:].view(n, 6), n_sites)
        return write_sites(self.table, SiteTable(numbers, coords, crystals, cells))
