"""The configuration of one run: what a TOML file holds, and what the flags set."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crystalcodec.registry import did_you_mean

__all__ = ["ConfigError", "RunConfig", "merge"]

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key and what it may hold."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Where the crystals come from.

    ``dataset`` is a Parquet dataset. It is all training data where ``validation`` (another
    dataset, and perhaps ``test``) is given; otherwise it is cut by ``split`` (a JSON file of
    ``crystalcodec data split``) or at random into ``fractions`` for training, validation and
    test. Paths are relative to the folder where the command runs.
    """

    dataset: str
    validation: str | None = None
    test: str | None = None
    split: str | None = None
    fractions: tuple[Fraction, Fraction, Fraction] | None = None
    split_seed: int = 0

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> DataConfig:
        ways = [w for w in ("validation", "split", "fractions") if getattr(self, w) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are given: only one says what is held out")
        if self.test is not None and self.validation is None:
            raise ValueError("a test dataset needs a validation dataset beside it")
        parts = self.fractions
        if parts and (abs(sum(parts) - 1) > 1e-6 or not (parts[0] and parts[1])):
            raise ValueError(
                f"fractions {list(parts)}: wanted three that sum to 1, the first two above 0 "
                "(training, validation, test)"
            )
        return self


class TargetConfig(_Section):
    """The property column to learn; square root and log are standardised afterwards, too."""

    column: str
    transform: Literal["none", "standardise", "sqrt", "log"] = "standardise"


class NamedConfig(BaseModel):
    """A name from a registry table, and the parameters that what it names takes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class RepresentationConfig(NamedConfig):
    """A representation."""

    name: str = "ircr"


class ModelConfig(NamedConfig):
    """A model."""

    name: str = "mlp"


class ScalingConfig(_Section):
    """Scaling of the arrays, fitted on training crystals."""

    kind: Literal["none", "minmax", "standardise"] = "standardise"
    per: Literal["entry", "row", "array"] = "row"


class AugmentationConfig(_Section):
    """Descriptions drawn anew each epoch, and averaged over in prediction.

    ``names`` are applied in their order, ``"name@0.5"`` to a random half of the crystals.
    ``copies`` above 0: a prediction is the mean over that many augmented copies of the crystal.
    """

    names: tuple[str, ...] = ()
    copies: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _copies_of_what(self) -> AugmentationConfig:
        if self.copies and not self.names:
            raise ValueError(f"{self.copies} copies, and no names of augmentations to draw them by")
        return self


class TrainingConfig(_Section):
    """The optimisation.

    - ``schedule``: ``constant``; ``one-cycle`` (cosine up from 1/25 of the rate over the
      ``warmup`` fraction of all steps, cosine down to nearly 0; Smith and Topin,
      arXiv 1708.07120); ``cosine`` (linear ``warmup``, then cosine to 0).
    - ``weight_decay`` leaves biases and normalisation alone.
    - ``huber_delta``: in the transformed target.
    - ``average``: decay of the exponential moving average of the weights, 0 for none.
    - ``patience``: epochs without a better validation error after which training stops and the
      best weights are kept; None for the last weights of all epochs.
    - ``validate_every``: epochs between looks at the validation error.
    """

    epochs: Positive = 100
    batch_size: Positive = 256
    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    schedule: Literal["constant", "one-cycle", "cosine"] = "cosine"
    warmup: Fraction = 0.1
    loss: Literal["mse", "l1", "huber"] = "l1"
    huber_delta: Annotated[float, Field(gt=0)] = 1.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998
    patience: Positive | None = None
    validate_every: Positive = 1


class MachineConfig(_Section):
    """Where and how it runs; only ``precision`` changes the run, the rest its speed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: Positive = 1
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0


class RunConfig(_Section):
    """One run."""

    data: DataConfig
    target: TargetConfig
    representation: RepresentationConfig = RepresentationConfig()
    model: ModelConfig = ModelConfig()
    scaling: ScalingConfig = ScalingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig()
    machine: MachineConfig = MachineConfig()
    seed: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunConfig:
        """Check values as a TOML file holds them.

        Raises
        ------
        ConfigError
            An unknown key (the message offers the nearest), a missing one, a wrong value.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError("; ".join(_explain(e) for e in error.errors())) from None

    @classmethod
    def read(cls, path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
        """Read a TOML file; ``overrides`` (nested in the same way) win over what it says.

        Raises
        ------
        ConfigError
            No such file, no TOML, or values that :meth:`of` refuses.
        """
        return cls.of(merge(read_toml(path), overrides or {}))

    def values(self) -> dict[str, Any]:
        """Nested plain values, ready for JSON or TOML; what is None is left out."""
        values: dict[str, Any] = json.loads(self.model_dump_json(exclude_none=True))
        return values

    def to_toml(self) -> str:
        """The configuration as a TOML file, every default written out."""
        lines, tables = [], []
        for key, value in self.values().items():
            if isinstance(value, dict):
                tables += ["", f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in value.items())]
            else:
                lines.append(f"{key} = {_toml(value)}")
        return "\n".join([*lines, *tables]) + "\n"


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a TOML file holds, or ConfigError."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML file: {error}") from None


def merge(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with nested overrides put over them; both are left as they are."""
    merged = dict(values)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            # Parameters belong to a name: another model does not inherit them.
            other = "name" in below and value.get("name", below["name"]) != below["name"]
            merged[key] = dict(value) if other else merge(below, value)
        else:
            merged[key] = value
    return merged


def _explain(error: Any) -> str:
    """One pydantic error as a sentence with the key as it stands in the TOML file."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        *parents, last = error["loc"]
        section: Any = RunConfig
        for parent in parents:
            section = section.model_fields[parent].annotation
        return f"unknown key {key!r}{did_you_mean(str(last), list(section.model_fields))}"
    if error["type"] == "missing":
        return f"{key!r} is missing: give it in the TOML file or as a flag"
    if error["type"] == "literal_error":
        allowed = _allowed(error["loc"])
        return f"{key!r} is {error['input']!r}{did_you_mean(str(error['input']), allowed)}"
    message = error["msg"].removeprefix("Value error, ")
    got = f" (got {error['input']!r})" if error["type"] != "value_error" else ""
    return f"{key!r}: {message}{got}" if key else message


def _allowed(location: tuple[Any, ...]) -> list[str]:
    section: Any = RunConfig
    for part in location[:-1]:
        section = section.model_fields[part].annotation
    return list(map(str, get_args(section.model_fields[location[-1]].annotation)))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON writes text, numbers and truth values as TOML does.
    return json.dumps(value, ensure_ascii=False)
