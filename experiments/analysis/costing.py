"""What ``metarl cost`` is asked and what it answers: the options, the table, and what its numbers stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from metarl.core.errors import Refusal
from metarl.cost.memory import Moment, Workload, inference_moments
from metarl.cost.operations import Cost, forward_macs
from metarl.experiments.analysis.costs import cost_record, giga, megabytes
from metarl.experiments.console.parsing import require_at_least
from metarl.policies.networks.layers import Layer

# The options that say something about policies alone, and about image networks alone.
OF_POLICIES = ("family", "horizon", "episodes")
OF_IMAGES = ("backbone", "side", "ways", "shots", "data")


@dataclass(frozen=True)
class CostCommand:
    """Memory and operations of a controller on a device, by layer and in total.

    Of a trained controller, of the policy that a task family and a method give, or of an image network.
    """

    controller: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="CONTROLLER")] = None
    """The controller's file, of a policy or of an image network, or FAMILY/METHOD of one that ships with metarl."""
    family: str | None = None
    """Task family, with --method and in place of a controller."""
    backbone: str | None = None
    """Image network, conv4 or resnet12, with --method and in place of a controller."""
    method: str | None = None
    """Meta-learning method, with --family or --backbone."""
    layers: str | None = None
    """Numbers of the layers that adapt, e.g. 1,3; those of the controller or the method if left out."""
    horizon: int | None = None
    """Observations in an episode; those of the controller or the family if left out."""
    episodes: int | None = None
    """Episodes in an adaptation step; those of the controller or the family's preset if left out."""
    side: int | None = None
    """Width and height of the images, with --backbone; 84 if left out."""
    ways: int | None = None
    """Classes to tell apart, with --backbone; 5 if left out."""
    shots: int | None = None
    """Images of each class in an adaptation step; those of the controller, or 1, if left out."""
    chunk: int | None = None
    """Observations or images whose gradients are computed at a time; an episode or one image if left out."""
    data: Path | None = None
    """Folder of images; those of its split val are adapted to. Random ones if left out."""
    measure: bool = False
    """Run the step, too, and measure its memory."""
    seed: int = 1
    """Seed of the episodes or images that attention judges and that the measured step adapts to."""
    json: Path | None = None
    """Write the numbers to this file, which must be new."""

    def __post_init__(self) -> None:
        counts = ("horizon", "episodes", "side", "ways", "shots", "chunk")
        require_at_least(1, **{name: getattr(self, name) for name in counts})
        require_at_least(0, seed=self.seed)
        self._require_one_network()

    def _require_one_network(self) -> None:
        rule = "metarl cost takes either a CONTROLLER, or --method with --family or --backbone"
        networks = [name for name in ("family", "backbone") if getattr(self, name) is not None]
        if self.controller is not None:
            if networks or self.method is not None:
                raise Refusal(f"{rule}, not both")
            return
        if len(networks) == 2:
            raise Refusal(f"{rule}, not with both")
        missing = [*([] if networks else ["--family or --backbone"]), *([] if self.method else ["--method"])]
        if missing:
            raise Refusal(f"{rule}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


@dataclass(frozen=True)
class Costing:
    """The answer: the model's numbers, and those measured if they were asked for."""

    title: str
    layers: Sequence[Layer]
    work: Workload
    result: Cost
    step: str  # a sentence: what one adaptation step works on
    data: str  # what attention judges and the measured step adapts to
    attended: bool
    measured: int | None = None  # bytes
    sizes: Mapping[str, int] = field(default_factory=dict)  # what the JSON has beside the workload
    device: Mapping[str, int] = field(default_factory=dict)  # bytes, of a policy


def chosen_layers(text: str, names: Sequence[str]) -> list[str]:
    """Those of the layers ``names`` that a text like ``1,3`` gives by their numbers, from 1 to as many as there are."""
    layers = []
    for word in text.split(","):
        if not word.strip().isdecimal() or not 1 <= int(word) <= len(names):
            raise Refusal(
                f"--layers takes numbers from 1 to {len(names)} with commas between them, e.g. 1,{len(names)}, "
                f"got '{word}'"
            )
        layers.append(names[int(word) - 1])
    return layers


def cost_table(costing: Costing) -> Table:
    """A row per layer, with the memory alive at its worst moment; the totals are sums of sizes and maxima of peaks."""
    result, work, names = costing.result, costing.work, [layer.name for layer in costing.layers]
    step, resting = result.peak_step, inference_moments(costing.layers, work)
    macs = {layer.name: layer.adaptation_macs for layer in step.layers}
    updated = {layer.name for layer in step.layers if layer.updated}
    columns = (
        in_millions([layer.parameter_bytes for layer in costing.layers], result.static_bytes),
        in_millions([peak_at(resting, name) for name in names], result.peak_inference_bytes),
        in_millions([peak_at(step.timeline, name) for name in names], step.peak.bytes),
        in_billions([work.observations * forward_macs(layer) for layer in costing.layers], result.inference_macs),
        in_billions([macs.get(name, 0) for name in names], step.macs),
    )
    steps = len(result.steps)
    which = f", inner step {result.steps.index(step) + 1} of {steps}" if steps > 1 else ""
    table = Table(title=f"{costing.title}{which}", title_justify="left")
    for heading in ("layer", "adapts"):
        table.add_column(heading)
    for heading in ("static\nMB", "infer.\npeak MB", "adapt.\npeak MB", "infer.\nGMAC", "adapt.\nGMAC"):
        table.add_column(heading, justify="right")
    adapts = ["yes" if name in updated else "no" for name in names]
    for name, *cells in zip([*names, "total"], [*adapts, ""], *columns, strict=True):
        table.add_row(name, *cells, end_section=name == names[-1])
    return table


def in_millions(counts: Sequence[int], total: int) -> list[str]:
    """A column of the table and its total, in units of 10^6."""
    return _cells([*counts, total], 1e6)


def in_billions(counts: Sequence[int], total: int) -> list[str]:
    """A column of the table and its total, in units of 10^9."""
    return _cells([*counts, total], 1e9)


def _cells(counts: Sequence[int], unit: float) -> list[str]:
    """Five digits for the largest, and as many decimals for the others: names of layers take most of a line."""
    decimals = max(0, 5 - len(str(int(max(counts) / unit))))
    return [f"{count / unit:.{decimals}f}" for count in counts]


def peak_at(timeline: Sequence[Moment], layer: str) -> int:
    """The most bytes alive at a moment of the layer; 0 if it has none."""
    return max((moment.bytes for moment in timeline if moment.layer == layer), default=0)


def caption(costing: Costing) -> str:
    """What the numbers stand for."""
    result = costing.result
    parts = [costing.step]
    if len(result.steps) > 1:
        parts.append(f"Mean over the inner steps: {giga(result.adaptation_macs)} GMAC each.")
    if costing.attended:
        parts.append(f"The channels are those that attention keeps in {costing.data}.")
    if any(layer.scoring_macs for step in result.steps for layer in step.layers):
        parts.append("An episode's scores take a pass over its observations before the gradients'; it is counted.")
    parts.append("Peak: all that is alive at the worst moment, beside the weights.")
    modules = f"; attention modules take {megabytes(result.attention_bytes)} MB more" * bool(result.attention_bytes)
    parts.append(f"Static: weights and biases{modules}. MB = 10^6 bytes, 4 bytes a word.")
    parts.append("Counted as for Tables 1 to 3 of p-Meta (Qu et al., KDD 2022, Sec. 2 and Appendix A).")
    return " ".join(parts)


def record(costing: Costing) -> dict[str, Any]:
    """What ``--json`` writes."""
    device = {"device": dict(costing.device)} if costing.device else {}
    return cost_record(costing.result, costing.work, costing.measured) | dict(costing.sizes) | device
