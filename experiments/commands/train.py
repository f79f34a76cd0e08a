"""``metarl train``: meta-train a policy, or a network on few-shot images, and say where everything is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from metarl.envs.registry import FAMILIES
from metarl.experiments.analysis.training_views import PolicyView
from metarl.experiments.commands import train_images
from metarl.experiments.console.constructors import FieldWords, Maybe
from metarl.experiments.console.families import family_by_name, first_word, word_after
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import parse, refuse
from metarl.experiments.console.training import Plan, follow, summary
from metarl.experiments.console.workers import WorkerOptions
from metarl.images.run import IMAGE_CHECKPOINTS, is_image_run
from metarl.policies.loading import load_start
from metarl.policies.methods import METHODS, REFERENCES
from metarl.rl.preset_file import preset_with
from metarl.rl.settings import TrainSettings, read_config
from metarl.rl.training import PolicyTraining
from metarl.runs.recorder import CheckpointSettings

DESCRIPTION = (
    "Meta-train a policy on a task family and keep its best controller.\n\n"
    f"Task families: {', '.join(FAMILIES)}.\n\n"
    f"Methods: {', '.join(METHODS)}. References, which do not adapt: {', '.join(REFERENCES)}.\n\n"
    "metarl train FAMILY --method METHOD --help shows the defaults that suit the family and the method.\n\n"
    "metarl train images --help tells how to meta-train on few-shot images.\n\n"
    "metarl train --resume DIR goes on with a run that was interrupted, or is to have more --iterations."
)


@dataclass(frozen=True)
class Train:
    """One command line."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """Task family, the first word: one of those above, gym:ID with --field, or module:attribute for your own."""
    settings: Annotated[TrainSettings, tyro.conf.OmitArgPrefixes]
    """The settings, with the values that suit the task family and the method."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often the run is saved."""
    fields: FieldWords = ()
    """Numbers of the environment gym:ID that make a task, NAME=LOW:HIGH or NAME=VALUE/VALUE; e.g. g=5:15."""
    init: Annotated[str | None, tyro.conf.arg(metavar="CONTROLLER", help_behavior_hint="")] = None
    """What to start from: a controller's file or run folder, FAMILY/METHOD of one that ships, or the .zip that PPO of
    Stable-Baselines3 saved; random if left out."""
    init_normalization: Maybe[Path] = None
    """The file that VecNormalize of Stable-Baselines3 saved beside the .zip of --init."""
    preset: Maybe[Path] = None
    """File of settings that metarl tune has found: they are the defaults then."""
    out: Maybe[Path] = None
    """Run folder, which must be new; runs/FAMILY-METHOD-seedSEED if left out."""
    workers: Annotated[WorkerOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorkerOptions)
    """Where the tasks of a meta-batch are. It changes no number."""


@dataclass(frozen=True)
class Resume:
    """Go on with a run: one that was interrupted, or a finished one that is to have more iterations."""

    resume: Path
    """Folder of the run; it goes on from its newest checkpoint, with its own settings."""
    iterations: Maybe[int] = None
    """Meta-iterations of the whole run, those that are done among them, if not as many as it was begun with."""
    data: Maybe[Path] = None
    """Folder of the images, if they have moved since the run was begun."""
    checkpoints: Annotated[CheckpointSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=CheckpointSettings)
    """How often the run is saved."""
    workers: Annotated[WorkerOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorkerOptions)
    """Where the tasks of a meta-batch are from now on. It changes no number."""


def main(arguments: Sequence[str]) -> None:
    """Run the command; Refusal says what is wrong with its arguments."""
    console = Terminal()
    if any(word.partition("=")[0] == "--resume" for word in arguments):
        command = parse(Resume, arguments, "metarl train")
        if is_image_run(command.resume):
            refuse(command, "is for policies: the learning rate on images follows a cosine to the end", "iterations")
            refuse(command.workers, "is for policies: images are trained in this process")
            is_default = command.checkpoints == CheckpointSettings()
            checkpoints = IMAGE_CHECKPOINTS if is_default else command.checkpoints
            plan = train_images.resumed(command.resume, command.data, checkpoints, console)
        else:
            refuse(command, "is for runs on images", "data")
            plan = resumed(command)
    elif arguments[:1] == ["images"]:
        plan = train_images.planned(arguments[1:], console)
    else:
        plan = planned(parse_train(arguments))
    start = time.monotonic()
    state = follow(plan, console)
    console.print(summary(plan, state, time.monotonic() - start), soft_wrap=True)


def parse_train(arguments: Sequence[str]) -> Train:
    """Return the command; the settings that suit the family, its first word, and the method are the defaults."""
    family, method = first_word(arguments, "metarl train"), word_after("--method", arguments)
    path = word_after("--preset", arguments)
    settings = preset_with(family, method, Path(path) if path else None)
    default = Train(family=tyro.MISSING, settings=settings)
    return parse(Train, arguments, "metarl train", default, DESCRIPTION)


def planned(command: Train) -> Plan:
    """Return a new run."""
    family, settings = family_by_name(command.family, command.fields), command.settings
    name = family.name.replace(":", ".").replace("/", "-")
    folder = command.out or Path("runs") / f"{name}-{settings.method}-seed{settings.seed}"
    init = load_start(command.init, command.init_normalization)
    training = PolicyTraining(family, settings, init, command.workers.cluster())
    return Plan(training, folder, PolicyView(training), command.checkpoints)


def resumed(command: Resume) -> Plan:
    """Return a run that goes on."""
    name, settings = read_config(command.resume)
    if command.iterations is not None:
        settings = replace(settings, iterations=command.iterations)
    training = PolicyTraining(family_by_name(name), settings, cluster=command.workers.cluster())
    return Plan(training, command.resume, PolicyView(training), command.checkpoints, resume=True)
