"""One part of a build of slices: its pictures and their planes, made by any process."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from crystalcodec.crystals import Crystals
from crystalcodec.data.dataset import Dataset
from crystalcodec.failures import Failure
from crystalcodec.io.volumetric import VolumetricError, read_volumetric
from crystalcodec.io.whole import whole_file
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.slices.charge import ChargeSlicing
from crystalcodec.representations.slices.drawing import SliceStyle, draw_slice
from crystalcodec.representations.slices.planes import (
    Planes,
    PlanesError,
    all_planes,
    draw_planes,
    per_atom_scales,
)

__all__ = ["COLUMNS", "Part", "SliceOptions", "draw_part"]

_VECTOR: Final = pa.list_(pa.float64(), 3)
COLUMNS: Final = pa.schema(
    [
        ("image", pa.string()),
        ("crystal", pa.int64()),
        ("id", pa.string()),
        ("formula", pa.string()),
        ("kind", pa.string()),
        ("plane", pa.int64()),
        ("sites", pa.list_(pa.int64())),
        ("translations", pa.list_(pa.int64())),
        ("axis", pa.int64()),
        ("index", pa.int64()),
        ("right", _VECTOR),
        ("up", _VECTOR),
        ("normal", _VECTOR),
        ("origin", _VECTOR),
        ("scale", pa.float64()),
        ("width", pa.float64()),
        ("n_atoms", pa.int64()),
    ]
)
"""Columns of the table of slices."""


@dataclass(frozen=True)
class SliceOptions:
    """How slices of a dataset are made.

    Parameters
    ----------
    planes
        Planes of each crystal, drawn at random (fewer where it has fewer); ``all``: every one
        that symmetry tells apart.
    style
        How atoms are drawn; its size is that of slices of densities, too.
    volume_per_atom, translates, seed
        See :class:`crystalcodec.representations.slices.DensitySlices`.
    symprec
        Å; how far sites may be from symmetric places, for all planes.
    charge
        How densities are cut; its size is replaced.
    bits
        Depth of the pixels, 8 or 16.

    Raises
    ------
    RepresentationError
        Options out of range.
    """

    planes: int | Literal["all"] = 1
    style: SliceStyle = field(default_factory=SliceStyle)
    volume_per_atom: float | None = 1.0
    translates: bool = True
    seed: int = 0
    symprec: float = 0.01
    charge: ChargeSlicing = field(default_factory=ChargeSlicing)
    bits: int = 8

    def __post_init__(self) -> None:
        if self.planes != "all" and (isinstance(self.planes, str) or self.planes < 1):
            raise RepresentationError(f"planes is {self.planes!r}, wanted 1 or more, or 'all'")
        if self.bits not in (8, 16):
            raise RepresentationError(f"bits is {self.bits}, wanted 8 or 16")
        for name in ("volume_per_atom", "symprec"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise RepresentationError(f"{name} is {value}, wanted a positive number")

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return self.style.size

    @property
    def charge_slicing(self) -> ChargeSlicing:
        """How densities are cut, at the size of all pictures."""
        return replace(self.charge, size=self.size)


@dataclass(frozen=True)
class Part:
    """Crystals that are drawn together, or a file with a density.

    Parameters
    ----------
    start
        Number of the first of them.
    ids
        Their ids.
    crystals
        The crystals, where there is no file.
    path
        The file.
    """

    start: int
    ids: tuple[str, ...]
    crystals: Crystals | None = None
    path: str = ""


def draw_part(folder: str, number: int, part: Part, options: SliceOptions, output: str) -> None:
    """Write the pictures, the table and the crystals of a part, and last its marker."""
    made = _Drawn(Path(folder), number, options, output)
    if part.crystals is not None:
        made.add_crystals(part, part.crystals)
    else:
        made.add_density(part)
    made.finish()


class _Drawn:
    """What a part has come to."""

    def __init__(self, folder: Path, number: int, options: SliceOptions, output: str) -> None:
        self.folder, self.number, self.options, self.output = folder, number, options, output
        self.rows: list[dict[str, Any]] = []
        self.pixels: list[npt.NDArray[Any]] = []
        self.crystals: list[Crystals] = []
        self.ids: list[str] = []
        self.failures: list[Failure] = []
        self.n_collinear = self.n_sparse = 0

    def add_crystals(self, part: Part, crystals: Crystals) -> None:
        """Made slices of crystals."""
        scales = per_atom_scales(crystals, self.options.volume_per_atom)
        for i, (crystal, name) in enumerate(zip(crystals, part.ids, strict=True)):
            try:
                planes = self._planes(crystal, float(scales[i]))
            except PlanesError as error:
                self.failures.append(Failure(part.start + i, error.reason, error.detail, name))
                continue
            self.n_collinear += planes.n_collinear
            for j in range(len(planes)):
                picture, n_atoms = draw_slice(crystal, planes, j, self.options.style)
                self._add(
                    picture,
                    part.start + i,
                    name,
                    crystal,
                    kind="made",
                    plane=j,
                    sites=planes.sites[j].tolist(),
                    translations=planes.translations[j].ravel().tolist(),
                    frame=planes.frames[j],
                    origin=planes.origins[j],
                    scale=planes.scale,
                    width=self.options.style.width,
                    n_atoms=n_atoms,
                )
            self.crystals.append(crystal)
            self.ids.append(name)

    def _planes(self, crystal: Crystals, scale: float) -> Planes:
        options = self.options
        if options.planes == "all":
            return all_planes(
                crystal, scale=scale, translates=options.translates, symprec=options.symprec
            )
        return draw_planes(
            crystal,
            options.planes,
            seed=options.seed,
            scale=scale,
            translates=options.translates,
            fewer=True,
        )

    def add_density(self, part: Part) -> None:
        """Slices of the densities of a file."""
        name = part.ids[0]
        try:
            volumes = read_volumetric(part.path)
        except VolumetricError as error:
            self.failures.append(
                Failure(part.start, error.reason, error.detail, part.path, error.line)
            )
            return
        before = len(self.rows)
        for volume in volumes:
            try:
                slices = [*self.options.charge_slicing.cut(volume)]
            except RepresentationError as error:
                # Each density has a grid of its own: what one lacks, others may have.
                detail = f"{error}: leave it out of indices"
                self.failures.append(Failure(part.start, "no such grid point", detail, part.path))
                return
            for plane, one in enumerate(slices):
                if one.picture is None:
                    self.n_sparse += 1
                    continue
                self._add(
                    one.picture,
                    part.start,
                    name,
                    volume.crystals,
                    kind=volume.kind,
                    plane=plane,
                    axis=one.axis,
                    index=one.index,
                    frame=one.frame,
                    origin=one.origin,
                    scale=1.0,
                    width=one.width,
                    n_atoms=-1,
                )
        if len(self.rows) == before:
            detail = "all slices are sparse: lower threshold or min_share"
            self.failures.append(Failure(part.start, "sparse slices", detail, part.path))
            return
        self.crystals.append(volumes[0].crystals)
        self.ids.append(part.path)

    def _add(
        self,
        picture: npt.NDArray[np.float32],
        number: int,
        name: str,
        crystal: Crystals,
        *,
        frame: npt.NDArray[np.float64],
        **row: Any,
    ) -> None:
        whole = 2**self.options.bits - 1
        kind = np.uint8 if self.options.bits == 8 else np.uint16
        pixels = np.rint(picture * np.float32(whole)).astype(kind)
        formula = crystal.formulas[0]
        image = ""
        if self.output == "array":
            self.pixels.append(pixels)
        else:
            from crystalcodec.io.png import write_png

            tag = "" if row["kind"] == "made" else f"-{row['kind'].replace(' ', '-')}"
            image = f"images/{self.number:06d}/{number:08d}{tag}-{row['plane']:04d}.png"
            text = {"id": name, "formula": formula, "plane": str(row["plane"])}
            write_png(self.folder / image, pixels, text=text)
        right, up, normal = frame.tolist()
        self.rows.append(
            {
                "image": image,
                "crystal": len(self.crystals),
                "id": name,
                "formula": formula,
                "right": right,
                "up": up,
                "normal": normal,
                **{key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in row.items()},
            }
        )

    def finish(self) -> None:
        """Write table, crystals and array, and then the marker that says that all are there."""
        stem = self.folder / "parts" / f"{self.number:06d}"
        if self.rows:
            table = pa.Table.from_pylist(self.rows, COLUMNS)
            with whole_file(f"{stem}.parquet") as temporary:
                pq.write_table(table, temporary)
            crystals = Crystals.concatenate(self.crystals)
            Dataset.from_crystals(crystals, ids=self.ids).write(f"{stem}.crystals.parquet")
        if self.pixels:
            with whole_file(f"{stem}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, np.stack(self.pixels))
        marker = {
            "n_pictures": len(self.rows),
            "n_crystals": len(self.crystals),
            "n_sparse": self.n_sparse,
            "n_collinear": self.n_collinear,
            "failures": [[f.index, f.reason, f.detail, f.source, f.line] for f in self.failures],
        }
        with whole_file(f"{stem}.json") as temporary:
            temporary.write_text(json.dumps(marker))
