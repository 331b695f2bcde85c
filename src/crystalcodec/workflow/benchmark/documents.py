"""JSON documents of a benchmark: written whole, read if whole, named by what determines them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crystalcodec.io.whole import whole_file

__all__ = ["digest", "plain", "read_document", "write_document"]


def digest(identity: Mapping[str, Any]) -> str:
    """The first 20 digits of the SHA-256 of a JSON document, keys sorted."""
    text = json.dumps(plain(identity), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def plain(value: Any) -> Any:
    """The same nested value as JSON has it: numpy's numbers as Python's, None for NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_document(path: Path, document: Any) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as partial:
        text = json.dumps(plain(document), indent=1, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")


def read_document(path: Path) -> dict[str, Any] | None:
    """What a file holds; None where there is none, or no whole one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
