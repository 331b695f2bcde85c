"""How far a decoded image is from an IRCR, field by field, and the array that it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from crystalcodec.representations.ircr import IRCR

__all__ = ["FieldErrors", "field_errors", "written"]


@dataclass(frozen=True)
class FieldErrors:
    """Means over crystals.

    Parameters
    ----------
    elements
        Cross-entropy of the element of each column, or of none, summed over the columns; nats.
    occupancy
        Cross-entropy of the column of each site, or of no site, summed over the sites; nats.
    coordinates
        Squared distance between the points of circles that coordinates are, summed over the
        axes, mean over the sites of a crystal.
    cell
        Squared error of standardised lengths and angles, mean over the six.
    properties
        Squared error of the scaled rows of block P, mean over its entries.
    """

    elements: Tensor
    occupancy: Tensor
    coordinates: Tensor
    cell: Tensor
    properties: Tensor


def field_errors(
    form: IRCR, raw: Tensor, array: Tensor, cell: tuple[Tensor, Tensor], scaled: Tensor
) -> FieldErrors:
    """Errors of what the decoder gives.

    Parameters
    ----------
    raw : (n, rows, columns + 3)
        Logits, of "none" 0; numbers; and in the three last columns the sines of coordinates.
    array : (n, rows, columns)
        What it should be, in the representation's units.
    cell : (2, 3) each
        Means and standard deviations of lengths and angles.
    scaled : (n, rows, columns)
        The array, each row scaled to between 0 and 1.
    """
    rows, columns = form.blocks, form.n_columns
    elements = array[:, rows["E"]].transpose(1, 2)
    occupancy = array[:, rows["O"]]
    of_elements = _entropy(raw[:, rows["E"], :columns].transpose(1, 2), elements)
    of_sites = _entropy(raw[:, rows["O"], :columns], occupancy)
    there = occupancy.amax(2) > 0.5
    angles = 2 * math.pi * array[:, rows["C"], :3]
    apart = (raw[:, rows["C"], :3] - angles.cos()).square()
    apart = apart + (raw[:, rows["C"], columns:] - angles.sin()).square()
    of_crystals = (apart.sum(2) * there).sum(1) / there.sum(1).clamp(min=1)
    mean, deviation = cell
    off = raw[:, rows["L"], :3] - (array[:, rows["L"], :3] - mean) / deviation
    wrong = raw[:, rows["P"], :columns] - scaled[:, rows["P"]]
    return FieldErrors(
        of_elements.sum(1).mean(),
        of_sites.sum(1).mean(),
        of_crystals.mean(),
        off.square().mean(),
        wrong.square().mean(),
    )


def _entropy(logits: Tensor, hot: Tensor) -> Tensor:
    """(n, places) nats, of (n, places, categories) logits; a place without a hot entry is none."""
    target = torch.where(hot.amax(2) > 0.5, hot.argmax(2) + 1, 0)
    logits = functional.pad(logits, (1, 0))
    return functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")


def written(form: IRCR, raw: Tensor, cell: tuple[Tensor, Tensor], properties: Tensor) -> Tensor:
    """(n, rows, columns) the array that the decoder's numbers stand for.

    Categories are one-hot, or all zero for none; ``properties`` (n, 8, columns) is block P in its
    units.
    """
    rows, columns = form.blocks, form.n_columns
    array = raw.new_zeros(len(raw), form.n_rows, columns)
    array[:, rows["E"]] = _hot(raw[:, rows["E"], :columns].transpose(1, 2)).transpose(1, 2)
    occupancy = _hot(raw[:, rows["O"], :columns])
    array[:, rows["O"]] = occupancy
    mean, deviation = cell
    array[:, rows["L"], :3] = raw[:, rows["L"], :3] * deviation + mean
    turns = torch.atan2(raw[:, rows["C"], columns:], raw[:, rows["C"], :3]) / (2 * math.pi)
    coords = turns % 1
    coords = torch.where(coords == 1, 0.0, coords)
    array[:, rows["C"], :3] = coords * occupancy.amax(2, keepdim=True)
    array[:, rows["P"]] = properties
    return array


def _hot(logits: Tensor) -> Tensor:
    logits = functional.pad(logits, (1, 0))
    return functional.one_hot(logits.argmax(2), logits.shape[2])[..., 1:].to(logits.dtype)
