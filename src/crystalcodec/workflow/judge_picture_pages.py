"""The page of judged pictures: some of either side, numbers of atoms, power spectra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.judge_report import write_judge_report
from crystalcodec.workflow.judge_baselines import Baseline
from crystalcodec.workflow.judge_figures import Figures
from crystalcodec.workflow.judge_pages import table_row
from crystalcodec.workflow.judge_picture_inputs import GivenPictures
from crystalcodec.workflow.judge_tables import SHIFTED

__all__ = ["write_picture_pages"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
_SHOWN: Final = 10


def write_picture_pages(
    folder: Path,
    document: Mapping[str, Any],
    pictures: GivenPictures,
    reference: GivenPictures,
    figures: Figures,
    floor: Baseline,
) -> None:
    """Write ``report.html``, and its figures as PNG into ``figures``."""
    from crystalcodec.plots.judging import funnel
    from crystalcodec.plots.pictures import atom_count_shares, picture_strip, spectra_curves
    from crystalcodec.plots.results import save

    place = folder / "figures"
    found = {one.name: one for own in figures.values() for one in own}
    height, width, _ = reference.shape
    stages = [("attempts", pictures.n), (f"pictures of {height} x {width}", len(pictures.values))]
    save(funnel(stages), place / "funnel.png")
    some = [_drawn(one, document["seed"]) for one in (pictures, reference)]
    save(picture_strip(*some), place / "pictures.png")
    drawn = {"drawn at random, none chosen": place / "pictures.png"}
    spread: dict[str, Path] = {}
    if "atom_count_ks" in found:
        told = found["atom_count_ks"].extra
        shares = atom_count_shares(
            *(_counts(told[f"{side}_by_count"]) for side in ("pictures", "reference"))
        )
        save(shares, place / "atom_counts.png")
        spread["atoms in a picture"] = place / "atom_counts.png"
    extra = found["power_spectrum_distance"].extra
    curves = spectra_curves(
        extra["frequencies"], extra["mean_log_power"], extra["mean_reference_log_power"]
    )
    save(curves, place / "power_spectra.png")
    spread["power spectra, means of the logarithms"] = place / "power_spectra.png"
    write_judge_report(
        folder / "report.html",
        document,
        rows=[table_row(one, [floor]) for own in figures.values() for one in own],
        baselines={floor.name: floor.note},
        funnel=place / "funnel.png",
        histograms=spread,
        gallery=None,
        remark=SHIFTED,
        strips=drawn,
    )


def _drawn(pictures: GivenPictures, seed: int) -> Array:
    """Some of the pictures at random, in their order."""
    n = len(pictures.values)
    if not n:
        return pictures.values
    chosen = np.random.default_rng(seed).choice(n, min(n, _SHOWN), replace=False)
    return np.asarray(pictures.values[np.sort(chosen)])


def _counts(told: Mapping[str, Any]) -> Floats:
    return np.repeat(np.asarray(told["atoms"], np.float64), np.asarray(told["pictures"], np.int64))
