"""Clients that are robots: each has a task of its own, adapts to it, and returns its gradient after adaptation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from metarl.core.clock import Clock
from metarl.core.errors import Refusal
from metarl.core.intervals import Interval
from metarl.core.numerics import require_finite
from metarl.core.settings import AtLeastOne, Positive, Threads, check_settings
from metarl.core.threads import available_threads
from metarl.core.version import __version__
from metarl.envs.family import Array, TaskFamily
from metarl.fleet.federated.client import LocalGradient
from metarl.fleet.federated.settings import FederationSettings, population_random
from metarl.fleet.federated.weights import ClientWeights
from metarl.fleet.partial_update import check_updatable
from metarl.policies.compression.masks import masks_of
from metarl.policies.controller import Controller
from metarl.policies.files.patch import digest
from metarl.policies.methods import METHODS, Method, get_method, trained_names
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters
from metarl.rl.adaptation import adapt_to_tasks
from metarl.rl.evaluation import adaptation_settings, evaluate_tasks, family_of, unseen_tasks
from metarl.rl.objective import MetaObjective
from metarl.rl.sampling import Sampler
from metarl.rl.settings import preset
from metarl.rl.terms import TaskTerms
from metarl.rl.training import PolicyTraining
from metarl.rl.variation import varied
from metarl.rl.workers import task_data, task_returns

BINS = 10  # of the first task field, by which skewed robots gather
POOL = 20  # tasks that are drawn for each robot, to choose from


@dataclass(frozen=True)
class RobotSettings:
    """What robots do in a round; Refusal names a value that has a wrong type or is out of its limits."""

    method: str = "maml"
    """Meta-learning method, where --init is left out: one without attention whose outer loop takes a gradient."""
    episodes: AtLeastOne | None = None
    """Episodes of a robot before adaptation, and as many after it; those of the training, or the family's, if left
    out."""
    horizon: AtLeastOne | None = None
    """Time steps in an episode; those of the training, or the family's, if left out."""
    first_order: bool = False
    """Return the policy gradient after adaptation, in place of the meta-gradient through it."""
    score_tasks: Annotated[int, Field(ge=2)] = 40
    """Unseen tasks of an evaluation."""
    score_seed: Annotated[int, Field(ge=0)] = 1
    """Seed of these tasks and of their episodes."""
    step_size: Positive | None = None
    """Inner step size, where --init is left out; the family's if left out."""
    threads: Threads = field(default_factory=available_threads)
    """Threads of the simulator."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_federated(get_method(self.method))


def check_federated(method: Method) -> None:
    """Raise Refusal unless the mean of robots' gradients is all that the method's outer loop needs."""
    federated = [
        name
        for name, each in METHODS.items()
        if each.outer == "gradient" and each.attention is None and each.step_sizes != "sparse"
    ]
    if method.name not in federated:
        raise Refusal(f"robots federate with {', '.join(federated)}, got '{method.name}'")


@dataclass(frozen=True)
class Robots:
    """The clients of a federation on a task family; ``begun`` is the controller before the first round."""

    settings: FederationSettings
    own: RobotSettings
    family: TaskFamily  # as the controller sees it
    begun: Controller
    sampler: Sampler
    executor: Executor

    @property
    def network(self) -> PolicyNetwork:
        """The policy network."""
        return self.begun.network

    @property
    def scored(self) -> int:
        """The tasks of an evaluation."""
        return self.own.score_tasks

    @cached_property
    def method(self) -> Method:
        """The method that robots adapt by."""
        return get_method(self.begun.metadata.method)

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """The meta-parameters that the outer loop trains."""
        return trained_names(self.method, self.begun.parameters)

    @cached_property
    def tasks(self) -> Array:
        """The task of each robot [robot, field], drawn once."""
        return robot_tasks(self.family, self.settings.clients, self.settings.skew, population_random(self.settings))

    def start(self) -> Parameters:
        """Return the meta-parameters before the first round."""
        return self.begun.parameters

    def gradient(self, client: int, weights: ClientWeights, random: np.random.Generator) -> LocalGradient:
        """Return the gradient of one robot's loss after adaptation, and its return after adaptation.

        The adapted weights are floats on the robot: the integers save bytes on the link, not memory here.
        """
        parameters, task = weights.parameters(), self.tasks[client : client + 1]
        adaptation = adapt_to_tasks(
            parameters, task, adaptation_settings(self.begun), self.sampler, self.executor, random, Clock()
        )
        data = task_data(adaptation, self.method)
        terms = TaskTerms(self.network, self.method, self.own.first_order, data, self.executor)
        objective = MetaObjective(self.trained, len(data), terms)
        gradient = objective.gradient(parameters).trained
        require_finite("the robot's gradient is", gradient)
        episodes = adaptation.episodes[-1]
        return LocalGradient(objective.named(parameters, gradient), episodes.steps(), float(task_returns(episodes)))

    def score(self, weights: ClientWeights) -> Interval:
        """Return the return after adaptation on unseen tasks, the same at each evaluation."""
        tasks = unseen_tasks(self.family, self.own.score_tasks, self.own.score_seed)
        controller = self.deployed(weights, {})
        evaluation = evaluate_tasks(controller, self.family, tasks, self.own.score_seed, self.own.threads)
        return evaluation.intervals()[-1]

    def about(self) -> dict[str, Any]:
        """Return the clients as plain JSON, with the digest of what the server starts with."""
        own = asdict(self.own)
        del own["threads"]
        return {"family": self.family.name, **own, "begun": digest(self.network, self.begun.parameters)}

    def deployed(self, weights: ClientWeights, record: dict[str, Any]) -> Controller:
        """Return the controller that robots hold."""
        metadata = replace(self.begun.metadata, training=record | {"metarl": __version__})
        return replace(self.begun, parameters=weights.parameters(), metadata=metadata)


def robot_tasks(family: TaskFamily, robots: int, skew: float, random: np.random.Generator) -> Array:
    """Return a task for each robot [robot, field].

    Skewed robots gather: the first field's values fall into ten bins of as many tasks, and the bins' shares of the
    robots are Dirichlet numbers of that concentration.

    Args:
        family: The family that tasks are drawn from.
        robots: Their number.
        skew: The concentration; 0 for tasks as the family has them.
        random: What is drawn from.
    """
    if not skew:
        return family.sample_tasks(robots, random)
    pool = family.sample_tasks(POOL * robots, random)
    bins = np.array_split(pool[np.argsort(pool[:, 0], kind="stable")], BINS)
    counts = random.multinomial(robots, random.dirichlet(np.full(BINS, skew)))
    chosen = [own[random.choice(len(own), count)] for own, count in zip(bins, counts, strict=True)]
    return np.concatenate(chosen)


@contextmanager
def robots(family: TaskFamily, settings: FederationSettings, own: RobotSettings, begun: Controller) -> Iterator[Robots]:
    """Make the simulators of a federation's robots, and close them afterwards.

    Args:
        family: The task family.
        settings: The settings of the federation.
        own: What robots do.
        begun: The controller before the first round.

    Raises:
        Refusal: If the controller cannot be federated, or was made for other spaces than the family's.
    """
    check_updatable(begun)
    check_federated(get_method(begun.metadata.method))
    if masks_of(begun.parameters):
        raise Refusal("the controller to start from is pruned: masks do not travel in federated rounds")
    begun = varied(begun, own.horizon, own.episodes, None)
    family = family_of(begun, family)
    with (
        Sampler(family, begun.network, begun.metadata.action_scale, own.threads) as sampler,
        ThreadPoolExecutor(1) as executor,
    ):
        yield Robots(settings, own, family, begun, sampler, executor)


def random_controller(family: TaskFamily, own: RobotSettings, seed: int) -> Controller:
    """Return the controller with which a meta-training by the family's preset begins, without a return gate.

    Args:
        family: The task family.
        own: The method and its step size.
        seed: Seed of the parameters.
    """
    given = {"step_size": own.step_size} if own.step_size is not None else {}
    training = PolicyTraining(family, preset(family.name, method=own.method, gate="none", seed=seed, **given))
    return training.controller(training.initial_state())
