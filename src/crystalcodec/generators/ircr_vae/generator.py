"""IRCRVAE: the published autoencoder of IRCR images, with branches for properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Batch, LatentGenerator, check_weights
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.ircr_vae.fields import field_errors, written
from crystalcodec.generators.ircr_vae.network import (
    RowDecoder,
    RowEncoder,
    branch,
    drawn,
    kl_divergence,
)
from crystalcodec.generators.parents import Parents, draw_codes, misses
from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Representation
from crystalcodec.representations.ircr import IRCR

__all__ = ["IRCRVAE"]

_LOSSES: Final = ("fields", "published")
_BETAS: Final = {"fields": 1e-4, "published": 1e-6}
_ABSENT: Final = -5.0  # logit
_NOTHING: Final = 0.05  # published: smaller numbers of a decoded array are made zero


class IRCRVAE(LatentGenerator):
    """IRCR to a code by convolutions along its rows, and back; branches predict properties of it.

    Encoder: convolutions of 64, 128, 256 (5 rows, stride 2) and 256 channels (3 rows, stride 1),
    leaky ReLU and batch normalisation, a dense layer of 1024 with a sigmoid, 256 means and
    logarithms of variances. The decoder mirrors it. Each property has a branch on the code: dense
    layers of 128 and 32. These are the published sizes; the defaults are half as wide. Rows are
    scaled to between 0 and 1 over the training data, as published.

    Losses, each plus ``beta`` times the Kullback-Leibler divergence from a standard normal
    distribution, summed over the code, plus ``property_weight`` times the mean squared error of
    each property:

    - ``published``: mean squared error of the scaled array behind a sigmoid.
    - ``fields``: cross-entropy of elements and occupancy, with "none" as one more category,
      ``coordinate_weight`` times the squared distance of coordinates as points of circles (the
      decoder gives cosine and sine, so 0 and 1 are the same place), ``cell_weight`` times the
      squared error of the standardised cell, and that of the scaled rows of P. See
      :class:`~crystalcodec.generators.ircr_vae.fields.FieldErrors`.

    Where the published network differs: properties are scaled to between 0 and 1 behind a
    sigmoid there, standardised and linear here; the first three columns alone are there; the
    batch normalisation forgets more slowly there.

    Parameters
    ----------
    representation
        IRCR.
    conditions
        Property values: the branches. At most what is known of a crystal counts in the loss.
    code
        Numbers of a code.
    channels, hidden
        See above.
    loss
        See above.
    beta
        None for 1e-6 (published) with the published loss, 1e-4 with that by fields.
    property_weight
        2 as published.
    coordinate_weight, cell_weight
        Of the loss by fields.
    n_parents
        Training crystals kept for :meth:`sample`.

    References
    ----------
    Mal, Seal and Sen, J. Phys. Chem. Lett. 15, 3221 (2024), 10.1021/acs.jpclett.4c00068; sizes,
    losses and perturbation after the authors' program (github.com/SouravMal/MagGen).
    """

    name: ClassVar[str] = "ircr_vae"
    low: Tensor
    span: Tensor
    cell_mean: Tensor
    cell_deviation: Tensor

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        code: int = 256,
        channels: Sequence[int] = (32, 64, 128, 128),
        hidden: int = 512,
        loss: str = "fields",
        beta: float | None = None,
        property_weight: float = 2.0,
        coordinate_weight: float = 10.0,
        cell_weight: float = 5.0,
        n_parents: int = 1024,
    ) -> None:
        super().__init__(representation, conditions)
        assert isinstance(representation, IRCR)
        _check(code, channels, hidden, loss)
        other = [entry.name for entry in conditions.entries if entry.kind != "value"]
        if other:
            raise ModelError(
                f"condition on {', '.join(other)}: {self.name!r} has branches for property values "
                "alone, named under [conditions] values"
            )
        check_weights(
            beta=0.0 if beta is None else beta,
            property_weight=property_weight,
            coordinate_weight=coordinate_weight,
            cell_weight=cell_weight,
        )
        self.form, self.loss = representation, loss
        self.beta = _BETAS[loss] if beta is None else beta
        self.property_weight = property_weight
        self.coordinate_weight, self.cell_weight = coordinate_weight, cell_weight
        rows, columns = representation.n_rows, representation.n_columns
        outputs = columns + 3 * (loss == "fields")
        self.encoder = RowEncoder(columns, rows, channels, hidden, code)
        self.decoder = RowDecoder(outputs, rows, channels, hidden, code)
        # Convolutions are the same in every row; by fields each entry also has a number of its own,
        # at which most elements are not there, so that this need not be learnt first.
        self.entries = nn.Parameter(torch.zeros(rows, outputs)) if loss == "fields" else None
        if self.entries is not None:
            with torch.no_grad():
                self.entries[representation.blocks["E"]] = _ABSENT
        self.branches = nn.ModuleList(branch(code) for _ in conditions.entries)
        self.register_buffer("low", torch.zeros(rows, 1))
        self.register_buffer("span", torch.ones(rows, 1))
        self.register_buffer("cell_mean", torch.zeros(2, 3))
        self.register_buffer("cell_deviation", torch.ones(2, 3))
        self.parents = Parents(n_parents, {representation.name: (rows, columns)})

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """IRCR alone."""
        return None if isinstance(representation, IRCR) else "wanted ircr, whose rows it knows"

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Smallest and largest number of each row, mean and spread of the cell, the parents."""
        del crystals
        array = arrays[self.form.name]
        low, high = array.amin((0, 2))[:, None], array.amax((0, 2))[:, None]
        self.low.copy_(low)
        self.span.copy_(torch.where(high > low, high - low, 1.0))
        cell = array[:, self.form.blocks["L"], :3]
        self.cell_mean.copy_(cell.mean(0))
        self.cell_deviation.copy_(cell.std(0, correction=0).clamp(min=1e-3))
        order = torch.randperm(len(array), generator=torch.Generator().manual_seed(0))
        self.parents.keep({self.form.name: array[order.to(array.device)]})

    def _scaled(self, array: Tensor) -> Tensor:
        return (array - self.low) / self.span

    def posterior(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(n, code) means and logarithms of variances."""
        found: tuple[Tensor, Tensor] = self.encoder(self._scaled(batch[self.form.name]))
        return found

    def forward(self, batch: Batch) -> Tensor:
        """The loss, with one random code of each posterior."""
        mean, log_variance = self.posterior(batch)
        parts = self.parts(batch, drawn(mean, log_variance))
        return sum(parts.values(), self.beta * kl_divergence(mean, log_variance).mean())

    def parts(self, batch: Batch, codes: Tensor) -> dict[str, Tensor]:
        """The parts of the loss beside the divergence, weighted, means over crystals."""
        array, raw = batch[self.form.name], self._raw(codes)
        scaled = self._scaled(array)
        if self.loss == "published":
            parts = {"reconstruction": (raw.sigmoid() - scaled).square().mean()}
        else:
            found = field_errors(self.form, raw, array, self._cell, scaled)
            parts = {
                "elements": found.elements,
                "occupancy": found.occupancy,
                "coordinates": self.coordinate_weight * found.coordinates,
                "cell": self.cell_weight * found.cell,
                "rows": found.properties,
            }
        for entry, network in zip(self.conditions.entries, self.branches, strict=True):
            told = batch[entry.key]
            known = ~told.isnan()
            errors = (network(codes) - told.nan_to_num(0.0)).square() * known
            error = errors.sum() / known.sum().clamp(min=1)
            parts[entry.name] = self.property_weight * error
        return parts

    def _raw(self, codes: Tensor) -> Tensor:
        """(n, rows, outputs) what the decoder gives."""
        raw: Tensor = self.decoder(codes)
        return raw if self.entries is None else raw + self.entries

    @property
    def _cell(self) -> tuple[Tensor, Tensor]:
        return self.cell_mean, self.cell_deviation

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """The loss without noise, its parts, and shares of columns and sites that come out wrong.

        Absolute errors of lengths (Å) and angles (degrees) likewise.
        """
        mean, log_variance = self.posterior(batch)
        parts = self.parts(batch, mean)
        array, made = batch[self.form.name], self.decode(mean)[self.form.name]
        rows = self.form.blocks
        wrong = [
            (_largest(array[:, rows[block]], axis) != _largest(made[:, rows[block]], axis)).any(1)
            for block, axis in (("E", 1), ("O", 2))
        ]
        off = (array - made)[:, rows["L"], :3].abs().mean((0, 2))
        return {
            "loss": sum(parts.values(), torch.zeros_like(off[0])),
            **parts,
            "wrong_elements": wrong[0].float().mean(),
            "wrong_sites": wrong[1].float().mean(),
            "length_error": off[0],
            "angle_error": off[1],
            "divergence": kl_divergence(mean, log_variance).mean(),
        }

    def encode(self, batch: Batch) -> Tensor:
        """(n, code) means of the posteriors."""
        return self.posterior(batch)[0]

    def decode(self, codes: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """Arrays of codes."""
        del batch
        raw, columns = self._raw(codes), self.form.n_columns
        if self.loss == "published":
            array = raw.sigmoid() * self.span + self.low
            return {self.form.name: torch.where(array < _NOTHING, 0.0, array)}
        block = self.form.blocks["P"]
        properties = raw[:, block, :columns] * self.span[block] + self.low[block]
        return {self.form.name: written(self.form, raw, self._cell, properties)}

    def properties(self, codes: Tensor) -> dict[str, Tensor]:
        """What the branches predict of codes, (n,) by column, in the data's units."""
        return {
            entry.name: network(codes)[:, 0] * entry.deviation + entry.mean
            for entry, network in zip(self.conditions.entries, self.branches, strict=True)
        }

    def sample(  # type: ignore[override]
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        scale: float = 1.0,
        source: str = "parents",
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals: codes of training crystals with noise, decoded.

        Where values are wanted, parents are drawn from the twentieth of the kept training
        crystals whose predicted values are nearest, in standard deviations of the data.

        Parameters
        ----------
        scale
            Standard deviation of the noise, in units of the code; published: 1.
        source
            ``parents``, or ``gaussian``: codes of the normal distribution that has the mean and
            the covariance of the parents' codes, without further noise.
        """
        miss = misses(wanted, self.conditions, self.properties)
        codes = draw_codes(n, self.parents, self.encode, miss, random, scale=scale, source=source)
        return self.decode(codes)


def _largest(block: Tensor, axis: int) -> Tensor:
    """Place of the largest entry, -1 where none reaches a half."""
    return torch.where(block.amax(axis) >= 0.5, block.argmax(axis), -1)


def _check(code: Any, channels: Any, hidden: Any, loss: Any) -> None:
    """Raise ModelError for sizes that are none, or an unknown loss."""
    if loss not in _LOSSES:
        raise ModelError(f"loss is {loss!r}, wanted one of {', '.join(_LOSSES)}")
    if isinstance(channels, str) or not isinstance(channels, Sequence) or len(channels) != 4:
        raise ModelError(f"channels is {channels!r}, wanted four whole numbers")
    for value in (code, hidden, *channels):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(
                f"code {code!r}, hidden {hidden!r}, channels {list(channels)}: wanted whole "
                "numbers of at least 1"
            )
