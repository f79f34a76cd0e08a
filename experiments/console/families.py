"""Find the task family that a command line or a controller names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from metarl.core.errors import Refusal
from metarl.envs.family import TaskFamily
from metarl.envs.from_gymnasium.registered import with_fields
from metarl.envs.registry import get_family
from metarl.policies.controller import Controller


def first_word(arguments: Sequence[str], prog: str) -> str:
    """Return the task family, which comes first, an empty string if there is none; Refusal if options come first.

    The defaults of the options are those that suit the family, so it must be known before they are parsed.
    """
    first = arguments[0] if arguments else ""
    if first.startswith("-") and {"-h", "--help"}.isdisjoint(arguments):
        raise Refusal(f"the task family comes first: {prog} FAMILY [OPTIONS]; got '{first}' (see {prog} --help)")
    return first


def word_after(option: str, arguments: Sequence[str]) -> str | None:
    """Return the value of an option, ``--option VALUE`` or ``--option=VALUE``, on which other defaults depend."""
    found = None
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name == option:
            found = value if equals else next(iter(arguments[place + 1 : place + 2]), None)
    return found


def family_by_name(name: str, fields: Sequence[str] = ()) -> TaskFamily:
    """Return a family of the registry, ``gym:ID`` with task fields such as ``g=5:15``, or ``module:attribute``.

    A module of the user's is looked for in the current folder first, as Python does for a script and for ``-m``.
    """
    if ":" in name and os.getcwd() not in sys.path[:1]:
        sys.path.insert(0, os.getcwd())
    return get_family(with_fields(name, fields))


def family_for(controller: Controller, name: str | None) -> TaskFamily:
    """Return the family by that name, or else the one that the controller was trained on.

    A controller's file may come from a stranger, so it alone does not decide which code is imported and called.
    """
    trained_on = controller.metadata.family
    if name is None and ":" in trained_on:
        raise Refusal(
            f"the controller was trained on '{trained_on}', which is no family of metarl: "
            f"if that code is yours, say --family {trained_on}"
        )
    return family_by_name(name or trained_on)
