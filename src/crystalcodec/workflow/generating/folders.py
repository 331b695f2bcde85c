"""The folder of generated crystals: whose it is, and whether it is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from crystalcodec.workflow.benchmark.documents import plain, read_document, write_document

__all__ = [
    "DATASET",
    "RECORD",
    "FinishedError",
    "GenerationError",
    "claim_folder",
    "release_folder",
]

RECORD: Final = "generated.json"
DATASET: Final = "generated.parquet"
FORMAT: Final = 1


class GenerationError(ValueError):
    """Crystals that cannot be generated as asked, or a place where they cannot go."""


class FinishedError(GenerationError):
    """The folder holds what is asked for already.

    Parameters
    ----------
    n_crystals
        How many crystals are left there.
    """

    def __init__(self, message: str, n_crystals: int) -> None:
        super().__init__(message)
        self.n_crystals = n_crystals


def claim_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Make a folder that of a request, which a record in it tells from then on.

    A folder of the same request that was interrupted is taken up.

    Raises
    ------
    FinishedError
        The request has been carried out there.
    GenerationError
        The folder holds another request, or something else.
    """
    if folder.exists() and not folder.is_dir():
        raise GenerationError(f"{folder} is a file: give a folder")
    names = [path.name for path in folder.glob("[!.]*")] if folder.exists() else []
    there = read_document(folder / RECORD)
    if names and (there is None or there.get("format") != FORMAT):
        raise GenerationError(
            f"{folder} holds other files ({', '.join(sorted(names)[:3])}) and no generated "
            "crystals: give an empty or new folder"
        )
    wanted = plain(dict(identity))
    if there is not None:
        other = [key for key in wanted if there.get("identity", {}).get(key) != wanted[key]]
        finished = there.get("status") == "finished" and (
            (folder / DATASET).exists() or not there.get("n_crystals", 1)
        )
        if not other and finished:
            n = int(there.get("n_crystals", 1))
            told = "these crystals" if n else "this request, of which no crystal is left"
            raise FinishedError(f"{folder} holds {told}, finished: nothing to do", n)
        # An unfinished one that has left nothing but its record is no loss.
        if other and (finished or names != [RECORD]):
            told = ", ".join(f"{key} {_short(there, key)} there" for key in other[:4])
            raise GenerationError(
                f"{folder} holds other generated crystals ({told}): give another folder, or "
                "delete this one"
            )
    document = {"format": FORMAT, "status": "generating", "identity": wanted}
    write_document(folder / RECORD, document)


def release_folder(folder: Path) -> None:
    """Take the record of a request away again where nothing else has come of it."""
    if [path.name for path in folder.glob("[!.]*")] == [RECORD]:
        (folder / RECORD).unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


def _short(document: Mapping[str, Any], key: str) -> str:
    text = str(document.get("identity", {}).get(key))
    return text if len(text) < 40 else f"{text[:37]}..."
