"""Judge generated pictures of crystals against real ones: a table, a report, kept rows."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.atom_counts import AtomCountError
from crystalcodec.evaluation.base import EvaluationError, Figure, Progress
from crystalcodec.evaluation.pictures import (
    copy_figures,
    count_figures,
    feature_figures,
    log_spectra,
    pixel_numbers,
    spectrum_figures,
)
from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.benchmark.documents import write_document
from crystalcodec.workflow.judge_baselines import Baseline
from crystalcodec.workflow.judge_figures import COVERAGE, N_RESAMPLES, Measured
from crystalcodec.workflow.judge_picture_inputs import GivenPictures
from crystalcodec.workflow.judge_picture_rows import (
    PictureStore,
    counted_atoms,
    mobilenet,
    picture_code,
    picture_features,
)
from crystalcodec.workflow.judge_store import versions
from crystalcodec.workflow.judge_tables import text_table, write_tables

__all__ = ["FEATURES", "PictureJudgement", "check_features", "judge_pictures"]

Array = npt.NDArray[Any]

FEATURES: Final = ("own", "mobilenet", "none")
FAMILY: Final = "pictures"
HALVES: Final = "real halves"
_FLOOR: Final = "_floor"
_AS_GIVEN: Final = "as given"
_INTERVAL: Final = (
    "Percentiles of the number over samples of the attempts with replacement, with the reference "
    "as it is. Samples hold fewer different pictures than the set, so that distances come out "
    "larger in them."
)
_OF_CRYSTALS: Final = (
    "a picture is not a crystal: what it says of elements, distances or energies is not read from "
    "it; decode pictures that can be decoded (crystalcodec decode) and judge the crystals"
)


@dataclass(frozen=True, eq=False)
class PictureJudgement:
    """What was found about generated pictures.

    Parameters
    ----------
    pictures, reference
        What was judged, and against what.
    figures
        By family; there is one, ``"pictures"``.
    floor
        The same figures of one half of the reference pictures against the other.
    left_out
        Why other figures are not there.
    about
        What the figures follow from: hashes, network, seed, versions.
    """

    pictures: GivenPictures
    reference: GivenPictures
    figures: Mapping[str, tuple[Measured, ...]]
    floor: Baseline
    left_out: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def all(self) -> list[Measured]:
        """All figures."""
        return [figure for figures in self.figures.values() for figure in figures]

    def figure(self, name: str) -> Measured:
        """The figure of that name.

        Raises
        ------
        KeyError
            If there is none.
        """
        found = {figure.name: figure for figure in self.all()}
        if name not in found:
            raise KeyError(f"no figure {name!r}: there is {', '.join(found)}")
        return found[name]

    def table(self) -> str:
        """All figures as text, the floor of each beside it."""
        return text_table(self.figures, [self.floor])

    def document(self) -> dict[str, Any]:
        """What ``judge.json`` holds."""
        sides = {"attempts": self.pictures, "reference": self.reference}
        told: dict[str, Any] = {
            name: {
                "n": one.n,
                "n_pictures": len(one.values),
                "content_hash": one.content_hash,
                "representation": one.representation,
                "failures": one.reasons(),
                "notes": list(one.notes),
            }
            for name, one in sides.items()
        }
        told["reference"]["notes"] += [
            f"{count:,} left out: {why}" for why, count in self.reference.reasons().items()
        ]
        if self.about.get("scaling", _AS_GIVEN) != _AS_GIVEN:
            told["attempts"]["notes"].append(f"values: {self.about['scaling']}")
        floor = {
            "note": self.floor.note,
            "n": self.floor.n,
            "families": _documents(self.floor.figures),
        }
        return {
            "format": 1,
            "kind": "pictures",
            **told,
            **self.about,
            "interval": {
                "coverage": COVERAGE,
                "n_resamples": N_RESAMPLES,
                "definition": _INTERVAL,
            },
            "failures": self.pictures.reasons(),
            "families": _documents(self.figures),
            "left_out": dict(self.left_out),
            "baselines": {self.floor.name: floor},
        }

    def write(self, folder: str | Path) -> None:
        """Write ``judge.json``, ``.csv`` and ``.md``, ``attempts.csv`` and ``report.html``.

        Raises
        ------
        OSError
            Where a file cannot be written.
        """
        from crystalcodec.workflow.judge_picture_pages import write_picture_pages

        folder = Path(folder)
        document = self.document()
        write_tables(folder, self.figures, [self.floor])
        _write_attempts(folder / "attempts.csv", self.pictures, self.all())
        write_picture_pages(
            folder, document, self.pictures, self.reference, self.figures, self.floor
        )
        write_document(folder / "judge.json", document)


def judge_pictures(
    pictures: GivenPictures,
    reference: GivenPictures,
    *,
    features: str = "own",
    seed: int = 0,
    jobs: int = 1,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    about: Mapping[str, Any] | None = None,
) -> PictureJudgement:
    """Judge pictures against reference pictures, and the reference against itself beside it.

    Parameters
    ----------
    pictures, reference
        From :func:`~crystalcodec.workflow.judge_picture_inputs.read_pictures`, the former with
        ``like=reference``.
    features
        Of which network for the Fréchet distance: ``"own"`` is trained on the reference pictures
        now; ``"mobilenet"``, or ``"mobilenet=FOLDER"``, is MobileNetV2 as trained on ImageNet;
        ``"none"``: no such figure.
    seed
        Of intervals, halves and training.
    jobs
        Number of processes. With more than one, call this under ``if __name__ == "__main__"``.
    folder
        Where rows and the network are kept, found again by the pixels, so that a run that was
        killed goes on; nothing is kept where None.
    progress
        Called with what is done, how many are done, and of how many.
    about
        More for ``judge.json``: the command, the files.

    Raises
    ------
    EvaluationError
        No attempts; pictures of another size than the reference's; an unknown network.
    ModelError
        Weights of MobileNetV2 that are not there.
    """
    check_features(features)
    if not pictures.n or not len(reference.values):
        raise EvaluationError(
            f"{pictures.n:,} attempts and {len(reference.values):,} reference pictures: wanted one"
        )
    if pictures.shape != reference.shape:
        raise EvaluationError(
            f"pictures {pictures.shape} and reference pictures {reference.shape} (height, width, "
            "channels): read them with like=reference"
        )
    # A network whose weights are not there is told before hours of other work.
    other = None if features in ("own", "none") else mobilenet(features)
    given = {"shape": list(reference.shape), "features": features, "seed": seed}
    pictures, reference, scaling = _scaled(pictures, reference)
    shelf = PictureStore(None if folder is None else Path(folder), jobs, progress)
    sides = pictures, reference
    left_out = {"validity, novelty, stability, ...": _OF_CRYSTALS}
    copies = shelf.both("pixels", sides, pixel_numbers, processes=False)
    found = copy_figures(*copies, seed=seed)
    if not reference.has_atoms:
        left_out["atom counts"] = (
            f"pictures of {reference.representation or 'several channels'} show no atoms to count"
        )
    else:
        try:
            counts = shelf.both("atom counts", sides, counted_atoms)
            found += count_figures(*counts, counter="crystalcodec's count_atoms", seed=seed)
        except AtomCountError as error:
            left_out["atom counts"] = str(error)
    if features == "none":
        left_out["Fréchet distance"] = "no network was wanted (--features none)"
    elif len(reference.values) < 4:
        left_out["Fréchet distance"] = "fewer than four reference pictures to train a network on"
    else:
        rows, network = picture_features(shelf, sides, other, seed)
        found += feature_figures(*rows, network=network, seed=seed)
        given["network"] = network
    spectra = shelf.both("power spectra", sides, log_spectra)
    found += spectrum_figures(*spectra, shape=reference.shape, seed=seed)
    measured = _measured(found, seed, progress)
    told = {**given, "scaling": scaling, "versions": _versions(), "code": picture_code()}
    return PictureJudgement(*sides, *measured, left_out, {**told, **(about or {})})


def check_features(features: str) -> None:
    """Raise EvaluationError unless it names features that there are."""
    if features not in FEATURES and not features.startswith("mobilenet="):
        raise EvaluationError(
            f"features {features!r}: wanted {', '.join(FEATURES)}, or mobilenet=FOLDER"
        )


def _scaled(
    pictures: GivenPictures, reference: GivenPictures
) -> tuple[GivenPictures, GivenPictures, str]:
    """Both from 0 to 1, by the least and the largest value of each channel of the reference."""
    values = reference.values
    scaled = values.dtype != np.uint8 and (values.min() < -0.01 or values.max() > 1.01)
    sides = [pictures, reference]
    if scaled:
        low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
        width = np.where(high > low, high - low, 1).astype(np.float32)
        sides = [replace(one, values=(_plain(one.values) - low) / width) for one in sides]
    far = 0
    if sides[0].values.dtype != np.uint8:
        own = sides[0].values
        far = int(((own < -1) | (own > 2)).any(axis=(1, 2, 3)).sum())
        sides[0] = replace(sides[0], values=np.clip(own, -1, 2))
    told = "each channel by its range in the reference" if scaled else _AS_GIVEN
    if far:
        told += f"; {far:,} generated pictures have values cut off that are far beyond (-1 to 2)"
    return sides[0], sides[1], told


def _plain(values: Array) -> Array:
    return values / np.float32(255) if values.dtype == np.uint8 else values


def _measured(
    found: list[Figure], seed: int, progress: Progress | None
) -> tuple[dict[str, tuple[Measured, ...]], Baseline]:
    """Figures with intervals, and those of the halves under the same names."""
    own: list[Measured] = []
    halves: list[Measured] = []
    for i, figure in enumerate(found):
        if progress is not None:
            progress("intervals", i, len(found))
        name = figure.name.removesuffix(_FLOOR)
        measured = Measured.of(FAMILY, replace(figure, name=name), seed)
        (own if name == figure.name else halves).append(measured)
    n = max((one.n for one in halves), default=0)
    note = (
        f"{n:,} of the reference pictures, drawn at random, judged against the other half: what "
        "real pictures score (the floor); distances of fewer pictures come out larger"
    )
    return {FAMILY: tuple(own)}, Baseline(HALVES, note, n, {FAMILY: tuple(halves)})


def _documents(figures: Mapping[str, tuple[Measured, ...]]) -> dict[str, Any]:
    return {family: [one.document() for one in own] for family, own in figures.items()}


def _versions() -> dict[str, str]:
    return {"python": sys.version.split()[0], **versions("torch", "scikit-image")}


def _write_attempts(path: Path, pictures: GivenPictures, figures: list[Measured]) -> None:
    """CSV of all attempts: name, what figures have of each, and why there is no picture."""
    told = [one for one in figures if one.of_each is not None]
    failed = {failure.index: failure for failure in pictures.failures}
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["attempt", "id", *(one.name for one in told), "reason", "detail"])
        columns = [np.asarray(one.of_each) for one in told]
        for i in range(pictures.n):
            why = failed.get(i)
            values = ["" if np.isnan(column[i]) else f"{column[i]:g}" for column in columns]
            name = pictures.ids[i].encode("utf-8", "backslashreplace").decode()
            reasons = (why.reason, why.detail) if why else ("", "")
            writer.writerow([i, name, *values, *reasons])
