"""Playing single episodes in a family's Gymnasium environment, and animations of them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Env
from numpy.typing import NDArray
from PIL import Image

from metarl.core.atomic import write_atomically
from metarl.policies.controller import Controller

MAX_FRAMES = 100
GIF_TICKS_PER_SECOND = 100
MIN_TICKS = 2  # viewers slow down what changes faster


class Moment(NamedTuple):
    """One step of an episode."""

    observation: NDArray[Any]  # before the step
    reward: float
    frame: NDArray[np.uint8] | None  # after the step, [height, width, 3]


def play(
    controller: Controller,
    env: Env[Any, Any],
    task: Mapping[str, float],
    seed: int,
    horizon: int,
    noise: np.random.Generator | None = None,
) -> Iterator[Moment]:
    """One episode, with exploration noise if there is a generator for it.

    It ends at the horizon or where the environment ends it.
    """
    observation, _ = env.reset(seed=seed, options={"task": dict(task)})
    for _ in range(horizon):
        action, _ = controller.predict(observation, deterministic=noise is None, generator=noise)
        following, reward, terminated, truncated, _ = env.step(action)
        frame = env.render() if env.render_mode == "rgb_array" else None
        yield Moment(observation, float(reward), frame)  # type: ignore[arg-type]
        observation = following
        if terminated or truncated:
            return


def write_gif(frames: Sequence[NDArray[np.uint8]], frames_per_second: float, path: Path) -> None:
    """Writes an endless animation in real time, with frames left out so that it stays small."""
    stride = max(1, -(-len(frames) // MAX_FRAMES), round(frames_per_second * MIN_TICKS / GIF_TICKS_PER_SECOND))
    ticks = max(MIN_TICKS, round(stride * GIF_TICKS_PER_SECOND / frames_per_second))
    # One palette for all frames: a frame then differs from the one before only where something moved.
    first, *others = (Image.fromarray(frame) for frame in frames[::stride])
    palette = first.quantize(64)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in (first, *others)]
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=ticks * 1000 // GIF_TICKS_PER_SECOND,
        loop=0,
        optimize=True,
    )
    write_atomically(path, buffer.getvalue())
