"""``metarl cost``: memory and operations of inference and of an adaptation step, layer by layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.text import Text

from metarl.core.atomic import write_atomically
from metarl.core.errors import Refusal
from metarl.experiments.analysis.costing import caption, cost_table, device_sentence, megabytes, record
from metarl.experiments.commands.cost_images import image_costing, is_about_images
from metarl.experiments.commands.cost_policies import policy_costing
from metarl.experiments.console.constructors import Family, Maybe
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse, require_at_least

RULE = "metarl cost takes either a CONTROLLER, or --method with --family or --backbone"


@dataclass(frozen=True)
class PolicyOptions:
    """Options of policies alone."""

    family: Family = None
    """Task family, with --method and in place of a controller."""
    horizon: Maybe[int] = None
    """Observations in an episode; as in the training, or the family's own, if left out."""
    episodes: Maybe[int] = None
    """Episodes in an adaptation step; as in the training, or by the family's preset, if left out."""

    def __post_init__(self) -> None:
        require_at_least(1, horizon=self.horizon, episodes=self.episodes)


@dataclass(frozen=True)
class ImageOptions:
    """Options of image networks alone."""

    backbone: Maybe[str] = None
    """Image network, conv4 or resnet12, with --method and in place of a controller."""
    side: Maybe[int] = None
    """Width and height of the images, with --backbone; 84 if left out."""
    ways: Maybe[int] = None
    """Classes to tell apart, with --backbone; 5 if left out."""
    shots: Maybe[int] = None
    """Images of each class in an adaptation step; as in the training, or 1, if left out."""
    data: Maybe[Path] = None
    """Folder of images; those of its split val are adapted to. Random ones if left out."""

    def __post_init__(self) -> None:
        require_at_least(1, side=self.side, ways=self.ways, shots=self.shots)


@dataclass(frozen=True)
class Cost:
    """Tell the memory and operations of a controller on a device, by layer and in total.

    It is a trained controller, or an untrained one by --method and --family or --backbone.
    """

    controller: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CONTROLLER]", help_behavior_hint="")
    ] = None
    """The file of a policy or of an image network, a run's folder, or FAMILY/METHOD of one that ships with metarl."""
    subnet: Maybe[int] = None
    """Which subnet of a nested controller, 1 the densest."""
    method: Maybe[str] = None
    """Meta-learning method, with --family or --backbone."""
    layers: Maybe[str] = None
    """Numbers of the layers that adapt, e.g. 1,3; those of the controller or the method if left out."""
    chunk: Maybe[int] = None
    """Observations or images whose gradients are computed at a time; an episode or one image if left out."""
    measure: bool = False
    """Run the step, too, and measure its memory."""
    seed: int = 1
    """Seed of the episodes or images that attention judges and that the measured step adapts to."""
    json: Maybe[Path] = None
    """Write the numbers to this file, which must be new."""
    policy: Annotated[PolicyOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=PolicyOptions)
    image: Annotated[ImageOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImageOptions)

    def __post_init__(self) -> None:
        require_at_least(0, seed=self.seed)
        require_at_least(1, chunk=self.chunk)
        networks = [name for name in (self.policy.family, self.image.backbone) if name is not None]
        if self.controller is not None:
            if networks or self.method is not None:
                raise Refusal(f"{RULE}, not both")
            return
        if self.subnet is not None:
            raise Refusal("--subnet belongs to a CONTROLLER with nested subnets")
        if len(networks) == 2:
            raise Refusal(f"{RULE}, not with both")
        missing = [*([] if networks else ["--family or --backbone"]), *([] if self.method else ["--method"])]
        if missing:
            raise Refusal(f"{RULE}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def main(arguments: Sequence[str]) -> None:
    """Run the command; raise Refusal saying what is wrong with its arguments."""
    command = parse(Cost, arguments, "metarl cost")
    if command.json:
        check_new_file(command.json)
    costing = image_costing(command) if is_about_images(command) else policy_costing(command)
    console = Terminal()
    console.print(cost_table(costing))
    console.print(Text(caption(costing)))
    if costing.measured is not None:
        measured = megabytes(costing.measured)
        console.print(Text(f"The step really takes {measured} MB at its peak, on {costing.data}."))
    if costing.device:
        console.print(Text(f"On a device: {device_sentence(costing.device)}"))
    if command.json:
        write_atomically(command.json, (json.dumps(record(costing), indent=2) + "\n").encode())
