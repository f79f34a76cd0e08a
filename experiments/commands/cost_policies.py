"""``metarl cost`` for policies: which one, the episodes it adapts to, and its cost."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES, get_family
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.adaptable import TASKS, TakenStep, attended, model_cost, parameters_adapting
from metarl.experiments.analysis.costing import Costing, chosen_layers
from metarl.experiments.console.families import family_by_name
from metarl.experiments.console.parsing import refuse
from metarl.policies.compression.bases import stored_layers
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import get_method
from metarl.rl.evaluation import family_of
from metarl.rl.variation import varied

if TYPE_CHECKING:
    from metarl.experiments.commands.cost import Cost


def policy_costing(command: Cost) -> Costing:
    """Return the cost of a policy, by the model and, if it is asked for, measured."""
    refuse(command.image, "is about image networks: leave it out for a policy")
    controller, family = chosen(command)
    work = costs.workload(controller, command.chunk)
    if command.measure and work.batch > work.horizon:
        raise Refusal(
            f"the step on a device takes one episode at a time: with --measure, --chunk must be at most the horizon "
            f"{work.horizon}, got {work.batch}"
        )
    taken: tuple[TakenStep, ...] = ()
    if attended(controller) or command.measure:
        with recording(controller, family, command.seed) as episodes:
            taken = costs.take_steps(controller, episodes, chunk=command.chunk)
    unit = "one episode" if work.chunk is None else plural(work.chunk, "observation")
    return Costing(
        title=f"{controller.metadata.family}, {controller.metadata.method}",
        layers=stored_layers(controller.network.layers, controller.parameters),
        work=work,
        result=model_cost(controller, work, taken),
        step=f"One adaptation step: {plural(work.episodes, 'episode')} of "
        f"{plural(work.horizon, 'observation')}, {unit} at a time, their gradients added up.",
        data=f"{TASKS} tasks of {family.name}" if family else "random episodes",
        attended=attended(controller),
        measured=max(step.peak_bytes for step in taken) if command.measure else None,
        device=costs.device_record(controller, taken, command.chunk) if work.batch <= work.horizon else {},
    )


def chosen(command: Cost) -> tuple[Controller, TaskFamily | None]:
    """Return the controller that is asked for, and the family to record its episodes in, where there is one."""
    controller, family = named(command)
    if command.layers is not None:
        layers = chosen_layers(command.layers, controller.network.layer_names)
        controller = replace(controller, parameters=parameters_adapting(controller, layers))
    controller = varied(controller, command.policy.horizon, command.policy.episodes)
    return controller, family and family_of(controller, family)


def named(command: Cost) -> tuple[Controller, TaskFamily | None]:
    """Return a file's controller with its family, if that is one of metarl's, or an untrained one without episodes."""
    if command.controller is not None:
        controller = load_controller(command.controller, command.subnet)
        name = controller.metadata.family
        return controller, get_family(name) if name in FAMILIES else None
    assert command.policy.family is not None and command.method is not None
    get_method(command.method)
    return costs.untrained(family_by_name(command.policy.family), command.method), None


def recording(controller: Controller, family: TaskFamily | None, seed: int) -> AbstractContextManager[costs.Record]:
    """Return episodes of the family's environment, or random ones without a family."""
    if family is None:
        return nullcontext(costs.random_episodes(controller, seed))
    return costs.environment_episodes(controller, family, seed)
