"""Guard against numbers that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.core.errors import NumericalFault


def require_finite(what: str, tensor: Tensor) -> None:
    """Raise NumericalFault, which names ``what``, if the tensor holds a NaN or an infinite number."""
    if not bool(torch.isfinite(tensor).all()):
        raise NumericalFault(f"{what} not finite")
