"""Rounds of updates to robots whose tasks have changed: what each way of updating reaches for the bytes it sends."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from metarl.compression.judge import judge, judged
from metarl.core.intervals import Interval
from metarl.envs.family import TaskFamily
from metarl.fleet.partial_update import UpdateSettings, check_updatable, continued, trained_update
from metarl.fleet.scores import entropy_bits, largest_weights, without_weights
from metarl.policies.controller import Controller
from metarl.policies.files.patch import Patch, difference, digest, write_patch
from metarl.policies.loading import load_controller
from metarl.policies.networks.network import Parameters
from metarl.rl.continuation import continued_settings
from metarl.rl.outer import stayed
from metarl.runs.resumable import opened, write_json

Strategy = Literal["combined", "global", "local", "random", "full", "pruning"]
CONFIG, ROUNDS = "simulation.json", "rounds.json"
GATE_SEED, REPORTED_SEED = 1, 2  # of the tasks that decide what is sent, and of those that are reported


@dataclass(frozen=True)
class SimulatedRound:
    """One round: what was sent, and what robots reach after it."""

    number: int  # from 1
    sent: bool  # whether the gate's test found the new controller better
    gate: Interval  # the paired difference on the gate's tasks
    patch_bytes: int  # 0 if nothing was sent
    bound_bytes: float  # the numbers of the patch and the least that random places take; 0 if nothing was sent
    reached: Interval  # the return after adaptation of what robots have now, on the reported tasks


@dataclass(frozen=True)
class Server:
    """What a server keeps from round to round."""

    deployed: Controller  # what robots have
    dense: Controller  # what pruning trains on and never sends; for the other strategies, the same


@dataclass(frozen=True)
class Simulation:
    """What is simulated: the robots' tasks, the server's training and the comparisons."""

    family: TaskFamily  # as the controller sees it
    strategy: Strategy
    settings: UpdateSettings  # of every round; its metric is the strategy's, if that is one
    rounds: int
    tasks: int  # unseen ones, of the gate and of the report
    threads: int


def simulate(
    controller: Controller,
    simulation: Simulation,
    out: Path,
    on_round: Callable[[SimulatedRound], None] = lambda done: None,
    on_iteration: Callable[[str], None] = lambda told: None,
) -> list[SimulatedRound]:
    """Update a controller in rounds by one strategy.

    Args:
        controller: The controller that robots have at first.
        simulation: What is simulated.
        out: A folder for the controllers after each round, new or of the same simulation, which then goes on.
        on_round: Is told of each round, those of before an interruption included.
        on_iteration: Is told of each meta-iteration in words.

    Returns:
        Round 0, in which robots have the first controller, and the others.
    """
    check_updatable(controller)
    config = described(controller, simulation)
    done = rounds_in(out, config)
    server, first = Server(controller, controller), 0
    if done:
        server, first = loaded(out, done[-1].number), done[-1].number + 1
    for each in done:
        on_round(each)
    for number in range(first, simulation.rounds + 1):
        if number == 0:
            outcome = SimulatedRound(0, False, Interval(0.0, 0.0), 0, 0.0, reached(controller, simulation))
        else:
            before = done[-1].reached
            server, outcome = played(server, simulation, number, before, on_iteration)
        done.append(outcome)
        save(out, server, config, done)
        on_round(outcome)
    return done


def played(
    server: Server, simulation: Simulation, number: int, before: Interval, on_iteration: Callable[[str], None]
) -> tuple[Server, SimulatedRound]:
    """Play a round.

    Args:
        server: What the server has.
        simulation: What is simulated.
        number: The round's number, from 1.
        before: What robots reached before it.
        on_iteration: Is told of each meta-iteration in words.

    Returns:
        What the server has afterwards, and the round.
    """
    dense, new = trained(server, simulation, number, on_iteration)
    verdict = judge(server.deployed, new, simulation.family, simulation.tasks, GATE_SEED, simulation.threads)
    gate = verdict.paired_difference
    if not (verdict.is_clear and gate.mean > 0):
        kept = replace(server, dense=dense if simulation.strategy == "pruning" else server.dense)
        return kept, SimulatedRound(number, False, gate, 0, 0.0, before)
    pruned = simulation.strategy == "pruning"
    old = without_weights(new.network, new.parameters) if pruned else server.deployed.parameters
    patch = difference(new.network, old, new.parameters, {})
    size, bound = patch_bytes(patch), bound_bytes(patch, new.parameters)
    after = Server(new, dense)
    return after, SimulatedRound(number, True, gate, size, bound, reached(new, simulation))


def trained(
    server: Server, simulation: Simulation, number: int, on_iteration: Callable[[str], None]
) -> tuple[Controller, Controller]:
    """Return what the server trains on in the next round, and the controller that it might send."""
    settings, strategy = simulation.settings, simulation.strategy
    begun = 2 * settings.iterations * (number - 1)
    if strategy == "pruning":
        return pruned(server.dense, simulation, begun, on_iteration)
    if strategy == "full":
        settings = replace(settings, metric="global", ratio=1.0)
    else:
        settings = replace(settings, metric=strategy)
    new, _ = trained_update(
        server.deployed, simulation.family, settings, simulation.threads, begun, on_iteration=on_iteration
    )
    return new, new


def pruned(
    dense: Controller, simulation: Simulation, begun: int, on_iteration: Callable[[str], None]
) -> tuple[Controller, Controller]:
    """Train a dense controller on, and return it with a copy that has its largest weights alone, trained as long."""
    settings, family, threads = simulation.settings, simulation.family, simulation.threads
    count = settings.iterations
    training = continued_settings(dense, family, 2 * count, settings.seed, threads)

    def told(stage: str) -> Callable[[int, float], None]:
        return lambda done, value: on_iteration(f"{stage}: {done} of {count}, return after adaptation {value:.4g}")

    first, second = range(begun, begun + count), range(begun + count, begun + 2 * count)
    full = continued(dense, dense.parameters, family, training, first, None, told("full update")).parameters
    masks = largest_weights(dense.network, full, settings.ratio)
    start = full | stayed(without_weights(dense.network, full), full, masks)
    last = continued(dense, start, family, training, second, masks, told("pruned")).parameters
    return replace(dense, parameters=full), replace(dense, parameters=last)


def reached(controller: Controller, simulation: Simulation) -> Interval:
    """Return the return after adaptation on the reported tasks."""
    return judged(controller, simulation.family, simulation.tasks, REPORTED_SEED, simulation.threads).return_after


def patch_bytes(patch: Patch) -> int:
    """Return the size of a patch's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "patch"
        write_patch(path, patch)
        return path.stat().st_size


def bound_bytes(patch: Patch, parameters: Parameters) -> float:
    """Return the bytes of a patch's numbers, and the least that random places of them take."""
    names = zip(sorted(parameters), patch.coding, strict=True)
    among = sum(parameters[name].numel() for name, letter in names if letter == "s")
    places = entropy_bits(len(patch.positions), among) / 8 if len(patch.positions) else 0.0
    return 4 * patch.changed + places


def described(controller: Controller, simulation: Simulation) -> dict[str, Any]:
    """Return what tells a simulation from others."""
    fields = {field.name: [field.low, field.high, *field.choices] for field in simulation.family.fields}
    return {
        "base": digest(controller.network, controller.parameters),
        "family": simulation.family.name,
        "fields": fields,
        "strategy": simulation.strategy,
        "settings": {name: value for name, value in asdict(simulation.settings).items() if name != "metric"},
        "tasks": simulation.tasks,
    }


def rounds_in(out: Path, config: dict[str, Any]) -> list[SimulatedRound]:
    """Return the rounds that a folder holds, none of a new one; raise Refusal if it is another simulation's."""
    if not opened(out, CONFIG, config, "simulation") or not (out / ROUNDS).is_file():
        return []
    rounds = json.loads((out / ROUNDS).read_text())["rounds"]
    return [SimulatedRound(**each | {name: Interval(**each[name]) for name in ("gate", "reached")}) for each in rounds]


def loaded(out: Path, number: int) -> Server:
    """Return what the server had after a round."""
    deployed, dense = (load_controller(out / f"{kind}{number}.safetensors") for kind in ("deployed", "dense"))
    return Server(deployed, dense)


def save(out: Path, server: Server, config: dict[str, Any], done: list[SimulatedRound]) -> None:
    """Write the controllers after a round, and then all rounds with what they are of."""
    number = done[-1].number
    server.deployed.save(out / f"deployed{number}.safetensors", overwrite=True)
    server.dense.save(out / f"dense{number}.safetensors", overwrite=True)
    write_json(out / ROUNDS, config | {"rounds": [asdict(each) for each in done]})
