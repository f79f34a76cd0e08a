"""The settings of a meta-training, their checks, and what suits each task family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from metarl.core.errors import Refusal
from metarl.core.settings import (
    AtLeastOne,
    NotNegative,
    Positive,
    Share,
    Threads,
    check_names,
    check_settings,
    read_settings,
)
from metarl.core.threads import available_threads
from metarl.policies.advantages import BaselineFeatures
from metarl.policies.attention import Modules
from metarl.policies.methods import get_method
from metarl.policies.networks.kinds import Activation
from metarl.reptile import check_outer_loop
from metarl.runs.folder import parse_config


@dataclass(frozen=True)
class TrainSettings:
    """Everything that a meta-training depends on; the defaults are those of p-Meta, Sec. 4.3.

    Refusal names a value that has a wrong type or is out of its limits.
    """

    method: str = "maml"
    """Meta-learning method: which layers the inner loop updates and where its step sizes come from."""
    iterations: AtLeastOne = 500
    """Meta-iterations."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random number of the run."""
    meta_batch_size: AtLeastOne = 20
    """Tasks in a meta-batch."""
    episodes_per_task: AtLeastOne = 20
    """Episodes per task, for an inner step and for the outer step alike."""
    horizon: AtLeastOne | None = None
    """Time steps in an episode; the task family's own if left out."""
    inner_steps: AtLeastOne = 1
    """Inner steps K, each on freshly sampled episodes."""
    step_size: Positive = 0.1
    """Inner step size alpha; where the method learns step sizes, their start."""
    gate: Literal["none", "return"] = "none"
    """What scales the step sizes of an inner step: nothing, or a meta-learned gate on the mean support return.
    Reptile, which takes no gradient to learn it by, and the references go without."""
    normalize_observations: bool = False
    """Show the policy observations minus their running mean, over their running deviation."""
    context_size: AtLeastOne = 5
    """Context parameters that the first layer takes with cavia, which adapts nothing else."""
    lasso: NotNegative = 0.01
    """Lambda of p-Meta, eq. 9: what a unit of the largest layer's sparse step size adds to the outer loss."""
    attention_lr: Positive = 0.003
    """Learning rate of Adam, which trains the attention modules."""
    attention_kl: Share = 0.1
    """Share of the KL limit that a step of the attention modules may cause alone."""
    attention_rank: Annotated[int, Field(ge=0, lt=2**31)] = 8
    """Hidden units of an attention module; 0 for one per channel, as in the paper."""
    attention_bound: NotNegative = 1.5
    """Bound of attention's logits, so that no layer loses nearly all of its channels; 0 for none, as in the paper."""
    first_order: bool = False
    """Ignore how the inner gradient changes with the parameters."""
    outer_lr: Share = 0.5
    """Share of the way to the mean of the adapted parameters that an outer step of reptile goes."""
    weight_clustering: NotNegative = 0.0
    """How strongly reptile's tasks are pulled towards their mean in all inner steps but the first."""
    hidden_sizes: tuple[AtLeastOne, ...] = (100, 100)
    """Widths of the policy's hidden layers."""
    activation: Activation = "relu"
    """What follows a hidden layer: relu, or tanh, whose outputs a device keeps where ReLU takes a bit."""
    initial_std: Positive = 1.0
    """Standard deviation of the actions at the start, before the action scale."""
    action_scale: Positive = 1.0
    """The environment gets the policy's action times this, clipped to the action space."""
    discount: Share = 0.99
    """Discount of the advantages."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Lambda of generalized advantage estimation."""
    baseline: BaselineFeatures = "full"
    """Features of the linear baseline: observations, their squares and time, or time alone, for devices that store
    nothing."""
    max_kl: Positive = 0.01
    """Limit of the mean KL divergence that one outer step may cause."""
    cg_iterations: AtLeastOne = 10
    """Conjugate-gradient steps of an outer step."""
    damping: NotNegative = 1e-5
    """Added to the diagonal of the Fisher matrix."""
    fisher_fraction: Share = 0.1
    """Fraction of the meta-batch's tasks that the Fisher matrix is estimated on."""
    line_search_steps: AtLeastOne = 15
    """The line search shortens the step by powers of the ratio below this number."""
    line_search_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Factor from one tried step length to the next."""
    threads: Threads = field(default_factory=available_threads)
    """Threads of the simulator and of the outer step."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_outer_loop(self.method, self.inner_steps, self.weight_clustering, self.meta_batch_size)

    @property
    def gated(self) -> bool:
        """Whether the return gate is asked for, has step sizes to scale and a gradient to be learned by.

        It is the preset of some families for all methods, so that those that can have none go without.
        """
        method = get_method(self.method)
        return self.gate == "return" and method.adapts and method.outer != "towards"

    @property
    def attention_modules(self) -> Modules:
        """How the attention modules are made."""
        return Modules(self.attention_rank or None, self.attention_bound or None)


PRESETS: dict[str, dict[str, Any]] = {
    "navigation-2d": {"meta_batch_size": 20, "action_scale": 0.1, "fisher_fraction": 0.5, "gate": "return"},
    # A meta-batch of 160,000 query observations bears ten times the usual KL limit. Fewer and longer steps go with
    # attention that learns slowly: docs/findings.md.
    "half-cheetah-velocity": {
        "meta_batch_size": 40,
        "action_scale": 0.1,
        "max_kl": 0.1,
        "lasso": 0.03,
        "attention_lr": 0.0005,
        "gate": "return",
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


# A context bears larger steps than weights do (CAVIA, 2D navigation), and Reptile needs more than one.
METHOD_PRESETS: dict[str, dict[str, Any]] = {"cavia": {"step_size": 1.0}, "reptile": {"inner_steps": 3}}


def preset(family: str, **overrides: Any) -> TrainSettings:
    """Return the settings that suit a task family and the method, with some overridden; else the defaults."""
    suiting = {**PRESETS.get(family, {}), **METHOD_PRESETS.get(str(overrides.get("method")), {})}
    return with_overrides(TrainSettings(), {**suiting, **overrides})


def with_overrides(settings: TrainSettings, overrides: Mapping[str, Any]) -> TrainSettings:
    """Return the settings with some changed; raise Refusal for a name that is no setting."""
    if not isinstance(settings, TrainSettings):
        raise Refusal(f"settings must be TrainSettings, got {type(settings).__name__}")
    check_names(TrainSettings, overrides)
    return replace(settings, **overrides)


def read_config(folder: Path) -> tuple[str, TrainSettings]:
    """Return the family's name and the settings of a run; ValueError says why the folder is none."""

    def parse(content: dict[str, Any]) -> tuple[str, TrainSettings]:
        return str(content["family"]), read_settings(TrainSettings, content["settings"])

    return parse_config(folder, parse)
