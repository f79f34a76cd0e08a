"""The guard against numbers that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor


def require_finite(what: str, tensor: Tensor) -> None:
    """FloatingPointError names what holds a NaN or an infinite number."""
    if not bool(torch.isfinite(tensor).all()):
        raise FloatingPointError(f"{what} not finite")
