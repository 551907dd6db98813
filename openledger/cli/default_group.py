"""A group of commands one of which is meant when none is named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """What does not begin with a command's name is arguments of the first: `verify FILE` for `verify receipt FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name where there is none.  `ctx` is click's, which typer has in several places."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)
