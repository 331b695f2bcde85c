"""The configuration of one run: what a TOML file holds, and what the flags set."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crystalcodec.registry import GENERATORS, did_you_mean

__all__ = ["ConfigError", "RunConfig", "merge"]

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key and what it may hold."""


class _Section(BaseModel):
    # JSON, in which runs are recorded, has no infinity.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    """A property column to learn.

    - ``kind``: ``value``, or ``class`` for a column of true and false (or 1 and 0), of which the
      probability of true is predicted.
    - ``transform`` of a value: ``sqrt``, ``log`` and ``asinh`` are standardised afterwards, too;
      ``auto`` tries all that the column allows and takes the best on the validation crystals.
    - ``extensive``: the column grows with the cell, so that it is learnt for one site and
      multiplied with the number of sites again.
    - ``zero``: ``classifier`` for a column that is mostly exactly 0: a second output learns
      whether it is, and the value is learnt from the others alone.
    - ``weight`` of its loss among those of several columns.
    """

    column: str
    kind: Literal["value", "class"] = "value"
    transform: Literal["auto", "none", "standardise", "sqrt", "log", "asinh"] = "standardise"
    extensive: bool = False
    zero: Literal["value", "classifier"] = "value"
    weight: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _what_a_class_has(self) -> TargetConfig:
        if self.kind == "class" and (
            self.extensive
            or self.zero == "classifier"
            or self.transform not in ("none", "standardise")
        ):
            raise ValueError(
                f"{self.column!r} is a class, which has no transform, is not extensive and is 0 or "
                "1: leave transform, extensive and zero out"
            )
        return self


class InputsConfig(_Section):
    """Properties that finished runs predict, as further inputs of this one.

    ``runs`` are folders. With ``folds`` above 0 the inputs of training crystals come from models
    that were trained without them: each run's recipe is trained again that many times, on all
    folds but one. 0 takes the runs as they are, for crystals that they have not seen. ``width``
    is the number of values by which the network describes a crystal, beside the inputs, to the
    last layers.
    """

    runs: tuple[str, ...] = ()
    folds: Annotated[int, Field(ge=0)] = 5
    width: Positive = 64

    @model_validator(mode="after")
    def _more_than_one_fold(self) -> InputsConfig:
        if self.folds == 1:
            raise ValueError("folds is 1, which leaves nothing to train on: wanted 0, or 2 or more")
        return self


class ConditionsConfig(_Section):
    """What a generator is told of each crystal, so that it can be asked for it.

    - ``values``: property columns.
    - ``crystal``: of the crystals themselves: ``composition`` (fractions of the elements),
      ``elements`` (which there are), ``space_group``.
    """

    values: tuple[str, ...] = ()
    crystal: tuple[Literal["composition", "elements", "space_group"], ...] = ()


class NamedConfig(BaseModel):
    """A name from a registry table, and the parameters that what it names takes."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @model_validator(mode="after")
    def _finite(self) -> Self:
        for key, value in (self.model_extra or {}).items():
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(one, float) and not math.isfinite(one) for one in numbers):
                raise ValueError(f"{key!r} is {value}: wanted finite numbers")
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class RepresentationConfig(NamedConfig):
    """A representation."""

    name: str = "ircr"


class ModelConfig(NamedConfig):
    """A predictor or a generator."""

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
    - ``beta1``: the optimiser's memory of slopes; None for 0.9, low for adversarial networks.
    - ``huber_delta``: in the transformed target.
    - ``average``: decay of the exponential moving average of the weights, 0 for none.
    - ``patience``: epochs without a better validation error after which training stops and the
      best weights are kept; None for the last weights of all epochs.
    - ``validate_every``: epochs between looks at the validation error.
    - ``loss``: of the transformed target; ``mape`` is the absolute error as a fraction of the
      target itself, transform undone, without the crystals whose target is 0.
    - ``transform_epochs``: epochs (at most ``epochs``) of each trial of ``transform = "auto"``.
    - ``snapshots``: so many cosine cycles, one after another, and the weights at the end of each
      are kept: their mean predicts, their spread tells how sure it is (Huang et al.,
      arXiv 1704.00109); None for one cycle.
    """

    epochs: Positive = 100
    batch_size: Positive = 256
    optimiser: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    schedule: Literal["constant", "one-cycle", "cosine"] = "cosine"
    warmup: Fraction = 0.1
    loss: Literal["mse", "l1", "huber", "mape"] = "l1"
    huber_delta: Annotated[float, Field(gt=0)] = 1.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998
    patience: Positive | None = None
    validate_every: Positive = 1
    transform_epochs: Positive = 10
    snapshots: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _snapshots_of_what(self) -> TrainingConfig:
        if self.snapshots and (self.schedule != "cosine" or self.patience):
            raise ValueError(
                "snapshots are the ends of cosine cycles: wanted schedule 'cosine' and no patience"
            )
        return self


class MachineConfig(_Section):
    """Where and how it runs; only ``precision`` changes the run, the rest its speed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: Positive = 1
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0


class RunConfig(_Section):
    """One run; ``[target]`` is one table, or several as ``[[target]]``, learnt together.

    A run whose model is a generator has no target, and may have ``[conditions]``.
    """

    data: DataConfig
    targets: tuple[TargetConfig, ...] = Field(alias="target", default=())
    representation: RepresentationConfig = RepresentationConfig()
    model: ModelConfig = ModelConfig()
    conditions: ConditionsConfig | None = None
    inputs: InputsConfig = InputsConfig()
    scaling: ScalingConfig = ScalingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig()
    machine: MachineConfig = MachineConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="before")
    @classmethod
    def _one_table_or_several(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("target"), Mapping):
            return {**values, "target": [values["target"]]}
        return values

    @model_validator(mode="after")
    def _what_is_learnt(self) -> RunConfig:
        if not self.generates:
            if not self.targets:
                raise ValueError("'target' is missing: give it in the TOML file or as a flag")
            if self.conditions is not None:
                raise ValueError(
                    f"{self.model.name!r} predicts, and only a generator has conditions: leave "
                    "[conditions] out, or take one of the generators " + ", ".join(GENERATORS)
                )
        elif self.targets or self.inputs.runs:
            raise ValueError(
                f"{self.model.name!r} is a generator, which has no target and no inputs: property "
                "columns that it is to be told go under [conditions] values"
            )
        else:
            self._check_of_a_generator()
        return self

    def _check_of_a_generator(self) -> None:
        """Raise ValueError for what would change nothing: a generator has ways of its own."""
        usual = TrainingConfig()
        unused = {
            "[scaling]": self.scaling != ScalingConfig(),
            "augmentation.copies": self.augmentation.copies > 0,
            **{
                f"training.{key}": getattr(self.training, key) != getattr(usual, key)
                for key in ("loss", "huber_delta", "transform_epochs", "snapshots")
            },
        }
        if given := [key for key, is_so in unused.items() if is_so]:
            raise ValueError(
                f"{self.model.name!r} is a generator, which scales its arrays and has a loss of "
                f"its own: leave {', '.join(given)} out"
            )

    @model_validator(mode="after")
    def _each_column_once(self) -> RunConfig:
        if repeated := sorted({c for c in self.columns if self.columns.count(c) > 1}):
            raise ValueError(
                f"target {', '.join(repeated)} is there twice: wanted each column once"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the target columns."""
        return tuple(target.column for target in self.targets)

    @property
    def generates(self) -> bool:
        """Whether the model is a generator."""
        return self.model.name in GENERATORS

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
        values: dict[str, Any] = json.loads(self.model_dump_json(exclude_none=True, by_alias=True))
        if len(values["target"]) == 1:
            (values["target"],) = values["target"]
        if not values["target"]:
            del values["target"]
        return values

    def to_toml(self) -> str:
        """The configuration as a TOML file, every default written out."""
        lines, tables = [], []
        for key, value in self.values().items():
            several = key == "target" and isinstance(value, list)
            if isinstance(value, dict) or several:
                head = f"[[{key}]]" if several else f"[{key}]"
                for table in value if several else [value]:
                    tables += ["", head, *(f"{k} = {_toml(v)}" for k, v in table.items())]
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
    """Nested values with nested overrides put over them; both are left as they are.

    A table over several tables of one name changes each of them.
    """
    merged = dict(values)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            # Parameters belong to a name: another model does not inherit them.
            other = "name" in below and value.get("name", below["name"]) != below["name"]
            merged[key] = dict(value) if other else merge(below, value)
        elif isinstance(value, Mapping) and isinstance(below, list | tuple):
            merged[key] = [merge(entry, value) for entry in below]
        else:
            merged[key] = value
    return merged


def _explain(error: Any) -> str:
    """One pydantic error as a sentence with the key as it stands in the TOML file."""
    location = error["loc"]
    # The first target, or the only one, is found without its number.
    key = ".".join(str(part) for part in location if part != 0)
    if error["type"] == "extra_forbidden":
        known = [f.alias or name for name, f in _section(location[:-1]).model_fields.items()]
        return f"unknown key {key!r}{did_you_mean(str(location[-1]), known)}"
    if error["type"] == "missing":
        return f"{key!r} is missing: give it in the TOML file or as a flag"
    if error["type"] == "literal_error":
        *above, name = [part for part in location if not isinstance(part, int)]
        names = get_args(_section(tuple(above)).model_fields[name].annotation)
        # Of a list of names each is one of these.
        allowed = list(map(str, get_args(names[0]) or names))
        return f"{key!r} is {error['input']!r}{did_you_mean(str(error['input']), allowed)}"
    message = error["msg"].removeprefix("Value error, ")
    got = f" (got {error['input']!r})" if error["type"] != "value_error" else ""
    return f"{key!r}: {message}{got}" if key else message


def _section(location: tuple[Any, ...]) -> Any:
    """The class of the section that an error is in."""
    section: Any = RunConfig
    for part in location:
        if not isinstance(part, int):
            named = {f.alias or name: f.annotation for name, f in section.model_fields.items()}
            section = named[part]
            section = get_args(section)[0] if get_args(section) else section
    return section


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON writes text, numbers and truth values as TOML does.
    return json.dumps(value, ensure_ascii=False)
