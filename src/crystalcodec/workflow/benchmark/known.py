"""Cells of an earlier benchmark, taken from its ``benchmark.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from crystalcodec.workflow.benchmark.cells import is_current
from crystalcodec.workflow.benchmark.documents import digest, read_document, write_document
from crystalcodec.workflow.benchmark.processes import BenchmarkError
from crystalcodec.workflow.benchmark.rows import Rows

__all__ = ["OWN", "take_over", "tried"]

#: What the identity of a cell has of its own; the rest is the same for all cells of a model.
OWN: Final = ("rows", "representation", "size", "seed", "fold")


def tried(cells: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each model the part of the identity that its cells share."""
    shared: dict[str, dict[str, Any]] = {}
    for cell in cells:
        told = {key: value for key, value in cell["identity"].items() if key not in OWN}
        shared.setdefault(told["model"], told)
    return shared


def take_over(path: Path, folder: Path, rows: Rows) -> tuple[int, list[list[str]]]:
    """Put the cells and encodings that a ``benchmark.json`` tells of into a folder.

    Figures that are there stay. Cells that are computed in another way now are left out.

    Parameters
    ----------
    path
        The results of a benchmark on the same rows.
    folder
        Of the benchmark that goes on.
    rows
        Of that benchmark.

    Returns
    -------
    n, commands
        How many cells were taken over, and the commands that they come from.

    Raises
    ------
    BenchmarkError
        No results of a benchmark, or of other rows, or of another version of this library.
    """
    document = read_document(path)
    if document is None or "cells" not in document:
        raise BenchmarkError(f"{path} is no benchmark.json of `crystalcodec benchmark`")
    if "tried" not in document:
        raise BenchmarkError(
            f"{path} does not tell which settings were tried; write it again, with --only-report"
        )
    try:
        _compare(path, document, rows)
        return _take(path, document, folder), document["commands"]
    except BenchmarkError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BenchmarkError(f"{path} is damaged: {type(error).__name__} {error}") from None


def _take(path: Path, document: Mapping[str, Any], folder: Path) -> int:
    """Write what is not there; how many cells that are."""
    for encoding in document["representations"]:
        told = {**encoding, "taken_from": str(path)}
        told["representation"] = told.pop("parameters", None)
        place = folder / "encodings" / f"{encoding['key']}.json"
        if read_document(place) is None:
            write_document(place, told)
    # The mean of the training rows, which has no representation, is not among them.
    configs = {one["label"]: one["config"] for one in document["representations"]}
    lengths = {one["label"]: one.get("length") or 0.0 for one in document["representations"]}
    n = 0
    for values in document["cells"]["rows"]:
        cell = dict(zip(document["cells"]["columns"], values, strict=True))
        label = cell.pop("representation")
        identity = {
            **document["tried"][cell["model"]],
            "rows": document["identity"],
            "representation": configs.get(label, {}),
            **{key: cell.pop(key) for key in ("size", "seed", "fold")},
        }
        if cell["device"]:
            identity["device"] = cell["device"]
        if not is_current(identity):
            continue
        key = digest(identity)
        place = folder / "cells" / f"{key}.json"
        there = read_document(place)
        if there is not None and (there["status"] == "finished" or cell["status"] != "finished"):
            continue
        told = {"key": key, "identity": identity, "label": label, "length": lengths.get(label, 0.0)}
        write_document(place, {**told, "n": cell["n_train"], **cell, "taken_from": str(path)})
        n += 1
    return n


def _compare(path: Path, document: Mapping[str, Any], rows: Rows) -> None:
    """Refuse results of other rows or of another version."""
    if document["versions"]["crystalcodec"] != version("crystalcodec"):
        raise BenchmarkError(
            f"{path} is of crystalcodec {document['versions']['crystalcodec']}, this is "
            f"{version('crystalcodec')}: its figures do not count beside new ones"
        )
    mine = rows.identity()
    differ = [key for key, value in mine.items() if document["identity"].get(key) != value]
    if differ:
        raise BenchmarkError(
            f"{path} is of other rows: the {', '.join(differ)} differ. It is of "
            f"{document['target']!r}, {document['n_train']:,} rows to train on and "
            f"{document['n_test']:,} to test; here there are {len(rows.folds[0].train):,} and "
            f"{len(rows.folds[0].test):,}"
        )
