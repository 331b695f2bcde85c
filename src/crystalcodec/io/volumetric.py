"""Densities on a grid: VASP CHGCAR and Gaussian cube files to a crystal and its values."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.io.loaded import Records
from crystalcodec.io.number_text import NumberText, VolumetricError
from crystalcodec.io.poscar import add_poscar
from crystalcodec.io.streams import DamagedError, decompressed

__all__ = ["VolumetricData", "VolumetricError", "read_volumetric", "volumetric_format"]

Floats = npt.NDArray[np.float64]

BOHR: Final = 0.529177210903
"""Å; the atomic unit of length, CODATA 2018."""
_MAX_POINTS: Final = 1 << 30  # of a grid; more is a mistake
_CHGCAR: Final = re.compile(r"CHGCAR|AECCAR|PARCHG|(^|[^A-Z])CHG([^A-Z]|$)")
_KINDS: Final = {
    1: ("total",),
    2: ("total", "magnetisation"),
    4: ("total", "magnetisation x", "magnetisation y", "magnetisation z"),
}


@dataclass(frozen=True, eq=False)
class VolumetricData:
    """Values on a grid of a cell, and the crystal in the cell.

    Parameters
    ----------
    crystals
        A batch of one.
    values : (nx, ny, nz)
        e/Å3, at the fractional coordinates (i / nx, j / ny, k / nz).
    kind
        ``total``; ``magnetisation`` (up less down), of non-collinear magnets ``magnetisation x``,
        ``y`` and ``z``.
    source
        The file.

    Raises
    ------
    ValueError
        More than one crystal, or values that are no grid of finite numbers.
    """

    crystals: Crystals
    values: Floats
    kind: str = "total"
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.crystals) != 1:
            raise ValueError(f"a grid belongs to one crystal, got {len(self.crystals)}")
        if self.values.ndim != 3 or not self.values.size or not np.isfinite(self.values).all():
            raise ValueError(
                f"values of shape {self.values.shape}: wanted a grid (nx, ny, nz) of finite numbers"
            )

    @property
    def total(self) -> float:
        """The integral over the cell: the number of electrons, for a whole density."""
        return float(self.values.mean() * self.crystals.volumes[0])


def volumetric_format(name: str) -> str | None:
    """``chgcar`` or ``cube``, by the name of a file; None where it is neither.

    >>> volumetric_format("run/CHGCAR.gz"), volumetric_format("a.cube"), volumetric_format("LOCPOT")
    ('chgcar', 'cube', None)
    """
    path = PurePath(name)
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    if path.suffix.lower() in (".cube", ".cub"):
        return "cube"
    return "chgcar" if _CHGCAR.search(path.name) or path.suffix == ".chgcar" else None


def read_volumetric(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
) -> tuple[VolumetricData, ...]:
    r"""Read the densities of a CHGCAR (CHG, AECCAR, PARCHG) or cube file, also of a ``.gz``.

    A CHGCAR holds the density times the volume of the cell, x fastest; it is divided here. Of a
    magnet the magnetisation follows. The one-centre terms of PAW ("augmentation occupancies") are
    left behind, but must be whole. Potentials and localisation functions (LOCPOT, ELFCAR) are no
    densities and are not taken. A cube file is taken to hold a density in e/bohr3, z fastest,
    with a repeating cell; atoms are counted from the origin of its grid.

    Parameters
    ----------
    path
        The file.
    format
        ``chgcar`` or ``cube``, where the name does not tell it.

    Returns
    -------
    tuple of VolumetricData
        One for each set of values, ``total`` first.

    Raises
    ------
    VolumetricError
        By reason: ``unknown format``, ``damaged file``, ``cut off``, ``grid contradicts values``
        (more numbers than the grid has points, or fewer and yet more text), ``not a number``,
        ``not finite``, ``not a grid``, ``several data sets`` (cube files of orbitals), ``unread
        rest``, and those of POSCAR.
    OSError
        A file that is not there.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "CHGCAR"
    >>> header = "H\n1\n2 0 0\n0 2 0\n0 0 2\nH\n1\nDirect\n0 0 0\n"
    >>> _ = path.write_text(f"{header}\n1 1 2\n8 16\n")
    >>> density = read_volumetric(path)[0]
    >>> density.values.ravel().tolist(), density.total
    ([1.0, 2.0], 12.0)
    """
    source = str(path)
    found = format or volumetric_format(source)
    if found not in ("chgcar", "cube"):
        raise VolumetricError(
            "unknown format",
            f"{found or 'the name'} says neither CHGCAR nor cube: give format='chgcar' or 'cube'",
            source,
        )
    try:
        with Path(path).open("rb") as raw:
            data = decompressed(raw, source).read()
    except DamagedError as error:
        raise VolumetricError(error.reason, error.detail, source) from None
    except (EOFError, zlib.error) as error:
        raise VolumetricError("cut off", f"{error}: get the file again", source) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise VolumetricError("damaged file", str(error), source) from None
    text = NumberText(data, source)
    return _chgcar(text) if found == "chgcar" else (_cube(text),)


def _chgcar(text: NumberText) -> tuple[VolumetricData, ...]:
    header = next((i for i in range(6, min(len(text), 10**6)) if not text.line(i).strip()), None)
    if header is None:
        raise text.error("cut off", "no empty line after the sites", len(text) - 1)
    crystals = _crystal(text, header)
    volume = float(crystals.volumes[0])
    grid = text.whole_numbers(header + 1, 3)
    if grid is None or min(grid) < 1 or np.prod(grid, dtype=float) > _MAX_POINTS:
        raise text.error(
            "not a grid",
            f"{text.line(header + 1)!r}: wanted three numbers of points, 1 or more",
            header + 1,
        )
    values, row = text.values(header + 2, int(np.prod(grid)))
    sets = [values]
    while (row := _next_grid(text, row, grid, len(crystals.numbers))) < len(text):
        values, row = text.values(row + 1, int(np.prod(grid)))
        sets.append(values)
    if len(sets) not in _KINDS:
        raise text.error("unread rest", f"{len(sets)} sets of values, wanted 1, 2 or 4")
    return tuple(
        VolumetricData(
            crystals,
            np.ascontiguousarray(one.reshape(grid[::-1]).transpose()) / volume,
            kind,
            text.source,
        )
        for kind, one in zip(_KINDS[len(sets)], sets, strict=True)
    )


def _crystal(text: NumberText, stop: int) -> Crystals:
    """The crystal of the first lines, which are a POSCAR."""
    records = Records()
    add_poscar(records, text.lines(0, stop).decode("latin-1"), index=0, name="", source=text.source)
    loaded = records.finish(0.0)
    if loaded.failures:
        fault = loaded.failures[0]
        raise VolumetricError(fault.reason, fault.detail, text.source, fault.line)
    return loaded.crystals


def _next_grid(text: NumberText, row: int, grid: list[int], n_atoms: int) -> int:
    """The line with the grid of the next set of values; the number of lines where there is none.

    Between two sets stand the augmentation occupancies, one after another, and then, before the
    magnetisation, a number for each atom.
    """
    moments = 0
    while row < len(text):
        words = text.line(row).split()
        if not words:
            row += 1
        elif words[0] == "augmentation":
            row = _after_augmentation(text, row)
        elif (found := text.whole_numbers(row, 3)) is not None:
            if found != grid:
                raise text.error("grid contradicts values", f"grid {found}, wanted {grid}", row)
            if moments not in (0, n_atoms):
                break
            return row
        else:
            moments += len(words)
            row += 1
            if moments > n_atoms:
                break
    if moments:
        raise text.error(
            "grid contradicts values",
            f"{moments} or more numbers follow the {int(np.prod(grid))} values of the grid {grid}: "
            "one of the two is wrong",
            row - 1,
        )
    return len(text)


def _after_augmentation(text: NumberText, row: int) -> int:
    """The line after the augmentation occupancies of an atom, which must all be there."""
    word = text.line(row).split()[-1]
    try:
        n = int(word[-4:] if len(word) == 8 else word)  # atom and number, of four columns each
    except ValueError:
        raise text.error(
            "not a number", f"{text.line(row)!r}: wanted atom and number of values", row
        ) from None
    return text.values(row + 1, n)[1] if n > 0 else row + 1


def _cube(text: NumberText) -> VolumetricData:
    n_atoms, *origin = text.floats(2, 4)
    words = text.line(2).split()
    if n_atoms < 0 or (len(words) > 4 and words[4] != "1"):
        raise text.error(
            "several data sets",
            f"{text.line(2).strip()!r}: orbitals or several values a point, wanted one density",
            2,
        )
    if n_atoms != int(n_atoms) or not 1 <= n_atoms <= len(text):
        raise text.error("not a grid", f"{n_atoms:g} atoms in {len(text)} lines", 2)
    grid, vectors = [], []
    for row in (3, 4, 5):
        points, *vector = text.floats(row, 4)
        if points != int(points) or points == 0:
            raise text.error("not a grid", f"{points:g} points, wanted a whole number", row)
        # By the format a negative number of points says that lengths are in Å.
        unit = BOHR if points > 0 else 1.0
        grid.append(abs(int(points)))
        vectors.append(np.array(vector) * unit * abs(points))
    if np.prod(grid, dtype=float) > _MAX_POINTS:
        raise text.error("not a grid", f"{grid} points: at most {_MAX_POINTS} are read", 3)
    sites = np.array([text.floats(6 + i, 5) for i in range(int(n_atoms))])
    n = int(np.prod(grid))
    # To the end of the file; most programs begin a new line after each run along z.
    values = text.numbers(6 + int(n_atoms), len(text))
    if len(values) != n:
        raise text.error(
            "cut off" if len(values) < n else "grid contradicts values",
            f"{len(values)} values, wanted {n} for the grid {grid}",
            len(text) - 1,
        )
    text.require_end()
    try:
        inverse = np.linalg.inv(np.array(vectors))
        coords = (sites[:, 2:] - origin) * unit @ inverse
        if (sites[:, 0] != np.rint(sites[:, 0])).any():
            raise text.error("no such element", f"atomic numbers {sites[:, 0].tolist()}", 6)
        crystals = Crystals.single(np.array(vectors), coords, sites[:, 0].astype(int))
    except np.linalg.LinAlgError:
        raise text.error("no volume", f"vectors {vectors} close no cell", 3) from None
    except CrystalsError as error:
        raise text.error("no crystal", str(error), 6) from None
    return VolumetricData(crystals, values.reshape(grid) / BOHR**3, "total", text.source)
