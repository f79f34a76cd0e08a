"""The settings of a meta-training, their checks, and what suits each task family."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from metarl.core.errors import Refusal
from metarl.core.threads import available_threads
from metarl.policies.methods import get_method
from metarl.runs.folder import parse_config


@dataclass(frozen=True)
class TrainSettings:
    """Everything that a meta-training depends on; defaults are those of p-Meta, Sec. 4.3. ValueError if impossible."""

    method: str = "maml"
    """Meta-learning method: which layers the inner loop updates and where its step sizes come from."""
    iterations: int = 500
    """Meta-iterations."""
    seed: int = 0
    """Seed of every random number of the run."""
    meta_batch_size: int = 20
    """Tasks in a meta-batch."""
    episodes_per_task: int = 20
    """Episodes per task, for an inner step and for the outer step alike."""
    horizon: int | None = None
    """Time steps in an episode; the task family's own if left out."""
    inner_steps: int = 1
    """Inner steps K, each on freshly sampled episodes."""
    step_size: float = 0.1
    """Inner step size alpha; where the method learns step sizes, their start."""
    gate: Literal["none", "return"] = "none"
    """What scales the step sizes of an inner step: nothing, or a meta-learned gate on the mean support return."""
    lasso: float = 0.001
    """Lambda of p-Meta, eq. 9: what an iteration takes off the largest layer's step size, if they shall be sparse."""
    attention_lr: float = 0.003
    """Learning rate of Adam, which trains the attention modules."""
    first_order: bool = False
    """Ignore how the inner gradient changes with the parameters."""
    hidden_sizes: tuple[int, ...] = (100, 100)
    """Widths of the policy's hidden layers."""
    initial_std: float = 1.0
    """Standard deviation of the actions at the start, before the action scale."""
    action_scale: float = 1.0
    """The environment gets the policy's action times this, clipped to the action space."""
    discount: float = 0.99
    """Discount of the advantages."""
    gae_lambda: float = 1.0
    """Lambda of generalized advantage estimation."""
    max_kl: float = 0.01
    """Limit of the mean KL divergence that one outer step may cause."""
    cg_iterations: int = 10
    """Conjugate-gradient steps of an outer step."""
    damping: float = 1e-5
    """Added to the diagonal of the Fisher matrix."""
    fisher_fraction: float = 0.1
    """Fraction of the meta-batch's tasks that the Fisher matrix is estimated on."""
    line_search_steps: int = 15
    """The line search shortens the step by powers of the ratio below this number."""
    line_search_ratio: float = 0.8
    """Factor from one tried step length to the next."""
    threads: int = field(default_factory=available_threads)
    """Threads of the simulator and of the outer step."""

    def __post_init__(self) -> None:
        get_method(self.method)
        for name in COUNTS:
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _require("seed", self.seed, self.seed >= 0, "at least 0")
        _require("gate", self.gate, self.gate in ("none", "return"), "none or return")
        if self.horizon is not None:
            _require("horizon", self.horizon, self.horizon >= 1, "at least 1")
        for name in POSITIVE:
            value = getattr(self, name)
            _require(name, value, math.isfinite(value) and value > 0, "a number above 0")
        for name in ("damping", "lasso"):
            value = getattr(self, name)
            _require(name, value, math.isfinite(value) and value >= 0, "a number of at least 0")
        for name in FRACTIONS:
            value = getattr(self, name)
            _require(name, value, 0 < value <= 1, "above 0 and at most 1")
        ratio = self.line_search_ratio
        _require("line_search_ratio", ratio, 0 < ratio < 1, "above 0 and below 1")
        _require("gae_lambda", self.gae_lambda, 0 <= self.gae_lambda <= 1, "between 0 and 1")
        _require(
            "hidden_sizes", self.hidden_sizes, all(size >= 1 for size in self.hidden_sizes), "widths of at least 1"
        )


COUNTS = (
    "iterations",
    "meta_batch_size",
    "episodes_per_task",
    "inner_steps",
    "cg_iterations",
    "line_search_steps",
    "threads",
)
POSITIVE = ("step_size", "attention_lr", "initial_std", "action_scale", "max_kl")
FRACTIONS = ("discount", "fisher_fraction")


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise Refusal(f"setting '{name}' must be {allowed}, got {value}")


PRESETS: dict[str, dict[str, Any]] = {
    "navigation-2d": {"meta_batch_size": 20, "action_scale": 0.1, "fisher_fraction": 0.5},
    # A meta-batch of 160,000 query observations bears ten times the usual KL limit. Fewer and longer steps go with a
    # larger Lasso, and with attention that learns slowly: docs/findings.md.
    "half-cheetah-velocity": {
        "meta_batch_size": 40,
        "action_scale": 0.1,
        "max_kl": 0.1,
        "lasso": 0.003,
        "attention_lr": 0.0005,
    },
    "half-cheetah-direction": {"meta_batch_size": 40, "action_scale": 0.1, "max_kl": 0.1},
    # Not tuned: meta-batches and KL limit as HalfCheetah's, and as much exploration as a robot survives.
    "half-cheetah-dynamics": {"meta_batch_size": 40, "action_scale": 0.1, "max_kl": 0.1},
    "half-cheetah-disabled-joint": {"meta_batch_size": 40, "action_scale": 0.1, "max_kl": 0.1},
    "ant-velocity": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "ant-direction": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "ant-goal": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "ant-disabled-leg": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "walker2d-velocity": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "walker2d-dynamics": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "hopper-velocity": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "hopper-dynamics": {"meta_batch_size": 40, "action_scale": 0.3, "max_kl": 0.1},
    "humanoid-direction": {"meta_batch_size": 40, "action_scale": 0.1, "max_kl": 0.1},
    "swimmer-velocity": {"meta_batch_size": 40, "max_kl": 0.1},
}


def preset(family: str, **overrides: Any) -> TrainSettings:
    """The settings that suit a task family, with some overridden; a family without a preset takes the defaults."""
    return replace(TrainSettings(), **{**PRESETS.get(family, {}), **overrides})


def read_config(folder: Path) -> tuple[str, TrainSettings]:
    """Return the family's name and the settings of a run; ValueError says why the folder is none."""

    def parse(content: dict[str, Any]) -> tuple[str, TrainSettings]:
        settings = content["settings"]
        return str(content["family"]), TrainSettings(**settings | {"hidden_sizes": tuple(settings["hidden_sizes"])})

    return parse_config(folder, parse)
