"""Encode and decode files, train, predict, evaluate, compare: the work around the rest.

One run is one :class:`RunConfig` (a TOML file or the same flags) and one folder: weights, config,
scaling, metrics, figures and a report. The public names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crystalcodec.registry import lazy_attributes

if TYPE_CHECKING:
    from crystalcodec.workflow.comparison import compare as compare
    from crystalcodec.workflow.comparison import evaluate as evaluate
    from crystalcodec.workflow.config import ConfigError as ConfigError
    from crystalcodec.workflow.config import RunConfig as RunConfig
    from crystalcodec.workflow.decoding import decode_files as decode_files
    from crystalcodec.workflow.encoding import encode_files as encode_files
    from crystalcodec.workflow.prediction import Predictions as Predictions
    from crystalcodec.workflow.prediction import predict as predict
    from crystalcodec.workflow.prediction import predict_files as predict_files
    from crystalcodec.workflow.runs import Run as Run
    from crystalcodec.workflow.runs import RunError as RunError
    from crystalcodec.workflow.runs import open_run as open_run
    from crystalcodec.workflow.training import train as train

_HOMES: Final = {
    "ConfigError": "config",
    "Predictions": "prediction",
    "Run": "runs",
    "RunConfig": "config",
    "RunError": "runs",
    "compare": "comparison",
    "decode_files": "decoding",
    "encode_files": "encoding",
    "evaluate": "comparison",
    "open_run": "runs",
    "predict": "prediction",
    "predict_files": "prediction",
    "train": "training",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
