"""Animations of episodes, as GIF or MP4 files that run in real time."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metarl.core.atomic import write_atomically
from metarl.core.distribution import install_command
from metarl.core.errors import Refusal
from metarl.envs.drawing import INK, SKY
from metarl.experiments.analysis.rendering import Film, Frame

GIF_TICKS_PER_SECOND = 100
MIN_TICKS = 2  # viewers slow down what changes faster
# Most pictures of an animation, and of a second.
LIMITS: dict[str, tuple[int | None, float]] = {".gif": (100, GIF_TICKS_PER_SECOND / MIN_TICKS), ".mp4": (None, 60)}
STRIP = 28  # pixels of the caption above a picture


def animation_limits(path: Path) -> tuple[int | None, float]:
    """Return the most pictures of an animation and of a second of it; raise Refusal if no such file can be written."""
    suffix = path.suffix.lower()
    if suffix not in LIMITS:
        raise Refusal(f"an animation's file must end in .gif or .mp4, got {path}")
    if suffix == ".mp4":
        ffmpeg()
    return LIMITS[suffix]


def write_animation(film: Film, path: Path) -> None:
    """Write a film as GIF or MP4, as the file's name says; an older file is replaced."""
    write_atomically(path, mp4(film) if path.suffix.lower() == ".mp4" else gif(film))


def side_by_side(films: Sequence[Film], captions: Sequence[str]) -> Film:
    """Return films side by side with a caption above each; one that ends early stands still."""
    length = max(len(film.frames) for film in films)
    columns = [
        [captioned(film.frames[min(step, len(film.frames) - 1)], caption) for step in range(length)]
        for film, caption in zip(films, captions, strict=True)
    ]
    return replace(films[0], frames=[np.concatenate(row, axis=1) for row in zip(*columns, strict=True)])


def captioned(frame: Frame, caption: str) -> Frame:
    """Return a picture with a strip of text above it."""
    image = Image.new("RGB", (frame.shape[1], frame.shape[0] + STRIP), SKY)
    image.paste(Image.fromarray(frame), (0, STRIP))
    place, font = (image.width / 2, STRIP / 2), ImageFont.load_default(15)
    ImageDraw.Draw(image).text(place, caption, fill=INK, font=font, anchor="mm")
    return np.array(image)


def gif(film: Film) -> bytes:
    """Return an endless animation."""
    # One palette for all frames: a frame then differs from the one before only where something moved.
    first, *others = map(Image.fromarray, film.frames)
    palette = first.quantize(64)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in (first, *others)]
    ticks = max(MIN_TICKS, round(GIF_TICKS_PER_SECOND / film.frames_per_second))
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
    return buffer.getvalue()


def mp4(film: Film) -> bytes:
    """Return a video, made by ffmpeg; raise Refusal if ffmpeg fails."""
    height, width, _ = film.frames[0].shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{film.frames_per_second:g}"]
    # Most players know this pixel format alone, which needs even sides.
    target = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    with TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        words = [ffmpeg(), "-v", "error", *source, "-i", "-", *target, str(video)]
        done = subprocess.run(words, input=b"".join(frame.tobytes() for frame in film.frames), capture_output=True)
        if done.returncode != 0:
            raise Refusal(f"ffmpeg failed: {' '.join(done.stderr.decode(errors='replace').split())}")
        return video.read_bytes()


def ffmpeg() -> str:
    """Return the program that makes MP4 files; raise Refusal if there is none."""
    if find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    program = shutil.which("ffmpeg")
    if program is None:
        raise Refusal(f"an MP4 needs ffmpeg, which is not installed: {install_command('video')}, or write a .gif")
    return program
