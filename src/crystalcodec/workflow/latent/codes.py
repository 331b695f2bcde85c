"""Crystals to codes and codes to crystals, for any generator that has codes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts
from crystalcodec.failures import Failure
from crystalcodec.generators.base import Generator, LatentGenerator
from crystalcodec.representations.base import InvertibleRepresentation, held_crystals
from crystalcodec.workflow.generating.runs import GeneratorRun, open_generator
from crystalcodec.workflow.generating.sampling import Sampled
from crystalcodec.workflow.latent.windows import LatentError

__all__ = [
    "Codes",
    "LatentError",
    "decode_codes",
    "encode_crystals",
    "latent_of",
    "open_latent",
    "predicted_values",
    "reconstruct",
]

Floats = npt.NDArray[np.float32]
Columns = Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of crystals, and why others have none.

    Parameters
    ----------
    codes : (m, ...)
        float32.
    crystals
        The m crystals, with right-handed cells.
    index : (m,)
        Where each stood among those given.
    failures
        Why the others could not be encoded.
    """

    codes: Floats
    crystals: Crystals
    index: npt.NDArray[np.int64]
    failures: tuple[Failure, ...] = ()

    @property
    def flat(self) -> Floats:
        """(m, size) codes as rows."""
        return self.codes.reshape(len(self.codes), math.prod(self.codes.shape[1:]))


def open_latent(folder: str | Path, device: str | torch.device = "cpu") -> GeneratorRun:
    """A finished run of a generator that has codes.

    Raises
    ------
    RunError
        As of :func:`~crystalcodec.workflow.generating.runs.open_generator`.
    LatentError
        A generator without codes.
    """
    run = open_generator(folder, device)
    latent_of(run.generator)
    return run


def latent_of(generator: Generator) -> LatentGenerator:
    """The generator itself, once it is one with codes.

    Raises
    ------
    LatentError
        It has none.
    """
    if not isinstance(generator, LatentGenerator):
        raise LatentError(
            f"generator {generator.name!r} has no latent space: it makes arrays from noise and "
            "cannot encode; wanted an autoencoder, such as ircr_vae, density_vae or site_codec"
        )
    return generator


def encode_crystals(
    generator: Generator,
    crystals: Crystals,
    columns: Columns | None = None,
    *,
    batch_size: int = 256,
) -> Codes:
    """Codes of crystals, without noise.

    Parameters
    ----------
    columns
        Property values (n,) for an encoder that reads conditions; missing where not given.

    Raises
    ------
    LatentError
        A generator without codes; no crystals.
    """
    latent = latent_of(generator)
    if not len(crystals):
        raise LatentError("no crystals to encode: wanted at least one")
    crystals = crystals.right_handed()
    failures = _refused(latent, crystals)
    held, index = held_crystals(crystals, failures)
    told = {k: np.asarray(v)[index] for k, v in (columns or {}).items()}
    parts = []
    with _judging(latent):
        for start in range(0, len(held), batch_size):
            part = slice(start, start + batch_size)
            batch = _batch(latent, held[part], {k: v[part] for k, v in told.items()})
            parts.append(latent.encode(batch).float().cpu().numpy())
    codes = np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
    sound = np.asarray(np.isfinite(codes).all(axis=tuple(range(1, codes.ndim))))
    if not sound.all():
        failures += [
            Failure(i, "code is not finite", "the encoder gives NaN or infinity")
            for i in index[~sound].tolist()
        ]
        codes, held, index = codes[sound], held[sound], index[sound]
    return Codes(codes, held, index, tuple(sorted(failures, key=lambda failure: failure.index)))


def _refused(latent: LatentGenerator, crystals: Crystals) -> list[Failure]:
    """What the representation does not hold, and what has more sites than the generator takes."""
    failures = list(latent.representation.refuse(crystals))
    most = getattr(latent, "max_sites", None)
    if most is not None:
        counts = crystals.n_sites
        refused = {failure.index for failure in failures}
        detail = f"sites, at most {most} fit the generator (max_sites)"
        failures += [
            Failure(i, "too many sites", f"{counts[i]} {detail}")
            for i in np.flatnonzero(counts > most).tolist()
            if i not in refused
        ]
    return failures


def decode_codes(
    generator: Generator,
    codes: npt.ArrayLike,
    described: Codes | None = None,
    *,
    batch_size: int = 256,
) -> Sampled:
    """Arrays of codes, and the crystals that these decode to.

    Parameters
    ----------
    codes : (n, ...)
        Such as ``Codes.codes``.
    described
        Crystals, one a code, for a decoder that reads conditions: it is told theirs.

    Raises
    ------
    LatentError
        A generator without codes; no codes, or numbers that are not finite.
    """
    latent = latent_of(generator)
    given = np.asarray(codes, np.float32)
    if given.ndim < 2 or not given.size:
        raise LatentError(f"codes of shape {given.shape}: wanted (n, ...) with at least one")
    if not np.isfinite(given).all():
        raise LatentError("a code holds NaN or infinity: wanted real numbers")
    began = time.perf_counter()
    parts: list[dict[str, npt.NDArray[Any]]] = []
    with _judging(latent):
        for start in range(0, len(given), batch_size):
            part = slice(start, start + batch_size)
            batch = None
            if described is not None and len(latent.conditions):
                batch = _batch(latent, described.crystals[part], {}, arrays=False)
            made = latent.decode(torch.from_numpy(given[part]).to(latent.device), batch)
            parts.append({name: tensor.float().cpu().numpy() for name, tensor in made.items()})
    arrays = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    form = latent.representation
    decoded = form.decode(arrays) if isinstance(form, InvertibleRepresentation) else None
    return Sampled(arrays, decoded, time.perf_counter() - began)


def predicted_values(generator: Generator, codes: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
    """What the generator's branches predict of codes, by column, (n,); empty without branches."""
    branches = getattr(latent_of(generator), "properties", None)
    if branches is None:
        return {}
    with _judging(generator):
        rows = torch.from_numpy(np.asarray(codes, np.float32)).to(generator.device)
        found = branches(rows)
        return {name: values.double().cpu().numpy() for name, values in found.items()}


def reconstruct(
    generator: Generator, crystals: Crystals, *, batch_size: int = 256
) -> tuple[Attempts, Codes]:
    """Crystals encoded and decoded again.

    Each given crystal is an attempt: those that cannot be encoded, and those whose decoded
    arrays hold no crystal, are failures.

    Raises
    ------
    LatentError
        A generator without codes, or whose arrays cannot be decoded; no crystals.
    """
    codes = encode_crystals(generator, crystals, batch_size=batch_size)
    failures = list(codes.failures)
    made = Crystals.empty()
    if len(codes.codes):
        decoded = decode_codes(generator, codes.codes, codes, batch_size=batch_size).decoded
        if decoded is None:
            raise LatentError(
                f"arrays of {generator.representation.name!r} cannot be decoded to crystals"
            )
        made = decoded.crystals
        failures += [
            Failure(int(codes.index[f.index]), f.reason, f.detail) for f in decoded.failures
        ]
    return Attempts.of(made, sorted(failures, key=lambda failure: failure.index)), codes


class _judging:  # noqa: N801 - a context, used as one
    """Evaluation mode and no gradients inside."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.grad = generator, torch.no_grad()

    def __enter__(self) -> None:
        self.training = self.generator.training
        self.generator.eval()
        self.grad.__enter__()

    def __exit__(self, *told: Any) -> None:
        self.grad.__exit__(*told)
        self.generator.train(self.training)


def _batch(
    latent: LatentGenerator, crystals: Crystals, columns: Columns, arrays: bool = True
) -> dict[str, torch.Tensor]:
    """Arrays and conditions of crystals; values that are not given are missing."""
    missing = np.full(len(crystals), np.nan)
    told = {name: columns.get(name, missing) for name in latent.conditions.columns}
    rows: dict[str, npt.NDArray[Any]] = dict(latent.conditions.of(crystals, told))
    if arrays:
        rows |= latent.representation.encode(crystals).arrays
    return {
        name: torch.from_numpy(np.require(row, requirements=["C", "W"])).to(latent.device)
        for name, row in rows.items()
    }
