"""Tell what any controller is: its layers, what an adaptation does to them, its training, its cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from metarl.core.errors import NumericalFault, Refusal
from metarl.cost.memory import Workload
from metarl.cost.operations import Cost
from metarl.experiments.analysis.adaptable import Adaptable, KeptShares, TakenStep, adapted_layers, attended, model_cost
from metarl.experiments.analysis.costing import cost_record, device_sentence, giga, megabytes
from metarl.policies.attention import PREFIX
from metarl.policies.compression.bases import is_basis, layer_bits
from metarl.policies.compression.masks import is_mask, pruned_count
from metarl.policies.methods import STEP_SIZES, get_method

Taken = tuple[TakenStep, ...]
Notes = tuple[str, ...]

MOST_ITEMS = 20  # shown of a list
LONGEST_TEXT = 200  # characters shown of a word


@dataclass(frozen=True)
class LayerReport:
    """A layer, and what each inner step does to it; a kept share is None where it is unknown or nothing is updated.

    Of a layer with a ``context`` of so many parameters these alone adapt, and of one with so many ``bits`` of binary
    bases the coordinates.
    """

    name: str
    inputs: int
    outputs: int
    adapts: tuple[bool, ...]
    step_sizes: tuple[float, ...]
    kept_inputs: tuple[float | None, ...]
    kept_outputs: tuple[float | None, ...]
    context: int = 0
    bits: float | None = None

    @property
    def adapting_steps(self) -> str:
        """Whether it adapts, or its context, and in which inner steps if not in all or none."""
        if self.context and all(self.adapts):
            return f"context of {self.context}"
        if self.bits is not None and all(self.adapts):
            return f"coordinates of {self.bits:.3g} bits"
        if len(set(self.adapts)) > 1:
            return "step " + ", ".join(str(step) for step, each in enumerate(self.adapts, start=1) if each)
        return "yes" if all(self.adapts) else "no"


@dataclass(frozen=True)
class Report:
    """What there is to tell beside the metadata; ``notes`` are sentences on what could not be found out."""

    parameters: int
    attention_parameters: int
    layers: tuple[LayerReport, ...]
    cost: Cost | None
    notes: Notes
    device: Mapping[str, int] = field(default_factory=dict)  # bytes, of a policy


def inspected(
    adaptable: Adaptable,
    work: Workload,
    take: Callable[[], Taken] | None,
    why_not: str,
    device_of: Callable[[Taken], Mapping[str, int]] = lambda taken: {},
) -> Report:
    """Find out what an adaptation does.

    Args:
        adaptable: A controller or a classifier.
        work: The data of one inner step.
        take: Takes the inner steps on a few tasks, whose data attention judges; None if there are none.
        why_not: Why there are none.
        device_of: Returns the bytes that a device needs for these steps, of a policy.

    Returns:
        The report.
    """
    parameters = adaptable.parameters
    taken, notes = judged(adaptable, take, why_not)
    modules = sum(tensor.numel() for name, tensor in parameters.items() if name.startswith(PREFIX))
    own = sum(tensor.numel() for name, tensor in parameters.items() if not (is_mask(name) or is_basis(name)))
    steps = parameters[STEP_SIZES].numel() if STEP_SIZES in parameters else 0
    return Report(
        parameters=own - pruned_count(parameters) - modules - steps,
        attention_parameters=modules,
        layers=tuple(layer_reports(adaptable, taken, known=not notes)),
        cost=model_cost(adaptable, work, taken) if STEP_SIZES in parameters else None,
        notes=notes,
        device=device_of(taken) if STEP_SIZES in parameters else {},
    )


def judged(adaptable: Adaptable, take: Callable[[], Taken] | None, why_not: str) -> tuple[Taken, Notes]:
    """Return the inner steps on a few tasks, if attention plays a part in them, or why they were not taken."""
    if STEP_SIZES not in adaptable.parameters:
        return (), (f"The controller has no '{STEP_SIZES}': it acts, but cannot be adapted.",)
    if not attended(adaptable):
        return (), ()
    try:
        if take is not None:
            return take(), ()
    except (Refusal, NumericalFault) as error:
        why_not = str(error)
    return (), (f"Which channels attention keeps is left out: {why_not}. The cost counts all channels.",)


def layer_reports(adaptable: Adaptable, taken: Taken, known: bool) -> Iterator[LayerReport]:
    """Yield every layer; ``known`` says whether ``taken``, or its absence, tells all kept shares."""
    steps = range(adaptable.metadata.inner_steps)
    sizes = adaptable.parameters.get(STEP_SIZES)
    bits = layer_bits(adaptable.parameters)
    adapted = [adapted_layers(adaptable, step) if sizes is not None else () for step in steps]
    for index, layer in enumerate(adaptable.network.layers):
        shares = [
            (taken[step].shares if taken else {}).get(layer.name, KeptShares())
            if layer.name in adapted[step] and known
            else None
            for step in steps
        ]
        yield LayerReport(
            name=layer.name,
            inputs=layer.inputs,
            outputs=layer.outputs,
            adapts=tuple(layer.name in each for each in adapted),
            step_sizes=tuple(sizes[:, index].tolist()) if sizes is not None else (),
            kept_inputs=tuple(each.forward if each else None for each in shares),
            kept_outputs=tuple(each.backward if each else None for each in shares),
            context=layer.context,
            bits=bits.get(layer.name),
        )


def facts_table(facts: Mapping[str, str], training: Mapping[str, Any], report: Report) -> Table:
    """Return a line for each fact that there is, then the parameters, the training and the cost."""
    modules = f" and {report.attention_parameters} of attention" if report.attention_parameters else ""
    cost = [("cost", cost_line(report.cost))] if report.cost else []
    if report.device:
        cost.append(("on a device", device_sentence(report.device)))
    table = Table.grid(padding=(0, 2, 0, 0))
    parameters = ("parameters", f"{report.parameters}{modules}")
    for label, fact in (*facts.items(), parameters, *training_facts(training), *cost):
        if fact:
            table.add_row(Text(label, style="bold"), Text(fact, overflow="fold"))
    return table


def method_fact(name: str) -> str:
    """Return a method's name and source."""
    return f"{name} ({get_method(name).source})"


def training_facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the training record: numbers and words in one line, and a line for each list or group of values."""
    groups = {name: value for name, value in training.items() if isinstance(value, dict | list)}
    single = ", ".join(f"{shown(name)} {shown(value)}" for name, value in training.items() if name not in groups)
    return [("training", single), *((f"training {shown(name)}", shown(value)) for name, value in groups.items())]


def shown(value: Any, depth: int = 3) -> str:
    """Return a value of a stranger's file as text that steers no terminal, of bounded length and depth."""
    if isinstance(value, dict | list | tuple) and not depth:
        return "..."
    if isinstance(value, dict):
        return " ".join(f"{shown(name)}={shown(item, depth - 1)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        items = [shown(item, depth - 1) for item in value[:MOST_ITEMS]] + ["..."] * (len(value) > MOST_ITEMS)
        return f"[{', '.join(items)}]"
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def cost_line(cost: Cost) -> str:
    """Return memory at the peak and operations of an adaptation step, as the paper counts them, and of the weights."""
    return (
        f"{giga(cost.adaptation_macs)} GMAC and, as the paper counts, {megabytes(cost.peak_adaptation_bytes)} MB "
        f"at the peak of a step, beside {megabytes(cost.static_bytes)} MB of weights"
    )


def report_record(metadata: str, report: Report, work: Workload) -> dict[str, Any]:
    """Return what ``--json`` writes: the ``metadata`` as in the controller's file, and what was found out."""
    cost = cost_record(report.cost, work, None) if report.cost else None
    return {**json.loads(metadata), **asdict(report), "cost": cost}
