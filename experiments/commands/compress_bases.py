"""``metarl compress bases``: weights as sums of binary bases, a bit or two each, which adapt by their coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl.compression.bases.search import Stage, find_bases, require_codable
from metarl.compression.bases.settings import BasisSettings
from metarl.compression.judge import Verdict, judge, verdict_record
from metarl.experiments.analysis.records import write_record
from metarl.experiments.commands.compress_options import JudgeOptions, tell_verdict
from metarl.experiments.console.constructors import ControllerFile
from metarl.experiments.console.families import family_for
from metarl.experiments.console.output import Terminal
from metarl.experiments.console.parsing import check_new_file, parse
from metarl.policies.compression.bases import layer_bits, stored_layers
from metarl.policies.controller import Controller
from metarl.policies.loading import load
from metarl.rl.evaluation import family_of


@dataclass(frozen=True)
class Bases:
    """Store the weights of a policy as binary bases, a bit or two for each, chosen by what that does to its loss.

    On a device the bases stay, and their coordinates adapt. At the end the judge compares the outcome with the float
    controller.
    """

    controller: ControllerFile
    """The controller's file, its run's folder, or FAMILY/METHOD of one that ships with metarl."""
    out: Path
    """File to write, which must be new."""
    settings: Annotated[BasisSettings, tyro.conf.OmitArgPrefixes] = field(default_factory=BasisSettings)
    judged: Annotated[JudgeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=JudgeOptions)


def bases(arguments: Sequence[str]) -> None:
    """Run ``metarl compress bases``."""
    command = parse(Bases, arguments, "metarl compress bases")
    options, settings, console = command.judged, command.settings, Terminal()
    for file in (command.out, *([options.json] if options.json else [])):
        check_new_file(file)
    controller = require_codable(load(command.controller), settings)
    family = family_of(controller, family_for(controller, options.family))

    def tell(done: Stage) -> None:
        console.print(f"{done.name}: {done.bits:.4g} bits, {measure} {done.score:.4g}", soft_wrap=True)

    measure = "minus divergence" if settings.objective == "distill" else "return"
    coded = find_bases(controller, family, settings, options.threads, tell)
    coded.save(command.out)
    console.print(f"controller of binary bases: {command.out}", soft_wrap=True)
    console.print(f"bits of a weight: {bits_line(coded)}", soft_wrap=True)
    verdict = judge(controller, coded, family, options.judge_tasks, options.judge_seed, options.threads)
    tell_verdict(verdict, options.judge_tasks, console)
    if options.json:
        write_record(options.json, bases_record(str(command.controller), settings, coded, verdict, options.judge_seed))


def bits_line(controller: Controller) -> str:
    """Return the average bits of each layer's weights, and what all of them take."""
    layers = ", ".join(f"{layer} {bits:.3g}" for layer, bits in layer_bits(controller.parameters).items())
    dense = sum(layer.weights for layer in controller.network.layers) * 4
    return f"{layers}; {weight_bytes(controller):,} bytes in place of {dense:,}"


def weight_bytes(controller: Controller) -> int:
    """Return the bytes of all weights, coordinates and counts of bases included; biases come on top."""
    layers = stored_layers(controller.network.layers, controller.parameters)
    return sum(layer.parameter_bytes - 4 * layer.biases for layer in layers)


def bases_record(
    controller: str, settings: BasisSettings, coded: Controller, verdict: Verdict, judge_seed: int
) -> dict[str, Any]:
    """Return a verdict on binary bases as JSON.

    Args:
        controller: The float controller, as the user names it.
        settings: How the bases were found.
        coded: The controller of binary bases.
        verdict: The verdict on both.
        judge_seed: The seed of its tasks and episodes.
    """
    facts = {"layer_bits": layer_bits(coded.parameters), "weight_bytes": weight_bytes(coded)}
    about = {"controller": controller, "judge_seed": judge_seed}
    return about | {"settings": asdict(settings)} | facts | verdict_record(verdict)
