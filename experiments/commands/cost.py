"""``metarl cost``: memory and operations of inference and of an adaptation step, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from rich.text import Text

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.core.text import plural
from metarl.envs.family import TaskFamily
from metarl.envs.registry import FAMILIES, get_family
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.costing import (
    OF_IMAGES,
    CostCommand,
    Costing,
    caption,
    chosen_layers,
    cost_table,
    record,
)
from metarl.experiments.commands.cost_images import image_costing, is_about_images
from metarl.experiments.console.families import family_by_name
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, refuse
from metarl.policies.controller import Controller
from metarl.policies.loading import load_controller
from metarl.policies.methods import get_method
from metarl.rl.evaluation import family_of


def main(arguments: Sequence[str]) -> None:
    """Runs the command; ValueError says what is wrong with its arguments."""
    command = parse(CostCommand, arguments, "metarl cost")
    if command.json:
        check_new_file(command.json)
    costing = image_costing(command) if is_about_images(command) else policy_costing(command)
    console = Terminal()
    console.print(cost_table(costing))
    console.print(Text(caption(costing)))
    if costing.measured is not None:
        measured = costs.megabytes(costing.measured)
        console.print(Text(f"The step really takes {measured} MB at its peak, on {costing.data}."))
    if costing.device:
        console.print(Text(f"On a device: {costs.device_sentence(costing.device)}"))
    if command.json:
        write_atomically(command.json, (json.dumps(record(costing), indent=2) + "\n").encode())


def policy_costing(command: CostCommand) -> Costing:
    """The cost of a policy, by the model and, if it is asked for, measured."""
    refuse(command, OF_IMAGES, "is about image networks: leave it out for a policy")
    controller, family = chosen(command)
    work = costs.workload(controller, command.chunk)
    if command.measure and work.batch > work.horizon:
        raise Refusal(
            f"the step on a device takes one episode at a time: with --measure, --chunk must be at most the horizon "
            f"{work.horizon}, got {work.batch}"
        )
    attended = get_method(controller.metadata.method).attention is not None
    taken: tuple[costs.TakenStep, ...] = ()
    if attended or command.measure:
        with recording(controller, family, command.seed) as episodes:
            taken = costs.take_steps(controller, episodes, chunk=command.chunk)
    unit = "one episode" if work.chunk is None else plural(work.chunk, "observation")
    return Costing(
        title=f"{controller.metadata.family}, {controller.metadata.method}",
        layers=controller.network.layers,
        work=work,
        result=costs.controller_cost(controller, taken, command.chunk),
        step=f"One adaptation step: {plural(work.episodes, 'episode')} of "
        f"{plural(work.horizon, 'observation')}, {unit} at a time, their gradients added up.",
        data=f"{costs.TASKS} tasks of {family.name}" if family else "random episodes",
        attended=attended,
        measured=max(step.peak_bytes for step in taken) if command.measure else None,
        device=costs.device_record(controller, taken, command.chunk) if work.batch <= work.horizon else {},
    )


def chosen(command: CostCommand) -> tuple[Controller, TaskFamily | None]:
    """The controller that is asked for, and the family to record its episodes in, where there is one."""
    controller, family = named(command)
    if command.layers is not None:
        layers = chosen_layers(command.layers, controller.network.layer_names)
        controller = replace(controller, parameters=costs.parameters_adapting(controller, layers))
    metadata = replace(
        controller.metadata,
        horizon=command.horizon or controller.metadata.horizon,
        episodes_per_step=command.episodes or controller.metadata.episodes_per_step,
    )
    controller = replace(controller, metadata=metadata)
    return controller, family and family_of(controller, family)


def named(command: CostCommand) -> tuple[Controller, TaskFamily | None]:
    """A file's controller with its family, if that is one of metarl's; or an untrained one, which has no episodes."""
    if command.controller is not None:
        controller = load_controller(command.controller)
        name = controller.metadata.family
        return controller, get_family(name) if name in FAMILIES else None
    assert command.family is not None and command.method is not None
    get_method(command.method)
    return costs.untrained(family_by_name(command.family), command.method), None


def recording(controller: Controller, family: TaskFamily | None, seed: int) -> AbstractContextManager[costs.Record]:
    """Episodes of the family's environment, or random ones without a family."""
    if family is None:
        return nullcontext(costs.random_episodes(controller, seed))
    return costs.environment_episodes(controller, family, seed)
