"""Networks for every method: with a context where the method adapts one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from metarl.policies.methods import get_method

AnyNetwork = TypeVar("AnyNetwork", bound=Any)


def suited(network: AnyNetwork, method: str) -> AnyNetwork:
    """The network as the method takes it."""
    return replace(network, context_size=3) if get_method(method).takes_context else network
