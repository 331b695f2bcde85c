"""Wasserstein distances of numbers that crystals have: density, elements, sites, properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import EvaluationError, Evidence, Figure
from crystalcodec.evaluation.distribution.resampling import noise_floor, recentred
from crystalcodec.evaluation.distribution.wasserstein import Wasserstein, wasserstein_distance

__all__ = ["Numbers", "number_figures", "wasserstein_figure"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_DRAWN: Final = 1000  # valid crystals that the published code looks at
_DRAWS: Final = 20


class Numbers(NamedTuple):
    """A number of each attempt, NaN for none, and of each held-out crystal."""

    what: str
    unit: str
    attempts: Floats
    held_out: Floats


def number_figures(evidence: Evidence, held_out: Crystals, valid: Bools) -> list[Figure]:
    """Of each number two distances: as published, of the valid attempts, and of all crystals.

    Parameters
    ----------
    evidence
        With ``properties`` as far as there are.
    held_out
        What to compare with.
    valid : (n,)
        Attempts that are valid as published.

    Raises
    ------
    EvaluationError
        A property of another length than the attempts or the held-out crystals.
    """
    figures = []
    for name, numbers in _numbers(evidence, held_out).items():
        of_valid = np.where(valid, numbers.attempts, np.nan)
        failures = evidence.attempts.reasons()
        invalid = failures.copy()
        if lacking := int(np.isfinite(numbers.attempts).sum() - np.isfinite(of_valid).sum()):
            invalid["not valid"] = lacking
        text = f"Wasserstein distance of order 1 between the {numbers.what} of held-out crystals "
        figures += [
            wasserstein_figure(
                f"wdist_{name}",
                text + "and of the attempts that are valid by structure and by composition and "
                "have a CrystalNN fingerprint (Xie et al., 10.48550/arXiv.2110.06197; the figure "
                f"validity is of the first two). The published code draws {_DRAWN} of these "
                "at random (see published_draw); here all of them count.",
                numbers._replace(attempts=of_valid),
                invalid,
                {"published_draw": _published_draw(of_valid, numbers.held_out)},
            ),
            wasserstein_figure(
                f"wdist_{name}_of_all",
                text + "and of all crystals that the attempts gave, valid or not.",
                numbers,
                failures,
            ),
        ]
    return figures


def _numbers(evidence: Evidence, held_out: Crystals) -> dict[str, Numbers]:
    attempts = evidence.attempts
    own, held = _of_crystals(attempts.crystals), _of_crystals(held_out)
    numbers = {
        name: Numbers(what, unit, attempts.spread(values, np.nan), held[name][2])
        for name, (what, unit, values) in own.items()
    }
    for name, (values, others) in evidence.properties.items():
        generated, known = np.asarray(values, np.float64), np.asarray(others, np.float64)
        if generated.shape != (attempts.n,) or known.shape != (len(held_out),):
            raise EvaluationError(
                f"property {name!r} of shapes {generated.shape} and {known.shape}: wanted one "
                f"number for each of {attempts.n} attempts and of {len(held_out)} held-out crystals"
            )
        numbers[name] = Numbers(name.replace("_", " "), "", generated, known)
    return numbers


def _of_crystals(crystals: Crystals) -> dict[str, tuple[str, str, Floats]]:
    """What each number is, its unit, and its (n,) values."""
    densities = crystals.densities if len(crystals) else np.zeros(0)
    elements = np.asarray((crystals.element_counts > 0).sum(axis=1), np.float64)
    sites = crystals.n_sites.astype(np.float64)
    return {
        "density": ("densities", "g/cm3", densities),
        "num_elems": ("numbers of elements", "", elements),
        "num_sites": ("numbers of sites of the cell, as it is given,", "", sites),
        "volume_per_atom": ("volumes per atom", "Å3", crystals.volumes / sites),
    }


def wasserstein_figure(
    name: str,
    definition: str,
    numbers: Numbers,
    failures: Mapping[str, int],
    extra: Mapping[str, Any] | None = None,
) -> Figure:
    """The distance as a figure, with the noise floor and the quantiles of the held-out numbers."""
    distance = Wasserstein.between(numbers.attempts, numbers.held_out)
    held = numbers.held_out[np.isfinite(numbers.held_out)]
    return Figure(
        name,
        f"{definition} Numbers that are missing are left out.",
        len(numbers.attempts),
        recentred(distance.of, len(numbers.attempts)),
        numbers.unit,
        "lower",
        failures,
        numbers.attempts,
        {
            "n_counted": int(np.isfinite(numbers.attempts).sum()),
            "held_out_quantiles": (
                np.quantile(held, np.linspace(0, 1, 21)).tolist() if len(held) else []
            ),
            "noise_floor": noise_floor(
                len(held), lambda one, other: wasserstein_distance(held[one], held[other])
            ),
            **(extra or {}),
        },
    )


def _published_draw(values: Floats, others: Floats) -> dict[str, float | int] | None:
    """Mean and spread of the distance over draws of 1,000; None where there are fewer."""
    finite = values[np.isfinite(values)]
    if len(finite) < _DRAWN:
        return None
    random = np.random.default_rng(0)
    found = [
        wasserstein_distance(random.choice(finite, _DRAWN, replace=False), others)
        for _ in range(_DRAWS)
    ]
    return {
        "n": _DRAWN,
        "draws": _DRAWS,
        "mean": float(np.mean(found)),
        "std": float(np.std(found)),
    }
