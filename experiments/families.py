"""Task families as the command line names them: one of the registry's, or ``module:attribute`` of the user's own."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from metarl.envs.family import TaskFamily
from metarl.envs.registry import get_family


def family_by_name(name: str) -> TaskFamily:
    """ValueError if there is no such family; a module is looked for in the current folder, too."""
    if ":" not in name:
        return get_family(name)
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        family = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ValueError(f"task family '{name}': {error}") from None
    except AttributeError:
        raise ValueError(f"task family '{name}': the module {module} has no '{attribute}'") from None
    if not isinstance(family, TaskFamily):
        raise ValueError(f"task family '{name}' must be a TaskFamily, but is a {type(family).__name__}")
    return family
