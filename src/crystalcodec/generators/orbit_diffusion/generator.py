"""OrbitDiffusion: what symmetry leaves open is drawn step by step and by diffusion."""

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
from crystalcodec.generators.orbit_diffusion.letters import LetterModel, OrbitLists
from crystalcodec.generators.orbit_diffusion.substitution import Substitution
from crystalcodec.generators.orbit_diffusion.tables import (
    N_SYSTEMS,
    OrbitRows,
    PositionTables,
    applied,
    read_orbits,
    unreadable,
    write_orbits,
)
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
from crystalcodec.generators.site_diffusion.elements import tell_traits
from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Representation
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits

__all__ = ["OrbitDiffusion"]

# As in SiteDiffusion: coordinates are multiplied with this, so that their noise and that of cells
# matter at the same levels.
_UNIT: Final = 20.0
_ROUNDS: Final = 50  # of drawing what has no letters once more


class OrbitDiffusion(Generator):
    """Exactly symmetric crystals: what symmetry leaves open is learnt, nothing else.

    Drawn first, step by step: the space group, the number of sites, the elements with their
    numbers of sites (:class:`CompositionModel` of ``site_diffusion``), then the Wyckoff letters of
    each element (:class:`~crystalcodec.generators.orbit_diffusion.letters.LetterModel`). Given
    them, the free coordinates of the orbits and the free numbers of the cell come from noise by EDM
    diffusion. The network is that of ``site_diffusion`` on all sites of the primitive cell, told
    the Wyckoff position of each; noise and what the network says of it are kept to what symmetry
    leaves open, by linear maps from the tables. A formula, a set of elements and a space group can
    be asked for, and are kept to exactly; where atoms meet by chance the group of a sample may be
    higher.

    Along axes on which the group leaves the origin open the noise of a crystal has mean 0. Cells
    are learnt as logarithms of lengths, divided by the cube root of the number of sites, and
    angles, standardised for each crystal system.

    Parameters
    ----------
    representation
        ``wyckoff_orbits``.
    conditions
        Values.
    max_sites, max_elements
        Of primitive cells.
    width, messages, layers, images
        Of the denoiser, as in ``site_diffusion``.
    composition_width, composition_layers, letter_width, letter_layers, dropout
        Of the models of compositions and of letters.
    substitute
        Share of crystals in which compositions and letters are trained with one element replaced
        by a similar one, and told so
        (:class:`~crystalcodec.generators.orbit_diffusion.substitution.Substitution`).
    drop
        Share of crystals that each condition is left out of in training.
    level_mean, level_deviation
        Of the logarithms of the noise levels of training.

    References
    ----------
    EDM: Karras et al., arXiv 2206.00364. Diffusion kept to Wyckoff positions: Jiao et al.
    (DiffCSP++), arXiv 2402.03992. Wyckoff positions one after another: Cao et al. (CrystalFormer),
    arXiv 2403.15734.
    """

    name: ClassVar[str] = "orbit_diffusion"
    own_conditions: ClassVar = frozenset({"formula", "elements", "space_group"})
    cell_means: Tensor
    cell_deviations: Tensor

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        max_sites: int = 20,
        max_elements: int = 6,
        width: int = 160,
        messages: int = 80,
        layers: int = 5,
        images: bool = False,
        composition_width: int = 128,
        composition_layers: int = 3,
        letter_width: int = 128,
        letter_layers: int = 3,
        dropout: float = 0.1,
        substitute: float = 0.0,
        drop: float = 0.2,
        level_mean: float = 0.6,
        level_deviation: float = 1.2,
    ) -> None:
        super().__init__(representation, conditions)
        assert isinstance(representation, WyckoffOrbits)
        sizes = {"max_sites": max_sites, "max_elements": max_elements, "width": width}
        sizes |= {"messages": messages, "layers": layers, "composition_layers": composition_layers}
        sizes |= {"letter_layers": letter_layers}
        heads = {"composition_width": composition_width, "letter_width": letter_width}
        check_parameters(sizes, heads, dropout, drop, level_mean, level_deviation)
        if not 0 <= substitute <= 1:
            raise ModelError(f"substitute is {substitute!r}, wanted a share from 0 to 1")
        self.orbits = representation
        self.max_sites, self.max_elements = max_sites, max_elements
        self.edm = EDM(low=0.005, high=16.0, log_mean=level_mean, log_deviation=level_deviation)
        self.tables = PositionTables(max_sites)
        self.compositions = CompositionModel(
            max_sites,
            max_elements,
            composition_width,
            composition_layers,
            dropout=dropout,
            traits=True,
        )
        self.letters = LetterModel(
            self.tables,
            representation.max_orbits,
            max_elements,
            max_sites,
            letter_width,
            letter_layers,
            dropout,
        )
        self.denoiser = SiteDenoiser(width, messages, layers, images=images, traits=True)
        self.groups = nn.Embedding(N_SPACE_GROUPS + 1, width)
        self.positions = nn.Embedding(len(self.tables.n_sites), width)
        self.symmetries = nn.Embedding(self.tables.n_symmetries, width)
        for embedding in (self.groups, self.positions, self.symmetries):
            nn.init.normal_(embedding.weight, std=0.2)
        self.told = ConditionEmbedding(conditions, width, drop)
        self.told_composition = ConditionEmbedding(conditions, composition_width, drop)
        self.told_letters = ConditionEmbedding(conditions, letter_width, drop)
        widths = (composition_width, letter_width)
        self.substitution = Substitution(substitute, widths) if substitute else None
        self.register_buffer("cell_means", torch.zeros(N_SYSTEMS, 6))
        self.register_buffer("cell_deviations", torch.ones(N_SYSTEMS, 6))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Arrays of orbits."""
        return unreadable(representation)

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Mean and spread of the cells of each system; traits of elements, and which are there."""
        table = read_orbits(arrays)
        n_sites = self._n_sites(table)
        logs = self._cell_logs(table.cells, n_sites, table.groups)
        systems = self.tables.systems[table.groups]
        for system in range(N_SYSTEMS):
            # Of a system that is hardly there the cells of all.
            own = logs[systems == system]
            own = logs if len(own) < 2 else own
            self.cell_means[system] = own.mean(0)
            deviations = own.std(0, correction=min(1, len(own) - 1))
            self.cell_deviations[system] = deviations.clamp(min=0.02)
        seen = torch.zeros_like(self.compositions.seen)
        seen[torch.from_numpy(crystals.numbers.astype("int64"))] = True
        self.compositions.seen.copy_(seen)
        tell_traits(self)

    def _n_sites(self, table: OrbitRows) -> Tensor:
        """(n,) sites of the primitive cells."""
        places = self.tables.positions(table.groups[table.crystals], table.letters)
        n_sites = torch.zeros_like(table.groups)
        n_sites = n_sites.index_add(0, table.crystals, self.tables.n_sites[places])
        if len(n_sites) and int(n_sites.max()) > self.max_sites:
            raise ModelError(
                f"a crystal has {int(n_sites.max())} sites in its primitive cell, wanted at most "
                f"{self.max_sites}: leave it out, or use a larger max_sites"
            )
        return n_sites

    def _cell_logs(self, cells: Tensor, n_sites: Tensor, groups: Tensor) -> Tensor:
        """(n, 6) what is learnt of conventional cells, before it is standardised."""
        size = (n_sites * self.tables.volumes[groups]).to(cells.dtype)[:, None].pow(1 / 3)
        return torch.cat([(cells[:, :3] / size).log(), torch.deg2rad(cells[:, 3:])], dim=1)

    def _cells(self, standard: Tensor, n_sites: Tensor, groups: Tensor) -> Tensor:
        """(n, 6) lengths in Å and angles in degrees, as the groups want them."""
        systems = self.tables.systems[groups]
        logs = standard * self.cell_deviations[systems] + self.cell_means[systems]
        size = (n_sites * self.tables.volumes[groups]).to(logs.dtype)[:, None].pow(1 / 3)
        logs = torch.cat([self._alike(logs[:, :3], groups), logs[:, 3:]], dim=1)
        lengths = logs[:, :3].clamp(-3, 6).exp() * size
        given = self.tables.given[groups]
        angles = torch.where(given > 0, given, torch.rad2deg(logs[:, 3:]))
        return torch.cat([lengths, angles], dim=1)

    def _alike(self, lengths: Tensor, groups: Tensor) -> Tensor:
        return applied(self.tables.alike[groups], lengths)

    def _kept(self, cells: Tensor, groups: Tensor) -> Tensor:
        """Standardised cells (n, 6), or noise in them, less what symmetry forbids."""
        angles = cells[:, 3:] * (self.tables.given[groups] == 0)
        return torch.cat([self._alike(cells[:, :3], groups), angles], dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Squared error of the denoiser, and negative log-likelihoods of compositions, letters."""
        return self.figures(batch)["loss"]

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """The sum and its parts: denoising; compositions and letters in nats.

        Crystals of elements that training did not have are never made: their probability is 0.
        They are left out of ``composition``, and where there are any ``unseen`` is their share.
        """
        table = read_orbits(batch)
        groups = table.groups
        n_sites = self._n_sites(table)
        places = self.tables.positions(groups[table.crystals], table.letters)
        frame = _Frame(self.tables, groups, table.crystals, places, n_sites)
        drawn, told_composition, told_letters = self._drawn_from(batch, table)
        made = Compositions.of_sites(drawn[frame.orbits], frame.crystals, groups, self.max_elements)
        likelihood = self.compositions.log_likelihoods(made, Told(told_composition))
        lists, _ = OrbitLists.of_rows(
            made, table.crystals, drawn, table.letters, self.orbits.max_orbits
        )
        of_letters = self.letters.log_likelihoods(self.tables, made, lists, told_letters)
        coordinates, cells = self._denoising(batch, table, frame, table.numbers[frame.orbits])
        held = (self.compositions.seen[made.elements] | (made.elements == 0)).all(1)
        likelihood = likelihood if held.all() else likelihood[held]
        parts = {
            "denoising": coordinates + cells,
            "composition": -likelihood.mean() if len(likelihood) else coordinates.new_zeros(()),
            "letters": -of_letters.mean(),
            "coordinates": coordinates,
            "cells": cells,
        }
        loss = parts["denoising"] + parts["composition"] + parts["letters"]
        unseen = {} if held.all() else {"unseen": (~held).float().mean()}
        return {"loss": loss, **parts, **unseen}

    def _drawn_from(self, batch: Batch, table: OrbitRows) -> tuple[Tensor, Tensor, Tensor]:
        """Elements of the orbits that are drawn step by step, and what two models are told."""
        n, swap = len(table.groups), self.substitution
        if swap is None:
            return table.numbers, self.told_composition(batch, n), self.told_letters(batch, n)
        numbers, changed = swap(table.crystals, table.numbers, n, self.compositions.seen)
        return (
            numbers,
            swap.told(0, self.told_composition, batch, n, changed),
            swap.told(1, self.told_letters, batch, n, changed),
        )

    def _denoising(
        self, batch: Batch, table: OrbitRows, frame: _Frame, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Squared errors for each free number of coordinates and of cells, means over crystals."""
        groups, n = table.groups, len(table.groups)
        systems = self.tables.systems[groups]
        logs = self._cell_logs(table.cells, frame.n_sites, groups)
        clean = self._kept(
            (logs - self.cell_means[systems]) / self.cell_deviations[systems], groups
        )
        sigma = self.edm.levels(n, clean.device)
        noise, moved = frame.centred(torch.randn_like(table.coords))
        sites = frame.sites(table.coords) + moved * (sigma / _UNIT)[frame.crystals, None]
        noisy = clean + self._kept(torch.randn_like(clean), groups) * sigma[:, None]
        known = self.groups(groups) + self.told(batch, n)
        found, cells = self._denoised(frame, numbers, sites, noisy, sigma, known)
        free = frame.tables.n_free[frame.places]
        errors = noise.new_zeros(n).index_add(0, table.crystals, (found - noise).square().sum(1))
        numbers_free = torch.zeros_like(groups).index_add(0, table.crystals, free)
        of_coords = errors / numbers_free.clamp(min=1)
        share = self.tables.free[groups]
        of_cells = (share * (cells - clean).square()).sum(1) / share.sum(1)
        # Crystals whose coordinates are all given say nothing of them.
        some = (numbers_free > 0).float()
        coordinates = (some * of_coords).sum() / some.sum().clamp(min=1)
        return coordinates, (self.edm.weights(sigma) * of_cells).mean()

    def _denoised(
        self,
        frame: _Frame,
        numbers: Tensor,
        sites: Tensor,
        cells: Tensor,
        sigma: Tensor,
        known: Tensor,
        pairs: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """The noise in the points of the orbits, and the cells that are expected behind theirs."""
        keep, out, inward = self.edm.scales(sigma)
        estimate = self._cells((keep[:, None] * cells).clamp(-6, 6), frame.n_sites, frame.groups)
        lattices = closing_lattices(estimate)
        change = frame.tables.from_primitive[frame.groups]
        primitive = (change[..., None] * lattices[:, :, None]).sum(1)
        marks = self.positions(frame.places) + self.symmetries(
            frame.tables.symmetries[frame.places]
        )
        found, raw = self.denoiser(
            numbers,
            frame.crystals,
            all_pairs(frame.n_sites) if pairs is None else pairs,
            sites,
            inward[:, None] * cells,
            self.edm.told(sigma),
            known,
            primitive,
            marks[frame.orbits],
        )
        raw = self._kept(raw.float(), frame.groups)
        return frame.steps_of(found.float()), keep[:, None] * cells + out[:, None] * raw

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
        guidance: float = 2.0,
        temperature: float = 1.0,
        amount_temperature: float = 0.3,
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals.

        Parameters
        ----------
        steps, sampler
            See :mod:`crystalcodec.generators.edm`.
        guidance
            Of wished property values, see :mod:`crystalcodec.generators.edm`. Above 1, since many
            crystals are learnt without values (``drop``).
        temperature
            Of elements; below 1 for likelier ones.
        amount_temperature
            Of their amounts. Low: amounts that are possible but unlikely are seldom
            balanced, and those of a structure are mostly clear from its elements.

        Raises
        ------
        ModelError
            A temperature of 0 or below; a wish for which no letters are found.
        """
        temperatures = Temperatures(temperature, amount_temperature)
        batch = self.conditions.batch(wanted, n, self.device)
        wished = any(not row.isnan().all() for row in batch.values())
        made, lists = self._draw(n, wanted, batch, random, wished, guidance, temperatures)
        groups = made.space_groups
        crystals, slots = (lists.letters > 0).nonzero(as_tuple=True)
        letters = lists.letters[crystals, slots]
        orbit_numbers = made.elements[crystals, lists.slots[crystals, slots]]
        places = self.tables.positions(groups[crystals], letters)
        frame = _Frame(self.tables, groups, crystals, places, made.n_sites)
        numbers, pairs = orbit_numbers[frame.orbits], all_pairs(made.n_sites)
        known = self.groups(groups) + self.told(batch, n)
        blank = self.groups(groups) + self.told({}, n)
        size = 3 * len(places)
        points, projectors = self.tables.points[places], self.tables.projectors[places]

        def denoiser(embedded: Tensor) -> Denoiser:
            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                # Noise off the positions, and in what cells are not free in, is no part of them.
                free = applied(projectors, x[:size].view(-1, 3))
                cells = self._kept(x[size:].view(n, 6), groups)
                sites = frame.sites(points + free / _UNIT)
                found, clean = self._denoised(
                    frame, numbers, sites, cells, sigma[:1].expand(n), embedded, pairs
                )
                return torch.cat([(free - sigma[0] * found).flatten(), clean.flatten()])

            return denoise

        start = torch.randn(size + 6 * n, generator=random).to(self.device)
        denoise = denoiser(known)
        if wished:
            denoise = guided(denoise, denoiser(blank), guidance)
        x = run_sampler(denoise, start, random, edm=self.edm, steps=steps, sampler=sampler)
        free = applied(projectors, x[:size].view(-1, 3))
        cells = self._cells(self._kept(x[size:].view(n, 6), groups), made.n_sites, groups)
        rows = OrbitRows(groups, cells, crystals, orbit_numbers, letters, points + free / _UNIT)
        return write_orbits(self.orbits, rows)

    def _draw(
        self,
        n: int,
        wanted: Wanted,
        batch: Batch,
        random: torch.Generator,
        wished: bool,
        guidance: float,
        temperatures: Temperatures,
    ) -> tuple[Compositions, OrbitLists]:
        """Compositions and letters of n crystals; what has no letters is drawn once more."""

        def told(count: int) -> Told:
            rows = {key: row[:1].expand(count, -1) for key, row in batch.items()}
            blank = self.told_composition({}, count) if wished else None
            return Told(self.told_composition(rows, count), blank, guidance)

        held: list[tuple[Tensor, ...]] = []
        count = 0
        for _ in range(_ROUNDS):
            made = wanted_compositions(
                self.compositions,
                n - count,
                wanted,
                told,
                random,
                temperatures=temperatures,
                groups_drawn=True,
            )
            rows = {key: row[: len(made)] for key, row in batch.items()}
            known = self.told_letters(rows, len(made))
            lists, sound = self.letters.draw(self.tables, made, known, random)
            parts = (made.space_groups, made.n_sites, made.elements, made.counts)
            held.append(tuple(part[sound] for part in (*parts, lists.slots, lists.letters)))
            count += int(sound.sum())
            if count == n:
                break
        else:
            raise ModelError(
                f"of {n} crystals {count} were given Wyckoff letters in {_ROUNDS} rounds: what is "
                "wished for hardly fits a space group; wish for another group, or for none"
            )
        groups, n_sites, elements, counts, slots, letters = (
            torch.cat(column) for column in zip(*held, strict=True)
        )
        return Compositions(groups, n_sites, elements, counts), OrbitLists(slots, letters)


class _Frame:
    """The sites of crystals of given space groups and positions, and what is free of them."""

    def __init__(
        self,
        tables: PositionTables,
        groups: Tensor,
        owners: Tensor,
        places: Tensor,
        n_sites: Tensor,
    ) -> None:
        self.tables, self.groups, self.places, self.n_sites = tables, groups, places, n_sites
        self.owners = owners
        rows, self.orbits = tables.rows(places)
        self.crystals = owners[self.orbits]
        self.linears, self.shifts = tables.linears[rows], tables.shifts[rows]
        self.steps, self.pulls = tables.steps[rows], tables.pulls[rows]

    def sites(self, points: Tensor) -> Tensor:
        """(n_sites_total, 3) coordinates in the primitive cells, of points (k, 3) of the orbits."""
        return applied(self.linears, points[self.orbits]) + self.shifts

    def centred(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (k, 3) in the points less what symmetry forbids, and the same at the sites.

        Its mean over the sites of a crystal is 0: it can be another one only along axes on which
        the origin is free.
        """
        raw = applied(self.steps, noise[self.orbits])
        moved = centred_on_zero(raw, self.crystals, self.n_sites)
        return self.steps_of(moved), moved

    def steps_of(self, moved: Tensor) -> Tensor:
        """(k, 3) the steps of the points of which those of the sites (n_sites_total, 3) come."""
        pulled = applied(self.pulls, moved)
        return moved.new_zeros(len(self.places), 3).index_add(0, self.orbits, pulled)
