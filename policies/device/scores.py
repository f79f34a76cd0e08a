"""What attention makes of recorded episodes on a device, and of batches of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metarl.policies.attention import attention_scores
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.kernels import Run
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer, Samples
from metarl.policies.device.passes import Pass
from metarl.policies.device.program import Buffers, Phase, Program, Stage
from metarl.policies.device.runner import Runner, constants
from metarl.policies.device.workload import Workload, whole_window
from metarl.policies.networks.network import Parameters

# What ``attention_scores`` allocates by itself, per channel: a dozen words for sorting and clipping.
SCORING_BYTES = 46


def episode_scores(
    layers: Sequence[DeviceLayer], parameters: Parameters, episode: Samples
) -> dict[tuple[str, str], FloatArray]:
    """Return the scores gamma [channel] of an episode, by the name of the layer and the side."""
    steps = len(episode.advantages)
    passing = Pass(layers, Workload(steps, steps), whole_window(layers), Buffers(), advantages=None)
    stages = (
        Stage("start", (*passing.start(), *passing.clear_summaries())),
        Stage("summaries", tuple(passing.summaries()), steps),
        Stage("scores", tuple(passing.scores())),
    )
    program = Program((Phase("scores", stages),), passing.buffers)
    run = Run({part: [getattr(episode, part)] for part in Samples._fields}, steps)
    runner = Runner(lambda kept: program, constants(layers, parameters), run, Meter())
    runner.run()
    return {
        (layers[index].name, side): runner.view(f"{layers[index].name}.{side}").copy() for index, side in passing.scored
    }


def score_channels(layer: DeviceLayer, parameters: Parameters, side: str, summary: FloatArray, meter: Meter) -> None:
    """Replace what attention sees of a batch [sample, channel] by the scores gamma that its samples share."""
    with torch.inference_mode(), meter.reserve(SCORING_BYTES * summary.size):
        name, clip = layer.name, layer.clips[side]
        scores = attention_scores(parameters, name, side, torch.from_numpy(summary), clip, together=len(summary))
        summary[:] = scores.numpy()
