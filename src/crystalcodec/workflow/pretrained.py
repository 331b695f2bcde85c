"""The predictors that come with the package: which there are, and predictions of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from crystalcodec.crystals import Crystals
from crystalcodec.registry import PRETRAINED, UnknownNameError, did_you_mean
from crystalcodec.workflow.ensembles import Ensemble, open_ensemble
from crystalcodec.workflow.prediction import Encodings, with_unread
from crystalcodec.workflow.prediction import predict as predict_with
from crystalcodec.workflow.predictions import Predictions, joined

__all__ = ["Pretrained", "open_pretrained", "predict"]

FOLDER: Final = Path(__file__).parents[1] / "pretrained"
"""One folder a model: its runs, as training writes them, and ``card.md``."""


@dataclass(frozen=True)
class Pretrained:
    """Models of the package and the properties that are asked of each.

    Parameters
    ----------
    models
        One for each folder that is needed, with the properties it is asked for, in the order in
        which those were given.
    """

    models: tuple[tuple[Ensemble, tuple[str, ...]], ...]

    def predict(
        self, crystals: Crystals, *, ids: Sequence[str] | None = None, **options: Any
    ) -> Predictions:
        """All properties of crystals; ``options`` and errors are those of prediction.predict."""
        options["encodings"] = Encodings()
        return joined(
            [
                predict_with(model, crystals, ids=ids, **options).select(properties)
                for model, properties in self.models
            ]
        )

    def predict_files(
        self,
        files: Sequence[str | Path],
        *,
        ids: Sequence[str] | None = None,
        reading: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Predictions:
        """All properties of the crystals in files; ``reading`` goes to ``crystalcodec.read``.

        ``ids`` are those of the crystals that could be read; those in the files where None.
        """
        from crystalcodec.io import read

        loaded = read(files, **(reading or {}))
        made = self.predict(loaded.crystals, ids=loaded.ids if ids is None else ids, **options)
        made = replace(made, sources=tuple(map(str, loaded.sources)))
        return with_unread(made, loaded.failures)


def open_pretrained(properties: Iterable[str] | None = None) -> Pretrained:
    """The models of the package that predict these properties; all of them where none is named.

    Nothing is downloaded: the weights are files of the package.

    Raises
    ------
    UnknownNameError
        A property that no model of the package predicts.
    RunError, CheckpointError
        Damaged files.
    """
    wanted = list(dict.fromkeys(properties or PRETRAINED))
    folders: dict[str, list[str]] = {}
    for name in wanted:
        if name not in PRETRAINED:
            raise UnknownNameError(
                f"no pretrained predictor of {name!r}{did_you_mean(name, PRETRAINED)}; train one "
                "with `crystalcodec train` and give its folder as the model"
            )
        folders.setdefault(PRETRAINED[name], []).append(name)
    return Pretrained(
        tuple((open_ensemble(FOLDER / folder), tuple(names)) for folder, names in folders.items())
    )


def predict(
    structures: Any,
    properties: str | Sequence[str] | None = None,
    *,
    model: str | Path | None = None,
    **options: Any,
) -> Predictions:
    """Predict properties of crystals, out of the box or with a model of one's own.

    Parameters
    ----------
    structures
        ``Crystals``; a structure of pymatgen or atoms of ASE, or a list of them; a file, folder or
        archive, or a list of them.
    properties
        A name or several; all that the model predicts where none is named.
    model
        Folder of a finished run, or of its seeds; the predictors of the package where None.
    options
        ``coverage``, ``allow_unseen``, ``nearest``, ``ids``, as in ``workflow.prediction.predict``.

    Raises
    ------
    UnknownNameError
        A property that is not predicted.
    RunError, CheckpointError
        No model in that folder, or damaged files.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]],
    ...     [[0, 0, 0], [0.5, 0.5, 0.5]],
    ...     [11, 17],
    ... )
    >>> made = predict(salt, "formation_energy_per_atom")
    >>> bool(abs(made.of("formation_energy_per_atom")[0] + 2.11) < 0.1)
    True
    """
    names = [properties] if isinstance(properties, str) else properties
    source: Pretrained
    if model is None:
        source = open_pretrained(names)
    else:
        ensemble = open_ensemble(model)
        there = tuple(target.column for target in ensemble.targets)
        for name in names or ():
            if name not in there:
                raise UnknownNameError(f"{model} predicts no {name!r}{did_you_mean(name, there)}")
        source = Pretrained(((ensemble, tuple(dict.fromkeys(names or there))),))
    paths = _paths_of(structures)
    if paths is not None:
        return source.predict_files(paths, **options)
    return source.predict(_crystals_of(structures), **options)


def _paths_of(structures: Any) -> list[str | Path] | None:
    """Files, where that is what was given."""
    given = structures if isinstance(structures, list | tuple) else [structures]
    return list(given) if given and all(isinstance(one, str | Path) for one in given) else None


def _crystals_of(structures: Any) -> Crystals:
    if isinstance(structures, Crystals):
        return structures
    from crystalcodec.io import from_ase, from_pymatgen

    given = list(structures) if isinstance(structures, list | tuple) else [structures]
    kinds = {type(one).__module__.partition(".")[0] for one in given}
    if kinds == {"ase"}:
        return from_ase(given)
    if kinds == {"pymatgen"}:
        return from_pymatgen(given)
    if given and all(isinstance(one, Crystals) for one in given):
        return Crystals.concatenate(given)
    shown = ", ".join(sorted({type(one).__name__ for one in given})) or "nothing"
    raise TypeError(
        f"got {shown}: wanted Crystals, structures of pymatgen, atoms of ASE or paths of files, "
        "one or a list of one kind"
    )
