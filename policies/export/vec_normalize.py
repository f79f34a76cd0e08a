"""The statistics of observations in a file that VecNormalize of Stable-Baselines3 saved.

The file is a pickle, which may run any code when it is loaded. Here nothing that it names is imported but NumPy's own
arrays and numbers: in the place of every other object stands one that only keeps its state.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.core.errors import Refusal
from metarl.policies.networks.network import Parameters
from metarl.policies.normalization import COUNT, MEAN, SMALLEST, STD

Array = NDArray[Any]
ARRAYS = {("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer")}
NUMPY = {"numpy.core", "numpy._core"}  # its name before NumPy 2 and since


class Kept:
    """Stands for any object of a pickle: takes whatever it is built with, and keeps its state as attributes."""

    def __new__(cls, *arguments: object, **options: object) -> Kept:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Keep what the state holds by name."""
        if isinstance(state, dict):
            self.__dict__.update(state)


class Reader(pickle.Unpickler):
    """Reads a pickle without importing what it names."""

    def find_class(self, module: str, name: str) -> Any:
        """Return NumPy's own, or what stands for any other object."""
        package, _, part = module.rpartition(".")
        is_array = package in NUMPY and (part, name) in ARRAYS
        if is_array or (module == "numpy" and name in ("ndarray", "dtype")):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        return Kept


def read_vec_normalize(path: str | Path) -> Parameters:
    """Return mean, deviation and count of the observations; nothing in the file is run.

    The deviation is the square root of variance plus epsilon, as VecNormalize divides by. Raise Refusal if the file is
    none of VecNormalize's, or has no statistics of observations that are vectors.
    """
    try:
        with Path(path).open("rb") as file:
            kept = Reader(file).load()
        epsilon, statistics = float(kept.epsilon), kept.obs_rms if kept.norm_obs else None
    except OSError as error:
        raise Refusal(f"cannot read {path}: {error.strerror or error}") from None
    except Exception:
        raise Refusal(f"{path} is no file that VecNormalize of Stable-Baselines3 saved") from None
    mean, variance = (_vector(statistics, name) for name in ("mean", "var"))
    if mean is None or variance is None or mean.shape != variance.shape or (variance < 0).any():
        raise Refusal(f"{path} has no statistics of observations that are vectors, so there is nothing to start from")
    deviation = np.sqrt(variance + epsilon).clip(SMALLEST)
    count = float(getattr(statistics, "count", 0.0))
    return {MEAN: _single(mean), STD: _single(deviation).clamp_min(SMALLEST), COUNT: torch.tensor([count])}


def _vector(statistics: object, name: str) -> Array | None:
    """Return an attribute of the statistics if it is a finite vector."""
    array = getattr(statistics, name, None)
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "f":
        return None
    return array if np.isfinite(array).all() else None


def _single(array: Array) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))
