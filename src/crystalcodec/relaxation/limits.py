"""When a relaxation ends, and what else its numbers depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from crystalcodec.registry import MissingExtraError
from crystalcodec.relaxation.base import PotentialError

__all__ = ["Limits", "settings_of"]


@dataclass(frozen=True)
class Limits:
    """When a relaxation ends.

    Parameters
    ----------
    max_steps
        Evaluations after the first; without convergence by then a crystal is kept as it is.
    max_force
        eV/Å. Converged is where no force on a site is longer,
    max_stress
        GPa, and no component of the stress is larger, unless the cell is fixed.
    cell
        Whether the cell moves.
    volume_bounds
        Least and largest volume over that of the start; beyond them it is a failure.
    min_distance
        Å. Sites nearer to one another at the start or at the end are a failure: no potential
        has seen any such.

    Raises
    ------
    PotentialError
        Numbers that make no sense.
    """

    max_steps: int = 500
    max_force: float = 0.05
    max_stress: float = 0.5
    cell: bool = True
    volume_bounds: tuple[float, float] = (0.5, 2.0)
    min_distance: float = 0.3

    def __post_init__(self) -> None:
        low, high = self.volume_bounds
        wrong = {
            f"max_steps {self.max_steps}, wanted 0 or more": not self.max_steps >= 0,
            f"max_force {self.max_force}, wanted more than 0 eV/Å": not self.max_force > 0,
            f"max_stress {self.max_stress}, wanted more than 0 GPa": not self.max_stress > 0,
            f"volume_bounds {low}, {high}: wanted 0 < first < 1 < second": not 0 < low < 1 < high,
            f"min_distance {self.min_distance}, wanted 0 Å or more": not self.min_distance >= 0,
        }
        for told, is_so in wrong.items():
            if is_so:
                raise PotentialError(told)


def settings_of(packages: Sequence[str], limits: Limits) -> dict[str, Any]:
    """What else than the crystals and the potential's name the numbers depend on, for JSON.

    Raises
    ------
    MissingExtraError
        A package that is not installed.
    """
    return {
        **asdict(limits),
        "volume_bounds": list(limits.volume_bounds),
        "optimiser": "L-BFGS",
        "versions": {name: _version(name) for name in ("crystalcodec", *packages)},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise MissingExtraError(f"{package} is not installed: pip install {package}") from None
