"""The model card of a policy: Markdown made of what its file says, its run's logs and its filed evaluation."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from metarl.core.errors import Refusal
from metarl.core.settings import read_settings
from metarl.core.text import plural
from metarl.envs.registry import FAMILIES, get_family
from metarl.experiments.analysis import costs
from metarl.experiments.analysis.costing import device_sentence
from metarl.experiments.analysis.logs import read_log
from metarl.experiments.console.suggestions import command_line
from metarl.policies.controller import Controller
from metarl.policies.device.step import CHUNK
from metarl.policies.files.metadata import FieldRecord
from metarl.policies.methods import get_method
from metarl.rl.settings import TrainSettings, preset, read_config
from metarl.runs.folder import CONFIG, PROGRESS

EVALUATION = "evaluation.json"
UNKNOWN = "Not recorded."


@dataclass(frozen=True)
class Sources:
    """What a card is made from: a controller, its name, and the folder of its run or of its filed result, if known.

    ``ships`` says that the controller comes with metarl, whose license it has, and ``commit`` which commit filed it.
    """

    name: str
    controller: Controller
    folder: Path | None
    ships: bool = False
    commit: str | None = None


def model_card(sources: Sources) -> str:
    """Return the card as Markdown; what nobody has recorded is said to be so."""
    metadata = sources.controller.metadata
    sections = {
        "Intended use": intended_use(sources.controller),
        "Training": training(sources),
        "Returns": returns(sources),
        "Memory on a device": memory(sources.controller),
        "License": license_text(sources.ships),
    }
    title = f"# {sources.name}\n\nA policy for `{metadata.family}`, meta-trained with `{metadata.method}`."
    return "\n\n".join([title, *(f"## {heading}\n\n{text}" for heading, text in sections.items())]) + "\n"


def intended_use(controller: Controller) -> str:
    """Return which tasks the controller was trained for, and how it is to be adapted."""
    metadata = controller.metadata
    tasks = "\n".join(f"- {field_text(field)}" for field in metadata.task_fields) or f"- {UNKNOWN}"
    each = "" if metadata.inner_steps == 1 else ", each"
    steps = f"{plural(metadata.inner_steps, 'inner step')}{each} on {plural(metadata.episodes_per_step, 'episode')}"
    how = (
        f"It adapts to a task in {steps} of {plural(metadata.horizon, 'time step')}."
        if get_method(metadata.method).adapts
        else "It is a reference to compare with, and does not adapt."
    )
    return (
        f"Tasks of the simulated family `{metadata.family}`:\n\n{tasks}\n\n{how} Tasks outside these bounds, other "
        "robots and real hardware were not part of the training, and adaptation can lower a return: "
        "`metarl adapt --check N` compares before and after."
    )


def field_text(field: FieldRecord) -> str:
    """Return a task field with its values and unit."""
    values = ", ".join(f"{choice:g}" for choice in field.choices) or f"{field.low:g} to {field.high:g}"
    return f"`{field.name}`: {values}{f' {field.unit}' if field.unit else ''}"


def training(sources: Sources) -> str:
    """Return the command that asks for this training, and what its record says."""
    record = sources.controller.metadata.training
    settings = recorded_settings(sources)
    lines = [f"```bash\n{training_command(sources.controller, settings)}\n```"] if settings else [f"Command: {UNKNOWN}"]
    facts = {
        "seed": record.get("seed"),
        "meta-iterations": record.get("iterations"),
        "kept iterate": record.get("best_iteration"),
        "environment steps": environment_steps(sources.folder),
        "version of metarl": record.get("metarl"),
    }
    if sources.ships:
        facts["commit that filed it"] = sources.commit
    lines.append("\n".join(f"- {name}: {UNKNOWN if value is None else value}" for name, value in facts.items()))
    return "\n\n".join(lines)


def recorded_settings(sources: Sources) -> TrainSettings | None:
    """Return the settings of the run's folder, or else of the file's record if its names are those of this version."""
    if sources.folder is not None and (sources.folder / CONFIG).is_file():
        return read_config(sources.folder)[1]
    record = sources.controller.metadata.training.get("settings")
    if not isinstance(record, dict) or not set(record) <= {field.name for field in fields(TrainSettings)}:
        return None
    try:
        return read_settings(TrainSettings, record)
    except Refusal:
        return None


def training_command(controller: Controller, settings: TrainSettings) -> str:
    """Return ``metarl train`` with the options in which the settings differ from the family's preset of today.

    Iterations are those that were made, and the horizon is the controller's own where the family's is another now.
    """
    metadata = controller.metadata
    usual = preset(metadata.family)
    words: list[object] = ["train", metadata.family]
    made = metadata.training.get("iterations", settings.iterations)
    own = get_family(metadata.family).horizon if metadata.family in FAMILIES else None
    asked = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "threads"}
    asked |= {"iterations": made, "horizon": None if metadata.horizon == own else metadata.horizon}
    for name, value in asked.items():
        if value == getattr(usual, name):
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", *(value if isinstance(value, tuple) else (value,))]
    return command_line(*words)


def environment_steps(folder: Path | None) -> str | None:
    """Return the environment steps of a run by its log, None without one."""
    steps = read_log(folder / PROGRESS).columns.get("env_steps") if folder else None
    return None if steps is None else f"{int(steps[steps == steps].sum()):,}"


def returns(sources: Sources) -> str:
    """Return the filed returns on unseen tasks, or else what the training measured of itself."""
    evaluation = evaluation_record(sources.folder)
    if evaluation is None:
        best = sources.controller.metadata.training.get("best_return")
        found = f"{best:.1f}" if isinstance(best, int | float) else UNKNOWN
        return f"Not evaluated on unseen tasks. Mean return of the training's best ten iterations: {found}"
    rows = "\n".join(
        f"| {score['steps']} | {score['mean']:.1f} ± {score['ci95']:.1f} |" for score in evaluation["returns"]
    )
    worse = evaluation.get("worse")
    made_worse = (
        "" if worse is None else f" Adaptation made {100 * worse:.1f} % of them worse by more than their interval."
    )
    return (
        f"On {evaluation['tasks']} unseen tasks, drawn with the seed {evaluation['seed']}, with 95 % intervals over "
        f"tasks.{made_worse}\n\n| inner steps | mean return |\n|---|---|\n{rows}"
    )


def evaluation_record(folder: Path | None) -> dict[str, Any] | None:
    """Return the filed evaluation beside a run's logs, None if there is none; raise Refusal if it is not one."""
    if folder is None or not (folder / EVALUATION).is_file():
        return None
    try:
        record: dict[str, Any] = json.loads((folder / EVALUATION).read_text())
        assert {"tasks", "seed"} <= set(record)
        for score in record["returns"]:
            assert all(isinstance(score[number], int | float) for number in ("steps", "mean", "ci95"))
    except (ValueError, LookupError, TypeError, AssertionError):
        raise Refusal(f"{folder / EVALUATION} is not what metarl evaluate --json writes") from None
    return record


def memory(controller: Controller) -> str:
    """Return what a device needs for one inner step."""
    if not get_method(controller.metadata.method).adapts:
        return "No inner step is taken."
    sentence = device_sentence(costs.device_record(controller, (), CHUNK))
    return f"One inner step, with {CHUNK} observations in work at a time, takes {sentence}"


def license_text(ships: bool) -> str:
    """Return the license of a controller that ships; of another it is its owner's to say."""
    if ships:
        return "MIT, as metarl, with which it ships."
    return "Not stated: it is for the owner of this controller to say."
