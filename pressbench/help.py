"""How the commands tell what they take: each option by a word for its value, and nothing at all for a switch."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup


def _plain(params: list[Any]) -> list[Any]:
    """Without the names of Python's types, which typer shows: `<bool>`, `<list[str]>`."""
    for param in params:
        if isinstance(param, TyperArgument):
            vars(param)["display_type_rich"] = _untold  # its name says what it is
        elif getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


def _untold(*_: Any, **__: Any) -> None:
    return None


class Command(TyperCommand):
    """One command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))


class Group(TyperGroup):
    """All of them."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))
