"""What a benchmark runs: the TOML file of it, and what the flags of the command set."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from crystalcodec.registry import MODELS, REPRESENTATIONS, did_you_mean
from crystalcodec.workflow.benchmark.estimators import ESTIMATORS
from crystalcodec.workflow.config import ConfigError, merge, read_toml

__all__ = ["BenchmarkConfig", "ModelChoice", "model_names", "parse_names"]

Positive = Annotated[int, Field(ge=1)]
Size = Positive | Literal["all"]
_SIZES: Final = (500, 1000, 2000, 5000, 10000, "all")


def model_names() -> tuple[str, ...]:
    """Names of all models: the ones of scikit-learn, then the networks of the registry."""
    return (*ESTIMATORS, *MODELS)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BenchmarkData(_Section):
    """Which rows are trained on, and which are tested.

    ``dataset`` and ``test`` are Parquet datasets, or files that ``crystalcodec data import``
    reads. Without ``test`` the dataset is cut: by ``split`` (a JSON file of ``crystalcodec data
    split``: its parts ``train`` and ``validation`` train, ``test`` is tested; ``validation`` is
    where there is no ``test``), or into ``folds`` as Matbench does.
    """

    dataset: tuple[str, ...]
    test: tuple[str, ...] = ()
    split: str | None = None
    folds: Annotated[int, Field(ge=2)] | None = None
    fold_seed: int = 18012019

    @field_validator("dataset", "test", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_way_to_test(self) -> BenchmarkData:
        if not self.dataset:
            raise ValueError("no dataset")
        ways = [name for name in ("test", "split", "folds") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are given: only one says what is tested")
        return self


class ModelChoice(BaseModel):
    """A model, the cells that it runs in, and settings that take the place of its own.

    ``sizes``, ``seeds`` and ``representations`` narrow the benchmark's own; everything else is a
    setting of the model, which every candidate of its search then has.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    sizes: tuple[Size, ...] | None = None
    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    representations: tuple[str, ...] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What every candidate has."""
        return dict(self.model_extra or {})


class BenchmarkLimits(_Section):
    """What is not begun, or is ended; each such cell says so in the table.

    - ``encoded_gib``: the arrays of one representation of all rows, on disk.
    - ``cell_gib``: what a cell is reckoned to need in memory.
    - ``cell_seconds``, ``encode_seconds``: when a cell or an encoding is killed.
    - ``boosting_length``, ``forest_length``, ``dense_length``, ``network_length``: numbers a
      crystal for boosting, whose time grows with them, for forests, for ``mlp``, whose first
      layer does, and for the other networks.
    - ``ridge_rank``: the smaller of training rows and numbers, whose cube ridge takes time by.
    - ``kernel_rows``: training rows of kernel ridge, whose cube it takes time by.
    """

    encoded_gib: Annotated[float, Field(gt=0)] = 16.0
    cell_gib: Annotated[float, Field(gt=0)] = 4.0
    cell_seconds: Annotated[float, Field(gt=0)] = 600.0
    encode_seconds: Annotated[float, Field(gt=0)] = 1800.0
    boosting_length: Positive = 1000
    forest_length: Positive = 6000
    dense_length: Positive = 6000
    network_length: Positive = 20_000
    ridge_rank: Positive = 8000
    kernel_rows: Positive = 10_000


class BenchmarkConfig(_Section):
    """One benchmark.

    Parameters
    ----------
    data, target, unit
        Rows, and the property to predict; the unit where the datasets do not tell it.
    representations
        Names with their parameters; ``all`` is every registered one with its defaults.
    models
        By name.
    sizes
        Training rows; those that the training data do not have are left out.
    seeds
        Each draws the training rows of every size (the smaller are part of the larger), the part
        held out for the search, and the model's random numbers.
    budget
        Candidate settings that the search of each model tries.
    search_rows
        Most rows that a candidate of the search is fitted on.
    published
        Figures of others that stand beside the table, by name.
    """

    data: BenchmarkData
    target: str
    unit: str = ""
    title: str = ""
    representations: tuple[dict[str, Any], ...] = ({"name": "all"},)
    models: dict[str, ModelChoice] = Field(default_factory=dict)
    sizes: tuple[Size, ...] = _SIZES
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    budget: Positive = 4
    search_rows: Annotated[int, Field(ge=20)] = 2000
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    limits: BenchmarkLimits = BenchmarkLimits()
    published: dict[str, float] = Field(default_factory=dict)

    @field_validator("representations", mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, str):
            return parse_names(given)
        if isinstance(given, Sequence):
            return tuple(
                entry for one in given for entry in (parse_names(one) if _is_text(one) else [one])
            )
        return given

    @field_validator("models", mode="before")
    @classmethod
    def _chosen(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = [given]
        if isinstance(given, Mapping):
            return given
        if not (isinstance(given, Sequence) and all(map(_is_text, given))):
            raise ValueError(f"{given!r}: wanted names, or a table of them")
        entries = [entry for one in given for entry in parse_names(one)]
        return {entry.pop("name"): entry for entry in entries}

    @model_validator(mode="after")
    def _known(self) -> BenchmarkConfig:
        for entry in self.representations:
            name = entry.get("name")
            if name != "all" and name not in REPRESENTATIONS:
                raise ValueError(
                    f"no representation {name!r}{did_you_mean(str(name), REPRESENTATIONS)}"
                )
        for name in self.models:
            if name != "all" and name not in model_names():
                raise ValueError(f"no model {name!r}{did_you_mean(name, model_names())}")
        if not self.sizes or not self.seeds:
            raise ValueError("wanted at least one size and one seed")
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> BenchmarkConfig:
        """Check values as a TOML file holds them.

        Raises
        ------
        ConfigError
            An unknown key or name, a missing one, a wrong value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError("; ".join(map(_explain, error.errors()))) from None

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> BenchmarkConfig:
        """Read a TOML file; ``overrides`` (nested in the same way) win over what it says.

        Raises
        ------
        ConfigError
            No such file, no TOML, or values that :meth:`of` refuses.
        """
        return cls.of(merge(read_toml(path), overrides or {}))

    def chosen_representations(self) -> dict[str, dict[str, Any]]:
        """Configs by the label that stands in the table; each label once."""
        chosen: dict[str, dict[str, Any]] = {}
        for entry in self.representations:
            for one in (
                [{"name": n} for n in REPRESENTATIONS] if entry["name"] == "all" else [entry]
            ):
                chosen.setdefault(_label(one), dict(one))
        return chosen

    def chosen_models(self) -> dict[str, ModelChoice]:
        """Models in the order in which they run, the cheap ones first; all where none is named."""
        everything = not self.models or "all" in self.models
        default = self.models.get("all", ModelChoice())
        return {
            name: self.models.get(name, default)
            for name in model_names()
            if everything or name in self.models
        }


def parse_names(text: str) -> list[dict[str, Any]]:
    """Names with parameters, as a flag gives them.

    >>> parse_names("ircr,crystens:max_sites=40,keep=[1, 2],ftcp")
    [{'name': 'ircr'}, {'name': 'crystens', 'max_sites': 40, 'keep': [1, 2]}, {'name': 'ftcp'}]

    Raises
    ------
    ConfigError
        A parameter without a name before it, or without a value.
    """
    entries: list[dict[str, Any]] = []
    for piece in _outside_brackets(text):
        name, colon, rest = piece.partition(":")
        if "=" in name:
            name, colon, rest = "", ":", piece
        if name:
            entries.append({"name": name.strip()})
        if not colon:
            continue
        key, equals, value = rest.partition("=")
        if not (entries and equals and key.strip()):
            raise ConfigError(f"{text!r}: wanted NAME or NAME:PARAMETER=VALUE,PARAMETER=VALUE")
        entries[-1][key.strip()] = _value(value.strip())
    return entries


def _outside_brackets(text: str) -> list[str]:
    """Pieces between the commas that stand in no brackets."""
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece for piece in pieces if piece.strip()]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _label(entry: Mapping[str, Any]) -> str:
    given = ", ".join(f"{key}={value}" for key, value in entry.items() if key != "name")
    return f"{entry['name']} ({given})" if given else str(entry["name"])


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if error["type"] == "missing":
        return f"{key!r} is missing: give it in the TOML file or as a flag"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key!r}: {message}" if key else message
