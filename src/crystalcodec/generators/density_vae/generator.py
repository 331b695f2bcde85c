"""A variational autoencoder of densities, and a segmenter that names the atoms in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from torch.nn import functional

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Batch, LatentGenerator
from crystalcodec.generators.conditions import ConditionEmbedding, Conditions, Wanted
from crystalcodec.generators.density_vae.grids import N_CLASSES, Grid, grid_of, unfit
from crystalcodec.generators.density_vae.networks import Decoder, Encoder, Segmenter, padded
from crystalcodec.models.base import ModelError
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import Representation

__all__ = ["DensityVAE", "balanced_cross_entropy", "gaussian_kl", "scaled_gradient"]

_AT_ONCE: Final = 16  # grids whose classes at all points are held in memory together
_MEMORY: Final = 0.01  # share of a batch in the running moments of the codes
_CODES: Final = ("normal", "fitted")


class DensityVAE(LatentGenerator):
    """Density to code and back, and a U-Net that says which element is where in what came back.

    Both are trained at once (Hoffmann et al., arXiv 1909.00949). With x a density, x' what comes
    back, m the numbers beside it (the cell), z the code, y the species at the points, the
    autoencoder lessens

        |x - x'|² + cell_weight |m - m'|² + β KL(q(z | x, m) || N(0, 1)) + γ CE(y, U(x'))

    and the segmenter U lessens CE(y, U(x')); squares are means over entries of standard deviation
    1, KL is the mean over the numbers of the code, CE the mean of its means over the points of
    atoms and over as many of the others. Only the density, the KL term and γ are published; the
    cell is coded here so that a code is a crystal.

    Parameters
    ----------
    latent_size
        Numbers of the code; with ``local`` at each point of the coarsest grid. 300 is published.
    local
        Whether the code is a coarse grid: many more numbers, of which each tells of its
        neighbourhood alone. It reconstructs better, and samples worse.
    widths
        Channels of the autoencoder at each size of the grid; each is half as fine as the last.
    segmenter_widths
        Those of the U-Net.
    beta, gamma, cell_weight
        See above.
    compressed
        Whether asinh(x / standard deviation of x) is learnt in the place of x: heavy atoms then
        do not count for more than others by the square of their weight.

    References
    ----------
    Hoffmann et al., 10.48550/arXiv.1909.00949; Oktay et al., 10.48550/arXiv.1804.03999 (the
    segmenter); Kingma and Welling, 10.48550/arXiv.1312.6114.
    """

    name: ClassVar[str] = "density_vae"

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        latent_size: int = 256,
        local: bool = False,
        widths: Sequence[int] = (16, 32, 64),
        segmenter_widths: Sequence[int] = (8, 16, 32),
        beta: float = 1e-3,
        gamma: float = 0.1,
        cell_weight: float = 0.1,
        compressed: bool = True,
        threshold: float = 0.4,
        told_width: int = 32,
    ) -> None:
        super().__init__(representation, conditions)
        _check_sizes(latent_size=[latent_size], widths=widths, segmenter_widths=segmenter_widths)
        for key, value in (("beta", beta), ("gamma", gamma), ("cell_weight", cell_weight)):
            if not 0 <= value < math.inf:
                raise ModelError(f"{key} is {value}, wanted 0 or more")
        if not 0 < threshold < 1:
            raise ModelError(f"threshold is {threshold}, wanted between 0 and 1")
        self.grid: Grid = grid_of(representation, threshold)
        self.beta, self.gamma, self.cell_weight = beta, gamma, cell_weight
        self.compressed = compressed
        # Each halving of the grid must come out even, in both networks.
        each = 2 ** (max(len(widths), len(segmenter_widths)) - 1)
        self.n_points = math.ceil(self.grid.n_points / each) * each
        if self.grid.periodic and self.n_points != self.grid.n_points:
            raise ModelError(
                f"{self.grid.n_points} points along an axis: a periodic grid is halved "
                f"{len(widths) - 1} times by the autoencoder and {len(segmenter_widths) - 1} times "
                f"by the segmenter; wanted a multiple of {each}"
            )
        n_told = told_width if len(conditions) else 0
        self.embedding = ConditionEmbedding(conditions, n_told) if n_told else None
        channels, n_numbers = self.grid.channels, self.grid.n_numbers
        shape = (channels, n_numbers, self.n_points, widths, latent_size, local)
        self.encoder = Encoder(*shape, self.grid.periodic)
        self.decoder = Decoder(*shape, self.grid.periodic, n_told)
        self.segmenter = Segmenter(channels, N_CLASSES, segmenter_widths, self.grid.periodic)
        self.density_scale: Tensor
        self.shift: Tensor
        self.spread: Tensor
        self.number_mean: Tensor
        self.number_spread: Tensor
        self.present: Tensor
        self.code_mean: Tensor
        self.code_square: Tensor
        for key in ("density_scale", "spread"):
            self.register_buffer(key, torch.ones(channels, 1, 1, 1))
        self.register_buffer("shift", torch.zeros(channels, 1, 1, 1))
        self.register_buffer("number_mean", torch.zeros(n_numbers))
        self.register_buffer("number_spread", torch.ones(n_numbers))
        self.register_buffer("present", torch.ones(N_CLASSES))
        self.register_buffer("code_mean", torch.zeros(self.decoder.code_size))
        self.register_buffer("code_square", torch.ones(self.decoder.code_size))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """A density with what tells the species at each point fits."""
        return unfit(representation)

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Elements of all crystals; scales of densities and cells of the arrays."""
        self.present.zero_()
        self.present[0] = 1
        self.present[torch.from_numpy(crystals.numbers.astype("int64"))] = 1
        density, numbers = self.grid.density(arrays).float(), self.grid.numbers(arrays).float()
        self.density_scale.copy_(_spread(density))
        learnt = self._compress(density)
        self.shift.copy_(learnt.mean(dim=(0, 2, 3, 4)).view(-1, 1, 1, 1))
        self.spread.copy_(_spread(learnt))
        self.number_mean.copy_(numbers.mean(dim=0))
        # A number that is the same in all crystals is learnt at once, whatever its unit.
        self.number_spread.copy_(numbers.std(dim=0, correction=0).clamp(min=1e-3))

    def _compress(self, density: Tensor) -> Tensor:
        scaled = density / self.density_scale
        return scaled.asinh() if self.compressed else scaled

    def _scaled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The density and the numbers as learnt."""
        numbers = (self.grid.numbers(batch).float() - self.number_mean) / self.number_spread
        return self._learnt(self.grid.density(batch).float()), numbers

    def _learnt(self, density: Tensor) -> Tensor:
        """As the network sees it: empty beyond the last points, as far as is needed."""
        return (self._compress(padded(density, self.n_points)) - self.shift) / self.spread

    def _told(self, batch: Batch | None, n: int) -> Tensor:
        if self.embedding is None:
            return torch.zeros(n, 0, device=self.device)
        told: Tensor = self.embedding(batch or {}, n)
        return told

    def forward(self, batch: Batch) -> Tensor:
        """The loss of both networks: gradients are those that each of them is to follow."""
        losses = self.losses(batch)
        # The segmentation counts once here; the autoencoder gets γ times its gradient (`losses`).
        return self._autoencoder_loss(losses) + losses["segmentation"]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Each term, without its weight, and ``species``: the share of atoms' points named wrong.

        The gradient of ``segmentation`` is γ times itself for all that comes before the segmenter.
        """
        density, numbers = self._scaled(batch)
        mean, log_variance = self.encoder(density, numbers)
        codes = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        if self.training:
            self._remember(codes.detach())
        made, cells = self.decoder(codes, self._told(batch, len(codes)))
        n = self.grid.n_points
        inside = (..., *(slice(0, n),) * 3)
        features = self._features(scaled_gradient(made, self.gamma))
        entropy, wrong = self._named(features, self.grid.species(batch))
        return {
            "reconstruction": (made[inside] - density[inside]).square().mean(),
            "cell": (cells - numbers).square().mean(),
            "kl": gaussian_kl(mean, log_variance).mean(),
            "segmentation": entropy,
            "species": wrong,
        }

    def _autoencoder_loss(self, losses: Batch) -> Tensor:
        return (
            losses["reconstruction"] + self.cell_weight * losses["cell"] + self.beta * losses["kl"]
        )

    def _named(self, features: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy at the points of atoms and at as many others, and the share of errors."""
        atoms, empty = species > 0, species == 0
        share = atoms.sum() / empty.sum().clamp(min=1)
        chosen = atoms | (empty & (torch.rand_like(features[..., 0]) < share))
        logits = self._logits(features[chosen])
        wanted = species[chosen]
        entropy = balanced_cross_entropy(logits, wanted)
        told = wanted > 0
        # Which element, given that there is one.
        wrong = (logits[told, 1:].argmax(dim=1) + 1 != wanted[told]).float().sum()
        return entropy, wrong / told.sum().clamp(min=1)

    def _logits(self, features: Tensor) -> Tensor:
        """Of each class; those of elements that no training crystal has are out of reach."""
        logits: Tensor = self.segmenter.classify(features).float()
        return logits - 1e4 * (1 - self.present)

    @torch.no_grad()
    def _remember(self, codes: Tensor) -> None:
        self.code_mean.lerp_(codes.float().mean(dim=0), _MEMORY)
        self.code_square.lerp_(codes.float().square().mean(dim=0), _MEMORY)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of the autoencoder with γ, and each term."""
        losses = self.losses(batch)
        total = self._autoencoder_loss(losses) + self.gamma * losses["segmentation"]
        return {"loss": total, **losses}

    def sample(  # type: ignore[override]
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        codes: str = "normal",
        temperature: float = 1.0,
    ) -> dict[str, Tensor]:
        """Arrays of random codes.

        Parameters
        ----------
        codes
            ``normal``: of mean 0 and deviation 1; ``fitted``: of the mean and the deviation that
            each number of the code had in training, lately.
        temperature
            By what deviations are multiplied.

        Raises
        ------
        ModelError
            No such kind of codes; a temperature that is no number from 0 on.
        """
        if codes not in _CODES:
            raise ModelError(f"no codes {codes!r}{did_you_mean(codes, _CODES)}")
        if not 0 <= temperature < math.inf:
            raise ModelError(f"temperature is {temperature}, wanted 0 or more")
        size = self.decoder.code_size
        drawn = torch.randn(n, size, generator=random).to(self.device) * temperature
        if codes == "fitted":
            variance = (self.code_square - self.code_mean.square()).clamp(min=0)
            drawn = self.code_mean + drawn * variance.sqrt()
        return self.decode(drawn, self.conditions.batch(wanted, n, self.device))

    def encode(self, batch: Batch) -> Tensor:
        """(n, size) the means of the codes, a local code laid flat, its numbers of the cell last.

        Raises
        ------
        ModelError
            Arrays that are not finite.
        """
        density, numbers = self._scaled(batch)
        if not (density.isfinite().all() and numbers.isfinite().all()):
            raise ModelError("arrays that hold NaN or infinity have no code")
        codes: Tensor = self.encoder(density, numbers)[0]
        return codes

    def decode(self, codes: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """Arrays of codes, species as the segmenter names them.

        Raises
        ------
        ModelError
            Codes of another size.
        """
        if codes.ndim != 2 or codes.shape[1] != self.decoder.code_size:
            raise ModelError(
                f"codes of shape {tuple(codes.shape)}, wanted (n, {self.decoder.code_size})"
            )
        told = self._told(batch, len(codes))
        parts = [
            self._arrays(some, beside)
            for some, beside in zip(
                torch.split(codes, _AT_ONCE), torch.split(told, _AT_ONCE), strict=True
            )
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def unnamed(self, codes: Tensor, batch: Batch | None = None) -> tuple[Tensor, Tensor]:
        """Densities (n, channels, N, N, N) and numbers as they come, without the segmenter."""
        made, numbers = self.decoder(codes, self._told(batch, len(codes)))
        return self._unscaled(made, numbers)

    def segment(self, density: Tensor) -> Tensor:
        """(n, N, N, N) species of densities as the segmenter names them, 0 for none.

        Where an atom is more likely than none it is the element of the highest probability,
        averaged over the 3 x 3 x 3 points around.
        """
        return self._segmented(self._learnt(density))

    def _arrays(self, codes: Tensor, told: Tensor) -> dict[str, Tensor]:
        made, numbers = self.decoder(codes, told)
        return self.grid.arrays(*self._unscaled(made, numbers), self._segmented(made))

    def _unscaled(self, made: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        n = self.grid.n_points
        learnt = made[..., :n, :n, :n].float() * self.spread + self.shift
        scaled = learnt.sinh() if self.compressed else learnt
        return scaled * self.density_scale, numbers.float() * self.number_spread + self.number_mean

    def _features(self, made: Tensor) -> Tensor:
        """What the segmenter makes of learnt densities: always of asinh of them.

        What names an element is the ratio of two channels, which is then a difference.
        """
        seen = made if self.compressed else (made.float() * self.spread + self.shift).asinh()
        n = self.grid.n_points
        features: Tensor = self.segmenter(seen)[:, :n, :n, :n]
        return features

    def _segmented(self, made: Tensor) -> Tensor:
        shares = self._logits(self._features(made)).softmax(dim=-1).movedim(-1, 1)
        mode = "circular" if self.grid.periodic else "replicate"
        elements = functional.pad(shares[:, 1:], (1,) * 6, mode=mode)
        element = functional.avg_pool3d(elements, 3, stride=1).argmax(dim=1) + 1
        return torch.where(shares[:, 0] < 0.5, element, 0)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of normal distributions from the standard one, of each number, in nats."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """The same, with its gradient multiplied by a factor."""
    return x.detach() + factor * (x - x.detach())


def balanced_cross_entropy(logits: Tensor, species: Tensor) -> Tensor:
    """Mean of the mean over the points of atoms and of that over the others, in nats.

    Parameters
    ----------
    logits : (p, classes)
    species : (p,)
        The class of each point; 0 for none.
    """
    each = functional.cross_entropy(logits, species, reduction="none")
    parts = [part for part in (each[species > 0], each[species == 0]) if len(part)]
    return torch.stack([part.mean() for part in parts]).mean() if parts else logits.sum() * 0


def _spread(density: Tensor) -> Tensor:
    """(channels, 1, 1, 1) standard deviation of each channel; 1 where it is the same everywhere."""
    spread = density.std(dim=(0, 2, 3, 4), correction=0).view(-1, 1, 1, 1)
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _check_sizes(**sizes: Any) -> None:
    for name, values in sizes.items():
        least = 1 if name == "latent_size" else 2
        whole = not isinstance(values, str) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= least for v in values
        )
        if not whole or len(values) < least:
            wanted = (
                "a whole number of at least 1"
                if least == 1
                else "two or more whole numbers of at least 2"
            )
            shown = values[0] if name == "latent_size" else values
            raise ModelError(f"{name} is {shown!r}, wanted {wanted}")
