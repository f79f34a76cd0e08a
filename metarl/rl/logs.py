"""What a meta-iteration leaves in the logs of a run."""

from __future__ import annotations

from metarl.kept_channels import kept_columns, kept_row
from metarl.policies.methods import get_method
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.rl.attention_log import attention_columns
from metarl.rl.iteration import IterationReport
from metarl.rl.settings import TrainSettings
from metarl.runs.logs import MOVED, SUCCESS, seconds_column
from metarl.runs.state import Row, TrainingState

BYTES = (f"{MOVED}to_workers", f"{MOVED}from_workers")
PHASES = ("sampling", "advantages", "inner loop", "meta-gradient", "conjugate gradient", "line search")


def progress_columns(settings: TrainSettings, network: PolicyNetwork) -> list[str]:
    """Return the columns of ``progress.csv``."""
    returns, successes = (
        [f"{name}{number}{suffix}" for number in range(settings.inner_steps + 1) for suffix in ("", "_ci95")]
        for name in ("return_", SUCCESS)
    )
    layer_names = network.layer_names
    step_sizes = [f"step_size_{layer}_{number + 1}" for layer in layer_names for number in range(settings.inner_steps)]
    search = ["kl", "loss_before", "loss_after", "line_search_trials", "step_accepted", "skipped"]
    method = get_method(settings.method)
    kept = kept_columns(method, layer_names, settings.inner_steps)
    attention = attention_columns(method, layer_names, settings.inner_steps)
    numbers = range(1, settings.inner_steps + 1) if settings.gated else ()
    gate = [f"gate_{part}_{number}" for number in numbers for part in "ab"]
    return [
        "iteration",
        *returns,
        *successes,
        *search,
        network.spread_name,
        "env_steps",
        *step_sizes,
        *kept,
        *attention,
        *gate,
    ]


def progress_row(state: TrainingState, report: IterationReport | None) -> Row:
    """Return the row of ``progress.csv``: nothing that depends on the clock, and little without a report."""
    row: Row = {"iteration": state.iteration, "skipped": state.skipped}
    if report is None:
        return row | {"step_accepted": 0}
    step = report.step
    for number, interval in enumerate(report.returns):
        row |= {f"return_{number}": interval.mean, f"return_{number}_ci95": interval.ci95}
    for number, interval in enumerate(report.successes):
        row |= {f"{SUCCESS}{number}": interval.mean, f"{SUCCESS}{number}_ci95": interval.ci95}
    for layer, step_sizes in report.step_sizes.items():
        row |= {f"step_size_{layer}_{number}": alpha for number, alpha in enumerate(step_sizes, start=1)}
    row |= kept_row(report.kept) | report.attention
    for number, (a, b) in enumerate(report.gate, start=1):
        row |= {f"gate_a_{number}": a, f"gate_b_{number}": b}
    if step.search is not None:
        losses = {"loss_before": step.search.before, "loss_after": step.search.after}
        row |= losses | {"line_search_trials": step.search.trials}
    return row | {
        "kl": step.kl,
        "step_accepted": int(step.accepted),
        **report.spread,
        "env_steps": report.steps,
    }


def timings_columns() -> list[str]:
    """Return the columns of ``timings.csv``; a run without workers in other processes has none of bytes."""
    return ["iteration", *map(seconds_column, PHASES), "env_steps_per_second", *BYTES]


def timings_row(state: TrainingState, report: IterationReport | None, seconds: dict[str, float]) -> Row:
    """Return the row of ``timings.csv``: seconds by phase, and environment steps per second of sampling."""
    row: Row = {"iteration": state.iteration}
    row |= {seconds_column(phase): spent for phase, spent in seconds.items()}
    if report is not None:
        row["env_steps_per_second"] = report.steps / seconds["sampling"]
    return row


def bytes_row(before: tuple[int, int] | None, after: tuple[int, int] | None) -> Row:
    """Return the cells of ``timings.csv`` on what was sent and received meanwhile; none without other processes."""
    if before is None or after is None:
        return {}
    return {name: end - start for name, start, end in zip(BYTES, before, after, strict=True)}
