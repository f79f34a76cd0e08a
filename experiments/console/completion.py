"""Shell completion of all commands and their options, by tyro."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Annotated, Any, Union

import tyro

from metarl.experiments.console.constructors import CONFIG, registry

SHELLS = ("bash", "zsh", "fish")


def completion_script(commands: Mapping[str, type], shell: str) -> str:
    """Return the script of a shell, given the dataclass of each command."""
    every: Any = Union[tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, kind in commands.items())]  # noqa: UP007
    script = io.StringIO()
    with contextlib.redirect_stdout(script), contextlib.suppress(SystemExit):
        arguments = ["--tyro-print-completion", shell]
        tyro.cli(every, prog="metarl", args=arguments, config=CONFIG, registry=registry())
    return script.getvalue()
