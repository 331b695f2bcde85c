"""Representations as the command line names them."""

from __future__ import annotations

from typing import Any

import typer

__all__ = ["chosen_representations", "given_parameters", "representation_named"]


def chosen_representations(names: list[str], assignments: list[str] | None) -> list[Any]:
    """Representations by name with ``NAME.PARAMETER=VALUE``; without a name, for the only one."""
    by_name: dict[str, list[str]] = {name: [] for name in names}
    for assignment in assignments or []:
        key, _, value = assignment.partition("=")
        name, dot, parameter = key.strip().partition(".")
        if not dot and len(names) == 1:
            name, parameter = names[0], name
        if name not in by_name or not parameter:
            raise typer.BadParameter(
                f"{assignment!r}: wanted NAME.PARAMETER=VALUE of {', '.join(names)}",
                param_hint="--set",
            )
        by_name[name].append(f"{parameter}={value}")
    return [representation_named(name, given) for name, given in by_name.items()]


def representation_named(name: str, assignments: list[str] | None) -> Any:
    """The representation of that name with ``PARAMETER=VALUE`` assignments."""
    from crystalcodec.representations.storage import representation_from

    return representation_from({"name": name, **given_parameters(assignments)})


def given_parameters(assignments: list[str] | None) -> dict[str, Any]:
    """Parameters as TOML writes values; what is no TOML is text."""
    import tomllib

    parameters: dict[str, Any] = {}
    for assignment in assignments or []:
        name, equals, text = assignment.partition("=")
        if not (equals and name.strip()) or name.strip() == "name":
            named = "a representation is named by --to, --from or --as"
            told = named if name.strip() == "name" else "wanted PARAMETER=VALUE"
            raise typer.BadParameter(f"{assignment!r}: {told}", param_hint="--set")
        try:
            parameters[name.strip()] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            parameters[name.strip()] = text.strip()
    return parameters
