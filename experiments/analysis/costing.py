"""Present what a controller costs on a device: table, caption and JSON record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from metarl.core.errors import Refusal
from metarl.cost.memory import Moment, Workload, inference_moments
from metarl.cost.operations import Cost, forward_macs
from metarl.policies.networks.layers import Layer


@dataclass(frozen=True)
class Costing:
    """The model's numbers, and the measured ones if they were asked for."""

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
    """Return the layers that a text like ``1,3`` gives by their numbers, counted from 1; raise Refusal for others."""
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
    """Return a row per layer with the memory at its peak; the totals are sums of sizes and maxima of peaks."""
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
    """Return a column of the table and its total, in units of 10^6."""
    return _cells([*counts, total], 1e6)


def in_billions(counts: Sequence[int], total: int) -> list[str]:
    """Return a column of the table and its total, in units of 10^9."""
    return _cells([*counts, total], 1e9)


def _cells(counts: Sequence[int], unit: float) -> list[str]:
    """Return numbers with five digits for the largest, and as many decimals for the others."""
    decimals = max(0, 5 - len(str(int(max(counts) / unit))))
    return [f"{count / unit:.{decimals}f}" for count in counts]


def peak_at(timeline: Sequence[Moment], layer: str) -> int:
    """Return the most bytes alive at a moment of the layer, 0 if it has none."""
    return max((moment.bytes for moment in timeline if moment.layer == layer), default=0)


def caption(costing: Costing) -> str:
    """Return what the numbers stand for."""
    result = costing.result
    parts = [costing.step]
    if len(result.steps) > 1:
        parts.append(f"Mean over the inner steps: {giga(result.adaptation_macs)} GMAC each.")
    if costing.attended:
        parts.append(f"The channels are those that attention keeps in {costing.data}.")
    if any(layer.scoring_macs for step in result.steps for layer in step.layers):
        parts.append("An episode's scores take a pass over its observations before the gradients'; it is counted.")
    parts.append("Peak: all that the paper counts as alive at the worst moment, beside the weights.")
    modules = f"; attention modules take {megabytes(result.attention_bytes)} MB more" * bool(result.attention_bytes)
    parts.append(f"Static: weights and biases{modules}. MB = 10^6 bytes, 4 bytes a word.")
    parts.append("Counted as for Tables 1 to 3 of p-Meta (Qu et al., KDD 2022, Sec. 2 and Appendix A).")
    return " ".join(parts)


def record(costing: Costing) -> dict[str, Any]:
    """Return what ``--json`` writes."""
    device = {"device": dict(costing.device)} if costing.device else {}
    return cost_record(costing.result, costing.work, costing.measured) | dict(costing.sizes) | device


def cost_record(result: Cost, work: Workload, measured: int | None) -> dict[str, Any]:
    """Return what ``--json`` writes: of adaptation the mean operations over the inner steps, and the largest memory."""
    measurement = {} if measured is None else {"measured_peak_adaptation_bytes": measured}
    return {
        "peak_adaptation_bytes": result.peak_adaptation_bytes,
        "peak_inference_bytes": result.peak_inference_bytes,
        "adaptation_macs": result.adaptation_macs,
        "inference_macs": result.inference_macs,
        "static_bytes": result.static_bytes,
        **measurement,
        "attention_bytes": result.attention_bytes,
        "horizon": work.horizon,
        "episodes": work.episodes,
        "chunk": work.batch,
        "steps": [{"layers": [asdict(layer) for layer in step.layers]} for step in result.steps],
    }


def device_sentence(device: Mapping[str, int]) -> str:
    """Say what a device needs to adapt a policy, from the bytes of ``device_record``."""
    working, largest, raw, packed, weights, attention, streaming = (megabytes(count) for count in device.values())
    most = f", at most {largest} MB if attention keeps every channel" if device["attention_bytes"] else ""
    modules = f" and {attention} MB of attention" if device["attention_bytes"] else ""
    stored = device["working_bytes"] + device["recordings_bytes"]
    pays = 0 < device["streaming_bytes"] < stored
    instead = f" With nothing stored, {streaming} MB take the place of working memory and episodes." if pays else ""
    return (
        f"{working} MB of working memory at its peak, the baseline included{most}; beside it {raw} MB of "
        f"recorded episodes ({packed} MB packed), {weights} MB of weights{modules}.{instead}"
    )


def megabytes(count: int) -> str:
    """Return 10^6 bytes with the digits that tell layers of a small policy apart."""
    return f"{count / 1e6:.4f}"


def giga(count: int) -> str:
    """Return 10^9 operations with as many digits."""
    return f"{count / 1e9:.4f}"
