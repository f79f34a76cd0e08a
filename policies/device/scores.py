"""What attention makes of recorded episodes on a device, and of batches of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metarl.policies.attention import attention_scores
from metarl.policies.device.episodes import Episode, advantages_per_episode, checked_episodes
from metarl.policies.device.in_place import FloatArray
from metarl.policies.device.meter import Meter
from metarl.policies.device.network import DeviceLayer, Samples
from metarl.policies.device.passes import Pass
from metarl.policies.device.program import Buffers, Phase, Program, Stage
from metarl.policies.device.run import Run
from metarl.policies.device.runner import Runner, constants
from metarl.policies.device.workload import Estimator, Workload, whole_window
from metarl.policies.networks.mlp import PolicyNetwork
from metarl.policies.networks.network import Parameters

# What ``attention_scores`` allocates by itself, per channel: a dozen words for sorting and clipping.
SCORING_BYTES = 37


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


def kept_channels(
    network: PolicyNetwork,
    parameters: Parameters,
    layers: Sequence[DeviceLayer],
    episodes: Sequence[Episode],
    estimator: Estimator,
) -> dict[str, int]:
    """Return how many inputs attention keeps of each layer, of all episodes of an inner step together.

    Args:
        network: The policy network.
        parameters: Its parameters with the attention modules.
        layers: Its layers with what the inner step does to them.
        episodes: The recorded episodes.
        estimator: How the advantages are computed from the rewards.
    """
    choosing = [layer.name for layer in layers if layer.chooses_inputs]
    if not choosing:
        return {}
    checked = checked_episodes(episodes, network)
    samples = advantages_per_episode(checked, estimator)
    scores = [episode_scores(layers, parameters, each) for each in samples]
    return {name: int(np.any([each[name, "forward"] != 0 for each in scores], axis=0).sum()) for name in choosing}


def score_channels(layer: DeviceLayer, parameters: Parameters, side: str, summary: FloatArray, meter: Meter) -> None:
    """Replace what attention sees of a batch [sample, channel] by the scores gamma that its samples share.

    Args:
        layer: The layer that the attention module belongs to.
        parameters: The policy's parameters, with the module's.
        side: ``forward`` for a layer's input, ``backward`` for the gradient at its output.
        summary: What attention sees [sample, channel], replaced in place.
        meter: Counts working memory.
    """
    with torch.inference_mode(), meter.reserve(SCORING_BYTES * summary.size):
        name, clip = layer.name, layer.clips[side]
        scores = attention_scores(parameters, name, side, torch.from_numpy(summary), clip, together=len(summary))
        summary[:] = scores.numpy()
