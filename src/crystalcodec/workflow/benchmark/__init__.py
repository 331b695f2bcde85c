"""Every representation with every model, on the same rows: what ``crystalcodec benchmark`` runs.

A benchmark is one :class:`BenchmarkConfig` (a TOML file or the same flags) and one folder: a JSON
for each cell, the whole as JSON, as Markdown and as an HTML page with figures. What is finished
is not computed again. The public names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crystalcodec.registry import lazy_attributes

if TYPE_CHECKING:
    from crystalcodec.workflow.benchmark.config import BenchmarkConfig as BenchmarkConfig
    from crystalcodec.workflow.benchmark.running import run_benchmark as run_benchmark
    from crystalcodec.workflow.benchmark.summary import Summary as Summary

_HOMES: Final = {
    "BenchmarkConfig": "config",
    "Summary": "summary",
    "run_benchmark": "running",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
