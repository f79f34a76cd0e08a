"""Tell what a policy is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from metarl.core.text import plural
from metarl.envs.family import TaskFamily
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.inspection import (
    Report,
    Taken,
    facts_table,
    inspected,
    method_fact,
    report_record,
    shown,
)
from metarl.policies.controller import Controller, actions_text
from metarl.policies.device.step import CHUNK
from metarl.policies.files.controller_file import to_json
from metarl.policies.files.metadata import FieldRecord
from metarl.policies.networks.mlp import GaussianMLP


def inspected_policy(controller: Controller, family: TaskFamily | None, seed: int) -> Report:
    """Find out what an adaptation does; attention judges episodes of ``family``, and nothing without one."""

    def take() -> Taken:
        assert family is not None
        with costs.environment_episodes(controller, family, seed) as record:
            return costs.take_steps(controller, record, chunk=CHUNK)

    name = shown(controller.metadata.family)
    unknown = f"'{name}' is no family of metarl (if that code is yours, say --family {name})"
    return inspected(
        controller,
        costs.workload(controller),
        take if family else None,
        unknown,
        lambda taken: costs.device_record(controller, taken, CHUNK),
    )


def policy_facts(name: str, controller: Controller, report: Report) -> Table:
    """Return what the controller is, a line each."""
    metadata = controller.metadata
    steps = f"{plural(metadata.inner_steps, 'step')}, each on {plural(metadata.episodes_per_step, 'episode')}"
    adapted_to = " ".join(f"{field}={value:g}" for field, value in (metadata.adapted_to or {}).items())
    facts = {
        "controller": name,
        "method": method_fact(metadata.method),
        "family": shown(metadata.family),
        "tasks": ", ".join(map(field_text, metadata.task_fields)),
        "adapted to": shown(adapted_to),
        "observations": space(metadata.observation_low, metadata.observation_high),
        **action_facts(controller),
        "horizon": plural(metadata.horizon, "time step"),
        "adaptation": f"{steps}, discount {metadata.discount:g}, lambda {metadata.gae_lambda:g}"
        + (", baseline of time" if metadata.baseline == "time" else ""),
    }
    return facts_table(facts, metadata.training, report)


def layer_table(report: Report, attends: bool) -> Table:
    """Return a row per layer, with a number per inner step in each cell, and kept shares if the method ``attends``."""
    table = Table()
    table.add_column("layer")
    for heading in ("inputs", "outputs"):
        table.add_column(heading, justify="right")
    for heading in ("step size", "adapts", *(("kept\ninputs", "kept\noutputs") if attends else ())):
        table.add_column(heading)
    for layer in report.layers:
        sizes = " ".join(f"{step_size:.4g}" for step_size in layer.step_sizes)
        kept = (layer.kept_inputs, layer.kept_outputs) if attends else ()
        channels = (str(layer.inputs), str(layer.outputs))
        table.add_row(layer.name, *channels, sizes, layer.adapting_steps, *map(percentages, kept))
    return table


def policy_record(controller: Controller, report: Report) -> dict[str, Any]:
    """Return what ``--json`` writes."""
    record = report_record(to_json(controller.metadata, controller.network), report, costs.workload(controller))
    stds = action_std(controller)
    return record if stds is None else record | {"action_std": stds}


def action_facts(controller: Controller) -> dict[str, str]:
    """Return what the actions are: choices, or numbers with their bounds and standard deviations."""
    metadata, stds = controller.metadata, action_std(controller)
    if stds is None:
        return {"actions": actions_text(controller.network)}
    scale = "" if metadata.action_scale == 1 else f", the policy's own times {metadata.action_scale:g}"
    return {
        "actions": f"{space(metadata.action_low, metadata.action_high)}{scale}",
        "action std": " ".join(f"{std:.3g}" for std in stds),
    }


def action_std(controller: Controller) -> list[float] | None:
    """Return the standard deviations of the policy's Gaussian; None for a policy that chooses."""
    if not isinstance(controller.network, GaussianMLP):
        return None
    stds: list[float] = controller.network.log_std(controller.parameters).exp().tolist()
    return stds


def field_text(field: FieldRecord) -> str:
    """Return e.g. ``target_velocity in [0, 2] m/s``."""
    values = f"of {shown(list(field.choices))}" if field.choices else f"in [{field.low:g}, {field.high:g}]"
    return f"{shown(field.name)} {values} {shown(field.unit)}".rstrip()


def space(low: Sequence[float], high: Sequence[float]) -> str:
    """Return how many numbers there are and their bounds, for all or for each."""
    bounds = dict.fromkeys(zip(low, high, strict=True))
    if all(math.isinf(number) for number in (*low, *high)):
        return f"{plural(len(low), 'number')} without bounds"
    each = bounds if len(bounds) == 1 else list(zip(low, high, strict=True))
    return f"{plural(len(low), 'number')} in " + ", ".join(f"[{least:g}, {most:g}]" for least, most in each)


def percentages(shares: Sequence[float | None]) -> str:
    """Return the shares in per cent, ``-`` for one that is unknown."""
    return " ".join("-" if share is None else f"{100 * share:.0f} %" for share in shares)
